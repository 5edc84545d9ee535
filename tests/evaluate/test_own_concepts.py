"""A model of own concepts: trained, evaluated, listened to and asked without the file that defined them."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.evaluate.dataset import open_datasets
from medshards.evaluate.listening import listen
from medshards.evaluate.open import open_segmenter, vocabulary_of
from medshards.evaluate.segmenter import Baseline, Query
from medshards.train.data.open import open_data
from medshards.train.model.answers import Rule
from medshards.train.model.weights import WeightsError
from medshards.train.run.config import load_config
from tests.command import medshards
from tests.own_datasets import build, imported


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with one own dataset; its concepts' file is gone."""
    folder = tmp_path_factory.mktemp("own")
    imported(folder, "grains", "mycetoma_grain")
    status, told = build(folder, "grains")
    assert status == 0, told
    shutil.rmtree(folder / "grains")
    return folder / "corpus"


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words: list[str | Path] = [
        "train",
        "--data",
        corpus,
        "--out",
        out,
        "--config",
        "tiny",
        "--set",
        "run.steps=1",
    ]
    done = medshards(*words, "--set", "data.prompt_text=synonyms", "--export", "hf", "--export", "official")
    assert done.exit_code == 0, done.output
    return out


def test_training_knows_the_names_and_assumes_nothing_absent(corpus: Path) -> None:
    data = open_data(load_config("tiny", ()), str(corpus), 112)
    assert data.samples.builder.names["mycetoma_grain"] == ("mycetoma grain", "fungal grain")
    assert data.held_out.builder.listening == {"grains": {}}, "no scene tells what its pictures cannot show"


def test_the_licence_reaches_the_model_card(run: Path) -> None:
    for name in ("README.md", "ATTRIBUTION.md"):
        assert "Grain licence 7" in (run / "export/hf" / name).read_text()


def test_listening_says_it_in_other_words(corpus: Path) -> None:
    found = listen(Baseline("everything"), open_datasets(corpus), Rule("top1", 0.1))
    assert found["dice_change"]["synonym"]["images"] == 1
    assert found["asked"]["impossible"] == 0


def test_a_foreign_concept_is_none_that_the_dataset_is_a_part_of(corpus: Path) -> None:
    (dataset,) = open_datasets(corpus, absent=["mycetoma", "skin_lesion", "polyp"])
    assert list(dataset.foreign) == ["polyp"]


def test_evaluate_and_prompts_know_the_texts(corpus: Path, tmp_path: Path) -> None:
    done = medshards("evaluate", "--data", corpus, "--checkpoint", "everything", "--out", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    assert "mycetoma_grain" in (tmp_path / "a.json").read_text()
    shutil.copytree(corpus, tmp_path / "corpus")
    done = medshards("prompts", "build", tmp_path / "corpus")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("what", ["", "export/hf", "export/sam3.pt"])
def test_predict_asks_a_synonym_by_the_own_text(run: Path, corpus: Path, tmp_path: Path, what: str) -> None:
    image = corpus.parent / "raw/grains/images/1.png"
    words: list[str | Path] = [
        "predict",
        image,
        "--checkpoint",
        run / what,
        "--prompt",
        "fungal grain",
        "--canonical",
        "--json",
    ]
    done = medshards(*words, "--out", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["outside_vocabulary"] == []
    assert list(told["inputs"][0]["found"]) == ["mycetoma grain"]


def test_the_own_concepts_go_with_an_export(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "export/hf", tmp_path / "moved")
    known = vocabulary_of(tmp_path / "moved")
    assert known.resolve("fungal grain").id == "mycetoma_grain"
    assert known.ancestors("mycetoma_grain") == ("mycetoma", "skin_lesion")
    assert (
        "| `mycetoma_grain` | mycetoma grain | fungal grain |" in (tmp_path / "moved/README.md").read_text()
    )
    (tmp_path / "moved/own_concepts.json").write_text('{"mycetoma_grain": 1}')
    with pytest.raises(WeightsError, match=r"own_concepts\.json is no list of concepts"):
        vocabulary_of(tmp_path / "moved")


def test_predictions_in_a_folder_named_by_an_own_id(tmp_path: Path) -> None:
    (tmp_path / "grain_7").mkdir()
    PIL.Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "grain_7/a.png")
    query = Query("grains/a", np.zeros((4, 4), np.uint8), ("fungal grain",))
    [[answer]] = open_segmenter(tmp_path, ids={"fungal grain": "grain_7"}).segment([query])
    assert answer.score == 1
