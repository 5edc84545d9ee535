"""Byte-pair tokens of a text prompt, as SAM3's CLIP text encoder was trained on them.

The vocabulary (``clip_bpe/``, MIT licence, OpenAI) holds 49,408 tokens: 256 bytes, the same 256 at the end of
a word, 48,894 merges, and the start and end tokens. A text is cleaned, lower-cased, cut into words, each word
into bytes, and neighbouring pieces are merged in the order of the list until no listed pair is left (Sennrich
et al. 2016, "Neural machine translation of rare words with subword units"; Radford et al. 2021, "Learning
transferable visual models from natural language supervision").

CLIP cleans with the package ``ftfy``. Here: HTML entities are resolved, Unicode is composed (NFC), curly
quotes become straight, ligatures and full-width characters become ordinary ones, control characters go. That
is what ``ftfy`` does to well-encoded text; text decoded with the wrong charset ("naÃ¯ve") is not repaired.
"""

import gzip
import html
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import islice, pairwise
from pathlib import Path

import regex
import torch
from torch import Tensor

VOCABULARY = Path(__file__).with_name("clip_bpe") / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2
START, END, PADDING = 49406, 49407, 0
CONTEXT_LENGTH = 32

_WORD = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‛": "'", "ʼ": "'", "“": '"', "”": '"', "‟": '"'})
_COMPATIBLE = regex.compile(r"[\uFB00-\uFB06\uFF01-\uFF5E\u3000]+")  # Latin ligatures, full-width forms
_CONTROL = regex.compile(r"[\x00-\x08\x0B\x0E-\x1F\x7F\u206A-\u206F\uFEFF\uFFF9-\uFFFC]")


def clean(text: str) -> str:
    """``text`` as the vocabulary expects it: composed, plain quotes, single spaces, lower case."""
    text = html.unescape(html.unescape(text))
    text = _CONTROL.sub("", text.translate(_QUOTES))
    text = _COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)
    return " ".join(unicodedata.normalize("NFC", text).split()).lower()


@cache
def _byte_symbols() -> list[str]:
    """The character that stands for each byte: itself where it prints, else one from U+0100 upwards."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


@cache
def _ranks() -> dict[tuple[str, str], int]:
    """Each listed pair of pieces with its place in the order of merging."""
    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as lines:
        pairs = (tuple(line.split()) for line in islice(lines, 1, 1 + MERGES))
        return {(left, right): rank for rank, (left, right) in enumerate(pairs)}


@cache
def _ids() -> dict[str, int]:
    """The id of each piece. The single bytes come in the order of their code points, printable ones first."""
    symbols = sorted(_byte_symbols(), key=lambda symbol: (ord(symbol) > 255, ord(symbol)))
    pieces = [*symbols, *(symbol + "</w>" for symbol in symbols), *map("".join, _ranks())]
    return {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}


def pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The id of each piece, and the pairs that are merged, first come first: what another tokenizer needs."""
    return dict(_ids()), list(_ranks())


@lru_cache(maxsize=65536)
def _encode_word(word: str) -> tuple[int, ...]:
    """Token ids of one word."""
    if word in ("<|startoftext|>", "<|endoftext|>"):
        return (_ids()[word],)
    symbols, ranks = _byte_symbols(), _ranks()
    pieces = [symbols[byte] for byte in word.encode("utf-8")]
    pieces[-1] += "</w>"
    while len(pieces) > 1:
        left, right = min(pairwise(pieces), key=lambda pair: ranks.get(pair, MERGES))
        if (left, right) not in ranks:
            break
        merged: list[str] = []
        for piece in pieces:
            if merged and merged[-1] == left and piece == right:
                merged[-1] = left + right
            else:
                merged.append(piece)
        pieces = merged
    return tuple(_ids()[piece] for piece in pieces)


def encode(text: str) -> list[int]:
    """Token ids of ``text`` without start, end and padding; of any length."""
    return [token for word in _WORD.findall(clean(text)) for token in _encode_word(word)]


def tokenize(texts: Sequence[str], length: int = CONTEXT_LENGTH) -> tuple[Tensor, Tensor]:
    """``input_ids`` int64 (T, length) and ``attention_mask`` bool (T, length) of T texts.

    Each row is start, the text's tokens, end, then padding with 0; the mask is true up to and including the
    end token. A longer text is cut, and the cut keeps the end token.
    """
    ids = torch.full((len(texts), length), PADDING, dtype=torch.int64)
    mask = torch.zeros((len(texts), length), dtype=torch.bool)
    for row, text in enumerate(texts):
        tokens = [START, *encode(text)[: length - 2], END]
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = True
    return ids, mask
