"""Which DICOM files belong together: from any pile of files to series of one geometry each.

`scan` opens each file once. It returns the image series that can become volumes, the RTSTRUCT and SEG
objects, and, counted by reason, everything it left out. No name, id, date, UID or free text leaves this
module but in `Ids`: UIDs are digests, and `repr` shows sizes and counts. `stack` makes volumes of the pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset

from medshards.curate.formats.dicom import kinds
from medshards.curate.formats.dicom.frames import Frame, frames_of
from medshards.curate.formats.dicom.tags import Ids, Source, digest, open_dicom, quiet, text
from medshards.curate.sample import Reject
from medshards.curate.tree import File

SAME_DIRECTION = 1e-3  # tolerance of direction cosines and, in mm, of pixel spacing


@dataclass(frozen=True, eq=False)
class Series:
    """Frames of one series that share modality, size, orientation, spacing and frame of reference.

    orientation: direction cosines of the row and the column axis (LPS), six numbers.
    spacing: (row, column) distance of pixel centres in mm.
    contrast: MR only, `water`, `fat`, `in_phase`, `opposed_phase`, `fat_fraction` or "".
    units: PT only, Units (0054,1001) where it is a defined term.
    uid, study, frame_of_reference: digests.
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

    def __repr__(self) -> str:
        size = f"{self.rows}×{self.columns}, {len(self.frames)} frames"
        return f"Series({' '.join(filter(None, (self.modality, self.contrast, self.units)))}, {size})"

    @property
    def files(self) -> list[File]:
        """Files of the series, each once, in the order they were given."""
        return list(dict.fromkeys(frame.source.file for frame in self.frames))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Files that are no part of a volume, and why."""

    code: str
    message: str
    files: tuple[File, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a pile of files holds. Nothing is in two places, and nothing is missing.

    ids: whose each file is that could be opened; native, so they go no further than this process.
    """

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    rtstructs: tuple[Source, ...] = field(default=(), repr=False)
    segmentations: tuple[Source, ...] = field(default=(), repr=False)
    ids: Mapping[File, Ids] = field(default_factory=dict, repr=False)

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
            most = max(self.left_out, key=lambda entry: len(entry.files))
            raise Reject(most.code, f"no usable series: {most.message} ({len(most.files)} files)")
        raise Reject("no_series", "no DICOM images were found")


def scan(files: Iterable[File], keep: bool = False) -> Scan:
    """Sort DICOM files (any order, any names) into series and mask objects.

    keep: read the pixels too and keep them, so that no file is opened again; without it, headers only.
    A file that cannot be used is listed in `left_out` and does not stop the rest.
    """
    groups: list[Series] = []
    masks: dict[str, list[Source]] = {"RTSTRUCT": [], "SEG": []}
    left: dict[str, list[File]] = {}
    ids: dict[File, Ids] = {}
    for file in files:
        try:
            with quiet():
                ds = open_dicom(file, pixels=keep)
                ids[file] = Ids.of(ds)
                kind = kinds.object_kind(ds)
                source = Source(file, ds if keep else None)
                if kind != "image":
                    masks[kind].append(source)
                    continue
                for part in _series_of(ds, source, ids[file]):
                    _add(groups, part)
        except Reject as reject:
            left.setdefault(reject.code, []).append(file)
    series: list[Series] = []
    for group in groups:
        if _is_dynamic(group):
            left.setdefault("dynamic_pet", []).extend(group.files)
        else:
            series += _split_repeats(group)
    return Scan(
        tuple(sorted(series, key=lambda s: (s.modality, s.uid, s.contrast, len(s.frames)))),
        tuple(LeftOut(code, kinds.REASONS.get(code, code), tuple(left[code])) for code in sorted(left)),
        tuple(masks["RTSTRUCT"]),
        tuple(masks["SEG"]),
        ids,
    )


def _series_of(ds: Dataset, source: Source, ids: Ids) -> list[Series]:
    """One series a geometry of one object (an enhanced object may hold several)."""
    parts: list[Series] = []
    for frame, geometry in frames_of(ds, source):
        part = Series(
            modality=text(ds, "Modality"),
            rows=geometry.rows,
            columns=geometry.columns,
            orientation=geometry.orientation,
            spacing=geometry.spacing,
            frames=(frame,),
            contrast=frame.contrast,
            units=kinds.known_units(ds),
            uid=digest(ids.series),
            study=digest(ids.study),
            frame_of_reference=digest(ids.frame),
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
    same = (a.uid, a.modality, a.rows, a.columns, a.frame_of_reference, a.contrast, a.units) == (
        (b.uid, b.modality, b.rows, b.columns, b.frame_of_reference, b.contrast, b.units)
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


def _is_dynamic(series: Series) -> bool:
    """True for a PET that comes back to a place at another time; the beds of a whole-body scan do not."""
    times: dict[tuple[float, ...], set[object]] = {}
    if series.modality == "PT":
        for frame in series.frames:
            times.setdefault(_place(frame), set()).add(frame.time)
    return any(len(moments) > 1 for moments in times.values())


def _repeats(frames: Sequence[Frame]) -> bool:
    return max(Counter(_place(frame) for frame in frames).values()) > 1


def _place(frame: Frame) -> tuple[float, ...]:
    return tuple(round(v, 2) for v in frame.position)
