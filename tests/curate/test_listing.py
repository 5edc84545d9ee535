"""Listing a download: what lies in it and is not read is said, under whatever name it lies there."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.listing import Listing, list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs

SPELLINGS = {  # of a folder, as people and programs change them
    "upper": str.upper,
    "lower": str.lower,
    "blanks": lambda name: name.replace("_", " "),
    "underscores": lambda name: name.replace(" ", "_").replace("-", "_"),
    "copy": lambda name: f"{name} (1)",
    "release": lambda name: f"{name}_v2",
}


def unread(slug: str, root: Path) -> dict[str, str]:
    rows = list_download(get_source(slug), root).rejects
    return {row["file"]: row["message"] for row in rows if row["code"] in ("unread", "unknown_name")}


@pytest.mark.parametrize("slug", ["isic_2018", "pannuke", "monuseg", "umd_petct"])
def test_archives_beside_unpacked_parts_are_named(slug: str, tmp_path: Path) -> None:
    root = tmp_path / slug
    write_phantom(slug, root)
    more = tmp_path / "more"
    more.mkdir()
    (more / "more.png").write_bytes(b"picture")
    for name in ("one", "two"):
        shutil.make_archive(str(root / name), "zip", more)
    [(file, message)] = unread(slug, root).items()
    assert Path(file).suffix == ".zip"
    names = "" if get_source(slug).private_names else " (one.zip, two.zip)"
    assert message == f"2 archives were not read{names}: unpack them where they lie"
    (root / "two.zip").unlink()
    assert next(iter(unread(slug, root).values())) == "1 archive was not read: unpack it where it lies"


def test_archives_that_were_opened_are_read(tmp_path: Path) -> None:
    write_phantom("isic_2018", tmp_path / "files")
    (tmp_path / "zipped").mkdir()
    shutil.make_archive(str(tmp_path / "zipped" / "all"), "zip", tmp_path / "files")
    assert unread("isic_2018", tmp_path / "zipped") == {}


@pytest.mark.parametrize("slug", slugs())
def test_of_a_phantom_every_file_is_read_or_known(slug: str, tmp_path: Path) -> None:
    write_phantom(slug, tmp_path / slug)
    assert unread(slug, tmp_path / slug) == {}


def test_what_is_known_and_not_read_is_counted_by_reason(tmp_path: Path) -> None:
    write_phantom("drive", tmp_path)
    result = CliRunner().invoke(cli, ["inspect", "drive", "--raw", str(tmp_path)])
    assert result.exit_code == 0
    fields, seconds = len(list(tmp_path.rglob("mask/*"))), len(list(tmp_path.rglob("2nd_manual/*")))
    assert f"not read {fields}: mask of the field of view" in result.output
    assert f"not read {seconds}: vessels of the second observer" in result.output


@pytest.mark.parametrize("suffix", [".png", ".dcm", ".npz", ".tif", ".nii.gz"])
@pytest.mark.parametrize("content", [b"", b"cut"])
def test_a_folder_that_nobody_read_is_named_with_its_number(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    write_phantom("kvasir_seg", tmp_path)
    for name in ("a/1", "a/2", "b/deeper/3"):
        (tmp_path / "second release" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "second release" / f"{name}{suffix}").write_bytes(content)
    (tmp_path / "second release" / "README.md").write_bytes(b"a note")
    assert unread("kvasir_seg", tmp_path) == {
        "second release": f"3 files were not read (1{suffix}, 2{suffix}, 3{suffix}): "
        "this dataset has none there under such a name"
    }
    out = tmp_path.with_name("out")
    result = CliRunner().invoke(cli, ["build", "kvasir_seg", "--raw", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 1
    assert "rejected second release: unread: 3 files" in result.output


@pytest.mark.parametrize(
    ("slug", "folder", "files"),
    [
        ("arcade", "converted_nnunet", "**/*.png"),
        ("cvc_clinicdb", "converted_not_native", "**/*.jpg"),
        ("polypgen", "uncropped_other_release", "**/*.jpg"),
        ("ps_fh_aop_2023", "rendered_not_native", "**/*.png"),
    ],
)
def test_real_folders_of_other_releases_are_named(slug: str, folder: str, files: str, samples: Path) -> None:
    if not (samples / slug / folder).is_dir():
        pytest.skip(f"no {slug}/{folder} among the samples")
    count = len(list((samples / slug / folder).glob(files)))
    message = unread(slug, samples / slug)[folder]
    assert message.startswith("1 file was" if count == 1 else f"{count} files were")


def outcome(slug: str, root: Path) -> tuple[int, Listing | None]:
    """Number of cases, and the listing, None where the download is refused as a whole."""
    try:
        listing = list_download(get_source(slug), root)
    except Reject:
        return 0, None
    return len(listing.cases), listing


@pytest.mark.parametrize("slug", [s for s in slugs() if not get_source(s).loose])
def test_a_folder_under_another_spelling_is_read_or_named(slug: str, tmp_path: Path) -> None:
    """Rename each folder of a download in each way: all comes as before, or the folder or its files are named."""
    root = tmp_path / "download"
    write_phantom(slug, root)
    whole, before = outcome(slug, root)
    assert before is not None
    private = get_source(slug).private_names  # no published name is quoted: that something is named must do
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        for spell in SPELLINGS.values():
            other = folder.with_name(spell(folder.name))
            if other.name == folder.name or other.exists():
                continue
            folder.rename(other)
            count, listing = outcome(slug, root)
            if listing is not None and (count, len(listing.skips)) != (whole, len(before.skips)):
                new = [row["file"] for row in listing.rejects if row not in before.rejects]
                place = other.relative_to(root).as_posix()
                by_name = any(named(place, file) for file in new)
                assert by_name or (new and (private or count == whole)), (place, count, new)
            other.rename(folder)


def named(folder: str, file: str) -> bool:
    """True when a refused file tells of a folder: it lies in it, is it, or is a folder that holds nothing else."""
    return file.startswith(folder) or folder.startswith(f"{file}/")
