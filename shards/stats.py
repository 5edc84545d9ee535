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

import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog import Entry
from shards import index
from shards.manifest import CORPUS, read_corpus, read_manifest
from shards.policy import SEED, VAL_FRACTION
from shards.split import SPLITS, TRAIN, paper_split


def corpus_stats(out: Path, catalog: dict[str, Entry]) -> list[dict[str, Any]]:
    """The measurements of every dataset of the corpus at `out`, by slug.

    Each: slug, images, annotations, median_area (px; None without annotation), splits {train, val, test: images,
    annotations, median_area}, concepts {id: annotations}, rejects, table1 {images, annotations, median_area} or
    None for a dataset that is not in Table 1. Raises FileNotFoundError when there is no corpus.
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
    annotations = pq.read_table(folder / index.ANNOTATIONS, columns=["split", "concept", "area"])
    images = Counter(pq.read_table(folder / index.INDEX, columns=["split"])["split"].to_pylist())
    splits = {}
    for split in SPLITS:
        areas = annotations.filter(pc.equal(annotations["split"], split))["area"]
        splits[split] = _figures(images[split], areas.to_pylist())
    return {
        "slug": slug,
        **_figures(sum(images.values()), annotations["area"].to_pylist()),
        "splits": splits,
        "concepts": dict(sorted(Counter(annotations["concept"].to_pylist()).items())),
        "rejects": sum(manifest["counts"]["rejects"].values()),
        "table1": table1(folder, entry),
    }


def table1(folder: Path, entry: Entry | None) -> dict[str, Any] | None:
    """Images, annotations and median area (px) as the paper's rule measures them; None without such a rule."""
    if entry is None or entry.paper is None:
        return None
    table = pq.read_table(folder / index.INDEX, columns=["name", "key", "table1_areas"])
    kept = [row for row in table.to_pylist() if row["table1_areas"] is not None]
    kept.sort(key=lambda row: row["key"])
    areas = [area for row in kept for area in row["table1_areas"]]
    measured = areas
    if entry.paper.rule.median_over == "train":
        splits = paper_split([row["name"] for row in kept], VAL_FRACTION, SEED)
        measured = [
            a for row, split in zip(kept, splits, strict=True) if split == TRAIN for a in row["table1_areas"]
        ]
    return {"images": len(kept), "annotations": len(areas), "median_area": _median(measured)}


def _figures(images: int, areas: Sequence[int]) -> dict[str, Any]:
    return {"images": images, "annotations": len(areas), "median_area": _median(areas)}


def _median(areas: Sequence[int]) -> float | None:
    return float(statistics.median(areas)) if areas else None
