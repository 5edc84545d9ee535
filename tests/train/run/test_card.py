"""The model card names the data, its licences and the figures; what is not free for commercial use is not hidden."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from transformers import Sam3Model

from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.corpus import write_corpus
from medshards.shards.read.chain import CorpusError
from medshards.train.cli import train
from medshards.train.run.card import licence_remarks, sources_of, start_of, write_card
from medshards.train.run.checkpoint import find, read_state
from medshards.train.run.config import load_config
from tests.train.cases import rewrite_state
from tests.train.conftest import build_corpus

CATALOG = yaml.safe_load((Path(__file__).parents[3] / "catalog.yaml").read_text())
SLUGS = (
    "coph100",
    "drive",
    "kvasir_seg",
    "ph2",
)  # permits, unknown, excludes commercial use; external: not trained on


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("mixed"), SLUGS)


@pytest.fixture(scope="module")
def exported(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with both exports, and all that it said."""
    run = tmp_path_factory.mktemp("exported") / "run"
    words = [
        "--data",
        str(mixed),
        "--out",
        str(run),
        "--config",
        "tiny",
        "--steps",
        "4",
        "--set",
        "run.overlays=0",
    ]
    result = CliRunner().invoke(train, [*words, "--export", "hf", "--export", "official"])
    assert result.exit_code == 0, result.output
    return run, result.output


def front_matter(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def row(text: str, title: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_facts_of_the_catalog_are_as_expected() -> None:
    found = {slug: CATALOG[slug]["licence"]["commercial"] for slug in SLUGS[:3]}
    assert found == {"coph100": "yes", "drive": "unknown", "kvasir_seg": "no"}
    assert CATALOG["ph2"]["role"] == "external"


def test_the_card_of_a_folder(exported: tuple[Path, str], mixed: Path) -> None:
    run, _ = exported
    card = (run / "export/hf/README.md").read_text()
    head = front_matter(card)
    assert head["library_name"] == "transformers"
    assert head["license"] == "unknown"  # random weights: nothing of SAM3 is in it
    assert "base_model" not in head
    for slug in SLUGS[:3]:
        entry = CATALOG[slug]
        cells = row(card, entry["title"])
        manifest = yaml.safe_load((mixed / slug / "manifest.json").read_text())
        assert cells[1:3] == [str(manifest["counts"]["train"]), str(manifest["counts"]["val"])]
        assert cells[3] == " ".join(entry["licence"]["name"].split())
        assert cells[4:] == [entry["licence"][key] for key in ("redistribution", "commercial", "certainty")]
    assert CATALOG["ph2"]["title"] not in card
    corpus = yaml.safe_load((mixed / "corpus.json").read_text())
    assert corpus["digest"] in card
    assert corpus["vocabulary"] in card
    for slug in SLUGS[:3]:
        assert corpus["datasets"][slug]["manifest_sha256"] in card
    assert "> **Warning.** 1 of 3 training datasets exclude commercial use: kvasir_seg." in card
    assert "1 of 3 training datasets are not known to permit commercial use: drive" in card
    score = read_state(find(run)).score
    assert score is not None
    assert f"{score:.4f}" in row(card, "**mean over datasets**")
    config = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert config == load_config(run / "config.yaml").model_dump(mode="json")
    assert str(run) not in card
    assert str(mixed) not in card
    assert "{{" not in card


def test_the_attributions_name_every_dataset(exported: tuple[Path, str]) -> None:
    run, _ = exported
    text = (run / "export/hf/ATTRIBUTION.md").read_text()
    for slug in SLUGS[:3]:
        entry = CATALOG[slug]
        assert f"## {entry['title']}" in text
        assert " ".join(entry["citation"]["text"].split()) in text
        assert entry["homepage"] in text
        if doi := entry["citation"]["doi"]:
            assert f"https://doi.org/{doi}" in text
    assert CATALOG["ph2"]["title"] not in text
    assert "SAM License" not in text


def test_both_exports_have_theirs_and_can_be_used(exported: tuple[Path, str]) -> None:
    run, _ = exported
    assert (run / "export/sam3.pt").is_file()
    assert "library_name" not in front_matter((run / "export/README.md").read_text())
    assert (run / "export/ATTRIBUTION.md").read_text() == (run / "export/hf/ATTRIBUTION.md").read_text()
    Sam3Model.from_pretrained(run / "export/hf")


def test_the_run_says_it_too(exported: tuple[Path, str]) -> None:
    _, said = exported
    assert "note: 1 of 3 training datasets exclude commercial use: kvasir_seg" in said
    assert (
        said.count("exclude commercial use: kvasir_seg") == 2
    )  # before it starts and where it tells of the export


def test_a_finished_run_says_so(exported: tuple[Path, str]) -> None:
    run, _ = exported
    assert yaml.safe_load((run / "finished.json").read_text())["step"] == 4


def test_a_free_corpus_has_no_warning(mixed: Path) -> None:
    assert licence_remarks(str(mixed), load_config("tiny", ["data.datasets=[coph100]"])) == []
    only = load_config("tiny", ["data.datasets=[coph100, kvasir_seg]", "data.weights={kvasir_seg: 0}"])
    assert licence_remarks(str(mixed), only) == []  # validated on, not trained on


def test_a_dataset_that_the_catalog_does_not_hold_counts_as_unknown(
    mixed: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    data = shutil.copytree(mixed, tmp_path / "data")
    (data / "corpus.json").unlink()
    corpus = write_corpus(
        data, "default", "none", {s: e for s, e in load_catalog().items() if s != "coph100"}
    )
    run = shutil.copytree(exported[0], tmp_path / "run")
    rewrite_state(find(run), lambda content: content.update(corpus=corpus["digest"]))
    (source,) = sources_of(str(data), load_config("tiny", ["data.datasets=[coph100]"]))
    assert source.commercial == source.redistribution == "unknown"
    write_card(tmp_path, "hf", run, str(data))
    card = (tmp_path / "README.md").read_text()
    assert row(card, "coph100")[3:] == ["unknown", "unknown", "unknown", "unverified"]
    assert "`coph100` came without a catalog entry" in (tmp_path / "ATTRIBUTION.md").read_text()


def test_the_card_of_sam3_passes_its_licence_on(
    mixed: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    """The same checkpoint as if it had started from weights on the hub, and from a file."""
    run = shutil.copytree(exported[0], tmp_path / "run")
    rewrite_state(find(run), lambda content: content["config"]["model"].update(weights="facebook/sam3@abc"))
    write_card(tmp_path, "hf", run, str(mixed))
    card = (tmp_path / "README.md").read_text()
    head = front_matter(card)
    assert (head["license"], head["license_name"]) == ("other", "sam-license")
    assert head["base_model"] == "facebook/sam3"
    assert "passed on only under the SAM License" in card
    assert "## SAM3" in (tmp_path / "ATTRIBUTION.md").read_text()

    rewrite_state(
        find(run), lambda content: content["config"]["model"].update(weights="/home/someone/sam3.pt")
    )
    write_card(tmp_path, "hf", run, str(mixed))
    card = (tmp_path / "README.md").read_text()
    assert "base_model" not in front_matter(card)
    assert "Fine-tuned from `sam3.pt`" in card
    assert "someone" not in card
    assert start_of("/home/someone/sam3.pt") == "sam3.pt"


def test_validation_on_training_images_is_not_passed_off_as_more(
    mixed: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    assert "by heart" not in (exported[0] / "export/hf/README.md").read_text()
    run = shutil.copytree(exported[0], tmp_path / "run")
    rewrite_state(find(run), lambda content: content["config"]["run"].update(validate_on="train"))
    write_card(tmp_path, "hf", run, str(mixed))
    assert "These are **training** images" in (tmp_path / "README.md").read_text()


def test_a_card_is_not_filled_from_another_corpus(
    corpus: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="would name other data"):
        write_card(tmp_path, "hf", exported[0], str(corpus))
    assert not list(tmp_path.iterdir())
