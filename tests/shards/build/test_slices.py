"""Which slices of a volume are stored, and that the paper's figures come out whatever is."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.source import get_source, slugs
from medshards.shards.build import index
from medshards.shards.build.dataset import build_dataset
from medshards.shards.encode.policy import Making
from medshards.shards.prove.stats import dataset_stats, table1

CATALOG = load_catalog()
ONE_A_VOLUME = [s for s in slugs() if (p := CATALOG[s].paper) is not None and p.rule.slices != "all"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    phantoms.write_phantom(
        "mucic_hl60", tmp_path / "raw/mucic_hl60"
    )  # 3 volumes of 4 slices, the inner 2 annotated
    return tmp_path / "raw"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("all", [0, 1, 2, 3]),
        ("annotated", [1, 2]),
        ("largest", [1]),
        ("middle", [2]),
        ("every:3", [0, 3]),
    ],
)
def test_the_rule_decides_what_is_stored(raw: Path, tmp_path: Path, rule: str, expected: list[int]) -> None:
    command = ["build", "mucic_hl60", "--raw", str(raw), "--out", str(tmp_path / "out"), "--slices", rule]
    assert CliRunner().invoke(cli, command).exit_code == 0
    stored: dict[str, list[int]] = {}
    for row in index.read_rows(tmp_path / "out/mucic_hl60" / index.INDEX):
        stored.setdefault(row["volume"], []).append(row["slice"])
        assert row["slices"] == 4
    assert len(stored) == 3
    assert all(sorted(slices) == expected for slices in stored.values())
    figures = dataset_stats(tmp_path / "out/mucic_hl60", "mucic_hl60", CATALOG["mucic_hl60"])
    assert figures["slices"] == rule.replace(":", " ")
    if rule in ("every:3", "largest"):  # the middle slice, which the paper's rule takes, may not be there
        assert figures["table1"] is None
    else:
        assert (figures["table1"]["images"], figures["table1"]["annotations"]) == (3, 9)
    assert get_source("mucic_hl60").slices == "annotated", "the shared converter stays as it is"


def test_another_rule_redoes_the_cases(raw: Path, tmp_path: Path) -> None:
    entry = CATALOG["mucic_hl60"]
    for rule, encoded in (("annotated", 3), ("annotated", 0), ("all", 3)):
        result = build_dataset(entry, raw / "mucic_hl60", tmp_path / "out", Making(slices=rule))
        assert result.encoded == encoded


@pytest.mark.parametrize("slug", ONE_A_VOLUME)
def test_the_papers_slice_is_found_among_all(slug: str, tmp_path: Path) -> None:
    phantoms.write_phantom(slug, tmp_path / "raw")
    found = []
    for name, making in {
        "paper": Making("paper"),
        "annotated": Making(),
        "all": Making(slices="all"),
    }.items():
        build_dataset(CATALOG[slug], tmp_path / "raw", tmp_path / name, making)
        found.append(dataset_stats(tmp_path / name / slug, slug, CATALOG[slug]))
    assert found[0]["table1"] == found[1]["table1"] == found[2]["table1"]
    assert found[0]["images"] == found[0]["table1"]["images"]
    assert found[0]["annotations"] == found[0]["table1"]["annotations"]
    assert found[0]["images"] < found[1]["images"] <= found[2]["images"]


def test_largest_is_the_first_of_the_most_annotated(raw: Path, tmp_path: Path) -> None:
    entry = CATALOG["mucic_hl60"]
    assert entry.paper is not None
    largest = entry.paper.model_copy(
        update={"rule": entry.paper.rule.model_copy(update={"slices": "largest"})}
    )
    entry = entry.model_copy(update={"paper": largest})
    build_dataset(entry, raw / "mucic_hl60", tmp_path / "out")
    measured = table1(tmp_path / "out/mucic_hl60", entry)
    assert measured is not None
    assert (measured["images"], measured["annotations"]) == (3, 9)


@pytest.mark.parametrize(
    "words", [["--slices", "every:0"], ["--slices", "some"], ["--slices", "all", "--profile", "paper"]]
)
@pytest.mark.parametrize("command", [["build", "--out", "x"], ["inspect"]])
def test_what_cannot_be_is_wrong_usage(raw: Path, words: list[str], command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "mucic_hl60", "--raw", str(raw), *words])
    assert result.exit_code == 2
    assert "slices" in result.output


def test_inspect_foretells_the_build(raw: Path) -> None:
    words = ["inspect", "mucic_hl60", "--raw", str(raw), "--slices", "all", "--max-side", "20"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0
    assert "3 cases: 12 samples" in result.output
