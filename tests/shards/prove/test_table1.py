"""The rows of Table 1 tell what agrees with Table 1, what does not and why, and what is not there."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.catalog.entry import Entry, load_catalog
from medshards.shards.build.dataset import build_dataset
from medshards.shards.prove.stats import dataset_stats
from medshards.shards.prove.table1 import compare, markdown, summary
from tests.shards.conftest import Build

CATALOG = load_catalog()
ROWS = [slug for slug, entry in CATALOG.items() if entry.paper is not None]


def _printed(slug: str, **figures: Any) -> dict[str, Entry]:
    """The catalog, with other printed figures of one dataset."""
    entry = CATALOG[slug]
    assert entry.paper is not None
    return CATALOG | {slug: entry.model_copy(update={"paper": entry.paper.model_copy(update=figures)})}


def _measured(slug: str, images: int, annotations: int, median: float | None) -> dict[str, Any]:
    return {"slug": slug, "table1": {"images": images, "annotations": annotations, "median_area": median}}


def test_every_row_of_the_table_stands_there_and_adds_up() -> None:
    rows = compare([], CATALOG)
    assert [row.slug for row in rows] == ROWS
    assert len(rows) == 33
    assert {row.reason for row in rows} == {"not in this corpus"}
    assert "0 of 76,956 images, 0 of 263,705 annotations" in summary(rows)
    assert markdown(rows).count("\n| ") == 33


@pytest.mark.parametrize(
    ("median", "agrees"), [(28176.0, True), (28175.5, True), (28175.0, False), (None, False)]
)
def test_a_median_agrees_when_rounding_gives_the_printed_one(median: float | None, agrees: bool) -> None:
    (row,) = [r for r in compare([_measured("drive", 20, 20, median)], CATALOG) if r.slug == "drive"]
    assert row.agreements == (True, True, agrees)
    assert (row.reason == "") == agrees


def test_reasons() -> None:
    def reason(slug: str, images: int) -> str:
        return next(r.reason for r in compare([_measured(slug, images, 1, 1.0)], CATALOG) if r.slug == slug)

    known, guessed = CATALOG["bus_uclm"].paper, CATALOG["covid_qu_ex"].paper
    assert known is not None
    assert guessed is not None
    assert reason("bus_uclm", 3) == "no complete copy: the rule is known to give 264 images on one"
    assert reason("bus_uclm", 264) == known.note.strip()
    assert reason("covid_qu_ex", 3) == guessed.note.strip()
    (row,) = [
        r
        for r in compare([{"slug": "acouslic", "slices": "every 5", "table1": None}], CATALOG)
        if r.slug == "acouslic"
    ]
    assert row.measured is None
    assert "every 5" in row.reason


def test_a_corpus_beside_its_row(build: Build, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(out)
    told = CliRunner().invoke(cli, ["stats", str(out), "--paper", "--json"])
    rows = {row["slug"]: row for row in json.loads(told.output)["table1"]}
    assert rows["drive"]["measured"][:2] == [6, 6]  # six training images are drawn, one tree each
    assert rows["drive"]["agreements"] == [False, False, False]
    assert rows["busi"]["measured"] is None
    text = CliRunner().invoke(cli, ["stats", str(out), "--paper"]).output
    assert all(slug in text for slug in ROWS)
    assert "drive: no complete copy" in text
    table = CliRunner().invoke(cli, ["stats", str(out), "--markdown"]).output
    assert [line.count("|") for line in table.splitlines() if line.startswith("|")] == [5] * 35
    assert "- `drive`: no complete copy" in table


def test_agreement_is_marked(raw: Path, tmp_path: Path) -> None:
    build_dataset(CATALOG["drive"], raw / "drive", tmp_path / "out")
    catalog = _printed("drive", images=6, annotations=6)
    rows = compare([dataset_stats(tmp_path / "out/drive", "drive", catalog["drive"])], catalog)
    assert "| 6 / 6 / 28,176 | 6✓ / 6✓ / " in markdown(rows)


def test_two_forms_at_once_are_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["stats", str(tmp_path), "--markdown", "--json"]).exit_code == 2
