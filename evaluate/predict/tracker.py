"""Follow objects through the slices of a volume with SAM3's video tracker (`Sam3TrackerVideoModel` of transformers).

An object that was found by its text is shown to the tracker on the slice where it is largest, and followed from there
towards both ends until a slice on which nothing of it is left. What comes out takes the place of the pieces that were
found slice by slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from medshards.curate.sample import Region
from medshards.evaluate.predict.objects import Object, Result
from medshards.train.model.postprocess import normalise

KEPT = 32  # slices; more than the tracker's memory reaches back


class TrackerError(ValueError):
    """Weights that are no tracker; the message says which."""


class Tracker:
    """A tracker with its weights. side: of the network's square input, px."""

    def __init__(self, model: Any, name: str) -> None:
        self.model: Any = model.eval()
        self.name = name
        self.side = int(model.image_size)
        self.device = next(model.parameters()).device

    @classmethod
    def load(cls, weights: str, device: str = "cpu") -> Tracker:
        """A folder or Hub name with the tracker's weights, such as facebook/sam3. Raises TrackerError."""
        from transformers import Sam3TrackerVideoModel

        tracker: Any = Sam3TrackerVideoModel
        try:
            model, found = tracker.from_pretrained(weights, output_loading_info=True)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise TrackerError(f"{weights}: no weights of SAM3's video tracker: {reason}") from error
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])
            raise TrackerError(
                f"{weights}: {len(missing)} tensors of SAM3's video tracker are missing, such as {missing[0]}; "
                "give the whole model, e.g. facebook/sam3"
            )
        return cls(model.to(device), weights)

    def follow(self, result: Result) -> Result:
        """The objects of a volume, each followed from its largest slice; a picture stays as it is.

        Followed objects may share pixels. A pass of the network for each slice on which an object is seen.
        """
        if len(result.opened.slices) == 1:
            return result
        return replace(result, objects=tuple(self._object(result.opened.slices, o) for o in result.objects))

    @torch.no_grad()
    def _object(self, slices: Sequence[NDArray[np.uint8]], found: Object) -> Object:
        start = max(found.regions, key=lambda k: (found.regions[k].area, -k))
        regions = {start: found.regions[start]}
        for reverse in (False, True):
            for number, mask in self._masks(slices, start, found.regions[start], reverse):
                if number == start:
                    continue  # it is the prompt
                if not mask.any():
                    break
                regions[number] = Region.of(mask)
        return replace(found, regions=dict(sorted(regions.items())))

    def _masks(
        self, slices: Sequence[NDArray[np.uint8]], start: int, prompt: Region, reverse: bool
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Slice after slice with the tracker's mask (bool H×W), the first is `start`."""
        from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
            Sam3TrackerVideoInferenceSession,
        )

        height, width = slices[start].shape[:2]
        dtype = next(self.model.parameters()).dtype
        session = Sam3TrackerVideoInferenceSession(
            video_height=height, video_width=width, inference_device=self.device, dtype=dtype
        )
        session.processed_frames = _Frames(slices, self.side, self.device, dtype)
        mask = torch.from_numpy(prompt.mask((height, width))).float()[None, None]
        mask = F.interpolate(mask, size=(self.side, self.side), mode="bilinear", antialias=True) >= 0.5
        session.add_mask_inputs(session.obj_id_to_idx(1), start, mask)
        session.obj_with_new_inputs = [1]
        for output in self.model.propagate_in_video_iterator(session, start, reverse=reverse):
            number = int(output.frame_idx)
            logits = output.pred_masks[:1].float()
            seen = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[0, 0] > 0
            yield number, seen.cpu().numpy()
            # what the tracker's memory no longer reaches, so that a long volume takes no more room than a short one
            session.output_dict_per_obj[0]["non_cond_frame_outputs"].pop(
                number + (KEPT if reverse else -KEPT), None
            )


class _Frames(dict[int, torch.Tensor]):
    """Slices as the network's input, each made when it is asked for."""

    def __init__(
        self, slices: Sequence[NDArray[np.uint8]], side: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._slices, self._side, self._device, self._dtype = slices, side, device, dtype

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, number: int) -> torch.Tensor:
        resized = cv2.resize(self._slices[number], (self._side, self._side), interpolation=cv2.INTER_LINEAR)
        colours = resized if resized.ndim == 3 else np.repeat(resized[..., None], 3, axis=2)
        pixels = torch.from_numpy(colours).permute(2, 0, 1)[None]
        return normalise(pixels)[0].to(self._device, self._dtype)
