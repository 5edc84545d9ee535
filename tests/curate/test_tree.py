"""Downloads that were not unpacked: archives side by side, archives in archives, files of one name."""

import re
import zipfile
from pathlib import Path

import pytest

from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs
from medshards.curate.tree import Layout, open_download

PAIRS = (Layout("pairs", ("images/*.png", "masks/*.png")),)
LEVELS = (Layout("levels", ("*Noise*/**/a_[0-9].h5",)),)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))


def pack(path: Path, **members: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)


def contents(root: Path, layouts: tuple[Layout, ...]) -> dict[str, str]:
    return {
        file.name: file.path.read_text()
        for tree in open_download(root, layouts)
        for file in tree.files.values()
        if file.suffix != ".zip"
    }


def test_archives_side_by_side_make_one_tree(tmp_path: Path) -> None:
    pack(tmp_path / "raw/a.zip", images__1_dot_png="image", README_dot_md="of the images")
    pack(tmp_path / "raw/b.zip", masks__1_dot_png="mask", README_dot_md="of the masks")
    assert contents(tmp_path / "raw", PAIRS) == {
        "images/1.png": "image",
        "masks/1.png": "mask",
        "README.md": "of the images",
    }


def test_archive_in_an_archive(tmp_path: Path) -> None:
    pack(tmp_path / "inner.zip", images__1_dot_png="image", masks__1_dot_png="mask")
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw/outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "Some Dataset.zip")
    assert contents(tmp_path / "raw", PAIRS) == {"images/1.png": "image", "masks/1.png": "mask"}
    assert contents(tmp_path / "raw/outer.zip", PAIRS) == {"images/1.png": "image", "masks/1.png": "mask"}


def test_files_of_one_name_lie_in_folders_of_their_archives_names(tmp_path: Path) -> None:
    pack(tmp_path / "raw/LowNoise_3D.zip", a_0_dot_h5="low")
    pack(tmp_path / "raw/HighNoise_3D.zip", a_0_dot_h5="high")
    assert contents(tmp_path / "raw", LEVELS) == {"LowNoise_3D/a_0.h5": "low", "HighNoise_3D/a_0.h5": "high"}


def test_the_name_of_the_archive_tells_what_its_files_do_not(tmp_path: Path) -> None:
    pack(tmp_path / "raw/LowNoise_3D.zip", a_0_dot_h5="low")
    assert contents(tmp_path / "raw", LEVELS) == {"LowNoise_3D/a_0.h5": "low"}
    (tmp_path / "raw/LowNoise_3D.zip").rename(tmp_path / "raw/LowNoise.zip")
    assert contents(tmp_path / "raw/LowNoise.zip", LEVELS) == {"LowNoise/a_0.h5": "low"}


def test_two_different_files_of_one_name_are_never_mixed(tmp_path: Path) -> None:
    pack(tmp_path / "raw/a.zip", images__1_dot_png="image", masks__1_dot_png="mask")
    pack(tmp_path / "raw/b.zip", images__1_dot_png="another image", masks__1_dot_png="another mask")
    assert contents(tmp_path / "raw", PAIRS) == {
        "a/images/1.png": "image",
        "a/masks/1.png": "mask",
        "b/images/1.png": "another image",
        "b/masks/1.png": "another mask",
    }
    pack(tmp_path / "clash/a.zip", images__1_dot_png="image")
    pack(tmp_path / "clash/a/images/x.zip")
    (tmp_path / "clash/a/images/1.png").write_text("unpacked before")
    with pytest.raises(Reject, match="duplicate_file"):
        open_download(tmp_path / "clash", PAIRS)


def test_files_deep_below_are_described_from_the_outermost_folder(tmp_path: Path) -> None:
    for name in ("top/data/A/masks/1.png", "top/B/images/1.png", "top/B/images/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    deep = (Layout("anywhere", ("**/masks/*.png", "**/images/*.png")),)
    (tree,) = open_download(tmp_path, deep)
    assert tree.base == ""
    assert [f.name for f in tree.glob("**/images/*.png")] == ["top/B/images/1.png", "top/B/images/2.png"]
    own_folders = (Layout("each in its folder", ("A/**/*.png", "B/**/*.png")),)
    with pytest.raises(Reject, match="not_recognised"):
        open_download(tmp_path, own_folders)
    (tmp_path / "top/data/A").rename(tmp_path / "top/A")
    (tree,) = open_download(tmp_path, own_folders)
    assert tree.base == "top/"


@pytest.mark.parametrize("slug", slugs())
def test_no_layout_is_described_by_a_row_of_character_classes(slug: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    with pytest.raises(Reject, match="looked for") as caught:
        get_source(slug).open(tmp_path)
    assert not re.search(r"(\[[^]]+\])\1{2}", caught.value.message), caught.value.message
