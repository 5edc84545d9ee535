"""Phantoms: tiny fake downloads in native layout, one module a dataset.

A phantom holds a few small pictures with every pitfall of the dataset's files that code can get wrong (1-bit
masks, odd names, second annotators …). Tests, `medshards phantom` and `medshards demo` use them; nobody needs
a download to see the whole way work. Each module has `write(root, rng)` and `EXPECTED`, what a converter must
make of it.
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medshards.common.text import near
from medshards.vocab.vocabulary import DATASETS


@dataclass(frozen=True)
class Expected:
    """What the default build of a phantom gives, known from how it is drawn.

    samples, instances: their numbers. concepts: number of instances by concept id.
    rejects: number by reason code. skipped: number of files in order that are no samples.
    """

    samples: int
    concepts: dict[str, int]
    rejects: dict[str, int] = field(default_factory=dict)
    skipped: int = 0

    @property
    def instances(self) -> int:
        """Number of all instances."""
        return sum(self.concepts.values())


def slugs() -> list[str]:
    """Datasets that have a phantom."""
    return sorted(p.parent.name for p in DATASETS.glob("*/phantom.py"))


def write_phantom(slug: str, root: Path, seed: int = 0) -> Expected:
    """Write the phantom of a dataset below `root`, as if its download had been unpacked there.

    The same slug and seed give the same files. Raises LookupError when the dataset has no phantom.
    """
    if slug not in slugs():
        raise LookupError(
            f"no phantom of {slug!r}{near(slug, slugs()) or '; there are: ' + ', '.join(slugs())}"
        )
    module = importlib.import_module(f"medshards.curate.datasets.{slug}.phantom")
    root.mkdir(parents=True, exist_ok=True)
    module.write(root, np.random.default_rng([seed, zlib.crc32(slug.encode())]))
    expected: Expected = module.EXPECTED
    return expected
