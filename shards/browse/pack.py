"""Samples as pages ask for them: so many in one answer, so that a site of many samples is one of few files."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

from medshards.shards.browse import sample
from medshards.shards.browse.shelf import NEIGHBOURS, Shelf


def packed(shelf: Shelf, rows: range, full: Collection[int]) -> dict[str, Any]:
    """The samples of these rows, and once what they share: the keys of their groups and of the slices of their volumes.

    full: rows whose picture the site has in full. Raises BadSample, StoreError.
    """
    own = shelf.table.slice(rows.start, len(rows))
    groups = {name: shelf.group(name) for name in own["group"].unique().to_pylist()}
    return {
        "samples": [_sample(shelf, row, row in full) for row in rows],
        "groups": {name: {"keys": keys[:NEIGHBOURS], "of": len(keys)} for name, keys in groups.items()},
        "volumes": {v: shelf.volume(v) for v in own["volume"].drop_null().unique().to_pylist()},
    }


def _sample(shelf: Shelf, row: int, full: bool) -> dict[str, Any]:
    raw, keys = shelf.read(row), shelf.table["key"]
    return {
        "small": "data:image/jpeg;base64," + base64.b64encode(sample.small_picture(raw)).decode(),
        "full": full,
        "outlines": sample.outlines(raw),
        "record": raw.record,
        "members": list(shelf.members(row).items()),
        "before": keys[row - 1].as_py() if row else None,
        "after": keys[row + 1].as_py() if row + 1 < len(shelf) else None,
    }
