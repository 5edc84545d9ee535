"""Negatives that cannot be wrong: what the 43 datasets' pictures cannot show."""

from pathlib import Path

import pytest

from medshards.vocab.concept import VocabularyError
from medshards.vocab.scenes import impossible, load_scenes
from medshards.vocab.vocabulary import Vocabulary, load_labels, slugs


def test_every_dataset_has_a_scene() -> None:
    named = [slug for scene in load_scenes().values() for slug in scene.datasets]
    assert sorted(named) == sorted(slugs())


@pytest.mark.parametrize("slug", slugs())
def test_nothing_annotated_is_impossible_nor_broader(slug: str) -> None:
    vocabulary = Vocabulary.load()
    wrong = [
        (concept, own)
        for concept in impossible(slug)
        for own in load_labels(slug).concepts
        if concept == own or concept in vocabulary.ancestors(own)
    ]
    assert not wrong


@pytest.mark.parametrize("slug", slugs())
def test_every_dataset_has_a_negative(slug: str) -> None:
    assert len(impossible(slug)) >= 5


@pytest.mark.parametrize(
    ("slug", "never", "perhaps"),
    [
        # unannotated neighbours that such an image may well show, and what it cannot
        (
            "kvasir_seg",
            "skin_lesion breast_lesion fetal_head aorta mitochondrion",
            "blood grasper polyp colon",
        ),
        ("drive", "polyp kidney pneumothorax cell_nucleus", "optic_disc optic_cup blood_vessel artery"),
        (
            "busi",
            "polyp skin_lesion brachial_plexus_nerve optic_disc",
            "fat lung blood_vessel necrosis_or_debris",
        ),
        (
            "chest_xray_masks",
            "polyp optic_disc cell_nucleus",
            "heart pneumothorax covid_19_infection aorta trocar",
        ),
        ("glas", "grasper fetal_head optic_cup", "cell_nucleus blood_vessel colon polyp"),
        ("hc18", "polyp breast_lesion mitochondrion", "brain placental_vessel heart"),
        ("btcv", "cell_nucleus retinal_vein", "lung heart colon prostate polyp"),
        ("nucmm_z", "polyp liver grasper", "mitochondrion blood_vessel brain"),
    ],
)
def test_looked_at_one_by_one(slug: str, never: str, perhaps: str) -> None:
    found = impossible(slug)
    assert set(never.split()) <= found
    assert not set(perhaps.split()) & found


def test_a_dataset_of_the_user_has_none() -> None:
    assert impossible("my_own_data") == frozenset()


def test_mistakes_in_the_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "scenes.yaml"
    file.write_text(
        "a: {datasets: [drive], concepts: [polip], kinds: [organ]}\nb: {datasets: [drive], see: 1}\n"
    )
    with pytest.raises(VocabularyError) as error:
        load_scenes(file)
    text = str(error.value)
    assert "scenes.yaml:1: a: concepts names 'polip', which is no concept; did you mean 'polyp'" in text
    assert "unknown kind 'organ'" in text
    assert "unknown field 'see'" in text
    assert "drive is in a and b" in text
