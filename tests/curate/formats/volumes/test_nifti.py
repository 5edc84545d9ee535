"""NIfTI volumes: values, types, orientation, and headers that lie."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medshards.curate.formats.volumes import nifti
from medshards.curate.sample import Reject
from medshards.curate.tree import File

ARRAY = np.random.default_rng(3).integers(-900, 2000, (4, 5, 6)).astype(np.int16)  # i, j, k
AFFINE = np.array([[-2.0, 0, 0, 30], [0, -3.0, 0, 20], [0, 0, 4.0, -7], [0, 0, 0, 1]])


def at(path: Path) -> File:
    return File(path.name, path)


def write(path: Path, array: NDArray = ARRAY, kind: type = nib.Nifti1Image, **fields: object) -> Path:
    image = kind(array, AFFINE, dtype=array.dtype)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def patch(path: Path, offset: int, fmt: str, *values: float) -> Path:
    """Overwrite header fields in place; nibabel would not write them so."""
    data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    struct.pack_into("<" + fmt, data, offset, *values)
    path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else bytes(data))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "<f8", "<u2", "<i4", "|u1"])
def test_values_type_and_place(tmp_path: Path, name: str, kind: type, dtype: str) -> None:
    array = np.abs(ARRAY) % 200 if dtype == "|u1" else np.abs(ARRAY) if dtype == "<u2" else ARRAY
    image = kind(array.astype(np.dtype(dtype).newbyteorder("=")), AFFINE)
    image.header.set_data_dtype(np.dtype(dtype).newbyteorder("="))
    if dtype == ">i2":
        image = kind(array, AFFINE, image.header.as_byteswapped(">"))
    image.to_filename(tmp_path / name)
    volume = nifti.read_image(at(tmp_path / name), "CT", "hu")
    np.testing.assert_array_equal(volume.array, array.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.array.dtype == (np.float32 if dtype in ("<f4", "<f8") else np.int16)
    assert volume.array.flags.c_contiguous
    assert volume.spacing_mm == pytest.approx((4, 3, 2))
    np.testing.assert_array_equal(np.stack(list(nifti.iter_slices(at(tmp_path / name)))), volume.array)


@pytest.mark.parametrize(("slope", "inter", "dtype"), [(2.0, -5.0, np.int16), (0.5, 0.0, np.float32)])
def test_scaling(tmp_path: Path, slope: float, inter: float, dtype: type) -> None:
    path = patch(write(tmp_path / "a.nii"), 112, "2f", slope, inter)  # scl_slope, scl_inter
    volume = nifti.read_image(at(path), "CT", "hu")
    np.testing.assert_allclose(volume.array, ARRAY.transpose(2, 1, 0) * slope + inter)
    assert volume.array.dtype == dtype


def test_real_files_against_nibabel(samples: Path) -> None:
    paths = sorted((samples / "pet_dicom").rglob("*.nii.gz"))
    assert paths
    for path in paths:
        image = nib.Nifti1Image.from_filename(path)
        label = "mask" in path.name
        volume = nifti.read_labels(at(path)) if label else nifti.read_image(at(path), "PT", "suvbw")
        np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj).T)
        np.testing.assert_allclose(volume.affine, image.affine)
        assert not label or volume.array.dtype.kind in "iu"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_labels_take_no_more_room_than_their_numbers_need(tmp_path: Path, dtype: type[np.integer]) -> None:
    labels = (ARRAY % 118).astype(dtype)
    found = nifti.read_labels(at(write(tmp_path / "a.nii.gz", labels)))
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, labels.T)
    assert found.unit == "label"


def test_large_label_ids_survive(tmp_path: Path) -> None:
    """2^24 + 1 is not a float32."""
    labels = np.full((2, 2, 2), 2**24 + 1, np.int32)
    assert (nifti.read_labels(at(write(tmp_path / "a.nii", labels))).array == 2**24 + 1).all()


def test_labels_stored_as_float(tmp_path: Path) -> None:
    whole = (ARRAY % 118).astype(np.float64)
    found = nifti.read_labels(at(write(tmp_path / "a.nii.gz", whole)))
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, whole.T)
    for bad in (0.5, np.nan, np.inf, 40000.0):
        whole[1, 2, 3] = bad
        with pytest.raises(Reject, match="label_not_integer"):
            nifti.read_labels(at(write(tmp_path / "b.nii.gz", whole)))


def test_scaled_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Reject, match="label_scaled"):
        nifti.read_labels(at(patch(write(tmp_path / "a.nii"), 112, "2f", 0.5, 0)))


def moved(rows: dict[tuple[int, int], float]) -> NDArray:
    matrix = AFFINE.copy()
    for index, value in rows.items():
        matrix[index] = value
    return matrix


def oriented(path: Path, sform: NDArray | None, qform: NDArray | None) -> Path:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    image.header.set_zooms((2, 3, 4))
    image.to_filename(path)
    return path


@pytest.mark.parametrize(
    ("sform", "qform", "expected", "flags"),
    [
        (AFFINE, AFFINE, AFFINE, ()),
        (AFFINE, None, AFFINE, ()),
        (None, AFFINE, AFFINE, ()),
        # another origin, same directions: the sform
        (AFFINE, moved({(0, 3): 90}), AFFINE, ("qform_sform_differ",)),
        (AFFINE, moved({(0, 3): 30.1}), AFFINE, ()),  # 0.05 voxels
        # sizes that contradict the header's: the qform
        (moved({(0, 0): -1}), AFFINE, AFFINE, ("sform_ignored",)),
        (moved({(0, 0): 0}), AFFINE, AFFINE, ("sform_ignored",)),
        (None, None, np.diag([2.0, 3, 4, 1]), ("no_orientation",)),
    ],
)
def test_orientation_rule(
    tmp_path: Path, sform: NDArray | None, qform: NDArray | None, expected: NDArray, flags: tuple[str, ...]
) -> None:
    header = nifti.read_header(at(oriented(tmp_path / "a.nii", sform, qform)))
    np.testing.assert_allclose(header.grid.affine, expected, atol=1e-5)
    assert header.flags == flags


def test_contradictory_sides_are_refused(tmp_path: Path) -> None:
    """Left and right swapped between sform and qform: neither is believed."""
    path = oriented(tmp_path / "a.nii", moved({(0, 0): 2, (0, 3): 24}), AFFINE)
    with pytest.raises(Reject, match="orientation_contradiction"):
        nifti.read_header(at(path))


def test_micrometres_become_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.set_xyzt_units("micron")
    image.to_filename(tmp_path / "a.nii")
    header = nifti.read_header(at(tmp_path / "a.nii"))
    assert header.grid.spacing_mm == pytest.approx((0.004, 0.003, 0.002))
    assert header.flags == ("units_not_mm",)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("sizes", [(512, 512, 512), (2000, 2000, 200), (30000, 30000, 30000)])
def test_headers_that_lie_are_refused_before_allocation(
    tmp_path: Path, name: str, sizes: tuple[int, int, int]
) -> None:
    path = patch(write(tmp_path / name), 40, "8h", 3, *sizes, 1, 1, 1, 1)  # dim
    tracemalloc.start()
    with pytest.raises(Reject) as caught:
        nifti.read_image(at(path), "CT", "hu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code in ("truncated", "too_large")
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("dims", "code"),
    [
        ((4, 4, 5, 6, 2, 1, 1, 1), "not_3d"),
        ((1, 4, 1, 1, 1, 1, 1, 1), "not_3d"),
        ((3, -4, 5, 6, 1, 1, 1, 1), "bad_shape"),
        ((3, 4, 0, 6, 1, 1, 1, 1), "bad_shape"),
        ((-7, 4, 5, 6, 1, 1, 1, 1), "not_3d"),
    ],
)
def test_impossible_dimensions(tmp_path: Path, dims: tuple[int, ...], code: str) -> None:
    with pytest.raises(Reject) as caught:
        nifti.read_header(at(patch(write(tmp_path / "a.nii"), 40, "8h", *dims)))
    assert caught.value.code == code


def test_trailing_dimensions_of_one_are_dropped(tmp_path: Path) -> None:
    path = patch(write(tmp_path / "a.nii"), 40, "8h", 5, 4, 5, 6, 1, 1, 1, 1)
    assert nifti.read_header(at(path)).grid.shape == (6, 5, 4)


def test_first_volume_of_four_axes_on_request(tmp_path: Path) -> None:
    both = np.stack([ARRAY, ARRAY + 1], axis=-1)
    path = write(tmp_path / "a.nii.gz", both)
    with pytest.raises(Reject, match="not_3d"):
        nifti.read_labels(at(path))
    assert np.array_equal(nifti.read_labels(at(path), first=True).array, ARRAY.T)


def test_headers_of_wrong_affines_can_be_read_for_their_voxels_alone(tmp_path: Path) -> None:
    path = oriented(tmp_path / "a.nii", moved({(0, 0): 2, (0, 3): 24}), AFFINE)
    with pytest.raises(Reject, match="orientation_contradiction"):
        nifti.read_labels(at(path))
    labels = nifti.read_labels(at(path), oriented=False)
    assert np.array_equal(labels.array, ARRAY.T)
    assert labels.flags == ("no_orientation",)


def test_damaged_files(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.nii"), write(tmp_path / "b.nii.gz")
    whole = plain.read_bytes()
    plain.write_bytes(whole[:-10])
    with pytest.raises(Reject, match="truncated"):
        nifti.read_image(at(plain), "CT", "hu")
    compressed = packed.read_bytes()
    packed.write_bytes(compressed[:-40])
    with pytest.raises(Reject, match="damaged"):
        nifti.read_image(at(packed), "CT", "hu")
    packed.write_bytes(compressed[:-8] + bytes(4) + compressed[-4:])  # another CRC
    with pytest.raises(Reject, match="damaged"):
        nifti.read_image(at(packed), "CT", "hu")
    packed.write_bytes(gzip.compress(whole[:-10]))
    with pytest.raises(Reject, match="truncated"):
        nifti.read_image(at(packed), "CT", "hu")
    for content in (b"", b"\x1f\x8b", whole[:100], b"version https://git-lfs.github.com/spec/v1\n" * 20):
        plain.write_bytes(content)
        with pytest.raises(Reject) as caught:
            nifti.read_header(at(plain))
        assert caught.value.code in ("not_nifti", "damaged", "unreadable", "lfs_pointer")
    plain.write_bytes(whole[:344] + b"ni1\0" + whole[348:])
    with pytest.raises(Reject, match="not_nifti"):
        nifti.read_header(at(plain))


def test_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    for code in (128, 32, 1234):  # RGB, complex64, unknown
        with pytest.raises(Reject, match="unsupported_dtype"):
            nifti.read_header(at(patch(write(tmp_path / "a.nii"), 70, "h", code)))


def test_images_with_nan_are_refused(tmp_path: Path) -> None:
    values = ARRAY.astype(np.float32)
    values[0, 0, 0] = np.nan
    with pytest.raises(Reject, match="not_finite"):
        nifti.read_image(at(write(tmp_path / "a.nii", values)), "PT", "suvbw")


def test_labels_of_both_signs_and_many_bits(tmp_path: Path) -> None:
    labels = np.zeros((2, 2, 3), np.int64)
    labels[0, 0] = -1, 200, 70_000
    found = nifti.read_labels(at(write(tmp_path / "a.nii", labels)))
    assert found.array.dtype == np.int32
    np.testing.assert_array_equal(found.array, labels.T)


def test_a_picture_of_nothing_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    """A header of 384 MiB over a gzip stream of 400 KiB."""
    path = write(tmp_path / "a.nii", np.zeros((1, 1, 1), np.float64))
    patch(path, 40, "8h", 3, 512, 512, 192, 1, 1, 1, 1)
    (tmp_path / "b.nii.gz").write_bytes(
        gzip.compress(path.read_bytes()[:352] + bytes(512 * 512 * 192 * 8), 9)
    )
    tracemalloc.start()
    with pytest.raises(Reject, match="expands_too_far"):
        nifti.read_image(at(tmp_path / "b.nii.gz"), "CT", "hu")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_label_map_of_eight_bytes_a_voxel_takes_one(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write(path, np.full((128, 128, 64), 7, np.int64))
    tracemalloc.start()
    assert nifti.read_labels(at(path)).array.max() == 7
    assert tracemalloc.get_traced_memory()[1] < 2 * 128 * 128 * 64
    tracemalloc.stop()


def test_highly_compressible_volume_is_not_taken_for_a_lie(tmp_path: Path) -> None:
    empty = np.zeros((200, 200, 100), np.uint8)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "a.nii", empty).read_bytes(), 9))
    assert path.stat().st_size < empty.nbytes / 500
    assert not nifti.read_labels(at(path)).array.any()
