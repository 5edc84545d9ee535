"""The shards that the order needs next, fetched into the cache while batches are made of those before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from medshards.shards.read.cache import Cached
from medshards.shards.read.corpus import Corpus
from medshards.train.data.order import shard_of
from medshards.train.data.plan import Plan, Slices

DOWNLOADS = 4  # shards at a time
STEP = 1024  # places of the order that are looked at together


class Ahead:
    """Fetches shards in the order of their first use, as far as the cache has room for them beside those in use.

    A shard whose last place has passed is `release`d, so that it is the first to go. Who reads a shard that is not
    there yet fetches it as always.
    """

    @classmethod
    def of(cls, corpus: Corpus, slices: object) -> Ahead | None:
        """What works ahead of these `Slices` of a cached corpus; None where there is nothing to do ahead of."""
        if not (isinstance(slices, Slices) and isinstance(corpus.store, Cached)):
            return None
        return cls(corpus.store, slices.plan, slices.start, slices.world * slices.per_rank)

    def __init__(self, cache: Cached, plan: Plan, start: int, stride: int) -> None:
        shards = plan.shards or ()
        self._shard = shard_of(shards).astype(np.int32)
        self._sizes = np.concatenate([each.sizes for each in shards]).tolist()
        self._paths = [path for each in shards for path in each.paths]
        self._cache, self._plan, self._now, self._stride = cache, plan, start, stride
        self._moved, self._closed = threading.Condition(), False
        self._turn, self._wanted = threading.Lock(), self._shards()
        for _ in range(DOWNLOADS):
            threading.Thread(target=self._run, daemon=True).start()

    def advance(self) -> None:
        """Another batch has been read: ``stride`` samples of the order, by all ranks together."""
        with self._moved:
            self._now += self._stride
            self._moved.notify_all()

    def close(self) -> None:
        """Begin no further download."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()

    def _run(self) -> None:
        while True:
            with self._turn:
                path = next(self._wanted, None)
            if path is None:
                return
            with suppress(OSError):  # whoever reads the shard tries again, and tells what is wrong
                self._cache.prefetch(path)

    def _shards(self) -> Iterator[str]:
        """The shards in the order of their first use, each when there is room for it; ends when closed."""
        used: dict[int, int] = {}  # shards in the cache or on their way there, with their last place so far
        for place, shard in self._places():
            if shard not in used:
                self._wait_for_room(used, self._sizes[shard])
                if self._closed:
                    return
                yield self._paths[shard]
            used[shard] = place

    def _places(self) -> Iterator[tuple[int, int]]:
        """The places of the order that are not read yet, each with its shard."""
        cursor = self._now
        while True:
            cursor = max(cursor, self._now)
            requests = self._plan.requests(cursor, STEP)
            for place, request in enumerate(requests, cursor):
                yield place, int(self._shard[request.sample])
            cursor += STEP

    def _wait_for_room(self, used: dict[int, int], size: int) -> None:
        with self._moved:
            while not self._closed:
                passed = self._now - self._stride  # another rank may be a batch behind
                for shard in [shard for shard, last in used.items() if last < passed]:
                    del used[shard]
                    self._cache.release(self._paths[shard])
                if not used or size + sum(self._sizes[shard] for shard in used) <= self._cache.limit:
                    return
                self._moved.wait()
