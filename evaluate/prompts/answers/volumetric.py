"""Adapters for two 3D models of the study. Neither is needed by anything else, and none is imported until asked for.

nnInteractive (`pip install nnInteractive`, weights by its own documentation) and SAM-Med3D (`pip install
medim`): docs/robustness.md says what to install and what to expect. Tests use stand-ins of the same interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.answers.answerer import Outcome
from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.families.boxes import Box
from medshards.evaluate.prompts.families.points import Points
from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.target import Part, Scene

CROP, COARSE, SPACING = 128, 32, 1.5  # SAM-Med3D: voxels of the crop and of the mask prompt; mm
INSIDE, OUTSIDE = 10.0, -20.0  # logits of a mask prompt, those of the study


class NnInteractive:
    """A session of `nnInteractive.inference.inference_session.nnInteractiveInferenceSession`.

    As in the study the mask is the initial segmentation and one prediction is run; each class is scored on its own
    output. An empty mask triggers no prediction there: that is a refusal.
    """

    name = "nnInteractive"
    kinds: tuple[str, ...] = ("mask", "box", "points")

    def __init__(self, session: Any) -> None:
        self.session = session

    @classmethod
    def load(cls, weights: Path, device: str = "cuda:0") -> NnInteractive:
        """A session with the model of a folder. Raises ImportError, which says what to install."""
        try:
            import torch
            from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
        except ImportError as error:
            raise ImportError(
                f"nnInteractive is not installed ({error}): pip install nnInteractive"
            ) from error
        session = nnInteractiveInferenceSession(device=torch.device(device), do_autozoom=True)
        session.initialize_from_trained_model_folder(str(weights))
        return cls(session)

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        if len(scene.shape) != 3:
            return [Outcome("refused", reason="takes volumes only")] * len(prompts)
        self.session.set_image(scene.image[None].astype(np.float32) / 1000)
        return [self._one(scene, prompt) for prompt in prompts]

    def _one(self, scene: Scene, prompt: Prompt) -> Outcome:
        payload = prompt.payload()
        if isinstance(payload, Part) and not payload.voxels:
            return Outcome("refused", reason="an empty mask")
        target = np.zeros(scene.shape, np.uint8)
        try:
            self.session.reset_interactions()
            self.session.set_target_buffer(target)
            if isinstance(payload, Part):
                whole = payload.whole(scene.shape).astype(np.uint8)
                self.session.add_initial_seg_interaction(whole, run_prediction=True)
            elif isinstance(payload, Box):
                middle = (payload.low[0] + payload.high[0]) // (2 * UNITS)
                edges = [
                    [round(a / UNITS), round(b / UNITS)]
                    for a, b in zip(payload.low, payload.high, strict=True)
                ]
                self.session.add_bbox_interaction(
                    [[middle, middle + 1], *edges[1:]], include_interaction=True
                )
            else:
                assert isinstance(payload, Points)
                for at, wanted in zip(payload.at, payload.wanted, strict=True):
                    self.session.add_point_interaction(at, include_interaction=wanted)
        except Exception as error:  # whatever the model raises is its failure, to be counted
            return Outcome("failed", reason=f"{type(error).__name__}: {error}")
        return Outcome.of(Part(target > 0, (0, 0, 0)).within(scene.shape))


class SamMed3D:
    """A SAM-Med3D model (`image_encoder`, `prompt_encoder`, `mask_decoder`), by the study's pipeline: 1.5 mm voxels,
    a crop of 128³ centred on the target (so its place leaks: report the prompt lift), mask logits +10 and −20
    subsampled to 32³, no other prompt."""

    name = "SAM-Med3D"
    kinds: tuple[str, ...] = ("mask",)

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.model, self.device = model, device

    @classmethod
    def load(cls, weights: str, device: str = "cuda:0") -> SamMed3D:
        """The "turbo" weights by medim. Raises ImportError, which says what to install."""
        try:
            import medim
        except ImportError as error:
            raise ImportError(f"medim is not installed ({error}): pip install medim") from error
        model = medim.create_model("SAM-Med3D", pretrained=True, checkpoint_path=weights)
        return cls(model.to(device).eval(), device)

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        if len(scene.shape) != 3 or scene.length != "mm":
            return [Outcome("refused", reason="takes volumes with spacing only")] * len(prompts)
        import torch

        part = scene.classes[concept]
        centre = [(a + b - 1) / 2 for a, b in zip(part.start, part.stop, strict=True)]
        index = [_grid(c, s / UNITS) for c, s in zip(centre, scene.spacing, strict=True)]
        volume = _sample(scene.image, index).astype(np.float32)
        seen = volume[volume > 0]
        if seen.size:
            volume = (volume - seen.mean()) / max(float(seen.std()), 1e-6)
        made = []
        with torch.no_grad():
            image = torch.from_numpy(volume)[None, None].to(self.device)
            features = self.model.image_encoder(image)
            for prompt in prompts:
                payload = prompt.payload()
                assert isinstance(payload, Part)
                logits = np.where(_sample(payload.whole(scene.shape), index), INSIDE, OUTSIDE)
                step = CROP // COARSE
                coarse = torch.from_numpy(logits[::step, ::step, ::step].astype(np.float32))[None, None]
                try:
                    made.append(Outcome.of(self._one(features, coarse.to(self.device), index, scene)))
                except Exception as error:  # whatever the model raises is its failure, to be counted
                    made.append(Outcome("failed", reason=f"{type(error).__name__}: {error}"))
        return made

    def _one(self, features: Any, coarse: Any, index: list[NDArray[np.int64]], scene: Scene) -> Part:
        from torch.nn import functional

        sparse, dense = self.model.prompt_encoder(points=None, boxes=None, masks=coarse)
        low, _ = self.model.mask_decoder(
            image_embeddings=features,
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        full = functional.interpolate(low.float(), size=(CROP,) * 3, mode="trilinear", align_corners=False)
        inside = (full[0, 0] > 0).cpu().numpy()
        spans = []
        for own, n in zip(index, scene.shape, strict=True):
            here = own[(own >= 0) & (own < n)]
            spans.append(np.arange(here.min(), here.max() + 1))
        nearest = [
            np.abs(own[None] - span[:, None]).argmin(1) for own, span in zip(index, spans, strict=True)
        ]
        return Part(inside[np.ix_(*nearest)], tuple(int(s[0]) for s in spans)).within(scene.shape)


def _grid(centre: float, spacing: float) -> NDArray[np.int64]:
    """The voxel of the scene nearest to each voxel of the crop, along one axis; outside the frame too."""
    places: NDArray[np.int64] = np.rint(
        centre + (np.arange(CROP) - (CROP - 1) / 2) * SPACING / spacing
    ).astype(np.int64)
    return places


def _sample(array: NDArray[Any], index: list[NDArray[np.int64]]) -> NDArray[Any]:
    """An array at the voxels of the crop; 0 outside."""
    inside = [(own >= 0) & (own < n) for own, n in zip(index, array.shape, strict=True)]
    clipped = [np.clip(own, 0, n - 1) for own, n in zip(index, array.shape, strict=True)]
    found = array[np.ix_(*clipped)].copy()
    found[~(inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])] = 0
    return found
