"""medshards: medical segmentation datasets, as downloaded, to one streamable corpus, and SAM3 trained on it.

    samples = medshards.open("corpus", split="train")     # a folder, or s3://…
    sample = samples[0]
    sample.image, sample.prompts, sample.masks[sample.prompts[0]]

The names below are the public ones; each is loaded when it is first used, and none of them needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medshards.curate.catalog.entry import load_catalog as load_catalog
    from medshards.shards.prove.verify import verify as verify
    from medshards.shards.read.chain import CorpusError as CorpusError
    from medshards.shards.read.corpus import BadSample as BadSample
    from medshards.shards.read.samples import Sample as Sample
    from medshards.shards.read.samples import open_samples as open
    from medshards.vocab.vocabulary import Vocabulary as Vocabulary

# public name: (module, name there)
_PUBLIC = {
    "open": ("medshards.shards.read.samples", "open_samples"),
    "Sample": ("medshards.shards.read.samples", "Sample"),
    "BadSample": ("medshards.shards.read.corpus", "BadSample"),
    "CorpusError": ("medshards.shards.read.chain", "CorpusError"),
    "verify": ("medshards.shards.prove.verify", "verify"),
    "load_catalog": ("medshards.curate.catalog.entry", "load_catalog"),
    "Vocabulary": ("medshards.vocab.vocabulary", "Vocabulary"),
}
__all__ = ["BadSample", "CorpusError", "Sample", "Vocabulary", "load_catalog", "open", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medshards' has no attribute {name!r}")
    module, there = _PUBLIC[name]
    return getattr(importlib.import_module(module), there)


def __dir__() -> list[str]:
    return __all__
