"""What a model is shown of a scene: grey values, in a CT's or PET's usual window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.target import Scene


def grey(scene: Scene) -> NDArray[np.uint8]:
    """The image of a scene as uint8, H×W or D×H×W: its display window from black to white."""
    low, high = scene.window
    values = (scene.image.astype(np.float32) - low) * np.float32(255 / max(high - low, 1))
    shown: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return shown
