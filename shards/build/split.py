"""Which sample goes to which split: `plan` decides, and nothing else does.

external datasets are test. paired studies are test unless their patient was put elsewhere. Of the others:

profile `paper`: each image for itself, as scikit-learn's `train_test_split(test_size=0.15, random_state=42)` does it
on the sorted file names.
profile `default`: the split that the authors publish, unless the catalog says why not; where they publish no
validation part, 15 % of the training samples, in whole groups taken in a seeded random order, validate. Groups that
share pictures are one group, which goes whole to the most held out of its members' parts: nothing seen in training
returns in validation or test.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from medshards.shards.build.likeness import Sets, Views, join_alike
from medshards.shards.encode.fingerprint import blank
from medshards.shards.encode.policy import SEED, VAL_FRACTION, Policy
from medshards.shards.encode.stage import BlobReader, Entry, Fingerprints

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)  # from the least held out to the most


@dataclass(frozen=True)
class Plan:
    """The place of each sample: split, and the group it was split by. samples: in order of their keys."""

    samples: Iterable[Entry]
    splits: Sequence[str]
    groups: Sequence[str]

    def __iter__(self) -> Iterator[tuple[Entry, str, str]]:
        """Each sample with its split and group, in the order of the shards: by split, then by key."""
        for wanted in SPLITS:
            for entry, split, group in zip(self.samples, self.splits, self.groups, strict=True):
                if split == wanted:
                    yield entry, split, group


def plan(samples: Iterable[Entry], policy: Policy, moved: Mapping[str, str] = MappingProxyType({})) -> Plan:
    """Decide the split of every sample.

    samples: in order of their keys, iterated more than once. moved: split of groups that were moved to mend leaks
    between datasets.
    """
    groups = [e.group for e in samples]
    if policy.role == "external":
        splits = [TEST] * len(groups)
    elif policy.role == "paired":  # decided by patient over both halves, so not here; unless it was, held out
        splits = [e.official if e.official in SPLITS else TEST for e in samples]
    elif policy.paper:
        splits = paper_split([e.name for e in samples], VAL_FRACTION, SEED)
    else:
        published = [None if policy.resplit else published_split(e.official) for e in samples]
        digests, known = np.array([e.digest for e in samples]), policy.groups == "published"
        with closing(BlobReader()) as source:
            groups = merge_duplicates(groups, digests, Fingerprints(samples, source), known)
        splits = default_split(groups, published, VAL_FRACTION, SEED)
    splits = [moved.get(group, split) for group, split in zip(groups, splits, strict=True)]
    return Plan(samples, splits, groups)


def published_split(name: str | None) -> str | None:
    """The split that the authors' name of a part means: train…, val…, test…; None for any other (a fold, a site)."""
    return next((split for split in SPLITS if name is not None and name.startswith(split)), None)


def paper_split(names: Sequence[str], val_fraction: float, seed: int) -> list[str]:
    """Split of each name, by scikit-learn's rule on the names sorted as plain strings.

    A permutation of n by numpy's RandomState(seed); its first ceil(val_fraction · n) are the validation part.
    """
    order = sorted(range(len(names)), key=lambda i: names[i])
    splits = [TRAIN] * len(names)
    permutation = np.random.RandomState(seed).permutation(len(names))
    for position in permutation[: math.ceil(val_fraction * len(names))]:
        splits[order[position]] = VAL
    return splits


def default_split(
    groups: Sequence[str], published: Sequence[str | None], val_fraction: float, seed: int
) -> list[str]:
    """Split of each sample such that a group is never divided and what the authors hold out stays held out.

    published: split of each sample by the authors, None where they put it in none. Without a published validation
    part, one is taken from the groups that are not held out.
    """
    held_out: dict[str, str] = {}
    for group, split in zip(groups, published, strict=True):
        held_out[group] = max(held_out.get(group, TRAIN), split or TRAIN, key=SPLITS.index)
    if VAL not in published:
        free = [group for group in groups if held_out[group] == TRAIN]
        held_out |= dict(zip(free, group_split(free, val_fraction, seed), strict=True))
    return [held_out[group] for group in groups]


def group_split(groups: Sequence[str], val_fraction: float, seed: int) -> list[str]:
    """Split of each sample such that a group is never divided and at most `val_fraction` of the samples validate.

    The groups are taken in a seeded order and go to validation while they fit. With two groups or more, the
    validation part is never empty: the smallest group goes there when none fits.
    """
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    names = sorted(sizes)
    target = math.ceil(val_fraction * len(groups))
    chosen: set[str] = set()
    count = 0
    for position in np.random.RandomState(seed).permutation(len(names)):
        name = names[position]
        if count + sizes[name] <= target and len(chosen) < len(names) - 1:
            chosen.add(name)
            count += sizes[name]
    if not chosen and len(names) > 1:
        chosen.add(min(names, key=lambda n: (sizes[n], n)))
    return [VAL if group in chosen else TRAIN for group in groups]


def merge_duplicates(
    groups: Sequence[str], digests: ArrayLike, fingerprints: Sequence[bytes], known: bool
) -> list[str]:
    """Groups joined wherever they share a picture; a joined group has the least of their names.

    digests, fingerprints: bytes of each sample, those of one kind all of one length.
    Equal stored images (digests) join their groups, unless they are blank as the end slices of volumes are.
    Pictures of the same view (fingerprints) join them too, unless different groups are `known` to be different
    patients: between these, likeness proves nothing.
    """
    sets = Sets(groups)
    _join_equal(sets, digests, fingerprints)
    if not known:
        join_alike(Views(fingerprints), sets)
    least: dict[int, str] = {}
    for label, group in zip(sets.label.tolist(), groups, strict=True):
        least[label] = min(group, least.get(label, group))
    return [least[label] for label in sets.label.tolist()]


def _join_equal(sets: Sets, digests: ArrayLike, fingerprints: Sequence[bytes]) -> None:
    """Join equal images; what finds them is gone before pictures are compared, which takes the most room."""
    telling = np.array([i for i, fingerprint in enumerate(fingerprints) if not blank(fingerprint)], np.int64)
    _, first, same = np.unique(np.asarray(digests)[telling], return_index=True, return_inverse=True)
    for i, j in zip(telling[first[same]].tolist(), telling.tolist(), strict=True):
        sets.join(i, j)
    sets.settle()
