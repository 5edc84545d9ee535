"""BUSI: 1-bit masks, extra masks as further lesions, black masks of normal images, resized copies refused."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_at, samples_of

SOURCE = get_source("busi")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("busi", tmp_path)
    return tmp_path / "Dataset_BUSI_with_GT"


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "busi")
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        kind = case.files["image"].name.split("/")[-2]
        masks = sorted(case.files["image"].path.parent.glob(f"{case.files['image'].stem}_mask*.png"))
        areas = [int(np.asarray(PIL.Image.open(mask).convert("L")).astype(bool).sum()) for mask in masks]
        assert sample.image.encoded == case.files["image"].path.read_bytes()
        if kind == "normal":
            assert (areas, sample.instances) == ([0], [])
        else:
            assert [i.area for i in sample.instances] == areas, case.key
            assert {i.concept for i in sample.instances} == {f"{kind}_breast_lesion"}


def test_stray_pixels_stay_in_their_lesion(phantom: Path) -> None:
    (lesion,) = samples_at(SOURCE, phantom)["malignant-019"].instances
    assert lesion.region.mask((200, 200))[0, 0]
    assert lesion.area > 1


def test_extra_masks_are_lesions_of_the_same_image(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert [i.label for i in found["benign-025"].instances] == ["benign", "benign extra mask"]
    main, rgba = found["benign-004"].instances
    size = found["benign-004"].image.size
    assert 0 < rgba.area < size[0] * size[1] / 2  # alpha is 255 everywhere and no part of the mask
    assert not (main.region.mask(size) & rgba.region.mask(size)).any()


def test_paper_takes_main_masks_of_images_with_lesion(phantom: Path) -> None:
    policy = Policy.of(load_catalog()["busi"], Making("paper"), SOURCE.labels, Vocabulary.load())
    counts = [policy.paper_annotations(sample) for sample in samples_at(SOURCE, phantom).values()]
    assert [len(areas) for areas in counts if areas is not None] == [1] * 7


def test_normal_image_with_white_mask_is_refused(phantom: Path) -> None:
    size = PIL.Image.open(phantom / "normal/normal (1).png").size
    PIL.Image.new("RGB", size, (255, 255, 255)).save(phantom / "normal/normal (1)_mask.png")
    with pytest.raises(Reject, match=r"normal \(1\)_mask.png: unknown_label"):
        samples_at(SOURCE, phantom)


@pytest.mark.parametrize("side", [256, 416])
def test_resized_copies_are_refused(phantom: Path, side: int) -> None:
    for name in ("benign (1).png", "benign (1)_mask.png"):
        PIL.Image.open(phantom / "benign" / name).resize((side, side)).save(phantom / "benign" / name)
    with pytest.raises(Reject, match="not_native"):
        samples_at(SOURCE, phantom)


def test_pairs_must_be_whole_and_of_one_size(phantom: Path) -> None:
    (phantom / "benign/benign (1)_mask.png").unlink()
    (phantom / "malignant/malignant (1).png").unlink()
    PIL.Image.new("1", (30, 20)).save(phantom / "benign/benign (437)_mask.png")
    listing = list_download(SOURCE, phantom)
    assert sorted(r["code"] for r in listing.rejects) == ["missing_image", "missing_mask"]
    case = next(c for c in listing.cases if c.key == "benign-437")
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(case))
