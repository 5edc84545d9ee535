"""An epoch of one corpus through the loaders of the field, at equal work: the same bytes, codecs and resizing for all.

    make peers
    .venv-peers/bin/python -m benchmarks.peers [--images 120] [--side 1008] [--batch 4] [--workers 0 2] [--s3]

`make peers` makes an environment of its own, for some of these loaders want other versions than medshards. One that
cannot be imported or does not run is named. The corpus is that of benchmarks.stream. Every loader has the members of
the samples in its own format on the disk (webdataset, wids, energon and `datasets` read our tars) and hands the bytes
to one function that decodes image and masks, resizes both and counts prompts as medshards does; medshards also compares
digests, draws absent concepts, and makes boxes and tokens. Order: shuffled, as each does it.

CPU ms/image is user and system time of all processes; of the floor: the CPU time of decoding, resizing and masks alone
over it.

With --s3 all but the floor read from an S3 server on loopback (moto, in a process whose time does not count), each in
the way its documentation gives for remote data, with an empty cache on the disk where it keeps one. Sent: bytes of the
server's answers over those of the tars of the training split; more than 1 are tables, or read twice.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch
from rich.console import Console
from rich.table import Table
from tests import s3
from torch.utils.data import DataLoader

from benchmarks.build import cpu_seconds
from benchmarks.stream import Made, build_corpus, collate, floor, medshards, prompts, samples_in
from medshards.common.memory import keep_freed
from medshards.curate.formats.pictures import jpeg, png
from medshards.curate.sample import Region
from medshards.train.data.resizing import resize_image, resize_masks

Epoch = Callable[[argparse.Namespace], Iterator[int]]  # gives the number of images of each batch
MEMBERS = ("image", "mask", "json")
CHUNK = 4 << 20  # bytes of a file of litdata and mosaicml-streaming, about those of a tar here


@dataclass
class Place:
    """The tars of the training split in `work`, where every loader puts files of its own; they are read there, or from
    the same paths below `bucket` (s3://…) of the server at `endpoint`."""

    work: Path
    tars: list[Path]
    bucket: str | None = None
    endpoint: str = ""

    def url(self, path: Path) -> str:
        """Where to read what lies at `path`."""
        return str(path) if self.bucket is None else f"{self.bucket}/{path.relative_to(self.work)}"

    def web(self, path: Path) -> str:
        """The same for who reads HTTP."""
        return self.url(path).replace("s3:/", self.endpoint, 1)

    def cache(self) -> str:
        """An empty folder."""
        return tempfile.mkdtemp(dir=self.work)


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


def with_medshards(place: Place) -> Epoch:
    def epoch(options: argparse.Namespace) -> Iterator[int]:
        cache = [] if place.bucket is None else [f"data.cache={place.cache()}"]
        return medshards(place.url(place.work / "corpus"), options, *cache).feed(0, 0)

    return epoch


def with_webdataset(place: Place) -> Epoch:
    import webdataset

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        urls = [place.web(path) for path in place.tars]
        dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(100)
        yield from loaded(dataset.map(lambda sample: example(members(sample), options.side)), options)

    return epoch


def with_wids(place: Place) -> Epoch:
    import wids

    class Samples(torch.utils.data.Dataset[Made]):
        def __init__(self, side: int) -> None:
            shards = [{"url": place.web(path), "nsamples": samples_in(path)} for path in place.tars]
            self.stored = wids.ShardListDataset(
                shards, transformations=[], keep=True, cache_dir=place.cache()
            )
            self.side = side

        def __len__(self) -> int:
            return len(self.stored)

        def __getitem__(self, number: int) -> Made:
            return example(members(self.stored[number]), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        dataset = Samples(options.side)
        yield from loaded(dataset, options, sampler=wids.ShardedSampler(dataset.stored))

    return epoch


def with_litdata(place: Place) -> Epoch:
    import litdata

    # its client refuses plain HTTP, and has no option for that
    litdata.streaming.downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    writer = litdata.streaming.writer.BinaryWriter(str(place.work / "litdata"), chunk_bytes=CHUNK)
    for number, sample in enumerate(samples_of(place.tars)):
        writer.add_item(number, sample)
    writer.done()
    writer.merge()

    class Samples(litdata.StreamingDataset):  # type: ignore[misc]
        side = 0

        def __getitem__(self, index: Any) -> Made:
            return example(super().__getitem__(index), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        cache = None if place.bucket is None else place.cache()
        dataset = Samples(place.url(place.work / "litdata"), cache, shuffle=True, seed=0, drop_last=False)
        dataset.side = options.side
        loader: Any = litdata.StreamingDataLoader(
            dataset, batch_size=options.batch, num_workers=options.workers, collate_fn=collate
        )
        for images, _, _ in loader:
            yield len(images)

    return epoch


def with_mosaic(place: Place) -> Epoch:
    with _no_torchvision():
        import streaming

    made, columns = place.work / "mds", dict.fromkeys(MEMBERS, "bytes")
    with streaming.MDSWriter(out=str(made), columns=columns, size_limit=CHUNK) as writer:
        for sample in samples_of(place.tars):
            writer.write(sample)

    class Samples(streaming.StreamingDataset):  # type: ignore[misc]
        side = 0

        def __getitem__(self, number: int) -> Made:
            return example(super().__getitem__(number), self.side)

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        where = {"local": str(made)}
        if place.bucket is not None:
            where = {"local": place.cache(), "remote": place.url(made)}
        dataset = Samples(**where, shuffle=True, batch_size=options.batch)
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


def with_datasets(place: Place) -> Epoch:
    import datasets

    def epoch(options: argparse.Namespace) -> Iterator[int]:
        files = {"train": [place.web(path) for path in place.tars]}
        stored = datasets.load_dataset(
            "webdataset", data_files=files, split="train", streaming=True, cache_dir=place.cache()
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


def with_energon(place: Place) -> Epoch:
    from megatron import energon

    root = place.work / "energon"
    root.mkdir()
    for number, path in enumerate(place.tars):
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
            place.url(root).replace("s3://", "msc://s3/", 1),
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


PEERS: dict[str, Callable[[Place], Epoch]] = {
    "medshards": with_medshards,
    "webdataset": with_webdataset,
    "wids": with_wids,
    "litdata": with_litdata,
    "mosaicml-streaming": with_mosaic,
    "datasets": with_datasets,
    "energon": with_energon,
}


def measure(
    epoch: Epoch, options: argparse.Namespace, sent: Callable[[], int]
) -> tuple[float, float, float, int]:
    """Images a second, CPU seconds an image, seconds to the first batch, bytes that a server sent, of one epoch."""
    start, before, earlier = time.perf_counter(), cpu_seconds(), sent()
    batches = epoch(options)
    seen = next(batches)
    first = time.perf_counter() - start
    seen += sum(batches)
    rate = seen / (time.perf_counter() - start)
    return rate, (cpu_seconds() - before) / seen, first, sent() - earlier


def _serve(pipe: Connection) -> None:
    """An S3 server that tells its address, and its answers' bytes whenever it is asked."""
    with pytest.MonkeyPatch.context() as patch, s3.serve(patch) as server:
        pipe.send(server.endpoint)
        while True:
            pipe.recv()
            pipe.send(server.sent)


@contextmanager
def _bucket(place: Place) -> Iterator[Callable[[], int]]:
    """Bring what the loaders made to a server of its own process; gives how many bytes it has sent."""
    import s3fs

    ours, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(its,), daemon=True)
    server.start()
    place.endpoint, place.bucket = ours.recv(), "s3://bench"
    profile = {
        "storage_provider": {"type": "s3", "options": {"base_path": "", "endpoint_url": place.endpoint}}
    }
    (place.work / "msc.json").write_text(json.dumps({"profiles": {"s3": profile}}))
    os.environ |= {
        **s3.KEYS,
        "AWS_ENDPOINT_URL": place.endpoint,
        "S3_ENDPOINT_URL": place.endpoint,
        "MSC_CONFIG": str(place.work / "msc.json"),
    }
    files = s3fs.S3FileSystem(s3_additional_kwargs={"ACL": "public-read"})  # some ask without credentials
    files.mkdir("bench")
    for name in ("corpus", "litdata", "mds", "energon"):
        if (place.work / name).exists():
            files.put(str(place.work / name), f"bench/{name}", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()

    def sent() -> int:
        ours.send(None)
        count: int = ours.recv()
        return count

    try:
        yield sent
    finally:
        server.kill()


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
    parser.add_argument("--s3", action="store_true", help="read from an S3 server on loopback")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed()  # for every row
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        place = Place(work, build_corpus(work, options.images))
        epochs: dict[str, Epoch] = {"floor": lambda options: floor(work / "corpus", options).feed(0, 0)}
        for name, make in PEERS.items():
            try:
                epochs[name] = make(place)
            except Exception as error:
                console.print(f"{name}: not measured: {type(error).__name__}: {error}", markup=False)
        with _bucket(place) if options.s3 else nullcontext(lambda: 0) as sent:
            for workers in options.workers:
                asked = argparse.Namespace(**{**vars(options), "workers": workers})
                console.print(_table(epochs, asked, place, sent))


def _table(
    epochs: dict[str, Epoch], options: argparse.Namespace, place: Place, sent: Callable[[], int]
) -> Table:
    """The rows of one number of workers; every epoch once to warm up, then in turn."""
    runs: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in epochs}
    for number in range(options.repeat + 1):
        for name, epoch in list(epochs.items()):
            try:
                found = measure(epoch, options, sent)
            except Exception as error:
                Console(width=100).print(f"{name}: {type(error).__name__}: {error}", markup=False)
                del epochs[name]
                continue
            if number:
                runs[name].append(found)
    images, size = sum(map(samples_in, place.tars)), sum(path.stat().st_size for path in place.tars)
    table = Table(
        title=f"{images} images to {options.side} px, {options.workers} workers, median of {options.repeat}, "
        f"load {os.getloadavg()[0]:.0f}"
    )
    titles = ("loader", "images/s", "CPU ms/image", "of the floor", "first batch, s", "sent")
    for title in titles if options.s3 else titles[:-1]:
        table.add_column(title, justify="left" if title == "loader" else "right")
    least = statistics.median(cpu for _, cpu, *_ in runs["floor"])
    for name in epochs:
        rate, cpu, first, got = (statistics.median(column) for column in zip(*runs[name], strict=True))
        cells = [
            f"{rate:.1f}",
            f"{1000 * cpu:.1f}",
            f"{least / cpu:.2f}",
            f"{first:.2f}",
            f"{got / size:.2f}",
        ]
        table.add_row(name, *cells[: len(table.columns) - 1])
    return table


if __name__ == "__main__":
    main()
