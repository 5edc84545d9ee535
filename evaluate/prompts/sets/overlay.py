"""Overlay shards: the prompts of a set, one shard for each base shard, joined by key.

`btcv/train/btcv-train-000123.tar` of the corpus has `btcv/train/btcv-train-000123.prompts-core.tar` in the folder of
the sets, with the same keys in the same order. The corpus itself never changes.
Members of a sample: KEY.prompts.json, a list of records (empty for all slices of a volume but its first), and, where
there are masks, KEY.prompts.npz: for each prompt id the bits of its crop, eight voxels a byte.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medshards.evaluate.prompts.prompt import Prompt
from medshards.shards.encode import tar
from medshards.shards.encode.record import json_bytes

FIELDS = {"id", "kind", "frame", "spacing", "seed", "unreachable", "payload", "digest"}  # that a reader needs
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def shard_name(base: str, name: str) -> str:
    """The overlay of a base shard."""
    return f"{base.removesuffix('.tar')}.prompts-{name}.tar"


def manifest_name(name: str) -> str:
    """The manifest of a set, in the dataset's folder."""
    return f"prompts-{name}.json"


def pack(key: str, prompts: Sequence[Prompt]) -> bytes:
    """The tar entries of a sample."""
    entries = tar.member(f"{key}.prompts.json", json_bytes([p.record for p in prompts]))
    masks = {p.id: p.bits for p in prompts if p.bits is not None}
    if masks:
        stream = io.BytesIO()
        np.savez_compressed(stream, **masks)  # type: ignore[arg-type]
        entries += tar.member(f"{key}.prompts.npz", stream.getvalue())
    return entries


def read_shard(path: Path) -> Iterator[tuple[str, list[Prompt]]]:
    """Key and prompts of each sample of an overlay shard. Raises ValueError, which names the file."""
    records: dict[str, list[dict[str, Any]]] = {}
    masks: dict[str, dict[str, np.ndarray]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                stream = archive.extractfile(member)
                assert stream is not None
                data = stream.read()
                if suffix == "prompts.json":
                    records[key] = json.loads(data)
                elif suffix == "prompts.npz":
                    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                        masks[key] = {name: arrays[name] for name in arrays.files}
    except (tarfile.TarError, OSError, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # zipfile and zlib raise errors of their own
        raise ValueError(f"{path} is damaged: {error}") from error
    for key, own in records.items():
        for record in own:
            if missing := FIELDS - record.keys():
                raise ValueError(f"{path}: {key}.prompts.json: a record lacks {', '.join(sorted(missing))}")
        yield key, [Prompt(r, masks.get(key, {}).get(r["id"])) for r in own]
