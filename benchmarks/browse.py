"""A large corpus on the pages of `medshards browse`, and as the files of `medshards site`.

    python -m benchmarks.browse [--samples 100000] [--images 40] [--tiny] [--site]

Builds a corpus of made-up images (half JPEG, half PNG, 600 to 1500 px; benchmarks/build.py; with --tiny BUSI's phantom
of some 64 px), then repeats the rows of its tables under new keys until it has so many samples. Every sample is read
from a shard as any other; only the shards are small.

start      seconds from the command to the address it prints: imports, tables, figures.
answer     seconds of one request, the median and the slowest of all asked; a page of the grid asks for 24 samples.
RSS        resident memory of the serving process (VmRSS) before and after the samples were asked for, and the peak
           (VmHWM) of the process that writes the site.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.build import SLUGS, build_all, write_download
from medshards.common.files import sha256_file
from medshards.curate.phantoms import write_phantom
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.index import ANNOTATIONS, INDEX
from medshards.shards.build.manifest import MANIFEST, dump, own_digest
from medshards.vocab.vocabulary import Vocabulary

MEDSHARDS = (sys.executable, "-m", "medshards")


def enlarge(folder: Path, samples: int) -> None:
    """Give a dataset so many samples: its own again and again, under new keys and in new groups."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in (INDEX, ANNOTATIONS):
        table = pq.read_table(folder / name)
        own = manifest["counts"]["samples"]
        times = -(-samples // own)
        again = pa.concat_tables([table] * times)
        number = np.repeat(np.arange(times), len(table))
        for column in {"key", "group"} & set(table.column_names):
            texts = [f"{n:06}-{text}" for n, text in zip(number, again[column].to_pylist(), strict=True)]
            again = again.set_column(again.schema.get_field_index(column), column, pa.array(texts))
        if name == INDEX:
            again = again.slice(0, samples)
        pq.write_table(again, folder / name, compression="zstd")
        path = folder / name
        manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    manifest["counts"]["samples"] = samples
    manifest["digest"] = own_digest(manifest)
    (folder / MANIFEST).write_bytes(dump(manifest))


def large_corpus(root: Path, options: argparse.Namespace) -> Path:
    """The corpus, with its samples spread over the datasets."""
    if options.tiny:
        for slug in SLUGS:
            write_phantom(slug, root / "raw" / slug)
    else:
        write_download(root / "raw", options.images)
    build_all(root / "raw", root / "corpus", 1)
    for slug in SLUGS:
        enlarge(root / "corpus" / slug, options.samples // len(SLUGS))
    write_corpus(root / "corpus", "default", Vocabulary.load().digest)
    return root / "corpus"


def memory(process: int, what: str) -> float:
    """MiB of a process: VmRSS now, VmHWM at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def served(corpus: Path, samples: int) -> Table:
    """What `browse` answers, how fast, and its memory."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*MEDSHARDS, "browse", str(corpus), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        root = process.stdout.readline().split()[0]
        table = Table(title=f"browse, {samples:,} samples, start {time.perf_counter() - begin:.1f} s")
        for title in ("answer", "asked", "median ms", "slowest ms", "KiB", "RSS MiB"):
            table.add_column(title, justify="right")
        table.add_row("(none yet)", "", "", "", "", f"{memory(process.pid, 'VmRSS'):.0f}")
        part = samples // len(SLUGS)
        generator = np.random.default_rng(0)
        asked = {
            "pages": ["index.html", "corpus.html", "statistics.html", "datasets/busi.html", "sample.html"],
            "1,000 rows": [f"rows/busi/{page}.js" for page in range(part // 1000)],
            "a sample of PNG": [f"samples/busi/{row}.js" for row in generator.integers(0, part, 300)],
            "a sample of JPEG": [f"samples/kvasir_seg/{row}.js" for row in generator.integers(0, part, 300)],
            "300 more": [f"samples/kvasir_seg/{row}.js" for row in generator.integers(0, part, 300)],
        }
        for name, addresses in asked.items():
            times, sizes = [], []
            for address in addresses:
                start = time.perf_counter()
                with urllib.request.urlopen(root + address) as answer:
                    sizes.append(len(answer.read()))
                times.append(1000 * (time.perf_counter() - start))
            figures = (statistics.median(times), max(times), statistics.median(sizes) / 1024)
            now = memory(process.pid, "VmRSS")
            table.add_row(name, f"{len(addresses)}", *(f"{figure:.0f}" for figure in (*figures, now)))
    finally:
        process.terminate()
        process.wait()
    return table


def written(corpus: Path, samples: int, folder: Path) -> str:
    """What `site` writes, how fast, and its memory."""
    begin, peak = time.perf_counter(), 0.0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = usage.ru_utime + usage.ru_stime
    process = subprocess.Popen(
        [*MEDSHARDS, "site", str(corpus), "--out", str(folder)], stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        try:
            peak = memory(process.pid, "VmHWM")
        except StopIteration:  # it has just ended
            break
        time.sleep(0.2)
    assert process.wait() == 0
    taken = time.perf_counter() - begin
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        f"site, {samples:,} samples: {taken:.0f} s (CPU {usage.ru_utime + usage.ru_stime - before:.0f} s), "
        f"{len(sizes):,} files, {sum(sizes) / 2**20:.0f} MiB, peak {peak:.0f} MiB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=40, help="different ones of the corpus")
    parser.add_argument("--tiny", action="store_true", help="images of some 64 px")
    parser.add_argument("--site", action="store_true", help="write the site, too")
    options = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as root:
        corpus = large_corpus(Path(root), options)
        console.print(f"load {os.getloadavg()[0]:.1f}")
        console.print(served(corpus, options.samples))
        if options.site:
            console.print(written(corpus, options.samples, Path(root) / "site"))


if __name__ == "__main__":
    main()
