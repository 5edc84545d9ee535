"""The shipped concepts: names, parents, SNOMED CT codes; and what a wrong file is told."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts as dicom_concepts

from medshards.vocab.vocabulary import KINDS, Concept, UnknownConcept, Vocabulary, VocabularyError

VOCABULARY = Vocabulary.load()
NAMES = [(name, concept.id) for concept in VOCABULARY for name in (concept.id, *concept.names)]

# Prompts of the evaluation code of Medical SAM3 (inference/dataset_loaders.py), as the authors write them.
PAPER_PROMPTS = {
    "Retinal Blood Vessel": "retinal_vessel",
    "Polyp": "polyp",
    "Skin Lesion": "skin_lesion",
    "thyroid nodule": "thyroid_nodule",
    "fetal head": "fetal_head",
}


@st.composite
def spelled_otherwise(draw: st.DrawFn) -> tuple[str, str]:
    """A name of a concept in another case, with other blanks; and the concept's id."""
    name, concept_id = draw(st.sampled_from(NAMES))
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    cased = "".join(letter.upper() if up else letter.lower() for letter, up in zip(name, upper, strict=True))
    words = cased.replace("_", " ").split(" ")
    gaps = st.sampled_from([" ", "  ", "\t", "_", " _ ", "\n"])
    spelled = words[0] + "".join(draw(gaps) + word for word in words[1:])
    edge = st.sampled_from(["", " ", "\t "])
    return draw(edge) + spelled + draw(edge), concept_id


@given(spelled_otherwise())
def test_a_name_means_one_concept_whatever_its_case_and_blanks(spelling: tuple[str, str]) -> None:
    name, concept_id = spelling
    assert VOCABULARY.resolve(name).id == concept_id


def test_no_two_concepts_share_a_name() -> None:
    owners: dict[str, set[str]] = {}
    for name, concept_id in NAMES:
        owners.setdefault(name.replace("_", " ").lower(), set()).add(concept_id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize(("prompt", "concept_id"), PAPER_PROMPTS.items())
def test_prompts_of_the_paper_resolve(prompt: str, concept_id: str) -> None:
    assert VOCABULARY.resolve(prompt).id == concept_id


@pytest.mark.parametrize(
    "concept", [concept for concept in VOCABULARY if concept.snomed], ids=lambda concept: concept.id
)
def test_a_snomed_code_is_dicoms_code_for_a_name_of_the_concept(concept: Concept) -> None:
    assert concept.snomed is not None
    dicom: dict[str, Any] = dicom_concepts["SCT"]  # keyword: {code: (meaning, context groups)}
    meanings = {
        meaning
        for codes in dicom.values()
        for code, (meaning, _) in codes.items()
        if code == concept.snomed.code
    }
    assert concept.snomed.meaning in meanings
    assert concept.snomed.meaning.lower() in concept.names


def test_a_code_stands_at_one_concept_only() -> None:
    codes = [concept.snomed.code for concept in VOCABULARY if concept.snomed]
    assert len(codes) > 40
    assert len(codes) == len(set(codes))


def test_the_id_is_the_prompt_in_snake_case() -> None:
    assert {c.id: c.text for c in VOCABULARY if c.text.replace(" ", "_").replace("-", "_") != c.id} == {}


def test_every_kind_is_in_use() -> None:
    assert {concept.kind for concept in VOCABULARY} == set(KINDS)


@pytest.mark.parametrize(
    ("concept_id", "ancestors"),
    [
        ("retinal_artery", ("retinal_vessel", "blood_vessel")),
        ("benign_breast_lesion", ("breast_lesion",)),
        ("left_kidney", ("kidney",)),
        ("left_lung_upper_lobe", ("left_lung", "lung")),
        ("multiple_osteochondromas", ("osteochondroma", "benign_bone_tumor", "bone_tumor")),
        ("liver", ()),
    ],
)
def test_ancestors_come_nearest_first(concept_id: str, ancestors: tuple[str, ...]) -> None:
    assert VOCABULARY.ancestors(concept_id) == ancestors
    if ancestors:
        assert concept_id in VOCABULARY.children(ancestors[0])


@pytest.mark.parametrize(
    ("one", "other", "related"),
    [
        ("retinal_artery", "blood_vessel", True),
        ("left_kidney", "kidney", True),
        ("liver", "liver", True),
        ("left_kidney", "right_kidney", False),  # two parts of one thing
        ("liver", "kidney", False),
    ],
)
def test_related_is_the_same_or_broader_either_way(one: str, other: str, related: bool) -> None:
    assert VOCABULARY.related(one, other) is related
    assert VOCABULARY.related(other, one) is related


def test_iteration_is_in_order_of_id() -> None:
    ids = [concept.id for concept in VOCABULARY]
    assert ids == sorted(ids)
    assert len(ids) == len(VOCABULARY)
    assert "liver" in VOCABULARY
    assert "Liver" not in VOCABULARY
    assert VOCABULARY["liver"].text == "liver"


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownConcept, match=r"no concept is called 'retinal vesel'.*'retinal vessel'"):
        VOCABULARY.resolve("retinal vesel")
    with pytest.raises(KeyError, match="no concept has the id 'gall_bladder'; did you mean 'gallbladder'"):
        VOCABULARY["gall_bladder"]


def test_search_puts_the_exact_name_first() -> None:
    assert [concept.id for concept in VOCABULARY.search(" POLYP")] == [
        "polyp",
        "neoplastic_polyp",
        "non_neoplastic_polyp",
    ]
    assert [concept.id for concept in VOCABULARY.search("adipose")] == ["fat"]
    assert VOCABULARY.search("zebra") == []


def test_the_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    one, same, other = (tmp_path / f"{name}.yaml" for name in ("one", "same", "other"))
    one.write_text("a: {text: a, kind: lesion, synonyms: [x, y]}\nb: {text: b, kind: cell}\n")
    same.write_text("# the same\nb:\n  kind: cell\n  text: b\na: {kind: lesion, synonyms: [y, x], text: a}\n")
    other.write_text("a: {text: a, kind: lesion, synonyms: [x, z]}\nb: {text: b, kind: cell}\n")
    digests = [Vocabulary.load(file).digest for file in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_every_field_counts_in_the_digest() -> None:
    liver = VOCABULARY["liver"]
    variants = [
        liver,
        dataclasses.replace(liver, text="the liver"),
        dataclasses.replace(liver, kind="tissue"),
        dataclasses.replace(liver, synonyms=("hepar",)),
        dataclasses.replace(liver, parent="kidney"),
        dataclasses.replace(liver, snomed=None),
    ]
    assert len({Vocabulary([variant]).digest for variant in variants}) == len(variants)


GOOD = "liver: {text: liver, kind: anatomy}\n"
WRONG = {
    "colliding synonym": (
        GOOD + "hepar: {text: hepar, kind: anatomy, synonyms: [liver]}",
        "2: hepar: the name 'liver' belongs to liver (line 1)",
    ),
    "id that is another's text": (
        "left_lung: {text: lung on the left, kind: anatomy}\nlung: {text: left lung, kind: anatomy}",
        "2: lung: the name 'left lung' belongs to left_lung (line 1)",
    ),
    "synonym that repeats the text": (
        "liver: {text: liver, kind: anatomy, synonyms: [liver]}",
        "1: liver: the name 'liver' stands here twice",
    ),
    "unknown parent": (
        GOOD + "lobe:\n  text: lobe\n  kind: anatomy\n  parent: livr",
        "5: lobe: unknown parent 'livr'; did you mean 'liver'?",
    ),
    "circle": (
        "a: {text: a, kind: cell, parent: b}\nb: {text: b, kind: cell, parent: a}",
        "1: a: is its own ancestor (a > b > a)",
    ),
    "own parent": ("a: {text: a, kind: cell, parent: a}", "1: a: is its own ancestor (a > a)"),
    "bad id": (GOOD + "Left-Lung: {text: left lung, kind: anatomy}", "2: bad id 'Left-Lung'"),
    "duplicate key": (GOOD + "\n" + GOOD, "3: the key 'liver' stands here again (first on line 1)"),
    "duplicate field": ("a:\n  text: a\n  kind: cell\n  text: b", "4: the key 'text' stands here again"),
    "unknown kind": ("a: {text: a, kind: organ}", "1: a: unknown kind 'organ'; the kinds are anatomy"),
    "no kind": ("a: {text: a}", "1: 'kind' is missing"),
    "text in capitals": ("a: {text: A  b, kind: cell}", "1: a: write 'A  b' as 'a b'"),
    "synonyms not a list": ("a: {text: a, kind: cell, synonyms: b}", "1: a: 'synonyms' must be a list"),
    "unknown field": ("a: {text: a, kind: cell, colour: red}", "1: unknown field 'colour'"),
    "code without quotes": (
        'a: {text: a, kind: cell, snomed: {code: 10200004, meaning: "A"}}',
        "1: 'code' must be a word, not 10200004; quote it",
    ),
    "code that is none": (
        'a: {text: a, kind: cell, snomed: {code: "10x", meaning: "A"}}',
        "1: a: '10x' is not a SNOMED CT code",
    ),
    "not a mapping": ("- a\n- b", "1: must hold 'key: value' entries, not list"),
    "empty": ("", "1: must hold 'key: value' entries"),
    "not YAML": (GOOD + "a: {text: [", "2: "),
    "code to run": ("a: !!python/object/apply:os.system [ls]", "1: could not determine a constructor"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_told_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "concepts.yaml"
    file.write_text(text)
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.load(file)
    assert str(caught.value.problems[0]).startswith(f"{file}:{message}")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "concepts.yaml"
    file.write_text("A: {text: a, kind: cell}\nb: {text: b, kind: x}\nc: {text: c, kind: cell, parent: d}\n")
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.load(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "2", "3"]


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"none\.yaml: cannot be read"):
        Vocabulary.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "polyp: {text: bump, kind: lesion}",
            "polyp: the vocabulary has this concept; label your data with it",
        ),
        ("bump: {text: polyp, kind: lesion}", "the name 'polyp' belongs to polyp (in the vocabulary)"),
        (
            "bump: {text: bump, kind: lesion, synonyms: [optic nerve head]}",
            "belongs to optic_disc (in the vocabulary)",
        ),
        ("bump: {text: bump, kind: lesion, parent: skin}", "bump: unknown parent 'skin'"),
        ("bump: {text: bump, kind: lesion, synonyms: [knob, knob]}", "the name 'knob' stands here twice"),
        ("bump: {text: bump, kind: lesion}\nknob: {text: knob, kind: lesion, synonyms: [bump]}", "(line 1)"),
        ("a: {text: a, kind: cell, parent: b}\nb: {text: b, kind: cell, parent: a}", "is its own ancestor"),
        (
            'bump: {text: bump, kind: lesion, snomed: {code: "81016008", meaning: X}}',
            "optic_disc has the same SNOMED CT code",
        ),
        ("Bump: {text: bump, kind: lesion}", "bad id 'Bump'"),
    ],
)
def test_what_does_not_fit_the_vocabulary_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(VocabularyError, match=re.escape(expected)) as caught:
        Vocabulary.load().with_file(path)
    assert str(caught.value).startswith(f"{path}:")


def test_own_concepts_join_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("bump: {text: bump, kind: lesion, synonyms: [knob], parent: polyp}")
    vocabulary = Vocabulary.load().with_file(path)
    assert vocabulary.resolve("Knob").id == "bump"
    assert vocabulary.ancestors("bump")[0] == "polyp"
    assert [concept.id for concept in vocabulary.own] == ["bump"]
    assert Vocabulary.load().own == ()
    assert [Concept.of(concept.facts()) for concept in vocabulary] == list(vocabulary)
