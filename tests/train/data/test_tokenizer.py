"""Tokens of text prompts against those of the official tokenizer."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from medshards.train.data.tokenizer import END, START, VOCABULARY, clean, encode, tokenize


def test_golden_texts(golden: Path) -> None:
    files = sorted((golden / "tokenizer").glob("*.json"))
    assert files
    for file in files:
        reference = json.loads(file.read_text())
        cases = reference["cases"]
        ids, mask = tokenize([case["text"] for case in cases], reference["context_length"])
        assert ids.dtype == torch.int64
        assert mask.dtype == torch.bool
        for case, row, valid in zip(cases, ids, mask):
            count = case["n_valid"]
            assert row[:count].tolist() == case["ids"][:count], case["text"]
            assert valid.tolist() == [place < count for place in range(len(row))], case["text"]


def test_every_token_of_the_vocabulary_encodes_to_itself() -> None:
    """A merged piece that ends a word and is all letters is a word; its id follows the order of the file."""
    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as file:
        pairs = [line.split() for line in file.read().splitlines()[1:]]
    merges = 49408 - 2 - 512
    words = {512 + rank: a + b for rank, (a, b) in enumerate(pairs[:merges])}
    plain = {n: w[: -len("</w>")] for n, w in words.items() if w.endswith("</w>") and w[:-4].isascii()}
    plain = {n: w for n, w in plain.items() if w.isalpha()}
    assert len(plain) > 20_000
    wrong = {n: w for n, w in list(plain.items())[::7] if encode(w) != [n]}
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Optic  Disc\n", "optic disc"),
        ("nai\u0308ve", "naïve"),  # decomposed
        ("Crohn’s disease", "crohn's disease"),
        ("“left” lung", '"left" lung'),
        ("a &amp; b", "a & b"),
        ("a &amp;amp; b", "a & b"),
        ("ﬁbrosis", "fibrosis"),
        ("ｌｕｎｇ\u3000lobe", "lung lobe"),
        ("lu\x00ng\ufeff", "lung"),
    ],
)
def test_cleaning(text: str, same: str) -> None:
    assert clean(text) == same
    assert tokenize([text])[0].tolist() == tokenize([same])[0].tolist()


def test_any_character_has_tokens() -> None:
    ids, mask = tokenize(["血管", "🫀", "\u0000", "µm² ½"])
    assert ids.max() <= END
    assert mask.sum(1).tolist()[2] == 2
    assert (mask.sum(1)[[0, 1, 3]] > 2).all()


def test_a_long_text_is_cut_and_keeps_its_end() -> None:
    ids, mask = tokenize(["lung " * 50], length=8)
    assert ids.shape == mask.shape == (1, 8)
    assert ids[0, 0] == START
    assert ids[0, -1] == END
    assert mask.all()


def test_no_text_is_a_batch_of_none() -> None:
    ids, mask = tokenize([])
    assert ids.shape == mask.shape == (0, 32)
