"""Everything that there is to build, in one folder of downloads, and the corpus that one process makes of it."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from medshards.curate import phantoms
from medshards.curate.source import slugs
from tests.shards.conftest import contents, write_phantoms


class Reference(NamedTuple):
    """raw: folder of downloads. status, files: what `build --all` of one process exits with, and makes."""

    raw: Path
    status: int
    files: dict[str, bytes]


def put(kind: str, samples: Path, raw: Path) -> None:
    """Put the phantom, or the real sample, of every dataset that has one into `raw`."""
    raw.mkdir()
    if kind == "phantoms":
        write_phantoms(phantoms.slugs(), raw)
    for slug in slugs() if kind == "samples" else ():
        if (samples / slug).is_dir():
            (raw / slug).symlink_to(samples / slug)


def build_all(raw: Path, out: Path, *words: str) -> int:
    """The exit status of `build --all`."""
    line = [sys.executable, "-m", "medshards", "build", "--all", "--raw", str(raw), "--out", str(out)]
    return subprocess.run([*line, "--allow-rejects", "999", *words], timeout=3000).returncode


def reference(kind: str, samples: Path, folder: Path) -> Reference:
    """The downloads of a kind, and what one process makes of them."""
    put(kind, samples, folder / "raw")
    status = build_all(folder / "raw", folder / "local")
    return Reference(folder / "raw", status, corpus(folder / "local"))


def corpus(out: Path) -> dict[str, bytes]:
    """Every file of a corpus; not its locks and logs."""
    return {name: data for name, data in contents(out).items() if not name.startswith(".work/")}
