"""What the names of files say in a dataset of a standard format: its groups and its splits."""

from __future__ import annotations

import re
from typing import ClassVar

from medshards.curate.sample import Reject
from medshards.curate.tree import File


class Named:
    """Groups and splits by patterns that are searched in the path of a file; the first bracket is what they name.

    group_pattern: for what must never stand on both sides of a split (patient, video, volume …). None: every
    image is a group of its own, because the names do not tell.
    split_pattern: for the official split. None: there is none.
    """

    group_pattern: ClassVar[str | None]
    split_pattern: ClassVar[str | None] = None

    def group_of(self, file: File, key: str) -> str:
        """The group of a file. Raises Reject `no_group` when its name has none."""
        if self.group_pattern is None:
            return key
        found = _named(self.group_pattern, file)
        if found is None:
            raise Reject(
                "no_group",
                f"the pattern of the groups, {self.group_pattern!r}, is not in its path",
                file.name,
            )
        return found

    def split_of(self, file: File) -> str | None:
        """The official split of a file, None where its path names none."""
        return None if self.split_pattern is None else _named(self.split_pattern, file)


def _named(pattern: str, file: File) -> str | None:
    found = re.search(pattern, file.name)
    return found and (found[1] if found.re.groups else found[0])
