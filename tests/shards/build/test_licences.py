"""A build bound to a use: what is left out, what is refused, and that it stays bound."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from medshards.curate import phantoms
from medshards.curate.catalog.entry import default_path
from medshards.shards.build.manifest import read_corpus
from medshards.shards.cli.build import build
from tests.shards.conftest import contents, write_phantoms

ENTRIES = yaml.safe_load(Path(default_path()).read_text(encoding="utf-8"))
COMMERCIAL = {slug for slug, entry in ENTRIES.items() if entry["licence"]["commercial"] == "yes"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Downloads of all 43 datasets; those that are not for commercial use are empty folders, and never looked into."""
    for slug in phantoms.slugs():
        (tmp_path / "raw" / slug).mkdir(parents=True)
    return write_phantoms(COMMERCIAL | {"drive", "monuseg"}, tmp_path / "raw")


def run(raw: Path, *arguments: str) -> Result:
    return CliRunner().invoke(build, [*arguments, "--raw", str(raw), "--out", str(raw.parent / "out")])


def test_a_commercial_build_leaves_out_what_the_catalog_says(raw: Path) -> None:
    result = run(raw, "--all", "--licence", "commercial", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert len(COMMERCIAL) == 4
    assert {each["slug"] for each in told["datasets"]} == COMMERCIAL
    assert told["left_out"].keys() == set(phantoms.slugs()) - COMMERCIAL
    for slug, why in told["left_out"].items():
        assert ENTRIES[slug]["licence"]["name"] in why
        assert f"{slug}: left out: " in result.stderr
        assert ("forbids" in why) == (ENTRIES[slug]["licence"]["commercial"] == "no")
    out = raw.parent / "out"
    attribution = (out / "ATTRIBUTION.md").read_text()
    assert {slug for slug in ENTRIES if f"(`{slug}`)" in attribution} == COMMERCIAL
    assert "--licence commercial" in (out / "README.md").read_text()


def test_what_is_named_and_not_allowed_is_refused_before_anything_is_built(raw: Path) -> None:
    result = run(raw, "hc18", "monuseg", "drive", "--licence", "commercial")
    assert result.exit_code == 1
    assert "monuseg: refused: its licence, CC BY-NC-SA 4.0 [stated], forbids commercial use" in result.stderr
    assert "drive: refused" in result.stderr
    assert not (raw.parent / "out").exists()
    result = run(raw, "hc18", "drive", "--licence", "commercial", "--allow-unknown")
    assert result.exit_code == 0, result.output


def test_a_corpus_stays_bound(raw: Path) -> None:
    assert run(raw, "hc18", "--licence", "commercial").exit_code == 0
    before = contents(raw.parent / "out")
    result = run(raw, "monuseg")
    assert result.exit_code == 1
    assert "monuseg: refused" in result.stderr
    assert contents(raw.parent / "out") == before
    corpus = read_corpus(raw.parent / "out")
    assert corpus is not None
    assert corpus["terms"] == {"use": "commercial", "allow_unknown": False}


def test_a_corpus_cannot_be_bound_to_what_a_dataset_in_it_forbids(raw: Path) -> None:
    assert run(raw, "monuseg").exit_code == 0
    for arguments in (("hc18",), ("--all",)):
        result = run(raw, *arguments, "--licence", "commercial")
        assert result.exit_code == 1
        assert "monuseg, which is in" in result.stderr
    corpus = read_corpus(raw.parent / "out")
    assert corpus is not None
    assert (list(corpus["datasets"]), corpus["terms"]) == (["monuseg"], None)


def test_allow_unknown_alone_is_a_mistake(raw: Path) -> None:
    assert run(raw, "hc18", "--allow-unknown").exit_code == 2
