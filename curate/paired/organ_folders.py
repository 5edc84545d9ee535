"""Studies of which the images lie under every organ, each with a binary mask of that organ (L8, SAM-Med3D)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

from medshards.curate.paired.study import Facts, Files, Incomplete, Study, made
from medshards.curate.sample import Reject
from medshards.curate.tree import File


def find_organs(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L8: <organ>/<dataset>/{imagesTr,labelsTr}/<case>, binary masks; modality by a word of case or dataset.

    The same image lies under every organ; equal copies count as one.
    """
    found: dict[tuple[str, str], dict[str, dict[str, File]]] = defaultdict(lambda: defaultdict(dict))
    masks: dict[tuple[str, str], dict[str, File]] = defaultdict(dict)
    unknown: set[tuple[str, str]] = set()
    for path, file in sorted(files.items()):
        match = re.fullmatch(r"([^/]+)/([^/]+)/(imagesTr|labelsTr)/([^/]+)\.nii(?:\.gz)?", path)
        if match is None:
            continue
        organ, dataset, kind, case = match.groups()
        role, key = _modality_of(dataset, case)
        if role == "":
            unknown.add(key)
        elif kind == "imagesTr":
            found[key][role][organ] = file
        else:
            masks[key].setdefault(organ, file)
    for key in sorted(unknown):
        message = "neither the name of the case nor that of its dataset says ct, mr or pet"
        yield Incomplete(key[1], key[0], Reject("modality_unknown", message))
    for key in sorted(found.keys() | masks.keys()):
        yield made(key[1], key[0], partial(_organs, found[key], masks[key], modality))


def _organs(images: Mapping[str, Files], masks: Files, modality: str) -> Facts:
    if not masks:
        raise Reject("missing_mask", "no file of that name in any labelsTr/")
    return {
        "pet": _same_image(images.get("PT", {}), "PET image"),
        "structural": _same_image(images.get(modality, {}), f"{modality} image"),
        "pet_unit": "unknown",
        "organs": masks,
    }


def _modality_of(dataset: str, case: str) -> tuple[str, tuple[str, str]]:
    """Modality ("" unknown) and what is left of (dataset, case) without the word that tells it."""
    modalities = {"ct": "CT", "mr": "MR", "mri": "MR", "pet": "PT", "pt": "PT", "suv": "PT"}
    for name in (case, dataset):
        words = re.findall(r"[A-Za-z0-9]+", name)
        told = {modalities[w.lower()] for w in words if w.lower() in modalities}
        if len(told) == 1:
            rest = "_".join(w for w in words if w.lower() not in modalities)
            return told.pop(), (dataset, rest or dataset) if name == case else (rest, case)
    return "", (dataset, case)


def _same_image(copies: Files, what: str) -> File:
    if not copies:
        raise Reject("missing_image", f"the study has no {what}")
    first, *others = [file for _, file in sorted(copies.items())]
    data = first.path.read_bytes() if others else b""
    if any(other.path.read_bytes() != data for other in others):
        raise Reject("several_images", f"the copies of the {what} under the organs differ")
    return first
