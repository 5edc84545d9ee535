"""Which sample goes to which split.

default: whole groups, 85/15 by number of images, groups in a seeded random order. Samples whose pictures
are equal or nearly so count as one group, so nothing seen in training returns in validation.
paper: each image for itself, as scikit-learn's `train_test_split(test_size=0.15, random_state=42)` does it
on the sorted file names.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)
NEAR = 6  # of 256 fingerprint bits that may differ between near-duplicates
BANDS = 8  # NEAR + 1 bands or more: two fingerprints within NEAR bits agree in at least one band


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
    groups: Sequence[str], digests: Sequence[bytes], fingerprints: Sequence[bytes]
) -> list[str]:
    """Groups joined wherever they share a picture; a joined group has the least of their names.

    Equal stored images (digests) join their groups, unless they are blank as the end slices of volumes are.
    Near-duplicates (fingerprints) join only samples that stand alone in their group, that is where the dataset
    publishes no patient: between patients who are known to be different, likeness proves nothing.
    """
    parent: dict[str, str] = {g: g for g in groups}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(i: int, j: int) -> None:
        a, b = find(groups[i]), find(groups[j])
        parent[max(a, b)] = min(a, b)

    first: dict[bytes, int] = {}
    for position, (digest, fingerprint) in enumerate(zip(digests, fingerprints, strict=True)):
        if not blank(fingerprint):
            join(first.setdefault(digest, position), position)
    sizes = Counter(groups)
    alone = [i for i, group in enumerate(groups) if sizes[group] == 1]
    for i, j in near_duplicates([fingerprints[i] for i in alone]):
        join(alone[i], alone[j])
    return [find(g) for g in groups]


def blank(fingerprint: bytes) -> bool:
    """True for the fingerprint of a picture of one tone, which says nothing of where it comes from."""
    return not any(fingerprint)


def near_duplicates(fingerprints: Sequence[bytes], most: int = NEAR) -> list[tuple[int, int]]:
    """Pairs of positions whose 256-bit fingerprints differ in at most `most` (< 8) bits.

    Nearly uniform pictures (fewer than 16 bits set, or more than 240) say nothing and are left out. Only pairs
    that agree in one of eight bands of 32 bits are compared, which misses none (pigeonhole); the bands take bits
    from all over the picture, so that a black border does not make every band alike.
    """
    if not fingerprints:
        return []
    bits = np.unpackbits(
        np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(fingerprints), -1), axis=1
    )
    telling = np.flatnonzero((bits.sum(axis=1) >= 16) & (bits.sum(axis=1) <= 240))
    mixed = np.packbits(bits[telling][:, np.random.RandomState(0).permutation(bits.shape[1])], axis=1)
    pairs: set[tuple[int, int]] = set()
    for band in np.split(mixed, BANDS, axis=1):
        words = np.ascontiguousarray(band).view(np.uint32).ravel()
        order = np.argsort(words, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(words[order])) + 1):
            for place, i in enumerate(bucket[:-1]):
                others = bucket[place + 1 :]
                near = np.bitwise_count(mixed[others] ^ mixed[i]).sum(axis=1) <= most
                pairs.update((int(telling[i]), int(telling[j])) for j in others[near])
    return sorted(pairs)
