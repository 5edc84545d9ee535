"""The measurements of a corpus, and how they are shown."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from medshards.curate.catalog.entry import Entry, load_catalog
from medshards.shards.prove.stats import table1
from medshards.shards.prove.table import print_plot, print_stats, print_table1
from medshards.shards.prove.table1 import compare

CATALOG = load_catalog()


def _entry(slices: str) -> Entry:
    """An entry whose rule takes such slices of a volume."""
    entry = next(e for e in CATALOG.values() if e.paper and e.paper.rule.median_over == "all")
    assert entry.paper is not None
    rule = entry.paper.rule.model_copy(update={"slices": slices})
    return entry.model_copy(update={"paper": entry.paper.model_copy(update={"rule": rule})})


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        # the first of the slices with the greatest area in sum (10), which has one annotation
        ("largest", {"images": 1, "annotations": 1, "median_area": 10.0}),
        ("middle", {"images": 1, "annotations": 2, "median_area": 5.0}),  # slice 2 of 5
        ("all", {"images": 4, "annotations": 5, "median_area": 4.0}),
    ],
)
def test_which_slice_of_a_volume_counts(tmp_path: Path, slices: str, expected: dict[str, Any]) -> None:
    areas = {0: [3], 1: [10], 2: [4, 6], 3: [2]}
    rows = [
        {"name": f"{n}.png", "key": f"v-{n}", "volume": "v", "slice": n, "slices": 5, "table1_areas": own}
        for n, own in areas.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "index.parquet")
    assert table1(tmp_path, _entry(slices), "all") == expected


def _measured(slug: str) -> dict[str, Any]:
    """Measurements as large as those of the largest datasets."""
    part = {"images": 12345, "annotations": 234567, "median_area": 12345.5}
    return {
        "slug": slug,
        **part,
        "splits": dict.fromkeys(("train", "val", "test"), part),
        "concepts": {"polyp": 1},
        "rejects": 3,
        "slices": "annotated",
        "table1": part,
    }


def test_tables_are_whole_at_80_columns() -> None:
    slugs = [slug for slug, entry in CATALOG.items() if entry.paper is not None]
    measured = [_measured(slug) for slug in slugs]
    for show in (
        lambda console: print_stats(measured, CATALOG, console),
        lambda console: print_table1(compare(measured[::2], CATALOG), console),
        lambda console: print_plot(measured, console),
    ):
        console = Console(width=80, record=True, highlight=False)
        show(console)
        text = console.export_text()
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "…" not in text
        words = text.split()
        assert set(slugs) <= {word.rstrip(":") for word in words}
        assert "12,345" in text


def test_a_bar_is_as_long_as_its_share() -> None:
    def row(slug: str, train: int, test: int) -> dict[str, Any]:
        splits = {s: {"images": n} for s, n in (("train", train), ("val", 0), ("test", test))}
        return {"slug": slug, "images": train + test, "splits": splits}

    console = Console(width=80, record=True, highlight=False)
    print_plot([row("a", 40, 0), row("b", 10, 10)], console)
    first, second, _ = console.export_text().splitlines()
    assert first.count("█") == 4 * second.count("█") + (first.count("█") % 4)
    assert second.count("█") == second.count("░") > 10
