"""A build harms nothing that it did not write: it is refused before the first byte."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.curate import phantoms
from medshards.shards.build.place import WORK
from medshards.shards.cli.build import build as command
from tests.shards.conftest import Build, contents

Arrange = Callable[[Path], tuple[Path, Path]]  # (folder) -> (raw, out)


def _same(folder: Path) -> tuple[Path, Path]:
    return folder / "raw", folder / "raw"


def _trailing_slash(folder: Path) -> tuple[Path, Path]:
    return folder / "raw", Path(f"{folder}/other/../raw/./")


def _dataset_folder(folder: Path) -> tuple[Path, Path]:
    return folder / "raw", folder / "raw" / "drive"


def _below_raw(folder: Path) -> tuple[Path, Path]:
    return folder / "raw", folder / "raw" / "drive" / "DRIVE" / "corpus"


def _raw_below(folder: Path) -> tuple[Path, Path]:
    return folder / "raw", folder


def _link_to_raw(folder: Path) -> tuple[Path, Path]:
    (folder / "out").symlink_to(folder / "raw", target_is_directory=True)
    return folder / "raw", folder / "out"


def _raw_is_link(folder: Path) -> tuple[Path, Path]:
    (folder / "link").symlink_to(folder / "raw", target_is_directory=True)
    return folder / "link", folder / "raw"


def _download_is_link_into_out(folder: Path) -> tuple[Path, Path]:
    (folder / "out").mkdir()
    (folder / "raw" / "drive").rename(folder / "out" / "drive")
    (folder / "raw" / "drive").symlink_to(folder / "out" / "drive", target_is_directory=True)
    return folder / "raw", folder / "out"


def _foreign_folder(folder: Path) -> tuple[Path, Path]:
    (folder / "out" / "drive" / "notes").mkdir(parents=True)
    (folder / "out" / "drive" / "notes" / "thesis.txt").write_text("years of work")
    (folder / "out" / "drive" / "manifest.json").write_text("{}")
    return folder / "raw", folder / "out"


def _linked_folder(folder: Path) -> tuple[Path, Path]:
    (folder / "out").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "thesis.txt").write_text("years of work")
    (folder / "out" / "drive").symlink_to(folder / "elsewhere", target_is_directory=True)
    return folder / "raw", folder / "out"


def _foreign_work(folder: Path) -> tuple[Path, Path]:
    (folder / "out" / WORK / "drive" / "packs").mkdir(parents=True)
    (folder / "out" / WORK / "drive" / "packs" / "suitcase.txt").write_text("socks")
    return folder / "raw", folder / "out"


def _linked_work(folder: Path) -> tuple[Path, Path]:
    (folder / "out").mkdir()
    (folder / "out" / WORK).symlink_to(folder / "raw", target_is_directory=True)
    return folder / "raw", folder / "out"


def _file_in_the_way(folder: Path) -> tuple[Path, Path]:
    (folder / "out").mkdir()
    (folder / "out" / "drive").write_text("a file")
    return folder / "raw", folder / "out"


VARIANTS = [
    _same,
    _trailing_slash,
    _dataset_folder,
    _below_raw,
    _raw_below,
    _link_to_raw,
    _raw_is_link,
    _download_is_link_into_out,
    _foreign_folder,
    _linked_folder,
    _foreign_work,
    _linked_work,
    _file_in_the_way,
]


@pytest.mark.parametrize("arrange", VARIANTS)
def test_what_is_in_the_way_is_named_and_left(arrange: Arrange, tmp_path: Path) -> None:
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    raw, out = arrange(tmp_path)
    before = contents(tmp_path)
    result = CliRunner().invoke(command, ["drive", "--raw", str(raw), "--out", str(out)])
    assert result.exit_code == 1
    assert "choose another --out" in result.output
    assert len(result.output.splitlines()) == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "left", [".job.json.77.tmp", "units/.000001.done.699.tmp", "assembled/.index.parquet.3.tmp"]
)
def test_what_a_killed_process_was_writing_is_not_in_the_way(
    build: Build, raw: Path, tmp_path: Path, left: str
) -> None:
    build(tmp_path / "whole")
    half = tmp_path / "out" / WORK / "drive" / left
    half.parent.mkdir(parents=True)
    half.write_text("{")
    build(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "name", ["notes.txt", "train/mine.tar", "train/drive-train-000099.tar", "empty/photo.jpg"]
)
def test_a_file_among_a_builds_own_stops_the_next_build(
    build: Build, raw: Path, tmp_path: Path, name: str
) -> None:
    build(tmp_path / "out")
    mine = tmp_path / "out/drive" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    (raw / "drive/DRIVE/training/images/24_training.tif").unlink()  # there would be something to do
    before = contents(tmp_path)
    result = CliRunner().invoke(command, ["drive", "--raw", str(raw), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert name in result.output
    assert contents(tmp_path) == before
