"""A run whose corpus lies behind a server that often fails: the losses of a corpus on disk, or a stop that says why."""

import random
from pathlib import Path

import pytest

from tests.s3 import serve, upload
from tests.train import processes
from tests.train.run.test_trainer import arguments, command, losses

OPTIONS = [
    "run.log_every=1", "run.validate_every=1000", "run.checkpoint_every=1000", "run.overlays=0", "batch.images=4",
    "batch.per_rank=4",
]  # fmt: skip
STEPS = ("--steps", "6")  # more than an epoch of the 18 images


@pytest.fixture(scope="module")
def near(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of the run with the corpus on disk."""
    run = tmp_path_factory.mktemp("near") / "run"
    options = [*OPTIONS, "data.workers=0"]
    assert processes.run(1, command, arguments(corpus, run, *STEPS, options=options)) == [0]
    return losses(run)


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["failing", "forbidden", "slow", "short", "silent", "reset"])
def test_30_percent_failing_answers_change_no_loss(
    kind: str,
    cached: bool,
    corpus: Path,
    near: dict[int, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = [
        *OPTIONS,
        f"data.workers={int(cached)}",
        *([f"data.cache={tmp_path / 'cache'}"] if cached else []),
    ]
    words = [word for option in options for word in ("--set", option)]
    with serve(monkeypatch) as server:
        url, rng = upload(corpus), random.Random(30)
        server.faults = tuple(fault for _ in range(100) for fault in rng.sample([kind] * 3 + [""] * 7, 10))
        run = tmp_path / "run"
        args = ["--data", url, "--out", str(run), "--config", "tiny", *words, *STEPS]
        (status,) = processes.run(1, command, args)
    said = capfd.readouterr().err
    print(f"{kind}, cache {cached}: status {status}, {server.met[kind]} of {server.met.total()} answers")
    assert server.met[kind] == pytest.approx(0.3 * server.met.total(), abs=3)
    assert "Traceback" not in said
    made = losses(run) if (run / "log.jsonl").exists() else {}
    if status:
        assert status == 1
        assert f"Error: {url}" in said
        assert made.items() <= near.items()
    else:
        assert made == near
