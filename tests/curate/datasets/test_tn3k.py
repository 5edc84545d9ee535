"""TN3K: thresholded JPEG masks, splits in the key, folders found wherever they lie, its neighbours left alone."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.tn3k.phantom import NODULES
from medshards.curate.formats.pictures import raster
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.curate.tree import File
from tests.samples import samples_at, samples_of

SOURCE = get_source("tn3k")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("tn3k", tmp_path)
    return tmp_path / "Thyroid Dataset/tn3k"


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real)
    folder = next(p for p in real.glob("**/*-[im]*[ek]") if p.is_dir()).parent
    files = {r: {str(p).replace(r, "") for p in folder.glob(f"*-{r}/*.jpg")} for r in ("image", "mask")}
    assert len(listing.cases) == len(files["image"] & files["mask"])
    assert len(listing.rejects) == len(files["image"] ^ files["mask"])
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        mask = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert np.array_equal(sample.instances[0].region.mask(mask.shape), mask > 127)
        assert sample.official_split == case.key.split("-")[0]
    for reject in listing.rejects:
        assert reject["code"] == ("missing_mask" if "-image/" in reject["file"] else "missing_image")


def test_noise_of_real_masks_is_no_nodule(real: Path) -> None:
    files = sorted(real.glob("**/*-mask/*.jpg"))
    if not files:
        pytest.skip("no mask among the samples")
    for path in files:
        stored = np.asarray(PIL.Image.open(path))
        mask = raster.read_threshold(File(path.name, path))
        assert (stored > 0).sum() > mask.sum() > 0
        assert np.array_equal(mask, stored >= 235)  # nothing lies between the noise and white
        assert np.array_equal(mask, stored > 20)


def test_equal_names_in_both_splits(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert set(found) == {f"{split}-{n:04d}" for split, counts in NODULES.items() for n in range(len(counts))}
    for key, sample in found.items():
        split, number = key.split("-")
        drawn = np.array(PIL.Image.open(phantom / f"{split}-mask/{number}.jpg")) > 127
        assert np.array_equal(sample.instances[0].region.mask(sample.image.size), drawn)
        assert (sample.official_split, sample.group) == (split, key)


@pytest.mark.parametrize("nested", [True, False])
def test_other_unpackings(phantom: Path, tmp_path: Path, nested: bool) -> None:
    for split in NODULES:
        for role in ("image", "mask"):
            target = tmp_path / "other/picture" / (split if nested else "")
            target.mkdir(parents=True, exist_ok=True)
            shutil.move(phantom / f"{split}-{role}", target / f"{split}-{role}")
    junk = next((tmp_path / "other").glob("**/test-image")) / ".ipynb_checkpoints"
    junk.mkdir()
    (junk / "0000-checkpoint.jpg").write_bytes(b"")
    listing = list_download(SOURCE, tmp_path / "other")
    assert len(listing.cases) == 5
    assert not listing.rejects


def test_missing_halves_and_sizes(phantom: Path) -> None:
    (phantom / "trainval-mask/0000.jpg").unlink()
    (phantom / "test-image/0001.jpg").unlink()
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "trainval-image/0000.jpg"),
        ("missing_image", "test-mask/0001.jpg"),
    }
    PIL.Image.new("L", (50, 50)).save(phantom / "test-mask/0000.jpg")
    with pytest.raises(Reject, match=r"test-mask/0000\.jpg: size_mismatch"):
        samples_at(SOURCE, phantom)


def test_tg3k_alone_is_another_dataset(phantom: Path) -> None:
    shutil.rmtree(phantom)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom.parent)
