"""An epoch of a corpus as batches for SAM3, beside the floor, a plain folder and webdataset.

    python -m benchmarks.stream [--images 300] [--side 1008] [--batch 4] [--workers 2] [--repeat 3]

Builds a corpus of made-up images (half JPEG, half PNG, 600 to 1500 px; benchmarks/build.py) in a temporary folder
and reads its training split from a warm page cache. All rows read the same tars with the same number of workers of
torch's DataLoader and hand over the same batches: images as uint8 3×side×side, one mask of side×side for each instance,
the text of each prompt. Where the work differs, each does it in its usual way:

floor                decoding, resizing and masks with the codecs of medshards, nothing else: no batch is made, nothing
                     is compared, drawn or handed over.
medshards            train.data: an epoch in random order; also compares the SHA-256 of every member with
                     the index, draws prompts for absent concepts, makes boxes and tokens; masks are packed to bits.
folder, Pillow       every member a file; the same work as the next row by a map-style dataset, shuffled.
webdataset, Pillow   WebDataset(...).shuffle(100).decode("pil"), Pillow's resize (bilinear, antialiased) of the image
                     and of each instance's mask.
webdataset, OpenCV   the same with cv2.imdecode and cv2.resize: bilinear without antialiasing for the image, nearest
                     pixel for the map of all instances at once, which is less work than the other two do.

images/s             of a whole epoch, the start of the workers included.
CPU ms/image         user and system time of all processes, for machines that others use at the same time.
first batch          seconds from nothing open to the first batch.
open                 seconds to know how many samples there are: from the index, or from the headers of all tars.
resume               seconds from nothing open to the batch in the middle of the epoch, as a resumed run needs it.
                     medshards starts there. webdataset goes over what was seen: once the cheapest way, before anything
                     is decoded (and only for the same number of workers), once by taking batches and dropping them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch
import webdataset
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from benchmarks.build import SLUGS, cpu_seconds, write_download
from medshards.common.memory import keep_freed
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Region
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.encode.policy import Making
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.decode import decode_image, decode_planes
from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Slices
from medshards.train.data.resizing import resize_image, resize_masks
from medshards.train.run.config import load_config
from medshards.vocab.vocabulary import Vocabulary

SHUFFLE = 100  # encoded samples in webdataset's buffer
SHARDS = 8  # of each dataset, so that every worker of webdataset has some of both


@dataclass(frozen=True)
class Job:
    """One row: ``feed(skip, drop)`` gives batches with the number of images in each; ``count()`` the samples.

    The feed begins after ``skip`` batches that are not decoded and ``drop`` batches that are.
    """

    feed: Callable[[int, int], Iterator[int]]
    count: Callable[[], int]


def build_corpus(root: Path, images: int) -> list[Path]:
    """Write a download and build it; returns the tars of the training split, both datasets in turn."""
    pairs = write_download(root / "raw", images)
    size = sum(path.stat().st_size for pair in pairs for path in pair)
    catalog = load_catalog()
    for slug in SLUGS:
        shard = size // len(SLUGS) // SHARDS
        result = build_dataset(catalog[slug], root / "raw" / slug, root / "corpus", Making(shard_bytes=shard))
        assert not result.rejects, result.rejects[:3]
    write_corpus(root / "corpus", "default", Vocabulary.load().digest)
    return sorted((root / "corpus").glob("*/train/*.tar"), key=lambda path: (path.stem.split("-")[-1], path))


def medshards(corpus: Path | str, options: argparse.Namespace, *settings: str) -> Job:
    """The project's own way."""
    config = load_config("tiny", ["data.max_negatives_per_image=2", *settings])

    def feed(skip: int, drop: int) -> Iterator[int]:
        data = open_data(config, str(corpus), options.side)
        slices = Slices(data.plan, skip * options.batch, options.batch, options.batch, 0, 1)
        requests = islice(slices, -(-data.plan.length // options.batch) - skip)
        for batch in islice(Feed(data.samples, list(requests), options.workers), drop, None):
            yield len(batch.images)

    return Job(feed, lambda: open_data(config, str(corpus), options.side).plan.length)


class Floor(Dataset[int]):
    """One sample decoded and resized, and thrown away."""

    def __init__(self, corpus: Corpus, side: int) -> None:
        self.corpus, self.side = corpus, side
        corpus.prepare()

    def __getitem__(self, sample: int) -> int:
        raw = self.corpus.read(sample)
        resize_image(decode_image(raw), self.side)
        planes = decode_planes(raw)
        regions = []
        for instance in raw.record["instances"]:
            x, y, width, height = instance["bbox"]
            inside = planes[instance["plane"]][y : y + height, x : x + width] == instance["id"]
            regions.append(Region.of(inside, y, x))
        resize_masks(regions, planes[0].shape, self.side)
        return 1


def floor(corpus: Path, options: argparse.Namespace) -> Job:
    """What cannot be left out."""

    def feed(skip: int, drop: int) -> Iterator[int]:
        opened = Corpus.open(corpus, check=False)
        samples = range((skip + drop) * options.batch, len(opened))
        loader = DataLoader(Floor(opened, options.side), None, sampler=samples, num_workers=options.workers)
        yield from loader

    return Job(feed, lambda: len(Corpus.open(corpus, check=False)))


class Folder(Dataset["Made"]):
    """The members of the tars as files, made into examples as webdataset's are."""

    def __init__(self, root: Path, side: int) -> None:
        self.side, self.records = side, sorted(root.rglob("*.json"))

    def __getitem__(self, sample: int) -> Made:
        record = self.records[sample]
        image = next(
            path for path in (record.with_suffix(".jpg"), record.with_suffix(".png")) if path.exists()
        )
        decoded: dict[str, Any] = {
            image.suffix[1:]: PIL.Image.open(image).convert("RGB"),
            "mask.png": id_map(record.with_suffix(".mask.png").read_bytes()),
            "json": json.loads(record.read_bytes()),
        }
        return with_pillow(decoded, self.side)


def folder(root: Path, options: argparse.Namespace) -> Job:
    """A map-style dataset of files, as beginners write it."""

    def feed(skip: int, drop: int) -> Iterator[int]:
        dataset = Folder(root, options.side)
        order = torch.randperm(len(dataset.records), generator=torch.Generator().manual_seed(0)).tolist()
        loader = DataLoader(
            dataset, options.batch, sampler=order[skip * options.batch :], num_workers=options.workers,
            collate_fn=collate, prefetch_factor=4 if options.workers else None,
        )  # fmt: skip
        for images, _, _ in islice(loader, drop, None):
            yield len(images)

    return Job(feed, lambda: len(Folder(root, options.side).records))


def with_webdataset(tars: list[Path], options: argparse.Namespace, decode: Callable, resize: Callable) -> Job:
    """The usual script; ``decode`` is an argument of WebDataset.decode, ``resize`` makes an example."""
    urls = [str(path) for path in tars]

    def feed(skip: int, drop: int) -> Iterator[int]:
        dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(SHUFFLE)
        if skip:
            dataset = dataset.slice(skip * options.batch // max(1, options.workers), None)
        dataset = dataset.decode(webdataset.handle_extension("mask.png", id_map), decode)
        dataset = dataset.map(partial(resize, side=options.side)).batched(options.batch, collation_fn=collate)
        ahead = 4 if options.workers else None
        loader = DataLoader(dataset, batch_size=None, num_workers=options.workers, prefetch_factor=ahead)
        for images, _, _ in islice(loader, drop, None):
            yield len(images)

    return Job(feed, lambda: sum(map(samples_in, tars)))


def samples_in(tar: Path) -> int:
    """Samples of a tar by its headers."""
    with tarfile.open(tar) as file:
        return sum(name.endswith(".json") for name in file.getnames())


def id_map(data: bytes) -> NDArray:
    """A map of instance ids (H, W) as Pillow reads it."""
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


def opencv(key: str, data: bytes) -> NDArray[np.uint8] | None:
    """A decoder of webdataset: images as uint8 H×W×3 by OpenCV."""
    if key.rsplit(".", 1)[-1] not in ("jpg", "png"):
        return None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, key
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


Made = tuple[torch.Tensor, torch.Tensor, list[tuple[str, int]]]  # image or images, masks, (text, instances)


def with_pillow(sample: dict[str, Any], side: int) -> Made:
    """Image and masks resized by Pillow, masks as 0 and 255 with a threshold."""
    image = sample.get("jpg", sample.get("png"))
    assert isinstance(image, PIL.Image.Image)
    size, bilinear = (side, side), PIL.Image.Resampling.BILINEAR
    pixels = torch.from_numpy(np.array(image.resize(size, bilinear))).permute(2, 0, 1)
    ids, masks = sample["mask.png"], []
    for instance in sample["json"]["instances"]:
        mask = PIL.Image.fromarray((ids == instance["id"]).view(np.uint8) * np.uint8(255))
        masks.append(np.asarray(mask.resize(size, bilinear)) > 127)
    return pixels, stacked(masks, side), prompts(sample)


def with_opencv(sample: dict[str, Any], side: int) -> Made:
    """Image resized by OpenCV, bilinear; all masks at once by the nearest pixel."""
    image = sample["jpg"] if "jpg" in sample else sample["png"]
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    ids = cv2.resize(sample["mask.png"], (side, side), interpolation=cv2.INTER_NEAREST)
    masks = [ids == instance["id"] for instance in sample["json"]["instances"]]
    return torch.from_numpy(resized).permute(2, 0, 1), stacked(masks, side), prompts(sample)


def stacked(masks: list[NDArray[np.bool_]], side: int) -> torch.Tensor:
    """Masks (n, side, side) bool."""
    return torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, side, side), dtype=torch.bool)


def prompts(sample: dict[str, Any]) -> list[tuple[str, int]]:
    """Texts of a sample with the number of instances of each."""
    texts = [instance["text"] for instance in sample["json"]["instances"]]
    return [(text, texts.count(text)) for text in dict.fromkeys(texts)]


def collate(made: list[Made]) -> tuple[torch.Tensor, torch.Tensor, list[list[tuple[str, int]]]]:
    """Images (I, 3, side, side), masks of all instances, prompts of each image."""
    images, masks, texts = zip(*made, strict=True)
    return torch.stack(images), torch.cat(masks), list(texts)


def first(job: Job, skip: int = 0, drop: int = 0) -> float:
    """Seconds to the first batch after those that are left out."""
    start = time.perf_counter()
    feed = job.feed(skip, drop)
    next(feed)
    taken = time.perf_counter() - start
    feed.close()  # type: ignore[attr-defined]
    return taken


def measure(job: Job, images: int, middle: int) -> dict[str, float]:
    """Every figure of a row once."""
    start = time.perf_counter()
    counted = job.count()
    figures = {"open": time.perf_counter() - start}
    assert counted == images, f"{counted} samples are counted, {images} are there"
    start, before = time.perf_counter(), cpu_seconds()
    seen = sum(job.feed(0, 0))
    figures["rate"] = seen / (time.perf_counter() - start)
    figures["cpu"] = 1000 * (cpu_seconds() - before) / seen
    assert seen >= images, f"{seen} of {images} images came"
    return figures | {
        "first": first(job),
        "skip": first(job, skip=middle),
        "drop": first(job, drop=middle),
    }


def main() -> None:
    """Measure in turn and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=300, help="of the whole corpus; the training split is read"
    )
    parser.add_argument("--side", type=int, default=1008, help="of the network input, px")
    parser.add_argument("--batch", type=int, default=4, help="images")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed()  # for every row
    with tempfile.TemporaryDirectory() as folder_:
        tars = build_corpus(Path(folder_), options.images)
        for tar in tars:
            with tarfile.open(tar) as members:
                members.extractall(Path(folder_) / "files" / tar.stem, filter="data")
        jobs = {
            "floor": floor(Path(folder_) / "corpus", options),
            "medshards": medshards(Path(folder_) / "corpus", options),
            "folder, Pillow": folder(Path(folder_) / "files", options),
            "webdataset, Pillow": with_webdataset(tars, options, "pil", with_pillow),  # type: ignore[arg-type]
            "webdataset, OpenCV": with_webdataset(tars, options, opencv, with_opencv),
        }
        images, size = sum(map(samples_in, tars)), sum(path.stat().st_size for path in tars) / 2**20
        middle = images // options.batch // 2
        for job in jobs.values():
            first(job)  # warm up
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
        for _ in range(options.repeat):
            for name, job in jobs.items():
                runs[name].append(measure(job, images, middle))
    table = Table(
        title=f"{images} images in {len(tars)} tars, {size:.0f} MiB, to {options.side} px, batches of {options.batch}, "
        f"{options.workers} workers, median of {options.repeat}, load {os.getloadavg()[0]:.0f}"
    )
    for title in ("job", "images/s", "CPU ms/image", "first batch, s", "open, s",
                  f"resume at {middle}, s", "dropping batches, s"):  # fmt: skip
        table.add_column(title, justify="left" if title == "job" else "right")
    for name, found in runs.items():
        row = {key: statistics.median(run[key] for run in found) for key in found[0]}
        seconds = [f"{row[key]:.3f}" for key in ("first", "open", "skip", "drop")]
        if name in ("floor", "medshards", "folder, Pillow"):
            seconds[-1] = "not needed"
        table.add_row(name, f"{row['rate']:.1f}", f"{row['cpu']:.1f}", *seconds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
