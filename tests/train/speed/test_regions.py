"""Compiled by regions, filled up or as it is: a run has the same losses."""

from pathlib import Path

import pytest
import torch

from medshards.train.data.batch import Batch
from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Request
from medshards.train.model.options import ModelConfig
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import world
from medshards.train.run.step import Learner, build_graph
from medshards.train.speed import regions
from medshards.train.speed.regions import Compilations, compile_regions, compiles, problem, replays
from tests.train.graph import tiny

OPTIONS = ["run.precision=fp32", "batch.per_rank=2"]
MIXED = [[4, 9], [0, 16], [8, 6], [1, 2]]  # samples of three datasets, with one prompt and with several


def batches(corpus: Path, config: Config) -> list[Batch]:
    data = open_data(config, str(corpus), 112)
    return list(Feed(data.samples, [[Request(0, sample) for sample in chunk] for chunk in MIXED]))


def curve(corpus: Path, updates: int, *options: str) -> list[float]:
    """Losses of the first updates."""
    config = load_config("tiny", [*OPTIONS, *options])
    with world() as ranks:
        learner = Learner(build_graph(config), config, ranks)
        data = batches(corpus, config)
        return [
            float(learner.update([data[step % len(data)]], None, step, updates)[0]["loss"])
            for step in range(updates)
        ]


def test_a_run_filled_up_has_the_losses_of_one_as_it_is(corpus: Path) -> None:
    plain = curve(corpus, 8)  # each batch twice
    assert curve(corpus, 8, "batch.sizes=[3, 8]") == pytest.approx(plain, rel=1e-5)
    assert len({round(loss, 3) for loss in plain}) == 8


@pytest.mark.slow
@pytest.mark.skipif(problem() is not None, reason="there is no C++ compiler")
def test_a_compiled_run_has_the_losses_of_one_as_it_is(corpus: Path) -> None:
    """Minutes of compiling; four shapes, and none of them twice. Rounding, another on each processor, adds up."""
    torch._dynamo.reset()
    plain = curve(corpus, 20)
    counted = Compilations()
    compiled = curve(corpus, 20, "model.compile=regions", "batch.sizes=[8]")
    assert compiled[:12] == pytest.approx(plain[:12], rel=1e-5)
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert counted.look(1, 0.0) is not None


def test_regions_are_traced_whole_and_shared_by_all_layers(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and run without code being made, which takes no compiler."""
    monkeypatch.setattr(regions, "BACKEND", "eager")
    torch._dynamo.reset()
    options = ["batch.sizes=[8]", "run.precision=bf16"]  # weights that are cast for each pass
    plain, before = curve(corpus, 2, *options), Compilations._count()
    torch._dynamo.utils.counters["graph_break"].clear()
    traced = curve(corpus, 2, *options, "model.compile=regions")
    assert traced == pytest.approx(plain, rel=1e-6)
    # ViT blocks with and without windows, text, fusion, geometry and decoder layers, neck, scores, mask head, losses
    # of instance masks and of semantic maps; the first layer of the decoder takes boxes of its own kind.
    assert 10 <= Compilations._count() - before <= 14
    assert not torch._dynamo.utils.counters["graph_break"]


def test_where_it_is_compiled() -> None:
    assert compiles(ModelConfig(), "cuda", "ddp")
    assert not compiles(ModelConfig(), "cuda", "fsdp")
    assert not compiles(ModelConfig(), "cpu", "ddp")
    assert compiles(ModelConfig(compile="regions"), "cpu", "fsdp")
    assert not compiles(ModelConfig(compile="off"), "cuda", "ddp")


def test_graphs_are_replayed_where_regions_are_compiled_for_a_gpu() -> None:
    assert replays(ModelConfig(graphs=True), "cuda", "ddp")
    assert not replays(ModelConfig(graphs=True), "cpu", "ddp")
    assert not replays(ModelConfig(graphs=True, compile="off"), "cuda", "ddp")
    assert not replays(ModelConfig(), "cuda", "ddp")


def test_every_region_is_compiled_to_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What inductor is asked for; the graphs themselves need a GPU."""
    asked: list[dict[str, object]] = []

    def compile(function: object, **options: object) -> object:
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    for replayed in (False, True):
        compile_regions(tiny(), replayed)
    without, with_graphs = asked[: len(asked) // 2], asked[len(asked) // 2 :]
    assert not any("options" in each for each in without)
    assert all(each["options"] == {"triton.cudagraphs": True} for each in with_graphs)
    assert len(with_graphs) == len(without) > 10


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "there is no " in (problem() or "")
    assert "--set model.compile=off" in (problem() or "")


def test_a_late_compilation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([5, 9, 9, 10])
    monkeypatch.setattr(Compilations, "_count", staticmethod(lambda: next(counts)))
    compilations = Compilations()
    assert compilations.look(1, 61.4) == "compiled 4 regions for update 1, which took 61 s"
    assert compilations.look(2, 0.4) is None
    told = compilations.look(400, 12.0)
    assert told is not None
    assert "1 regions were compiled again in update 400" in told
    assert compilations.late == 1
