"""A score for each concept, calibrated on validation images: the best one there, never a look at test, used again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from medshards.curate.sample import Region
from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.dataset import open_datasets, truth_of
from medshards.evaluate.predict.cli import predict
from medshards.evaluate.segmenter import Query
from medshards.evaluate.thresholds import Thresholds, calibrate
from medshards.shards.build.corpus import write_corpus
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.decode import decode
from medshards.train.model.answers import Answer, Found, Rule


class Knowing:
    """Finds what is there with a score of 0.4, and claims with 0.3 what is not; asked of samples of one split."""

    batch = 1

    def __init__(self, corpus: Path, split: str) -> None:
        self.asked: list[str] = []
        self.truth: dict[str, dict[str, Any]] = {}
        for dataset in open_datasets(corpus, split=split):
            for number in range(len(dataset.corpus)):
                own = truth_of(decode(dataset.corpus.read(number)))
                self.truth[dataset.corpus.name(number)] = {dataset.texts[c]: mask for c, mask in own.items()}

    def facts(self) -> dict[str, Any]:
        return {}

    def segment(
        self, queries: Sequence[Query], floor: float = 0.5, semantic: bool = False
    ) -> list[list[Answer]]:
        self.asked += [query.name for query in queries]
        return [[self._answer(query, text) for text in query.texts] for query in queries]

    def _answer(self, query: Query, text: str) -> Answer:
        there = self.truth[query.name].get(text)
        mask = np.ones(query.size, bool) if there is None else there
        region = Region.of(mask)
        score = 0.3 if there is None else 0.4
        return Answer(query.size, score, (Found(score, region, region.crop.astype(np.float32)),))


@pytest.mark.parametrize("aggregate", ["top1", "union"])
def test_the_best_score_on_validation_images_is_found(corpus: Path, aggregate: Any) -> None:
    knowing = Knowing(corpus, "val")
    own = Rule(aggregate, 0.5)
    concepts = {"benign_breast_lesion", "malignant_breast_lesion", "retinal_vein", "polyp"}
    found = calibrate(knowing, corpus, concepts, own, {})
    assert set(knowing.asked) == {name for name in knowing.truth if name.startswith(("busi/", "ravir/"))}
    lesions = [found.concepts[c] for c in ("benign_breast_lesion", "malignant_breast_lesion")]
    assert sum(c["present"] for c in lesions) < sum(c["images"] for c in lesions)  # some are absent
    for concept in lesions:
        if 0 < concept["present"] < concept["images"]:
            assert 0.3 < concept["min_score"] <= 0.4
            assert concept["dice"] == 1
    assert found.concepts["retinal_vein"]["min_score"] <= 0.4
    assert found.concepts["retinal_vein"]["dice_uncalibrated"] == 0  # at 0.5 nothing is left
    assert found.uncalibrated == ["polyp"]
    assert found.rule.of("polyp") == own


def test_a_corpus_without_validation_split_is_refused(corpus: Path, tmp_path: Path) -> None:
    options = ["--data", corpus, "--checkpoint", "everything", "--datasets", "ph2", "--threshold", "auto"]
    only = tmp_path / "external"
    only.mkdir()
    (only / "ph2").symlink_to(corpus / "ph2")
    write_corpus(only, "default", "none")
    with pytest.raises(
        CorpusError, match="no validation split, and scores are never calibrated on test images"
    ):
        calibrate(Knowing(only, "test"), only, {"skin_lesion"}, Rule("top1", 0.1), {})
    options[1] = only
    result = call(evaluate, *options, "--out", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "no validation split" in result.stderr
    assert not (tmp_path / "r.thresholds.json").exists()


def call(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_scores_are_written_used_and_used_again(corpus: Path, run: Path, tmp_path: Path) -> None:
    options = ["--data", corpus, "--checkpoint", run, "--datasets", "busi,ph2", "--distances", "none"]
    assert "give --out" in call(evaluate, *options, "--threshold", "auto").stderr
    out = tmp_path / "report.json"
    result = call(evaluate, *options, "--threshold", "auto", "--out", out)
    assert result.exit_code == 0, result.output
    assert "mask of a class: top1, calibrated score" in result.stdout
    path = tmp_path / "report.thresholds.json"
    content = json.loads(path.read_text())
    assert set(content["concepts"]) == {"benign_breast_lesion", "malignant_breast_lesion"}
    assert content["uncalibrated"] == ["skin_lesion"]  # ph2 has test images alone
    assert content["made"]["calibrated_on"] == "busi (val)"
    first = json.loads(out.read_text())["mean_of_datasets"][0]
    assert first["calibrated"] == {c: own["min_score"] for c, own in content["concepts"].items()}
    again = call(evaluate, *options, "--threshold", path, "--out", tmp_path / "again.json")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()

    image = next((corpus.parent / "raw" / "busi").rglob("benign (1).png"))
    words = [image, "--checkpoint", run, "--prompt", "benign breast lesion", "--out", tmp_path / "p"]
    shown = call(predict, *words, "--thresholds", path, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["made"]["mask"] == "top1, calibrated score"
    refused = call(predict, *words, "--thresholds", path, "--min-score", "0.3")
    assert refused.exit_code == 2
    path.write_text('{"format": "other"}')
    broken = call(predict, *words, "--thresholds", path)
    assert broken.exit_code == 1
    assert "its format is 'other'" in broken.stderr


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rule = Rule("union", 0.5, (("polyp", 0.35),))
    made = Thresholds(rule, {"polyp": {"min_score": 0.35}}, ["liver"], {"corpus": "x"})
    made.write(tmp_path / "t.json")
    assert Thresholds.read(tmp_path / "t.json") == made
