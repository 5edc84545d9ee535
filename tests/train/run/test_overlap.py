"""Ranks exchange gradients and weights while they compute, not before or after."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from medshards.train.memory.estimate import Load, batch_of
from medshards.train.objective.objective import Norms
from medshards.train.run.config import load_config
from medshards.train.run.parallel import shared_layers, world
from medshards.train.run.step import Learner, build_graph
from tests.train import processes

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")


class Order(TorchDispatchMode):
    """Notes products and exchanges between ranks in the order in which they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name.startswith("c10d::") or name in PRODUCTS:
            self.seen.append("product" if name in PRODUCTS else name.removeprefix("c10d::"))
        return func(*args, **(kwargs or {}))


def trace(parallel: str, folder: str) -> None:
    """The order of the second pass, in bf16 with weights that are cast once where the model is not shared."""
    config = load_config("tiny", [f"run.parallel={parallel}", "run.precision=bf16"])
    with world() as ranks:
        graph = build_graph(config)
        layers = len(shared_layers(graph))
        learner = Learner(graph, config, ranks)
        for _ in range(
            2
        ):  # DDP learns in the first pass in which order gradients come, and divides them into buckets
            with Order() as order:
                learner.backward([batch_of(Load(1, 1), graph.image_size)], Norms.of_update(2, 2, 2, passes=2))
        if ranks.first:
            Path(folder, "order.json").write_text(json.dumps({"layers": layers, "seen": order.seen}))


def traced(parallel: str, folder: Path) -> dict[str, Any]:
    assert processes.run(2, trace, parallel, str(folder)) == [0, 0]
    found: dict[str, Any] = json.loads((folder / "order.json").read_text())
    return found


def places(seen: list[str], name: str) -> list[int]:
    return [place for place, each in enumerate(seen) if each == name]


def test_gradients_are_averaged_while_the_backward_pass_goes_on(tmp_path: Path) -> None:
    seen = traced("ddp", tmp_path)["seen"]
    exchanged, last = places(seen, "allreduce_"), places(seen, "product")[-1]
    assert len(exchanged) >= 2  # buckets
    assert seen[exchanged[0] : last].count("product") > 0.05 * seen.count("product")


def test_layers_of_a_shared_model_are_gathered_one_after_the_other(tmp_path: Path) -> None:
    found = traced("fsdp", tmp_path)
    seen, layers = found["seen"], found["layers"]
    gathered, scattered = places(seen, "_allgather_base_"), places(seen, "_reduce_scatter_base_")
    assert len(scattered) == layers + 1  # each once, and all that is in no layer
    assert len(gathered) == 2 * layers + 1  # what is in no layer stays until the backward pass
    between = [seen[a:b].count("product") for a, b in pairwise(gathered)]
    assert sum(count > 0 for count in between) >= 0.9 * len(between)
    assert seen[scattered[0] :].count("product") > 0
    assert max(seen[a:b].count("product") for a, b in pairwise(scattered)) < seen.count("product") / 2
