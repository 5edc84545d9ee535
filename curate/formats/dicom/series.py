"""Which DICOM files belong together: from any pile of files to series of one geometry each.

`scan` reads headers only. It returns the image series that can become volumes, the RTSTRUCT and SEG
objects, and, counted by reason, everything it left out. No name, id, date, UID or free text leaves this
module: UIDs are digests, the patient is a keyed hash, and `repr` shows sizes and counts.
`curate.formats.dicomvolume` reads the pixels.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset

from medshards.curate.formats.dicom import kinds
from medshards.curate.formats.dicom.frames import Frame, frames_of
from medshards.curate.formats.dicom.tags import digest, open_dicom, quiet, text, value
from medshards.curate.sample import Reject

SAME_DIRECTION = 1e-3  # tolerance of direction cosines and, in mm, of pixel spacing


@dataclass(frozen=True, eq=False)
class Series:
    """Frames of one series that share modality, size, orientation, spacing and frame of reference.

    orientation: direction cosines of the row and the column axis (LPS), six numbers.
    spacing: (row, column) distance of pixel centres in mm.
    contrast: MR only, `water`, `fat`, `in_phase`, `opposed_phase`, `fat_fraction` or "".
    units: PT only, Units (0054,1001) where it is a defined term.
    uid, study, frame_of_reference: digests. patient: keyed hash, "" when `scan` got no key.
    """

    modality: str
    rows: int
    columns: int
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    frames: tuple[Frame, ...] = field(repr=False)
    contrast: str = ""
    units: str = ""
    uid: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    frame_of_reference: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)

    def __repr__(self) -> str:
        size = f"{self.rows}×{self.columns}, {len(self.frames)} frames"
        return f"Series({' '.join(filter(None, (self.modality, self.contrast, self.units)))}, {size})"

    @property
    def paths(self) -> list[Path]:
        """Files of the series, each once, in the order they were given."""
        return list(dict.fromkeys(frame.path for frame in self.frames))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Files that are no part of a volume, and why."""

    code: str
    message: str
    paths: tuple[Path, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a pile of files holds. Nothing is in two places, and nothing is missing."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    rtstructs: tuple[Path, ...] = field(repr=False)
    segmentations: tuple[Path, ...] = field(repr=False)
    value_maps: tuple[Path, ...] = field(repr=False)

    def only(self, modality: str | None = None) -> Series:
        """The one series (of `modality`).

        Raises: Reject `several_series`, or the reason why the files were left out, or `no_series`.
        """
        found = [s for s in self.series if modality in (None, s.modality)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Reject("several_series", f"expected one series of images, found {len(found)}")
        if self.left_out:
            most = max(self.left_out, key=lambda entry: len(entry.paths))
            raise Reject(most.code, f"no usable series: {most.message} ({len(most.paths)} files)")
        raise Reject("no_series", "no DICOM images were found")


def scan(paths: Iterable[Path], key: bytes | None = None) -> Scan:
    """Sort DICOM files (any order, any names) into series and mask objects; reads headers only.

    key: secret for `Series.patient`, an HMAC-SHA256 of PatientID; without it `patient` is "".
    A file that cannot be used is listed in `left_out` and does not stop the rest.
    """
    groups: list[Series] = []
    found: dict[str, list[Path]] = {"RTSTRUCT": [], "SEG": [], "RWV": []}
    left: dict[str, list[Path]] = {}
    for path in paths:
        try:
            with quiet():
                ds = open_dicom(path, pixels=False)
                kind = kinds.object_kind(ds)
                if kind != "image":
                    found[kind].append(path)
                    continue
                for part in _series_of(ds, path, key):
                    _add(groups, part)
        except Reject as reject:
            left.setdefault(reject.code, []).append(path)
    series = [part for group in groups for part in _split_repeats(group)]
    return Scan(
        tuple(sorted(series, key=lambda s: (s.modality, s.uid, s.contrast, len(s.frames)))),
        tuple(LeftOut(code, kinds.REASONS.get(code, code), tuple(left[code])) for code in sorted(left)),
        tuple(found["RTSTRUCT"]),
        tuple(found["SEG"]),
        tuple(found["RWV"]),
    )


def _series_of(ds: Dataset, path: Path, key: bytes | None) -> list[Series]:
    """One series a geometry of one object (an enhanced object may hold several)."""
    patient = text(ds, "PatientID")
    parts: list[Series] = []
    for frame, geometry in frames_of(ds, path):
        part = Series(
            modality=text(ds, "Modality"),
            rows=geometry.rows,
            columns=geometry.columns,
            orientation=geometry.orientation,
            spacing=geometry.spacing,
            frames=(frame,),
            contrast=frame.contrast,
            units=kinds.known_units(ds),
            uid=digest(str(value(ds, "SeriesInstanceUID") or "")),
            study=digest(str(value(ds, "StudyInstanceUID") or "")),
            frame_of_reference=digest(str(value(ds, "FrameOfReferenceUID") or "")),
            patient=hmac.new(key, patient.encode(), "sha256").hexdigest()[:32] if key and patient else "",
        )
        _add(parts, part)
    return parts


def _add(groups: list[Series], part: Series) -> None:
    """Join `part` to the group it belongs to, or start a new one."""
    for n in range(len(groups) - 1, -1, -1):  # the newest group is the likeliest
        if _belongs(groups[n], part):
            groups[n] = replace(groups[n], frames=groups[n].frames + part.frames)
            return
    groups.append(part)


def _belongs(a: Series, b: Series) -> bool:
    same = (a.uid, a.modality, a.rows, a.columns, a.frame_of_reference, a.contrast, a.units, a.patient) == (
        (b.uid, b.modality, b.rows, b.columns, b.frame_of_reference, b.contrast, b.units, b.patient)
    )
    near = all(
        abs(x - y) <= SAME_DIRECTION
        for x, y in zip((*a.orientation, *a.spacing), (*b.orientation, *b.spacing))
    )
    # the echoes and image types of one MR series are different pictures of the same places
    mr = a.modality != "MR" or a.frames[0].mr_kind == b.frames[0].mr_kind
    return same and near and mr


def _split_repeats(series: Series) -> list[Series]:
    """Split a series whose positions repeat by the first property that tells the repeats apart.

    When none does, the series stays whole; identical slices are dropped, and others refused, on reading.
    """
    if not _repeats(series.frames):
        return [series]
    for n in range(len(series.frames[0].repeat_keys)):
        groups: dict[object, list[Frame]] = {}
        for frame in series.frames:
            groups.setdefault(frame.repeat_keys[n], []).append(frame)
        if len(groups) > 1 and not any(_repeats(frames) for frames in groups.values()):
            return [replace(series, frames=tuple(groups[k])) for k in sorted(groups, key=str)]
    return [series]


def _repeats(frames: Sequence[Frame]) -> bool:
    positions = Counter(tuple(round(v, 2) for v in frame.position) for frame in frames)
    return max(positions.values()) > 1
