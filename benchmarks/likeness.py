"""Time and memory of finding alike pictures, for pictures that are unlike, alike, and half alike.

usage: python -m benchmarks.likeness [--pictures 100000] [--kind unlike|alike|similar]
"""

from __future__ import annotations

import resource
import time

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.shards.build.likeness import Sets, Views, join_alike
from medshards.shards.encode.fingerprint import SIDE

KINDS = {
    "unlike": "each picture another",
    "alike": "all one view, with noise",
    "mixed": "every second picture of one view",
    "similar": "all much the same (correlation about 0.75), none the same",
}


def fingerprints(kind: str, count: int) -> list[bytes]:
    """Soft random structure as fingerprints."""
    rng = np.random.default_rng(0)

    def drawn(grid: NDArray, noise: int = 0) -> bytes:
        soft = cv2.resize(grid.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(int)
        return np.clip(soft + rng.integers(-noise, noise + 1, soft.shape), 0, 255).astype(np.uint8).tobytes()

    first = rng.integers(0, 256, (12, 12))
    prints = []
    for number in range(count):
        own = rng.integers(0, 256, (12, 12))
        if kind == "alike" or (kind == "mixed" and number % 2):
            prints.append(drawn(first, noise=6))
        else:
            prints.append(drawn(0.65 * first + 0.35 * own if kind == "similar" else own))
    return prints


@click.command(help=__doc__)
@click.option("--pictures", default=100_000, show_default=True)
@click.option("--kind", type=click.Choice(list(KINDS)), default="unlike", show_default=True)
def main(pictures: int, kind: str) -> None:
    prints = fingerprints(kind, pictures)
    before = _peak()
    began, cpu = time.perf_counter(), time.process_time()
    views = Views(prints)
    links = join_alike(views, Sets([str(n) for n in range(pictures)]))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    click.echo(
        f"| {pictures:,} | {KINDS[kind]} | {len(links):,} | {took:.1f} | {cpu:.1f} | {_peak() - before:,.0f} |"
    )


def _peak() -> float:
    """Most memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
