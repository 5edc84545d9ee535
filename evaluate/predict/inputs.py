"""What a user points at: images, volumes and DICOM series, one by one, in folders or by pattern.

    for source in find(["scans/", "slide.png"]): …          # names only; nothing is decoded
    opened = source.open(windows)                           # slices as a model is shown them

An image is one slice. A volume is gone through along the axis in which it was acquired (that of its slices as stored),
shown in the window that a corpus would show it in: soft tissue for a CT, percentiles for what has no unit.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medshards.common.window import Windows, shown
from medshards.curate.formats.dicom.series import LeftOut, Series, scan
from medshards.curate.formats.dicom.stack import Stack, iter_slices, read_suv, stack
from medshards.curate.formats.pictures.raster import read_image
from medshards.curate.formats.volumes import metaimage, nifti
from medshards.curate.quantise import to_slices
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.curate.volumes import Volume, collect

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")
NIFTI, METAIMAGE = (".nii", ".nii.gz"), (".mha", ".mhd")
DICOM_MARK = 128, b"DICM"


@dataclass(frozen=True, eq=False)
class Opened:
    """An input as slices.

    slices: uint8 H×W or H×W×3 each. affine: 4×4, (column, row, slice, 1) to RAS mm; None for a picture. frames: of
    DICOM, the file of each slice and the number of the frame in it, from 0.
    """

    name: str
    slices: Sequence[NDArray[np.uint8]]
    affine: NDArray[np.float64] | None = None
    frames: tuple[tuple[Path, int], ...] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.slices[0].shape[0], self.slices[0].shape[1]


@dataclass(frozen=True, eq=False)
class Source:
    """One input: a name for its outputs, and where it lies. kind: picture, nifti, metaimage or dicom."""

    name: str
    path: Path
    kind: str
    series: Series | None = field(default=None, repr=False)

    def open(self, windows: Windows | None = None) -> Opened:
        """Decode it. windows: in place of the default one, by unit. Raises Reject."""
        file = File(self.path.name, self.path)
        if self.kind == "picture":
            picture = read_image(file)
            record = {"intensity": asdict(picture.intensity) if picture.intensity else None}
            return Opened(self.name, [shown(picture.pixels, record, windows)])
        if self.kind == "dicom":
            assert self.series is not None
            return _dicom(self.name, self.series, windows)
        if self.kind == "nifti":
            return _volume(self.name, nifti.read_image(file, "OT", "arbitrary"), windows)
        image = metaimage.read(file)
        array = image.array[None] if image.array.ndim == 2 else image.array
        depth, height, width = array.shape
        volume = Volume(collect(iter(array), (depth, height, width)), image.affine, "OT", "arbitrary")
        return _volume(self.name, volume, windows)


@dataclass(frozen=True, eq=False)
class Unusable:
    """Something that was pointed at and cannot be read; the reason is for people."""

    path: Path
    reason: str


def find(arguments: Sequence[str]) -> Iterator[Source | Unusable]:
    """Every input in the order of the arguments and of names; files of no known kind in a folder are passed over."""
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            yield from _folder(path)
        elif path.is_file():
            yield from _file(path)
        elif found := sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207, a pattern may be absolute
            yield from find(found)
        else:
            yield Unusable(path, "there is no such file or folder")


def _file(path: Path) -> Iterator[Source | Unusable]:
    kind = _kind(path)
    if kind is None:
        yield Unusable(path, "is no picture, NIfTI, MetaImage or DICOM file")
    elif kind == "dicom":
        yield from _series([path], path.parent)
    else:
        yield Source(_name(path, path.parent), path, kind)


def _folder(folder: Path) -> Iterator[Source | Unusable]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    kinds = {path: _kind(path) for path in paths}
    found = [
        Source(_name(path, folder), path, kind) for path, kind in kinds.items() if kind not in (None, "dicom")
    ]
    dicom = [path for path, kind in kinds.items() if kind == "dicom"]
    if not found and not dicom:
        yield Unusable(folder, "holds no picture, NIfTI, MetaImage or DICOM file")
    yield from found
    if dicom:
        yield from _series(dicom, folder)


def _series(paths: Sequence[Path], folder: Path) -> Iterator[Source | Unusable]:
    """DICOM series are named by their folder and number, never by what a header says of a person."""
    held = scan(File(path.name, path) for path in paths)
    for number, series in enumerate(held.series, start=1):
        first = series.files[0].path
        place = first.parent.relative_to(folder).as_posix() if first.is_relative_to(folder) else ""
        stem = "" if place == "." else f"{place.replace('/', '_')}_"
        yield Source(f"{stem}series-{number:02d}", first, "dicom", series)
    for left in held.left_out:
        yield Unusable(left.files[0].path, _left(left))


def _left(left: LeftOut) -> str:
    more = f" (and {len(left.files) - 1} more files)" if len(left.files) > 1 else ""
    return f"{left.code}: {left.message}{more}"


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    for kind, extensions in (("nifti", NIFTI), ("metaimage", METAIMAGE), ("picture", PICTURES)):
        if name.endswith(extensions):
            return kind
    with path.open("rb") as stream:
        stream.seek(DICOM_MARK[0])
        return "dicom" if stream.read(4) == DICOM_MARK[1] or name.endswith(".dcm") else None


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    for extension in sorted((*NIFTI, *METAIMAGE, *PICTURES), key=len, reverse=True):
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


@dataclass(frozen=True, eq=False)
class _Shown(Sequence[NDArray[np.uint8]]):
    """The slices of a volume, each shown when it is asked for."""

    volume: Volume
    windows: Windows | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stored", to_slices(self.volume))

    def __len__(self) -> int:
        return len(self.volume.array)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        stored = self._stored  # type: ignore[attr-defined]
        return shown(stored.stored[index], {"intensity": asdict(stored.intensity(index))}, self.windows)


def _volume(
    name: str, volume: Volume, windows: Windows | None, frames: tuple[tuple[Path, int], ...] | None = None
) -> Opened:
    if volume.array.dtype == np.uint8:
        return Opened(name, list(volume.array), volume.affine, frames)
    return Opened(name, _Shown(volume, windows), volume.affine, frames)


def _dicom(name: str, series: Series, windows: Windows | None) -> Opened:
    ordered: Stack = stack(series)
    frames = tuple((frame.source.file.path, frame.index) for frame in ordered.frames if frame is not None)
    if series.modality == "PT":
        volume = read_suv(series, without_weight="bqml")
    else:
        grid = ordered.grid
        unit = "hu" if series.modality == "CT" else "arbitrary"
        volume = Volume(
            collect(iter_slices(ordered), grid.shape), grid.affine, series.modality, unit, grid.frame
        )
    return _volume(name, volume, windows, frames)


__all__ = ["Opened", "Reject", "Source", "Unusable", "find"]
