"""The converter of both halves: one case a study, one sample a slice and image.

The two images of a study come on the axial grid of the PET, the structural one resampled linearly where it lies on
another, and carry the same organ masks. Nothing that names a person or a time goes on: ids become keyed hashes, files
are named by what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medshards.curate.paired.dicom_studies import find_dicom, is_dicom
from medshards.curate.paired.finders import FINDERS
from medshards.curate.paired.images import DicomImages, Images, NiftiImages, axial_grid, check_overlap
from medshards.curate.paired.layouts import DICOM, LAYOUTS
from medshards.curate.paired.organs import Organs, read_organs
from medshards.curate.paired.study import Incomplete, Study
from medshards.curate.paired.tables import (
    Crosswalk,
    OrganNames,
    is_crosswalk,
    is_label_table,
    plain_id,
    read_crosswalk,
)
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.quantise import Slices, to_slices
from medshards.curate.sample import Image, Instance, Reject, Sample, SlicePosition, make_key
from medshards.curate.slices import choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Tree, recognise, views
from medshards.curate.volumes import Grid, Volume, as_axial, outside_value, resample, same_grid

LIVER_SUV = (1.0, 4.0)  # median of a liver in FDG, g/ml
JUMP = 3.0  # factor between the medians of neighbouring MR slices that points to a water-fat swap
VAL_FRACTION, SEED = 0.15, 42


class PairedStudies(Source):
    """Converter of one half. modality: of the structural image, CT or MR.

    Group = patient, the same in both halves where the ids agree or the crosswalk says so. Official split: with a
    crosswalk, persons are divided once for both halves; without one there is none, and the build holds both out.
    """

    modality: ClassVar[str]
    private_names = True
    loose = True  # a study may hold other series, and a hundred organs more

    def open(self, root: Path) -> list[Tree]:
        """The trees below `root`, with tables that lie above them. Messages name no folder of the download."""
        if not root.exists():
            raise Reject("not_found", f"no such file or folder: {root}")
        trees: list[Tree] = []
        for files in views(root):
            if trees := _trees(files):
                break
        if not trees and root.is_dir():  # one patient's folder: as seen from the folder above
            above = {p.name: File(p.name, p) for p in sorted(root.resolve().parent.iterdir()) if p.is_file()}
            trees = _trees(
                {**above, **{f"{root.resolve().name}/{path}": file for path, file in files.items()}}
            )
        if not trees:
            wanted = "; ".join(f"{la.title}: {', '.join(la.needs)}" for la in LAYOUTS if la.needs)
            kinds = Counter(_suffix(path) or "other" for path in files)
            shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            raise Reject(
                "not_recognised", f"looked for {wanted}; or DICOM files. Found below {root} files: {shown}"
            )
        beside = {f"../../{p.name}": File(p.name, p) for p in sorted(root.resolve().parent.glob("*.csv"))}
        return [replace(t, files={**beside, **t.files}) for t in trees]

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        key = load_key()
        crosswalk = read_crosswalk(tree.files.values())
        splits = _splits(crosswalk) if crosswalk is not None else {}
        finder: Callable[..., Iterable[Study | Incomplete | Skip | Reject]] = FINDERS.get(
            tree.layout.title, find_dicom
        )
        for item in finder(tree.files, self.modality):
            if isinstance(item, (Skip, Reject)):
                yield item
                continue
            person = crosswalk.person(self.slug, item.patient) if crosswalk is not None else None
            group = pseudonym(key, "patient", person or plain_id(item.patient))
            folder = f"{group}/{pseudonym(key, 'study', item.patient, item.name)[:8]}"
            if isinstance(item, Incomplete):
                where = ", ".join(filter(None, (folder, item.reject.file)))
                yield Reject(item.reject.code, item.reject.message, where)
                continue
            try:
                files = self._files(item, folder)
            except Reject as reject:
                yield Reject(reject.code, reject.message, folder)
                continue
            facts = {"pet_unit": item.pet_unit, "contrast": item.contrast, "on_pet_grid": item.on_pet_grid}
            yield Case(make_key(folder.replace("/", "-")), files, group, splits.get(person or ""), facts)

    def _files(self, study: Study, folder: str) -> dict[str, File]:
        """The files of a study by role, under names that say what they are and not whose."""
        names = OrganNames(self.labels)
        roles: dict[str, File] = dict(study.series)
        if study.pet is not None and study.structural is not None:
            roles |= {self.modality.lower(): study.structural, "pt": study.pet}
        for section, file in study.label_maps.items():
            roles[f"labels:{section}" if section else "labels"] = file
        for organ, file in sorted(study.organs.items()):
            label = names.find(organ)
            if label is None:
                message = f"the mask {organ!r} is of no known organ: {names.known}"
                raise Reject("unknown_label", message)
            if f"mask:{label}" in roles:
                raise Reject("duplicate_organ", f"two masks are called {label!r}")
            if not names.ignored(label):
                roles[f"mask:{label}"] = file
        if study.table is not None:
            roles["table"] = study.table
        return {
            role: File(
                f"{folder}/{role.replace(':', '-').replace(' ', '_')}{_suffix(f.name)}", f.path, f.parts
            )
            for role, f in roles.items()
        }

    def load(self, case: Case) -> Iterator[Sample | Skip | Reject]:
        try:
            yield from self._samples(case)
        except Reject:
            raise
        except Exception as error:  # its text may quote a path or a header
            raise Reject("failed", f"an unforeseen {type(error).__name__} while the study was read") from None

    def _samples(self, case: Case) -> Iterator[Sample | Skip]:
        images = self._images(case)
        pet_grid = axial_grid(images.grid("PT"))
        check_overlap(images.grid("PT"), images.grid(self.modality), bool(case.facts["on_pet_grid"]))
        organs = read_organs(case, images, OrganNames(self.labels))
        shown = {
            modality: self._picture(modality, images, pet_grid, organs) for modality in (self.modality, "PT")
        }
        del images  # and the files that it holds
        chosen = choose(self.slices, organs.annotated(pet_grid.shape[0]))
        empty = {k for k in chosen if any(slices.is_uniform(k) for slices, _ in shown.values())}
        if chosen and len(empty) == len(chosen):
            message = "one of the images shows nothing but a single value on every slice that would be taken"
            raise Reject("images_apart", message)
        lost = dict(organs.lost)
        for modality, (slices, facts) in shown.items():
            for index in chosen:
                if index in empty:
                    yield Skip(
                        case.files["pt"].name if "pt" in case.files else "", "slice outside one of the images"
                    )
                    continue
                keys = {m: f"{case.key}-{m.lower()}-{index:04d}" for m in shown}
                yield Sample(
                    keys[modality],
                    Image(slices.stored[index]),
                    self._instances(organs, index, case),
                    case.group,
                    case.split,
                    spacing=pet_grid.spacing_mm[1:],
                    position=SlicePosition(f"{case.key}-{modality.lower()}", index, len(slices)),
                    concepts=self._told(organs, index, case),
                    intensity=slices.intensity(index),
                    pair=tuple(key for other, key in keys.items() if other != modality),
                    lost=lost,
                    extra=facts,
                )
                lost = {}  # counted once a study

    def _images(self, case: Case) -> Images:
        if any(file.parts for file in case.files.values()):
            return DicomImages(case, self.modality)
        return NiftiImages(case, self.modality, case.facts["contrast"])

    def _picture(
        self, modality: str, images: Images, pet_grid: Grid, organs: Organs
    ) -> tuple[Slices, dict[str, Any]]:
        """An image as slices on the PET's axial grid, and the facts of it for the record."""
        volume = as_axial(images.read(modality))
        facts: dict[str, Any] = {
            "modality": modality,
            "grid": pet_grid.facts(),
            "original_grid": images.grid(modality).facts(),
        }
        flags = [*volume.flags, *organs.flags]
        if modality == "MR":
            facts["mr_contrast"] = images.contrast
            flags += ["intensity_jumps"] if _jumps(volume) else []
        if not same_grid(volume.grid, pet_grid):
            facts["outside"] = outside_value(volume)
            volume = resample(volume, pet_grid)
        if modality == "PT":
            facts["attenuation"] = self.modality.lower()
            facts["liver_median"] = median = _liver_median(volume, organs)
            if volume.unit == "suvbw" and median is not None and not LIVER_SUV[0] <= median <= LIVER_SUV[1]:
                flags.append("liver_suv_unusual")
        return to_slices(volume), {**facts, "flags": flags}

    def _told(self, organs: Organs, index: int, case: Case) -> tuple[str, ...]:
        """The concepts of which a slice says whether they are there, by all of their labels."""
        labels = {label: self.concept(label, _any(case)) for label in organs.regions}
        silent = {concept for label, concept in labels.items() if not organs.tells(label, index)}
        return tuple(sorted(set(labels.values()) - silent))

    def _instances(self, organs: Organs, index: int, case: Case) -> list[Instance]:
        return [
            Instance(self.concept(label, _any(case)), regions[index], label)
            for label, regions in sorted(organs.regions.items())
            if index in regions
        ]


def _trees(files: Mapping[str, File]) -> list[Tree]:
    """The trees of all layouts that names tell, and one of the DICOM files that lie outside them.

    Each also holds the crosswalks, wherever they lie, and the label table of the nearest folder above it.
    """
    trees = recognise(dict(files), LAYOUTS)
    rest = {p: f for p, f in files.items() if not any(p.startswith(t.base) for t in trees)}
    if any(is_dicom(file) for file in rest.values()):
        trees.append(Tree(DICOM, "", rest, dict(files)))
    crosswalks = {f"../{path}": file for path, file in files.items() if is_crosswalk(file)}
    return [
        replace(t, base="", files={**crosswalks, **_table_above(files, t.base), **t.files}) for t in trees
    ]


def _table_above(files: Mapping[str, File], base: str) -> dict[str, File]:
    """The label tables of the nearest folder above `base` that has any, as if they lay in `base`."""
    while base:
        base = base[: base.rstrip("/").rfind("/") + 1]
        here = {path[len(base) :]: file for path, file in files.items() if path.startswith(base)}
        if found := {name: file for name, file in here.items() if "/" not in name and is_label_table(file)}:
            return found
    return {}


def _splits(crosswalk: Crosswalk) -> dict[str, str]:
    """Split of each person of the crosswalk, the same whichever half is built."""
    persons = crosswalk.persons
    count = max(1, int(VAL_FRACTION * len(persons))) if len(persons) > 1 else 0
    order = np.random.RandomState(SEED).permutation(len(persons))
    val = {persons[k] for k in order[:count]}
    return {person: "val" if person in val else "train" for person in persons}


def _suffix(name: str) -> str:
    known = (".nii.gz", ".nii", ".json", ".csv", ".tsv", ".dcm")
    return next((suffix for suffix in known if name.lower().endswith(suffix)), "")


def _any(case: Case) -> File:
    return next(iter(case.files.values()))


def _liver_median(volume: Volume, organs: Organs) -> float | None:
    parts = [volume.array[k][r.window()][r.crop] for k, r in organs.regions.get("liver", {}).items()]
    return round(float(np.median(np.concatenate(parts))), 4) if parts else None


def _jumps(volume: Volume) -> bool:
    """True when the median of the non-zero voxels changes threefold from one slice to the next."""
    medians = [
        float(np.median(s[s > 0])) if np.count_nonzero(s > 0) > 0.05 * s.size else 0.0 for s in volume.array
    ]
    return any(a > 0 and b > 0 and max(a / b, b / a) > JUMP for a, b in pairwise(medians))
