"""Speed and memory of a build, beside decoding the same files once and beside webdataset with Pillow.

    python -m benchmarks.build [--images 600] [--workers 2] [--repeat 3]

Writes a made-up download in the layout of two datasets (half of it JPEG with JPEG masks, half PNG with PNG masks,
600 to 1500 px) to a temporary folder and prints a table. Decoding once is measured with the decoders of the build and
with OpenCV. All rows use the same number of processes, which keep freed
memory, and read the same files from a warm page cache. CPU is that of all processes. Peak memory is that of the largest
process, by images, to show that it does not grow.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from rich.console import Console
from rich.table import Table

from medshards.common.memory import keep_freed
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.formats.pictures import jpeg, png
from medshards.shards.build.dataset import build_dataset

SLUGS = ("kvasir_seg", "busi")


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture with the detail of an endoscopic frame, and a mask with a few polyps."""
    height, width = int(rng.integers(600, 1500)), int(rng.integers(600, 1500))
    coarse = rng.integers(40, 200, (height // 24, width // 24, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 5, (height // 2, width // 2, 1)).astype(np.float32)
    image = np.clip(image + cv2.resize(fine, (width, height))[:, :, None], 0, 255).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        center = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = int(rng.integers(30, 200)), int(rng.integers(30, 200))
        cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    return image, mask


def write_download(root: Path, images: int) -> list[tuple[Path, Path]]:
    """Half Kvasir-SEG (JPEG images and masks), half BUSI (PNG images, 1-bit PNG masks)."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(images):
        image, mask = scene(rng)
        if number % 2:
            name = f"cju{number:022d}"
            pair = (
                root / f"kvasir_seg/Kvasir-SEG/images/{name}.jpg",
                root / f"kvasir_seg/Kvasir-SEG/masks/{name}.jpg",
            )
            _save(pair[0], PIL.Image.fromarray(image), quality=90)
            _save(pair[1], PIL.Image.fromarray(mask).convert("RGB"), quality=90)
        else:
            folder = root / "busi/Dataset_BUSI_with_GT" / ("benign" if number % 4 else "malignant")
            stem = f"{folder.name} ({number})"
            pair = folder / f"{stem}.png", folder / f"{stem}_mask.png"
            grey = image[:, :, 0]
            _save(pair[0], PIL.Image.fromarray(np.stack([grey] * 3, axis=2)))
            _save(pair[1], PIL.Image.fromarray(mask > 0))
        pairs.append(pair)
    for word in ("benign", "malignant", "normal"):
        (root / "busi/Dataset_BUSI_with_GT" / word).mkdir(parents=True, exist_ok=True)
    return pairs


def _save(path: Path, picture: PIL.Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def decode_once(pair: tuple[Path, Path]) -> None:
    """Decode image and mask with the decoders that the build uses, and do nothing with them."""
    for channels, path in zip((3, 1), pair, strict=True):
        data = path.read_bytes()
        if path.suffix == ".jpg":
            jpeg.decode(data, channels)
        else:
            png.decode(data)


def with_opencv(pair: tuple[Path, Path]) -> None:
    """Decode image and mask with OpenCV, the decoder that scripts of the field use most, and do nothing with them."""
    for flags, path in zip((cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE), pair, strict=True):
        cv2.imdecode(np.fromfile(path, np.uint8), flags)


def with_webdataset(task: tuple[int, list[tuple[Path, Path]], Path]) -> None:
    """The usual script: decode with Pillow to check, store the source bytes and an id map as PNG by ShardWriter."""
    import webdataset

    number, pairs, out = task
    with webdataset.ShardWriter(str(out / f"{number}-%06d.tar"), maxsize=256 << 20, verbose=0) as writer:
        for image, mask in pairs:
            data = image.read_bytes()
            PIL.Image.open(io.BytesIO(data)).convert("RGB")
            binary = (np.asarray(PIL.Image.open(mask).convert("L")) > 127).astype(np.uint8)
            _, ids = cv2.connectedComponents(binary, connectivity=8)
            stream = io.BytesIO()
            PIL.Image.fromarray(ids.astype(np.uint8)).save(stream, "PNG")
            areas = np.bincount(ids.ravel())[1:].tolist()
            writer.write({"__key__": image.stem, image.suffix[1:]: data, "mask.png": stream.getvalue(),
                          "txt": "polyp", "json": json.dumps({"areas": areas})})  # fmt: skip


def over_processes(work: Callable, tasks: list, workers: int) -> None:
    """Run `work` over tasks on some processes."""
    with multiprocessing.get_context("fork").Pool(workers, keep_freed) as pool:
        for _ in pool.imap_unordered(work, tasks, chunksize=8 if len(tasks) > 8 * workers else 1):
            pass
        pool.close()
        pool.join()  # whose CPU time counts once it has ended


def build_all(raw: Path, out: Path, workers: int) -> None:
    """Build the two datasets."""
    catalog = load_catalog()
    for slug in SLUGS:
        result = build_dataset(catalog[slug], raw / slug, out, workers=workers)
        assert not result.rejects, result.rejects[:3]


def cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def medians(
    jobs: dict[str, Callable[[Path], None]], out: Path, repeat: int
) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of each job into an empty `out`, medians of some runs in turn after one to warm up."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for number in range(repeat + 1):
        for name, run in jobs.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            start, before = time.perf_counter(), cpu_seconds()
            run(out)
            if number:
                runs[name].append((time.perf_counter() - start, cpu_seconds() - before))
    return {
        name: (statistics.median(s for s, _ in found), statistics.median(c for _, c in found))
        for name, found in runs.items()
    }


def peak_mib(run: Callable[[], None]) -> float:
    """Peak memory of the largest process of a run, in a process of its own."""

    def child(connection: multiprocessing.connection.Connection) -> None:
        run()
        usage = [
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        connection.send(max(usage) / 1024)

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender,))
    process.start()
    value: float = receiver.recv()
    process.join()
    return value


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    assert set(SLUGS) <= set(phantoms.slugs())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pairs = write_download(root / "raw", options.images)
        size = sum(p.stat().st_size for pair in pairs for p in pair) / 2**20
        parts = [pairs[i :: options.workers] for i in range(options.workers)]

        rows: dict[str, Callable[[Path], None]] = {
            "decode once (fastest decoders)": lambda _: over_processes(decode_once, pairs, options.workers),
            "decode once (OpenCV)": lambda _: over_processes(with_opencv, pairs, options.workers),
            "medshards build": lambda out: build_all(root / "raw", out, options.workers),
            "webdataset ShardWriter + Pillow": lambda out: over_processes(
                with_webdataset, [(i, part, out) for i, part in enumerate(parts)], options.workers
            ),
        }
        measured = medians(rows, root / "out", options.repeat)
        table = Table(
            title=f"{options.images} images, {size:.0f} MiB, {options.workers} processes, median of {options.repeat}, "
            f"load {os.getloadavg()[0]:.0f}"
        )
        for title in ("job", "s", "of decoding", "CPU ms/image", "of decoding"):
            table.add_column(title, justify="left" if title == "job" else "right")
        wall, cpu = measured["decode once (fastest decoders)"]
        for name, (taken, worked) in measured.items():
            each = f"{1000 * worked / options.images:.1f}"
            table.add_row(name, f"{taken:.2f}", f"{wall / taken:.2f}", each, f"{cpu / worked:.2f}")
        Console().print(table)
        memory = Table(title="peak memory of the largest process")
        memory.add_column("images", justify="right")
        memory.add_column("MiB", justify="right")
        for part in (options.images // 4, options.images):
            small = root / f"raw{part}"
            for image, mask in pairs[:part]:
                for path in (image, mask):
                    target = small / path.relative_to(root / "raw")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(path, target)
            out = root / f"out{part}"
            out.mkdir()
            peak = peak_mib(partial(build_all, small, out, options.workers))
            memory.add_row(str(part), f"{peak:.0f}")
        Console().print(memory)


if __name__ == "__main__":
    main()
