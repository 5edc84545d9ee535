"""The data of a run: what is trained on, in which order, and what it is validated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medshards.shards.read.cache import Cached
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import Corpus
from medshards.train.data.batch import Builder
from medshards.train.data.loader import Samples, concept_names
from medshards.train.data.plan import Plan
from medshards.train.run.config import Config
from medshards.vocab.scenes import foreign
from medshards.vocab.vocabulary import UnknownConcept


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

    def remarks(self) -> list[str]:
        """What a person should know before a long run, a line each."""
        said = []
        if self.unusable:
            said.append(
                f"{self.unusable} samples are left out: no concept is present or known to be absent in them"
            )
        store = self.samples.corpus.store
        if isinstance(store, Cached):
            total = sum(int(each.sizes.sum()) for each in self.plan.shards or ())
            at_once = total if self.plan.window is None else min(total, 2 * self.plan.window)
            if at_once > store.limit:
                said.append(
                    f"data.cache_gb = {store.limit / 2**30:g} holds less than "
                    + ("the training shards" if at_once == total else "two windows")
                    + f", {at_once / 2**30:.1f} GiB: shards will be fetched again and again. Set data.window_gb to at "
                    "most half of data.cache_gb"
                )
        return said


def open_data(config: Config, location: str, side: int) -> Data:
    """Open the corpus at a folder or URL for a model with inputs of ``side`` px; raises CorpusError."""
    options: dict[str, Any] = {
        "datasets": config.data.datasets,
        "check": config.data.check_digests,
        "check_index": config.data.check_index,
        "cache": config.data.cache,
        "cache_bytes": config.data.cache_gb << 30,
    }
    every = Corpus.open(location, "train", **options)
    held_out = Corpus.open(location, config.run.validate_on, **options)
    for option in ("weights", "instances", "absent"):
        unknown = sorted(set(getattr(config.data, option)) - set(every.facts["datasets"]))
        if unknown:
            raise CorpusError(f"data.{option} names {', '.join(unknown)}, which {location} does not have")
    negatives = config.data.max_negatives_per_image > 0
    absent = _with_impossible(config.data.absent, every) if config.data.impossible else config.data.absent
    names = concept_names(every) | concept_names(held_out) | _more_absent(config.data.absent, every)
    listening = _impossible(config.data.absent, every)
    builder = Builder(config.data.model_copy(update={"absent": absent}), side, config.run.seed, names)
    corpus = every.with_prompts(negatives, [slug for slug, more in absent.items() if more and negatives])
    if not len(corpus):
        raise CorpusError(f"{location} has no training sample with a prompt, among {len(every)}")
    weights = [config.data.weights.get(slug, 1.0) for slug in corpus.slugs]
    window = config.data.window_gb
    try:
        plan = Plan(
            config.run.seed,
            corpus.groups(),
            weights,
            corpus.shards(),
            None if window is None else int(window * 2**30),
        )
    except ValueError as error:
        raise CorpusError(f"{location}: {error}") from error
    asked = held_out.with_prompts(negatives, [slug for slug, more in listening.items() if more])
    return Data(
        plan,
        Samples(corpus, builder),
        Samples(asked, builder.for_validation(listening), replace=False),
        len(every) - len(corpus),
    )


def _with_impossible(absent: Mapping[str, Sequence[str]], corpus: Corpus) -> dict[str, list[str]]:
    """The concepts of ``data.absent``, and those of other datasets that a dataset's pictures cannot show, by slug."""
    every = corpus.concepts()
    return {
        slug: sorted(every.intersection(_foreign(slug, corpus)) | set(absent.get(slug, ())))
        for slug in corpus.facts["datasets"]
    }


def _impossible(absent: Mapping[str, Sequence[str]], corpus: Corpus) -> dict[str, dict[str, str]]:
    """Of each dataset the concepts that its pictures cannot show, whether the corpus has them or not, with texts."""
    concepts = {
        slug: sorted({*_foreign(slug, corpus), *absent.get(slug, ())}) for slug in corpus.facts["datasets"]
    }
    return {slug: {c: corpus.vocabulary[c].text for c in own} for slug, own in concepts.items()}


def _foreign(slug: str, corpus: Corpus) -> list[str]:
    return foreign(slug, corpus.concepts([slug]), corpus.vocabulary)


def _more_absent(absent: Mapping[str, Sequence[str]], corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """Names of the concepts of ``data.absent``; raises CorpusError where the corpus contradicts it."""
    vocabulary = corpus.vocabulary
    names = {}
    for slug, more in absent.items():
        annotated = corpus.concepts([slug])
        for concept in more:
            try:
                names[concept] = vocabulary[concept].names
            except UnknownConcept as error:
                raise CorpusError(f"data.absent, {slug}: {error}") from error
            if related := sorted(c for c in annotated if vocabulary.related(concept, c)):
                raise CorpusError(
                    f"data.absent says that no image of {slug} shows {concept}, but its annotations name "
                    f"{', '.join(related)}"
                )
    return names
