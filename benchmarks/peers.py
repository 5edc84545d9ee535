"""An epoch of one corpus through the loaders of the field, at equal work: the same bytes, codecs and resizing for all.

    make peers
    .venv-peers/bin/python -m benchmarks.peers [--images 120] [--side 1008] [--batch 4] [--workers 0 2] [--repeat 2]

`make peers` makes an environment of its own, for some of these loaders want other versions than medshards. One that
cannot be imported or does not run is named. The corpus is that of benchmarks.stream. Every loader has the members of
the samples in its own format on the disk (webdataset, wids, energon and `datasets` read our tars) and hands the bytes
to one function that decodes image and masks, resizes both and counts prompts as medshards does; medshards also compares
digests, draws absent concepts, and makes boxes and tokens. Order: shuffled, as each does it.

CPU ms/image is user and system time of all processes; of the floor: the CPU time of decoding, resizing and masks alone
over it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from benchmarks.build import cpu_seconds
from benchmarks.stream import Made, build_corpus, collate, floor, medshards, prompts, samples_in
from medshards.common.memory import keep_freed
from medshards.curate.formats.pictures import jpeg, png
from medshards.curate.sample import Region
from medshards.train.data.resizing import resize_image, resize_masks

Epoch = Callable[[argparse.Namespace], Iterator[int]]  # gives the number of images of each batch
MEMBERS = ("image", "mask", "json")


def example(sample: dict[str, bytes], side: int) -> Made:
    """Image, masks and prompts from the members of a sample, by the codecs and the resizing of medshards."""
    data, record = sample["image"], json.loads(sample["json"])
    pixels = jpeg.decode(data, 3) if data[:2] == b"\xff\xd8" else png.decode(data)
    ids = png.decode(sample["mask"])
    regions = []
    for instance in record["instances"]:
        x, y, width, height = instance["bbox"]
        regions.append(Region.of(ids[y : y + height, x : x + width] == instance["id"], y, x))
    masks = torch.from_numpy(resize_masks(regions, ids.shape, side))
    return resize_image(pixels, side), masks, prompts({"json": record})


def members(sample: dict[str, Any]) -> dict[str, bytes]:
    """The members of a sample of our tars, whatever a loader makes of their names."""
    found = {name.lstrip("."): value for name, value in sample.items()}
    image = next(found[name] for name in ("jpg", "png") if found.get(name) is not None)
    parts = {"image": image, "mask": found["mask.png"], "json": found["json"]}
    return {name: part if isinstance(part, bytes) else part.read() for name, part in parts.items()}


def samples_of(tars: list[Path]) -> Iterator[dict[str, bytes]]:
    """Every sample of the tars by its members."""
    for path in tars:
        with tarfile.open(path) as tar:
            sample: dict[str, bytes] = {}
            last = ""
            for info in tar:
                key, _, suffix = info.name.partition(".")
                if key != last and sample:
                    yield members(sample)
                    sample = {}
                last = key
                file = tar.extractfile(info)
                assert file is not None
                sample[suffix] = file.read()
            yield members(sample)


def loaded(dataset: Any, options: argparse.Namespace, **more: Any) -> Iterator[int]:
    """The batches of a dataset by torch's DataLoader."""
    ahead = 4 if options.workers else None
    loader: Any = DataLoader(
        dataset, options.batch, num_workers=options.workers, collate_fn=collate, prefetch_factor=ahead, **more
    )
    for images, _, _ in loader:
        yield len(images)


def with_webdataset(tars: list[Path], work: Path) -> Epoch:
    import webdataset

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        urls = [str(path) for path in tars]
        dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(100)
        yield from loaded(dataset.map(lambda sample: example(members(sample), options.side)), options)

    return epoch


def with_wids(tars: list[Path], work: Path) -> Epoch:
    import wids

    shards = [{"url": str(path), "nsamples": samples_in(path)} for path in tars]

    class Samples(torch.utils.data.Dataset[Made]):
        def __init__(self, side: int) -> None:
            self.stored, self.side = (
                wids.ShardListDataset(shards, transformations=[], keep=True, cache_dir=str(work / "wids")),
                side,
            )

        def __len__(self) -> int:
            return len(self.stored)

        def __getitem__(self, number: int) -> Made:
            return example(members(self.stored[number]), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        dataset = Samples(options.side)
        yield from loaded(dataset, options, sampler=wids.ShardedSampler(dataset.stored))

    return epoch


def with_litdata(tars: list[Path], work: Path) -> Epoch:
    import litdata

    writer = litdata.streaming.writer.BinaryWriter(str(work / "litdata"), chunk_bytes="64MB")
    for number, sample in enumerate(samples_of(tars)):
        writer.add_item(number, sample)
    writer.done()
    writer.merge()

    class Samples(litdata.StreamingDataset):  # type: ignore[misc]
        side = 0

        def __getitem__(self, index: Any) -> Made:
            return example(super().__getitem__(index), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        dataset = Samples(str(work / "litdata"), shuffle=True, seed=0, drop_last=False)
        dataset.side = options.side
        loader: Any = litdata.StreamingDataLoader(
            dataset, batch_size=options.batch, num_workers=options.workers, collate_fn=collate
        )
        for images, _, _ in loader:
            yield len(images)

    return epoch


def with_mosaic(tars: list[Path], work: Path) -> Epoch:
    with _no_torchvision():
        import streaming

    with streaming.MDSWriter(out=str(work / "mds"), columns=dict.fromkeys(MEMBERS, "bytes")) as writer:
        for sample in samples_of(tars):
            writer.write(sample)

    class Samples(streaming.StreamingDataset):  # type: ignore[misc]
        side = 0

        def __getitem__(self, number: int) -> Made:
            return example(super().__getitem__(number), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        dataset = Samples(local=str(work / "mds"), shuffle=True, batch_size=options.batch)
        dataset.side = options.side
        yield from loaded(dataset, options)

    return epoch


@contextmanager
def _no_torchvision() -> Iterator[None]:
    """A stand-in while mosaicml-streaming imports it for image datasets of its own, which are not used here."""
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms.functional")
    for name in names:
        module: Any = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.VisionDataset, module.to_tensor = object, None
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def with_datasets(tars: list[Path], work: Path) -> Epoch:
    import datasets

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        stored = datasets.load_dataset(
            str(work / "corpus"), "all", split="train", streaming=True, cache_dir=str(work / "hub")
        )
        plain = stored.decode(False).shuffle(seed=0, buffer_size=100)

        def made(row: dict[str, Any]) -> Made:
            return example(members({name: _bytes(value) for name, value in row.items()}), options.side)

        yield from loaded(_Mapped(plain, made), options)

    return epoch


class _Mapped(torch.utils.data.IterableDataset[Made]):
    """What `datasets` streams, made into examples."""

    def __init__(self, stored: Any, made: Callable[[dict[str, Any]], Made]) -> None:
        self.stored, self.made = stored, made

    def __iter__(self) -> Iterator[Made]:
        yield from map(self.made, self.stored)


def _bytes(value: Any) -> Any:
    """`datasets` keeps undecoded images as {bytes, path} and parses JSON."""
    if isinstance(value, dict) and "bytes" in value:
        return value["bytes"]
    return json.dumps(value).encode() if isinstance(value, dict) else value


def with_energon(tars: list[Path], work: Path) -> Epoch:
    from megatron import energon

    root = work / "energon"
    root.mkdir()
    for number, path in enumerate(tars):
        os.link(path, root / f"{number:06d}.tar")
    subprocess.run(
        [str(Path(sys.executable).with_name("energon")), "prepare", str(root), "--non-interactive", "--no-progress",
         "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset"],
        check=True, capture_output=True,
    )  # fmt: skip

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        @energon.edataclass
        class Example(energon.Sample):  # type: ignore[misc]
            made: Made

        @energon.stateless
        def cook(sample: dict[str, Any]) -> Any:
            return Example(**energon.basic_sample_keys(sample), made=example(members(sample), options.side))

        class Task(energon.DefaultTaskEncoder):  # type: ignore[misc]
            cookers = (energon.Cooker(cook),)
            decoder = None

            def batch(self, samples: list[Any]) -> Any:
                return collate([sample.made for sample in samples])

        config = energon.WorkerConfig(rank=0, world_size=1, num_workers=options.workers)
        stored = energon.get_train_dataset(
            str(root),
            worker_config=config,
            batch_size=options.batch,
            shuffle_buffer_size=100,
            max_samples_per_sequence=100,
            task_encoder=Task(),
            repeat=False,
        )
        for images, _, _ in energon.get_loader(stored):
            yield len(images)

    return epoch


PEERS = {
    "webdataset": with_webdataset,
    "wids": with_wids,
    "litdata": with_litdata,
    "mosaicml-streaming": with_mosaic,
    "datasets": with_datasets,
    "energon": with_energon,
}


def measure(epoch: Epoch, options: argparse.Namespace) -> tuple[float, float, float]:
    """Images a second, CPU seconds an image, seconds to the first batch, of one epoch."""
    start, before = time.perf_counter(), cpu_seconds()
    batches = epoch(options)
    seen = next(batches)
    first = time.perf_counter() - start
    seen += sum(batches)
    return seen / (time.perf_counter() - start), (cpu_seconds() - before) / seen, first


def main() -> None:
    """Measure in turn and print a table for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=120, help="of the whole corpus; the training split is read"
    )
    parser.add_argument("--side", type=int, default=1008, help="of the network input, px")
    parser.add_argument("--batch", type=int, default=4, help="images")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed()  # for every row
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tars = build_corpus(work, options.images)
        epochs: dict[str, Epoch] = {
            "floor": lambda options: floor(work / "corpus", options).feed(0, 0),
            "medshards": lambda options: medshards(work / "corpus", options).feed(0, 0),
        }
        for name, make in PEERS.items():
            try:
                epochs[name] = make(tars, work)
            except Exception as error:
                console.print(f"{name}: not measured: {type(error).__name__}: {error}", markup=False)
        for workers in options.workers:
            asked = argparse.Namespace(**{**vars(options), "workers": workers})
            console.print(_table(epochs, asked, sum(map(samples_in, tars))))


def _table(epochs: dict[str, Epoch], options: argparse.Namespace, images: int) -> Table:
    """The rows of one number of workers; every epoch once to warm up, then in turn."""
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in epochs}
    for number in range(options.repeat + 1):
        for name, epoch in list(epochs.items()):
            try:
                found = measure(epoch, options)
            except Exception as error:
                Console(width=100).print(f"{name}: {type(error).__name__}: {error}", markup=False)
                del epochs[name]
                continue
            if number:
                runs[name].append(found)
    table = Table(
        title=f"{images} images to {options.side} px, {options.workers} workers, median of {options.repeat}, "
        f"load {os.getloadavg()[0]:.0f}"
    )
    for title in ("loader", "images/s", "CPU ms/image", "of the floor", "first batch, s"):
        table.add_column(title, justify="left" if title == "loader" else "right")
    least = statistics.median(cpu for _, cpu, _ in runs["floor"])
    for name in epochs:
        rows = runs[name]
        rate, cpu, first = (statistics.median(column) for column in zip(*rows, strict=True))
        table.add_row(name, f"{rate:.1f}", f"{1000 * cpu:.1f}", f"{least / cpu:.2f}", f"{first:.2f}")
    return table


if __name__ == "__main__":
    main()
