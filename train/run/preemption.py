"""Signals that ask a run to end: cluster preemption (SIGTERM, SIGUSR1) and Ctrl-C (SIGINT)."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Stop:
    """Notes that a signal came, and does nothing else: saving inside a signal handler would be unsafe.

    The run looks at ``asked`` between two updates and agrees with all ranks. A second Ctrl-C ends it at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
