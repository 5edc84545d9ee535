"""What the README shows of the command is what it says, on the same real files; commands of all pages exist, and links
lead where they say."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medshards.cli import cli

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted(README.parent.glob("C*.md")), *sorted(README.parent.glob("docs/*.md"))]
SECTION = "## What it does, on real files"


def transcript() -> list[tuple[str, str]]:
    """(command line, what it printed) of the section; "…" stands for anything."""
    block = README.read_text("utf-8").split(SECTION)[1].split("```console\n")[1].split("```")[0]
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def squeezed(text: str) -> str:
    """Without line breaks: the README wraps long lines."""
    return " ".join(text.split())


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def commands(page: Path) -> list[str]:
    """The command lines of a page, as they would be typed; what stands behind three spaces says what they do."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?: {4}|\$ )(medshards [a-z].*)", text, re.MULTILINE)
    return [re.split(r" +#|\s{3,}(?!-)", line)[0].removesuffix(" …") for line in lines]


def check(line: str) -> None:
    """Raises click.UsageError when the command, an option or a choice does not exist."""
    command: click.Command = cli
    rest = shlex.split(line)[1:]
    while isinstance(command, click.Group) and rest and rest[0][0] != "-":
        _, found, rest = command.resolve_command(click.Context(command), rest)
        assert found is not None
        command = found
    context = click.Context(command)
    options, left, _ = command.make_parser(context).parse_args(rest)
    if left:
        raise click.UsageError(f"too many words: {left}")
    for param in command.params:
        value = options.get(param.name)
        if value is not None and isinstance(param.type, click.Choice | click.IntRange | click.FloatRange):
            param.type_cast_value(context, value)


def test_the_commands_of_all_pages_exist() -> None:
    lines = [(page.name, line) for page in PAGES for line in commands(page)]
    assert len(lines) > 50
    for name, line in lines:
        try:
            check(line)
        except click.UsageError as error:
            pytest.fail(f"{name}: {line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    [
        "medshards buidl drive",
        "medshards build drive --worker 2",
        "medshards verify corpus other",
        "medshards evaluate --distances both",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for where, anchor in re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", page.read_text("utf-8")):
        if "://" not in where:
            target = page.parent / where if where else page
            assert target.exists(), f"{page.name} links to {where}"
            assert not anchor or anchor in headings(target), f"{page.name} links to {where}#{anchor}"


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
