"""What reaches a person when a command cannot go on: one line and the right status, never a traceback."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli, explain

# Runs the command with the packages named in the first argument made impossible to import.
WITHOUT = """
import sys
for name in filter(None, sys.argv.pop(1).split(",")):
    sys.modules[name] = None
from medshards.cli import cli, main
@cli.command()
def faulty(): raise RuntimeError("two\\nlines")
get = type(cli).get_command
type(cli).get_command = lambda self, ctx, name: faulty if name == "faulty" else get(self, ctx, name)
main()
"""


def medshards(*arguments: str, temp: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, without, *arguments]
    environment = {**os.environ, "TMPDIR": str(temp)}
    return subprocess.run(command, env=environment, cwd=temp, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("train", "--data", "corpus", "--out", "run"), "torch", "train"),
        (("evaluate", "--data", "corpus", "--checkpoint", "run"), "torch", "train"),
        (("pull", "lab/corpus", "out"), "huggingface_hub", "hub"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_without_the_extra_a_command_says_what_to_install(
    arguments: tuple[str, ...], package: str, extra: str, tmp_path: Path
) -> None:
    ended = medshards(*arguments, temp=tmp_path, without=package)
    assert ended.returncode == 1, ended.stderr
    assert f"pip install 'medshards[{extra}]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = medshards("phantom", "ph2", "--out", "file/within", temp=tmp_path)
    assert ended.returncode == 1, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: file/within")


def test_a_full_or_read_only_disk_explains_itself() -> None:
    for number in (errno.ENOSPC, errno.EROFS):
        told = explain(OSError(number, os.strerror(number), "/mnt/corpus/x"))
        assert told == f"/mnt/corpus/x: {os.strerror(number)}; name another path, or change this one"


def test_trouble_of_the_machine_without_a_place_is_no_unforeseen_fault() -> None:
    """A disk or quota that is found full while something is written names no file."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        told = explain(OSError(number, os.strerror(number)))
        assert told == f"{os.strerror(number)}; mend that and run the same command again"
    assert explain(MemoryError()).startswith("memory ran out")


def test_an_unforeseen_fault_is_one_line_and_its_trace_is_kept(tmp_path: Path) -> None:
    ended = medshards("faulty", temp=tmp_path)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    kept = re.fullmatch(r"Error: unforeseen RuntimeError: two lines \(full trace: (.+)\)", line)
    assert kept, line
    assert "Traceback" in Path(kept[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("verfy corpus", "verify"),
        ("catalog shwo busi", "show"),
        ("vocab serch polyp", "search"),
        ("prompts bild corpus", "build"),
        ("catalog show bus-uclm", "bus_uclm"),
        ("inspect kvasir --raw .", "kvasir_seg"),
        ("build busii --raw . --out out", "busi"),
        ("download ISIC2018 --raw .", "isic_2018"),
        ("phantom driv --out .", "drive"),
        ("vocab list --dataset stear", "stare"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(arguments: str, meant: str) -> None:
    result = CliRunner().invoke(cli, arguments.split())
    assert result.exit_code == 2
    assert f"did you mean {meant!r}" in result.output
