"""The order of an epoch: how well it shuffles with windows of several sizes, and how long a large one takes.

    python -m benchmarks.order [--samples 10000000]

The first table takes a made-up corpus of 40 datasets (every other one of single pictures, the others of volumes of 40
slices; 2,000 to 40,000 samples each; shards of 256 MiB). What its columns mean: train/data/quality.py. The second takes
so many samples of two datasets, half single pictures and half slices of volumes of 100, in shards of 1,000 samples.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from medshards.shards.read.corpus import Shards
from medshards.train.data.order import order
from medshards.train.data.quality import quality

SHARD = 256 << 20
WINDOWS = (None, 32, 16, 8, 4, 2)  # GiB
Layout = tuple[list[NDArray[np.int64]], list[Shards]]


def corpus() -> Layout:
    """Groups and shards of the made-up datasets."""
    generator = np.random.default_rng(0)
    groups, shards = [], []
    for number in range(40):
        samples = np.arange(generator.integers(2_000, 40_000))
        of = samples // (1600 if number % 2 else 1200)
        groups.append(samples // 40 if number % 2 else samples)
        shards.append(Shards(of, np.full(of[-1] + 1, SHARD)))
    return groups, shards


def shuffling() -> Table:
    """Quality by window."""
    groups, shards = corpus()
    total = sum(int(each.sizes.sum()) for each in shards) / 2**30
    samples = sum(map(len, groups))
    table = Table(title=f"{samples} samples in {total:.0f} GiB")
    for title in ("window", "nearest", "typical", "correlation", "neighbours", "same shard", "mixture"):
        table.add_column(title, justify="right")
    for window in WINDOWS:
        taken = order(0, 0, groups, [1] * len(groups), shards, window and window << 30)
        found = quality(taken, groups, shards)
        table.add_row(
            f"{window} GiB" if window else "all",
            f"{found.nearest}",
            f"{found.typical}",
            *(f"{value:.3f}" for value in (found.correlation, found.neighbours, found.same_shard)),
            f"{found.mixture:.2f}",
        )
    return table


def planning(samples: int) -> Table:
    """Time and memory of an order of so many samples."""
    half = samples // 2
    groups = [np.arange(half), np.arange(half) // 100]
    of = np.arange(half) // 1000
    shards = [Shards(of, np.full(of[-1] + 1, SHARD))] * 2
    table = Table(title=f"the order of {samples} samples, load {os.getloadavg()[0]:.1f}")
    for title in ("window", "s", "CPU s"):
        table.add_column(title, justify="right")
    for window in (None, 50 * SHARD):
        start, before = time.perf_counter(), time.process_time()
        order(0, 0, groups, [1, 1], shards, window)
        taken = time.perf_counter() - start, time.process_time() - before
        table.add_row(f"{window >> 30} GiB" if window else "all", f"{taken[0]:.1f}", f"{taken[1]:.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table.caption = f"peak memory of the process {peak:.2f} GiB"
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000_000)
    options = parser.parse_args()
    console = Console(width=100)
    console.print(shuffling())
    console.print(planning(options.samples))


if __name__ == "__main__":
    main()
