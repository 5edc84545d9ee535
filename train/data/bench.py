"""How fast a corpus becomes batches on this machine, and what the time goes into."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from medshards.shards.read.corpus import Raw
from medshards.shards.read.decode import decode_image, decode_planes
from medshards.train.data.batch import NoPrompt, collate
from medshards.train.data.feed import Feed
from medshards.train.data.loader import Samples
from medshards.train.data.plan import Plan, Request

Tick = Callable[[int], None]


class Timing(NamedTuple):
    """Figures of one process and of the loader.

    read, decode, resize, pack: seconds an image in one process: the bytes of it, its pixels and masks, their resizing
    with all else that makes an example, and the batch. rate: images/s of the workers. wait: part of the time in
    which a GPU of so many images/s would stand still for lack of data.
    """

    images: int
    read: float
    decode: float
    resize: float
    pack: float
    workers: int
    rate: float
    gpu: float
    wait: float

    @property
    def one(self) -> float:
        """Images/s of one process."""
        return 1 / (self.read + self.decode + self.resize + self.pack)

    @property
    def needed(self) -> int:
        """Workers that feed such a GPU, if there is a core for each."""
        return math.ceil(self.gpu / self.one)


def bench(
    plan: Plan,
    samples: Samples,
    images: int,
    batch: int,
    workers: int,
    gpu: float,
    tick: Tick = lambda done: None,
) -> Timing:
    """Make batches of the first ``images`` of the order: in this process step by step, then by ``workers``.

    gpu: images/s of a GPU that takes them. Raises BadSample, CorpusError, StoreError.
    """
    requests = plan.requests(0, images)
    parts = [requests[at : at + batch] for at in range(0, images, batch)]
    samples.corpus.prepare()
    samples.batch(requests[:1])  # loads what is loaded once
    read, decode, resize, pack = (seconds / images for seconds in _alone(samples, parts, tick))
    with Feed(samples, parts, workers) as feed:
        seen, start = len(next(feed).names), time.perf_counter()  # without the start of the workers
        for number, _ in enumerate(feed, start=2):
            tick(images + min(images, number * batch))
        rate = (images - seen) / (time.perf_counter() - start)
    wait = _waiting(samples, parts, workers, gpu)
    return Timing(images, read, decode, resize, pack, workers, rate, gpu, wait)


def _waiting(samples: Samples, parts: Sequence[list[Request]], workers: int, gpu: float) -> float:
    """Part of the time in which who takes ``gpu`` images/s waits for a batch, the first left out."""
    waited = 0.0
    with Feed(samples, parts, workers) as feed:
        began = time.perf_counter()
        for part in parts:
            asked = time.perf_counter()
            next(feed)
            if part is parts[0]:
                began = time.perf_counter()
            else:
                waited += time.perf_counter() - asked
            time.sleep(len(part) / gpu)
        return waited / (time.perf_counter() - began)


def _alone(samples: Samples, parts: Sequence[list[Request]], tick: Tick) -> list[float]:
    """Seconds of reading, decoding, the rest of an example, and packing."""
    spent, done = [0.0, 0.0, 0.0, 0.0], 0

    @contextmanager
    def timed(step: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent[step] += time.perf_counter() - start

    side = samples.builder.side if samples.builder.config.scaled_jpeg else None
    for part in parts:
        examples, images = [], samples.builder.room(len(part))
        for (epoch, sample), image in zip(part, images, strict=True):
            with timed(0):
                raw: Raw = samples.corpus.read(sample)
            with timed(1):
                decode_image(raw, side=side)
                decode_planes(raw)
            with timed(2):
                try:
                    examples.append(samples.builder.example(raw, epoch, sample, image))
                except NoPrompt:
                    examples.append(samples.builder.void(raw.name, image))
        with timed(3):
            collate(examples, images)
        done += len(part)
        tick(done)
    spent[2] = max(0.0, spent[2] - spent[1])  # an example decodes, too
    return spent
