"""The papers of a corpus: whose data, on what terms, the same for the same corpus, proved like the rest."""

import json
import re
from pathlib import Path

import pytest
import yaml

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Reject
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.build.manifest import PAPERS
from medshards.shards.card.features import RECORD
from medshards.shards.card.text import link, markdown
from medshards.shards.encode.record import Record
from medshards.shards.prove.verify import verify
from tests.shards.conftest import SLUGS, Build


def test_every_dataset_is_attributed_and_no_other(corpus: Path) -> None:
    text, bibliography = ((corpus / name).read_text() for name in ("ATTRIBUTION.md", "citations.bib"))
    assert sorted(re.findall(r"^## .*\(`(\w+)`\)$", text, re.M)) == sorted(SLUGS)
    assert sorted(re.findall(r"^@misc\{(\w+),$", bibliography, re.M)) == sorted(SLUGS)
    assert bibliography.count("{") == bibliography.count("}")
    for slug in SLUGS:
        citation = load_catalog()[slug].citation
        assert (citation.doi or "") in text
        assert (citation.doi or "") in bibliography


def test_the_card_counts_what_is_there(corpus: Path) -> None:
    card = (corpus / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    infos = {info["config_name"]: info for info in front["dataset_info"]}
    for slug in SLUGS:
        counts = json.loads((corpus / slug / "manifest.json").read_bytes())["counts"]
        told = {split["name"]: split["num_examples"] for split in infos[slug]["splits"]}
        assert told == {split: counts[split] for split in ("train", "val", "test") if counts[split]}
    assert front["configs"][0]["config_name"] == "all"
    assert front["configs"][0]["default"] is True
    for picture in re.findall(r"\]\((\w+/samples\.png)\)", card):
        assert (corpus / picture).read_bytes().startswith(b"\x89PNG")


def test_every_field_of_a_record_has_a_type() -> None:
    assert RECORD.keys() == Record.__annotations__.keys()


def test_papers_are_written_anew_when_they_are_damaged_and_named_until_then(
    build: Build, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(out)
    before = {name: (out / name).read_bytes() for name in PAPERS}
    for name in PAPERS:
        (out / name).write_bytes(before[name][:-1])
    assert [problem.file for problem in verify(out)] == list(PAPERS)
    for name in PAPERS:
        (out / name).unlink()
    assert {(problem.file, problem.what) for problem in verify(out)} == {(n, "is missing") for n in PAPERS}
    build(out)
    assert verify(out) == []
    assert {name: (out / name).read_bytes() for name in PAPERS} == before


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_of_somebody_else_stops_the_build(build: Build, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("years of work")
    with pytest.raises(Reject, match="choose another --out"):
        build(out)
    with pytest.raises(Reject, match="choose another --out"):
        write_corpus(out, "default", "none")
    assert {path.name: path.read_text() for path in out.iterdir() if path.is_file()} == {
        name: "years of work"
    }


def test_papers_that_an_interrupted_build_left_are_its_own(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(out)
    before = (out / "corpus.json").read_bytes()
    (out / "corpus.json").unlink()
    build(out)
    assert (out / "corpus.json").read_bytes() == before


def test_what_a_dataset_is_goes_with_the_corpus(build: Build, raw: Path, tmp_path: Path) -> None:
    """A later build that does not know the entry of a dataset keeps what the corpus says of it."""
    out = tmp_path / "out"
    build(out)
    write_corpus(out, "default", "none", load_catalog())
    phantoms.write_phantom("ravir", tmp_path / "ravir")
    build_dataset(load_catalog()["ravir"], tmp_path / "ravir", out)
    corpus = write_corpus(out, "default", "none")
    assert corpus["datasets"]["drive"]["about"]["title"] == load_catalog()["drive"].title
    assert corpus["datasets"]["ravir"]["about"]["licence"]["commercial"] == "unknown"


def test_text_of_a_catalog_is_no_markup() -> None:
    assert markdown("a | b <img src=x>\n# [c](d)") == "a \\| b \\<img src=x\\> \\# \\[c\\](d)"
    assert link("https://example.org/a b>c") == "<https://example.org/a%20b%3Ec>"
