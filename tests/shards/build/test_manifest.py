"""corpus.json: whole under its name, whatever becomes of a write."""

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medshards.shards.build.corpus import write_corpus


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: what was written until then stays, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_corpus_that_cannot_be_written_whole_leaves_the_old_one(built: Path, tmp_path: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert json.loads(before["corpus.json"])["vocabulary"] != "another"
    with no_room_beyond(100), pytest.raises(OSError, match="File too large"):
        write_corpus(out, "default", "another")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    write_corpus(out, "default", "another")
    assert json.loads((out / "corpus.json").read_bytes())["vocabulary"] == "another"
