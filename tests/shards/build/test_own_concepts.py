"""Concepts of a user's own: datasets are built with them together, know them without the file, follow an edit."""

import json
import shutil
from pathlib import Path

import pytest

from medshards.curate.source import get_source
from medshards.shards.build.manifest import read_manifest
from medshards.shards.read.corpus import Corpus
from tests.command import medshards
from tests.own_datasets import build, imported


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two own datasets, in one build; one labels with the user's concept, the other with its parent and no less."""
    folder = tmp_path_factory.mktemp("own")
    imported(folder, "grains", "mycetoma_grain")
    imported(folder, "lumps", "mycetoma")
    status, told = build(folder, "grains", "lumps")
    assert (status, "12 samples of 2 datasets" in told) == (0, True), told
    return folder


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "own")
    return tmp_path / "own"


def test_the_corpus_knows_the_concepts_without_the_file(copied: Path) -> None:
    for slug in ("grains", "lumps"):
        shutil.rmtree(copied / slug)
    assert medshards("verify", copied / "corpus").output.startswith("clean")
    vocabulary = Corpus.open(copied / "corpus").vocabulary
    assert vocabulary["mycetoma_grain"].names == ("mycetoma grain", "fungal grain")
    assert vocabulary.ancestors("mycetoma_grain") == ("mycetoma", "skin_lesion")
    assert [concept.id for concept in vocabulary.own] == ["mycetoma", "mycetoma_grain"], "and no unused one"
    assert medshards("export", copied / "corpus", "--to", "coco", "--out", copied / "coco").exit_code == 0
    told = json.loads((copied / "coco/annotations/instances_train.json").read_text())
    assert {"mycetoma grain", "mycetoma"} <= {category["name"] for category in told["categories"]}


def test_licence_and_citation_of_the_entry_reach_the_papers(built: Path) -> None:
    for name in ("README.md", "ATTRIBUTION.md", "corpus.json"):
        assert "Grain licence 7" in (built / "corpus" / name).read_text()
    assert "Nobody, Grains, 2026" in (built / "corpus/ATTRIBUTION.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("[fungal grain]", "[fungal grain, black grain]", True),
        ("text: mycetoma,", "text: madura foot,", True),
        ("spare thing", "sparest thing", False),
    ],
)
def test_an_edited_concept_redoes_what_uses_it(copied: Path, old: str, new: str, again: bool) -> None:
    concepts = copied / "grains/concepts.yaml"
    concepts.write_text(concepts.read_text().replace(old, new))
    assert ("up to date" in build(copied, "grains")[1]) != again


def test_two_datasets_that_disagree_are_named(copied: Path) -> None:
    concepts = copied / "lumps/concepts.yaml"
    concepts.write_text(concepts.read_text().replace("text: mycetoma,", "text: madura foot,"))
    status, told = build(copied, "lumps")
    assert status == 1
    assert "grains and lumps mean different concepts by 'mycetoma'" in told
    with pytest.raises(Exception, match="grains and lumps mean different concepts"):
        assert Corpus.open(copied / "corpus").vocabulary


def test_a_concept_is_absent_where_its_dataset_says_so_alone(built: Path) -> None:
    for slug, concept in {"grains": "mycetoma_grain", "lumps": "mycetoma"}.items():
        splits = [Corpus.open(built / "corpus", split, [slug]) for split in ("train", "val")]
        absent = [
            c
            for s in splits
            for table in s.tables.values()
            for row in table["absent"].to_pylist()
            for c in row
        ]
        assert absent == [concept]


def test_one_file_of_concepts_serves_every_folder(built: Path, tmp_path: Path) -> None:
    own: list[str | Path] = []
    for slug in ("grains", "lumps"):
        shutil.copytree(built / slug, tmp_path / slug)
        (tmp_path / slug / "concepts.yaml").unlink()
        own += ["--own", tmp_path / slug]
    get_source.cache_clear()
    words: list[str | Path] = [
        "build",
        "grains",
        "lumps",
        "--raw",
        built / "raw",
        "--out",
        tmp_path / "corpus",
        *own,
    ]
    done = medshards(*words)
    assert (done.exit_code, "unknown concept" in done.output) == (1, True)
    assert len(done.output.splitlines()) == 1
    get_source.cache_clear()
    assert medshards(*words, "--concepts", built / "concepts.yaml").exit_code == 0
    made, other = (read_manifest(folder / "corpus/grains") for folder in (tmp_path, built))
    assert made is not None
    assert other is not None
    assert made["policy"] == other["policy"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--concepts", "concepts.yaml"], "--concepts goes with --own or --source"),
        (["--own", "raw"], "no catalog.yaml"),
        (["--own", "grains", "--own", "grains"], "grains is given twice"),
    ],
)
def test_what_does_not_go_together_is_told(
    built: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(built)
    done = medshards("build", "grains", "--raw", "raw", "--out", "other", *words)
    assert done.exit_code != 0
    assert expected in done.output
    assert not (built / "other").exists()


def test_all_builds_own_datasets_too(built: Path, tmp_path: Path) -> None:
    get_source.cache_clear()
    own: list[str | Path] = ["--own", built / "grains", "--own", built / "lumps"]
    done = medshards("build", "--all", "--raw", built / "raw", "--out", tmp_path / "corpus", "--json", *own)
    assert [row["slug"] for row in json.loads(done.stdout)["datasets"]] == ["grains", "lumps"]
