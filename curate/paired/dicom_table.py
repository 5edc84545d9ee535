"""What a folder of DICOM files holds: `medshards inspect --dicom DIR`.

A row for each series: whose (a keyed hash, the group that a build gives the patient), what, how large, in which unit,
whether a build of paired studies would take it, and if not, why. Names, ids, dates and free text are never shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from medshards.common.console import page_console
from medshards.common.text import counted
from medshards.curate.formats.dicom.kinds import REASONS
from medshards.curate.formats.dicom.rtstruct import StructureSet
from medshards.curate.formats.dicom.segmentation import Segmentation
from medshards.curate.formats.dicom.series import Scan, Series, scan
from medshards.curate.formats.dicom.stack import read_suv, read_volume, stack
from medshards.curate.formats.dicom.suv import check_suv_range
from medshards.curate.formats.dicom.tags import Ids, Source, digest
from medshards.curate.paired.converter import LIVER_SUV
from medshards.curate.paired.dicom_studies import SUFFIXES, is_dicom, may_be_dicom
from medshards.curate.paired.images import choose_mr, choose_pet, choose_structural
from medshards.curate.paired.tables import OrganNames, plain_id
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.quantise import UNITS
from medshards.curate.sample import Reject
from medshards.curate.tree import File, views
from medshards.curate.volumes import GRID_TOLERANCE, Volume, resample
from medshards.vocab.vocabulary import load_labels

NOT_SERIES = ("not_dicom", "dicomdir", "not_an_image")  # files that are no images at all
DAMAGE = ("empty", "unreadable")  # of a file: download it again
KNOWN_MODALITIES = ("CT", "PT", "MR", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT", "SC", "SEG", "SR")
Row = dict[str, Any]


def describe(folder: Path) -> list[Row]:
    """A row for each image series below `folder`, also in archives.

    patient, study, series: hashes. modality. files: their number. shape: (slices, rows, columns).
    For a series that can be read: spacing (mm, in that order), unit, min, median, max, flags, used; of MR the
    contrast, of PET liver_median (None without a liver mask). Otherwise refused: a reason code; and message.
    Two kinds have both: a PET without weight (no SUV, but its activity), and a series with missing slices (measured
    on those that are there). Raises Reject `empty`, `no_series`, and those of archives.
    """
    for files in views(folder):
        likely = [file for file in files.values() if may_be_dicom(file)]
        if any(is_dicom(file) for file in likely):
            break
    else:
        raise Reject("no_series", f"no DICOM files were found below {folder}")
    found = scan(likely)
    rows = [_row(series, found) for series in found.series]
    _mark_used(rows, found)
    return rows + list(_left_out(found))


def _whose(header: Ids | None) -> Row:
    if header is None:
        return {"patient": "", "study": "", "series": ""}
    return {
        "patient": pseudonym(load_key(), "patient", plain_id(header.patient)) if header.patient else "",
        "study": digest(header.study)[:8],
        "series": digest(header.series)[:8],
    }


def _row(series: Series, found: Scan) -> Row:
    row: Row = {
        **_whose(found.ids[series.files[0]]),
        "modality": series.modality,
        "files": len(series.files),
        **({"contrast": series.contrast} if series.modality == "MR" else {}),
    }
    row["shape"] = [len(series.frames), series.rows, series.columns]
    try:
        gap: Row = {}
        try:
            grid = stack(series).grid
            row["shape"] = list(grid.shape)
        except Reject as reject:
            if reject.code != "slice_gap":
                raise
            gap = _refusal(reject)  # the slices that are there can be measured all the same
            grid = stack(series, fill_gaps=True).grid
        row["spacing"] = [round(v, 4) for v in grid.spacing_mm]
        if series.modality != "PT":
            return {**row, **_summary(read_volume(series, fill_gaps=True)), **gap}
        try:
            volume = read_suv(series, fill_gaps=True)
        except Reject as reject:
            if reject.code != "weight_missing" or series.units != "BQML":
                raise
            activity = read_suv(series, fill_gaps=True, without_weight="bqml")
            return {**row, **_summary(activity), **_refusal(reject)}
        summary = _summary(volume)
        return {**row, **summary, **_plausible(volume, found, summary["flags"]), **gap}
    except Reject as reject:
        return {**row, **_refusal(reject)}
    except Exception as error:  # its text may quote the header
        return {**row, "refused": "failed", "message": f"an unforeseen {type(error).__name__}"}


def _refusal(reject: Reject) -> Row:
    return {"refused": reject.code, "message": reject.message}


def _summary(volume: Volume) -> Row:
    """Unit, extremes and median of the slices that files hold."""
    array = np.delete(volume.array, volume.filled, axis=0) if volume.filled else volume.array
    return {
        "unit": UNITS.get(volume.unit, volume.unit),
        "min": float(array.min()),
        "median": float(np.median(array)),
        "max": float(array.max()),
        "flags": [flag for flag in volume.flags if flag != "gaps_filled"],
    }


def _plausible(volume: Volume, found: Scan, flags: list[str]) -> Row:
    """The median SUV in the liver, where a mask of it is there, and flags for numbers that SUV rarely has."""
    try:
        check_suv_range(volume.array)
    except Reject as reject:
        flags = [*flags, reject.code]
    liver = _liver(volume, found)
    median = round(float(np.median(volume.array[liver])), 4) if liver is not None and liver.any() else None
    if median is not None and not LIVER_SUV[0] <= median <= LIVER_SUV[1]:
        flags = [*flags, "liver_suv_unusual"]
    return {"flags": flags, "liver_median": median}


def _liver(pet: Volume, found: Scan) -> np.ndarray | None:
    """The liver (bool D×H×W on the PET's grid) by the first RTSTRUCT or SEG that has one in this frame of reference."""
    names = OrganNames(load_labels("umd_petct"))
    for source in (*found.rtstructs, *found.segmentations):
        try:
            for volume in _livers(source, source in found.rtstructs, found, pet, names):
                return resample(volume, pet.grid).array
        except Reject:  # of another patient, or damaged: a build says so
            continue
    return None


def _livers(source: Source, contours: bool, found: Scan, pet: Volume, names: OrganNames) -> Iterator[Volume]:
    if not contours:
        yield from (s.mask for s in Segmentation(source).segments() if names.find(s.label) == "liver")
        return
    structures = StructureSet(source)
    wanted = {number for number, name in structures.names.items() if names.find(name) == "liver"}
    near = [s for s in found.series if wanted and s.frame_of_reference == pet.frame]
    for series in sorted(near, key=lambda s: s.modality != "PT"):
        grid = stack(series).grid
        if structures.distance_from_slices(grid) <= GRID_TOLERANCE:
            yield from (roi.mask for roi in structures.rois(grid) if roi.number in wanted)
            return


def _mark_used(rows: Sequence[Row], found: Scan) -> None:
    """Add `used`, and `why_not` where a build of paired studies would not take a series that can be read."""
    studies: dict[tuple[str, str], list[tuple[Series, Row]]] = defaultdict(list)
    for series, row in zip(found.series, rows, strict=True):
        studies[row["patient"], row["study"]].append((series, row))
    for members in studies.values():
        part = Scan(tuple(series for series, _ in members), ())
        for series, row in members:
            row["used"] = "refused" not in row
            try:
                chosen = _chosen(part, series.modality)
            except Reject as reject:
                row["used"], row["why_not"] = False, reject.code
            else:
                if chosen is not series:
                    row["used"], row["why_not"] = False, "another_is_preferred"


def _chosen(part: Scan, modality: str) -> Series:
    if modality == "PT" or not any(s.modality == "PT" for s in part.series):
        return choose_pet(part) if modality == "PT" else part.only(modality)
    pet = choose_pet(part)
    return choose_mr(part, pet) if modality == "MR" else choose_structural(part, modality, pet)


def _left_out(found: Scan) -> Iterator[Row]:
    groups: dict[tuple[str, ...], list[File]] = defaultdict(list)
    kinds = {(file.path.parent, file.suffix) for series in found.series for file in series.files}
    for entry in found.left_out:
        for file in entry.files:
            dicom = file.suffix in SUFFIXES or (file.path.parent, file.suffix) in kinds
            if entry.code not in NOT_SERIES and (dicom or entry.code != "empty"):
                whose = found.ids.get(file)
                groups[entry.code, *((whose.patient, whose.series, whose.modality) if whose else ())].append(
                    file
                )
    for (code, *_), files in sorted(groups.items()):
        whose = found.ids.get(files[0])
        yield {
            **_whose(whose),
            "modality": whose.modality if whose and whose.modality in KNOWN_MODALITIES else "",
            "files": len(files),
            "refused": code,
            "message": REASONS.get(code, code),
        }


COLUMNS = (
    "patient", "study", "series", "modality", "slices × rows × columns", "spacing mm", "unit", "min", "median", "max",
    "liver", "use", "flags",
)  # fmt: skip
NUMBERS = {"min", "median", "max", "liver"}
PARTS = ((0, 1, 2, 3, 4), (2, 6, 7, 8, 9, 10), (2, 5, 11, 12))  # in three, for a narrow terminal


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows for people, in as many tables as the terminal's width asks for; in a pipe in one."""
    console = page_console(240)
    cells = [_cells(row) for row in rows]
    whole = _table(cells, range(len(COLUMNS)))
    wide = console.options.update(width=1000)
    fits = console.measure(whole, options=wide).maximum <= console.width
    for table in [whole] if fits else [_table(cells, columns) for columns in PARTS]:
        console.print(table)
    count = len({row["patient"] for row in rows if row["patient"]})
    used = sum(bool(row.get("used")) for row in rows)
    console.print(
        f"{len(rows)} series of {counted(count, 'patient')}, {used} would be used by a build of paired studies"
    )


def _table(cells: Sequence[Sequence[str]], columns: Iterable[int]) -> Table:
    table = Table(box=box.SIMPLE)
    for k in columns:
        table.add_column(COLUMNS[k], justify="right" if COLUMNS[k] in NUMBERS else "left", overflow="fold")
    for row in cells:
        table.add_row(*(row[k] for k in columns))
    return table


def _cells(row: Row) -> list[str]:
    """The cells of a series."""
    return [
        *(row["patient"], row["study"], row["series"]),
        " ".join(filter(None, (row["modality"], row.get("contrast", "")))),
        " × ".join(map(str, row.get("shape", ()))) or counted(row["files"], "file"),
        " × ".join(f"{v:.2f}" for v in row.get("spacing", ())),
        row.get("unit", ""),
        *(
            f"{row[name]:.2f}" if row.get(name) is not None else ""
            for name in ("min", "median", "max", "liver_median")
        ),
        "yes" if row.get("used") else f"no: {row.get('refused') or row.get('why_not')}",
        ", ".join(row.get("flags", ())) or ("" if row.get("used") else row.get("message", "")),
    ]
