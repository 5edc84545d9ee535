"""Ask an answerer every prompt of a set and measure the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medshards.evaluate.metrics import distances
from medshards.evaluate.prompts.answers.answerer import Answerer, Outcome
from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.sets.overlay import read_shard
from medshards.evaluate.prompts.sets.scenes import places, read_scenes
from medshards.evaluate.prompts.target import Part, Scene, dice
from medshards.shards.read.corpus import Corpus


@dataclass(frozen=True)
class Row:
    """The score of one answer.

    patient: group of the sample. severity: nominal step. measured: how far the prompt is from the perfect one, 1 − Dice
    (masks) or 1 − IoU (boxes), else None. state: answered, refused, failed, or unreachable (no prompt was asked).
    dice, nsd, hd95: of the answer to what was expected; None where nothing was expected or the state is not
    "answered"; hd95 (mm, px) also where the answer is empty. copied: Dice of the prompt itself, as if it were the
    answer. empty: an answer without a voxel. stable: mean Dice to the answers of the other replicates.
    """

    model: str
    dataset: str
    key: str
    patient: str
    concept: str
    kind: str
    family: str
    expected: str
    severity: int
    replicate: int
    measured: float | None
    state: str
    empty_prompt: bool
    empty: bool
    dice: float | None
    nsd: float | None
    hd95: float | None
    copied: float | None
    stable: float | None
    reason: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def score_set(
    location: str | Path,
    sets: Path,
    manifest: dict[str, Any],
    answerer: Answerer,
    tolerance: float = 2.0,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Iterator[Row]:
    """A row for every prompt of a set that the answerer takes. tolerance: of NSD, mm (px)."""
    slug = str(manifest["dataset"])
    for split in manifest["splits"]:
        corpus = Corpus.open(location, split, [slug])
        if slug not in corpus.slugs:
            continue
        waiting = {
            key: prompts
            for shard in manifest["shards"]
            if shard["base"].startswith(f"{split}/")
            for key, prompts in read_shard(sets / slug / shard["file"])
        }
        found = places(corpus, split)
        for done, place in enumerate(found, start=1):
            for key, scene in read_scenes(corpus, place):
                yield from score_scene(scene, place.group, waiting[key], answerer, tolerance)
            progress(f"{slug} {split}", done, len(found))


def score_scene(
    scene: Scene, patient: str, prompts: Sequence[Prompt], answerer: Answerer, tolerance: float = 2.0
) -> Iterator[Row]:
    """The rows of one picture or volume."""
    for concept in scene.classes:
        own = [p for p in prompts if p.record["concept"] == concept and p.record["kind"] in answerer.kinds]
        asked = [p for p in own if p.usable]
        answers = dict(zip((p.id for p in asked), answerer.answer(scene, concept, asked), strict=True))
        for prompt in own:
            outcome = answers.get(prompt.id, Outcome("refused", reason="unreachable"))
            others = [
                answers[p.id]
                for p in asked
                if p.id != prompt.id
                and (p.record["family"], p.record["severity"])
                == (prompt.record["family"], prompt.record["severity"])
            ]
            yield _row(scene, patient, prompt, outcome, others, answerer.name, tolerance)


def _row(
    scene: Scene,
    patient: str,
    prompt: Prompt,
    outcome: Outcome,
    others: Sequence[Outcome],
    model: str,
    tolerance: float,
) -> Row:
    record = prompt.record
    state = outcome.state if prompt.usable else "unreachable"
    truth = expected_mask(scene, prompt) if prompt.usable else None
    found: float | None = None
    nsd: float | None = None
    hd95: float | None = None
    copied: float | None = None
    if truth is not None and record["kind"] == "mask":
        payload = prompt.payload()
        assert isinstance(payload, Part)
        copied = dice(payload, truth)
    if truth is not None and outcome.mask is not None:
        found = dice(outcome.mask, truth)
        nsd, hd95 = _surface(outcome.mask, truth, scene, tolerance)
    same = [dice(outcome.mask, o.mask) for o in others if outcome.mask is not None and o.mask is not None]
    return Row(
        model,
        scene.dataset,
        scene.key,
        patient,
        record["concept"],
        record["kind"],
        record["family"],
        record["expected"],
        record["severity"],
        record["replicate"],
        _measured(record),
        state,
        bool(record["empty"]),
        outcome.mask is not None and not outcome.mask.voxels,
        found,
        nsd,
        hd95,
        copied,
        float(np.mean(same)) if same else None,
        outcome.reason,
    )


def expected_mask(scene: Scene, prompt: Prompt) -> Part | None:
    """The right answer to a prompt; None where it is to give nothing."""
    record = prompt.record
    if record["expected"] in ("nothing", "refuse"):
        return None
    if record["expected"] == "text" or record["kind"] == "text":
        concept = record["payload"]["concept"]
        return scene.classes.get(concept) if concept else None
    if record["expected"] == "prompt" and record["kind"] == "mask":
        payload = prompt.payload()
        assert isinstance(payload, Part)
        return payload
    if record["expected"] == "prompt":
        shown = record["parameters"].get("class")
        return scene.classes.get(shown) if shown != record["concept"] else None
    return scene.classes[record["concept"]]


def _measured(record: dict[str, Any]) -> float | None:
    likeness = record["measured"].get("dice" if record["kind"] == "mask" else "iou")
    return None if likeness is None else round(1 - likeness, 4)


def _surface(mask: Part, truth: Part, scene: Scene, tolerance: float) -> tuple[float, float | None]:
    """NSD and HD95 (convention `border`) in a window around both."""
    low = [min(a, b) for a, b in zip(mask.start, truth.start, strict=True)] if mask.voxels else truth.start
    high = [max(a, b) for a, b in zip(mask.stop, truth.stop, strict=True)] if mask.voxels else truth.stop
    size = [h - lo for h, lo in zip(high, low, strict=True)]
    spacing = [s / UNITS for s in scene.spacing]
    found = distances(mask.window(low, size), truth.window(low, size), spacing)
    return found.surface_dice(tolerance), found.hausdorff()
