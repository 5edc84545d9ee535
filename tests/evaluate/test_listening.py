"""The listening report, of models whose answers are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medshards.evaluate.dataset import open_datasets
from medshards.evaluate.listening import EVERYDAY, IMPOSSIBLE, listen, reworded, rows
from medshards.evaluate.segmenter import Baseline, Query
from medshards.train.model.answers import Answer, Rule
from medshards.vocab.vocabulary import Vocabulary

RULE = Rule("top1", 0.1)


class Reader(Baseline):
    """Answers every text that is written in small letters and names a vessel with the whole image."""

    def segment(
        self, queries: Sequence[Query], floor: float = 0.5, semantic: bool = False
    ) -> list[list[Answer]]:
        whole, none = Baseline("everything"), Baseline("empty")
        return [
            [
                (whole if "vessel" in text and text.islower() else none)._answer(query.size, semantic)
                for text in query.texts
            ]
            for query in queries
        ]


def test_a_model_that_answers_everything_and_one_that_reads(corpus: Path) -> None:
    datasets = open_datasets(corpus, ["drive"], "train")
    images = len(datasets[0].corpus)
    talkative = listen(Baseline("everything"), datasets, RULE)
    assert talkative["asked"] == {
        "present": images,
        "impossible": IMPOSSIBLE * images,
        "everyday": len(EVERYDAY) * images,
    }
    assert talkative["answered"] == talkative["asked"]
    assert talkative["mcc"] == 0
    reader = listen(Reader("reader"), datasets, RULE)
    assert reader["answered"] == {"present": images, "impossible": 0, "everyday": 0}
    assert reader["mcc"] == 1
    assert reader["dice_change"]["plural"]["mean"] == 0
    assert reader["dice_change"]["upper case"]["mean"] < -0.05, "in capitals it finds nothing"
    assert set(reader["datasets"]) == {"drive"}
    table = rows(reader, talkative)
    assert table[1][1:] == [f"0 of {5 * images} (0%)", f"{5 * images} of {5 * images} (100%)"]
    assert np.isfinite([float(row[1].split()[0]) for row in table[4:]]).all()


def test_other_words_for_a_prompt() -> None:
    words = dict(reworded("retinal vessel", Vocabulary.load()["retinal_vessel"].names))
    assert words["plural"] == "retinal vessels"
    assert words["upper case"] == "RETINAL VESSEL"
    assert words["adjective"] == "small retinal vessel"
    assert words["side"] == "left retinal vessel"
    assert "side" not in dict(reworded("left lung", ["left lung"]))
    assert dict(reworded("thing", ["thing"])).keys() == {"plural", "upper case", "adjective", "side"}
