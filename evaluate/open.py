"""Open whatever can answer: a run, a checkpoint, weights in either format, predictions made elsewhere, a baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medshards.common.files import sha256_file
from medshards.common.text import in_words
from medshards.evaluate.predictions import PredictionFolder, is_predictions
from medshards.evaluate.segmenter import BASELINES, Baseline, ModelSegmenter, Segmenter
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.hub import is_hub_id
from medshards.train.model.lora import CONFIG as ADAPTER
from medshards.train.model.lora import open_adapter
from medshards.train.model.weights import (
    OWN_CONCEPTS,
    WeightsError,
    build_model,
    fitting_preset,
    local_folder,
)
from medshards.train.run.checkpoint import STATE, CheckpointError, find, load_model, read_state, steps
from medshards.vocab.vocabulary import Concept, Vocabulary

GPU_BATCH = 8  # images; on a CPU one at a time is as fast


def open_segmenter(
    what: str | Path,
    device: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    base: str | None = None,
    ids: Mapping[str, str] | None = None,
) -> Segmenter:
    """Open a segmenter.

    what: a run (its best checkpoint, else the newest) or one checkpoint; a folder in Hugging Face format or a hub id;
    an official .pt file; a folder of LoRA adapters; a folder of predictions (evaluate/predictions.py); `empty` or
    `everything`. device: of torch, by default cuda where there is one. precision: fp32, or bf16 (default on a GPU).
    base: where the weights are that adapters were trained on. ids: of the corpus's concepts by their texts
    (`ids_of`), by which the parts of a folder of predictions may be named. Raises CheckpointError and WeightsError;
    never loads a part.
    """
    path = Path(what)
    if str(what) in BASELINES and not path.exists():
        return Baseline(str(what))
    if is_predictions(path):
        return PredictionFolder(path, ids)
    device = device or default_device()
    model, facts = load(path, device, base)
    on_gpu = torch.device(device).type != "cpu"
    return ModelSegmenter(
        model, facts, batch or (GPU_BATCH if on_gpu else 1), precision or ("bf16" if on_gpu else "fp32")
    )


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(path: Path, device: str, base: str | None = None) -> tuple[Sam3Graph, dict[str, Any]]:
    """A model and what a report says of its weights. Raises CheckpointError, WeightsError."""
    if path.suffix in (".pt", ".pth"):
        preset = fitting_preset(path)
        model = build_model(path, preset)
        return model.eval().to(device), {
            "weights": str(path),
            "weights_sha256": sha256_file(path),
            "architecture": preset,
        }
    if (path / ADAPTER).is_file():
        model, weights = open_adapter(path, base)
        facts = {"weights": weights, "adapters": str(path), "adapters_sha256": folder_digest(path)}
        return model.eval().to(device), facts
    if (path / "config.json").is_file():
        model = build_model(path)
        return model.eval().to(device), {"weights": str(path), "weights_sha256": folder_digest(path)}
    if is_hub_id(str(path)):
        return build_model(str(path)).eval().to(device), {"weights": str(path)}
    if path.is_file():
        raise WeightsError(f"{path} is no checkpoint: expected a folder, or an official file ending in .pt")
    folder = find(path)
    model, config = load_model(folder, device, base)
    return model, {
        "checkpoint": str(folder),
        "checkpoint_step": read_state(folder).step,
        "checkpoint_sha256": folder_digest(folder),
        "architecture": config.model.preset if config.model.weights is None else config.model.weights,
    }


def folder_digest(folder: Path) -> str:
    """SHA-256 over name and SHA-256 of every file of a folder, in order of name."""
    lines = [
        f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def vocabulary_of(what: str | Path) -> Vocabulary:
    """The vocabulary of whatever `open_segmenter` opens: a run, checkpoint or export knows its corpus's own concepts.

    Raises CheckpointError, WeightsError.
    """
    path = Path(what)
    if (path / STATE).is_file() or steps(path):
        return _with_own(read_state(find(path)).own_concepts)
    if is_hub_id(str(what)):
        path = local_folder(what)
    file = (path if path.is_dir() else path.parent) / OWN_CONCEPTS
    try:
        return _with_own(json.loads(file.read_bytes())) if file.is_file() else Vocabulary.load()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        todo = "export the model again, or remove the file to go without its own concepts"
        raise WeightsError(f"{file} is no list of concepts ({in_words(error)}); {todo}") from error


def _with_own(concepts: list[dict[str, Any]]) -> Vocabulary:
    return Vocabulary.load().with_own({"the model": map(Concept.of, concepts)})


OPENING = (CheckpointError, WeightsError)
"""What opening raises; the message is for people."""
