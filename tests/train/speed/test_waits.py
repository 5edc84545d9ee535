"""An update waits for the device once: for the matcher's table.

Shown on the device ``meta``, whose tensors have no content, so that every copy to the host and every look at a value
(`item`, `tolist`, boolean indexing, `nonzero`) is an error there.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Request
from medshards.train.objective import matching
from medshards.train.run.config import load_config
from medshards.train.run.parallel import World, world
from medshards.train.run.step import Learner, build_graph


class BlockingCopies(TorchDispatchMode):
    """Notes copies to the device for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if "copy" in func.__name__ and isinstance(out, Tensor) and out.is_meta:
            sources = [each for each in args if isinstance(each, Tensor) and not each.is_meta and each.ndim]
            if sources and not (kwargs.get("non_blocking") or (len(args) > 2 and args[2])):
                self.found.append(str(func))
        return out


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the tables that were waited for; each is answered by a random one."""
    found = []

    def table(asked: Tensor) -> Tensor:
        assert asked.is_meta
        found.append(tuple(asked.shape))
        return torch.rand(asked.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(matching, "to_host", table)
    monkeypatch.setattr(Learner, "_keep", lambda *_: None)  # a copy that nobody waits for
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know the device
    return found


@pytest.mark.parametrize("options", [[], ["batch.sizes=[4, 8]", "model.checkpoint_activations=all"]])
def test_an_update_waits_once(corpus: Path, waits: list[tuple[int, ...]], options: list[str]) -> None:
    config = load_config("tiny", ["run.precision=fp32", *options])
    data = open_data(config, str(corpus), 112)
    (batch,) = Feed(data.samples, [[Request(0, sample) for sample in (4, 9, 16)]])
    with world():
        learner = Learner(build_graph(config), config, World(0, 1, torch.device("meta")))
        with BlockingCopies() as copies:
            terms, norm = learner.update([batch], None, 0, 10)
    assert waits == [(6, int(batch.num_boxes.sum()), 20)]  # both query sets in three layers, targets, queries
    assert not copies.found
    assert norm.is_meta
    assert terms["loss"].is_meta
    with pytest.raises(RuntimeError, match="meta"):  # the device does find waits
        float(norm)


def test_what_is_not_finite_is_told_before_the_weights_are_used(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("tiny", ["run.precision=fp32"])
    data = open_data(config, str(corpus), 112)
    (batch,) = Feed(data.samples, [[Request(0, 4)]])
    with world() as ranks:
        learner = Learner(build_graph(config), config, ranks)
        with torch.no_grad():
            learner.graph.mask_decoder.get_parameter("mask_embedder.layers.0.weight").fill_(torch.nan)
        learner.update([batch], None, 6, 10)
        with pytest.raises(FloatingPointError, match="the gradient of update 7 is not finite"):
            learner.settle()
