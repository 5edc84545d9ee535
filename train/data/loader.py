"""Batches for one rank: the plan says which samples, worker processes read and decode them.

A worker is handed (epoch, sample) and keeps no state, so what a run sees depends on the plan alone. Several
workers and the order in which they finish change nothing: torch's DataLoader hands batches on in order.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from torch.utils.data import DataLoader, Dataset

from medshards.train.data.batch import Batch, Builder, Example, NoPrompt, collate
from medshards.train.data.corpus import BadSample, Corpus, CorpusError
from medshards.train.data.plan import Request
from medshards.vocab.vocabulary import Vocabulary

ATTEMPTS = 20  # neighbours that are tried in place of a sample that cannot be used


class Samples(Dataset[Example]):
    """Examples by `Request`.

    A sample that cannot be used is replaced by the next one of its dataset in the order of the index. One that
    is damaged is named in ``Example.problem``; one that only has no prompt left is counted in ``dropped``.
    """

    def __init__(self, corpus: Corpus, builder: Builder) -> None:
        self.corpus, self.builder = corpus, builder

    def __getitem__(self, request: Request) -> Example:
        epoch, sample = request
        problems: list[str] = []
        without = 0
        for _ in range(ATTEMPTS):
            try:
                example = self.builder.example(self.corpus.read(sample), epoch, sample)
                break
            except BadSample as error:
                problems.append(str(error))
            except NoPrompt:
                without += 1
            sample = self.corpus.next_of_dataset(sample)
        else:
            raise BadSample(
                f"{ATTEMPTS} samples in a row from {self.corpus.name(request.sample)} cannot be used, the last: "
                f"{problems[-1] if problems else 'no prompt is left'}"
            )
        dropped = {**example.dropped, **({"samples without a prompt left": without} if without else {})}
        return replace(example, dropped=dropped, problem="; ".join(problems) or None)


def concept_names(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """The names of every concept of a corpus, canonical first; raises CorpusError for unknown concepts."""
    vocabulary = Vocabulary.load()
    unknown = sorted(concept for concept in corpus.concepts() if concept not in vocabulary)
    if unknown:
        raise CorpusError(
            f"the corpus has concepts that the vocabulary does not know: {', '.join(unknown)}. Train with the "
            "medshards that built it, or build it again"
        )
    return {concept: vocabulary[concept].names for concept in corpus.concepts()}


def batches(
    samples: Samples,
    requests: Iterable[list[Request]],
    workers: int = 0,
    prefetch: int = 4,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """One batch for each list of requests, in their order."""
    if workers:
        samples.corpus.prepare()  # once for all workers, which share it
    return iter(
        DataLoader(
            samples,
            batch_sampler=requests,  # type: ignore[arg-type]
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            collate_fn=collate,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
        )
    )


def _start_worker(worker: int) -> None:
    # Signals that end a run are sent to every process; the rank itself decides when its workers stop.
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(name, signal.SIG_IGN)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` positions, evenly spread."""
    return (
        sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist())) if count else []
    )
