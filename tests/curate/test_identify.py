"""A download names itself: which dataset a folder looks like, and what is said of a folder of the wrong one."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate import phantoms
from medshards.curate.identify import identify, looks_like
from medshards.curate.listing import list_download
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs


@pytest.mark.parametrize("slug", slugs())
def test_every_phantom_is_known_by_its_names_and_taken_for_no_other(slug: str, tmp_path: Path) -> None:
    phantoms.write_phantom(slug, tmp_path / "a folder")
    for file in tmp_path.rglob("*"):  # content does not matter
        if file.is_file() and file.suffix not in (".zip", ".tar", ".tgz", ".gz"):
            file.write_bytes(b"")
    assert list(identify(tmp_path)) == [slug]


def test_every_real_download_is_known(samples: Path) -> None:
    known = [slug for slug in slugs() if (samples / slug).is_dir()]
    assert known
    for slug in known:
        try:
            list_download(get_source(slug), samples / slug)
        except Reject:
            continue  # the samples of this dataset are not in a native layout
        assert list(identify(samples / slug)) == [slug], slug


def test_folder_of_the_wrong_dataset(tmp_path: Path) -> None:
    phantoms.write_phantom("kvasir_seg", tmp_path)
    with pytest.raises(
        Reject, match=r"not_recognised: looked for training folder .* It looks like kvasir_seg \("
    ):
        list_download(get_source("drive"), tmp_path)
    result = CliRunner().invoke(cli, ["inspect", "drive", "--raw", str(tmp_path)])
    assert result.exit_code == 1
    assert "It looks like kvasir_seg" in result.output


def test_folder_of_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    assert looks_like(tmp_path) == ""
    with pytest.raises(Reject, match=r"not_recognised: .*Found below .*/\*\.jpg \(1\)$"):
        list_download(get_source("drive"), tmp_path)
    result = CliRunner().invoke(cli, ["inspect", "--raw", str(tmp_path)])
    assert result.exit_code == 1
    assert "looks like no dataset" in result.output


def test_inspect_without_slug_names_all_that_lie_there(tmp_path: Path) -> None:
    for slug in ("drive", "kvasir_seg"):
        phantoms.write_phantom(slug, tmp_path / f"{slug} unpacked")
    result = CliRunner().invoke(cli, ["inspect", "--raw", str(tmp_path)])
    assert result.exit_code == 0
    assert {line.split(":")[0] for line in result.output.splitlines()} == {"drive", "kvasir_seg"}


def test_one_folder_too_deep(tmp_path: Path) -> None:
    phantoms.write_phantom("drive", tmp_path)
    assert list(identify(tmp_path / "DRIVE" / "training")) == ["drive"]


def test_an_unforeseen_error_while_listing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantoms.write_phantom("drive", tmp_path)
    monkeypatch.setattr(type(get_source("drive")), "discover", lambda self, tree: iter([1 // 0]))
    with pytest.raises(Reject, match=r"failed: cannot be listed: ZeroDivisionError"):
        list_download(get_source("drive"), tmp_path)
