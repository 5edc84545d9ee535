"""Spoiled downloads: each fault gives one clear line, the rest is built, the exit status is 1, nothing crashes."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate import phantoms
from medshards.shards.prove.verify import verify
from tests.command import medshards

KVASIR = "kvasir_seg/Kvasir-SEG"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for slug in ("kvasir_seg", "m2caiseg", "ravir"):
        phantoms.write_phantom(slug, tmp_path / "raw" / slug)
    return tmp_path / "raw"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _shrink(path: Path) -> None:
    picture = PIL.Image.open(path)
    picture.resize((picture.width - 3, picture.height)).save(path)


def _lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")


def _paint(path: Path, color: tuple[int, int, int] | int) -> None:
    pixels = np.asarray(PIL.Image.open(path)).copy()
    pixels[:4, :4] = color
    PIL.Image.fromarray(pixels).save(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    # fault: (dataset and pattern of the file to spoil, reason code, how)
    "a truncated JPEG image": ("kvasir_seg/*/images/*.jpg", "unreadable", _truncate),
    "a truncated JPEG mask": ("kvasir_seg/*/masks/*.jpg", "unreadable", _truncate),
    "a truncated PNG": ("ravir/*/train/training_images/*.png", "unreadable", _truncate),
    "an empty file": ("kvasir_seg/*/images/*.jpg", "unreadable", lambda p: p.write_bytes(b"")),
    "no picture at all": ("kvasir_seg/*/images/*.jpg", "unreadable", lambda p: p.write_text("hello")),
    "a mask of another size": ("ravir/*/train/training_masks/*.png", "size_mismatch", _shrink),
    "a Git-LFS pointer": ("kvasir_seg/*/images/*.jpg", "lfs_pointer", _lfs),
    "an unknown colour": (
        "m2caiseg/*/train/groundtruth/*.png",
        "unknown_label",
        lambda p: _paint(p, (1, 2, 3)),
    ),
    "an unknown value": ("ravir/*/train/training_masks/*.png", "unknown_label", lambda p: _paint(p, 77)),
    "a missing mask": ("kvasir_seg/*/masks/*.jpg", "missing_mask", Path.unlink),
    "a folder in place of a file": ("kvasir_seg/*/masks/*.jpg", "missing_mask", _folder),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_file_is_named_and_the_rest_is_built(raw: Path, tmp_path: Path, fault: str) -> None:
    pattern, code, spoil = FAULTS[fault]
    slug = pattern.split("/")[0]
    whole = phantoms.write_phantom(slug, tmp_path / "whole")
    victim = sorted(raw.glob(pattern))[1]
    spoil(victim)
    result = medshards("build", slug, "--raw", raw, "--out", tmp_path / "out")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if code in line]
    new = [line for line in lines if victim.stem in line]
    assert len(new) == 1, result.stderr
    rejects = [
        json.loads(line) for line in (tmp_path / "out" / slug / "rejects.jsonl").read_text().splitlines()
    ]
    assert code in {r["code"] for r in rejects}
    assert len(rejects) == sum(whole.rejects.values()) + 1
    assert f"{whole.samples - 1} samples" in result.stdout
    assert verify(tmp_path / "out") == []
    allowed = medshards(
        "build", slug, "--raw", raw, "--out", tmp_path / "out", "--allow-rejects", str(len(rejects))
    )
    assert allowed.exit_code == 0, allowed.stderr


@pytest.mark.parametrize("name", ["with blank", "größe", "new\nline", "dot.in.name", "quote'\"", "x" * 200])
def test_odd_file_names_do_no_harm(tmp_path: Path, name: str) -> None:
    """A name that is not the dataset's own is either refused by name or converted; it never breaks the build."""
    expected = phantoms.write_phantom("busi", tmp_path / "raw" / "busi")
    folder = next((tmp_path / "raw" / "busi").rglob("benign"))
    image = sorted(p for p in folder.glob("*.png") if "mask" not in p.name)[0]
    shutil.copy(image, folder / f"{name}.png")
    result = medshards("build", "busi", "--raw", tmp_path / "raw", "--out", tmp_path / "out")
    assert f"{expected.samples} samples" in result.stdout
    assert result.exit_code == 1
    shown = name.encode("unicode_escape").decode() if "\n" in name else name
    assert len([line for line in result.stderr.splitlines() if shown in line]) == 1
    assert verify(tmp_path / "out") == []


def test_downloads_that_cannot_be_used_at_all(raw: Path, tmp_path: Path) -> None:
    phantoms.write_phantom("drive", raw / "elsewhere")
    shutil.move(raw / "elsewhere", raw / "chase_db1")  # the wrong dataset
    (raw / "stare").mkdir()  # empty
    (raw / "hc18").mkdir()
    (raw / "hc18" / "training_set.zip").write_bytes(b"PK\x03\x04 this is no archive")
    with zipfile.ZipFile(raw / "ph2.zip", "w") as archive:
        archive.writestr("../outside.txt", "x")
    result = medshards("build", "--all", "--raw", raw, "--out", tmp_path / "out")
    assert result.exit_code == 1
    said = {line.split(":")[0]: line for line in result.stderr.splitlines()}
    assert "not_recognised" in said["chase_db1"]
    assert "empty" in said["stare"]
    assert "corrupt_archive" in said["hc18"]
    assert "training_set.zip" in said["hc18"]
    assert "unsafe_archive" in said["ph2"]
    assert not (tmp_path / "outside.txt").exists()
    assert not (raw / "outside.txt").exists()
    assert "kvasir_seg:" in result.stdout
    assert "ravir:" in result.stdout
    assert "not there" in result.stdout
    assert verify(tmp_path / "out") == []


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    for words in (
        ("build", "--raw", tmp_path, "--out", tmp_path / "o"),
        ("build", "nosuch", "--raw", tmp_path, "--out", tmp_path / "o"),
        ("build", "drive", "--raw", tmp_path / "absent", "--out", tmp_path / "o"),
    ):
        result = medshards(*words)
        assert result.exit_code == 2


def test_help_is_light() -> None:
    code = (
        "import sys; sys.argv=['medshards','--help']\n"
        "from medshards.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch','numpy','pandas','pyarrow','cv2','transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("slug", ["btcv", "segthy", "urocell"])
def test_a_download_whose_labels_are_all_empty_is_no_success(slug: str, tmp_path: Path) -> None:
    phantoms.write_phantom(slug, tmp_path / "raw")
    for path in (tmp_path / "raw").rglob("*.nii*"):
        if {"img", "imagesTr", "MRI", "US", "data"}.isdisjoint(path.parts):
            volume = nib.Nifti1Image.from_filename(path)
            nib.save(nib.Nifti1Image(np.zeros_like(np.asanyarray(volume.dataobj)), volume.affine), path)
    for words, gives in (
        (("build", slug, "--out", str(tmp_path / "out")), "gave"),
        (("inspect", slug), "gives"),
    ):
        result = CliRunner().invoke(cli, [*words, "--raw", str(tmp_path / "raw")])
        assert result.exit_code == 1
        assert f"{slug}: the download {gives} no sample" in result.output


def test_a_download_of_which_nothing_can_be_read_becomes_an_empty_dataset(tmp_path: Path) -> None:
    phantoms.write_phantom("kvasir_seg", tmp_path / "raw" / "kvasir_seg")
    for image in (tmp_path / "raw").glob("kvasir_seg/*/images/*.jpg"):
        image.write_bytes(b"")
    result = medshards("build", "kvasir_seg", "--raw", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "0 samples" in result.stdout
    assert verify(tmp_path / "out") == []
