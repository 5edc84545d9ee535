"""Paired studies in DICOM (L7): which files belong to one study of one patient, by their headers.

Folders and file names are not trusted: they may be one folder a series, or one for everything. Images of one frame of
reference are one study, even where PET and CT were given two StudyInstanceUIDs.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from medshards.curate.formats.dicom.kinds import DICOMDIR
from medshards.curate.formats.dicom.tags import Ids, open_dicom, quiet
from medshards.curate.paired.images import place
from medshards.curate.paired.study import Incomplete, Study, choose_masks, is_nifti
from medshards.curate.paired.tables import nearest_table
from medshards.curate.sample import Reject
from medshards.curate.source import Skip
from medshards.curate.tree import File

USED = ("PT", "CT", "MR", "RTSTRUCT", "SEG")
SUFFIXES = (".dcm", ".ima", ".dicom")
_OTHER = (".nii", ".gz", ".json", ".csv", ".tsv", ".txt", ".md", ".pdf", ".png", ".jpg", ".xlsx", ".zip")


def is_dicom(file: File) -> bool:
    """True for a file that can be opened as DICOM."""
    try:
        return may_be_dicom(file) and read_ids(file) is not None
    except Reject:
        return False


def may_be_dicom(file: File) -> bool:
    """False for a file whose name says that it is something else."""
    return file.suffix not in _OTHER and not is_nifti(file.name)


def read_ids(file: File) -> Ids | None:
    """Whose a DICOM file is; None for an index of others (DICOMDIR).

    Raises: Reject `empty`, `not_dicom`, `unreadable`.
    """
    with quiet():
        ds = open_dicom(file, pixels=False, only=("SOPClassUID", *Ids.KEYWORDS))
        if ds.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR:
            return None
        ids = Ids.of(ds)
    if not ids.study or not ids.series:
        raise Reject("unreadable", "the DICOM header is damaged or cut off", file.name)
    return ids


def find_dicom(files: Mapping[str, File], modality: str) -> Iterator[Study | Incomplete | Skip | Reject]:
    """A Study for the files of each patient and study that hold a PET and an image of `modality`.

    A patient without PatientID is told by the first folder. Masks may also be NIfTI files in the study's folder.
    A damaged file in a folder of one study refuses that study: nothing tells what it held.
    """
    headers: dict[str, Ids] = {}
    broken: dict[str, Reject] = {}
    for path, file in files.items():
        if not may_be_dicom(file):
            continue
        try:
            ids = read_ids(file)
        except Reject as why:
            broken[path] = why
            continue
        if ids is None:
            yield Skip("", "index of other DICOM files")
        elif ids.modality not in USED:
            yield Skip("", "DICOM object that is neither PET, CT, MR, RTSTRUCT nor SEG")
        else:
            headers[path] = ids
    studies: dict[tuple[str, str], list[str]] = defaultdict(list)
    names = _joined(headers)
    for path, header in headers.items():
        patient = header.patient or path.split("/")[0]
        studies[patient, names[header.patient, header.study]].append(path)
    folders = {key: _common_folder(paths) for key, paths in studies.items()}
    lost: set[tuple[str, str]] = set()
    for path, cause in sorted(broken.items()):
        if _should_be_dicom(path, files[path], cause.code, headers):
            near = [(key, p) for key, paths in studies.items() for p in paths if _folder(p) == _folder(path)]
            owners, modalities = {key for key, _ in near}, {headers[p].modality.lower() for _, p in near}
            where = ", ".join([*sorted(modalities), place(files[path].path)])
            said = Reject(cause.code, f"{cause.message}; download it again", where)
            if len(owners) == 1:
                lost |= owners
            yield Incomplete(*owners.pop(), said) if len(owners) == 1 else said
    for key in sorted(studies.keys() - lost):
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


def _should_be_dicom(path: str, file: File, code: str, headers: Mapping[str, Ids]) -> bool:
    """True for a damaged file that its suffix or its neighbours show to be DICOM; a note among them is none."""
    suffix = PurePosixPath(path).suffix
    beside = any(_folder(p) == _folder(path) and PurePosixPath(p).suffix == suffix for p in headers)
    if code == "not_dicom" and beside and file.suffix not in SUFFIXES:
        with file.path.open("rb") as stream:
            return b"\0" in stream.read(4096)
    return beside or file.suffix in SUFFIXES or code == "unreadable"


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _has_masks(files: Mapping[str, File]) -> bool:
    try:
        choose_masks(files)
    except Reject as reject:
        return reject.code != "missing_mask"
    return True


def _joined(headers: Mapping[str, Ids]) -> dict[tuple[str, str], str]:
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


def _series(own: Mapping[str, Ids], files: Mapping[str, File]) -> dict[str, File]:
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
