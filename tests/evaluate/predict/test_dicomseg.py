"""A DICOM series in, a DICOM SEG out: opened by highdicom and pydicom."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from medshards.curate.phantoms.bodies.dicom import save, slice_of
from medshards.evaluate.predict.cli import predict

hd = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'medshards[dicom-seg]'")
SHAPE = (6, 24, 20)
RULE = ("--aggregate", "top1", "--min-score", "0")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT of six slices, whose files stand in no order."""
    values = np.random.default_rng(3).integers(-200, 300, SHAPE)
    for k, one in enumerate(values):
        save(slice_of("CT", "PAT7", 3, k, one), tmp_path / "ct" / f"{(k * 5) % 7}.dcm")
    return tmp_path / "ct"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(predict, [str(a) for a in arguments])


def test_the_segmentation_lies_on_its_source(series: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = (
        "--checkpoint",
        run,
        "--prompt",
        "liver",
        "--prompt",
        "some thing",
        "--out",
        out,
        "--device",
        "cpu",
    )
    result = call(
        series,
        *options,
        "--format",
        "dicom-seg",
        "--format",
        "nifti",
        "--aggregate",
        "top1",
        "--min-score",
        0,
    )
    assert result.exit_code == 0, result.output
    (path,) = out.glob("*.dcm")
    segmentation = hd.seg.segread(path)
    sources = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, series.glob("*.dcm"))}
    first = next(iter(sources.values()))
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert segmentation.StudyInstanceUID == first.StudyInstanceUID
    assert segmentation.SeriesInstanceUID != first.SeriesInstanceUID
    assert (segmentation.Rows, segmentation.Columns) == SHAPE[1:]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == list(
        first.ImageOrientationPatient
    )
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == [
        float(v) for v in first.PixelSpacing
    ]

    # every frame names the slice it was found in, and holds the pixels that the NIfTI holds there
    volume = nib.Nifti1Image.from_filename(next(out.glob("*.nii.gz")))
    ids = np.asarray(volume.dataobj).T  # the same order along the normal
    height = {uid: float(ds.ImagePositionPatient[2]) for uid, ds in sources.items()}
    places = {z: k for k, z in enumerate(sorted(height.values()))}
    content = json.loads(next(out.glob("*.json")).read_text())
    entries = [(p["text"], i) for p in content["prompts"] for i in p["instances"]]
    assert segmentation.number_of_segments == len(entries) > 0
    seen = 0
    for frame, groups in zip(
        segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True
    ):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
        assert position == [float(v) for v in sources[source].ImagePositionPatient]
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        mask = ids[places[height[source]]] == number
        np.testing.assert_array_equal(frame > 0, mask)
        seen += int(mask.sum())
    assert seen == sum(entry["area"] for _, entry in entries) == np.count_nonzero(ids)

    for segment, (text, _) in zip(segmentation.SegmentSequence, entries, strict=True):
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        expected = {"liver": ("10200004", "SCT"), "some thing": ("unlisted", "99MEDSHARDS")}[text]
        assert (code.CodeValue, code.CodingSchemeDesignator) == expected
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_no_identity_but_that_of_the_source(series: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(series, "--checkpoint", run, "--prompt", "liver", "--out", out, "--format", "dicom-seg",
                  "--aggregate", "top1", "--min-score", 0)  # fmt: skip
    assert result.exit_code == 0, result.output
    (path,) = out.glob("*.dcm")
    found, source = pydicom.dcmread(path), pydicom.dcmread(next(series.glob("*.dcm")))
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        assert found.get(name) == source.get(name)
    for word in ("Doe", "PAT7"):  # and nothing of it in what is printed or in names
        assert word not in result.output
        assert not any(word in p.name for p in out.rglob("*"))


def test_a_picture_has_no_series_to_refer_to(run: Path, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("L", (30, 20)).save(tmp_path / "a.png")
    options = ("--checkpoint", run, "--prompt", "liver", "--out", tmp_path / "out", "--format", "dicom-seg")
    result = call(tmp_path / "a.png", *options)
    assert result.exit_code == 1
    assert "refers to a DICOM series" in result.stderr
