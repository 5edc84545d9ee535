"""Mask, box and point prompts answered by SAM3's tracker (`Sam3TrackerModel` of transformers), slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from medshards.evaluate.prompts.answers.answerer import Outcome
from medshards.evaluate.prompts.answers.shown import grey
from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.families.boxes import Box
from medshards.evaluate.prompts.families.points import Points
from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.target import Part, Scene
from medshards.train.model.postprocess import normalise

INSIDE, OUTSIDE = 10.0, -20.0  # logits of a mask prompt, those of the study


class TrackerAnswerer:
    """A tracker asked on single images. A volume is asked on the slices that the prompt touches; an empty mask touches
    none, so its answer is empty. side: of the network's square input, px."""

    kinds: tuple[str, ...] = ("mask", "box", "points")

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model.eval(), name
        self.side = int(model.config.vision_config.image_size)
        self.mask_side = 4 * int(model.prompt_encoder.image_embedding_size[0])
        self.device = next(model.parameters()).device

    @classmethod
    def load(cls, weights: str, device: str = "cpu") -> TrackerAnswerer:
        """A folder or Hub name with the tracker's weights. Raises OSError, as transformers does."""
        from transformers import Sam3TrackerModel

        model: Any = Sam3TrackerModel.from_pretrained(weights)
        return cls(model.to(device), weights)

    @torch.no_grad()
    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        image = grey(scene)
        planes = image if image.ndim == 3 else image[None]
        asked = [list(_inputs(prompt, image.ndim)) for prompt in prompts]
        answers = [np.zeros(planes.shape, bool) for _ in prompts]
        for k in sorted({number for own in asked for number, _ in own}):
            features = self.model.get_image_embeddings(self._pixels(planes[k]))
            for found, own in zip(answers, asked, strict=True):
                for number, given in own:
                    if number == k:
                        found[k] = self._segment(features, given, planes[k].shape)
        return [
            Outcome.of(Part(found if image.ndim == 3 else found[0], (0,) * image.ndim).within(scene.shape))
            for found in answers
        ]

    def _pixels(self, plane: NDArray[np.uint8]) -> torch.Tensor:
        resized = cv2.resize(plane, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        return normalise(torch.from_numpy(resized).to(self.device)).expand(1, 3, -1, -1)

    def _segment(
        self, features: Sequence[torch.Tensor], given: dict[str, NDArray[Any]], size: tuple[int, ...]
    ) -> NDArray[np.bool_]:
        scale = np.array([self.side / size[1], self.side / size[0]])  # of (x, y)
        inputs: dict[str, torch.Tensor] = {}
        if "mask" in given:
            small = cv2.resize(
                given["mask"].astype(np.uint8),
                (self.mask_side, self.mask_side),
                interpolation=cv2.INTER_NEAREST,
            )
            logits = np.where(small > 0, INSIDE, OUTSIDE).astype(np.float32)
            inputs["input_masks"] = torch.from_numpy(logits)[None, None].to(self.device)
        if "box" in given:
            box = given["box"].reshape(2, 2) * scale
            inputs["input_boxes"] = torch.tensor(
                box.reshape(1, 1, 4), dtype=torch.float32, device=self.device
            )
        if "points" in given:
            points = given["points"] * scale
            inputs["input_points"] = torch.tensor(points[None, None], dtype=torch.float32, device=self.device)
            inputs["input_labels"] = torch.tensor(
                given["labels"][None, None], dtype=torch.int, device=self.device
            )
        output = self.model(image_embeddings=features, multimask_output=False, **inputs)
        logits = output.pred_masks[0, 0, 0].float().cpu().numpy()
        return np.asarray(cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) > 0)


def _inputs(prompt: Prompt, axes: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """What is given on each slice that a prompt touches; coordinates in px as (x, y), pixel centres at k + 1/2."""
    payload = prompt.payload()
    flat = axes == 2
    if isinstance(payload, Part):
        frame = prompt.record["frame"]
        planes = payload.crop[None] if flat else payload.crop
        first = 0 if flat else payload.start[0]
        for k, plane in enumerate(planes):
            if plane.any():
                whole = Part(plane, tuple(payload.start[-2:])).whole(frame[-2:])
                yield first + k, {"mask": whole}
    elif isinstance(payload, Box):
        for box in payload.slices or (payload,):
            low, high = np.array(box.low) / UNITS, np.array(box.high) / UNITS
            corners = np.array([low[-1], low[-2], high[-1], high[-2]])
            numbers = range(1) if flat else range(int(np.floor(low[0] + 0.5)), int(np.floor(high[0] + 0.5)))
            for k in numbers:
                yield k, {"box": corners}
    elif isinstance(payload, Points):
        for k in sorted({0 if flat else at[0] for at in payload.at}):
            own = [n for n, at in enumerate(payload.at) if flat or at[0] == k]
            points = np.array([[payload.at[n][-1] + 0.5, payload.at[n][-2] + 0.5] for n in own])
            yield k, {"points": points, "labels": np.array([int(payload.wanted[n]) for n in own])}
