"""UMD, PET/MR half: whole-body PET and MR of one patient with 13 organs.

Zhang et al., arXiv 2602.07643, 2026. As umd_petct; of a Dixon MR the water image is taken, else the in-phase one, and
the contrast is recorded.
"""

from __future__ import annotations

from medshards.curate.paired.converter import PairedStudies
from medshards.curate.paired.layouts import layouts_of


class Converter(PairedStudies):
    """One case a study, two samples a slice (MR and PET); group = patient, as in umd_petct."""

    slug = "umd_petmr"
    modality = "MR"
    layouts = layouts_of(modality)
