"""Paired studies in DICOM (L7): which files belong to one study of one patient, by their headers.

Folders and file names are not trusted: they may be one folder a series, or one for everything. Images of one frame of
reference are one study, even where PET and CT were given two StudyInstanceUIDs.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pydicom

from medshards.curate.formats.dicom.tags import Bounded, quiet
from medshards.curate.paired.study import Incomplete, Study, choose_masks, is_nifti
from medshards.curate.paired.tables import nearest_table
from medshards.curate.sample import Reject
from medshards.curate.source import Skip
from medshards.curate.tree import File

USED = ("PT", "CT", "MR", "RTSTRUCT", "SEG")
_TAGS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
_OTHER = (".nii", ".gz", ".json", ".csv", ".tsv", ".txt", ".md", ".pdf", ".png", ".jpg", ".xlsx", ".zip")


@dataclass(frozen=True)
class Header:
    """What tells where a file belongs; native ids, which go no further than this process."""

    patient: str
    study: str
    series: str
    frame: str
    modality: str


def is_dicom(path: Path) -> bool:
    """True for a file with the DICOM preamble."""
    if path.suffix.lower() in _OTHER:
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Header | None:
    """The ids of a DICOM file; None for what belongs to no study (a DICOMDIR, a damaged file)."""
    try:
        with quiet(), Bounded(path) as stream:
            ds = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
            values = [str(ds.get(tag) or "").strip() for tag in _TAGS]
    except Exception:  # pydicom raises many kinds on damaged files, with header values in the text
        return None
    return Header(*values) if values[1] and values[2] else None


def find_dicom(files: Mapping[str, File], modality: str) -> Iterator[Study | Incomplete | Skip]:
    """A Study for the files of each patient and study that hold a PET and an image of `modality`.

    A patient without PatientID is told by the first folder. Masks may also be NIfTI files in the study's folder.
    """
    headers: dict[str, Header] = {}
    others: Counter[str] = Counter()
    for path, file in files.items():
        if is_nifti(path) or not is_dicom(file.path):
            continue
        header = read_header(file.path)
        if header is None:
            others["damaged DICOM file, or an index of others"] += 1
        elif header.modality not in USED:
            others["DICOM object that is neither PET, CT, MR, RTSTRUCT nor SEG"] += 1
        else:
            headers[path] = header
    for reason, count in sorted(others.items()):
        yield from [Skip("", reason)] * count
    studies: dict[tuple[str, str], list[str]] = defaultdict(list)
    names = _joined(headers)
    for path, header in headers.items():
        patient = header.patient or path.split("/")[0]
        studies[patient, names[header.patient, header.study]].append(path)
    folders = {key: _common_folder(paths) for key, paths in studies.items()}
    for key in sorted(studies):
        own = {path: headers[path] for path in studies[key]}
        missing = [m for m in ("PT", modality) if m not in {h.modality for h in own.values()}]
        if missing:
            reject = Reject(
                "missing_image", f"the study has no DICOM series of modality {' and '.join(missing)}"
            )
            yield Incomplete(*key, reject)
            continue
        folder = folders[key]
        alone = not any(other.startswith(folder) for k, other in folders.items() if k != key)
        beside = {p: f for p, f in files.items() if p.startswith(folder) and p not in own} if alone else {}
        try:
            series = _series(own, files)
            objects = any(h.modality in ("RTSTRUCT", "SEG") for h in own.values())
            label_maps, organs = ({}, {}) if objects and not _has_masks(beside) else choose_masks(beside)
            table = nearest_table(files, folder)
        except Reject as reject:
            yield Incomplete(*key, reject)
            continue
        yield Study(*key, label_maps=label_maps, organs=organs, table=table, series=series)


def _has_masks(files: Mapping[str, File]) -> bool:
    try:
        choose_masks(files)
    except Reject as reject:
        return reject.code != "missing_mask"
    return True


def _joined(headers: Mapping[str, Header]) -> dict[tuple[str, str], str]:
    """For (patient, study) the least of the studies of that patient that share a frame of reference with it."""
    name = {(h.patient, h.study): h.study for h in headers.values()}
    frames: dict[tuple[str, str], set[str]] = defaultdict(set)
    for h in headers.values():
        if h.frame and h.modality in ("PT", "CT", "MR"):
            frames[h.patient, h.frame].add(h.study)
    changed = True
    while changed:
        changed = False
        for (patient, _), together in frames.items():
            least = min(name[patient, study] for study in together)
            for study in together:
                if name[patient, study] != least:
                    name[patient, study], changed = least, True
    return name


def _series(own: Mapping[str, Header], files: Mapping[str, File]) -> dict[str, File]:
    """The files of each series as one, by role: ct, pt, mr, mr.2, rtstruct …; in order of path."""
    grouped: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path, header in sorted(own.items()):
        grouped[header.modality, header.series].append(files[path].path)
    roles: dict[str, File] = {}
    numbers: Counter[str] = Counter()
    for (modality, _), paths in grouped.items():
        numbers[modality] += 1
        number = f".{numbers[modality]}" if numbers[modality] > 1 else ""
        role = modality.lower() + number
        roles[role] = File(role, paths[0], tuple(paths))
    return roles


def _common_folder(paths: list[str]) -> str:
    """The deepest folder that holds all paths, with "/" at its end ("" for the top)."""
    common = os.path.commonpath([str(PurePosixPath(p).parent) for p in paths])
    return "" if common in ("", ".") else common + "/"
