"""What people mistype is answered in one line that names the cause, with the right status: 2 usage, 1 refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medshards.cli import cli, explain
from medshards.curate.phantoms import write_phantom


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a download (raw/), a corpus (corpus/), a file and an empty folder."""
    folder = tmp_path_factory.mktemp("place")
    write_phantom("drive", folder / "raw" / "drive")
    built = CliRunner().invoke(
        cli, ["build", "drive", "--raw", str(folder / "raw"), "--out", str(folder / "corpus")]
    )
    assert built.exit_code == 0, built.output
    (folder / "file").write_text("no picture")
    (folder / "binary.csv").write_bytes(bytes(range(128, 256)))
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("no download")
    (folder / "mine.yaml").write_text("run:\n  stepz: 3\n")
    return folder


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("nonsense", 2, "'nonsense'"),
        ("catalog show drve", 2, "drive"),
        ("catalog --modality Nothing", 2, "no modality 'Nothing'; there are"),
        ("catalog --modality dermascopy", 2, "did you mean"),
        ("catalog --licence WTFPL", 2, "no licence 'WTFPL'"),
        ("catalog --modality CT --licence WTFPL", 2, "no licence 'WTFPL'"),
        ("catalog --modality CT --role train --access unpublished", 2, "no dataset fits"),
        ("vocab show polpy", 1, "did you mean 'polyp'?"),
        ("vocab search polpy", 1, "polpy"),
        ("download drve --raw out", 2, "drve"),
        ("download kvasir_seg --raw out --file none.zip", 2, "none.zip"),
        ("phantom drve --out out", 2, "drve"),
        ("phantom drive --out file/within", 1, "file/within"),
        ("inspect drve --raw raw", 2, "drve"),
        ("inspect drive --raw nowhere", 2, "nowhere"),
        ("inspect drive --raw empty", 1, "the folder empty holds no files"),
        ("inspect drive --raw other", 1, "training/images"),
        ("build drive --raw raw --out s3:/bucket/corpus", 2, "s3:/bucket/corpus is a URL"),
        ("build --raw raw --out out", 2, "name one or more SLUGs, or --all"),
        ("build drve --raw raw --out out", 2, "drve"),
        ("build drive --raw nowhere --out out", 2, "nowhere"),
        ("build drive --raw raw --out raw/out", 1, "raw"),
        ("build drive --raw raw --out file", 1, "file"),
        ("build drive --raw raw --out out --slices every:0", 2, "every:0"),
        ("build drive --raw raw --out out --workers 0", 2, "--workers"),
        ("build drive --raw raw --out out --workers 99999999999999999999", 2, "--workers"),
        ("train --plan --config tiny --card 1e300", 2, "--card"),
        ("build drive --raw raw --out corpus --profile paper", 1, "profile"),
        ("verify nowhere", 1, "nowhere/corpus.json: no such file"),
        ("verify corpus --expect 00", 2, "16 to 64 digits"),
        ("verify corpus --expect 0000000000000000", 1, "0000000000000000"),
        ("verify corpus --expect zzzzzzzzzzzzzzzz", 2, "16 to 64 digits"),
        ("stats empty", 1, "corpus.json"),
        ("audit empty", 1, "corpus.json"),
        ("audit s3://bucket/corpus --fix", 2, "upload it to s3://bucket/corpus"),
        ("audit corpus --against binary.csv", 1, "binary.csv: expected text"),
        ("push empty lab/mine", 1, "holds nothing to push"),
        ("push nowhere lab/mine", 2, "nowhere"),
        ("push corpus lab/mine", 1, "drive: refused: its licence"),
        ("push corpus mine/of/them --allow-unknown", 1, "expected owner/name"),
        ("push empty lab/mine --allow-unknown", 2, "go with a corpus"),
        ("pull mine/of/them out", 1, "expected owner/name"),
        ("overview empty --out a.png", 1, "no corpus.json"),
        ("overview corpus --out a.csv", 2, "expected a name ending in .png"),
        ("overview corpus --out a.png --datasets drve", 1, "drve"),
        ("train --data corpus --out out --config tny", 1, "tiny"),
        ("train --data corpus --out out --config empty", 1, "empty: a folder, and no preset"),
        ("train --data corpus --out out --config mine.yaml", 1, "mine.yaml:2: run.stepz"),
        ("train --data corpus --out out --config tiny --set optim.lr=-1", 1, "--set optim.lr=-1"),
        ("train --data empty --out out --config tiny", 1, "corpus.json"),
        ("train --data corpus --out out --config tiny --set data.cache=s3://b/c", 1, "s3://b/c is a URL"),
        ("train --data corpus --out out --config tiny --nodes 2", 2, "--nodes: only with --slurm"),
        ("train --data corpus --out out --resume", 1, "out"),
        ("evaluate --data corpus --checkpoint empty", 1, "no checkpoint in"),
        ("predict file --checkpoint empty --prompt polyp --out out", 1, "empty"),
        ("predict raw --checkpoint empty --out out", 2, "--prompt"),
        ("predict --jobs binary.csv --checkpoint empty --out out", 1, "position 0: invalid start byte)"),
        ("prompts build empty", 1, "no corpus.json"),
        ("check drve --raw raw", 1, "drve"),
        ("check ../drive --raw raw", 2, "lower-case letters"),
        ("check drive --raw raw --picture file/a.png", 1, "file"),
        ("build drive --raw raw --out out --own raw", 2, "--own raw: no catalog.yaml"),
        ("build drive --raw raw --out out --concepts mine.yaml", 2, "--concepts goes with --own or --source"),
        ("train --data corpus --out out --config tiny --device cuda", 2, "--device"),
        ("evaluate --data corpus --checkpoint everything --device banana", 2, "expected cpu, cuda or cuda:N"),
        ("evaluate --data corpus --checkpoint everything --device cuda:99", 2, "'cuda:99' cannot be used"),
        ("predict file --checkpoint empty --prompt polyp --out out --device banana", 2, "banana"),
        ("prompts score corpus --model copy --out out --device banana", 2, "banana"),
        ("demo --out file/within", 1, "file/within"),
        ("demo --device banana", 2, "--device"),
        ("demo --out raw", 2, "raw is not empty and no earlier demo"),
    ],
)  # fmt: skip
def test_one_line_that_says_why(
    line: str, status: int, words: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    done = CliRunner().invoke(cli, line.split(), prog_name="medshards")
    said = done.output
    if isinstance(done.exception, Exception):
        said += f"Error: {explain(done.exception)}"  # as `medshards` itself does with it
        status_found = 1
        assert "unforeseen" not in said
    else:
        status_found = done.exit_code
    assert status_found == status, said
    assert words in said
    assert "Traceback" not in said
    if line.split()[0] not in ("check", "verify"):  # which answer with a list: what is to do, what is wrong
        (error,) = [part for part in said.splitlines() if part.startswith(("Error", "error"))] or [""]
        assert error, said
    assert sorted(place.rglob("*")) == before, "nothing is written"


def commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with the words that call it."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        yield (*words, name), command


URL = "s3://bucket/a"
PATHS = [
    (
        words,
        param.name,
        2 * [URL] if isinstance(param, click.Argument) else [param.opts[0], *param.nargs * [URL]],
    )
    for words, command in commands(cli)
    for param in command.params
    if isinstance(param.type, click.Path)
]


@pytest.mark.parametrize(("words", "name", "given"), PATHS, ids=[f"{'-'.join(w)}:{n}" for w, n, _ in PATHS])
def test_a_url_is_never_taken_for_a_folder(
    words: tuple[str, ...], name: str, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*words, *given])
    assert done.exit_code == 2
    assert f"{URL} is a URL, and this must be a path of this machine" in done.output, done.output
    assert not list(tmp_path.iterdir())
