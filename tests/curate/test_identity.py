"""The key that renames patients: made once, kept private, never half written; names depend on it."""

import stat
from pathlib import Path

import pytest

from medshards.curate.identity import key_file, load_key, pseudonym
from medshards.curate.sample import Reject


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
