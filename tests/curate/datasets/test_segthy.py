"""SegThy: the richer label file, a fourth axis, volunteers as groups, upright MRI, ultrasound as stored."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medshards.curate.datasets.segthy import phantom as segthy
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import intensity_of, samples_at

SOURCE = get_source("segthy")
MRI, US = "MRI_volunteer_dataset", "US_volunteer_dataset/ground_truth_data"


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("segthy", tmp_path)
    return tmp_path


def test_the_file_with_vessels_is_read_where_there_are_two(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    labels = {i.label for i in found["mri-001-0001"].instances}
    assert labels == {"thyroid", "carotid left", "jugular left", "carotid right", "jugular right"}
    assert found["mri-001-0001"].concepts == ("carotid_artery", "jugular_vein", "thyroid")
    assert found["mri-005-0001"].concepts == ("thyroid",)  # vessels may be there, undrawn


def test_fourth_axis_is_dropped(phantom: Path) -> None:
    sample = samples_at(SOURCE, phantom)["mri-005-0002"]
    assert [i.label for i in sample.instances] == ["thyroid"]
    thyroid = sample.instances[0].region.mask(segthy.SIZE)
    assert thyroid[16, 10]
    assert thyroid[16, 22]


def test_volunteers_are_groups_over_both_modalities(phantom: Path) -> None:
    assert {k[:-5]: s.group for k, s in samples_at(SOURCE, phantom).items()} == {
        "mri-001": "volunteer-001",
        "mri-005": "volunteer-005",
        "us-001_P1_1_left": "volunteer-001",
        "us-001_P1_2_left": "volunteer-001",
    }


def test_ultrasound_is_8_bit_and_mri_keeps_its_numbers(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert found["us-001_P1_1_left-0001"].image.pixels.dtype == np.uint8
    mri = found["mri-001-0001"]
    assert mri.image.pixels.dtype == np.uint16
    assert (intensity_of(mri).slope, intensity_of(mri).intercept, intensity_of(mri).unit) == (
        1,
        0,
        "arbitrary",
    )
    assert mri.image.pixels.max() > 255
    assert mri.spacing == (0.5, 0.5)


def test_mri_is_turned_upright_by_its_header_and_its_labels_with_it(phantom: Path) -> None:
    expected = samples_at(SOURCE, phantom)["mri-001-0001"]
    for path in sorted((phantom / MRI).rglob("001_*.nii.gz")):
        array = np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T[:, ::-1]  # stored bottom up
        segthy.save(path, array, np.diag([-0.5, 0.5, 2.0, 1.0]))
    found = samples_at(SOURCE, phantom)["mri-001-0001"]
    assert np.array_equal(found.image.pixels, expected.image.pixels)
    assert [(i.label, i.region.bbox) for i in found.instances] == [
        (i.label, i.region.bbox) for i in expected.instances
    ]


def test_slices_that_are_not_axial_stay_as_stored(phantom: Path) -> None:
    expected = samples_at(SOURCE, phantom)["mri-001-0001"]
    coronal = np.array([[-0.5, 0, 0, 0], [0, 0, 2.0, 0], [0, -0.5, 0, 0], [0, 0, 0, 1]])
    for path in sorted((phantom / MRI).rglob("001_*.nii.gz")):
        segthy.save(path, np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T, coronal)
    found = samples_at(SOURCE, phantom)["mri-001-0001"]
    assert np.array_equal(found.image.pixels, expected.image.pixels)


def test_unlabelled_volumes_are_passed_over(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert [(Path(name).name, reason) for name, reason in listing.skips] == [
        ("006_MRI.nii.gz", "volume without label file")
    ]


def test_either_archive_alone(phantom: Path) -> None:
    assert {k[:3] for k in samples_at(SOURCE, phantom / MRI)} == {"mri"}
    assert {k[:3] for k in samples_at(SOURCE, phantom / US)} == {"us-"}


def test_other_values_shapes_and_missing_images(phantom: Path) -> None:
    path = phantom / US / "US_thyroid_label/001_P1_1_left.nii"
    segthy.save(path, np.full((4, 32, 32), 6, np.uint8), np.eye(4))
    with pytest.raises(Reject, match=r"001_P1_1_left\.nii: unknown_label"):
        samples_at(SOURCE, phantom)
    segthy.save(path, np.ones((4, 32, 31), np.uint8), np.eye(4))
    with pytest.raises(Reject, match=r"001_P1_1_left\.nii: size_mismatch"):
        samples_at(SOURCE, phantom)
    (phantom / US / "US/001_P1_1_left_US.nii").unlink()
    (reject,) = list_download(SOURCE, phantom).rejects
    assert (reject["code"], Path(reject["file"]).name) == ("missing_image", "001_P1_1_left.nii")


@pytest.mark.parametrize("odd", [-1, 256])
def test_ultrasound_beyond_8_bits_keeps_its_numbers(phantom: Path, odd: int) -> None:
    path = phantom / US / "US/001_P1_1_left_US.nii"
    array = np.array(nib.Nifti1Image.from_filename(path).dataobj).T
    array[1, 0, 0] = odd
    segthy.save(path, array, np.eye(4))
    sample = samples_at(SOURCE, phantom)["us-001_P1_1_left-0001"]
    assert sample.image.pixels.dtype == np.uint16
    assert sample.intensity is not None
    value = sample.image.pixels[0, 0] * intensity_of(sample).slope + intensity_of(sample).intercept
    assert value == pytest.approx(odd, abs=0.01)


def test_mri_of_small_numbers_is_no_8_bit_picture(phantom: Path) -> None:
    path = phantom / MRI / "MRI/001_MRI.nii.gz"
    segthy.save(path, np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T // 8, segthy.LPS)
    sample = samples_at(SOURCE, phantom)["mri-001-0001"]
    assert sample.image.pixels.max() < 256
    assert sample.image.pixels.dtype == np.uint16
    assert sample.intensity is not None
