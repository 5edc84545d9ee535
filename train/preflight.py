"""Checks before a long start: what would fail after an hour shall fail at once, and all of it together."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from train.config import Config
from train.parallel import World
from train.stream import BadSample, Corpus, CorpusError

PARAMETERS = {"sam3": 841_000_000}  # of architectures whose checkpoints fill a disk


def problems(config: Config, data: str, out: Path, ranks: World) -> list[str]:
    """Everything that is wrong with this machine, corpus and configuration, a line each; empty when all is well."""
    return [*_devices(config), *_corpus(config, data), *(_disk(config, out) if ranks.first else [])]


def _devices(config: Config) -> list[str]:
    if torch.cuda.is_available() and config.run.precision == "bf16" and not torch.cuda.is_bf16_supported():
        return ["this GPU has no bfloat16: --set run.precision=fp32"]
    return []


def _corpus(config: Config, data: str) -> list[str]:
    """Open the corpus and read the first sample of every dataset."""
    try:
        corpus = Corpus.open(data, "train", config.data.datasets, check=config.data.check_digests)
    except CorpusError as error:
        return [str(error)]
    first, found = 0, []
    for table in corpus.tables.values():
        try:
            corpus.read(first)
        except BadSample as error:
            found.append(str(error))
        first += len(table)
    return found


def _disk(config: Config, out: Path) -> list[str]:
    parameters = PARAMETERS.get(config.model.preset, 10_000_000)
    one = parameters * 4 * 3  # weights and two moments in fp32
    needed = one * (config.run.keep_last + 2)  # the kept ones, the best, and the one being written
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        return [
            f"{out} has {free / 2**30:.0f} GiB free; checkpoints need {needed / 2**30:.0f} GiB "
            f"(run.keep_last = {config.run.keep_last})"
        ]
    return []
