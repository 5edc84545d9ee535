"""Text files: a byte order mark is no text, other encodings are refused with the file's name."""

from pathlib import Path

import pytest

from medshards.curate.formats.text import read_text
from medshards.curate.sample import Reject
from medshards.curate.tree import File


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_utf_8_with_and_without_mark(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(start + "grade;größe\r\n".encode())
    assert read_text(File("a.csv", tmp_path / "a.csv")) == "grade;größe\r\n"


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe".encode("latin-1"))
    with pytest.raises(Reject, match=r"a\.csv: unreadable: is no text in UTF-8"):
        read_text(File("a.csv", tmp_path / "a.csv"))
