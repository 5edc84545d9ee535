"""Locks that hold, and files that are whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshards.common import files
from medshards.common.files import locked, meant, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from medshards.common.files import locked
counter = Path(sys.argv[1]) / "counter"
for _ in range(30):
    with locked(Path(sys.argv[1]) / "lock"):
        value = int(counter.read_text())
        time.sleep(0.001)
        counter.write_text(str(value + 1))
"""


def test_one_process_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    assert (tmp_path / "counter").read_text() == "120"


def test_a_lock_that_is_taken_is_not_waited_for_unless_asked(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
        pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with locked(tmp_path / "lock", wait=False):  # although the child lives
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Iterator[bytes]:
        yield b"ne"
        raise OSError(28, "No space left on device")

    def unsynced(path: Path) -> None:
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "a.json", b"old")
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a.json", full())
    monkeypatch.setattr(files, "sync", unsynced)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_a_file_that_was_not_finished_says_what_it_was_to_be(tmp_path: Path) -> None:
    def killed() -> Iterator[bytes]:
        yield b"half"
        names.extend(path.name for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    names: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.b.json", killed())
    assert [meant(name) for name in names] == ["a.b.json"]
    assert [meant(f"units/{name}") for name in names] == ["units/a.b.json"]
    for own in (".hidden", "a.12.tmp", "units/a.1.tmp", "a.json"):
        assert meant(own) == own
