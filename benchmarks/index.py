"""Opening a corpus of many samples: time, and memory of this process and of data workers.

    python -m benchmarks.index [--samples 10000000] [--datasets 20] [--workers 2] [--folder DIR]

Writes corpus.json, manifests and indices as a build does, without shards: keys, places and digests are other in every
row, fingerprints are not. Half of the datasets hold single pictures, the others volumes of 100 slices. Then the corpus
is opened, what an order needs of it is read, and each worker looks up where 10,000 samples at random lie.

Memory is that of /proc/PID/smaps_rollup. PSS counts what processes share once among them; of it, pages of files
are named apart, for the system takes them back where it needs room. Own: what the process alone holds.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from medshards.common.files import sha256_file
from medshards.shards.build import index
from medshards.shards.build.manifest import CORPUS, MANIFEST, dump, own_digest
from medshards.shards.read.corpus import Corpus

SHARD = 1000  # samples
PART = 4 * index.GROUP  # rows that are made at a time
LOOKED_UP = 10_000  # samples by each worker
CONCEPTS = ("liver", "spleen", "pancreas")


def hexes(rng: np.random.Generator, count: int) -> pa.Array:
    """So many SHA-256s, in hex."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (count, 64), np.uint8)]
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(np.arange(0, 64 * count + 1, 64, dtype=np.int32)), pa.py_buffer(digits)
    )


def rows(rng: np.random.Generator, slug: str, first: int, count: int, volumes: bool) -> pa.Table:
    """Rows of an index from the number `first` on."""
    numbers = np.arange(first, first + count)
    ones = pa.array(np.arange(count + 1), pa.int32())
    sizes = {name: rng.integers(low, high, count) for name, low, high in
             (("image", 20_000, 400_000), ("mask", 600, 9_000), ("json", 600, 900))}  # fmt: skip
    keys = pa.array([f"{slug}-{number:07d}" for number in numbers])
    groups = pa.array([f"{slug}-{number // 100 if volumes else number:07d}" for number in numbers])
    start = (numbers % SHARD) * 500_000
    places = {
        "key": keys, "split": pa.array(["train"] * count), "group": groups, "own_group": groups,
        "official_split": pa.nulls(count, pa.string()),
        "shard": pa.array([f"train/{slug}-train-{number // SHARD:06d}.tar" for number in numbers]),
        "offset": start, "size": np.full(count, 500_000), "image_extension": pa.array(["png"] * count),
        "image_offset": start + 512, "image_size": sizes["image"], "image_sha256": hexes(rng, count),
        "mask_offsets": pa.ListArray.from_arrays(ones, pa.array(start + 401_000)),
        "mask_sizes": pa.ListArray.from_arrays(ones, pa.array(sizes["mask"])),
        "mask_sha256": pa.ListArray.from_arrays(ones, hexes(rng, count)),
        "text_offset": start + 420_000, "text_size": np.full(count, 6), "text_sha256": pa.array(["0" * 64] * count),
        "json_offset": start + 430_000, "json_size": sizes["json"], "json_sha256": hexes(rng, count),
        "height": np.full(count, 512), "width": np.full(count, 512),
        "concepts": pa.array([[CONCEPTS[number % 3]] for number in numbers]),
        "absent": pa.array([[CONCEPTS[(number + 1) % 3]] for number in numbers]),
        "instances": np.ones(count), "volume": groups if volumes else pa.nulls(count, pa.string()),
        "slice": numbers % 100, "slices": np.full(count, 100),
        "table1_areas": pa.nulls(count, pa.list_(pa.int64())),
        "fingerprint": pa.array([bytes(1024)] * count), "name": keys, "case": keys,
        "input_key": pa.array(["0" * 64] * count),
    }  # fmt: skip
    columns = [places[field.name] for field in index.INDEX_SCHEMA]
    return pa.table(
        [c if isinstance(c, pa.Array) else pa.array(c) for c in columns], names=index.INDEX_SCHEMA.names
    ).cast(index.INDEX_SCHEMA)


def write_dataset(folder: Path, count: int, volumes: bool) -> bytes:
    """Index and manifest of a dataset; the manifest."""
    slug, rng = folder.name, np.random.default_rng(len(folder.name))
    folder.mkdir(parents=True)
    with index.table_writer(folder / index.INDEX, index.INDEX_SCHEMA) as writer:
        for first in range(0, count, PART):
            writer.write_table(rows(rng, slug, first, min(PART, count - first), volumes), index.GROUP)
    shards = [
        {"file": f"train/{slug}-train-{number:06d}.tar", "split": "train", "bytes": SHARD * 500_000, "sha256": "0" * 64,
         "samples": min(SHARD, count - number * SHARD)}
        for number in range(-(-count // SHARD))
    ]  # fmt: skip
    path = folder / index.INDEX
    files = {index.INDEX: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}}
    data = dump({"shards": shards, "files": files, "policy": {}})
    (folder / MANIFEST).write_bytes(data)
    return data


def write_corpus(root: Path, samples: int, datasets: int) -> None:
    """A corpus without shards."""
    facts: dict[str, Any] = {"datasets": {}}
    for number in range(datasets):
        data = write_dataset(root / f"set{number:02d}", samples // datasets, number % 2 == 1)
        facts["datasets"][f"set{number:02d}"] = {"manifest_sha256": hashlib.sha256(data).hexdigest()}
    facts["digest"] = own_digest(facts)
    (root / CORPUS).write_bytes(dump(facts))


def memory() -> dict[str, float]:
    """MB of this process: PSS, of it what belongs to files, and what it alone holds."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        found[name.rstrip(":")] = int(value) * 1024 / 1e6
    own = found["Private_Clean"] + found["Private_Dirty"]
    return {"PSS": found["Pss"], "of files": found.get("Pss_File", 0.0), "own": own}


def look_up(corpus: Corpus, seed: int, pipe: Connection) -> None:
    """What a worker does before it reads: find places. Sends seconds a sample and its memory."""
    before = memory()
    samples = np.random.default_rng(seed).integers(0, len(corpus), LOOKED_UP).tolist()
    start = time.process_time()
    for sample in samples:
        corpus.row(sample)
    pipe.send(((time.process_time() - start) / LOOKED_UP, before, memory()))
    pipe.recv()  # all measure while all are there


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--datasets", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where the corpus is, or is made; else it is removed again"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        if not (root / CORPUS).exists():
            write_corpus(root, options.samples, options.datasets)
        size = sum(path.stat().st_size for path in root.rglob(index.INDEX)) / 1e9
        table = Table(
            title=f"{options.samples} samples of {options.datasets} datasets, indices of {size:.1f} GB, load "
            f"{os.getloadavg()[0]:.1f}"
        )
        for title in ("step", "s", "CPU s", "PSS MB", "of files", "own MB"):
            table.add_column(title, justify="left" if title == "step" else "right")

        def row(step: str, seconds: float, cpu: float, held: dict[str, float]) -> None:
            table.add_row(step, f"{seconds:.2f}", f"{cpu:.2f}", *(f"{value:.0f}" for value in held.values()))

        def timed(step: str, run: Any) -> Any:
            start, before = time.perf_counter(), time.process_time()
            result = run()
            row(step, time.perf_counter() - start, time.process_time() - before, memory())
            return result

        row("(imported)", 0, 0, memory())
        corpus = timed("open", lambda: Corpus.open(root, check_index=False))
        timed("open, indices compared with their digests", lambda: Corpus.open(root))
        timed("groups and shards", lambda: (corpus.groups(), corpus.shards()))
        timed("places", corpus.prepare)
        context = multiprocessing.get_context("fork")
        pipes = []
        for seed in range(options.workers):
            here, there = context.Pipe()
            context.Process(target=look_up, args=(corpus, seed, there), daemon=True).start()
            pipes.append(here)
        for pipe in pipes:
            taken, _, held = pipe.recv()
            row(f"a worker, {1e6 * taken:.0f} µs a place", 0, taken * LOOKED_UP, held)
        for pipe in pipes:
            pipe.send(None)
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
