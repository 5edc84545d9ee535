"""What a run reads: concepts that the user knows to be absent, and the split that is validated on."""

from pathlib import Path

import pytest

from medshards.shards.read.chain import CorpusError
from medshards.train.data.open import Data, open_data
from medshards.train.data.plan import Request
from medshards.train.run.config import load_config


def opened(corpus: Path, *overrides: str) -> Data:
    return open_data(load_config("tiny", ("data.impossible=false", *overrides)), str(corpus), 112)


def prompts(data: Data, slug: str) -> set[tuple[str, bool]]:
    """(concept, present) of everything asked of a dataset in three epochs."""
    samples = data.samples
    places = [k for k in range(len(samples.corpus)) if samples.corpus.place(k)[0] == slug]
    return {
        (prompt.concept, prompt.instances > 0)
        for epoch in range(3)
        for place in places
        for prompt in samples[Request(epoch, place)].prompts
    }


def test_concepts_known_to_be_absent_become_negative_prompts(corpus: Path) -> None:
    own = {("retinal_vessel", True)}
    assert prompts(opened(corpus), "drive") == own
    more = opened(corpus, "data.absent={drive: [polyp, gland, skin_lesion]}")
    assert prompts(more, "drive") == own | {("polyp", False), ("gland", False), ("skin_lesion", False)}
    assert not any(concept == "polyp" for concept, _ in prompts(more, "busi"))
    samples = more.samples
    drive = next(k for k in range(len(samples.corpus)) if samples.corpus.place(k)[0] == "drive")
    assert sum(not p.instances for p in samples[Request(0, drive)].prompts) == 2  # max_negatives_per_image
    none = opened(corpus, "data.absent={drive: [polyp]}", "data.max_negatives_per_image=0")
    assert prompts(none, "drive") == own


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("{busi: [polyp, benign_breast_lesion]}", "no image of busi shows benign_breast_lesion"),
        ("{busi: [breast_lesion]}", "its annotations name benign_breast_lesion, malignant_breast_lesion"),
        ("{drive: [polip]}", "drive: no concept has the id 'polip'.*polyp"),
        ("{kvasir: [polyp]}", r"data\.absent names kvasir"),
    ],
)
def test_what_cannot_be_absent_is_refused(corpus: Path, absent: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        opened(corpus, f"data.absent={absent}")


def test_a_run_may_be_validated_on_its_training_images(corpus: Path) -> None:
    data = opened(corpus, "run.validate_on=train")
    names = [data.held_out.corpus.name(k) for k in range(len(data.held_out.corpus))]
    assert names == [data.samples.corpus.name(k) for k in range(len(data.samples.corpus))]
    other = opened(corpus).held_out.corpus
    assert not {other.name(k) for k in range(len(other))} & set(names)


def test_what_a_kind_of_picture_cannot_show_becomes_a_negative_prompt(corpus: Path) -> None:
    """A fundus photograph shows no breast lesion, whoever annotated what; its own neighbours are never taken."""
    default, alone = opened(corpus, "data.impossible=true"), opened(corpus, "data.impossible=false")
    assert default.samples.builder.config.absent["drive"] == [
        "benign_breast_lesion",
        "malignant_breast_lesion",
    ]
    assert set(default.samples.builder.config.absent["busi"]) == {
        "retinal_artery",
        "retinal_vein",
        "retinal_vessel",
    }
    assert alone.samples.builder.config.absent == {}


def test_the_paper_preset_takes_annotated_negatives_alone() -> None:
    assert load_config("paper").data.impossible is False
    assert load_config("tiny").data.impossible is True
