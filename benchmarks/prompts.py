"""A core set of prompts for a corpus of BTCV's size: minutes, memory, bytes.

    python -m benchmarks.prompts WORK [--cases 30] [--workers 2]

WORK receives the made-up download (512 × 512 × 140 voxels of 0.8 × 0.8 × 3 mm, thirteen organs a case), the corpus of
all its slices and the set. A download or a corpus that is there already is used again; a set is made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.evaluate.prompts.abdomen import abdomen, write_btcv

SHAPE, SPACING = (140, 512, 512), (3.0, 0.8, 0.8)  # from feet to head, front to back, right to left


def resident(pid: int) -> int:
    """Bytes of memory that a process and all below it hold now; shared pages count in each."""
    total = 0
    try:
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(resident(int(child)) for child in children.read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def medshards(*arguments: str) -> tuple[str, float, float, int]:
    """Run the command: what it printed, seconds, CPU seconds, and the most memory seen."""
    start, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [sys.executable, "-m", "medshards", *arguments], stdout=subprocess.PIPE, text=True
    )
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.5):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return printed, time.perf_counter() - start, used, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    raw, corpus, sets = (options.work / name for name in ("raw", "corpus", "sets"))
    if not raw.exists():
        for number in range(1, options.cases + 1):
            write_btcv(raw / "btcv", number, *abdomen(SHAPE, SPACING, seed=number), SPACING)
    workers = ["--workers", str(options.workers)]
    medshards("build", "btcv", "--raw", str(raw), "--out", str(corpus), "--slices", "all", *workers)
    shutil.rmtree(sets, ignore_errors=True)
    printed, seconds, used, peak = medshards(
        "prompts", "build", str(corpus), "--sets", str(sets), *workers, "--json"
    )
    size = sum(path.stat().st_size for path in sets.rglob("*") if path.is_file())
    print(f"load {os.getloadavg()[0]:.1f}, {options.workers} workers, {options.cases} volumes")
    print(
        f"{seconds / 60:.1f} min, {used / 60:.1f} CPU min, at most {peak / 1e9:.2f} GB, set of {size / 1e6:.0f} MB"
    )
    print(json.dumps(json.loads(printed)))


if __name__ == "__main__":
    main()
