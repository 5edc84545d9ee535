"""What is made of a dataset's samples: the two profiles.

default: what the catalog entry says of instances; every image is kept; split by group.
paper: Table 1 of Medical SAM3 reproduced by the rule in the entry's `paper:` facts.
Whatever the profile, the paper's rule is also measured, for `medshards stats`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from medshards.curate.masks import apply_policy
from medshards.curate.sample import Instance, Sample

if TYPE_CHECKING:
    from medshards.curate.catalog.entry import Entry, PaperRule
    from medshards.curate.source import Own
    from medshards.vocab.vocabulary import Concept, LabelMap, Vocabulary

Profile = Literal["default", "paper"]
SEED = 42
VAL_FRACTION = 0.15
SLICES = "annotated"
SHARD_BYTES = 256 << 20


@dataclass(frozen=True)
class Making:
    """How a corpus is to be made: what a user decides, on its way from the command line to each dataset's policy."""

    profile: Profile = "default"
    slices: str = SLICES  # which slices of a volume are samples, a rule of curate.slices
    max_side: int | None = None  # px; larger images are made smaller, None: all stay native
    shard_bytes: int = SHARD_BYTES  # of the largest shard
    own: Own | None = None  # where the converter lies that is outside the tree


@dataclass(frozen=True)
class Policy:
    """The rules under which one dataset is built. Picklable; its digest is part of every cache key."""

    slug: str
    profile: Profile
    role: str
    groups: str  # published | guessed: whether different groups are known to be different patients
    resplit: str | None  # why the split that the authors publish is not used, None: it is
    how: str  # native | components | merged
    min_area: float
    slices: str  # which slices of a volume are samples, a rule of curate.slices
    max_side: int | None  # px; larger images are made smaller, None: all stay native
    rule: PaperRule | None
    exhaustive: tuple[str, ...]  # concepts whose absence is known when a sample does not say otherwise
    texts: dict[str, str]  # prompt of each concept that can occur
    ancestors: dict[str, tuple[str, ...]]  # and its broader concepts
    own_concepts: tuple[Concept, ...]  # of those, what medshards' vocabulary does not hold, in order of id
    labels: str  # digest of the dataset's label file

    @classmethod
    def of(cls, entry: Entry, making: Making, labels: LabelMap, vocabulary: Vocabulary) -> Policy:
        """The policy of a catalog entry; in profile `paper` its rule decides on slices."""
        rule = entry.paper.rule if entry.paper else None
        concepts = sorted({*labels.concepts, *([rule.concept] if rule and rule.concept else [])})
        broader = {concept: vocabulary.ancestors(concept) for concept in concepts}
        needed = {*concepts, *(b for ids in broader.values() for b in ids)}
        return cls(
            slug=entry.slug,
            profile=making.profile,
            role=entry.role,
            groups=entry.groups,
            resplit=entry.resplit,
            how=entry.instances,
            min_area=entry.min_area,
            slices=rule.slices if making.profile == "paper" and rule is not None else making.slices,
            max_side=making.max_side,
            rule=rule,
            exhaustive=labels.concepts if labels.exhaustive else (),
            texts={c: vocabulary[c].text for c in concepts},
            ancestors=broader,
            own_concepts=tuple(concept for concept in vocabulary.own if concept.id in needed),
            labels=labels.digest,
        )

    @property
    def paper(self) -> bool:
        """True when the paper's rule decides what the samples are."""
        return self.profile == "paper" and self.rule is not None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything above."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """The policy as JSON values, for manifests."""
        facts = asdict(replace(self, rule=None))
        facts["rule"] = self.rule.model_dump(mode="json") if self.rule else None
        facts["exhaustive"] = list(self.exhaustive)
        facts["own_concepts"] = [concept.facts() for concept in self.own_concepts]
        facts["ancestors"] = {concept: list(broader) for concept, broader in self.ancestors.items()}
        return facts

    def instances(self, sample: Sample) -> tuple[list[Instance], int]:
        """The instances to store and the number that fell below the floor."""
        if self.paper:
            return self._by_rule(sample)
        return apply_policy(sample.instances, self.how, self.min_area)

    def paper_annotations(self, sample: Sample) -> tuple[int, ...] | None:
        """Areas (px) of the annotations that the paper's rule finds, None when it leaves the image out."""
        if self.rule is None:
            return None
        if self.rule.official_split is not None and sample.official_split != self.rule.official_split:
            return None
        areas = tuple(i.area for i in self._by_rule(sample)[0])
        return areas if areas or not self.rule.drop_empty else None

    def leaves_out(self, sample: Sample, instances: Sequence[Instance]) -> str | None:
        """Why the sample is no part of the corpus, or None."""
        if not self.paper or self.rule is None:
            return None
        if self.rule.official_split is not None and sample.official_split != self.rule.official_split:
            return f"not in the official {self.rule.official_split} split (paper)"
        if self.rule.drop_empty and not instances:
            return "image without annotation (paper)"
        return None

    def absent(self, sample: Sample) -> list[str]:
        """Concepts that are known not to be in the image: valid negative prompts, in order of id.

        A concept is not absent when an instance of it or of a narrower one was annotated, kept or not: below the
        floor it is there all the same. Nothing is absent where something annotated was lost: it could be anything.
        """
        if any(sample.lost.values()):
            return []
        known = sample.concepts if sample.concepts is not None else self.exhaustive
        drawn = [i for i in sample.instances if i.area]  # an empty mask is an instance without a pixel
        annotated = {i.concept for i in drawn}
        if self.paper and self.rule is not None and self.rule.concept is not None:
            known = (self.rule.concept,)
            if any(i.label not in self.rule.ignore_labels for i in drawn):
                annotated.add(self.rule.concept)
        broader = {b for concept in annotated for b in self.ancestors.get(concept, ())}
        return sorted(set(known) - annotated - broader)

    def floor_text(self) -> str:
        """The floor in words, for counts of what was dropped."""
        if self.paper and self.rule is not None and self.rule.min_area_fraction:
            return f"{self.rule.min_area_fraction:g} of the image"
        floor = self.rule.min_area if self.paper and self.rule is not None else self.min_area
        return f"{floor:g} px"

    def _by_rule(self, sample: Sample) -> tuple[list[Instance], int]:
        rule = self.rule
        assert rule is not None
        instances = [i for i in sample.instances if i.label not in rule.ignore_labels]
        if rule.concept is not None:
            instances = [replace(i, concept=rule.concept) for i in instances]
        height, width = sample.image.size
        floor = max(float(rule.min_area), rule.min_area_fraction * height * width)
        if rule.instances == "components":  # of all pixels of a concept together
            instances = apply_policy(instances, "merged")[0]
        found, dropped = apply_policy(instances, rule.instances, floor, rule.connectivity)
        if rule.keep == "largest":
            largest = {i.concept: i for i in sorted(found, key=lambda i: i.area)}
            dropped += len(found) - len(largest)
            found = [largest[concept] for concept in sorted(largest)]
        return found, dropped
