"""BTCV: axial slices by the image's header, sides checked by liver and spleen, three layouts, copies refused."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import scipy.sparse

from medshards.curate.datasets.btcv import phantom as btcv
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import intensity_of, samples_at

SOURCE = get_source("btcv")
RAS = np.diag([0.8, 0.7, 3.0, 1.0])


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("btcv", tmp_path)
    return tmp_path / "RawData"


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T


def test_slices_are_axial_and_upright(phantom: Path) -> None:
    image, labels = (stored(phantom / f"Training/{p}0001.nii.gz") for p in ("img/img", "label/label"))
    sample = samples_at(SOURCE, phantom)["case-0001-0003"]
    assert np.array_equal(sample.image.pixels.astype(int) + intensity_of(sample).intercept, image[3, ::-1])
    for instance in sample.instances:
        value = {name: v for v, name in SOURCE.labels.by_value().items()}[instance.label]
        assert np.array_equal(instance.region.mask(btcv.SIZE), labels[3, ::-1] == value)
    x = {i.concept: i.region.left for i in sample.instances}
    assert x["liver"] < x["spleen"]
    assert x["right_kidney"] < x["left_kidney"]
    y = {i.concept: i.region.top for i in sample.instances}
    assert y["stomach"] < y["aorta"]  # front above back
    assert sample.spacing == pytest.approx((0.7, 0.8))


def test_numbers_stay_hounsfield_units(phantom: Path) -> None:
    intensity = intensity_of(samples_at(SOURCE, phantom)["case-0001-0001"])
    assert (intensity.slope, intensity.unit, intensity.window) == (1.0, "HU", (-160.0, 240.0))


def test_label_without_header_lies_on_its_image(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    with_header = {i.label: i.region.bbox for i in found["case-0001-0002"].instances}
    without = {i.label: i.region.bbox for i in found["case-0023-0002"].instances}
    assert without == {label: box for label, box in with_header.items() if label != "gallbladder"}


def test_liver_on_the_left_is_refused(phantom: Path) -> None:
    path = phantom / "Training/img/img0001.nii.gz"
    btcv.save(path, stored(path), RAS)
    with pytest.raises(Reject, match="left_right"):
        samples_at(SOURCE, phantom)


def test_image_without_orientation_is_refused(phantom: Path) -> None:
    path = phantom / "Training/img/img0001.nii.gz"
    btcv.save(path, stored(path), None)
    with pytest.raises(Reject, match=r"img0001\.nii\.gz: no_orientation"):
        samples_at(SOURCE, phantom)


def test_copies_with_eight_organs_are_refused(phantom: Path) -> None:
    path = phantom / "Training/label/label0001.nii.gz"
    btcv.save(path, np.minimum(stored(path), 8), btcv.LAS)
    with pytest.raises(Reject, match=r"label0001\.nii\.gz: renumbered"):
        samples_at(SOURCE, phantom)
    btcv.save(path, stored(path) * 2 + (stored(path) > 0), btcv.LAS)
    with pytest.raises(Reject, match="unknown_label"):
        samples_at(SOURCE, phantom)
    btcv.save(path, np.ones((4, *btcv.SIZE), np.uint8), btcv.LAS)
    with pytest.raises(Reject, match="size_mismatch"):
        samples_at(SOURCE, phantom)


@pytest.mark.parametrize(
    ("image", "label"), [("ABD_{:03d}", "ABD_{:03d}"), ("ABD_{:03d}_0000", "ABD_{:03d}")]
)
def test_nnunet_layout(phantom: Path, tmp_path: Path, image: str, label: str) -> None:
    expected = samples_at(SOURCE, phantom)
    for number in (1, 23):
        for folder, old, new in (("imagesTr", "img/img", image), ("labelsTr", "label/label", label)):
            (tmp_path / "BTCV" / folder).mkdir(parents=True, exist_ok=True)
            source = phantom / f"Training/{old}{number:04d}.nii.gz"
            shutil.copy(source, tmp_path / "BTCV" / folder / f"{new.format(number)}.nii.gz")
    found = samples_at(SOURCE, tmp_path / "BTCV")
    assert found.keys() == expected.keys()


def test_monai_layout_with_the_real_list(samples: Path, phantom: Path, tmp_path: Path) -> None:
    lists = sorted((samples / "btcv").rglob("dataset_0.json"))
    if not lists:
        pytest.skip("no dataset_0.json among the samples")
    content = json.loads(lists[0].read_text())
    root = tmp_path / "monai"
    for part in ("training", "validation"):
        for entry in content[part]:
            for kind, source in (("image", "img/img0001"), ("label", "label/label0001")):
                (root / entry[kind]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(phantom / f"Training/{source}.nii.gz", root / entry[kind])
    for name in content["test"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom / "Testing/img/img0061.nii.gz", root / name)
    shutil.copy(lists[0], root)
    listing = list_download(SOURCE, root)
    splits = {c.files["image"].name: c.split for c in listing.cases}
    assert splits == {e["image"]: "train" for e in content["training"]} | {
        e["image"]: "val" for e in content["validation"]
    }
    assert sorted(name for name, _ in listing.skips) == sorted(content["test"])
    assert not listing.rejects


def test_organs_of_real_slices_lie_where_they_should(samples: Path, tmp_path: Path) -> None:
    """The samples are converted slices, written as stored (towards left and front); liver and spleen tell the side."""
    names = sorted((samples / "btcv").rglob("image/ABD_*.png"))
    used = 0
    for number, path in enumerate(names, start=1):
        grey = np.asarray(PIL.Image.open(path).convert("L")).astype(np.int16)
        (table,) = path.parents[1].glob(f"label/*{path.stem}.*.npz")
        planes = scipy.sparse.load_npz(table).toarray().reshape(13, *grey.shape)
        labels = (planes * np.arange(1, 14)[:, None, None]).max(axis=0).astype(np.uint8)
        if not {1, 6} <= set(np.unique(labels)) or labels.max() <= 8:
            continue
        used += 1
        for folder, array in (("imagesTr/img", grey), ("labelsTr/label", labels)):
            btcv.save(tmp_path / f"{folder}{number:04d}.nii.gz", np.stack([array] * 3), btcv.LAS)
        sample = samples_at(SOURCE, tmp_path)[f"case-{number:04d}-0001"]
        boxes = {i.concept: i.region for i in sample.instances}
        assert boxes["liver"].left < boxes["spleen"].left
        for organ, region in boxes.items():
            value = {c: v for v, n in SOURCE.labels.by_value().items() if (c := SOURCE.labels.concept(n))}[
                organ
            ]
            assert np.array_equal(region.mask(grey.shape), labels[::-1] == value)
        if "aorta" in boxes:  # it lies before the spine, in the back half of an upright slice
            assert boxes["aorta"].top > boxes["liver"].top
        image = tmp_path / f"imagesTr/img{number:04d}.nii.gz"
        btcv.save(image, stored(image), RAS)
        with pytest.raises(Reject, match="left_right"):
            samples_at(SOURCE, tmp_path)
        btcv.save(image, stored(image), btcv.LAS)
    if not used:
        pytest.skip("no slice with liver and spleen among the samples")


def test_other_sets_are_not_taken_for_this_one(samples: Path, tmp_path: Path, phantom: Path) -> None:
    """Converted pictures, and NIH Pancreas-CT, whose labels have the same names."""
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, samples / "btcv")
    for kind, name in (("img/img0001", "PANCREAS_0001"), ("label/label0001", "label0001")):
        target = tmp_path / "pancreas" / ("imagesTr" if "img" in kind else "labelsTr") / f"{name}.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(phantom / f"Training/{kind}.nii.gz", target)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path / "pancreas")


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / "Training/label/label0001.nii.gz").unlink()
    (phantom / "Training/img/img0023.nii.gz").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert {(r["code"], Path(r["file"]).name) for r in rejects} == {
        ("missing_mask", "img0001.nii.gz"),
        ("missing_image", "label0023.nii.gz"),
    }
