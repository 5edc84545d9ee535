"""What would fail after an hour fails at once, with a message that says what to do."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from medshards.train.model.hub import access_problem, is_hub_id
from medshards.train.run import preflight
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import World, world
from tests.train import processes

GIB = 2**30


@pytest.fixture
def ranks() -> Iterator[World]:
    with world() as alone:
        yield alone


def tiny(*overrides: str) -> Config:
    return load_config("tiny", overrides)


def test_nothing_is_wrong(corpus: Path, tmp_path: Path, ranks: World) -> None:
    assert preflight.problems(tiny(), str(corpus), tmp_path / "run", ranks) == []
    assert preflight.submission_problems(tiny(), str(corpus), tmp_path / "run", 16) == []


def test_all_that_is_wrong_is_said_together(tmp_path: Path, ranks: World) -> None:
    config = tiny("batch.images=3", "batch.per_rank=2", "model.weights=/nowhere/sam3.pt")
    found = preflight.problems(config, str(tmp_path / "none"), tmp_path / "run", ranks)
    assert len(found) == 3
    for part in ("no corpus.json", "no weights at /nowhere/sam3.pt", "multiple of 2"):
        assert any(part in line for line in found), part


def test_the_batch_must_divide_among_the_ranks_of_the_job(corpus: Path, tmp_path: Path) -> None:
    config = tiny("batch.images=32", "batch.per_rank=1")
    assert preflight.submission_problems(config, str(corpus), tmp_path, 16) == []
    (line,) = preflight.submission_problems(config, str(corpus), tmp_path, 24)
    assert "batch.images = 32" in line
    assert "24 ranks" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_without_a_gpu_are_refused(corpus: Path, tmp_path: Path, ranks: World) -> None:
    (line,) = preflight.problems(tiny("model.graphs=true"), str(corpus), tmp_path / "run", ranks)
    assert "model.graphs=true" in line
    assert "trains on cpu" in line


@pytest.mark.parametrize("damage", ["absent", "short"])
def test_a_shard_that_did_not_arrive_is_named(
    damage: str, corpus: Path, tmp_path: Path, ranks: World
) -> None:
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    shard = copy / "ravir/train/ravir-train-000000.tar"
    if damage == "absent":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    found = preflight.problems(tiny(), str(copy), tmp_path / "run", ranks)
    assert any(str(shard) in line and "medshards verify" in line for line in found)


def test_a_full_disk_counts_what_an_earlier_start_left_there(
    corpus: Path, tmp_path: Path, ranks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four checkpoints of 841 M parameters with two moments in fp32 are 37.6 GiB."""
    run = tmp_path / "run"
    config = load_config("tiny", ["model.preset=sam3", "run.keep_last=2"])
    usage = shutil.disk_usage(tmp_path)._replace(free=20 * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (line,) = preflight.problems(config, str(corpus), run, ranks)
    assert "needs 37.6 GiB" in line
    assert "20 free" in line
    run.mkdir()
    with (run / "checkpoint").open("wb") as stream:
        stream.truncate(18 * GIB)  # a hole: it takes no room
    assert preflight.problems(config, str(corpus), run, ranks) == []


def test_a_cache_needs_room_for_the_corpus_alone(
    corpus: Path, tmp_path: Path, ranks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever data.cache_gb allows; it is 100 unless set."""
    size = sum(shard.stat().st_size for shard in corpus.glob("*/*/*.tar"))
    config, url = tiny(f"data.cache={tmp_path / 'cache'}"), f"file://{corpus}"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight, "_disk", lambda config, out: [])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size))
    assert preflight.problems(config, url, tmp_path / "run", ranks) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size - 1))
    (line,) = preflight.problems(config, url, tmp_path / "run", ranks)
    assert f"needs {size / GIB:.3g} GiB (for shards, at most data.cache_gb = 100)" in line
    assert preflight.submission_problems(config, url, tmp_path / "run", 16) == []


def test_the_size_of_checkpoints_is_that_of_the_weights(
    corpus: Path, tmp_path: Path, ranks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a small model does not need the room of SAM3, whatever model.preset says."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_bytes(bytes(4000))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    config = load_config("tiny", ["model.preset=sam3", f"model.weights={tmp_path / 'weights'}"])
    assert preflight.problems(config, str(corpus), tmp_path / "run", ranks) == []


def test_gpus_that_torch_cannot_use_are_an_error(
    corpus: Path, tmp_path: Path, ranks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "8")
    (line,) = preflight.problems(tiny(), str(corpus), tmp_path / "run", ranks)
    assert "8 by Slurm" in line
    assert "build of torch for CUDA" in line


def _agree(folder: str) -> None:
    with world() as ranks:
        found = preflight.problems(tiny(), "none", Path(folder) / "run", ranks)
        Path(folder, f"{ranks.rank}.json").write_text(json.dumps(found))


def test_ranks_add_up_and_look_once_a_node(tmp_path: Path) -> None:
    assert processes.run(2, _agree, str(tmp_path)) == [0, 0]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [len(lines) for lines in found] == [1, 0]  # the corpus is absent, seen by local rank 0 alone


def _lonely_gpu(folder: str) -> None:
    with world() as ranks:
        if ranks.rank == 1:
            ranks = World(1, 2, torch.device("cuda", 0))
        Path(folder, f"{ranks.rank}.json").write_text(json.dumps(preflight._agreement(ranks)))


def test_a_rank_without_gpu_among_others_is_an_error(tmp_path: Path) -> None:
    assert processes.run(2, _lonely_gpu, str(tmp_path)) == [0, 0]
    (line,) = json.loads((tmp_path / "0.json").read_text())
    assert line.startswith("1 of 2 ranks have a GPU")


def test_names_of_weights() -> None:
    assert is_hub_id("facebook/sam3")
    assert is_hub_id("facebook/sam3@main")
    assert not is_hub_id("weights/sam3.pt")
    assert not is_hub_id("/weights/sam3")
    assert access_problem("weights/sam3.pt") == (
        "no weights at weights/sam3.pt: expected a folder, a .pt file or a hub id (owner/name)"
    )
    assert access_problem(str(Path(__file__).parent)) is None


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers like the hub: open/model may be read, gated/model asks for acceptance, anything else is unknown."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").removesuffix("/auth-check")
        status, code = {"open/model": (200, ""), "gated/model": (403, "GatedRepo")}.get(
            name, (401, "RepoNotFound")
        )
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What is said of weights on a hub, one that answers and one that is not there, by the real client."""
    cache = tmp_path_factory.mktemp("hf")
    cached = cache / "hub/models--kept--model"
    (cached / "snapshots/abc").mkdir(parents=True)
    (cached / "snapshots/abc/config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    server = http.server.ThreadingHTTPServer(("localhost", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "import json, sys; from medshards.train.model.hub import access_problem as a; "
        "print(json.dumps({w: a(w) for w in sys.argv[1:]}))"
    )

    def ask(*weights: str, **environment: str) -> dict[str, str | None]:
        done = subprocess.run(
            [sys.executable, "-c", program, *weights],
            env={**os.environ, "HF_HOME": str(cache), **environment},
            stdout=subprocess.PIPE,
            check=True,
            cwd=Path(__file__).parents[3],
        )
        return json.loads(done.stdout)

    found = ask(
        "open/model",
        "gated/model",
        "no/model",
        "kept/model",
        HF_ENDPOINT=f"http://localhost:{server.server_port}",
    )
    server.shutdown()
    server.server_close()
    offline = ask("open/model", "kept/model", HF_HUB_OFFLINE="1")
    return {**found, **{f"offline {name}": said for name, said in offline.items()}}


def test_the_hub_is_asked_whether_the_weights_can_be_had(answers: dict[str, str | None]) -> None:
    assert answers["open/model"] is None
    assert answers["kept/model"] is None
    gated = answers["gated/model"] or ""
    for part in ("https://huggingface.co/gated/model", "accept its licence", "SAM License", "HF_TOKEN"):
        assert part in gated, part
    assert "the hub has no no/model" in (answers["no/model"] or "")


def test_without_network_the_cache_counts(answers: dict[str, str | None]) -> None:
    assert answers["offline kept/model"] is None
    assert "HF_HUB_OFFLINE is set" in (answers["offline open/model"] or "")
    assert "hf download open/model" in (answers["offline open/model"] or "")


@pytest.mark.parametrize(
    ("workers", "ranks_here", "told"), [(4, 1, None), (4, 2, "8 processes decode on 4 cores"), (0, 8, None)]
)
def test_more_decoding_processes_than_cores_are_a_remark(
    workers: int, ranks_here: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks_here))
    found = preflight.waiting_workers(tiny(f"data.workers={workers}"), World(0, 16, torch.device("cpu")))
    assert found == (told and f"{told} (data.workers=4 for each rank here)")
