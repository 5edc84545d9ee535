"""No name, id, date, UID or free text of a DICOM file reaches a message, a log, a warning or a `repr`."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.stack import read_suv, read_volume, stack, suv_slices
from medshards.curate.formats.volumes.nifti import read_header, read_image
from medshards.curate.volumes import Grid
from tests.curate.dicom_edits import copies, dicom_files, file, rois, scan, segments

MARKER = "PLANTEDIDENTITY"
FREE_TEXT = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE")
TEXT = (*FREE_TEXT, "CS", "UI", "DA", "TM", "DT", "DS", "IS", "AS")


def one_per_tag(ds: Dataset) -> list[tuple[Dataset, pydicom.tag.BaseTag]]:
    """The first element of each tag."""
    return list({tag: (holder, tag) for holder, tag in reversed(list(elements(ds)))}.values())


def elements(ds: Dataset) -> Iterator[tuple[Dataset, pydicom.tag.BaseTag]]:
    """Every element that holds text, at any depth, with the data set it stands in."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        elif element.VR in TEXT:
            yield ds, element.tag


def plant(ds: Dataset, tag: pydicom.tag.BaseTag) -> None:
    # written as LO: in an implicit file only the bytes remain, and the reader takes the dictionary's VR
    del ds[tag]
    ds.add_new(tag, "LO", MARKER)


class Spy(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


def use(files: list[Path], grid: Grid | None = None) -> Iterator[object]:
    """Everything a converter does with a study; yields what it gets back."""
    found = scan(files)
    yield from (found, *found.series, *found.left_out)
    for series in found.series:
        yield from (*series.frames, *(frame.pet for frame in series.frames))
        yield stack(series)
        yield read_volume(series)
        yield suv_slices(stack(series))
        yield read_suv(series)
    for source in found.rtstructs:
        assert grid is not None
        for roi in rois(source.file.path, grid):
            yield from (roi, roi.mask, roi.lost)
    for source in found.segmentations:
        for segment in segments(source.file.path, image=found.series[0] if found.series else None):
            yield from (segment, segment.mask)
    found.only()


def everything_said(files: list[Path], grid: Grid | None = None) -> str:
    """All text that comes out: results, errors with their trace, warnings, logs."""
    spy = Spy()
    root = logging.getLogger()
    level = root.level
    root.addHandler(spy)
    root.setLevel(logging.DEBUG)
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                for thing in use(files, grid):
                    said += [repr(thing), str(thing)]
            except Exception as error:
                said += [repr(error), "".join(traceback.format_exception(error))]
        said += [str(w.message) for w in caught]
    finally:
        root.removeHandler(spy)
        root.setLevel(level)
    return "\n".join(said + spy.seen)


@pytest.fixture(scope="module")
def patient(samples: Path) -> Path:
    return samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002"


def mask_files(samples: Path, patient: Path) -> list[Path]:
    return [
        patient / "PET" / "dicom" / "mask" / "RS.dcm",
        samples / "pet_dicom" / "dcmqi" / "23x38x3" / "seg" / "label.seg",
    ]


def test_free_text_everywhere_changes_nothing_and_shows_nowhere(
    samples: Path, patient: Path, tmp_path: Path
) -> None:
    pet = dicom_files(patient / "PET" / "dicom" / "image")[:3]

    def edit(ds: Dataset) -> None:
        for holder, tag in list(elements(ds)):
            if holder[tag].VR in FREE_TEXT:
                holder[tag].value = MARKER

    planted = copies(pet, tmp_path / "pet", edit)
    assert MARKER in str(pydicom.dcmread(planted[0]))
    assert read_suv(scan(planted).only()).array.tobytes() == read_suv(scan(pet).only()).array.tobytes()
    assert MARKER not in everything_said(planted)
    grid = stack(scan(dicom_files(patient / "PET" / "dicom" / "image")).only()).grid
    for n, path in enumerate(mask_files(samples, patient)):
        assert MARKER not in everything_said(copies([path], tmp_path / f"mask{n}", edit), grid)


def test_any_single_malformed_element_stays_inside(samples: Path, patient: Path, tmp_path: Path) -> None:
    """Each text element of a PET slice in turn: also codes, UIDs, dates, times and numbers."""
    pet = [
        patient / "PET" / "dicom" / "image" / "000026.dcm",
        samples / "pet_dicom" / "acrin_flt_breast" / "1.dcm",
    ]
    for source in (path for path in pet if path.exists()):
        count = len(one_per_tag(pydicom.dcmread(source)))
        assert count > 40
        for n in range(count):
            ds = pydicom.dcmread(source)
            holder, tag = one_per_tag(ds)[n]
            plant(holder, tag)
            path = tmp_path / "one.dcm"
            write_implicit(ds, path)
            assert MARKER not in everything_said([path]), tag


def test_any_single_malformed_element_of_a_mask_object(samples: Path, patient: Path, tmp_path: Path) -> None:
    grid = stack(scan(dicom_files(patient / "PET" / "dicom" / "image")).only()).grid
    for source in mask_files(samples, patient):
        whole = pydicom.dcmread(source)
        if "ROIContourSequence" in whole:  # the first three contours are enough
            whole.ROIContourSequence[0].ContourSequence = whole.ROIContourSequence[0].ContourSequence[:3]
        small = tmp_path / "small.dcm"
        whole.save_as(small)
        for n in range(len(one_per_tag(whole))):
            ds = pydicom.dcmread(small)
            holder, tag = one_per_tag(ds)[n]
            plant(holder, tag)
            path = tmp_path / "one.dcm"
            write_implicit(ds, path)
            assert MARKER not in everything_said([path], grid), tag


def write_implicit(ds: Dataset, path: Path) -> None:
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        ds.save_as(path, implicit_vr=True, little_endian=True)


def test_numbers_of_the_patient_are_not_shown(patient: Path) -> None:
    """Weight 99 kg, size 1.74 m, dates of 2006: none in what is printed."""
    said = everything_said(dicom_files(patient / "PET" / "dicom" / "image")[:3])
    assert not any(value in said for value in ("99.0", "1.74", "2006", "145759", "STS_002", "1.3.6.1.4"))


def test_nifti_description_is_not_shown(patient: Path, tmp_path: Path) -> None:
    import nibabel as nib
    import numpy as np

    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = MARKER
    image.to_filename(tmp_path / "a.nii")
    assert MARKER not in repr(read_header(file(tmp_path / "a.nii"))) + repr(
        read_image(file(tmp_path / "a.nii"), "CT", "hu")
    )
