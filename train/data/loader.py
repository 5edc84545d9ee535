"""Examples by request, and the names of the concepts that they ask for.

A sample that cannot be used is replaced in training, which needs its place filled, and left out of a validation,
whose figure must mean the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from torch.utils.data import Dataset

from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import BadSample, Corpus
from medshards.train.data.batch import Bad, Batch, Builder, Example, NoPrompt, collate
from medshards.train.data.plan import Request

ATTEMPTS = 20  # neighbours that are tried in place of a sample that cannot be used


class Samples(Dataset[Example]):
    """Examples by `Request`.

    In training a sample that cannot be used is replaced by the next one of its dataset in the order of the index. One
    that is damaged is named in ``Example.bad``; one that only has no prompt left is counted in ``dropped``. With
    ``replace`` off an example that is ``void`` stands in its place and counts nowhere.
    """

    def __init__(self, corpus: Corpus, builder: Builder, replace: bool = True) -> None:
        self.corpus, self.builder, self.replace = corpus, builder, replace

    def __getitem__(self, request: Request) -> Example:
        return self.example(request)

    def batch(self, requests: Sequence[Request]) -> Batch:
        """The examples of some requests, packed; their images are made where the batch has them."""
        images = self.builder.room(len(requests))
        return collate([self.example(*each) for each in zip(requests, images, strict=True)], images)

    def example(self, request: Request, out: Tensor | None = None) -> Example:
        """The example of a request; out: where its image is made. Raises CorpusError, StoreError."""
        epoch, sample = request
        bad: list[Bad] = []
        without = 0
        for _ in range(ATTEMPTS if self.replace else 1):
            try:
                example = self.builder.example(self.corpus.read(sample), epoch, sample, out)
                break
            except BadSample as error:
                bad.append(Bad(self.corpus.name(sample), str(error)))
            except NoPrompt:
                without += 1
            sample = self.corpus.next_of_dataset(sample)
        else:
            if self.replace:
                raise CorpusError(
                    f"{ATTEMPTS} samples in a row from {self.corpus.name(request.sample)} cannot be used, the last: "
                    f"{bad[-1].reason if bad else 'no prompt is left'}"
                )
            example = self.builder.void(self.corpus.name(request.sample), out)
        dropped = {**example.dropped, **({"samples without a prompt left": without} if without else {})}
        return replace(example, dropped=dropped, bad=tuple(bad))


def concept_names(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """The names of every concept of a corpus, canonical first; raises CorpusError for unknown concepts."""
    vocabulary = corpus.vocabulary
    unknown = sorted(concept for concept in corpus.concepts() if concept not in vocabulary)
    if unknown:
        raise CorpusError(
            f"the corpus has concepts that the vocabulary does not know: {', '.join(unknown)}. Train with the "
            "medshards that built it, or build it again"
        )
    return {concept: vocabulary[concept].names for concept in corpus.concepts()}
