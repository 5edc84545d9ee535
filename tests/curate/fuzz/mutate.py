"""Damage a file in the ways that downloads and tools do: bits flipped, ends cut, parts swapped, sizes inflated."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

HEADER = 2048  # bytes in which most formats keep sizes
HUGE = (2**31 - 1, 2**32 - 1, 2**16 - 1, 2**40, 10**9, 0)
Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def mutate(data: bytes, number: int) -> bytes:
    """Damage number `number` of a file: the same file and number give the same bytes.

    Every other time the content of a file is damaged and the file written again as it should be: gzip, zip and PNG
    with right checksums, JSON and XML with right syntax. Otherwise no damage would come past the unpacking.
    """
    rng = np.random.default_rng([number, zlib.crc32(data)])
    if number % 2:
        for start, inside in INSIDE.items():
            if data.startswith(start):
                return inside(data, rng)
    return _damage(data, rng)


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if result:
            result = MUTATIONS[int(rng.integers(len(MUTATIONS)))](result, rng)
    return bytes(result)


def flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Up to sixteen bytes become others, anywhere."""
    for place in rng.integers(0, len(data), int(rng.integers(1, 17))):
        data[int(place)] = int(rng.integers(256))
    return data


def flip_header(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Up to four bits flip near the beginning."""
    for place in rng.integers(0, min(len(data), HEADER), int(rng.integers(1, 5))):
        data[int(place)] ^= 1 << int(rng.integers(8))
    return data


def truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The end is missing."""
    return data[: int(rng.integers(0, len(data)))]


def cut_out(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A part is missing."""
    start, end = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    return data[:start] + data[min(end, start + 4096) :]


def swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two parts of equal length change places: fields swapped."""
    length = int(rng.integers(1, 65))
    a, b = sorted(int(v) for v in rng.integers(0, max(1, len(data) - length), 2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A part stands there twice."""
    start, end = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[max(start, end - 4096) : end] + data[end:]


def inflate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A binary number near the beginning says that something is huge, or empty."""
    form = ["<H", ">H", "<I", ">I", "<Q", ">Q", "<f"][int(rng.integers(7))]
    value = HUGE[int(rng.integers(len(HUGE)))]
    packed = struct.pack(form, float(value) if form == "<f" else value % 2 ** (8 * struct.calcsize(form)))
    place = int(rng.integers(0, min(len(data), HEADER))) & ~1
    data[place : place + len(packed)] = packed
    return data


def inflate_text(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A number that is spelled out becomes huge, negative or none."""
    found = list(re.finditer(rb"\d+", data[: 16 * HEADER]))
    if not found:
        return inflate(data, rng)
    word = found[int(rng.integers(len(found)))]
    others = (b"4000000000", b"-1", b"0", b"1e308", b"NaN", b"99999999999999999999", b"x", b"")
    return data[: word.start()] + others[int(rng.integers(len(others)))] + data[word.end() :]


def swap_lines(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two lines change places."""
    lines = bytes(data).split(b"\n")
    a, b = rng.integers(0, len(lines), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return bytearray(b"\n".join(lines))


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    flip_header,
    truncate,
    cut_out,
    swap,
    repeat,
    inflate,
    inflate,
    inflate_text,
    inflate_text,
    swap_lines,
)


def _inside_png(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage the content of one chunk and give it the right length and CRC-32."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = int(rng.integers(len(chunks))) if rng.random() < 0.5 else 0
    kind, body = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(_damage(zlib.decompress(body), rng)) if len(chunks) == 3 else _damage(body, rng)
    elif body:
        body = _damage(body, rng)
    chunks[chosen] = (kind, body)
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(packed)


def _inside_gzip(data: bytes, rng: np.random.Generator) -> bytes:
    return gzip.compress(_damage(gzip.decompress(data), rng), 1)


def _inside_zip(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage the content of one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            body = old.read(name)
            new.writestr(name, mutate(body, 2 * int(rng.integers(1000)) + 1) if name == chosen else body)
    return out.getvalue()


def _inside_xml(data: bytes, rng: np.random.Generator) -> bytes:
    """Numbers and lines alone, which leaves the syntax right most of the time."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        result = (inflate_text if rng.random() < 0.8 else swap_lines)(result, rng)
    return bytes(result)


def _inside_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three values become others of any type, or vanish."""
    content = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        holder = content
        while True:  # go down by chance
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.9:
                holder = holder[key]
                continue
            if rng.random() < 0.2:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(OTHERS[int(rng.integers(len(OTHERS)))])
            break
    return json.dumps(content).encode()


OTHERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**9,
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
)
INSIDE: dict[bytes, Callable[[bytes, np.random.Generator], bytes]] = {
    b"\x1f\x8b": _inside_gzip,
    b"\x89PNG": _inside_png,
    b"PK": _inside_zip,
    b"{": _inside_json,
    b"<": _inside_xml,
}
