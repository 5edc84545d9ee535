"""A study: PET and CT or MR of one patient at one time, and the organ masks drawn on one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from medshards.curate.sample import Reject
from medshards.curate.tree import File

Files = Mapping[str, File]
Facts = dict[str, Any]  # fields of a Study
_LABEL_MAPS = tuple(
    re.compile(r"(?:.*[_-])?" + words) for words in (r"organs?(?:[_-].*)?", "labels?", "d?seg.*")
)
_CONTRASTS = {
    "water": {"w", "water"},
    "in_phase": {"in", "ip", "inphase"},
    "fat": {"f", "fat"},
    "opposed_phase": {"opp", "op", "out", "oop", "outphase", "oppphase"},
    "fat_fraction": {"ff", "fatfraction"},
    "t1w": {"t1", "t1w"},
    "t2w": {"t2", "t2w"},
}
_MU_MAP = re.compile(r"(?:^|[^a-z])(?:u|mu)[_-]?map|mrac(?:[^a-z]|$)")


@dataclass(frozen=True)
class Study:
    """What one study is made of.

    patient, name: native ids, which go no further than this process; name tells studies of a patient apart.
    pet, structural: the two images; for DICOM their series are told on reading, and `series` holds the files.
    pet_unit: suv, activity (Bq/ml) or unknown, by what the layout and the file's name say.
    on_pet_grid: the structural image claims to lie on the PET's grid.
    label_maps: integer masks by section of the label table; organs: one binary mask for each label.
    table: what the integers of the masks mean.
    """

    patient: str
    name: str = ""
    pet: File | None = None
    structural: File | None = None
    contrast: str = ""
    pet_unit: str = "suv"
    on_pet_grid: bool = False
    label_maps: Mapping[str, File] = field(default_factory=dict)
    organs: Mapping[str, File] = field(default_factory=dict)
    table: File | None = None
    series: Mapping[str, File] = field(default_factory=dict)


class Incomplete(Exception):
    """A study that cannot be used: why, and whose it is."""

    def __init__(self, patient: str, name: str, reject: Reject) -> None:
        super().__init__(reject.code)
        self.patient, self.name, self.reject = patient, name, reject


def made(patient: str, name: str, facts: Callable[[], Facts]) -> Study | Incomplete:
    """The study of these facts, or why there is none."""
    try:
        return Study(patient, name, **facts())
    except Reject as reject:
        return Incomplete(patient, name, reject)


def stem(path: str) -> str:
    """File name in lower case without .nii or .nii.gz."""
    return PurePosixPath(path).name.lower().removesuffix(".gz").removesuffix(".nii")


def is_nifti(path: str) -> bool:
    """True for a name that ends in .nii or .nii.gz."""
    return path.lower().endswith((".nii", ".nii.gz"))


def tokens(name: str) -> list[str]:
    """The words of a file's name, in lower case."""
    return re.split(r"[^a-z0-9]+", name.lower())


def label_map_rank(path: str) -> int | None:
    """0 for a file named as organs, 1 as labels, 2 as a segmentation, None for no label map."""
    return next((n for n, pattern in enumerate(_LABEL_MAPS) if pattern.fullmatch(stem(path))), None)


def one(candidates: Sequence[File], what: str) -> File:
    """The only candidate. Raises Reject `missing_image` or `several_images`."""
    if not candidates:
        raise Reject("missing_image", f"the study has no {what}")
    if len(candidates) > 1:
        raise Reject("several_images", f"the study has {len(candidates)} files that may be its {what}")
    return candidates[0]


def contrast_of(name: str) -> str:
    """MR contrast by the last word of a file's name that tells it; "" when none does."""
    for word in reversed(tokens(name)):
        for contrast, words in _CONTRASTS.items():
            if word in words:
                return contrast
    return ""


def choose_contrast(found: Sequence[str]) -> str:
    """The MR contrast to segment organs on: water, else in-phase, else the only one that is not of a Dixon kind.

    Raises Reject `mr_contrast_unsupported`: fat and opposed-phase images are never taken in their place.
    """
    for wanted in ("water", "in_phase"):
        if wanted in found:
            return wanted
    plain = sorted({c for c in found if c not in ("fat", "opposed_phase", "fat_fraction")})
    if not plain:
        raise Reject(
            "mr_contrast_unsupported", f"the MR images are {', '.join(sorted(set(found)))}; water is needed"
        )
    return "t1w" if "t1w" in plain else plain[0]


def one_mr(candidates: Mapping[str, File]) -> tuple[File, str]:
    """The MR image and its contrast. Raises Reject as `one` and `choose_contrast` do."""
    anatomical = {path: file for path, file in candidates.items() if not _MU_MAP.search(stem(path))}
    contrasts = {path: contrast_of(stem(path)) for path in anatomical}
    chosen = choose_contrast(list(contrasts.values())) if contrasts else ""
    return one(
        [anatomical[p] for p, c in contrasts.items() if c == chosen], f"MR image ({chosen or 'any'})"
    ), chosen


def choose_masks(files: Mapping[str, File]) -> tuple[dict[str, File], dict[str, File]]:
    """The label map (by section "") or the binary masks by organ name, among a study's files.

    One binary mask an organ in `segmentations/` goes before a file named as organs, then as labels, then as a
    segmentation (which beside one of the others is that of lesions). Raises Reject `several_masks`, `missing_mask`.
    """
    niftis = {path: file for path, file in files.items() if is_nifti(path)}
    organs = {
        stem(p): f for p, f in niftis.items() if PurePosixPath(p).parent.name.lower() == "segmentations"
    }
    if organs:
        return {}, organs
    ranks = {path: rank for path in niftis if (rank := label_map_rank(path)) is not None}
    best = [niftis[path] for path, rank in ranks.items() if rank == min(ranks.values())]
    if not best:
        raise Reject(
            "missing_mask", "the study has no label map (organs, labels, seg*) and no folder segmentations/"
        )
    if len(best) > 1:
        raise Reject("several_masks", f"the study has {len(best)} label maps; leave one")
    return {"": best[0]}, {}
