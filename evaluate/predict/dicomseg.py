"""Objects as a DICOM Segmentation (DICOM PS3.3 A.51) that refers to the series they were found in, through highdicom.

The object lies in the source's frame of reference and names its instances; patient and study are those of the source
series, nothing is added to them. A segment is coded with the vocabulary's SNOMED CT code where the concept has one,
else with the concept's id in a scheme of this project.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medshards.common.files import write_atomically
from medshards.curate.sample import Reject
from medshards.evaluate.predict.objects import Result
from medshards.evaluate.predict.outputs import Asked
from medshards.shards.build.manifest import tool_version

SCHEME = "99MEDSHARDS"
# Property categories of DICOM CID 7150, SNOMED CT codes with their meanings, by kind of concept
CATEGORIES = {
    "anatomy": ("123037004", "Anatomical Structure"),
    "tissue": ("85756007", "Tissue"),
    "cell": ("4421005", "Cell structure"),
    "organelle": ("4421005", "Cell structure"),
    "lesion": ("49755003", "Morphologically Abnormal Structure"),
    "substance": ("105590001", "Substance"),
    "instrument": ("260787004", "Physical object"),
}
# Attributes of patient and study that may be empty but not absent (type 2, PS3.3 C.7.1.1 and C.7.2.1)
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
UNKNOWN = CATEGORIES["anatomy"]


def write_dicom_seg(out: Path, result: Result, asked: Sequence[Asked]) -> list[Path]:
    """Write NAME.dcm, a segment for each object; nothing, when nothing was found, for a SEG needs a segment.

    Raises Reject (`no_dicom_source`) for an input that is no DICOM series.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    frames = result.opened.frames
    if frames is None:
        raise Reject("no_dicom_source", "a DICOM SEG refers to a DICOM series: choose another --format")
    if not result.objects:
        return []
    paths = list(dict.fromkeys(path for path, _ in frames))
    sources = [_complete(pydicom.dcmread(path)) for path in paths]
    several = len(paths) == 1 and "NumberOfFrames" in sources[0]
    order = sorted(range(len(frames)), key=lambda k: frames[k][1]) if several else list(range(len(frames)))
    masks = np.zeros((len(frames), *result.opened.size, len(result.objects)), np.uint8)
    for number, found in enumerate(result.objects):
        for k, region in found.regions.items():
            masks[order.index(k)][region.window()][region.crop, number] = 1
    algorithm = hd.AlgorithmIdentificationSequence(
        name="medshards predict", version=tool_version(), family=codes.DCM.ArtificialIntelligence
    )
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"{asked[found.text].text} {number}"[:64],
            segmented_property_category=_coded(hd, *_category(asked[found.text]), "SCT"),
            segmented_property_type=_coded(hd, *_type(asked[found.text])),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, found in enumerate(result.objects, start=1)
    ]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="medshards",
        manufacturer_model_name="medshards predict",
        software_versions=tool_version(),
        device_serial_number="0",
        series_description="medshards predict",
    )
    target = out / f"{result.opened.name}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    segmentation.save_as(encoded)
    write_atomically(target, encoded.getvalue())
    return [target]


def _complete(source: pydicom.Dataset) -> pydicom.Dataset:
    """The source with what the standard wants there, if only empty: de-identified files often lack it altogether."""
    for name in REQUIRED:
        if name not in source:
            setattr(source, name, "")
    return source


def _coded(hd: Any, value: str, meaning: str, scheme: str) -> Any:
    return hd.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning[:64])


def _category(asked: Asked) -> tuple[str, str]:
    return UNKNOWN if asked.concept is None else CATEGORIES[asked.concept.kind]


def _type(asked: Asked) -> tuple[str, str, str]:
    """Code, meaning and scheme of what a segment shows."""
    concept = asked.concept
    if concept is None:
        return "unlisted", asked.text, SCHEME
    if concept.snomed is not None:
        return concept.snomed.code, concept.snomed.meaning, "SCT"
    return concept.id[:16], concept.text, SCHEME
