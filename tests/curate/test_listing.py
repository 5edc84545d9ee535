"""Listing a download: what lies in it and is not read is said."""

import shutil
from pathlib import Path

import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.source import get_source, slugs


def unread(slug: str, root: Path) -> list[tuple[str, str]]:
    rows = list_download(get_source(slug), root).rejects
    return [(row["file"], row["message"]) for row in rows if row["code"] == "unread"]


@pytest.mark.parametrize("slug", ["isic_2018", "pannuke", "monuseg"])
def test_archives_beside_unpacked_parts_are_named(slug: str, tmp_path: Path) -> None:
    root = tmp_path / slug
    write_phantom(slug, root)
    assert unread(slug, root) == []
    more = tmp_path / "more"
    more.mkdir()
    (more / "more.png").write_bytes(b"picture")
    for name in ("one", "two"):
        shutil.make_archive(str(root / name), "zip", more)
    [(file, message)] = unread(slug, root)
    assert file == "one.zip"
    assert message.startswith("2 archives")


@pytest.mark.parametrize("slug", slugs())
def test_a_phantom_has_no_unread_archive(slug: str, tmp_path: Path) -> None:
    write_phantom(slug, tmp_path / slug)
    assert unread(slug, tmp_path / slug) == []


def test_archives_that_were_opened_are_read(tmp_path: Path) -> None:
    write_phantom("isic_2018", tmp_path / "files")
    (tmp_path / "zipped").mkdir()
    shutil.make_archive(str(tmp_path / "zipped" / "all"), "zip", tmp_path / "files")
    assert unread("isic_2018", tmp_path / "zipped") == []
