"""Write monai.json: what MONAI says of the pairs of tests/evaluate/mask_pairs.py.

From the repository's root, in an environment with MONAI (the project does not depend on it):

    PYTHONPATH=src:. python tests/golden/surface_distance/make.py
"""

import hashlib
import json
import math
from pathlib import Path

import monai
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from tests.evaluate.mask_pairs import pairs


def number(value: torch.Tensor) -> float | str:
    """A figure; 'nan' and 'inf' as words, which JSON has no numbers for."""
    found = float(value)
    return found if math.isfinite(found) else str(found)


cases, digest = [], hashlib.sha256()
for pair in pairs():
    digest.update(pair.prediction.tobytes() + pair.truth.tobytes())
    masks = [torch.from_numpy(m)[None, None] for m in (pair.prediction, pair.truth)]
    options = {"include_background": True, "spacing": pair.spacing}
    tolerance = [pair.tolerance]
    cases.append(
        {
            "hd95": number(compute_hausdorff_distance(*masks, percentile=95, **options)),
            "hd": number(compute_hausdorff_distance(*masks, **options)),
            "nsd": number(compute_surface_dice(*masks, tolerance, **options)),
            "nsd_surface": number(compute_surface_dice(*masks, tolerance, use_subvoxels=True, **options)),
        }
    )
content = {
    "source": f"MONAI {monai.__version__} (Apache-2.0), PyTorch {torch.__version__}: compute_hausdorff_distance, "
    "compute_surface_dice with and without use_subvoxels; made by make.py",
    "masks_sha256": digest.hexdigest(),
    "pairs": cases,
}
Path(__file__).with_name("monai.json").write_text(json.dumps(content, indent=1) + "\n")
