"""Tar members: standard readers agree, and nothing but name and content decides the bytes."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshards.shards.encode import tar

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789_-.", min_size=1, max_size=100).filter(
    lambda n: n.strip(".")
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=2000)), max_size=5))
def test_pythons_tarfile_reads_what_is_written(files: list[tuple[str, bytes]]) -> None:
    data = b"".join(tar.member(name, content) for name, content in files) + tar.END
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        found = [(m.name, archive.extractfile(m).read()) for m in members]  # type: ignore[union-attr]
    assert found == files
    assert all((m.mtime, m.uid, m.gid, m.uname, m.mode) == (0, 0, 0, "", 0o644) for m in members)


@pytest.mark.parametrize("name", ["", "x" * 101, "größe.png"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        tar.header(name, 1)


def test_a_size_that_does_not_fit_is_refused() -> None:
    assert tarfile.TarInfo.frombuf(tar.header("a.png", tar.LARGEST), "ascii", "strict").size == tar.LARGEST
    with pytest.raises(ValueError, match="fit"):
        tar.header("a.png", tar.LARGEST + 1)
