"""The layouts of paired studies by the names of their files, and what tells PET/CT from PET/MR among them.

UMD's own layout is not published; these are the habits of its relatives (L1 to L8 of the dataset's dossier).
"""

from __future__ import annotations

from medshards.curate.tree import Layout

BIDS = Layout("BIDS", ("sub-*/**/pet/*pet*.nii*",))
FLAT = Layout("one folder a patient (PETWB-REP)", ("*/*_pet_suv.nii*",))
AUTOPET = Layout("autoPET", ("*/*/SUV.nii*",))
NNUNET = Layout("nnU-Net", ("imagesTr/*_0001.nii*", "dataset.json"))
HECKTOR = Layout("HECKTOR", ("*/*__PT.nii*",))
ENHANCE = Layout("ENHANCE.PET", ("images/PT_*/*.nii*", "ground-truth/*/*.nii*"))
ORGANS = Layout("one folder an organ (SAM-Med3D)", ("*/*/imagesTr/*.nii*", "*/*/labelsTr/*.nii*"))
DICOM = Layout("DICOM", ())  # told by the headers
LAYOUTS = (BIDS, FLAT, AUTOPET, NNUNET, HECKTOR, ENHANCE, ORGANS, DICOM)
# What tells PET/CT from PET/MR by names alone
_CT = {BIDS: ("sub-*/**/anat/*ct*.nii*",), FLAT: ("*/*_ct*.nii*",)}
_MR = {BIDS: tuple(f"sub-*/**/anat/*_{name}.nii*" for name in ("W", "water", "T1w")), FLAT: ("*/*_mr*.nii*",)}


def layouts_of(modality: str) -> tuple[Layout, ...]:
    """The layouts of one half, by which a folder is said to look like it; a half is read from any of `LAYOUTS`.

    nnU-Net's channels are told by the content of dataset.json, DICOM by the headers, so neither is among them.
    """
    named = _CT if modality == "CT" else _MR
    more = {
        **named,
        AUTOPET: (f"*/*/{modality}*.nii*",),
        HECKTOR: (f"*/*__{modality}.nii*",),
        ENHANCE: (f"images/{modality}_*/*.nii*",),
        ORGANS: (f"*/{modality.lower()}_*/imagesTr/*.nii*",),
    }
    return tuple(Layout(la.title, (*la.needs, need)) for la, needs in more.items() for need in needs)
