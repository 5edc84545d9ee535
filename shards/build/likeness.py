"""Which pictures show the same view, told from their fingerprints.

A perceptual hash finds candidates: the signs of random projections (Charikar 2002, doi 10.1145/509907.509965) of the
high-pass filtered picture, in bands of 16 bits. Two pictures that correlate by r agree in a bit with probability
1 - arccos(r) / π, so one band at least is equal for 99.6 % of pairs with r = 0.9 and 81 % with r = 0.8. The correlation
of the two pictures, one of them aligned to the other (Evangelidis and Psarakis 2008, doi 10.1109/TPAMI.2008.113),
decides. The thresholds were measured on real pictures: docs/splits.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from tempfile import TemporaryFile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.shards.encode.fingerprint import SIDE

SAME = 0.9  # correlation from which two pictures show the same view
LOOK = 0.6  # correlation from which aligning two pictures is tried
BANDS, BITS = 80, 12  # of the hash
NEAR, FAR = (
    160,
    330,
)  # bits of 960: below NEAR pictures are compared as they are; at SAME the mean is 138, at LOOK 283
WINDOW = (
    32  # pictures after a picture with which it is compared in a band: bounds the work where many are alike
)
TRIES = 4  # pairs of a picture that are aligned, the nearest first
BATCH = 8192  # pairs compared at once, by their hashes
AT_ONCE = 1024  # pictures in memory
PAIR = np.dtype([("far", np.int32), ("i", np.int32), ("j", np.int32)])  # sorts by distance
TURN, SHIFT = (
    0.15,
    3.0,
)  # most that aligning may zoom, turn or shear by, and shift by in px of the small picture

DARK = 12  # of 255: pixels up to here that touch the frame are outside the field of view
COARSE, FINE, NOISE = 3.0, 0.7, 4.0  # px, px, grey values of the small picture


def reliefs(fingerprints: Sequence[bytes]) -> NDArray[np.int8]:
    """Each small picture high-pass filtered, n × SIDE × SIDE: at most 127, 0 only outside the field of view.

    The edge of the field of view (a disc, a fan, an octagon) is one for all pictures of a machine: it is left out.
    Whole numbers make sums exact in float32, whatever the order in which a processor adds.
    """
    out = np.zeros((len(fingerprints), SIDE, SIDE), np.int8)
    for relief, content in zip(out, fingerprints, strict=True):
        small = np.frombuffer(content, np.uint8).reshape(SIDE, SIDE)
        view = _field_of_view(small)
        weight = view.astype(np.float32)

        def blur(values: NDArray[Any], sigma: float, weight: NDArray[Any] = weight) -> NDArray[Any]:
            blurred: NDArray[Any] = cv2.GaussianBlur(values * weight, (0, 0), sigma) / (
                cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-3
            )
            return blurred

        grey = small.astype(np.float32)
        height = (blur(grey, FINE) - blur(grey, COARSE)) * weight
        height /= np.sqrt(blur(height * height, 2 * COARSE)) + NOISE  # as much weight for faint structure
        height -= height[view].mean()
        peak = np.abs(height[view]).max()
        if peak > 0.05:  # less is no structure
            level = np.rint(height[view] * (127 / peak))
            relief[view] = np.where(level == 0, 1, level)
    return out


def _field_of_view(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the small picture is not the dark surrounding of what the machine sees; all where hardly a part is."""
    count, parts = cv2.connectedComponents((small <= DARK).astype(np.uint8), connectivity=4)
    seen = np.ones(count, np.bool_)
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        seen[edge] = False
    seen[0] = True  # what is not dark
    view = cv2.erode(seen[parts].astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    return view if view.mean() > 0.25 else np.ones_like(view)


def hashes(pictures: NDArray[np.int8]) -> NDArray[np.uint16]:
    """The perceptual hash of each relief: n × BANDS words of BITS bits."""
    flat = pictures.reshape(-1, SIDE * SIDE).astype(np.float32)
    signs = (flat @ _projections() > 0).reshape(-1, BANDS, BITS)
    words: NDArray[np.uint16] = signs @ (1 << np.arange(BITS, dtype=np.uint16))
    return words


@cache
def _projections() -> NDArray[np.float32]:
    """1 and -1 at random, for every pixel and bit."""
    signs = np.random.RandomState(0).randint(0, 2, (SIDE * SIDE, BANDS * BITS))
    return signs.astype(np.float32) * 2 - 1


@dataclass(frozen=True)
class Link:
    """Two pictures, by position (i < j), and the correlation of one with the other aligned to it."""

    i: int
    j: int
    correlation: float


class Sets:
    """Positions 0 … n-1 in disjoint sets; `label` holds the least position of each one's set after `settle`."""

    def __init__(self, names: Sequence[str]) -> None:
        """Positions of one name begin in one set."""
        first: dict[str, int] = {}
        self.label = np.array([first.setdefault(name, i) for i, name in enumerate(names)], np.int64)

    def find(self, i: int) -> int:
        """The least position of the set of i."""
        while self.label[i] != i:
            self.label[i] = self.label[self.label[i]]
            i = int(self.label[i])
        return i

    def join(self, i: int, j: int) -> None:
        """Make the sets of i and j one."""
        a, b = self.find(i), self.find(j)
        self.label[max(a, b)] = min(a, b)

    def settle(self) -> None:
        """Bring every label up to date."""
        while not np.array_equal(shorter := self.label[self.label], self.label):
            self.label[:] = shorter


class Views:
    """Pictures to compare, from their fingerprints; about 0.2 kB of memory a picture.

    1 kB of each lies in a file without a name in the folder for temporary files (`TMPDIR`).
    """

    def __init__(self, fingerprints: Sequence[bytes]) -> None:
        count = len(fingerprints)
        self._reliefs = TemporaryFile()  # noqa: SIM115 (goes with this)
        self._hash = np.empty((count, BANDS), np.uint16)
        telling = np.empty(count, np.bool_)  # the others have no structure
        for start in range(0, count, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            pictures = reliefs(fingerprints[part])
            self._reliefs.write(pictures.tobytes())
            self._hash[part], telling[part] = hashes(pictures), pictures.any(axis=(1, 2))
        self._reliefs.flush()
        self._telling = np.flatnonzero(telling)

    def candidates(self, label: NDArray[np.int64]) -> Iterator[NDArray[np.void]]:
        """Pairs whose hashes are near and whose labels differ, some thousand at a time: fields far (bits), i, j.

        In each band the pictures are put in order; each is compared with the WINDOW pictures after it that have
        the same word. Labels may change meanwhile: pairs that have become one are not given any more.
        """
        for band in range(BANDS):
            word, tie = (self._hash[self._telling, b] for b in (band, (band + 1) % BANDS))
            order = self._telling[np.lexsort((tie, word))]
            word = self._hash[order, band]
            for step in range(1, WINDOW + 1):
                place = np.flatnonzero(word[step:] == word[:-step])
                if not place.size:
                    break
                place = place[label[order[place]] != label[order[place + step]]]
                for start in range(0, place.size, BATCH):
                    part = place[start : start + BATCH]
                    pairs = np.empty(part.size, PAIR)
                    pairs["i"] = np.minimum(order[part], order[part + step])
                    pairs["j"] = np.maximum(order[part], order[part + step])
                    differ = self._hash[pairs["i"]].view(np.uint64) ^ self._hash[pairs["j"]].view(np.uint64)
                    pairs["far"] = np.bitwise_count(differ).sum(axis=1, dtype=np.int64)
                    yield pairs[pairs["far"] <= FAR]

    def correlations(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        """Correlation of each pair as the pictures are."""
        found = np.empty(len(i), np.float64)
        for start in range(0, len(i), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = _correlations(self._flat(i[part]), self._flat(j[part]))
        return found

    def _flat(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The reliefs of these pictures, a row each."""
        read = (os.pread(self._reliefs.fileno(), SIDE * SIDE, int(at) * SIDE * SIDE) for at in positions)
        return np.frombuffer(b"".join(read), np.int8).reshape(-1, SIDE * SIDE).astype(np.float32)

    def aligned(self, i: int, j: int) -> float:
        """Correlation of picture i with picture j after the affine change of j that makes it greatest."""
        a, b = self._flat(np.array([i, j])).reshape(2, SIDE, SIDE)
        plain = float(_correlations(a.reshape(1, -1), b.reshape(1, -1))[0])
        if plain < LOOK:
            return plain
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
        start = np.eye(2, 3, dtype=np.float32)
        try:
            _, change = cv2.findTransformECC(a, b, start, cv2.MOTION_AFFINE, stop, None, 1)  # type: ignore[call-overload]
        except cv2.error:  # it did not converge
            return plain
        if np.abs(change[:, :2] - np.eye(2)).max() > TURN or np.abs(change[:, 2]).max() > SHIFT:
            return plain

        def move(values: NDArray[Any]) -> NDArray[Any]:
            return cv2.warpAffine(values, change, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

        moved = move(b) * (move((b != 0).astype(np.float32)) > 0.99)
        return max(plain, float(_correlations(a.reshape(1, -1), moved.reshape(1, -1))[0]))


def _correlations(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of each row of a with that of b where both are in view; 0 where that is less than half of either."""
    seen_a, seen_b = a != 0, b != 0
    common = np.einsum("nk,nk->n", seen_a, seen_b, dtype=np.int32)
    most = np.maximum(seen_a.sum(axis=1), seen_b.sum(axis=1))
    square_a = np.einsum("nk,nk,nk->n", a, a, seen_b, dtype=np.float32)
    square_b = np.einsum("nk,nk,nk->n", b, b, seen_a, dtype=np.float32)
    product = np.einsum("nk,nk->n", a, b).astype(np.float64)
    length = np.sqrt(square_a.astype(np.float64) * square_b)
    return np.where(2 * common >= most, product / np.maximum(length, 1), 0.0)


def join_alike(views: Views, sets: Sets) -> list[Link]:
    """Join the sets of pictures that show the same view; returns the links by which they were joined."""
    links: list[Link] = []
    doubtful = Best()
    for pairs in views.candidates(sets.label):
        near = pairs[pairs["far"] <= NEAR]
        found = views.correlations(near["i"], near["j"])
        for k in np.flatnonzero(found >= SAME):
            _join(sets, links, Link(int(near["i"][k]), int(near["j"][k]), float(found[k])))
        sets.settle()
        doubtful.add(pairs[sets.label[pairs["i"]] != sets.label[pairs["j"]]])
    for i, j in doubtful:
        if sets.find(i) != sets.find(j) and (correlation := views.aligned(i, j)) >= SAME:
            _join(sets, links, Link(i, j, correlation))
    sets.settle()
    return links


def _join(sets: Sets, links: list[Link], link: Link) -> None:
    if sets.find(link.i) != sets.find(link.j):
        sets.join(link.i, link.j)
        links.append(link)


def nearest(views: Views, sides: Sequence[str], most: int = 64) -> Link | None:
    """The two pictures of different sides that are most alike, of the `most` pairs whose hashes are nearest.

    None when no two have hashes that are near.
    """
    best = Best()
    for pairs in views.candidates(Sets(sides).label):
        best.add(pairs)
    links = [Link(i, j, views.aligned(i, j)) for i, j in islice(best, most)]
    return max(links, key=lambda link: (link.correlation, -link.i, -link.j), default=None)


class Best:
    """Of many pairs, as they come, those that are among the TRIES nearest of one of their two pictures."""

    def __init__(self) -> None:
        self._kept = [np.empty(0, PAIR)]
        self._size, self._limit = 0, 16 * BATCH

    def add(self, pairs: NDArray[np.void]) -> None:
        """Take pairs into account; they may have come before."""
        self._kept.append(pairs)
        self._size += len(pairs)
        if self._size > self._limit:
            self._sift()
            self._limit = max(self._limit, 2 * self._size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The pairs (i, j), the nearest first."""
        self._sift()
        yield from ((int(pair["i"]), int(pair["j"])) for pair in self._kept[0])

    def _sift(self) -> None:
        pairs = np.unique(np.concatenate(self._kept))
        self._kept = [pairs[_among_first(pairs["i"]) | _among_first(pairs["j"])]]
        self._size = len(self._kept[0])


def _among_first(values: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether fewer than TRIES equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.ones(len(values), np.bool_)
    first[order[TRIES:]] = ordered[TRIES:] != ordered[:-TRIES]
    return first
