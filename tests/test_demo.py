"""`medshards demo`, end to end."""

import json
from pathlib import Path

import PIL.Image
import pytest
from click.testing import CliRunner

from medshards import demo


@pytest.mark.timeout(300)
def test_the_whole_way(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = CliRunner().invoke(demo.demo, ["--out", str(out), "--steps", "2"])
    assert result.exit_code == 0, result.output
    slugs = demo.commands(out, 2)[0][1:-2]
    assert len(slugs) == 6
    corpus = json.loads((out / "corpus" / "corpus.json").read_text())
    assert sorted(corpus["datasets"]) == sorted(slugs)
    assert len(list((out / "run" / "checkpoints").glob("step-*2"))) == 1
    assert "| mean of 6 datasets |" in (out / "evaluation.md").read_text()
    assert PIL.Image.open(out / "overview.png").width > 600
    assert {path.name for path in out.iterdir()} == set(demo.WRITTEN)
    for line in demo.commands(out, 2):
        assert f"$ medshards {' '.join(line)}\n" in result.output
    assert (out / "site" / "index.html").as_uri() in result.output.splitlines()[-1]
    assert "clean: " in result.output


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = CliRunner().invoke(demo.demo, ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "no earlier demo" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_the_user_put_beside_a_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / demo.MARK).touch()
    (tmp_path / "raw").mkdir()
    (tmp_path / "notes.txt").write_text("what I saw")
    result = CliRunner().invoke(demo.demo, ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds what no demo wrote: notes.txt" in " ".join(result.output.split())
    assert sorted(p.name for p in tmp_path.iterdir()) == [demo.MARK, "notes.txt", "raw"]


def test_an_earlier_demo_is_removed_and_a_failing_step_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        ["phantom", "drive", "--out", str(tmp_path / "raw")],
        ["verify", str(tmp_path / "raw")],
        ["stats", "x"],
    ]
    monkeypatch.setattr(demo, "commands", lambda out, steps: lines)
    for attempt in range(2):
        result = CliRunner().invoke(demo.demo, ["--out", str(tmp_path)])
        assert result.exit_code == 1
        assert "step 2 of 3 failed, `medshards verify`" in result.output
        assert "stats" not in result.output
        assert ("removed the earlier demo" in result.output) == (attempt == 1)
