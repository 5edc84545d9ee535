"""Measure a corpus, and hold it beside the paper's Table 1.

Two things are measured of each dataset: what the corpus holds (under whatever profile it was built), and
`table1`: images, annotations and median area by the rule in the catalog entry's `paper:` facts.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medshards.curate.catalog.entry import Entry, PaperRule
from medshards.shards.build import index
from medshards.shards.build.manifest import CORPUS, read_corpus, read_manifest
from medshards.shards.build.split import SPLITS, TRAIN, paper_split
from medshards.shards.encode.policy import SEED, SLICES, VAL_FRACTION


def corpus_stats(out: Path, catalog: dict[str, Entry]) -> list[dict[str, Any]]:
    """The measurements of every dataset of the corpus at `out`, by slug.

    Each: slug, images, annotations, median_area (px; None without annotation), splits {train, val, test: images,
    annotations, median_area}, concepts {id: annotations}, rejects, slices (of a volume that are stored), table1
    {images, annotations, median_area} or None where it cannot be measured (see `table1`).

    Raises FileNotFoundError when there is no corpus.
    """
    corpus = read_corpus(out)
    if corpus is None:
        raise FileNotFoundError(
            f"{out / CORPUS}: no such file; expected the folder that `medshards build --out` wrote"
        )
    return [dataset_stats(out / slug, slug, catalog.get(slug)) for slug in sorted(corpus["datasets"])]


def dataset_stats(folder: Path, slug: str, entry: Entry | None) -> dict[str, Any]:
    """The measurements of one dataset's folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder}: no manifest.json")
    annotations = index.read_columns(folder / index.ANNOTATIONS, ["split", "concept", "area"])
    images = Counter(index.read_columns(folder / index.INDEX, ["split"])["split"].to_pylist())
    areas: dict[str, list[int]] = {split: [] for split in SPLITS}
    for split, area in zip(annotations["split"].to_pylist(), annotations["area"].to_pylist(), strict=True):
        areas[split].append(area)
    return {
        "slug": slug,
        **_figures(sum(images.values()), [area for part in areas.values() for area in part]),
        "splits": {split: _figures(images[split], areas[split]) for split in SPLITS},
        "concepts": dict(sorted(Counter(annotations["concept"].to_pylist()).items())),
        "rejects": sum(manifest["counts"]["rejects"].values()),
        "slices": manifest["policy"]["slices"],
        "table1": table1(folder, entry, manifest["policy"]["slices"]),
    }


def table1(folder: Path, entry: Entry | None, slices: str = SLICES) -> dict[str, Any] | None:
    """Images, annotations and median area (px) as the paper's rule measures them.

    None without such a rule, and for volumes of which the rule needs slices that the corpus may not hold.
    """
    if entry is None or entry.paper is None:
        return None
    rule = entry.paper.rule
    table = index.read_columns(
        folder / index.INDEX, ["name", "key", "volume", "slice", "slices", "table1_areas"]
    )
    rows = sorted(table.to_pylist(), key=lambda row: row["key"])
    if any(row["volume"] is not None for row in rows) and not _enough(slices, rule):
        return None
    kept = [row for row in _by_rule(rows, rule.slices) if row["table1_areas"] is not None]
    areas = [area for row in kept for area in row["table1_areas"]]
    measured = areas
    if rule.median_over == "train":
        splits = paper_split([row["name"] for row in kept], VAL_FRACTION, SEED)
        measured = [
            a for row, split in zip(kept, splits, strict=True) if split == TRAIN for a in row["table1_areas"]
        ]
    return {"images": len(kept), "annotations": len(areas), "median_area": _median(measured)}


def _enough(stored: str, rule: PaperRule) -> bool:
    """True when a corpus with these slices of each volume holds all that the rule counts."""
    if stored == "annotated":  # a slice without annotation counts where the rule keeps empty images
        return rule.drop_empty or rule.slices == "largest"
    return stored in ("all", rule.slices)


def _by_rule(rows: Sequence[dict[str, Any]], slices: str) -> list[dict[str, Any]]:
    """The rows whose slice the rule takes: all, one a volume, or the middle one; pictures that are no slice stay."""
    if slices == "middle":
        return [r for r in rows if r["volume"] is None or r["slice"] == r["slices"] // 2]
    if slices == "largest":
        largest: dict[str, dict[str, Any]] = {}
        for row in sorted((r for r in rows if r["volume"] is not None), key=lambda r: r["slice"]):
            best = largest.setdefault(row["volume"], row)
            if sum(row["table1_areas"] or ()) > sum(best["table1_areas"] or ()):
                largest[row["volume"]] = row
        return [r for r in rows if r["volume"] is None or r is largest[r["volume"]]]
    return list(rows)


def _figures(images: int, areas: Sequence[int]) -> dict[str, Any]:
    return {"images": images, "annotations": len(areas), "median_area": _median(areas)}


def _median(areas: Sequence[int]) -> float | None:
    return float(statistics.median(areas)) if areas else None
