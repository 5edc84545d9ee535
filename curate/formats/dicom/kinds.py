"""What a DICOM object is, and whether it is a slice of a volume at all. Reads headers, never quotes them."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.tags import number, text, texts, value
from medshards.curate.sample import Reject

MODALITIES = ("CT", "PT", "MR")
UNITS = ("BQML", "GML", "CM2ML", "CNTS", "CPS", "PROPCNTS", "PROPCPS", "1CM")
DICOMDIR = "1.2.840.10008.1.3.10"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MASK_OBJECTS = {
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",  # label map
}
IMAGES = tuple(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))  # classic CT, MR and PET
REASONS = {
    "empty": "an empty file",
    "not_dicom": "not a DICOM file",
    "unreadable": "the DICOM header is damaged or cut off",
    "dicomdir": "an index of other files",
    "not_an_image": "a DICOM object without a picture (report, plan, presentation state, registration …)",
    "modality_unsupported": "neither CT, PT nor MR",
    "secondary_capture": "a screenshot or other secondary capture",
    "not_grey": "not a picture of one grey channel",
    "localizer": "a localizer",
    "projection": "a projection or reformat by its ImageType (PROJECTION IMAGE, MIP, MPR, REFORMATTED)",
    "mu_map": "an attenuation map, not an anatomical image",
    "not_attenuation_corrected": "PET without attenuation correction (PROPCNTS, or no ATTN in (0028,0051))",
    "dynamic_pet": "dynamic or gated PET: several time slices; give the static or summed series",
    "no_geometry": "no usable position, orientation or pixel spacing",
    "modality_lut": "values go through a look-up table instead of slope and intercept",
    "frames_missing": "NumberOfFrames and the per-frame functional groups do not agree",
}
# Files that a download should hold whole: beside others of their series, they mean that it is not all there
DAMAGED = ("empty", "not_dicom", "unreadable", "no_geometry", "frames_missing")
_REFORMAT = re.compile(r"\b(MIP|MINIP|MPR|REFORMATTED)\b|\bMAX(IMUM)?[ _]?IP\b")
_MU_MAP = re.compile(r"(^|[^A-Z])(U|MU)[ _-]?MAP|MRAC([^A-Z]|$)")
_ENDINGS = {
    "water": ("_W", "WATER"),
    "fat": ("_F", "FAT"),
    "in_phase": ("_IN", "INPHASE", "IN_PHASE", "IN PHASE"),
    "opposed_phase": ("_OPP", "OUTPHASE", "OUT_PHASE", "OPP_PHASE", "OPPPHASE"),
}
_TOKENS = {
    "water": {"WATER", "W"},
    "fat": {"FAT", "F"},
    "in_phase": {"IN_PHASE", "IP", "IN"},
    "opposed_phase": {"OUT_PHASE", "OPP_PHASE", "OP", "OPP"},
    "fat_fraction": {"FAT_FRACTION", "FF"},
}


def object_kind(ds: Dataset) -> str:
    """`image` for a slice or stack worth reading, else `RTSTRUCT` or `SEG`.

    Raises: Reject with a code of `REASONS` for everything else.
    """
    modality = text(ds, "Modality")
    media = str(value(ds.file_meta, "MediaStorageSOPClassUID") or "") if hasattr(ds, "file_meta") else ""
    sop_class = str(value(ds, "SOPClassUID") or media)
    if media == DICOMDIR:
        raise _left_out("dicomdir")
    if sop_class in MASK_OBJECTS:
        return MASK_OBJECTS[sop_class]
    if sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + "."):
        raise _left_out("secondary_capture")
    if "Rows" not in ds or "Columns" not in ds:
        raise _left_out("unreadable" if sop_class in IMAGES else "not_an_image")
    if modality not in MODALITIES:
        raise _left_out("modality_unsupported")
    if (
        number(ds, "SamplesPerPixel") not in (1.0, None)
        or text(ds, "PhotometricInterpretation") == "PALETTE COLOR"
    ):
        raise _left_out("not_grey")
    image_type = texts(ds, "ImageType")
    if "LOCALIZER" in image_type:
        raise _left_out("localizer")
    if "PROJECTION IMAGE" in image_type or any(_REFORMAT.search(part) for part in image_type):
        raise _left_out("projection")
    if "ModalityLUTSequence" in ds:
        raise _left_out("modality_lut")
    names = (text(ds, "SeriesDescription"), text(ds, "ProtocolName"))
    if text(ds, "Units") == "1CM" or (modality in ("MR", "PT") and any(_MU_MAP.search(n) for n in names)):
        raise _left_out("mu_map")
    if modality == "PT":
        _check_pet(ds)
    return "image"


def _check_pet(ds: Dataset) -> None:
    if text(ds, "Units") == "PROPCNTS":
        raise _left_out("not_attenuation_corrected")
    if "CorrectedImage" in ds and "ATTN" not in texts(ds, "CorrectedImage"):
        raise _left_out("not_attenuation_corrected")
    # whole-body series count their beds in NumberOfTimeSlices (0054,0101): time is told by geometry, in `series`
    if {"DYNAMIC", "GATED"} & set(texts(ds, "SeriesType")):
        raise _left_out("dynamic_pet")


def _left_out(code: str) -> Reject:
    return Reject(code, REASONS[code])


def known_units(ds: Dataset) -> str:
    """Units (0054,1001) where it is a defined term, else ""."""
    units = text(ds, "Units")
    return units if units in UNITS else ""


def mr_contrast(ds: Dataset, image_type: tuple[str, ...]) -> str:
    """Image of a fat-water (Dixon) acquisition, by its type (of the frame), else by the end of its name.

    Returns `water`, `fat`, `in_phase`, `opposed_phase`, `fat_fraction` or "".
    """
    tokens = set(image_type)
    # FAT_FRACTION frames may also be marked with the plain words
    for contrast in ("fat_fraction", "water", "fat", "in_phase", "opposed_phase"):
        if tokens & _TOKENS[contrast]:
            return contrast
    for name in (text(ds, "SeriesDescription"), text(ds, "ProtocolName")):
        for contrast, endings in _ENDINGS.items():
            if name.endswith(endings):
                return contrast
    return ""
