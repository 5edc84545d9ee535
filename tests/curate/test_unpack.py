"""Archives: unpacked safely and once; what another program has to do is said, and trouble of the disk is named."""

import errno
import io
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from medshards.curate import unpack as module
from medshards.curate.sample import Reject
from medshards.curate.tree import Layout, open_download
from medshards.curate.unpack import unpack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _zip(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, data)
    return path


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_zip_from_windows_is_read(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("Set\\", b""), ("Set\\images\\", b""), ("Set\\images\\1.png", b"one"))
    assert _files(unpack(archive)) == {"Set/images/1.png": b"one"}


def _patch(path: Path, offset_local: int, offset_central: int, value: int) -> Path:
    """Set a 16-bit field of the only member's two headers."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.index(b"PK\x03\x04") + offset_local, value)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + offset_central, value)
    path.write_bytes(data)
    return path


def test_deflate64_and_encryption_are_left_to_other_programs(tmp_path: Path) -> None:
    with pytest.raises(Reject, match=r"a\.zip/1\.png: closed_archive.*Deflate64.*7-Zip"):
        unpack(_patch(_zip(tmp_path / "a.zip", ("1.png", b"one")), 8, 10, 9))
    with pytest.raises(Reject, match=r"closed_archive.*encrypted.*password"):
        unpack(_patch(_zip(tmp_path / "b.zip", ("1.png", b"one")), 6, 8, 1))


@pytest.mark.parametrize("names", [("1.png", "1.png"), ("a/1.png", "a\\1.png"), ("a/1.png", "a/./1.png")])
def test_two_members_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(Reject, match="duplicate_file"):
        unpack(_zip(tmp_path / "a.zip", *((name, name.encode()) for name in names)))


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_what_unpacks_to_far_more_than_itself_is_not_unpacked(
    tmp_path: Path, cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", 1 << 20)
    archive = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        _zip(archive, *((f"{n}.raw", bytes(1 << 20)) for n in range(8)))
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w:xz") as tar:
            for n in range(8):
                info = tarfile.TarInfo(f"{n}.raw")
                info.size = 1 << 20
                tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(Reject, match=r"unsafe_archive.*unpack to"):
        unpack(archive)
    assert _files(cache / "unpacked").keys() <= {next((cache / "unpacked").glob("*.lock")).name}


def test_room_is_looked_for_before_anything_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2))
    with pytest.raises(Reject, match=r"no_space.*3 bytes.*MEDSHARDS_CACHE"):
        unpack(_zip(tmp_path / "a.zip", ("1.png", b"one")))
    assert not any((cache / "unpacked").rglob("1.png"))


def test_a_disk_that_fills_is_no_corrupt_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = _zip(tmp_path / "a.zip", ("1.png", b"one"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(Reject, match="no_space"):
            unpack(archive)
    assert _files(unpack(archive)) == {"1.png": b"one"}


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Reject, match=r"cache: the cache folder .* cannot be written .*; set MEDSHARDS_CACHE"):
        unpack(_zip(tmp_path / "a.zip", ("1.png", b"one")))


def test_what_an_interrupted_call_left_is_swept(tmp_path: Path, cache: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("1.png", b"one"))
    folder = unpack(archive)
    folder.rename(folder.with_suffix(".partial"))
    (folder.with_suffix(".partial") / "half.png").write_bytes(b"ha")
    assert _files(unpack(archive)) == {"1.png": b"one"}
    assert not folder.with_suffix(".partial").exists()


@pytest.mark.parametrize("damage", ["flipped", "removed", "added", "no digests"])
def test_what_was_damaged_since_is_unpacked_again(tmp_path: Path, cache: Path, damage: str) -> None:
    archive = _zip(tmp_path / "a.zip", ("1.png", b"one"), ("2.png", b"two"))
    folder = unpack(archive)
    if damage == "flipped":
        (folder / "1.png").write_bytes(b"onf")
    elif damage == "removed":
        (folder / "1.png").unlink()
    elif damage == "added":
        (folder / "3.png").write_bytes(b"three")
    else:
        next((cache / "unpacked").glob("*.json")).unlink()
    module._proven.clear()  # as in another process
    assert _files(unpack(archive)) == {"1.png": b"one", "2.png": b"two"}


def test_a_refusal_quotes_no_member_but_as_its_place(tmp_path: Path) -> None:
    """Names in an archive may be names of patients; `open_renamed` replaces the place."""
    whole = _zip(tmp_path / "whole.zip", ("JANE_DOE.png", b"one" * 99)).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"JANE_DOE", b"JANE_DOF", 1))  # the two headers differ
    data = whole.index(b".png") + 6
    (tmp_path / "b.zip").write_bytes(whole[:data] + bytes([whole[data] ^ 255]) + whole[data + 1 :])
    _zip(tmp_path / "c.zip", ("../JANE_DOE.png", b"one"))
    _zip(tmp_path / "d.zip", ("JANE_DOE.png", b"one"), ("JANE_DOE.png", b"two"))
    _zip(tmp_path / "e.zip", ("JANE_DOE" * 40, b"one"))
    for name in "abcde":
        with pytest.raises(Reject) as caught:
            unpack(tmp_path / f"{name}.zip")
        assert "JANE_DOE" not in caught.value.message
        assert caught.value.file.startswith(f"{name}.zip/")


def test_a_rar_beside_nothing_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "PH2Dataset.rar").write_bytes(b"Rar!")
    with pytest.raises(Reject, match=r"not_recognised.*PH2Dataset\.rar.*7-Zip or unrar"):
        open_download(tmp_path / "raw", (Layout("pairs", ("images/*.png",)),))
