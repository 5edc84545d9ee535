"""UMD, PET/CT half, in each layout that the converter reads: nine patients with thirteen organs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms.bodies import layouts

EXPECTED = layouts.EXPECTED


def write(root: Path, rng: np.random.Generator) -> None:
    """BIDS twice, flat, autoPET, nnU-Net, HECKTOR, ENHANCE.PET, DICOM, one folder an organ."""
    layouts.write(root, rng, "CT")
