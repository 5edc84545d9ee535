"""How far a build is that one process leads, here or on a Ray cluster; units of Slurm are in test_slurm."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli, explain
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build import progress
from medshards.shards.build.dataset import build_dataset
from medshards.shards.cli.build import build
from medshards.shards.cluster.status import Status, status, statuses


def told(out: Path) -> str:
    done = CliRunner().invoke(build, ["--status", "--out", str(out)])
    assert done.exit_code == 0
    return done.output


def test_a_build_is_watched_while_it_runs_and_when_it_was_lost(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", -1.0)  # each case is told
    seen: list[Status] = []
    texts: list[str] = []

    def look(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            seen.append(status(tmp_path / "out", "drive"))
            texts.append(told(tmp_path / "out"))
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(load_catalog()["drive"], raw / "drive", tmp_path / "out", progress=look)
    assert [(s.cases, s.of, s.running, s.at_work) for s in seen] == [(n, 8, 8 - n, True) for n in (1, 2, 3)]
    assert [s.samples for s in seen] == [1, 2, 3]
    assert all(s.rate is not None and s.rate > 0 and s.seconds is not None for s in seen)
    assert "drive: 2 of 8 cases finished, 2 samples (" in texts[1]
    assert "  cases: 2 done, 6 in work, 0 waiting\n" in texts[1]
    lost = status(tmp_path / "out", "drive")
    assert (lost.at_work, lost.of, lost.running) == (False, 8, 0)
    assert "nobody is at work: run build again" in told(tmp_path / "out")
    assert f"cases: {lost.cases} done, {8 - lost.cases} missing" in told(tmp_path / "out")
    build_dataset(load_catalog()["drive"], raw / "drive", tmp_path / "out", progress=lambda *facts: None)
    assert statuses(tmp_path / "out") == []


def test_what_an_earlier_build_finished_is_counted_and_makes_no_pace(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", -1.0)
    seen: list[Status] = []

    def look(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            seen.append(status(tmp_path / "out", "drive"))

    for _ in range(2):
        build_dataset(load_catalog()["drive"], raw / "drive", tmp_path / "out", progress=look)
    last = seen[-1]
    assert (last.cases, last.samples, last.rate, last.seconds) == (8, 8, 0.0, None)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"making": {"own": null}}', '{"making": null, "units": 3}']
)
def test_a_job_of_another_hand_is_told_in_a_line(raw: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "out" / ".work" / "drive").mkdir(parents=True)
    (tmp_path / "out" / ".work" / "drive" / "job.json").write_text(content)
    for words in (["--status"], ["drive", "--raw", str(raw)]):
        done = CliRunner().invoke(cli, ["build", *words, "--out", str(tmp_path / "out")])
        fault = done.exception
        said = explain(fault) if isinstance(fault, Exception) else done.output
        assert "job.json is damaged, or of another version of medshards; end its jobs" in said
        assert done.exit_code == 1
