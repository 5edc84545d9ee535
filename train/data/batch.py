"""From the bytes of samples to a batch: decoded, resized, prompts chosen, packed.

Images are resized to the side of the network input bilinearly with antialiasing, whatever their aspect ratio;
masks likewise, as 0 and 255, and a pixel belongs to the instance when at least half of it does (value above
127). Everything stays uint8, masks eight pixels a byte, until it is on the device. Several prompts of one
image share the image, equal texts of a batch are encoded once.

What is drawn (negative prompts, synonyms, the side of an augmented image) is a hash of seed, epoch and sample.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from medshards.common.window import Windows, random_window
from medshards.shards.read.corpus import BadSample, Raw
from medshards.shards.read.decode import decode_image, decode_planes
from medshards.train.data.drawn import Drawn, region
from medshards.train.data.keyed_random import choose, number
from medshards.train.data.resizing import boxes_of, pack, resize_image, resize_masks
from medshards.train.data.tokenizer import tokenize
from medshards.train.model.outputs import Targets
from medshards.train.model.postprocess import normalise
from medshards.train.run.config import DataConfig

_NEGATIVES, _POSITIVES, _TEXT, _SIDE, _WINDOW, _LISTENING = range(100, 106)  # what a hash is for
LISTENING = 2  # impossible concepts that a validation asks an image for


class NoPrompt(Exception):
    """Nothing is left to ask of this image; the message says why."""


class Bad(NamedTuple):
    """A damaged sample: ``slug/key`` and what is wrong with it."""

    name: str
    reason: str


class Prompt(NamedTuple):
    """A text to ask of an image, and how many instances answer it. possible: its picture might show the concept."""

    concept: str
    text: str
    instances: int
    possible: bool = True


@dataclass(frozen=True)
class Example:
    """One sample ready for a batch; S is the side of the network input, m the number of its instances.

    ``dropped`` counts what had to be left out, by reason.
    """

    name: str
    image: Tensor  # (3, S, S) uint8
    prompts: tuple[Prompt, ...]
    boxes: Tensor  # (m, 4) float32 (cx, cy, w, h) / S, in order of the prompts
    masks: Tensor  # (m, S, ceil(S / 8)) uint8, bits
    dropped: Mapping[str, int]
    bad: tuple[Bad, ...] = ()  # the bad samples in whose place this one stands
    void: bool = (
        False  # shows nothing and counts nowhere: in its place a validation has no sample that can be used
    )


@dataclass(frozen=True)
class Batch:
    """I images and B prompts; M instances of all prompts, T different texts."""

    images: Tensor  # (I, 3, S, S) uint8
    img_id: Tensor  # (B,) int64
    input_ids: Tensor  # (T, 32) int64
    attention_mask: Tensor  # (T, 32) bool
    text_id: Tensor  # (B,) int64
    boxes: Tensor  # (M, 4) float32
    masks: Tensor  # (M, S, ceil(S / 8)) uint8, bits
    prompts: tuple[Prompt, ...]  # B
    names: tuple[str, ...]  # I, slug/key
    dropped: Mapping[str, int]
    bad: tuple[Bad, ...]  # the samples that are replaced or left out
    void: tuple[bool, ...]  # I

    @property
    def num_boxes(self) -> Tensor:
        """Instances of each prompt, (B,) int64."""
        return torch.tensor([prompt.instances for prompt in self.prompts], dtype=torch.int64)

    def inputs(self, device: torch.device | str) -> dict[str, Tensor]:
        """The arguments of the model's forward pass, images normalised on the device."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("images", "img_id", "input_ids", "attention_mask", "text_id")
        }
        return {"pixel_values": normalise(moved.pop("images")), **moved}

    def targets(self, device: torch.device | str) -> Targets:
        """What the objective compares with."""
        masks = unpack(self.masks.to(device, non_blocking=True), self.images.shape[-1])
        names = [
            f"{self.names[image]}: {p.text}"
            for image, p in zip(self.img_id.tolist(), self.prompts, strict=True)
        ]
        return Targets(self.boxes.to(device, non_blocking=True), self.num_boxes, masks, names=names)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, which a GPU copies from without waiting."""
        tensors: dict[str, Any] = {
            name: value.pin_memory() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True)
class Builder:
    """Makes examples; ``names`` has the names of each concept, canonical first.

    listening: of each dataset concepts that its pictures cannot show, with texts: `LISTENING` of them are asked too.
    """

    config: DataConfig
    side: int
    seed: int
    names: Mapping[str, Sequence[str]]
    listening: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def for_validation(self, listening: Mapping[str, Mapping[str, str]]) -> Builder:
        """Makes examples that do not change from epoch to epoch; they ask canonical texts, and for `listening`."""
        fixed: dict[str, Any] = {
            "prompt_text": "canonical",
            "random_square_resize": None,
            "random_window": 0.0,
        }
        fixed["absent"] = {}  # `listening` has them
        return replace(self, config=self.config.model_copy(update=fixed), listening=listening)

    def room(self, images: int) -> Tensor:
        """Where so many images of a batch are made; in a worker of a loader it is handed over without a copy."""
        return _room((images, 3, self.side, self.side))

    def example(self, raw: Raw, epoch: int, sample: int, out: Tensor | None = None) -> Example:
        """Decode, resize and choose prompts; raises BadSample and NoPrompt. out: where the image is made."""
        key = (self.seed, epoch, sample)
        dropped: Counter[str] = Counter()
        instances, absent = self._ask(raw, key, dropped)
        side = self._shown_side(key)
        masks, prompts = [], []
        planes = decode_planes(raw)
        for concept, targets in instances.items():
            regions = [region(planes, target, raw.name) for target in targets]
            bits = pack(resize_masks(regions, planes[0].shape, side), self.side)
            kept = bits[bits.any(axis=(1, 2))]
            dropped["instances without area after resizing"] += len(bits) - len(kept)
            if len(kept):
                masks.append(kept)
                prompts.append(Prompt(concept, self._text(concept, key, raw), len(kept)))
        prompts += [Prompt(concept, self._text(concept, key, raw), 0) for concept in absent]
        foreign = self.listening.get(raw.record["dataset"], {})
        prompts += [
            Prompt(concept, foreign[concept], 0, possible=False)
            for concept in choose(list(foreign), LISTENING, *key, _LISTENING)
        ]
        if not prompts:
            raise NoPrompt(
                f"{raw.name}: {', '.join(+dropped) or 'no concept is present or known to be absent'}"
            )
        bits = np.concatenate(masks) if masks else pack(np.zeros((0, side, side), bool), self.side)
        image = decode_image(raw, self._window(raw, key), side if self.config.scaled_jpeg else None)
        return Example(
            raw.name,
            resize_image(image, side, self.room(1)[0] if out is None else out),
            tuple(prompts),
            boxes_of(bits, self.side),
            torch.from_numpy(bits),
            +dropped,
        )

    def void(self, name: str, out: Tensor | None = None) -> Example:
        """A black image in which nothing is to be found; see `Example.void`. out: where it is made."""
        concept, names = next(iter(self.names.items()))
        side = self.side
        return Example(
            name,
            (self.room(1)[0] if out is None else out).zero_(),
            (Prompt(concept, names[0], 0),),
            torch.zeros(0, 4),
            torch.zeros(0, side, -(-side // 8), dtype=torch.uint8),
            {},
            void=True,
        )

    def _ask(
        self, raw: Raw, key: tuple[int, ...], dropped: Counter[str]
    ) -> tuple[dict[str, list[list[Drawn]]], list[str]]:
        """The targets to ask for by concept, each of one or more instances; the absent concepts to ask for."""
        config, record = self.config, raw.record
        found: dict[str, list[list[Drawn]]] = defaultdict(list)
        for instance in record["instances"]:
            found[instance["concept"]].append([Drawn(instance["plane"], instance["id"], instance["bbox"])])
        if config.instances.get(record["dataset"]) == "merged":
            found = defaultdict(list, {c: [[drawn for (drawn,) in each]] for c, each in found.items()})
        crowded = [c for c, each in found.items() if len(each) > config.max_instances_per_prompt]
        for concept in crowded:
            dropped[f"prompts with more than {config.max_instances_per_prompt} instances"] += 1
            del found[concept]
        present = choose(sorted(found), config.max_prompts_per_image, *key, _POSITIVES)
        dropped["prompts above max_prompts_per_image"] += len(found) - len(present)
        absent = sorted({*record["absent"], *config.absent.get(record["dataset"], ())})
        room = min(config.max_negatives_per_image, config.max_prompts_per_image - len(present))
        return {c: found[c] for c in present}, choose(absent, room, *key, _NEGATIVES)

    def _text(self, concept: str, key: tuple[int, ...], raw: Raw) -> str:
        if concept not in self.names:
            raise BadSample(f"{raw.name}: its concept {concept!r} is not in the vocabulary")
        names = self.names[concept]
        if self.config.prompt_text == "canonical":
            return names[0]
        return names[number(len(names), *key, _TEXT, *concept.encode())]

    def _window(self, raw: Raw, key: tuple[int, ...]) -> Windows:
        """The window in which a slice of a volume is shown, {} for the record's own."""
        if not self.config.random_window:
            return {}
        draws = [number(1 << 32, *key, _WINDOW, place) / 2**32 for place in range(2)]
        return random_window(raw.record, self.config.random_window, *draws)

    def _shown_side(self, key: tuple[int, ...]) -> int:
        if self.config.random_square_resize is None:
            return self.side
        smallest, step = self.config.random_square_resize
        sides: list[int] = [*range(smallest, self.side, step), self.side]
        return sides[number(len(sides), *key, _SIDE)]


def unpack(bits: Tensor, side: int) -> Tensor:
    """Masks (M, side, side) bool from their bits (M, side, ceil(side / 8)) uint8, first pixel highest."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return ((bits[..., None] >> shifts) & 1).flatten(-2)[..., :side].bool()


def collate(examples: Sequence[Example], images: Tensor | None = None) -> Batch:
    """Pack examples into a batch. images: where theirs were made, one after another."""
    prompts = [prompt for example in examples for prompt in example.prompts]
    texts = {text: place for place, text in enumerate(dict.fromkeys(p.text for p in prompts))}
    ids, mask = tokenize(list(texts))
    per_image = torch.tensor([len(example.prompts) for example in examples])
    return Batch(
        images=_together([example.image[None] for example in examples]) if images is None else images,
        img_id=torch.repeat_interleave(torch.arange(len(examples)), per_image),
        input_ids=ids,
        attention_mask=mask,
        text_id=torch.tensor([texts[prompt.text] for prompt in prompts]),
        boxes=torch.cat([example.boxes for example in examples]),
        masks=_together([example.masks for example in examples]),
        prompts=tuple(prompts),
        names=tuple(example.name for example in examples),
        dropped=sum((Counter(example.dropped) for example in examples), Counter()),
        bad=tuple(bad for example in examples for bad in example.bad),
        void=tuple(example.void for example in examples),
    )


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Bytes one after another."""
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    return torch.cat(list(parts), out=_room(shape))


def _room(shape: tuple[int, ...]) -> Tensor:
    """An uint8 tensor to be filled; in a worker of a loader it lies where it is handed over from without a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    shared: Tensor = torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape)  # type: ignore[call-overload]
    return shared
