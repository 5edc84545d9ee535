"""A Sample as tar members, and tar members as a sample.

The members of one sample, in this order: image, masks, prompts, record. The record (KEY.json) comes last
because it alone holds the split, which is known only when the whole dataset is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import png
from medshards.curate.sample import Image, Instance, Reject, Sample, make_key
from medshards.curate.source import Skip
from medshards.shards.encode import tar
from medshards.shards.encode.fingerprint import fingerprint
from medshards.shards.encode.policy import Policy
from medshards.shards.encode.resize import fit

MAX_INSTANCES = 65535  # ids of a 16-bit mask


class Origin(TypedDict):
    """A file that a sample was made of."""

    role: str
    file: str
    sha256: str


class InstanceRecord(TypedDict):
    """An instance: the value `id` in the id map `plane`. area: px. bbox: x, y, width, height in px."""

    id: int
    plane: int
    concept: str
    text: str
    label: str
    native_id: int | None
    area: int
    bbox: list[int]


class Record(TypedDict):
    """Content of KEY.json, to which a converter may add fields of its own, under other names."""

    key: str
    dataset: str
    group: str
    split: NotRequired[str]  # known when the whole dataset is
    official_split: str | None
    size: list[int]
    native_size: list[int]
    spacing: list[float] | None
    volume: str | None
    slice: list[int] | None
    intensity: dict[str, Any] | None
    pair: list[str]
    image: str
    instances: list[InstanceRecord]
    concepts: list[str]
    absent: list[str]
    origin: list[Origin]
    lost: dict[str, int]


@dataclass(frozen=True)
class Member:
    """One file of a sample inside its tar: suffix after the key, place of its data relative to the sample's
    first byte, size in bytes, SHA-256."""

    suffix: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Encoded:
    """A sample ready for the tar: everything but its record's split.

    blob: tar entries of image, masks and prompts.
    members: these entries.
    record: content of KEY.json without "split".
    table1: areas (px) of the annotations that the paper's rule finds in it, None when the rule leaves the image out.
    fingerprint: the picture in small (shards.encode.fingerprint).
    """

    key: str
    blob: bytes
    members: tuple[Member, ...]
    record: Record
    table1: tuple[int, ...] | None
    fingerprint: bytes


def encode(sample: Sample, policy: Policy, origin: Sequence[Origin]) -> Encoded | Skip:
    """Encode a sample under a policy, which may leave it out (an image without annotation, profile `paper`).

    origin: every source file. Raises Reject when the sample cannot be stored.
    """
    if make_key(sample.key) != sample.key:
        raise Reject("unsafe_key", f"sample key {sample.key!r} is none that make_key gives")
    table1 = policy.paper_annotations(sample)
    instances, dropped = policy.instances(sample)
    reason = policy.leaves_out(sample, instances)
    if reason is not None:
        return Skip(origin[0]["file"], reason)
    if len(instances) > MAX_INSTANCES:
        raise Reject("too_many_instances", f"{len(instances)} instances; a mask holds {MAX_INSTANCES}")
    native, vanished = sample.image, 0
    if policy.max_side is not None:
        sample, instances, vanished = fit(sample, instances, policy.max_side)
    planes, plane_of = layers(instances, sample.image.size)
    present = sorted({i.concept for i in instances})
    image_bytes, extension = _image_bytes(sample.image)
    files = [(extension, image_bytes)]
    files += [(f"mask{p or ''}.png", png.encode_mask(plane)) for p, plane in enumerate(planes)]
    files.append(("txt", "".join(policy.texts[c] + "\n" for c in present).encode()))
    blob, members = pack(sample.key, files)
    lost = {
        f"instances below {policy.floor_text()}": dropped,
        f"instances without a pixel at {policy.max_side} px a side": vanished,
    }
    record: Record = {
        "key": sample.key,
        "dataset": policy.slug,
        "group": sample.group,
        "official_split": sample.official_split,
        "size": list(sample.image.size),
        "native_size": list(native.size),
        "spacing": list(sample.spacing) if sample.spacing else None,
        "volume": sample.position.volume if sample.position else None,
        "slice": [sample.position.index, sample.position.count] if sample.position else None,
        "intensity": asdict(sample.intensity) if sample.intensity else None,
        "pair": list(sample.pair),
        "image": _provenance(native, sample.image),
        "instances": [
            {
                "id": number,
                "plane": plane_of[number - 1],
                "concept": i.concept,
                "text": policy.texts[i.concept],
                "label": i.label,
                "native_id": i.native_id,
                "area": i.area,
                "bbox": list(i.region.bbox),
            }
            for number, i in enumerate(instances, start=1)
        ],
        "concepts": present,
        "absent": policy.absent(sample),
        "origin": list(origin),
        "lost": {**sample.lost, **{reason: count for reason, count in lost.items() if count}},
    }
    if clash := sorted(record.keys() & sample.extra.keys()):
        raise Reject(
            "reserved_field", f"`extra` of the sample names fields of the record: {', '.join(clash)}"
        )
    whole = cast(Record, {**record, **sample.extra})
    return Encoded(sample.key, blob, members, whole, table1, fingerprint(native.pixels))


def pack(key: str, files: Sequence[tuple[str, bytes]]) -> tuple[bytes, tuple[Member, ...]]:
    """Tar entries of a sample's files (suffix, data), and where each one's data lies in them."""
    parts, members, at = [], [], 0
    for suffix, data in files:
        entry = tar.member(f"{key}.{suffix}", data)
        members.append(Member(suffix, at + tar.BLOCK, len(data), hashlib.sha256(data).hexdigest()))
        parts.append(entry)
        at += len(entry)
    return b"".join(parts), tuple(members)


def _provenance(native: Image, stored: Image) -> str:
    """How the stored image came about, for the record."""
    if stored is not native:
        return "resized"
    return "original" if stored.encoded is not None else "re-encoded"


def _image_bytes(image: Image) -> tuple[bytes, str]:
    if image.encoded is not None:
        return image.encoded, image.extension
    return png.encode_image(image.pixels), "png"


def layers(instances: Sequence[Instance], size: tuple[int, int]) -> tuple[list[NDArray[Any]], list[int]]:
    """Id maps (uint8 or uint16 H×W) that hold every instance whole, and the map of each.

    Instance k (from 1) is written as value k into the first map in which none of its pixels is taken, so
    there is one map unless instances overlap.
    """
    dtype = np.uint8 if len(instances) < 256 else np.uint16
    planes: list[NDArray[Any]] = [np.zeros(size, dtype)]
    plane_of = []
    for number, instance in enumerate(instances, start=1):
        window, crop = instance.region.window(), instance.region.crop
        for position, plane in enumerate(planes):  # noqa: B007 (read after the loop)
            view = plane[window]
            if not view.any() or not (view[crop]).any():
                break
        else:
            position = len(planes)
            planes.append(np.zeros(size, dtype))
            view = planes[-1][window]
        np.copyto(view, dtype(number), where=crop)
        plane_of.append(position)
    return planes, plane_of


def json_bytes(value: Any) -> bytes:
    """Canonical JSON: keys sorted, ASCII, no blanks, one line."""
    return (
        json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
        + b"\n"
    )
