"""Tables in a terminal of 80 columns: no line is longer, and no cell is cut."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.phantoms import write_phantom

TERMINAL = {"COLUMNS": "80", "LINES": "50", "FORCE_COLOR": "1", "TERM": "xterm"}
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLUMNS = re.compile(r"\S {2,}\S|│")  # a sentence may be longer: the terminal wraps it


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for slug in ("busi", "chest_xray_pneumothorax", "ravir"):  # a long name, several concepts
        write_phantom(slug, folder / "raw" / slug)
    built = CliRunner().invoke(
        cli, ["build", "--all", "--raw", str(folder / "raw"), "--out", str(folder / "corpus")]
    )
    assert built.exit_code == 0, built.output
    for slug, corpus in (("btcv", "volumes"), ("umd_petct", "pairs")):
        write_phantom(slug, folder / "more" / slug)
        words = ["build", slug, "--raw", str(folder / "more"), "--out", str(folder / corpus)]
        built = CliRunner().invoke(cli, words)
        assert built.exit_code == 0, built.output
    words = ["evaluate", "--data", str(folder / "corpus"), "--checkpoint", "everything", "--out"]
    assert CliRunner().invoke(cli, [*words, str(folder / "one.json")]).exit_code == 0
    shutil.copy(folder / "one.json", folder / "another-model-with-a-long-name.json")
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "catalog",
        "catalog show drive",
        "catalog show bkai_neopolyp",
        "vocab list",
        "vocab show polyp",
        "vocab search vessel",
        "inspect busi --raw raw",
        "stats corpus",
        "stats corpus --plot",
        "stats corpus --paper",
        "verify corpus",
        "audit corpus",
        "evaluate --data corpus --checkpoint everything --listen",
        "evaluate --data volumes --checkpoint everything",
        "prompts build corpus --datasets ravir --families M0-perfect,M1-grow",
        "prompts show --texts",
        "prompts score corpus --set core --model copy --out scores",  # of the set that was built above
        "evaluate --compare one.json another-model-with-a-long-name.json",
        "evaluate --compare one.json another-model-with-a-long-name.json --paper",
        "evaluate --data pairs --checkpoint everything --paired",
        "stream corpus --simulate --config tiny --ranks 2",
        "train --config tiny --plan --card 24",
        "inspect --dicom more/umd_petct",
    ],
)
def test_a_table_is_whole_at_80_columns(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    done = CliRunner(env=TERMINAL).invoke(cli, line.split(), color=True)
    assert done.exit_code == 0, done.output
    lines = [COLOUR.sub("", part) for part in done.output.splitlines()]
    assert lines
    assert [part for part in lines if len(part) > 80 and COLUMNS.search(part)] == []
    assert [part for part in lines if "…" in part] == []
