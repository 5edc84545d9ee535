"""What the README shows of the command is what the command says, on the same real files."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli

README = Path(__file__).parents[1] / "README.md"
SECTION = "## What it does, on real files"


def transcript() -> list[tuple[str, str]]:
    """(command line, what it printed) of the section; "…" stands for anything."""
    block = README.read_text("utf-8").split(SECTION)[1].split("```console\n")[1].split("```")[0]
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def squeezed(text: str) -> str:
    """Without line breaks: the README wraps long lines."""
    return " ".join(text.split())


@pytest.mark.timeout(900)
def test_the_transcript(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "downloads").symlink_to(samples)
    monkeypatch.chdir(tmp_path)
    lines = transcript()
    assert len(lines) >= 5
    for line, shown in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "medshards"
        done = CliRunner().invoke(cli, words[1:])
        pattern = re.escape(squeezed(shown)).replace("…", ".*")
        assert re.fullmatch(pattern, squeezed(done.output)), f"$ {line}\n{done.output}"
