"""Build a prompt set for the datasets of a corpus: overlay shards and a manifest a dataset.

A set does not depend on the order or the number of the workers: each prompt has a seed of its own, and only here are
the pieces put in order, that of the base shards.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medshards.common.files import sha256_file, write_atomically
from medshards.curate.catalog.entry import load_catalog
from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.families.catalog import choose, version
from medshards.evaluate.prompts.prompt import Prompt, make_prompts
from medshards.evaluate.prompts.sets.overlay import manifest_name, pack, shard_name
from medshards.evaluate.prompts.sets.scenes import Place, lender, places, read_scenes
from medshards.evaluate.prompts.severity import LADDERS, TOLERANCE
from medshards.evaluate.prompts.target import Target
from medshards.shards.build.engine import run
from medshards.shards.build.manifest import SCHEMA, dump, tool_version
from medshards.shards.encode import tar
from medshards.shards.read.corpus import Corpus, CorpusError

SPLITS = ("train", "val", "test")


class WorkerDied(RuntimeError):
    """A worker process ended without a word; the message says at what."""


@dataclass(frozen=True)
class Recipe:
    """What a set is made of. Equal recipes on equal masks give equal sets.

    part: core or full. families: only these ids, all of the part when empty. outside: whether what lies beyond the
    frame counts as foreground when a mask shrinks (the study's rule). replicates: draws of each random field.
    """

    name: str
    part: str = "core"
    families: tuple[str, ...] = ()
    replicates: int = 1
    outside: bool = True

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "set": self.name,
            "part": self.part,
            "families": [
                {
                    **f.model_dump(exclude={"core", "make", "reference"}),
                    "severities": list(f.severities(self.part)),
                }
                for f in choose(self.part, self.families)
            ],
            "only": list(self.families),
            "families_version": version(),
            "replicates": self.replicates,
            "ladders": {name: list(steps) for name, steps in LADDERS.items()},
            "tolerance": TOLERANCE,
            "border": "foreground" if self.outside else "background",
            "axes": "slice, row, column (pictures: row, column), C order",
            "units": f"lengths in mm (px where spacing is unknown), computed in 1/{UNITS}; boxes in 1/{UNITS} voxel",
        }

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Recipe:
        """The recipe that a manifest tells."""
        return cls(
            manifest["set"],
            manifest["part"],
            tuple(manifest["only"]),
            manifest["replicates"],
            manifest["border"] == "foreground",
        )


@dataclass(frozen=True)
class _Piece:
    """What a worker made of a place: a file with the entries of all samples one after the other; of each sample the
    size in bytes, and (id, digest) and a line of counts of each prompt."""

    slug: str
    file: str
    sizes: tuple[tuple[str, int], ...]
    digests: tuple[tuple[str, str, str], ...]
    counts: Counter[tuple[str, str, int, str]]


class _Worker:
    """The state of a process: the corpus, opened once a split."""

    current: _Worker

    def __init__(self, location: str, recipe: Recipe, work: str, everything: Sequence[Place]) -> None:
        self.location, self.recipe, self.work, self.places = location, recipe, Path(work), everything
        self.families = choose(recipe.part, recipe.families)
        self.corpora: dict[tuple[str, str], Corpus] = {}

    def corpus(self, place: Place) -> Corpus:
        at = place.slug, place.split
        if at not in self.corpora:
            self.corpora[at] = Corpus.open(self.location, place.split, [place.slug])
        return self.corpora[at]

    def make(self, place: Place) -> _Piece:
        """The prompts of a picture or of the slices of a volume."""
        lend = lender(self.corpus(place), place, [p for p in self.places if p.split == place.split])
        entries = {key: pack(key, []) for key in place.keys}
        digests, counts = [], Counter[tuple[str, str, int, str]]()
        for key, scene in read_scenes(self.corpus(place), place, lend):
            prompts: list[Prompt] = []
            for concept, mask in scene.classes.items():
                target = Target(scene, concept, mask.within(scene.shape), self.recipe.outside)
                prompts += make_prompts(target, self.families, self.recipe.part, self.recipe.replicates)
            entries[key] = pack(key, prompts)
            for prompt in prompts:
                record = prompt.record
                digests.append((key, prompt.id, record["digest"]))
                state = "unreachable" if record["unreachable"] else "empty" if record["empty"] else "made"
                counts[record["concept"], record["family"], record["severity"], state] += 1
        file = f"{place.slug}-{place.split}-{place.keys[0]}.part"
        (self.work / file).write_bytes(b"".join(entries.values()))
        sizes = tuple((key, len(entry)) for key, entry in entries.items())
        return _Piece(place.slug, file, sizes, tuple(digests), counts)


def _initialize(*arguments: Any) -> None:
    _Worker.current = _Worker(*arguments)


def _make(place: Place) -> _Piece:
    return _Worker.current.make(place)


def _died(place: Place) -> _Piece:
    raise WorkerDied(
        f"{place.slug}/{place.name}: the worker that made its prompts died (out of memory?); try fewer --workers"
    )


def build_set(
    location: str | Path,
    recipe: Recipe,
    out: Path,
    slugs: Collection[str] = (),
    splits: Sequence[str] = SPLITS,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, dict[str, Any]]:
    """Write the set of every dataset (only `slugs`) below `out`; the manifest of each by slug.

    Raises CorpusError when there is nothing to make prompts for, BadSample when a sample cannot be read, WorkerDied.
    """
    everything: list[Place] = []
    facts: dict[str, Any] = {}
    for split in splits:
        corpus = Corpus.open(location, split, slugs or None)
        facts = corpus.facts
        for slug in corpus.slugs:
            everything += places(Corpus.open(location, split, [slug]), split)
    if not everything:
        raise CorpusError(f"{location}: no samples in {', '.join(splits)}; choose another --split")
    work = out / f".prompts-{recipe.name}.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        pieces: list[_Piece] = []
        setup = (_initialize, (str(location), recipe, str(work), everything))
        for piece in run(_make, everything, workers if workers > 1 else 0, _died, setup):
            pieces.append(piece)
            progress("prompts", len(pieces), len(everything))
        manifests = {}
        for slug in sorted({p.slug for p in everything}):
            own = [piece for piece in pieces if piece.slug == slug]
            base = str(facts["datasets"][slug]["manifest_sha256"])
            manifests[slug] = _assemble(location, slug, splits, own, recipe, out, work, base)
        return manifests
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _assemble(
    location: str | Path,
    slug: str,
    splits: Sequence[str],
    pieces: Sequence[_Piece],
    recipe: Recipe,
    out: Path,
    work: Path,
    base: str,
) -> dict[str, Any]:
    """Write the overlay shards of a dataset and its manifest, which comes last."""
    where: dict[str, tuple[str, int, int]] = {}
    for piece in pieces:
        at = 0
        for key, size in piece.sizes:
            where[key] = (piece.file, at, size)
            at += size
    shards = []
    for split in splits:
        corpus = Corpus.open(location, split, [slug])
        if slug not in corpus.slugs:
            continue
        rows = corpus.rows(slug)
        for shard in dict.fromkeys(rows["shard"].to_pylist()):
            keys = [k for k, s in zip(rows["key"].to_pylist(), rows["shard"].to_pylist()) if s == shard]
            name = shard_name(shard, recipe.name)
            path = out / slug / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = work / path.name
            with temporary.open("wb") as stream:
                for key in keys:
                    file, start, size = where[key]
                    with (work / file).open("rb") as part:
                        part.seek(start)
                        stream.write(part.read(size))
                stream.write(tar.END)
            digest, size = sha256_file(temporary), temporary.stat().st_size
            temporary.replace(path)
            shards.append(
                {"file": name, "base": shard, "samples": len(keys), "bytes": size, "sha256": digest}
            )
    counts = sum((piece.counts for piece in pieces), Counter[tuple[str, str, int, str]]())
    digests = sorted(line for piece in pieces for line in piece.digests)
    licence = load_catalog()[slug].licence if slug in load_catalog() else None
    manifest = {
        "schema": SCHEMA,
        "tool": tool_version(),
        "dataset": slug,
        **recipe.facts(),
        "base_manifest_sha256": base,
        "licence": licence.name if licence else "that of the dataset",
        "splits": list(splits),
        "prompts": len(digests),
        "counts": _nested(counts),
        "shards": shards,
        "digest": hashlib.sha256("".join(f"{k} {i} {d}\n" for k, i, d in digests).encode()).hexdigest(),
    }
    manifest["check"] = manifest_check(manifest)
    write_atomically(out / slug / manifest_name(recipe.name), dump(manifest))
    return manifest


def manifest_check(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without this field."""
    return hashlib.sha256(dump({k: v for k, v in manifest.items() if k != "check"})).hexdigest()


def _nested(counts: Counter[tuple[str, str, int, str]]) -> dict[str, Any]:
    """Counts by concept, family and severity: how many prompts were made, are empty, could not be reached."""
    found: dict[str, Any] = {}
    for (concept, family, severity, state), count in sorted(counts.items()):
        found.setdefault(concept, {}).setdefault(family, {}).setdefault(str(severity), {})[state] = count
    return found
