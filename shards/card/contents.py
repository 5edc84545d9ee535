"""What a corpus holds, as its manifests and corpus.json say: what all its papers are written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from medshards.common.text import counted
from medshards.curate.catalog.terms import Terms
from medshards.shards.build.manifest import FileFacts, Manifest, dataset_files
from medshards.shards.build.split import SPLITS
from medshards.shards.card.about import About


@dataclass(frozen=True)
class Contents:
    """The datasets of a corpus in order of slug.

    terms: what every dataset of it must be usable for, if anything. own: bytes and SHA-256 of each manifest.json.
    about: what each dataset is, those without a manifest as well.
    """

    profile: str
    tool: str
    terms: Terms | None
    manifests: Mapping[str, Manifest]
    own: Mapping[str, FileFacts]
    about: Mapping[str, About]

    @property
    def summary(self) -> str:
        """The corpus in a sentence."""
        samples, instances = (self.count(self.manifests, what) for what in ("samples", "instances"))
        of = counted(len(self.manifests), "dataset")
        return (
            f"{samples:,} medical images of {of} with {instances:,} instance masks, "
            "text prompts and the origin of each sample, in WebDataset shards."
        )

    def count(self, slugs: Iterable[str], what: str) -> int:
        """Sum over datasets of `samples`, `instances` or the samples of a split."""
        counts = [cast(dict[str, int], self.manifests[slug]["counts"]) for slug in slugs]
        return sum(each[what] for each in counts)

    def files(self, slug: str) -> dict[str, FileFacts]:
        """The files of a dataset beside its manifest, by path below its folder."""
        return dataset_files(self.manifests[slug])

    def shard_bytes(self, slugs: Iterable[str]) -> dict[str, int]:
        """Bytes of the shards of each split that has any, in the order of the splits."""
        sizes: Counter[str] = Counter()
        for slug in slugs:
            for shard in self.manifests[slug]["shards"]:
                sizes[shard["split"]] += shard["bytes"]
        return {split: sizes[split] for split in SPLITS if split in sizes}
