"""Command `stream`: what it prints is measured on the corpus, and its order is that of training."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.train.data.cli import stream


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(stream, [*arguments, "--config", "tiny"])
    return result.exit_code, result.output


def test_an_epoch_of_any_ranks_and_workers_is_that_of_one(corpus: Path) -> None:
    sizes = [path.stat().st_size for path in corpus.glob("*/train/*.tar")]
    status, said = run(
        str(corpus), "--simulate", "--ranks", "4", "--workers", "3", "--resume", "1", "--then", "2", "--batch", "8",
        "--json",
    )  # fmt: skip
    found = json.loads(said)
    assert status == 0
    assert (found["samples"], found["missing"], found["repeated"], found["moved"]) == (18, 0, 0, 0)
    assert found["shards"] == 3
    assert found["open"] == pytest.approx(sum(sizes) / 2**30)
    window = f"data.window_gb={2 * max(sizes) / 2**30}"
    found = json.loads(run(str(corpus), "--simulate", "--json", "--set", window)[1])
    assert found["open"] <= 2 * max(sizes) / 2**30 < sum(sizes) / 2**30


def test_figures_are_for_people_too(corpus: Path) -> None:
    status, said = run(str(corpus), "--simulate")
    assert status == 0
    assert "18 samples in batches of 8: 0 missing, 0 repeated, 0 out of their place" in said
    assert max(map(len, said.splitlines())) <= 80
    status, said = run(str(corpus), "--simulate", "--ranks", "3", "--batch", "8")
    assert status == 1
    assert "cannot be divided among 3 ranks" in said


def test_the_speed_here_is_measured(corpus: Path) -> None:
    status, said = run(
        str(corpus),
        "--bench",
        "--images",
        "12",
        "--batch",
        "4",
        "--workers",
        "1",
        "--side",
        "112",
        "--gpu",
        "100",
    )
    assert status == 0, said
    shares = [int(part) for part in re.findall(r"(\d+) %[,)]", said)]
    assert 97 <= sum(shares) <= 103
    assert re.search(r"1 worker on \d+ cores: [\d.]+ images/s", said)
    told = re.search(
        r"a GPU of 100 images/s would wait \d+ % of the time; (.*) with a core each can feed it", said
    )
    assert told is not None
    assert re.fullmatch(r"1 worker|\d+ workers", told[1])


def test_what_is_asked_for_must_be_said(corpus: Path, tmp_path: Path) -> None:
    assert run(str(corpus))[0] == 2
    status, said = run(str(tmp_path), "--simulate")
    assert status == 1
    assert "is no corpus" in said
