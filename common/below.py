"""The part of a mapping by paths that lies below a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

V = TypeVar("V")


class Below(Mapping[str, V]):
    """What `files` holds below the folder `base` ("" or with a '/' at its end), by the path relative to that.

    A view: the text of some hundred thousand paths is there once.
    """

    def __init__(self, files: Mapping[str, V], base: str) -> None:
        self._files, self._base = files, base

    def __getitem__(self, path: str) -> V:
        return self._files[self._base + path]

    def __iter__(self) -> Iterator[str]:
        return (path.removeprefix(self._base) for path in self._files if path.startswith(self._base))

    def __len__(self) -> int:
        return sum(1 for _ in self)
