"""CVC-ClinicDB: white is the polyp and dark values are not, sequences by number, PNG and TIFF distributions."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.datasets.cvc_clinicdb.phantom import STRIPS, save
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import Case, get_source
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("cvc_clinicdb")
FOLDERS = ("Original", "Ground Truth")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("cvc_clinicdb", tmp_path)
    return tmp_path / "CVC-ClinicDB"


def cases(root: Path) -> dict[str, Case]:
    return {case.key: case for case in list_download(SOURCE, root).cases}


def as_png(folder: Path, target: Path, names: tuple[str, str] = FOLDERS) -> None:
    for old, new in zip(FOLDERS, names, strict=True):
        (target / new).mkdir(parents=True)
        for path in (folder / old).iterdir():
            pixels = strips(path) if old == "Original" else np.asarray(PIL.Image.open(path))
            PIL.Image.fromarray(pixels).save(target / new / f"{path.stem}.png")


def strips(path: Path) -> np.ndarray:
    """The raw bytes of a file's strips, one after the other, taken for RGB."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        data = path.read_bytes()
        raw = b"".join(data[at : at + n] for at, n in zip(page.dataoffsets, page.databytecounts, strict=True))
        return np.frombuffer(raw, np.uint8).reshape(page.imagelength, page.imagewidth, 3)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 612 frames in the official form, very small."""
    folder, rng = tmp_path_factory.mktemp("complete") / "CVC-ClinicDB", np.random.default_rng(0)
    (folder / "Ground Truth").mkdir(parents=True)
    for number in range(1, 613):
        save(folder / f"Original/{number}.tif", rng.integers(0, 256, (STRIPS, 12, 3), np.uint8))
        mask = np.zeros((STRIPS, 12), np.uint8)
        mask[4:10, 3:8] = 255
        PIL.Image.fromarray(mask).save(folder / f"Ground Truth/{number}.tif")
    return folder


def test_of_the_complete_official_archive_every_frame_is_read_as_rgb(complete: Path) -> None:
    listing = list_download(SOURCE, complete.parent)
    assert (len(listing.cases), listing.rejects, listing.skips) == (612, [], [])
    assert len({case.group for case in listing.cases}) == 29
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        assert np.array_equal(sample.image.pixels, strips(case.files["image"].path)), case.key
        assert sample.instances[0].area == 30


def test_real_official_frames_are_read_as_their_strips(real: Path) -> None:
    files = sorted((real / "CVC-ClinicDB/Original").glob("*.tif"))
    if not files:
        pytest.skip("no official frame among the samples")
    found = cases(real / "CVC-ClinicDB")
    assert set(found) == {path.stem for path in files}
    for path in files:
        (sample,) = samples_of(SOURCE, found[path.stem])
        assert sample.image.size == (288, 384)
        assert np.array_equal(sample.image.pixels, strips(path))


def test_real_frames_with_dark_values_in_the_mask(samples: Path, tmp_path: Path) -> None:
    """Re-saved real frames: not taken as they lie; under native names their masks are read above 127."""
    copy = samples / "cvc_clinicdb/converted_not_native/CVC-612"
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, copy)
    for folder, kind in zip(FOLDERS, ("images", "masks"), strict=True):
        (tmp_path / folder).mkdir()
        for path in sorted((copy / kind).glob("*.jpg")):
            PIL.Image.open(path).save(tmp_path / folder / f"{path.stem.split('_')[2]}.tif")
    found = cases(tmp_path)
    assert found
    for key, case in found.items():
        (sample,) = samples_of(SOURCE, case)
        grey = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert sample.image.size == (288, 384)
        assert sample.instances[0].area == int((grey > 127).sum())
        assert case.group == "sequence-01"
        if key in ("1", "2", "3", "4", "5", "8"):
            assert int((grey > 5).sum()) > sample.instances[0].area + 5000


def test_sequences_of_the_authors() -> None:
    from medshards.curate.datasets.cvc_clinicdb.converter import SEQUENCES

    assert len(SEQUENCES) == 29
    assert [b - a for a, b in zip(SEQUENCES, (*SEQUENCES[1:], 613), strict=True)] == [
        *(25, 25, 17, 11, 25, 23, 25, 26, 22, 6, 22, 25, 25, 20, 20),
        *(25, 21, 20, 25, 20, 19, 19, 12, 25, 25, 18, 25, 20, 21),
    ]


def test_groups_and_dark_values(phantom: Path) -> None:
    found = cases(phantom)
    groups = {key: case.group for key, case in found.items()}
    assert groups["1"] == groups["2"] == groups["25"] == "sequence-01"
    assert (groups["26"], groups["200"], groups["612"]) == ("sequence-02", "sequence-10", "sequence-29")
    for case in found.values():
        (sample,) = samples_of(SOURCE, case)
        mask = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert (mask == 11).any()
        assert sample.instances[0].area == int((mask == 255).sum())


def test_specks_of_few_pixels_are_no_polyps(tmp_path: Path) -> None:
    """Of the real masks' 670 components, 24 have 1 to 6 px."""
    write_phantom("cvc_clinicdb", tmp_path)
    policy = Policy.of(load_catalog()["cvc_clinicdb"], Making(), SOURCE.labels, Vocabulary.load())
    assert policy.min_area == 7
    for case in cases(tmp_path).values():
        (sample,) = samples_of(SOURCE, case)
        _, lost = policy.instances(sample)
        assert lost == 1


@pytest.mark.parametrize("base", [".", "PNG", "any name"])
def test_png_copies(phantom: Path, tmp_path: Path, base: str) -> None:
    as_png(phantom, tmp_path / "kaggle" / base)
    assert len(cases(tmp_path / "kaggle")) == 6


def test_png_and_tiff_side_by_side_are_one_dataset(phantom: Path, tmp_path: Path) -> None:
    as_png(phantom, tmp_path / "kaggle/PNG")
    shutil.copytree(phantom, tmp_path / "kaggle/TIF")
    listing = list_download(SOURCE, tmp_path / "kaggle")
    assert (len(listing.cases), listing.rejects) == (6, [])
    assert {case.files["mask"].suffix for case in listing.cases} == {".png"}
    assert listing.ignored == {"the same frame as TIFF, beside the PNG": 12}


def test_subset_of_another_benchmark_is_refused(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "TestDataset/CVC-ClinicDB"
    as_png(phantom, folder, ("images", "masks"))
    assert len(cases(tmp_path / "TestDataset")) == 6
    for kind in ("images", "masks"):
        for number in range(100, 156):
            shutil.copy(folder / kind / "1.png", folder / kind / f"{number}.png")
    listing = list_download(SOURCE, tmp_path / "TestDataset")
    assert [r["code"] for r in listing.rejects] == ["not_native"]
    assert not listing.cases


def test_what_does_not_belong_is_named(phantom: Path) -> None:
    (phantom / "Ground Truth/1.tif").unlink()
    (phantom / "Original/2.tif").unlink()
    for folder in FOLDERS:
        (phantom / folder / "612.tif").rename(phantom / folder / "613.tif")
    PIL.Image.new("L", (388, 324)).save(phantom / "Ground Truth/26.tif")
    rejects = list_download(SOURCE, phantom).rejects
    assert [(r["code"], Path(r["file"]).name) for r in rejects] == [
        ("missing_mask", "1.tif"),
        ("missing_image", "2.tif"),
        ("not_native", "613.tif"),
    ]
    with pytest.raises(Reject, match="size_mismatch: the mask is 388 x 324 px"):
        list(SOURCE.load(cases(phantom)["26"]))
