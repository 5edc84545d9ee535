"""A body as DICOM: one file a slice, and a segmentation object of all organs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from medshards.curate.phantoms.bodies.anatomy import SHAPE, SPACING, Body, axial_affine

ROOT = "1.2.826.0.1.3680043.8.498."
CLASSES = {
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
}
WEIGHT, DOSE, HALF_LIFE, UPTAKE = 70.0, 350e6, 6586.2, 3600.0  # kg, Bq, s, s


def base(modality: str, patient: str, series: int, instance: int) -> Dataset:
    """An object of a study: ids, dates, and a patient's name that must go nowhere."""
    number = int.from_bytes(patient.encode()[-4:])
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(CLASSES[modality])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}{number}.{series}.{instance}")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}{number}", f"{ROOT}{number}.{series}"
    ds.FrameOfReferenceUID = f"{ROOT}{number}.99"
    ds.Modality, ds.Manufacturer = modality, "PHANTOM"
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = (
        patient,
        f"Doe^{patient}",
        "19500101",
        "F",
    )
    ds.PatientWeight = WEIGHT
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20240102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "110000"
    ds.InstanceNumber = instance
    return ds


def slice_of(
    modality: str,
    patient: str,
    series: int,
    index: int,
    values: NDArray[Any],
    slope: float = 1.0,
    scale: int = 1,
) -> Dataset:
    """One axial slice (H×W numbers, stored as value / slope) of a grid `scale` times finer than the PET's."""
    ds = base(modality, patient, series, 9999 - index)  # instance numbers run against the slices
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.rint(values / slope).astype("<i2").tobytes()
    ds.RescaleSlope, ds.RescaleIntercept = slope, 0
    ds.PixelSpacing = [SPACING[1] / scale, SPACING[2] / scale]
    ds.SliceThickness = SPACING[0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = _position(index, scale)
    return ds


def _position(index: int, scale: int = 1) -> list[float]:
    x, y, z = (axial_affine(scale) @ [0, 0, index, 1])[:3]
    return [float(-x), float(-y), float(z)]  # LPS


def pet_slice(patient: str, series: int, index: int, suv: NDArray[Any]) -> Dataset:
    """A slice of a PET in Bq/ml whose SUVbw is `suv`, to within a thousandth."""
    left = DOSE * 2 ** (-UPTAKE / HALF_LIFE)
    activity = suv * left / (WEIGHT * 1000)
    ds = slice_of("PT", patient, series, index, activity, float(activity.max()) / 32000)
    ds.RescaleSlope = f"{float(activity.max()) / 32000:.10g}"
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["ATTN", "DECY"]
    ds.SeriesType, ds.FrameReferenceTime, ds.ActualFrameDuration = ["STATIC", "IMAGE"], 0, 120000
    tracer = Dataset()
    tracer.RadiopharmaceuticalStartTime = "100000"
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE, HALF_LIFE
    ds.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    return ds


def segmentation(patient: str, series: int, body: Body, references: list[Dataset]) -> Dataset:
    """A binary SEG of all organs, sparse and in the order of the organs, drawn on the PET."""
    ds = base("SEG", patient, series, 1)
    ds.Rows, ds.Columns = SHAPE[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit, ds.PixelRepresentation = 0, 0
    ds.SegmentationType = "BINARY"
    series_item = Dataset()
    series_item.SeriesInstanceUID = references[0].SeriesInstanceUID
    series_item.ReferencedInstanceSequence = Sequence(
        [_item(ReferencedSOPInstanceUID=r.SOPInstanceUID) for r in references]
    )
    ds.ReferencedSeriesSequence = Sequence([series_item])
    segments, frames, bits = [], [], []
    for number, (name, mask) in enumerate(body.masks.items(), start=1):
        segments.append(_item(SegmentNumber=number, SegmentLabel=name.title(), SegmentAlgorithmType="MANUAL"))
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            bits.append(mask[index].ravel())
            frames.append(
                _item(
                    SegmentIdentificationSequence=Sequence([_item(ReferencedSegmentNumber=number)]),
                    PlanePositionSequence=Sequence([_item(ImagePositionPatient=_position(int(index)))]),
                )
            )
    ds.SegmentSequence, ds.PerFrameFunctionalGroupsSequence = Sequence(segments), Sequence(frames)
    measures = _item(
        PixelSpacing=list(SPACING[1:]), SliceThickness=SPACING[0], SpacingBetweenSlices=SPACING[0]
    )
    plane = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared = _item(PixelMeasuresSequence=Sequence([measures]), PlaneOrientationSequence=Sequence([plane]))
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.NumberOfFrames = len(frames)
    packed = np.packbits(np.concatenate(bits), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    return ds


def _item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> None:
    """Write a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
