"""What makes a study in each layout that file names tell (L1 to L6 and L8 of the dataset's dossier).

Each finder takes the files of a tree by path and hands on a Study for each pair, or an Incomplete.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath

from medshards.curate.formats import jsonfile
from medshards.curate.paired.layouts import AUTOPET, BIDS, ENHANCE, FLAT, HECKTOR, NNUNET, ORGANS
from medshards.curate.paired.organ_folders import find_organs
from medshards.curate.paired.study import (
    Facts,
    Files,
    Incomplete,
    Study,
    choose_masks,
    contrast_of,
    is_nifti,
    label_map_rank,
    made,
    one,
    one_mr,
    stem,
    tokens,
)
from medshards.curate.paired.tables import nearest_table
from medshards.curate.sample import Reject
from medshards.curate.tree import File

Finder = Callable[[Files, str], Iterator[Study | Incomplete]]


def find_bids(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L1: sub-<id>/[ses-<x>/]{pet,anat}/; the PET is an activity unless its name says SUV."""
    studies: dict[tuple[str, str], dict[str, File]] = defaultdict(dict)
    for path, file in files.items():
        folders = PurePosixPath(path).parts[:-1]
        subject = next((f for f in folders if f.startswith("sub-")), None)
        if subject is not None and is_nifti(path):
            session = next((f for f in folders if f.startswith("ses-")), "")
            studies[subject, session][path] = file
    for (subject, session), own in sorted(studies.items()):
        folder = {p: PurePosixPath(p).parent.name for p in own}
        images = {p: f for p, f in own.items() if label_map_rank(p) is None}
        pets = {p: f for p, f in images.items() if folder[p] == "pet" and "pet" in stem(p)}
        suv = {p: f for p, f in pets.items() if "suv" in tokens(stem(p))}
        anatomy = {p: f for p, f in images.items() if folder[p] == "anat"}
        cts = {p: f for p, f in anatomy.items() if _says_ct(stem(p), subject)}
        if not pets and not anatomy:
            continue  # a folder of notes or of masks only
        facts = partial(_bids, pets, suv, anatomy, cts, modality)
        yield _complete(files, subject, session, own, facts)


def _bids(pets: Files, suv: Files, anatomy: Files, cts: Files, modality: str) -> Facts:
    pet = one([*(suv or pets).values()], "PET image")
    if modality == "CT":
        structural, contrast = one([*cts.values()], "CT image"), ""
    else:
        structural, contrast = one_mr({p: f for p, f in anatomy.items() if p not in cts})
    unit = "suv" if suv else "activity"
    return {"pet": pet, "structural": structural, "contrast": contrast, "pet_unit": unit}


def _says_ct(name: str, subject: str) -> bool:
    words = tokens(name.replace(subject.lower(), ""))
    return any(word.startswith("ct") or word.endswith("ct") for word in words)


def find_flat(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L2: <id>/<id>_pet_suv and <id>_ct_res, _ct, _mr_res, _mr, _t1 or _water."""
    for path, file in sorted(files.items()):
        match = re.fullmatch(r"([^/]+/)(.+)_pet_suv\.nii(?:\.gz)?", path)
        if match is None:
            continue
        folder, patient = match[1], match[2]
        own = _below(files, folder)
        images = {
            stem(p).removeprefix(patient.lower() + "_"): f
            for p, f in own.items()
            if "/" not in p[len(folder) :]
        }
        yield _complete(files, patient, "", own, partial(_flat, file, images, modality))


def _flat(pet: File, images: Files, modality: str) -> Facts:
    names = [f"{modality.lower()}_res", modality.lower()]
    found, contrast = [images[name] for name in names if name in images], ""
    if modality == "MR" and not found:  # named by its contrast
        structural, contrast = one_mr({name: f for name, f in images.items() if contrast_of(name)})
    else:
        structural = one(found[:1], f"{modality} image ({', '.join(names)})")
    resampled = structural is images.get(names[0])
    return {"pet": pet, "structural": structural, "contrast": contrast, "on_pet_grid": resampled}


def find_autopet(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L3: <patient>/<study>/{SUV,CTres,CT,MRres,MR}; the resampled image goes before the other."""
    for folder, own in sorted(_by_folder(files, depth=2).items()):
        if "suv" not in {stem(p) for p in own}:
            continue
        patient, name, _ = folder.split("/")
        yield _complete(files, patient, name, own, partial(_autopet, own, modality))


def _autopet(own: Files, modality: str) -> Facts:
    found = {stem(p): f for p, f in own.items() if p.count("/") == 2}
    names = [f"{modality.lower()}res", modality.lower()]
    structural = one(
        [found[n] for n in names if n in found][:1], f"{modality} image ({modality}res, {modality})"
    )
    return {"pet": found["suv"], "structural": structural, "on_pet_grid": structural is found.get(names[0])}


def find_nnunet(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L4: imagesTr/<case>_000k on one grid, labelsTr/<case>; what a channel is, is what dataset.json says."""
    cases: dict[str, dict[int, File]] = defaultdict(dict)
    for path, file in files.items():
        match = re.fullmatch(r"imagesTr/(.+)_(\d{4})\.nii(?:\.gz)?", path)
        if match:
            cases[match[1]][int(match[2])] = file
    channels = _channels(files["dataset.json"], modality)
    masks = {PurePosixPath(p).name.split(".nii")[0]: f for p, f in files.items() if p.startswith("labelsTr/")}
    for case in sorted(cases.keys() | masks.keys()):
        # autoPET III joins tracer, patient and study
        match = re.fullmatch(r"(?:psma|fdg)_([^_]+)_(.+)", case)
        patient, name = (match[1], match[2]) if match else (case, "")
        if isinstance(channels, Reject):
            yield Incomplete(patient, name, channels)
            continue
        own = {role: [cases[case][n]] if n in cases[case] else [] for role, n in channels.items()}
        label_map = partial(_label_map, masks, case, files, "")
        yield made(patient, name, partial(_nnunet, own, modality, label_map))


def _nnunet(own: Mapping[str, list[File]], modality: str, label_map: Callable[[], Facts]) -> Facts:
    return {
        "pet": one(own["PT"], "PET image"),
        "structural": one(own[modality], f"{modality} image"),
        "on_pet_grid": True,
        **label_map(),
    }


def _channels(file: File, modality: str) -> dict[str, int] | Reject:
    """Number of the PET channel and of the structural one, by dataset.json; by position where it is silent."""
    try:
        content = jsonfile.read_object(file)
    except Reject as reject:
        return reject
    named = content.get("channel_names", content.get("modality"))
    if named is None:
        return {modality: 0, "PT": 1}
    words = {"PT": {"pt", "pet", "suv"}, "CT": {"ct", "ctres"}, "MR": {"mr", "mri", "mrres", "t1", "water"}}
    if isinstance(named, dict):
        found = {
            role: [int(k) for k, v in named.items() if str(k).isdigit() and set(tokens(str(v))) & words[role]]
            for role in ("PT", modality)
        }
        if all(len(numbers) == 1 for numbers in found.values()) and found["PT"] != found[modality]:
            return {role: numbers[0] for role, numbers in found.items()}
    message = f"does not tell which channel is PET and which is {modality} (channel_names)"
    return Reject("channels_unknown", message, file.name)


def find_hecktor(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L5: <case>/<case>__PT (2025) or imagesTr/<case>__PT (2022); the mask is <case> beside it or in labelsTr/."""
    for path, file in sorted(files.items()):
        match = re.fullmatch(r"([^/]+)/([^/]+)__PT\.nii(?:\.gz)?", path)
        if match is None:
            continue
        folder, case = match[1], match[2]
        beside = {stem(p): f for p, f in files.items() if p.startswith(f"{folder}/") and is_nifti(p)}
        inside = {stem(p): f for p, f in files.items() if p.startswith("labelsTr/") and is_nifti(p)}
        images = [f for name, f in beside.items() if name == f"{case}__{modality}".lower()]
        masks, place = (inside, "") if folder == "imagesTr" else (beside, f"{folder}/")
        label_map = partial(_label_map, masks, case.lower(), files, place)
        yield made(case, "", partial(_hecktor, file, images, modality, label_map))


def _hecktor(pet: File, images: list[File], modality: str, label_map: Callable[[], Facts]) -> Facts:
    structural = one(images, f"{modality} image")
    return {"pet": pet, "structural": structural, "pet_unit": "unknown", **label_map()}


def find_enhance(files: Files, modality: str) -> Iterator[Study | Incomplete]:
    """L6: images/{CT,MR,PT}_*/<number>, ground-truth/<family>/<number>; of the families, Organs where there is one."""
    images: dict[str, dict[str, list[File]]] = defaultdict(lambda: defaultdict(list))
    masks: dict[str, dict[str, File]] = defaultdict(dict)
    for path, file in files.items():
        if match := re.fullmatch(r"images/(CT|MR|PT)[^/]*/([^/]+)\.nii(?:\.gz)?", path):
            images[match[2]][match[1]].append(file)
        elif match := re.fullmatch(r"ground-truth/([^/]+)/([^/]+)\.nii(?:\.gz)?", path):
            masks[match[2]][match[1]] = file
    for number in sorted(images.keys() | masks.keys()):
        yield made(number, "", partial(_enhance, images[number], masks[number], modality, files))


def _enhance(images: Mapping[str, list[File]], families: Files, modality: str, files: Files) -> Facts:
    organs = {family: f for family, f in families.items() if family.lower() == "organs"} or families
    if not organs:
        raise Reject("missing_mask", "no file of that number in ground-truth/")
    return {
        "pet": one(images.get("PT", []), "PET image"),
        "structural": one(images.get(modality, []), f"{modality} image"),
        "pet_unit": "unknown",
        "label_maps": organs,
        "table": nearest_table(files, "ground-truth/"),
    }


def _below(files: Files, folder: str) -> dict[str, File]:
    return {path: file for path, file in files.items() if path.startswith(folder)}


def _by_folder(files: Files, depth: int) -> dict[str, dict[str, File]]:
    """The files below each folder that lies `depth` levels down."""
    found: dict[str, dict[str, File]] = defaultdict(dict)
    for path, file in files.items():
        parts = path.split("/")
        if len(parts) > depth:
            found["/".join(parts[:depth]) + "/"][path] = file
    return found


def _label_map(masks: Files, case: str, files: Files, folder: str) -> Facts:
    if case not in masks:
        raise Reject("missing_mask", "the study has no label map")
    return {"label_maps": {"": masks[case]}, "table": nearest_table(files, folder)}


def _complete(
    files: Files, patient: str, name: str, own: Files, facts: Callable[[], Facts]
) -> Study | Incomplete:
    """A study whose masks lie among its own files, its label table there or in a folder above."""

    def with_masks() -> Facts:
        known = facts()
        images = {known["pet"], known["structural"]}
        label_maps, organs = choose_masks({p: f for p, f in own.items() if f not in images})
        path = next(p for p, f in own.items() if f in {*label_maps.values(), *organs.values()})
        table = nearest_table(files, path[: path.rfind("/") + 1]) if label_maps else None
        return {**known, "label_maps": label_maps, "organs": organs, "table": table}

    return made(patient, name, with_masks)


FINDERS: dict[str, Finder] = {
    BIDS.title: find_bids,
    FLAT.title: find_flat,
    AUTOPET.title: find_autopet,
    NNUNET.title: find_nnunet,
    HECKTOR.title: find_hecktor,
    ENHANCE.title: find_enhance,
    ORGANS.title: find_organs,
}
