"""The data of a run: what is trained on, in which order, and what it is validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from train.batch import Builder
from train.config import Config
from train.loader import Samples, concept_names
from train.plan import Plan
from train.stream import Corpus, CorpusError


@dataclass(frozen=True)
class Data:
    """Training samples with their order, and the validation split; ``unusable`` samples can give no prompt."""

    plan: Plan
    samples: Samples
    held_out: Samples
    unusable: int

    @property
    def digest(self) -> str:
        """Digest of the corpus."""
        return self.samples.corpus.digest


def open_data(config: Config, location: str, side: int) -> Data:
    """Open the corpus at a folder or URL for a model with inputs of ``side`` px; raises CorpusError."""
    options: dict[str, Any] = {
        "datasets": config.data.datasets,
        "check": config.data.check_digests,
        "cache": config.data.cache,
        "cache_bytes": config.data.cache_gb << 30,
    }
    every = Corpus.open(location, "train", **options)
    held_out = Corpus.open(location, "val", **options)
    for option in ("weights", "instances"):
        unknown = sorted(set(getattr(config.data, option)) - set(every.facts["datasets"]))
        if unknown:
            raise CorpusError(f"data.{option} names {', '.join(unknown)}, which {location} does not have")
    builder = Builder(config.data, side, config.run.seed, concept_names(every) | concept_names(held_out))
    negatives = config.data.max_negatives_per_image > 0
    corpus = every.with_prompts(negatives)
    if not len(corpus):
        raise CorpusError(f"{location} has no training sample with a prompt, among {len(every)}")
    weights = [config.data.weights.get(slug, 1.0) for slug in corpus.slugs]
    return Data(
        Plan(config.run.seed, corpus.groups(), weights),
        Samples(corpus, builder),
        Samples(held_out.with_prompts(negatives), builder.for_validation()),
        len(every) - len(corpus),
    )
