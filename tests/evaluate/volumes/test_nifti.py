"""Predictions go back to the voxels of the downloaded image, whatever the order of its axes."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Sample
from medshards.curate.source import get_source
from medshards.evaluate.volumes.nifti import VolumeError, VolumeWriter


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, list[Sample]]]:
    root = tmp_path_factory.mktemp("umd")
    write_phantom("umd_petct", root)
    source = get_source("umd_petct")
    listing = list_download(source, root)
    return [(case, [s for s in source.load(case) if isinstance(s, Sample)]) for case in listing.cases]


def record(sample: Sample) -> dict[str, Any]:
    assert sample.position is not None
    position = sample.position
    facts = {"key": sample.key, "volume": position.volume, "slice": [position.index, position.count]}
    return json.loads(json.dumps({**facts, **sample.extra}))


def test_the_ground_truth_comes_back_as_the_masks_that_were_read(studies: Any, tmp_path: Path) -> None:
    compared = 0
    for case, samples in studies:
        writer = VolumeWriter(tmp_path / case.key)
        for sample in samples:
            masks = {i.concept: i.region.mask(sample.image.size) for i in sample.instances}
            writer.add(record(sample), masks)
        paths = writer.close()
        assert {p.name.removesuffix(".nii.gz") for p in paths} >= {"brain", "liver", "left_kidney"}
        for role in ("ct", "pt"):
            if not case.files[role].name.endswith(".nii.gz"):
                continue
            image = nib.Nifti1Image.from_filename(case.files[role].path)
            written = nib.Nifti1Image.from_filename(
                tmp_path / case.key / f"{case.key}-{role}" / "liver.nii.gz"
            )
            assert written.shape == image.shape
            np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)
            drawn = case.files.get("mask:liver")
            if drawn is not None and nib.Nifti1Image.from_filename(drawn.path).shape == image.shape:
                truth = np.asarray(nib.Nifti1Image.from_filename(drawn.path).dataobj) > 0
                np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, truth)
                compared += 1
    assert compared >= 2


def test_masks_of_a_smaller_picture_are_brought_to_the_volume(studies: Any, tmp_path: Path) -> None:
    _, samples = studies[0]
    writer = VolumeWriter(tmp_path)
    half = np.zeros((8, 10), bool)
    half[2:4, 3:5] = True
    writer.add(record(samples[0]), {"liver": half})
    (path,) = writer.close()
    filled = int(np.count_nonzero(np.asarray(nib.Nifti1Image.from_filename(path).dataobj)))
    assert filled in (16, 64)  # 2×2 px on a PET or on a CT twice as fine


def test_pictures_are_passed_over_and_volumes_without_grid_refused(studies: Any, tmp_path: Path) -> None:
    writer = VolumeWriter(tmp_path)
    writer.add({"key": "a", "volume": None}, {})
    assert writer.close() == []
    with pytest.raises(VolumeError, match="no grid"):
        writer.add({"key": "a", "volume": "v", "slice": [0, 2]}, {})


def test_slices_of_a_volume_must_come_together(studies: Any, tmp_path: Path) -> None:
    first, second = studies[0][1][0], studies[0][1][-1]
    mask = {"liver": np.ones(first.image.size, bool)}
    writer = VolumeWriter(tmp_path)
    writer.add(record(first), mask)
    writer.add(record(second), mask)
    with pytest.raises(VolumeError, match="together"):
        writer.add(record(first), mask)
