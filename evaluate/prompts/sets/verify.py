"""Prove a prompt set: every stored digest, then every prompt made anew from the base shards and compared."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medshards.common.files import sha256_file
from medshards.evaluate.prompts.prompt import Prompt, digest_of
from medshards.evaluate.prompts.sets.build import Recipe, build_set, manifest_check
from medshards.evaluate.prompts.sets.overlay import manifest_name, read_shard
from medshards.shards.build.manifest import MANIFEST


@dataclass(frozen=True)
class Fault:
    """Something that is wrong: in which file, in which prompt ("" for the whole file), and what."""

    file: str
    prompt: str
    what: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.prompt}" if self.prompt else self.file
        return f"{where}: {self.what}"


def sets_of(out: Path, slug: str) -> list[str]:
    """The names of the sets of a dataset."""
    paths = sorted((out / slug).glob(manifest_name("*")))
    return [p.name.removeprefix("prompts-").removesuffix(".json") for p in paths]


def read_manifest(out: Path, slug: str, name: str) -> dict[str, Any]:
    """The manifest of a set. Raises ValueError, which names the file."""
    path = out / slug / manifest_name(name)
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        there = ", ".join(sets_of(out, slug)) or "none"
        raise ValueError(f"{path} is absent; sets of {slug} there: {there}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("check") != manifest_check(manifest):
        raise ValueError(f"{path} is damaged: its content does not fit its digest")
    return manifest


def verify_set(
    location: str | Path,
    slug: str,
    name: str,
    sets: Path,
    workers: int = 1,
    rebuild: bool = True,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[Fault]:
    """Everything that is wrong with a set in the folder `sets`.

    rebuild: also make every prompt anew from the base shards.
    """
    try:
        manifest = read_manifest(sets, slug, name)
    except ValueError as error:
        return [Fault(f"{slug}/{manifest_name(name)}", "", str(error))]
    faults = []
    base = Path(location) / slug / MANIFEST
    if base.exists() and sha256_file(base) != manifest["base_manifest_sha256"]:
        faults.append(
            Fault(f"{slug}/{MANIFEST}", "", "is not the one the set was made from: build the set again")
        )
    lines: list[tuple[str, str, str]] = []
    for shard in manifest["shards"]:
        faults += _check_shard(sets, slug, shard, lines)
    if _digest(lines) != manifest["digest"] and not faults:
        faults.append(Fault(f"{slug}/{manifest_name(name)}", "", "its prompts give another digest"))
    if rebuild:
        faults += _compare(location, slug, manifest, sets, workers, progress, {f.prompt for f in faults})
    return faults


def _check_shard(
    sets: Path, slug: str, shard: dict[str, Any], lines: list[tuple[str, str, str]]
) -> Iterator[Fault]:
    """Faults of a shard by its digests; adds key, id and digest of each prompt to `lines`."""
    file = f"{slug}/{shard['file']}"
    path = sets / file
    if not path.exists():
        yield Fault(file, "", "is absent")
        return
    whole = sha256_file(path) == shard["sha256"]
    named = 0
    try:
        for key, prompts in read_shard(path):
            for prompt in prompts:
                lines.append((key, prompt.id, prompt.record["digest"]))
                if digest_of(prompt) != prompt.record["digest"]:
                    named += 1
                    yield Fault(file, f"{key} {prompt.id}", "its content does not fit its digest")
    except ValueError as error:
        named += 1
        yield Fault(file, "", str(error))
    if not whole and not named:
        yield Fault(file, "", "does not fit its digest in the manifest; what follows says where")


def _compare(
    location: str | Path,
    slug: str,
    manifest: dict[str, Any],
    sets: Path,
    workers: int,
    progress: Callable[[str, int, int], None],
    known: set[str],
) -> Iterator[Fault]:
    """Differences between the set and one made anew."""
    with tempfile.TemporaryDirectory() as folder:
        again = build_set(
            location, Recipe.of(manifest), Path(folder), [slug], manifest["splits"], workers, progress
        )[slug]
        for shard in again["shards"]:
            file = f"{slug}/{shard['file']}"
            try:
                stored = {key: {p.id: p for p in prompts} for key, prompts in read_shard(sets / file)}
            except ValueError:
                continue  # named before
            for key, prompts in read_shard(Path(folder) / file):
                own = stored.pop(key, {})
                for prompt in prompts:
                    found = own.pop(prompt.id, None)
                    where = f"{key} {prompt.id}"
                    if where in known:
                        continue
                    if found is None:
                        yield Fault(file, where, "is absent")
                    elif not _equal(found, prompt):
                        yield Fault(file, where, "is not what the base shards give")
                for left in own:
                    yield Fault(file, f"{key} {left}", "is not in a set made anew")
            for key in stored:
                yield Fault(file, key, "is no sample of the base shard")


def _equal(one: Prompt, other: Prompt) -> bool:
    if one.record != other.record or (one.bits is None) != (other.bits is None):
        return False
    return one.bits is None or np.array_equal(one.bits, other.bits)  # type: ignore[arg-type]


def _digest(lines: list[tuple[str, str, str]]) -> str:
    text = "".join(f"{key} {name} {digest}\n" for key, name, digest in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()
