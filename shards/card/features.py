"""The columns of the shards as the library `datasets` and the Hub's viewer read them.

Without declared features they would guess the types from the first samples, and fail where a later one differs. The
form is that of `dataset_info.features` in a dataset card.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Type = str | list[Any] | dict[str, Any]  # a scalar, a list of one type, an object; "json" is any JSON value

# docs/format.md, "The record". Objects whose keys vary are read as JSON values (`datasets` rounds their numbers to ten
# decimals).
RECORD: dict[str, Type] = {
    "key": "string",
    "dataset": "string",
    "group": "string",
    "split": "string",
    "official_split": "string",
    "size": ["int64"],
    "native_size": ["int64"],
    "spacing": ["float64"],
    "volume": "string",
    "slice": ["int64"],
    "intensity": {"slope": "float64", "intercept": "float64", "unit": "string", "window": ["float64"]},
    "pair": ["string"],
    "image": "string",
    "instances": [
        {
            "id": "int64",
            "plane": "int64",
            "concept": "string",
            "text": "string",
            "label": "string",
            "native_id": "int64",
            "area": "int64",
            "bbox": ["int64"],
        }
    ],
    "concepts": ["string"],
    "absent": ["string"],
    "origin": [{"role": "string", "file": "string", "sha256": "string"}],
    "lost": "json",
}


def features(suffixes: Iterable[str], extra: Iterable[str]) -> list[dict[str, Any]]:
    """The columns of shards whose members have these suffixes and whose records these fields of converters.

    A sample has the picture column of its own format; the other is null.
    """
    record = {**RECORD, **dict.fromkeys(sorted(extra), "json")}
    kinds: dict[str, Type] = {"txt": "string", "json": record}
    columns = {suffix: kinds.get(suffix, "image") for suffix in sorted(suffixes, key=_order)}
    return _fields({**columns, "__key__": "string", "__url__": "string"})


def _order(suffix: str) -> tuple[int, str]:
    """The order of the members in a shard."""
    kinds = {"jpg": 0, "png": 0, "txt": 2, "json": 3}
    return kinds.get(suffix, 1), suffix


def _fields(types: Mapping[str, Type]) -> list[dict[str, Any]]:
    return [{"name": name, **_typed(type_)} for name, type_ in types.items()]


def _typed(type_: Type) -> dict[str, Any]:
    if isinstance(type_, str):
        return {"dtype": type_}
    if isinstance(type_, dict):
        return {"struct": _fields(type_)}
    (item,) = type_
    return {"list": item if isinstance(item, str) else _fields(item)}
