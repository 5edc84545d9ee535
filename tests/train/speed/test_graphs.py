"""What CUDA graphs ask of a run, asked of it on a CPU: no GPU replays anything here.

A region that is replayed writes into memory that the graphs own, and what it wrote is gone when the next update
starts. Here regions are traced as for a GPU, forward and backward pass, and run as they are; when an update starts,
everything that they ever handed out and somebody still holds becomes NaN.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.multiprocessing.reductions import StorageWeakRef

from medshards.train.run import step
from medshards.train.run.config import load_config
from medshards.train.run.parallel import world
from medshards.train.run.step import Learner, build_graph
from medshards.train.speed import regions
from tests.train.speed.test_regions import OPTIONS, batches

UPDATES = 20


class Pool:
    """Memory of the graphs: what regions handed out, and how often an update started."""

    def __init__(self) -> None:
        self.handed: list[StorageWeakRef] = []
        self.starts = 0
        self.held: Tensor | None = None
        self.backend = aot_autograd(fw_compiler=self.compile, bw_compiler=self.compile)

    def __call__(self, graph: Any, examples: Any, options: dict[str, Any]) -> Any:
        assert options == {"triton.cudagraphs": True}
        return self.backend(graph, examples)

    def compile(self, graph: torch.fx.GraphModule, examples: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            # An input that comes back would not be in the pool; a copy of it would.
            out = [each.clone() if isinstance(each, Tensor) else each for each in graph(*args)]
            self.handed += [
                StorageWeakRef(each.untyped_storage()) for each in out if isinstance(each, Tensor)
            ]
            self.held = next((each for each in out if isinstance(each, Tensor)), self.held)
            return out

        return make_boxed_func(run)

    def start(self) -> None:
        """An update starts; what somebody held until then is gone."""
        self.starts += 1
        for each in self.handed:
            storage = torch.UntypedStorage._new_with_weak_ptr(each.cdata)
            if storage is not None:
                torch.tensor([], dtype=torch.uint8).set_(storage).fill_(255)  # NaN in float32 and bfloat16
        self.handed.clear()
        assert self.held is None or self.held.isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("level", ["off", "all"])
def test_nothing_of_an_update_is_looked_at_after_the_next_has_started(
    level: str, precision: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [f"model.checkpoint_activations={level}", f"run.precision={precision}", "batch.sizes=[8]"]
    config = load_config("tiny", [*OPTIONS, *chosen, "model.compile=off"])
    with world() as ranks:
        data = batches(corpus, config)

        def curve(config: Any) -> list[float]:
            learner = Learner(build_graph(config), config, ranks)
            passes = [data[:2], *([data[step % len(data)]] for step in range(1, UPDATES))]  # first two add up
            return [
                float(learner.update(chunks, None, step, UPDATES)[0]["loss"])
                for step, chunks in enumerate(passes)
            ]

        plain = curve(config)
        pool = Pool()
        torch._dynamo.reset()
        monkeypatch.setattr(regions, "BACKEND", pool)
        monkeypatch.setattr(step, "replays", lambda *where: True)
        monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", pool.start)
        replayed = curve(load_config("tiny", [*OPTIONS, *chosen, "model.compile=regions"]))
    assert pool.starts == UPDATES
    if precision == "fp32":
        assert replayed == pytest.approx(plain, rel=1e-5)
    else:  # rounded so, other queries are matched after some updates
        assert replayed[:3] == pytest.approx(plain[:3], rel=2e-2)
