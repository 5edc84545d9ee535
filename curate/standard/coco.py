"""Datasets of COCO files: instances with polygons or run lengths, images found by their file name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from medshards.curate.formats.pictures import coco, polygons, raster
from medshards.curate.sample import Instance, Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.standard.named import Named
from medshards.curate.tree import File, Tree


class CocoFiles(Named, Source):
    """One case an image. The layout needs the annotation files, by path; the split's pattern is searched in these."""

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """The images of all annotation files; an image without file, or that two files list, is a Reject."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in tree.files:
            by_name[PurePosixPath(path).name].append(path)
        seen: dict[File, File] = {}
        for table in (file for need in tree.layout.needs for file in tree.glob(need)):
            content = coco.read_coco(table)
            yield from (Reject("bad_annotations", stray, table.name) for stray in content.strays)
            for name in sorted(content.images):
                found = [
                    path
                    for path in by_name.get(PurePosixPath(name).name, ())
                    if path == name or path.endswith(f"/{name}")
                ]
                if len(found) != 1:
                    what = "it is not there" if not found else f"{len(found)} files have that name"
                    code = "missing_image" if not found else "ambiguous_name"
                    yield Reject(code, f"{table.name} lists it, and {what}", name)
                    continue
                image = tree.files[found[0]]
                if (other := seen.setdefault(image, table)) is not table:
                    yield Reject("listed_twice", f"{other.name} and {table.name} list it", image.name)
                    continue
                yield self._case(image, table, name)

    def _case(self, image: File, table: File, name: str) -> Case | Reject:
        key = make_key(str(PurePosixPath(name).with_suffix("")))
        try:
            group = self.group_of(image, key)
        except Reject as reject:
            return reject
        return Case(key, {"image": image, "annotations": table}, group, self.split_of(table), {"name": name})

    def load(self, case: Case) -> Iterator[Sample]:
        """The image with an instance for each annotation."""
        yield coco_sample(self, case, case.facts["name"])


def coco_sample(source: Source, case: Case, name: str, fill: coco.Fill = polygons.fill) -> Sample:
    """The sample of a case whose file "annotations" lists its file "image" as `name`; crowds are counted as lost.

    Raises Reject (`bad_annotations`, `size_mismatch`, `missing_mask`, `unknown_label`, and those of the readers).
    """
    file, picture = case.files["annotations"], case.files["image"].name
    image = raster.read_image(case.files["image"], upright=True)
    entry = coco.read_coco(file).images[name]
    if entry.problem:
        raise Reject("bad_annotations", f"{entry.problem} in {file.name}", picture)
    if entry.size != image.size:
        (eh, ew), (h, w) = entry.size, image.size
        raise Reject("size_mismatch", f"has {w} x {h} px, {file.name} lists it with {ew} x {eh} px", picture)
    wanted = [a for a in entry.annotations if a.label not in source.labels.ignored]
    crowds = sum(a.crowd for a in wanted)  # several objects that nobody told apart are no instance
    try:
        instances = [
            Instance(source.concept(a.label, file), coco.region(a, image.size, file, fill), a.label, a.id)
            for a in wanted
            if not a.crowd
        ]
    except Reject as reject:
        raise Reject(reject.code, f"{reject.message} in {file.name}", picture) from reject
    lost: Mapping[str, int] = {"crowd regions": crowds} if crowds else {}
    return Sample(case.key, image, instances, case.group, case.split, lost=lost)
