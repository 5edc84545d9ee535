"""Readers of files that hold many pictures: right values, slice by slice, and refusals in place of guesses."""

import zlib
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from medshards.curate.formats.numbers import as_bytes, as_labels
from medshards.curate.formats.volumes import hdf5, metaimage, npy, tiffstack
from medshards.curate.formats.xlsx import read_sheet
from medshards.curate.sample import Reject
from medshards.curate.tree import File

VOLUME = np.random.default_rng(7).integers(0, 60000, (5, 17, 23)).astype(np.uint16)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 351078192\n"


def at(path: Path) -> File:
    return File(path.name, path)


def cut(path: Path, keep: float) -> File:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return at(path)


@pytest.mark.parametrize("content", [b"", POINTER])
def test_no_reader_takes_an_empty_file_or_a_pointer(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    code = "lfs_pointer" if content else "unreadable"
    with pytest.raises(Reject, match=code):
        npy.open_array(at(path), 3)
    with pytest.raises(Reject, match=code):
        metaimage.read(at(path))
    with pytest.raises(Reject, match=code):
        read_sheet(at(path))
    with pytest.raises(Reject, match=code), hdf5.open_stack(at(path), "main"):
        pass
    with pytest.raises(Reject, match=code), tiffstack.open_stack(at(path)):
        pass


def test_reals_become_bytes_or_labels_only_where_nothing_is_guessed(tmp_path: Path) -> None:
    file = at(tmp_path / "a")
    assert as_bytes(np.array([0.0, 127.6, 255.0]), file).tolist() == [0, 128, 255]
    assert as_labels(np.array([0.0, 70000.0]), file).tolist() == [0, 70000]
    assert as_bytes(np.array([0.0, 1.0]), file).tolist() == [0, 1]  # a dark slice
    for bad in ([0.0, 256.0], [-1.0, 0.0], [np.nan, 1.0], [0.0, 0.5, 1.0], [0.001]):
        with pytest.raises(Reject, match="unsupported_image"):
            as_bytes(np.array(bad), file)
    for bad in ([0.0, 0.5], [np.inf], [np.nan], [-1.0], [1e300]):
        with pytest.raises(Reject, match="label_not_integer"):
            as_labels(np.array(bad), file)
    with pytest.raises(Reject, match="label_not_integer"):
        as_labels(np.array([-1, 3]), file)


# ---------------------------------------------------------------------------------------------------- npy


def test_npy_is_mapped_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOLUME)
    array = npy.open_array(at(tmp_path / "a.npy"), 3)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert np.array_equal(array[3], VOLUME[3])


def test_npy_text(tmp_path: Path) -> None:
    np.save(tmp_path / "types.npy", np.array(["Breast", "Adrenal_gland"]))
    assert npy.open_array(at(tmp_path / "types.npy"), 1).tolist() == ["Breast", "Adrenal_gland"]


def test_npy_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(Reject, match="unreadable"):
        npy.open_array(at(path), 1)
    np.save(path, VOLUME)
    with pytest.raises(Reject, match="bad_shape"):
        npy.open_array(at(path), 4)
    with pytest.raises(Reject, match="unreadable"):
        npy.open_array(cut(path, 0.9), 3)
    np.save(path, VOLUME.astype(complex))
    with pytest.raises(Reject, match="unsupported_dtype"):
        npy.open_array(at(path), 3)
    np.savez(tmp_path / "b.npz", VOLUME)
    with pytest.raises(Reject, match="unreadable"):
        npy.open_array(at(tmp_path / "b.npz"), 3)


def test_npy_header_that_claims_an_exabyte_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 256, 256, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(100))
    with pytest.raises(Reject, match="unreadable"):
        npy.open_array(at(path), 4)


# --------------------------------------------------------------------------------------------------- hdf5


def test_hdf5_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("main", data=VOLUME, chunks=(2, 8, 8), compression="gzip")
    with hdf5.open_stack(at(path), "main") as stack:
        assert stack.shape == VOLUME.shape
        assert np.array_equal(stack[4], VOLUME[4])
        assert np.array_equal(np.stack(list(stack)), VOLUME)
        assert stack.annotated() == [np.count_nonzero(s) for s in VOLUME]
        with pytest.raises(IndexError):
            stack[5]


def test_hdf5_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle["flat"] = VOLUME[0]
        handle["text"] = np.full((2, 2, 2), b"x")
        handle["elsewhere"] = h5py.ExternalLink("other.h5", "main")
        handle.create_group("group")
        handle.create_dataset("huge", (1 << 20, 1 << 16, 1 << 16), "u1", chunks=(1, 64, 64))
        handle.create_dataset("outside", (2, 2, 2), "u1", external=[(str(tmp_path / "raw"), 0, 8)])
    for key, code in {
        "main": "missing_dataset",
        "group": "missing_dataset",
        "flat": "not_3d",
        "text": "unsupported_dtype",
        "elsewhere": "external_data",
        "outside": "external_data",
        "huge": "too_large",
    }.items():
        with pytest.raises(Reject, match=code) as caught, hdf5.open_stack(at(path), key):
            pass
        assert caught.value.file == "a.h5"


def test_hdf5_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle["main"] = VOLUME
    with pytest.raises(Reject, match="unreadable"), hdf5.open_stack(cut(path, 0.7), "main") as stack:
        list(stack)


# --------------------------------------------------------------------------------------------------- tiff


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"imagej": True},
        {"extratags": [(65000, "s", 0, "private", True)]},
    ],
)
def test_tiff_pages_are_slices(options: dict, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, **options)
    with tiffstack.open_stack(at(path)) as stack:
        assert stack.shape == VOLUME.shape
        assert np.array_equal(np.stack(list(stack)), VOLUME)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_one_page_for_all_slices_as_imagej_writes_it(
    order: Literal["<", ">"], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, truncate=True, byteorder=order)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    with tiffstack.open_stack(at(path)) as stack:
        assert stack.shape == VOLUME.shape
        assert np.array_equal(np.stack(list(stack)), VOLUME)
    with pytest.raises(Reject, match="unreadable"), tiffstack.open_stack(cut(path, 0.8)) as stack:
        list(stack)
    tifffile.imwrite(path, VOLUME, imagej=True)
    with pytest.raises(Reject, match="cut short"), tiffstack.open_stack(cut(path, 0.8)):
        pass


def test_tiff_of_one_page(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0])
    with tiffstack.open_stack(at(tmp_path / "a.tif")) as stack:
        assert stack.shape == (1, 17, 23)
        assert np.array_equal(stack[0], VOLUME[0])


def test_tiff_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 9, 9, 3), np.uint8), photometric="rgb")
    with pytest.raises(Reject, match="not_3d"), tiffstack.open_stack(at(path)):
        pass
    with tifffile.TiffWriter(path) as writer:
        writer.write(VOLUME[0])
        writer.write(VOLUME[0, :5])
    with pytest.raises(Reject, match="not_3d"), tiffstack.open_stack(at(path)):
        pass
    path.write_bytes(b"\x89PNG, no TIFF")
    with pytest.raises(Reject, match="unreadable"), tiffstack.open_stack(at(path)):
        pass
    tifffile.imwrite(path, VOLUME)
    with pytest.raises(Reject, match="unreadable"), tiffstack.open_stack(cut(path, 0.8)) as stack:
        list(stack)


def test_real_tiff_volume(samples: Path) -> None:
    found = sorted((samples / "nucmm_z").rglob("*.tif"))
    for path in found:
        with tiffstack.open_stack(at(path)) as stack:
            assert np.array_equal(np.stack(list(stack)), tifffile.imread(path))
    if not found:
        pytest.skip("no TIFF volume among the samples")


# ---------------------------------------------------------------------------------------------- metaimage


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_metaimage_as_itk_writes_it(compressed: bool, dtype: type, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VOLUME.astype(dtype))
    image.SetSpacing((0.28, 0.3, 2.5))  # ITK's order: column, row, slice
    path = tmp_path / "a.mha"
    sitk.WriteImage(image, str(path), compressed)
    read = metaimage.read(at(path))
    assert read.array.dtype == dtype
    assert np.array_equal(read.array, VOLUME.astype(dtype))
    assert read.spacing == (2.5, 0.3, 0.28)
    assert isinstance(read.array, np.memmap) != compressed


def test_metaimage_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"

    def refused(header: str, pixels: bytes = bytes(8)) -> str:
        path.write_bytes(header.encode() + pixels)
        with pytest.raises(Reject) as caught:
            metaimage.read(at(path))
        assert caught.value.file == "a.mha"
        return caught.value.code

    good = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    path.write_bytes(good.encode() + bytes(8))
    assert metaimage.read(at(path)).spacing is None
    assert refused("BinaryData = False\n" + good) == "unsupported_image"
    assert refused(good.replace("NDims = 3", "NDims = 2")) == "unreadable"
    for skip in ("1", "100", "-2", "x"):  # within the header, behind the end, nowhere
        assert refused(f"HeaderSize = {skip}\n" + good) == "unreadable"
    assert refused(good, bytes(7)) == "unreadable"
    assert refused(good.replace("2 2 2", "2 2 99999999999")) == "too_large"
    assert refused(good.replace("2 2 2", "2 2 0")) == "too_large"
    assert refused(good.replace("2 2 2", "two")) == "unreadable"
    assert refused(good.replace("MET_UCHAR", "MET_UCHAR_ARRAY")) == "unsupported_image"
    assert refused("ElementNumberOfChannels = 3\n" + good) == "unsupported_image"
    assert refused(good.replace("LOCAL", "secret.raw")) == "unsupported_image"
    assert refused("CompressedData = True\n" + good) == "unreadable"
    assert refused("no header at all") == "unreadable"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("skip", [300, 700, -1])
def test_metaimage_whose_pixels_begin_later(skip: int, compressed: bool, tmp_path: Path) -> None:
    """ITK's own reader is the reference, where it reads the file: deflated pixels at the end it does not."""
    path = tmp_path / "a.mha"
    pixels = zlib.compress(VOLUME.tobytes()) if compressed else VOLUME.tobytes()
    header = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {compressed}\n"
    header += f"CompressedDataSize = {len(pixels)}\n" if compressed else ""
    header += f"HeaderSize = {skip}\nDimSize = 23 17 5\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(header.encode().ljust(max(skip, 400 if skip < 0 else 0), b" ") + pixels)
    if compressed and skip < 0:
        with pytest.raises(Reject, match="HeaderSize -1"):
            metaimage.read(at(path))
        return
    assert np.array_equal(metaimage.read(at(path)).array, VOLUME)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), VOLUME)


@pytest.mark.parametrize("spacing", ["0 0 0", "0.3 0.3 0", "-1 1 1", "nan 1 1", "inf 1 1"])
def test_metaimage_of_a_spacing_that_is_no_distance(spacing: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    fields = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    path.write_bytes(f"ElementSpacing = {spacing}\n{fields}".encode() + bytes(8))
    assert metaimage.read(at(path)).spacing is None


def test_real_metaimages(samples: Path) -> None:
    found = sorted(samples.rglob("*.mha"))
    for path in found:
        read = metaimage.read(at(path))
        assert np.array_equal(read.array, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    if not found:
        pytest.skip("no MetaImage among the samples")


def test_npy_text_with_impossible_characters_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "types.npy", np.array(["Breast", "Colon"]))
    damaged = bytearray((tmp_path / "types.npy").read_bytes())
    damaged[-4:] = b"\xff\xff\xff\x7f"
    (tmp_path / "types.npy").write_bytes(damaged)
    with pytest.raises(Reject, match="characters that do not exist"):
        npy.open_array(File("types.npy", tmp_path / "types.npy"), 1)
