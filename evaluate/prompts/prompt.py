"""One prompt of a set: what it is, how it was made, how strong it came out, and a digest of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.draws import Draws, seed_of
from medshards.evaluate.prompts.families.boxes import Box, iou
from medshards.evaluate.prompts.families.catalog import Family, version
from medshards.evaluate.prompts.families.points import Points, landed
from medshards.evaluate.prompts.families.texts import Text
from medshards.evaluate.prompts.measure import DECIMALS, Ruler
from medshards.evaluate.prompts.severity import LADDERS, Knob, Steps, find
from medshards.evaluate.prompts.target import Part, Target

Payload = Part | Box | Points | Text


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt. record: what a set says of it (JSON values). bits: of a mask, its crop, eight voxels a byte."""

    record: dict[str, Any]
    bits: NDArray[np.uint8] | None = None

    @property
    def id(self) -> str:
        """Unique among the prompts of a picture or volume."""
        return str(self.record["id"])

    @property
    def usable(self) -> bool:
        """Whether there is a prompt at all: its severity could be reached."""
        return not self.record["unreachable"]

    def payload(self) -> Payload:
        """What is given to a model. Raises ValueError when the step could not be reached."""
        kind, content = self.record["kind"], self.record["payload"]
        if content is None:
            raise ValueError(f"{self.id}: this step was unreachable; there is no prompt")
        if kind == "mask":
            assert self.bits is not None
            count = int(np.prod(content["shape"]))
            crop = np.unpackbits(self.bits, count=count).view(bool).reshape(content["shape"])
            return Part(crop, tuple(content["start"]))
        if kind == "box":
            slices = tuple(_box(edges) for edges in content["slices"])
            return Box(*_edges(content), slices)
        if kind == "points":
            return Points(tuple(map(tuple, content["at"])), tuple(content["wanted"]))
        return Text(content["text"], content["concept"])


def _edges(content: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(content["low"]), tuple(content["high"])


def _box(content: dict[str, Any]) -> Box:
    return Box(*_edges(content))


def make_prompts(
    target: Target, families: Sequence[Family], part: str, replicates: int = 1
) -> Iterator[Prompt]:
    """All prompts for one target: family by family, replicate by replicate, severity by severity.

    The seed is made of the set's version, the digest of the target's mask (which stands for the version of the data, so
    that no other sample matters), dataset, key, concept, instance, family and replicate. The severity has no part in
    it: all steps of a ladder share one random field.
    """
    ruler = Ruler(target)
    shape = {"frame": list(target.shape), "spacing": list(target.spacing), "start": list(target.mask.start)}
    own = _sha256(shape, np.packbits(target.mask.crop))
    for family in families:
        if family.volumes and len(target.shape) == 2:
            continue
        for replicate in range(1 if family.reference else replicates):
            seed = seed_of(
                version(),
                own,
                target.scene.dataset,
                target.scene.key,
                target.concept,
                0,
                family.id,
                replicate,
            )
            field = family.function(target, Draws(seed))
            for severity in family.severities(part):
                made = _step(target, family, field, severity)
                if made is not None:
                    yield _prompt(target, ruler, family, severity, replicate, seed, *made)


def _step(
    target: Target, family: Family, field: Knob[Any] | Steps[Any] | None, severity: int
) -> tuple[Payload | None, dict[str, Any], float | None, bool] | None:
    """Payload, parameters, nominal likeness and reached of a severity; None where the family has no such step."""
    if isinstance(field, Steps):
        step = max(severity - 1, 0)
        if step >= len(field.made):
            return None
        payload, facts = field.made[step]
        return payload, dict(facts), None, payload is not None
    wanted = LADDERS[family.ladder][severity - 1]
    if field is None:
        return None, {}, wanted, False
    knob, reached = find(field, wanted)
    if not reached:
        return None, {}, wanted, False
    return field.at(knob), field.facts(knob), wanted, True


def _prompt(
    target: Target,
    ruler: Ruler,
    family: Family,
    severity: int,
    replicate: int,
    seed: int,
    payload: Payload | None,
    facts: dict[str, Any],
    nominal: float | None,
    reached: bool,
) -> Prompt:
    content: dict[str, Any] | None = None
    measured: dict[str, Any] = {}
    bits = None
    if isinstance(payload, Part):
        payload = payload.within(target.shape)
        bits = np.packbits(payload.crop)
        content = {"start": list(payload.start), "shape": list(payload.crop.shape)}
        measured = ruler.measure(payload)
    elif isinstance(payload, Box):
        content = _box_content(payload)
        measured = {"iou": round(iou(payload, Box.around(target.mask)), DECIMALS)}
    elif isinstance(payload, Points):
        content = {"at": [list(p) for p in payload.at], "wanted": list(payload.wanted)}
        measured = {"inside": landed(target, payload)}
    elif isinstance(payload, Text):
        content = {"text": payload.text, "concept": payload.concept}
    record = {
        "id": f"{target.concept}/{family.id}/{severity}/{replicate}",
        "kind": family.kind,
        "concept": target.concept,
        "instance": 0,
        "family": family.id,
        "expected": family.expected,
        "severity": severity,
        "nominal": nominal,
        "replicate": replicate,
        "seed": f"{seed:016x}",
        "parameters": facts,
        "measured": measured,
        "unreachable": not reached,
        "empty": isinstance(payload, Part) and not payload.voxels,
        "frame": list(target.shape),
        "spacing": list(target.spacing),
        "payload": content,
    }
    made = Prompt(record, bits)
    record["digest"] = digest_of(made)
    return made


def digest_of(prompt: Prompt) -> str:
    """SHA-256 over canonical JSON of id, frame, spacing, seed and payload, then the bits of a mask's crop (C order:
    slice, row, column)."""
    facts = {
        name: prompt.record[name] for name in ("id", "frame", "spacing", "seed", "unreachable", "payload")
    }
    return _sha256(facts, prompt.bits)


def _box_content(box: Box) -> dict[str, Any]:
    """Edges in 10⁻⁴ voxels."""
    slices = [{"low": list(b.low), "high": list(b.high)} for b in box.slices]
    return {"low": list(box.low), "high": list(box.high), "slices": slices, "voxel": UNITS}


def _sha256(facts: dict[str, Any], bits: NDArray[np.uint8] | None) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text + (bits.tobytes() if bits is not None else b"")).hexdigest()
