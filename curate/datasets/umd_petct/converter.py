"""UMD, PET/CT half: whole-body PET and CT of one patient with 13 organs.

Zhang et al., arXiv 2602.07643, 2026. Neither layout nor label numbers are published, so the layouts of its relatives
are read, and label numbers only with a table. curate/studies does the work, for both halves.
"""

from __future__ import annotations

from medshards.curate.paired.converter import PairedStudies
from medshards.curate.paired.layouts import layouts_of


class Converter(PairedStudies):
    """One case a study, two samples a slice (CT and PET); group = patient, as in umd_petmr."""

    slug = "umd_petct"
    modality = "CT"
    layouts = layouts_of(modality)
