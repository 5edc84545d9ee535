"""Pixels that several classes claim: each goes to the most confident.

(So does the evaluation protocol of Medical SAM3; Jiang et al., arXiv 2601.10880, 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medshards.train.model.answers import Claim


def resolve(
    claims: Mapping[str, Claim], broader: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.bool_]]:
    """The mask (bool H×W) of each class after every contested pixel went to its most confident claimant.

    On equal confidence the first class in order of id has the pixel. A class and one of its `broader` ones (concept
    id to ids) do not compete: an optic cup lies inside the optic disc and takes nothing from it.
    """
    names = sorted(claims)
    masks = {}
    for place, name in enumerate(names):
        own = claims[name]
        mask = own.claimed.copy()
        for other_place, other in enumerate(names):
            if other == name or other in broader.get(name, ()) or name in broader.get(other, ()):
                continue
            rival = claims[other]
            stronger = np.greater_equal if other_place < place else np.greater
            mask &= ~(rival.claimed & stronger(rival.confidence, own.confidence))
        masks[name] = mask
    return masks
