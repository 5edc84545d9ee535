"""NIfTI-1 and NIfTI-2 volumes, plain or gzip, read slice by slice.

The bytes of a NIfTI file, columns fastest, already are a D×H×W array: nothing is transposed or flipped.

Orientation rule. With both a qform and an sform: the same grid within 0.1 voxel, or else the same
anatomical direction of each axis, and the sform is used (flag `qform_sform_differ` in the second case).
Do they point to different anatomical directions, left and right cannot be told apart: refused. With one
of the two, that one. With neither, the voxel sizes alone (method 1 of the standard; flag `no_orientation`).
An sform that is singular or whose voxel sizes contradict the header's by more than 1 % is not used when
a qform is there (flag `sform_ignored`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from medshards.curate.formats.files import blame, require_file
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.curate.volumes import Grid, Volume, check_size, collect, same_grid

MAX_DEFLATE = 1032  # no DEFLATE stream expands further: 258 bytes from two bits
BOMB = 1 << 26, 100  # bytes of an image from which it may not be so many times larger than its gzip stream
LABEL_TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metre, millimetre, micrometre
_BROKEN: Any = (EOFError, OSError, zlib.error, isal_zlib.error)


@dataclass(frozen=True, eq=False)
class Header:
    """What is needed to read the voxels: `grid`, the stored type, the scaling and where the data start."""

    grid: Grid
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    flags: tuple[str, ...]


def read_header(file: File, first: bool = False, oriented: bool = True) -> Header:
    """Header of a NIfTI file, checked against the size of the file before anything is allocated.

    first: of a file with more than three dimensions, the first volume alone is meant; otherwise it is refused.
    oriented: take the affine from the header; False where headers are known to be wrong or another file's counts:
        then nothing of it is read, the grid is that of the stored order with steps of 1 mm (flag `no_orientation`).

    Raises: Reject `not_nifti`, `truncated`, `too_large`, `bad_shape`, `not_3d`, `unsupported_dtype`,
    `bad_geometry`, `orientation_contradiction`, `unreadable`, `lfs_pointer`.
    """
    require_file(file)
    with blame(file):
        return _header(file, first, oriented)


def _header(file: File, first: bool, oriented: bool) -> Header:
    with _open(file) as stream:
        header = _parse(stream)
    sizes = [int(n) for n in header["dim"][1 : 1 + max(int(header["dim"][0]), 0)]]
    if not 2 <= len(sizes) <= 7 or (any(n != 1 for n in sizes[3:]) and not first):
        raise Reject("not_3d", f"expected a volume of three dimensions, the header says {sizes}")
    width, height, depth = (*sizes[:3], 1)[:3]
    check_size((depth, height, width))
    try:
        dtype = header.get_data_dtype()
    except Exception:
        raise Reject("unsupported_dtype", f"data type code {int(header['datatype'])} is not known") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Reject(
            "unsupported_dtype", f"expected integer or real voxels, found type code {int(header['datatype'])}"
        )
    offset = max(int(header["vox_offset"]), int(header["sizeof_hdr"]) + 4)
    size = file.path.stat().st_size
    needed = offset + depth * height * width * dtype.itemsize
    possible = size * MAX_DEFLATE if _is_gzip(file) else size
    if needed > possible:
        raise Reject(
            "truncated", f"the header promises {needed} bytes, a file of {size} bytes cannot hold them"
        )
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0
    affine, flags = _affine(header, (depth, height, width)) if oriented else (np.eye(4), ("no_orientation",))
    if not np.isfinite(intercept):
        intercept = 0.0
    return Header(Grid((depth, height, width), affine), dtype, slope, intercept, offset, flags)


def iter_slices(file: File, header: Header | None = None) -> Iterator[NDArray[Any]]:
    """The slices of an image in file order, H×W: integers where type and scaling are whole, else float32.

    Raises: Reject `truncated`, `damaged`, `not_finite`, `expands_too_far`, and those of `read_header`.
    """
    with blame(file):
        yield from _slices(file, header or read_header(file))


def _slices(file: File, header: Header) -> Iterator[NDArray[Any]]:
    needed = int(np.prod(header.grid.shape)) * header.dtype.itemsize
    if needed > BOMB[0] and needed > BOMB[1] * file.path.stat().st_size:
        size = file.path.stat().st_size >> 10
        message = f"an image of {needed >> 20} MiB in a gzip stream of {size} KiB: nothing can be in it"
        raise Reject("expands_too_far", message)
    whole = header.dtype.kind in "iu" and header.slope.is_integer() and header.intercept.is_integer()
    plain = (header.slope, header.intercept) == (1.0, 0.0)
    for k, stored in enumerate(_stored(file, header)):
        if whole:
            values = stored if plain else stored.astype(np.int64) * int(header.slope) + int(header.intercept)
        else:
            scaled = stored if plain else stored.astype(np.float64) * header.slope + header.intercept
            values = scaled.astype(np.float32)
            if not np.isfinite(values).all():
                raise Reject("not_finite", f"slice {k} holds values that are not finite")
        yield values


def read_image(file: File, modality: str, unit: str, oriented: bool = True) -> Volume:
    """An image as int16 (when every value is whole and fits) or float32, D×H×W.

    `modality` and `unit` are what the dataset says; NIfTI itself does not know them. oriented: see `read_header`.
    Raises: those of `iter_slices`.
    """
    header = read_header(file, oriented=oriented)
    with blame(file):
        array = collect(iter_slices(file, header), header.grid.shape)
    return Volume(array, header.grid.affine, modality, unit, flags=header.flags)


def read_labels(file: File, first: bool = False, oriented: bool = True) -> Volume:
    """A label map, D×H×W, in the smallest type that holds its numbers (uint8 for most); never through floating point.

    Some tools store labels as float: they are taken when every value is a whole number of 16 bits.
    first: of a file with more than three dimensions, read the first volume. oriented: see `read_header`.
    Raises: Reject `label_scaled`, `label_not_integer`, and those of `iter_slices`.
    """
    header = read_header(file, first, oriented)
    with blame(file):
        if (header.slope, header.intercept) != (1.0, 0.0):
            message = "the header scales the stored values; labels must be stored as they are"
            raise Reject("label_scaled", message)
        array = np.zeros(header.grid.shape, np.uint8)
        low = high = 0
        for k, stored in enumerate(_stored(file, header)):
            values = _whole(stored, k)
            low, high = min(low, int(values.min())), max(high, int(values.max()))
            array = array.astype(_smallest(low, high), copy=False)
            array[k] = values
    return Volume(array, header.grid.affine, "SEG", "label", flags=header.flags)


def _smallest(low: int, high: int) -> type[np.integer[Any]]:
    """The smallest integer type that holds `low` to `high`, which one type of a file held."""
    limits = ((kind, np.iinfo(kind)) for kind in LABEL_TYPES)
    return next(kind for kind, info in limits if info.min <= low and high <= info.max)


def _whole(values: NDArray[Any], k: int) -> NDArray[Any]:
    """A slice of labels; reals must be whole numbers of 16 bits."""
    limits = np.iinfo(np.int16)
    # written so that NaN and infinity fail as well
    if values.dtype.kind == "f":
        if not ((values == np.trunc(values)) & (values >= limits.min) & (values <= limits.max)).all():
            message = f"slice {k} of the label map holds values that are not whole numbers"
            raise Reject("label_not_integer", message)
        return values.astype(np.int16)
    return values


def _is_gzip(file: File) -> bool:
    with file.path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _open(file: File) -> IO[bytes]:
    return cast(IO[bytes], igzip.open(file.path, "rb") if _is_gzip(file) else file.path.open("rb"))


def _parse(file: IO[bytes]) -> Any:
    try:
        start = file.read(4)
        size = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
        kind: Any = nib.Nifti1Header if 348 in size else nib.Nifti2Header if 540 in size else None
        if kind is None or len(start) < 4:
            raise Reject("not_nifti", "the file does not begin with a NIfTI header (348 or 540)")
        block = start + file.read((348 if kind is nib.Nifti1Header else 540) - 4)
        header = kind(block, check=False)
    except _BROKEN:
        raise Reject("damaged", "the gzip stream ends or breaks inside the header") from None
    except (nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError):
        raise Reject("not_nifti", "the file is shorter than a NIfTI header") from None
    if bytes(header["magic"].tobytes())[:3] not in (b"n+1", b"n+2"):
        raise Reject("not_nifti", "not a single-file NIfTI (an Analyze image, or a pair of .hdr and .img)")
    return header


def _stored(file: File, header: Header) -> Iterator[NDArray[Any]]:
    """Stored slices, H×W, native byte order."""
    depth, height, width = header.grid.shape
    native = header.dtype.newbyteorder("=")
    with _open(file) as stream:
        try:
            skip = header.offset
            while skip > 0 and (block := stream.read(min(skip, 1 << 20))):
                skip -= len(block)
            for k in range(depth):
                values = np.empty((height, width), header.dtype)
                room = values.reshape(-1).view(np.uint8).data
                done = 0
                while done < len(room) and (n := stream.readinto(room[done:])):  # type: ignore[attr-defined]
                    done += n
                if done < len(room):
                    raise Reject("truncated", f"the data end in slice {k} of {depth}")
                yield values.astype(native, copy=False)
            stream.read(1)  # reaches the checksum of a gzip stream
        except _BROKEN:
            raise Reject("damaged", "the gzip stream breaks off or fails its checksum") from None


def _affine(header: Any, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """RAS affine in mm by the rule in the module's docstring, with flags."""
    flags: list[str] = []
    scale = TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    if scale != 1.0:
        flags.append("units_not_mm")
    qform = _usable(_try(lambda: header.get_qform(coded=True)[0]), shape)
    sform = _usable(header.get_sform(coded=True)[0], shape)
    sizes = np.abs(np.nan_to_num(np.array(header["pixdim"][1:4], float)))
    if int(header["sform_code"]) > 0 and qform is not None and not _sizes_agree(sform, sizes):
        sform, flags = None, [*flags, "sform_ignored"]
    if sform is not None and qform is not None and not same_grid(sform, qform):
        if aff2axcodes(sform.affine) != aff2axcodes(qform.affine):
            raise Reject(
                "orientation_contradiction",
                f"the sform says the axes run to {''.join(aff2axcodes(sform.affine))}, the qform "
                f"{''.join(aff2axcodes(qform.affine))}; correct the header",
            )
        flags.append("qform_sform_differ")
    chosen = sform or qform
    if chosen is None:
        if int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0:
            raise Reject("bad_geometry", "neither the sform nor the qform is a usable affine")
        flags.append("no_orientation")
        chosen = Grid(shape, np.diag([*np.where(sizes > 0, sizes, 1.0), 1.0]))
    affine = chosen.affine.copy()
    affine[:3] *= scale
    return affine, tuple(flags)


def _try(get: Any) -> Any:
    try:
        return get()
    except Exception:  # nibabel raises several kinds for an impossible quaternion
        return None


def _usable(affine: NDArray[np.float64] | None, shape: tuple[int, int, int]) -> Grid | None:
    try:
        return None if affine is None else Grid(shape, affine)
    except Reject:
        return None


def _sizes_agree(grid: Grid | None, sizes: NDArray[np.float64]) -> bool:
    return grid is not None and bool(np.allclose(grid.spacing_mm[::-1], sizes, rtol=0.01))
