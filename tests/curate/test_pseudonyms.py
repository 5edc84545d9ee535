"""The key that renames patients: made once, kept private, never half written; names depend on it."""

import io
import json
import re
import stat
import zipfile
from pathlib import Path

import pytest

from medshards.curate import phantoms
from medshards.curate.listing import list_download
from medshards.curate.pseudonyms import key_file, load_key, pseudonym, renamed, write_name_map
from medshards.curate.sample import Reject
from medshards.curate.source import get_source


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSHARDS_KEY_FILE", str(tmp_path / "a" / "patients.key"))


def test_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    first = load_key()
    assert len(first) == 32
    assert load_key() == first
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert [p.name for p in key_file().parent.iterdir()] == ["patients.key"]


def test_lies_in_the_configuration_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSHARDS_KEY_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_file() == tmp_path / "medshards" / "patients.key"


def test_names_depend_on_the_key_and_on_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = load_key()
    names = {pseudonym(key, "patient", "1"), pseudonym(key, "patient", "2"), pseudonym(key, "study", "1")}
    assert len(names) == 3
    assert all(len(name) == 16 for name in names)
    assert pseudonym(key, "a", "bc") != pseudonym(key, "ab", "c")
    monkeypatch.setenv("MEDSHARDS_KEY_FILE", str(tmp_path / "b"))
    assert pseudonym(load_key(), "patient", "1") not in names


@pytest.mark.parametrize("content", ["", "0123", "not hexadecimal", "00" * 31])
def test_a_damaged_key_is_not_replaced(content: str) -> None:
    key_file().parent.mkdir(parents=True)
    key_file().write_text(content)
    with pytest.raises(Reject, match="key_file"):
        load_key()
    assert key_file().read_text() == content


def test_an_impossible_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDSHARDS_KEY_FILE", str(tmp_path / "file" / "key"))
    with pytest.raises(Reject, match="MEDSHARDS_KEY_FILE or --key-file"):
        load_key()


@pytest.mark.parametrize(
    "name", ["055-1/055_M_GA38.jpg", "055_M_GA38.jpg", "a/b/055_M.GA38", "P_2022.10.17/x.JPG"]
)
def test_a_renamed_path_keeps_its_suffix_alone(name: str) -> None:
    new = renamed(load_key(), "coph100", name)
    assert re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}(\.jpg|\.JPG)?", new)
    assert renamed(load_key(), "pcmmd", name) != new


def test_renamed_files_of_a_folder_stay_together_and_apart() -> None:
    names = ["a/1.jpg", "a/1.json", "a/1.2", "a/1.3", "b/1.jpg"]
    new = [renamed(load_key(), "pcmmd", name) for name in names]
    assert len(set(new)) == 5
    assert len({name.split("/")[0] for name in new}) == 2


def test_what_is_no_download_is_told_by_kinds_alone(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "055_M_GA38"
    folder.mkdir(parents=True)
    (folder / "055_M_GA38_BW3245.jpg").write_bytes(b"x")
    with pytest.raises(Reject, match=r"1 \.jpg") as caught:
        get_source("coph100").open(tmp_path / "raw")
    assert "GA38" not in str(caught.value)


def test_the_private_map_tells_the_user_alone(tmp_path: Path) -> None:
    phantoms.write_phantom("coph100", tmp_path / "raw")
    listing = list_download(get_source("coph100"), tmp_path / "raw")
    path = write_name_map("coph100", listing.trees[0].files.values())
    assert path.parent == key_file().parent
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = dict(line.split("\t") for line in path.read_text().splitlines())
    mask = next(iter(listing.cases)).files["mask"]
    assert json.loads(told[mask.name]) == str(mask.path)


@pytest.mark.parametrize("nested", [False, True])
def test_what_is_said_of_a_damaged_archive_names_no_patient(tmp_path: Path, nested: bool) -> None:
    """Of what was downloaded the archive alone is named; a member, an archive in it too, by a hash."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("../055_M_GA38.jpg", b"outside")
    with zipfile.ZipFile(tmp_path / "coph100.zip", "w") as archive:
        archive.writestr("055_M_GA38.zip" if nested else "../055_M_GA38.jpg", inner.getvalue())
    for root in (tmp_path / "coph100.zip", tmp_path):
        with pytest.raises(Reject, match="unsafe_archive: would be written outside") as caught:
            list_download(get_source("coph100"), root)
        assert "GA38" not in str(caught.value)
        assert re.match(r"[0-9a-f]{16}/[0-9a-f]{16}", caught.value.file)
