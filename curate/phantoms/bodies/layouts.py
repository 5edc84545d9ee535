"""The same kind of body in each of the eight layouts, side by side below one folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw
from medshards.curate.phantoms.bodies import dicom
from medshards.curate.phantoms.bodies.anatomy import (
    CONCEPTS,
    ORGANS,
    SHAPE,
    Body,
    annotated_slices,
    finer,
    label_map,
    save_nifti,
    slices_of,
)
from medshards.curate.phantoms.bodies.anatomy import draw as draw_body

STUDIES = 9  # two in BIDS, one in each of the other layouts
EXPECTED = Expected(
    samples=STUDIES * annotated_slices() * 2,
    concepts={
        CONCEPTS[name]: STUDIES * slices_of(name) * 2 for name in sorted(ORGANS, key=CONCEPTS.__getitem__)
    },
)
IDS = dict(enumerate(["background", *ORGANS]))
SLOPE = 0.05  # of PET files, g/ml


def write(root: Path, rng: np.random.Generator, modality: str) -> None:
    """Nine patients; those of the halves have different ids, which crosswalk.csv joins."""
    letter = "P" if modality == "CT" else "M"
    names = [f"{letter}{n:02d}" for n in range(1, STUDIES + 1)]
    rows = [(f"P{n:02d}", f"M{n:02d}") for n in range(1, STUDIES + 1)]
    draw.text(root / "crosswalk.csv", "petct_id,petmr_id\n" + "".join(f"{a},{b}\n" for a, b in rows))
    bodies = [draw_body(rng, modality) for _ in names]
    for number, write_layout in enumerate(
        (_bids, _sessions, _flat, _autopet, _nnunet, _hecktor, _enhance, _dicom, _organs)
    ):
        write_layout(root, names[number], bodies[number], modality)


def _bids(root: Path, patient: str, body: Body, modality: str) -> None:
    """PET in Bq/ml, a finer structural image on its own grid, integers with a table above."""
    folder = root / "L1 BIDS" / f"sub-{patient}"
    save_nifti(folder / f"pet/sub-{patient}_pet.nii.gz", body.suv * 3000, slope=SLOPE * 3000)
    if modality == "CT":
        save_nifti(folder / f"anat/sub-{patient}_ct.nii.gz", finer(body.structural), scale=2)
    else:
        save_nifti(folder / f"anat/sub-{patient}_acq-dixon_W.nii.gz", finer(body.structural), scale=2)
        save_nifti(
            folder / f"anat/sub-{patient}_acq-dixon_F.nii.gz", finer(body.structural[:, :, ::-1]), scale=2
        )
    save_nifti(folder / "seg.nii.gz", label_map(body, IDS))
    draw.text(root / "L1 BIDS" / "labels.json", json.dumps({str(n): name for n, name in IDS.items()}))


def _sessions(root: Path, patient: str, body: Body, modality: str) -> None:
    """A session, SUV by name, one binary mask an organ; columns run from left to right."""
    folder = root / "L1 BIDS" / f"sub-{patient}" / "ses-a"
    name = f"sub-{patient}_ses-a"
    save_nifti(folder / f"pet/{name}_suv_pet.nii.gz", body.suv, ras=True, slope=SLOPE)
    save_nifti(
        folder / f"anat/{name}_{'ct' if modality == 'CT' else 'T1w'}.nii.gz", body.structural, ras=True
    )
    _binary_masks(folder, body)


def _binary_masks(folder: Path, body: Body) -> None:
    for organ, mask in body.masks.items():
        side, _, paired = organ.partition(" ")
        stem = f"{paired}_{side}" if side in ("left", "right") else organ.replace(" ", "_")  # kidney_left
        save_nifti(folder / f"segmentations/{stem}.nii.gz", mask.astype(np.uint8), ras=True)


def _flat(root: Path, patient: str, body: Body, modality: str) -> None:
    folder = root / "L2 flat" / patient
    save_nifti(folder / f"{patient}_pet_suv.nii.gz", body.suv, slope=SLOPE)
    save_nifti(folder / f"{patient}_{modality.lower()}_res.nii.gz", body.structural.astype(np.float32))
    save_nifti(folder / f"{patient}_organs.nii.gz", label_map(body, IDS))
    table = "id,name\n" + "".join(f"{n},{name.title()}\n" for n, name in IDS.items())
    draw.text(root / "L2 flat" / "table.csv", table)


def _autopet(root: Path, patient: str, body: Body, modality: str) -> None:
    """A study's folder with two blanks in a row; lesions (SEG) beside the organs, images on grids that do not count."""
    folder = root / "L3 autoPET" / patient / "12-11-2000-NA-PET-CT Ganzkoerper  primaer mit KM-59350"
    save_nifti(folder / "SUV.nii.gz", body.suv, ras=True, slope=SLOPE)
    save_nifti(folder / "PET.nii.gz", body.suv[::2] * 3000, slope=SLOPE * 3000)
    save_nifti(folder / f"{modality}res.nii.gz", body.structural, ras=True)
    save_nifti(folder / f"{modality}.nii.gz", np.zeros((2, 2, 2), np.int16))
    save_nifti(folder / "SEG.nii.gz", np.zeros(SHAPE, np.uint8), ras=True)
    save_nifti(folder / "labels.nii.gz", label_map(body, IDS), ras=True)
    draw.text(folder / "labels.json", json.dumps({"labels": {name: n for n, name in IDS.items()}}))


def _nnunet(root: Path, patient: str, body: Body, modality: str) -> None:
    """Channels in the other order, as dataset.json says."""
    folder, case = root / "L4 nnU-Net", f"fdg_{patient}_2001-02-03"
    save_nifti(folder / f"imagesTr/{case}_0000.nii.gz", body.suv, slope=SLOPE)
    save_nifti(folder / f"imagesTr/{case}_0001.nii.gz", body.structural)
    save_nifti(folder / f"labelsTr/{case}.nii.gz", label_map(body, IDS))
    facts = {"channel_names": {"0": "SUV", "1": modality}, "labels": {name: n for n, name in IDS.items()}}
    draw.text(folder / "dataset.json", json.dumps(facts))


def _hecktor(root: Path, patient: str, body: Body, modality: str) -> None:
    """A mask drawn on the structural image, which is finer than the PET."""
    folder = root / "L5 HECKTOR" / patient
    save_nifti(folder / f"{patient}__PT.nii.gz", body.suv, slope=SLOPE)
    save_nifti(folder / f"{patient}__{modality}.nii.gz", finer(body.structural), scale=2)
    save_nifti(folder / f"{patient}.nii.gz", finer(label_map(body, IDS)), scale=2)
    draw.text(root / "L5 HECKTOR" / "labels.json", json.dumps({name: n for n, name in IDS.items()}))


def _enhance(root: Path, patient: str, body: Body, modality: str) -> None:
    """Numbers that differ from those of the other tables, in a section of the table."""
    folder = root / "L6 ENHANCE" / "imaging-data"
    ids = {10 * n: name for n, name in IDS.items()}
    save_nifti(folder / f"images/PT_0001-1683/{patient}.nii.gz", body.suv, slope=SLOPE)
    save_nifti(folder / f"images/{modality}_0001-1000/{patient}.nii.gz", body.structural)
    save_nifti(folder / f"ground-truth/Organs/{patient}.nii.gz", label_map(body, ids))
    save_nifti(folder / f"ground-truth/Cardiac/{patient}.nii.gz", label_map(body, {1: "heart"}))
    table = {"Organs": {str(n): name for n, name in ids.items()}, "Cardiac": {"1": "heart_myocardium"}}
    draw.text(root / "L6 ENHANCE" / "labels.json", json.dumps(table))


def _dicom(root: Path, patient: str, body: Body, modality: str) -> None:
    """Files without suffix, every second structural slice missing (so it is resampled), a SEG."""
    folder = root / "L7 DICOM" / patient / "01-02-2024-whole body"
    pet = [dicom.pet_slice(patient, 1, k, body.suv[k]) for k in range(SHAPE[0])]
    for k, ds in enumerate(pet):
        dicom.save(ds, folder / "1-PET" / f"{k:03d}")
    for k in range(0, SHAPE[0], 2):
        ds = dicom.slice_of(modality, patient, 2, k, body.structural[k])
        if modality == "MR":
            ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "WATER"]
            fat = dicom.slice_of("MR", patient, 4, k, body.structural[k][:, ::-1])
            fat.ImageType = ["ORIGINAL", "PRIMARY", "M", "FAT"]
            dicom.save(fat, folder / "4-fat" / f"{k:03d}")
        dicom.save(ds, folder / f"2-{modality}" / f"{k:03d}")
    dicom.save(dicom.segmentation(patient, 3, body, pet), folder / "3-SEG" / "1.dcm")


def _organs(root: Path, patient: str, body: Body, modality: str) -> None:
    """The image under every organ, with a binary mask of that organ."""
    folder, kind = root / "L8 organs", modality.lower()
    for name, values, slope in ((kind, body.structural, 1.0), ("pet", body.suv, SLOPE)):
        first = folder / "liver" / f"{name}_UMD" / "imagesTr" / f"{patient}.nii.gz"
        save_nifti(first, values, slope=slope)
        for organ, mask in body.masks.items():
            place = folder / organ.replace(" ", "_") / f"{name}_UMD"
            save_nifti(place / "labelsTr" / f"{patient}.nii.gz", mask.astype(np.uint8))
            if organ != "liver":
                (place / "imagesTr").mkdir(parents=True, exist_ok=True)
                (place / "imagesTr" / first.name).write_bytes(first.read_bytes())
