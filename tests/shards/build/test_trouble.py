"""Trouble of the machine stops a build and leaves no trace in the corpus; a case that kills is named."""

import errno
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medshards.cli import main
from medshards.common.machine import MachineError, machine_error
from medshards.common.scratch import Scratch, scratch
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, get_source
from medshards.shards.build.dataset import build_dataset
from medshards.shards.build.place import WORK
from medshards.shards.encode.stage import finished, parts
from tests.command import medshards
from tests.shards.conftest import Build, contents

TROUBLES = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    PermissionError(errno.EACCES, "Permission denied"),
    MemoryError(),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=["disk", "io", "permission", "memory"])
@pytest.mark.parametrize("disguise", ["plain", "wrapped", "quoted"])
def test_trouble_of_the_machine_is_no_reject(
    build: Build,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
    disguise: str,
) -> None:
    """However a reader words it: the build stops with one line, and goes on where it was."""
    source = type(get_source("drive"))
    real = source.load

    def load(self: object, case: Case) -> Iterator[Sample | Skip | Reject]:
        if case.key == "24_training":
            try:
                raise trouble
            except Exception as error:
                if disguise == "plain":
                    raise
                raise Reject("unreadable", "is damaged") from (error if disguise == "wrapped" else None)
        yield from real(self, case)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(source, "load", load)
        with pytest.raises(MachineError, match="24_training") as caught:
            build(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/drive").exists()
    kept = [o.case for part in parts(tmp_path / "out" / WORK) for o in finished(part)]
    assert "24_training" not in kept
    result = build(tmp_path / "out")
    assert (result.encoded, result.reused) == (8 - len(kept), len(kept))
    assert contents(tmp_path / "out") == contents(built)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_read_stops_a_build(
    build: Build, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is named, and not taken for damage or, a folder, for nothing."""
    place = raw / "drive/DRIVE/training/images" / ("24_training.tif" if what == "file" else "")
    for name in ("open", "scandir"):
        _deny(monkeypatch, io if name == "open" else os, name, place)
    with pytest.raises(MachineError, match=r"images.*Permission denied.*; mend that"):
        build(tmp_path / "out")
    assert not (tmp_path / "out/drive").exists()


def _deny(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, place: Path) -> None:
    """Let a function refuse one place; for root, whom permissions do not stop."""
    real = getattr(module, name)

    def denied(path: object, *arguments: object, **named: object) -> object:
        if isinstance(path, str | Path) and Path(path) == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(module, name, denied)


def test_what_a_decoder_says_of_a_file_is_the_files_fault() -> None:
    assert machine_error(OSError("cannot identify image file")) is None
    assert machine_error(OSError(errno.ENOENT, "No such file or directory")) is None


def _command(raw: Path, out: Path, limit: int = 0) -> tuple[int, str]:
    """`medshards build` in a fork whose files may be of so many bytes (0: any): its status, and what it said."""
    log = raw.with_name("log")
    process = multiprocessing.get_context("fork").Process(target=_limited, args=(raw, out, limit, log))
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode, log.read_text()


def _limited(raw: Path, out: Path, limit: int, log: Path) -> None:
    for handle, path in ((1, os.devnull), (2, log)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
    sys.stderr = os.fdopen(2, "w", closefd=False)  # pytest's own goes elsewhere
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["medshards", "build", "drive", "--raw", str(raw), "--out", str(out)]
    main()


def _stopped(outcome: tuple[int, str], out: Path, said: str) -> None:
    """A build that did not fit ended in one line that says why and where, blames no source, and published nothing."""
    status, log = outcome
    assert status == 1, log
    assert said in log
    assert f"Error: {out}" in log, log
    assert len(log.splitlines()) == 1
    assert not list(out.glob("drive/**/*.tar"))


def _full_at(raw: Path, folder: Path, points: int) -> int:
    """Build under limits of the size of files, then without; how often the corpus is that of an undisturbed build."""
    assert _command(raw, folder / "fresh")[0] == 0
    fresh, right = contents(folder / "fresh"), 0
    largest = max(map(len, fresh.values()))
    for limit in (largest * point // (points + 1) for point in range(1, points + 1)):
        out = folder / str(limit)
        _stopped(_command(raw, out, limit), out, "File too large")
        right += _command(raw, out)[0] == 0 and contents(out) == fresh
    return right


def _filled_at(raw: Path, folder: Path, points: int) -> int:
    """Build on a file system of less than it takes, then on the same, made larger; how often the corpus is right."""
    assert _command(raw, folder / "fresh")[0] == 0
    fresh, right, disk = contents(folder / "fresh"), 0, folder / "disk"
    needed = sum(map(len, fresh.values()))
    disk.mkdir()
    for size in (needed * point // points for point in range(1, points + 1)):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this user may not mount a file system")
        try:
            out = disk / "out"
            _stopped(_command(raw, out), out, "No space left on device")
            subprocess.run(["mount", "-o", f"remount,size={4 * needed}", str(disk)], check=True)
            right += _command(raw, out)[0] == 0 and contents(out) == fresh
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return right


def test_a_disk_that_was_full_leaves_no_hole(raw: Path, tmp_path: Path) -> None:
    assert _full_at(raw, tmp_path, 2) == 2


def test_a_full_file_system_leaves_no_hole(raw: Path, tmp_path: Path) -> None:
    """The real thing, where this user may mount it."""
    assert _filled_at(raw, tmp_path, 2) == 2


@pytest.mark.slow
@pytest.mark.parametrize("fill", [_full_at, _filled_at])
def test_a_disk_that_was_full_at_26_points_leaves_no_hole(
    fill: Callable[[Path, Path, int], int], raw: Path, tmp_path: Path
) -> None:
    assert fill(raw, tmp_path, 26) == 26


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_kills_its_process_is_named_and_the_rest_is_built(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    source = type(get_source("drive"))
    real = source.load

    def load(self: object, case: Case) -> Iterator[Sample | Skip | Reject]:
        if case.key == "24_training":
            os.kill(os.getpid(), signal.SIGSEGV)
        yield from real(self, case)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(source, "load", load)
        result = build(tmp_path / "out", workers=workers)
    assert result.samples == 7
    assert [(row["case"], row["code"]) for row in result.rejects] == [("24_training", "kills_worker")]
    assert "24" in result.rejects[0]["file"]
    again = build(tmp_path / "out")  # the decoder was mended
    assert (again.samples, again.encoded, again.rejects) == (8, 1, [])


@pytest.mark.parametrize("times", [1, 2])
def test_workers_that_die_once_or_twice_take_no_case_with_them(
    build: Build, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Two cases that a worker has in hand together; the one dies before the other is begun."""
    source = type(get_source("drive"))
    real = source.load

    def load(self: object, case: Case) -> Iterator[Sample | Skip | Reject]:
        died = [tmp_path / f"{case.key} {n}" for n in range(times)]
        left = [path for path in died if not path.exists()]
        if case.key in ("24_training", "25_training") and left:
            left[0].touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from real(self, case)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(source, "load", load)
        result = build(tmp_path / "out", workers=2)
    assert (result.samples, result.rejects) == (8, [])
    assert contents(tmp_path / "out") == contents(built)


def test_a_build_whose_output_nobody_reads_is_done_all_the_same(tmp_path: Path) -> None:
    """`medshards build … | head -0`, and 2>&1: the status tells of the data."""
    for slug, status in (
        ("drive", 0),
        ("tn3k", 1 if phantoms.write_phantom("tn3k", tmp_path / "x").rejects else 0),
    ):
        phantoms.write_phantom(slug, tmp_path / "raw" / slug)
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "medshards", "build", slug, "--raw", str(tmp_path / "raw")]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "out")], stdout=writer, stderr=writer, timeout=300
        )
        os.close(writer)
        assert done.returncode == status
        assert (tmp_path / "out" / slug / "manifest.json").is_file()


def test_keys_of_an_own_converter_stay_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = type(get_source("drive"))
    real = source.load

    def load(self: object, case: Case) -> Iterator[Sample]:
        for sample in real(self, case):  # type: ignore[arg-type]
            assert isinstance(sample, Sample)
            sample.key = "../../" + sample.key
            yield sample

    monkeypatch.setattr(source, "load", load)
    phantoms.write_phantom("drive", tmp_path / "raw")
    result = build_dataset(load_catalog()["drive"], tmp_path / "raw", tmp_path / "out")
    assert (result.samples, {row["code"] for row in result.rejects}) == (0, {"unsafe_key"})


@pytest.mark.parametrize("keeps", ["curate.cases", "shards.build.ledger"])
def test_a_full_disk_for_temporary_files_is_said_in_a_line(
    keeps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")

    def small(*statements: str) -> Scratch:
        return scratch("PRAGMA page_size = 512", *statements, "PRAGMA max_page_count = 1")  # no more than now

    monkeypatch.setattr(f"medshards.{keeps}.scratch", small)
    refused = medshards("build", "drive", "--raw", tmp_path / "raw", "--out", tmp_path / "out")
    assert refused.exit_code == 1
    told = "Error: a temporary file cannot be written (database or disk is full); make room where TMPDIR says"
    assert refused.stderr.startswith(told)
    assert not (tmp_path / "out" / "drive").exists()
