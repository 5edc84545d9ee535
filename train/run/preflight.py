"""Checks before a long start: what would fail after an hour shall fail at once, and all of it together.

`problems` looks at everything on every rank when training begins. `submission_problems` looks at what can be seen
from where a job is submitted, before it waits in a queue for a day.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from medshards.shards.build.manifest import MANIFEST
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import BadSample, Corpus
from medshards.shards.read.storage import Folder, StoreError
from medshards.train.model.hub import access_problem
from medshards.train.run.config import Config
from medshards.train.run.parallel import World, leave
from medshards.train.speed import regions

PARAMETERS = {"sam3": 841_000_000}  # of architectures whose checkpoints fill a disk
PATIENCE = timedelta(minutes=3)  # for the first exchange between GPUs, which takes seconds where all is well


def problems(config: Config, data: str, out: Path, ranks: World) -> list[str]:
    """Everything that is wrong with machine, corpus, weights and configuration, a line each; empty when all is well.

    Every rank must call it at the same point. What is the same for all processes of a node is looked at once.
    """
    found = [*_devices(config), *_agreement(ranks)]
    found += _regions(config, ranks.device.type)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        found += [*_corpus(config, data, here=True), *_weights(config)]
    if ranks.first:
        found += [*_batch(config, ranks.size), *_disk(config, out)]
    return found


def submission_problems(config: Config, data: str, out: Path, world_size: int) -> list[str]:
    """What is wrong as far as can be seen without the machines of the run, which will be ``world_size`` ranks."""
    return [
        *_batch(config, world_size),
        *_corpus(config, data, here=False),
        *_weights(config),
        *_disk(config, out),
    ]


def idle_gpus(ranks: World) -> str | None:
    """A remark when there are more GPUs here than processes that use them."""
    here = _ranks_here(ranks)
    if ranks.device.type == "cuda" and torch.cuda.device_count() > here:
        return (
            f"{torch.cuda.device_count()} GPUs are visible and {here} are used: torchrun --nproc-per-node=N"
        )
    return None


def waiting_workers(config: Config, ranks: World) -> str | None:
    """A remark when more processes decode here than there are cores."""
    each, cores = config.data.workers, os.cpu_count() or 1
    here = each * _ranks_here(ranks)
    if here > cores:
        return f"{here} processes decode on {cores} cores (data.workers={each} for each rank here)"
    return None


def _ranks_here(ranks: World) -> int:
    """Ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size))


def _regions(config: Config, device: str) -> list[str]:
    compiled = regions.compiles(config.model, device, config.run.parallel)
    lacking = [problem] if compiled and (problem := regions.problem()) else []
    if config.model.graphs and not regions.replays(config.model, device, config.run.parallel):
        why = f"this run trains on {device}" if device != "cuda" else "model.compile is off here"
        lacking.append(
            f"model.graphs=true replays compiled regions on a GPU, and {why}: --set model.graphs=false, or "
            "model.compile=regions on a GPU"
        )
    return lacking


def _devices(config: Config) -> list[str]:
    if torch.cuda.is_available():
        if config.run.precision == "bf16" and not torch.cuda.is_bf16_supported():
            return ["this GPU has no bfloat16: --set run.precision=fp32"]
        return []
    given = os.environ.get("SLURM_GPUS_ON_NODE", "0")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    if given != "0" or (Path("/dev/nvidia0").exists() and not hidden):
        return [
            f"{socket.gethostname()} has GPUs ({given} by Slurm), but torch {torch.__version__} cannot use them: "
            "install a build of torch for CUDA and look at nvidia-smi; to train on the CPU, set "
            "CUDA_VISIBLE_DEVICES= (empty)"
        ]
    return []


def _agreement(ranks: World) -> list[str]:
    """Whether all ranks compute on the same kind of device and can add up a number there."""
    gpus = int(ranks.sum(ranks.device.type == "cuda")[0])
    if 0 < gpus < ranks.size:
        return [
            f"{gpus} of {ranks.size} ranks have a GPU; this one on {socket.gethostname()} is on {ranks.device}"
        ]
    total = torch.ones(1, device=ranks.device)
    group = dist.new_group(timeout=PATIENCE)
    try:
        dist.all_reduce(total, group=group)
        if total.item() != ranks.size:
            return [f"the ranks add up to {total.item():.0f} on {ranks.device}, expected {ranks.size}"]
    except RuntimeError as error:
        return [f"the ranks cannot exchange tensors ({error}); NCCL_DEBUG=INFO says more about GPUs"]
    finally:
        leave(group)
    return []


def _batch(config: Config, world_size: int) -> list[str]:
    images, per_pass = config.batch.images, config.batch.in_a_pass * world_size
    if images is not None and images % per_pass:
        return [
            f"batch.images = {images} cannot be divided among {world_size} ranks with batch.per_rank = "
            f"{config.batch.in_a_pass} each: set it to a multiple of {per_pass}, or take another number of ranks"
        ]
    return []


def _corpus(config: Config, data: str, here: bool) -> list[str]:
    """Read the first sample of every dataset; on a disk, see that every shard is there as a whole.

    here: the run will read it on this machine, whose cache needs room for it.
    """
    try:
        options = config.data
        corpus = Corpus.open(
            data, "train", options.datasets, check=options.check_digests, check_index=options.check_index
        )
    except (CorpusError, StoreError) as error:
        return [str(error)]
    first, found = 0, _cache(config, corpus) if here else []
    for slug, table in corpus.tables.items():
        try:
            corpus.read(first)
        except (BadSample, StoreError) as error:
            found.append(str(error))
        first += len(table)
        if isinstance(corpus.store, Folder):
            found += _shards(corpus.store.root / slug)
    return found


def _shards(folder: Path) -> list[str]:
    """Whether the shards that a dataset's manifest lists are there with all their bytes."""
    try:
        shards = json.loads((folder / MANIFEST).read_bytes())["shards"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{folder / MANIFEST} cannot be read: {error}"]
    bad = []
    for shard in shards:
        path, size = folder / shard["file"], shard["bytes"]
        held = path.stat().st_size if path.is_file() else None
        if held != size:
            bad.append(f"{path} " + (f"has {held} of {size} bytes" if held is not None else "is absent"))
    more = f" (and {len(bad) - 1} more of {len(shards)} shards)" if len(bad) > 1 else ""
    return [f"{bad[0]}{more}; copy the corpus again and run `medshards verify`"] if bad else []


def _weights(config: Config) -> list[str]:
    found = access_problem(config.model.weights) if config.model.weights else None
    return [found] if found else []


def _cache(config: Config, corpus: Corpus) -> list[str]:
    """Whether there is room for as much of the corpus as may come into the cache."""
    if config.data.cache is None or isinstance(corpus.store, Folder):
        return []
    shards = sum(shard.size for index in corpus.indices.values() for shard in index.shards.values())
    most = config.data.cache_gb
    return _room(config.data.cache, min(shards, most << 30), f"for shards, at most data.cache_gb = {most}")


def _disk(config: Config, out: Path) -> list[str]:
    one = _parameters(config) * 4 * 3  # weights and two moments in fp32
    needed = one * (config.run.keep_last + 2)  # the kept ones, the best, and the one being written
    return _room(out, needed, f"for checkpoints, run.keep_last = {config.run.keep_last}")


def _parameters(config: Config) -> int:
    weights = Path(config.model.weights or "")
    if config.model.weights and weights.is_dir():
        return sum(file.stat().st_size for file in weights.glob("*.safetensors")) // 4
    if config.model.weights and weights.is_file():
        return weights.stat().st_size // 4
    return PARAMETERS.get(config.model.preset, 10_000_000)


def _room(folder: Path, needed: int, what: str) -> list[str]:
    """Whether ``folder`` can grow to ``needed`` bytes; what an earlier start left there counts as room."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(existing).free
    if free + held < needed:
        return [
            f"{folder} needs {needed / 2**30:.3g} GiB ({what}); it holds {held / 2**30:.3g} and has "
            f"{free / 2**30:.3g} free"
        ]
    return []
