"""How planning and assembling a dataset grow with the number of its samples.

    python -m benchmarks.assembling [--samples 10000 30000 100000]

Made-up samples of a few hundred bytes, one a case, are written to a pack as a worker does; then they are split and put
together in this process, so what is measured is what a sample costs beside its bytes. Different groups are known to be
different patients: looking for alike pictures has a table of its own (benchmarks/likeness.py). Each size is measured in
a process of its own; memory is its peak above what it held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.formats.pictures import png
from medshards.shards.build.assemble import assemble
from medshards.shards.build.ledger import Ledger
from medshards.shards.build.manifest import SCHEMA, CaseCounts, Decided
from medshards.shards.build.split import plan
from medshards.shards.build.survey import policy_of
from medshards.shards.encode.fingerprint import LENGTH
from medshards.shards.encode.policy import SEED, VAL_FRACTION, Making, Policy
from medshards.shards.encode.record import Encoded, Record, pack
from medshards.shards.encode.stage import PackWriter
from medshards.shards.encode.walk import Walked

T = TypeVar("T")
SLUG, SIDE, SHARD_BYTES = "kvasir_seg", 12, 16 << 20


def encoded(number: int, rng: np.random.Generator, policy: Policy) -> Encoded:
    """A sample of one instance."""
    key = f"case-{number:08d}"
    (concept,) = policy.texts
    image, mask = rng.integers(0, 256, (SIDE, SIDE), np.uint8), np.ones((SIDE, SIDE), np.uint8)
    files = [("png", png.encode_image(image)), ("mask.png", png.encode_mask(mask)), ("txt", b"polyp\n")]
    blob, members = pack(key, files)
    record: Record = {
        "key": key, "dataset": SLUG, "group": key, "official_split": None, "size": [SIDE, SIDE],
        "native_size": [SIDE, SIDE], "spacing": None, "volume": None, "slice": None, "intensity": None, "pair": [],
        "image": "original", "concepts": [concept], "absent": [], "lost": {},
        "instances": [{"id": 1, "plane": 0, "concept": concept, "text": "polyp", "label": "polyp", "native_id": None,
                       "area": SIDE**2, "bbox": [0, 0, SIDE, SIDE]}],
        "origin": [{"role": "image", "file": f"images/{key}.png", "sha256": members[0].sha256}],
    }  # fmt: skip
    return Encoded(key, blob, members, record, (SIDE**2,), rng.bytes(LENGTH))


def measure(samples: int, folder: Path, pipe: Connection) -> None:
    """Sends seconds, CPU seconds and peak MiB: of before (nothing and the memory), of planning, of assembling."""
    policy = replace(policy_of(load_catalog()[SLUG], Making()), groups="published")
    writer, rng = PackWriter(folder / "packs"), np.random.default_rng(0)
    ledger = Ledger()
    for number in range(samples):
        sample = encoded(number, rng, policy)
        packed = writer.add(sample.key, "", sample)
        ledger.add(writer.finish(sample.key, "", Walked(samples=(packed,))))
    writer.close()
    head: Decided = {
        "schema": SCHEMA, "dataset": SLUG, "tool": "", "code": {}, "assembly": {}, "policy": policy.facts(),
        "split": {"seed": SEED, "val_fraction": VAL_FRACTION, "shard_bytes": SHARD_BYTES, "moved": {}},
        "inputs": "", "layouts": [], "partly_skipped": {},
    }  # fmt: skip
    cases: CaseCounts = {"cases": samples, "skipped": {}}
    (folder / "assembled").mkdir()

    def timed(run: Callable[[], T]) -> T:
        start, before = time.perf_counter(), time.process_time()
        result = run()
        pipe.send((time.perf_counter() - start, time.process_time() - before, peak_mib()))
        return result

    pipe.send((0.0, 0.0, peak_mib()))
    planned = timed(lambda: plan(ledger, policy))
    timed(lambda: assemble(folder / "assembled", planned, [], head, cases))


def peak_mib() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    options = parser.parse_args()
    table = Table(title=f"load {os.getloadavg()[0]:.1f}")
    for title in ("samples", "step", "s", "CPU s", "CPU ms a sample", "peak MiB"):
        table.add_column(title, justify="left" if title == "step" else "right")
    context = multiprocessing.get_context("spawn")
    for samples in options.samples:
        here, there = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            process = context.Process(target=measure, args=(samples, Path(folder), there))
            process.start()
            there.close()
            for step in ("(listed)", "plan", "assemble"):
                seconds, cpu, peak = here.recv()
                row = f"{seconds:.1f}", f"{cpu:.1f}", f"{1000 * cpu / samples:.3f}", f"{peak:.0f}"
                table.add_row(f"{samples:,}", step, *row)
            process.join()
    Console().print(table)


if __name__ == "__main__":
    main()
