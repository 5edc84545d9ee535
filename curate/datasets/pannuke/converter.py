"""PanNuke: cell nuclei of five kinds in H&E patches of 19 tissues.

Gamper et al., arXiv 2003.10778. Each fold is one images.npy (N×256×256×3) and one masks.npy (N×256×256×6) of several
gigabytes, read row by row. Channels 0 to 4 of a mask hold ids, each channel its own; channel 5 is the background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from medshards.curate.formats.numbers import as_bytes, as_labels
from medshards.curate.formats.volumes import npy
from medshards.curate.masks import by_id
from medshards.curate.pairs import pairs
from medshards.curate.sample import Image, Instance, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

FOLD = re.compile(r"(?:fold|part)[ _-]?([123])/", re.IGNORECASE)
ROWS = 100  # patches a case


class Converter(Source):
    """One case a hundred patches; group = fold (no patient or slide is published), which is the official split too."""

    slug = "pannuke"
    layouts = (
        Layout("official Fold 1, 2, 3", ("images/fold[123]/images.npy",)),
        Layout("Kaggle Part 1, 2, 3", ("Part [123]/Images/images.npy",)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {fold_of(f): f for f in tree.glob("**/images.npy")}
        masks = {fold_of(f): f for f in tree.glob("**/masks.npy")}
        types = {fold_of(f): f for f in tree.glob("**/types.npy")}
        for pair in pairs(images, masks, "images.npy of {}".format, "masks.npy of {}".format):
            if isinstance(pair, Reject):
                yield pair
            else:
                fold, files = pair.key, pair.files
                if fold in types:
                    files["types"] = types[fold]
                try:
                    count = self._count(files)
                except Reject as reject:
                    every = tuple(file.name for file in files.values())
                    yield Reject(reject.code, reject.message, reject.file, every)
                    continue
                for first in range(0, count, ROWS):
                    facts = {"rows": [first, min(first + ROWS, count)]}
                    yield Case(f"{fold}-{first // ROWS:02d}", files, fold, fold, facts)

    def load(self, case: Case) -> Iterator[Sample]:
        self._count(case.files)
        images = npy.open_array(case.files["image"], 4)
        masks = npy.open_array(case.files["mask"], 4)
        types = npy.open_array(case.files["types"], 1) if "types" in case.files else None
        for row in range(*case.facts["rows"]):
            image = Image(as_bytes(images[row], case.files["image"]))
            ids = as_labels(masks[row], case.files["mask"])
            nuclei = [
                Instance(self.concept(label, case.files["mask"]), region, label, number)
                for channel, label in sorted(self.labels.by_value().items())
                if self.labels.concept(label) is not None
                for number, region in by_id(ids[:, :, channel]).items()
            ]
            extra = {"tissue": str(types[row])} if types is not None else {}
            yield Sample(f"{case.group}-{row:04d}", image, nuclei, case.group, case.split, extra=extra)

    def _count(self, files: Mapping[str, File]) -> int:
        """Number of patches, from the headers of the arrays. Raises Reject when they do not belong together."""
        images, masks = npy.open_array(files["image"], 4), npy.open_array(files["mask"], 4)
        if images.shape[3] != 3 or masks.shape != (*images.shape[:3], 6):
            message = f"has shape {masks.shape}, images.npy {images.shape}; N×256×256×6 and ×3 are expected"
            raise Reject("size_mismatch", message, files["mask"].name)
        rows = npy.open_array(files["types"], 1).size if "types" in files else len(images)
        if rows != len(images):
            message = f"names {rows} tissues, images.npy holds {len(images)} patches"
            raise Reject("size_mismatch", message, files["types"].name)
        return len(images)


def fold_of(file: File) -> str:
    """fold1, fold2 or fold3, from the innermost folder that tells it (Kaggle's Part n is fold n)."""
    return f"fold{FOLD.findall(file.name)[-1]}"
