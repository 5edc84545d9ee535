"""FetoPlac: any channel is vessel, frames of a video stay together, clips without masks are left."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.fetoplac.phantom import VIDEOS
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("fetoplac")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("fetoplac", tmp_path)
    return tmp_path / "Fetoscopy Placenta Dataset"


def test_real_samples(real: Path) -> None:
    """Real frames of unannotated clips are never samples, alone or beside annotated ones."""
    if not any(real.glob("**/Vessel_segmentation_annotations/**/*.png")):
        with pytest.raises(Reject, match="not_recognised"):
            list_download(SOURCE, real)
        return
    for case in list_download(SOURCE, real).cases:
        assert "unannotated" not in case.files["image"].name
        (sample,) = samples_of(SOURCE, case)
        assert sample.group.startswith("video")


def test_real_clip_beside_annotated_frames(phantom: Path, real: Path) -> None:
    clip = next(real.glob("**/Vessel_registration_unannotated_clips"), None)
    if clip is None:
        pytest.skip("no unannotated clip among the samples")
    shutil.rmtree(phantom / "Vessel_registration_unannotated_clips")
    shutil.copytree(clip, phantom / "Vessel_registration_unannotated_clips")
    listing = list_download(SOURCE, phantom)
    assert len(listing.cases) == 7
    assert len(listing.skips) == len(list(clip.glob("**/*.png"))) > 0
    assert not listing.rejects


def test_any_channel_is_vessel_and_nothing_else_in_the_folder_is_read(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    for video, (prefix, side, count) in VIDEOS.items():
        for number in range(count):
            name = f"{prefix}_{901 + number:05d}"
            sample = found[f"{video}-{name}"]
            path = phantom / f"Vessel_segmentation_annotations/{video}/masks_gt/{name}_mask.png"
            drawn = np.asarray(PIL.Image.open(path)).max(axis=2) > 0
            assert np.array_equal(sample.instances[0].region.mask((side, side)), drawn)
            assert sample.group == video


def test_missing_halves_and_sizes(phantom: Path) -> None:
    folder = phantom / "Vessel_segmentation_annotations/video01"
    (folder / "masks_gt/anon001_00901_mask.png").unlink()
    (folder / "images/anon001_00902.png").unlink()
    assert {
        (r["code"], r["file"].rpartition("video01/")[2]) for r in list_download(SOURCE, phantom).rejects
    } == {
        ("missing_mask", "images/anon001_00901.png"),
        ("missing_image", "masks_gt/anon001_00902_mask.png"),
    }
    PIL.Image.new("RGB", (470, 470)).save(folder / "masks_gt/anon001_00903_mask.png")
    with pytest.raises(Reject, match=r"anon001_00903_mask\.png: size_mismatch"):
        samples_at(SOURCE, phantom)


def test_fetreg_is_another_dataset(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "FetReg/Video001" / folder).mkdir(parents=True)
        PIL.Image.new("L", (8, 8)).save(tmp_path / f"FetReg/Video001/{folder}/Video001_frame00100.png")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path)
