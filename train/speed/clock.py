"""How long updates take, and how much of that is waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Reading(NamedTuple):
    """Seconds, of them of waiting for data, updates, and the FLOPs of their passes."""

    seconds: float
    waited: float
    updates: int
    flops: float


class Clock:
    """Time of the updates since it was last read, without validation and saving."""

    def __init__(self) -> None:
        self.updates, self.flops = 0, 0.0
        self._began, self._waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in which the device had nothing to do for lack of data."""
        asked = time.perf_counter()
        yield
        self._waited += time.perf_counter() - asked

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def read(self) -> Reading:
        """What there was since the last reading."""
        now = time.perf_counter()
        reading = Reading(max(now - self._began, 1e-9), self._waited, self.updates, self.flops)
        self._began, self._waited, self.updates, self.flops = now, 0.0, 0, 0.0
        return reading
