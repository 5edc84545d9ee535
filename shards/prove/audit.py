"""The audit: what stands in more than one split, within a dataset and between all datasets of a corpus.

Samples are tied together by their group, by a patient whose name is one in several datasets, by equal images, and
by pictures that show the same view (`shards.build.likeness`). Ties that reach from one split into another are leaks.
Whatever was joined already is not compared again: many alike pictures are one leak with a few examples, not a list of
all pairs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from medshards.common.text import in_words
from medshards.shards.build import index
from medshards.shards.build.likeness import SAME, Sets, Views, join_alike, nearest
from medshards.shards.build.manifest import read_corpus
from medshards.shards.encode.fingerprint import blank
from medshards.shards.encode.stage import BlobReader
from medshards.shards.prove.place import Place

PATIENT = re.compile(r"TCGA-\w{2}-\w{4}")  # the one name of a patient that several datasets use
COLUMNS = ["key", "split", "group", "image_sha256", "fingerprint", "name"]
PLACE = ["shard", "json_offset", "json_size"]
Kind = Literal["group", "patient", "equal image", "same view", "nearest pair"]


@dataclass(frozen=True)
class Sample:
    """A sample of the corpus, as the audit sees it. name: file name of its source image."""

    dataset: str
    key: str
    split: str
    group: str
    digest: str
    fingerprint: bytes
    name: str

    @property
    def facts(self) -> dict[str, str]:
        """Dataset, key and split, for reports."""
        return {"dataset": self.dataset, "key": self.key, "split": self.split}

    def __str__(self) -> str:
        return f"{self.dataset}/{self.key} ({self.split})"


@dataclass(frozen=True)
class Tie:
    """Two samples that belong together. correlation: of the two pictures, where these were compared."""

    kind: Kind
    a: Sample
    b: Sample
    correlation: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Kind, correlation and the two samples as JSON values."""
        return {
            "kind": self.kind,
            "correlation": self.correlation,
            "samples": [self.a.facts, self.b.facts],
        }

    def __str__(self) -> str:
        how = self.kind if self.correlation is None else f"{self.kind}, correlation {self.correlation:.2f}"
        return f"{self.a} and {self.b}: {how}"


@dataclass(frozen=True)
class Leak:
    """Samples that belong together and stand in more than one split.

    ties: those that reach from one split into another. groups: number of samples by dataset, group and split.
    """

    ties: tuple[Tie, ...]
    groups: dict[tuple[str, str, str], int]

    @property
    def samples(self) -> dict[tuple[str, str], int]:
        """Number of samples by dataset and split."""
        counts: Counter[tuple[str, str]] = Counter()
        for (dataset, _, split), number in self.groups.items():
            counts[dataset, split] += number
        return dict(counts)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {dataset} {split}" for (dataset, split), n in self.samples.items())
        return f"{self.ties[0]} ({counts})"


def read_samples(out: Path) -> list[Sample]:
    """All samples of the corpus at `out`."""
    corpus = read_corpus(out)
    assert corpus is not None, out
    return [
        Sample(slug, *row.values())
        for slug in sorted(corpus["datasets"])
        for row in index.read_columns(out / slug / index.INDEX, COLUMNS).select(COLUMNS).to_pylist()
    ]


def leaks(samples: Sequence[Sample]) -> list[Leak]:
    """What stands in more than one split, in the order of the samples."""
    sets = Sets([str(i) for i in range(len(samples))])
    ties: list[Tie] = []

    def tie(kind: Kind, i: int, j: int, correlation: float | None = None) -> None:
        if sets.find(i) != sets.find(j):
            sets.join(i, j)
        if samples[i].split != samples[j].split:
            ties.append(Tie(kind, samples[i], samples[j], correlation))

    first: dict[tuple[str, ...], int] = {}
    for position, sample in enumerate(samples):
        tie("group", first.setdefault(("group", sample.dataset, sample.group), position), position)
        if patient := PATIENT.search(sample.group):
            tie("patient", first.setdefault(("patient", patient[0]), position), position)
        if not blank(sample.fingerprint):
            tie("equal image", first.setdefault(("image", sample.digest), position), position)
    sets.settle()
    for link in join_alike(Views([s.fingerprint for s in samples]), sets):
        tie("same view", link.i, link.j, link.correlation)
    place = {id(sample): position for position, sample in enumerate(samples)}
    found: dict[int, list[Tie]] = {}
    for each in ties:
        found.setdefault(int(sets.label[place[id(each.a)]]), []).append(each)
    members: dict[int, Counter[tuple[str, str, str]]] = {label: Counter() for label in found}
    for label, sample in zip(sets.label.tolist(), samples, strict=True):
        if label in members:
            members[label][sample.dataset, sample.group, sample.split] += 1
    return [Leak(tuple(found[label]), dict(members[label])) for label in sorted(found)]


def nearest_pair(samples: Sequence[Sample]) -> Tie | None:
    """The two samples of different splits whose pictures are most alike; None when no two are candidates."""
    link = nearest(Views([s.fingerprint for s in samples]), [s.split for s in samples])
    if link is None:
        return None
    kind: Kind = "same view" if link.correlation >= SAME else "nearest pair"
    return Tie(kind, samples[link.i], samples[link.j], link.correlation)


def listed(place: Place, samples: Sequence[Sample], path: Path) -> list[tuple[Sample, str]]:
    """The samples that a published list names, each with the entry that names it.

    path: a text file with an entry a line: the SHA-256 of a source file or of a stored image, or the name of a
    source image with or without its ending; empty lines and lines that begin with # are left out. Raises OSError,
    and ValueError when the file is no text.
    """
    try:
        entries = {line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text with an entry a line; found {in_words(error)}") from error
    wanted = {
        e.lower() if re.fullmatch(r"[0-9a-fA-F]{64}", e) else Path(e).name
        for e in entries
        if e[:1] not in ("", "#")
    }
    found = []
    for sample, sources in zip(samples, _sources(place, samples), strict=True):
        names = (sample.digest, sample.name, Path(sample.name).stem, *sources)
        if entry := next((name for name in names if name in wanted), None):
            found.append((sample, entry))
    return found


def _sources(place: Place, samples: Sequence[Sample]) -> Iterator[list[str]]:
    """SHA-256 of the source files of each sample."""
    for slug in dict.fromkeys(s.dataset for s in samples):
        rows = index.read_columns(place.root / slug / index.INDEX, PLACE).to_pylist()
        for name, inside in groupby(rows, itemgetter("shard")):
            shard = f"{slug}/{name}"
            place.fetch(shard)
            with closing(BlobReader()) as reader:
                for row in inside:
                    record = reader.read(str(place.root / shard), row["json_offset"], row["json_size"])
                    yield [origin["sha256"] for origin in json.loads(record)["origin"]]
            place.let_go(shard, ())
