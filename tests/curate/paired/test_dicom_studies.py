"""Studies in DICOM from the headers to samples: contours, segmentations, damaged files, what is opened how often."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from medshards.curate.listing import Listing, list_download
from medshards.curate.phantoms.bodies import dicom
from medshards.curate.phantoms.bodies.anatomy import SHAPE, axial_affine, draw
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source

SOURCE = get_source("umd_petct")
BODY = draw(np.random.default_rng(0), "CT")
RADIUS = 40.0  # mm; of pixel centres 16 mm apart, those with i² + j² ≤ 6 lie inside: 1 + 4 + 4 + 4 + 8
AREA = 21
PLACE = {"liver": (8, 6), "spleen": (8, 14)}  # row and column of the centres


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """PET and CT of one patient on one grid, without masks."""
    for k in range(SHAPE[0]):
        dicom.save(dicom.pet_slice("P01", 1, k, BODY.suv[k]), tmp_path / "study" / "pt" / f"{k:03d}.dcm")
        ct = dicom.slice_of("CT", "P01", 2, k, BODY.structural[k])
        dicom.save(ct, tmp_path / "study" / "ct" / f"{k:03d}.dcm")
    return tmp_path / "study"


def item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def circle(organ: str, plane: float, radius: float = RADIUS, kind: str = "CLOSED_PLANAR") -> Dataset:
    """A polygon of 72 points in a plane given in slices (which may be a fraction)."""
    row, column = PLACE[organ]
    x, y, z = (axial_affine() @ [column, row, plane, 1])[:3]
    angles = np.arange(72) * 2 * np.pi / 72
    points = [(-x + radius * np.cos(a), -y + radius * np.sin(a), z) for a in angles]
    return item(ContourGeometricType=kind, ContourData=[f"{v:.4f}" for p in points for v in p])


def write_contours(study: Path, **organs: list[Dataset]) -> None:
    """An RTSTRUCT of organs, drawn on the PET."""
    ds = dicom.base("SEG", "P01", 3, 1)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.481.3")
    ds.Modality, frame = "RTSTRUCT", ds.FrameOfReferenceUID
    del ds.FrameOfReferenceUID
    ds.StructureSetROISequence = Sequence(
        item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        for n, name in enumerate(organs, start=1)
    )
    ds.ROIContourSequence = Sequence(
        item(ReferencedROINumber=n, ContourSequence=Sequence(contours))
        for n, contours in enumerate(organs.values(), start=1)
    )
    pet = pydicom.dcmread(study / "pt" / "000.dcm")
    referenced = item(SeriesInstanceUID=pet.SeriesInstanceUID)
    inner = item(RTReferencedSeriesSequence=Sequence([referenced]))
    ds.ReferencedFrameOfReferenceSequence = Sequence([item(RTReferencedStudySequence=Sequence([inner]))])
    dicom.save(ds, study / "rs.dcm")


def write_segmentation(study: Path, edit: Callable[[Dataset], None] | None = None) -> None:
    pet: list[Dataset] = [pydicom.dcmread(p) for p in sorted((study / "pt").iterdir())]
    ds = dicom.segmentation("P01", 4, BODY, pet)
    if edit is not None:
        edit(ds)
    dicom.save(ds, study / "seg.dcm")


def listed(study: Path) -> Listing:
    return list_download(SOURCE, study.parent)


def samples_of(study: Path) -> list[Sample]:
    listing = listed(study)
    assert not listing.rejects
    return [s for case in listing.cases for s in SOURCE.load(case) if isinstance(s, Sample)]


def refusal(study: Path) -> Reject:
    with pytest.raises(Reject) as caught:
        samples_of(study)
    return caught.value


def areas(samples: list[Sample], concept: str = "liver") -> dict[int, int]:
    """Area of an organ by slice, of the PET; that of the CT is the same."""
    found: dict[str, dict[int, int]] = {"PT": {}, "CT": {}}
    for sample in samples:
        assert sample.position is not None
        for instance in sample.instances:
            if instance.concept == concept:
                found[str(sample.extra["modality"])][sample.position.index] = instance.area
    assert found["PT"] == found["CT"]
    return found["PT"]


def flags(samples: list[Sample]) -> set[str]:
    return {flag for sample in samples for flag in sample.extra["flags"]}  # type: ignore[attr-defined]


def test_contours_denser_than_slices(study: Path) -> None:
    """Every slice takes the contour in its plane; the one half a slice away neither adds nor cancels."""
    write_contours(study, liver=[circle("liver", 4 + j / 2, RADIUS + 3 * (j % 2)) for j in range(11)])
    samples = samples_of(study)
    assert areas(samples) == dict.fromkeys(range(4, 10), AREA)
    assert "contours_between_slices" in flags(samples)


def test_equal_contours_count_once(study: Path) -> None:
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        write_contours(study, liver=[circle("liver", k, kind=kind) for k in (4, 4, 5, 5)])
        samples = samples_of(study)
        assert areas(samples) == {4: AREA, 5: AREA}
        assert "inner_contours_filled" not in flags(samples)


def test_a_roi_in_two_items_has_the_contours_of_both(study: Path) -> None:
    write_contours(study, liver=[circle("liver", 4)], other=[circle("liver", 5)])
    ds = pydicom.dcmread(study / "rs.dcm")
    ds.ROIContourSequence[1].ReferencedROINumber = 1
    del ds.StructureSetROISequence[1]
    dicom.save(ds, study / "rs.dcm")
    assert areas(samples_of(study)) == {4: AREA, 5: AREA}


def test_contours_of_one_plane_are_united_unless_they_are_exclusive(study: Path) -> None:
    """A ring: the inner circle of 20 mm holds the centre and its four neighbours."""
    write_contours(study, liver=[circle("liver", 4), circle("liver", 4, 20)])
    samples = samples_of(study)
    assert areas(samples) == {4: AREA}
    assert "inner_contours_filled" in flags(samples)
    ring = [circle("liver", 4, radius, "CLOSEDPLANAR_XOR") for radius in (RADIUS, 20)]
    write_contours(study, liver=ring)
    assert areas(samples_of(study)) == {4: AREA - 5}


def test_what_contours_do_not_say_is_not_absent(study: Path) -> None:
    """Between two drawn slices the liver is unknown; beyond its ends it is absent."""
    livers = [circle("liver", k) for k in (4, 5, 8, 9)]
    write_contours(study, liver=livers, spleen=[circle("spleen", k) for k in range(3, 12)])
    told = {s.position.index: s.concepts for s in samples_of(study) if s.position is not None}
    both = ("liver", "spleen")
    assert told == {k: ("spleen",) if k in (6, 7) else both for k in range(3, 12)}


def test_a_contour_that_is_no_area_proves_no_absence(study: Path) -> None:
    open_ = circle("liver", 7, kind="OPEN_PLANAR")
    write_contours(study, liver=[circle("liver", 4), open_], spleen=[circle("spleen", k) for k in (4, 5)])
    samples = samples_of(study)
    told = {s.position.index: s.concepts for s in samples if s.position is not None}
    assert told == {4: ("liver", "spleen"), 5: ("spleen",)}
    assert samples[0].lost == {"contours left out (open_contours)": 1}


def test_an_organ_without_a_voxel_is_not_absent(study: Path) -> None:
    write_contours(study, liver=[circle("liver", 4)], spleen=[])
    assert {s.concepts for s in samples_of(study)} == {("liver",)}


def test_a_study_without_a_voxel_is_refused(study: Path) -> None:
    far = circle("liver", 4)
    far.ContourData = [f"{float(v) + 5000 * (n % 3 == 0):.4f}" for n, v in enumerate(far.ContourData)]
    write_contours(study, liver=[far])
    assert refusal(study).code == "missing_mask"


def test_a_segmentation_gives_the_body_that_was_drawn(study: Path) -> None:
    write_segmentation(study)
    expected = {k: int(m.sum()) for k, m in enumerate(BODY.masks["liver"]) if m.any()}
    assert areas(samples_of(study)) == expected


def as_label_map(ds: Dataset) -> None:
    """SOP class …66.7, whose pixels are the numbers of segments; a frame for every slice, out of order."""
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.66.7")
    ds.SegmentationType = "LABELMAP"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    slices = list(range(SHAPE[0]))[::-1]
    numbers = np.zeros(SHAPE, np.uint8)
    for n, mask in enumerate(BODY.masks.values(), start=1):
        numbers[mask] = n
    ds.NumberOfFrames, ds.PixelData = len(slices), numbers[slices].tobytes()
    position = [(axial_affine() @ [0, 0, k, 1])[:3] * (-1, -1, 1) for k in slices]
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[float(v) for v in p])]))
        for p in position
    )


def test_a_label_map_is_read(study: Path) -> None:
    write_segmentation(study, as_label_map)
    samples = samples_of(study)
    for name in ("liver", "left kidney", "esophagus"):
        expected = {k: int(m.sum()) for k, m in enumerate(BODY.masks[name]) if m.any()}
        assert areas(samples, name.replace(" ", "_")) == expected


def test_a_number_that_the_label_map_does_not_describe_is_refused(study: Path) -> None:
    def edit(ds: Dataset) -> None:
        as_label_map(ds)
        del ds.SegmentSequence[4]

    write_segmentation(study, edit)
    assert refusal(study).code == "segment_unknown"


@pytest.mark.parametrize("highest", [100, 127, 128])
def test_fractions_below_one_half_are_refused(study: Path, highest: int) -> None:
    def edit(ds: Dataset) -> None:
        bits = ds.pixel_array
        ds.SegmentationType, ds.MaximumFractionalValue = "FRACTIONAL", 255
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.PixelData = (bits.astype(np.uint8) * highest).tobytes()

    write_segmentation(study, edit)
    if highest > 127.5:
        assert areas(samples_of(study))
    else:
        assert refusal(study).code == "segment_below_threshold"


def test_damaged_files_are_named_and_their_study_refused(study: Path) -> None:
    """By their number in the folder: a name may be that of a patient."""
    write_segmentation(study)
    (study / "ct" / "019.dcm").write_bytes(b"")
    whole = (study / "ct" / "018.dcm").read_bytes()
    (study / "ct" / "018.dcm").write_bytes(whole[:300])
    listing = listed(study)
    assert not listing.cases
    assert [(r["code"], r["file"].partition(", ")[2]) for r in listing.rejects] == [
        ("unreadable", "ct, file 19 of 20 by name"),
        ("empty", "ct, file 20 of 20 by name"),
    ]


def test_a_text_among_the_slices_is_no_damaged_slice(study: Path) -> None:
    write_segmentation(study)
    for path in sorted((study / "ct").iterdir()):
        path.rename(path.with_suffix(""))
    (study / "ct" / "README").write_text("Acquired for a test.\n")
    assert len(samples_of(study)) > 0


@pytest.mark.parametrize(
    ("kept", "code"), [(0.5, "no_pixel_data"), (0.47, "no_pixel_data"), (0.9, "no_pixel_data")]
)
def test_a_slice_cut_at_the_end_of_the_volume_is_named(study: Path, kept: float, code: str) -> None:
    write_segmentation(study)
    path = study / "ct" / "019.dcm"
    data = path.read_bytes()
    start = data.index(b"\xe0\x7f\x10\x00")  # the pixel data
    path.write_bytes(data[: start + int((len(data) - start) * kept)])
    reject = refusal(study)
    assert reject.code == code
    assert reject.file.endswith("/ct, file 20 of 20 by name")


def test_a_header_cut_at_the_end_of_the_volume_is_named(study: Path) -> None:
    """Its ids are whole, its geometry is lost: without it the volume would only be shorter."""
    write_segmentation(study)
    path = study / "ct" / "019.dcm"
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x20\x00\x32\x00")])  # before ImagePositionPatient
    reject = refusal(study)
    assert reject.code in ("unreadable", "no_geometry")
    assert reject.file.endswith("/ct, file 20 of 20 by name")


_opened: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_hook)  # one for the process: none can be taken away


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each file was opened."""
    global _opened
    _opened, found = [], Counter[str]()
    try:
        yield found
    finally:
        found.update(_opened)
        _opened = None


def test_a_file_is_opened_once_to_list_and_once_to_load(study: Path) -> None:
    write_segmentation(study)
    first = str(study / "ct" / "000.dcm")
    with counted() as listing:
        (case,) = listed(study).cases
    with counted() as loading:
        samples = [s for s in SOURCE.load(case) if isinstance(s, Sample)]
    assert samples
    paths = [str(p) for p in study.rglob("*.dcm")]
    assert len(paths) == 2 * SHAPE[0] + 1
    # the first file is what tells that this is DICOM at all
    assert {p: listing[p] for p in paths} == {p: 1 + (p == first) for p in paths}
    assert {p: loading[p] for p in paths} == dict.fromkeys(paths, 1)
