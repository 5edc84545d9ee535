"""A few of many, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, in their order: the first, the last and others at even distances between."""
    count = min(most, len(items))
    return [items[round(k * (len(items) - 1) / max(count - 1, 1))] for k in range(count)]
