"""How an update is divided among ranks and passes changes neither its loss nor any gradient."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Request
from medshards.train.objective.objective import Norms
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import whole, world
from medshards.train.run.step import Learner, build_graph
from tests.train import processes

# Gradients that are zero by symmetry, of which rounding noise is left: adding a constant to all keys, or to a
# row of box biases, moves no softmax; and the geometry token attends to itself alone.
ZERO = re.compile(r"k_proj\.bias|box_rpb_embed_[xy]\.layer2\.bias|geometry_encoder\..*\.self_attn\.[qk]_proj")


def config(parallel: str = "ddp", normalise: str = "global") -> Config:
    return load_config("tiny", [f"run.parallel={parallel}", f"run.normalise={normalise}"])


def gradients(corpus: Path, out: Path, options: Config, parts: list[list[list[int]]]) -> None:
    """Loss and whole gradients of an update; ``parts`` has the samples of each rank's chunks."""
    with world() as ranks:
        graph = build_graph(options)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in graph.parameters():  # some start at zero, and then others get no gradient
                parameter.add_(0.02 * torch.randn_like(parameter))
        data = open_data(options, str(corpus), graph.image_size)
        learner = Learner(graph, options, ranks)
        mine = [[Request(0, sample) for sample in chunk] for chunk in parts[ranks.rank]]
        chunks = list(Feed(data.samples, mine))
        counts = torch.cat([chunk.num_boxes for chunk in chunks])
        sums = ranks.sum(int(counts.sum()), len(counts), int((counts > 0).sum()))
        boxes, prompts, positives = map(int, sums)
        norms = Norms.of_update(boxes, prompts, positives, passes=len(mine) * ranks.size)
        terms = learner.backward(chunks, norms if options.run.normalise == "global" else None)
        loss = ranks.sum(float(terms["loss"]))[0] / ranks.size
        found = {
            name: whole(parameter.grad)
            for name, parameter in graph.named_parameters()
            if parameter.grad is not None
        }
        if ranks.first:
            torch.save({"loss": loss, "gradients": found}, out)


POSITIVE, NEGATIVE = (
    [1, 8],
    [6, 6],
)  # two datasets, three instances and a negative prompt; normal breast alone


@pytest.fixture(scope="module")
def doubled(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The update as one batch of four images on one rank."""
    return update(corpus, tmp_path_factory.mktemp("doubled"), config(), [[POSITIVE + NEGATIVE]])


def update(corpus: Path, folder: Path, options: Config, parts: list[list[list[int]]]) -> dict[str, Any]:
    out = folder / "gradients.pt"
    assert processes.run(len(parts), gradients, corpus, out, options, parts) == [0] * len(parts)
    return torch.load(out)


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Norm of the difference of each gradient, relative to that of the expected one.

    A difference below 1e-7 of the norm of all gradients together is the rounding of float32.
    """
    one, other = found["gradients"], expected["gradients"]
    assert one.keys() == other.keys()
    compared = [name for name in one if not ZERO.search(name)]
    assert len(compared) > 300
    assert all(other[name].norm() > 0 for name in compared)
    rounding = 1e-7 * float(torch.stack([gradient.norm() for gradient in other.values()]).norm())
    apart = {name: float((one[name] - other[name]).norm()) for name in compared}
    return {name: d / float(other[name].norm()) for name, d in apart.items() if d > rounding}


@pytest.mark.parametrize(
    ("parallel", "parts"),
    [
        ("ddp", [[POSITIVE], [NEGATIVE]]),  # the second rank has negative prompts only
        ("fsdp", [[POSITIVE], [NEGATIVE]]),
        ("ddp", [[POSITIVE, NEGATIVE]]),  # accumulated on one rank
        ("ddp", [[[1], [6]], [[8], [6]]]),  # accumulated on both
        ("fsdp", [[[1], [6]], [[8], [6]]]),
    ],
)
def test_ranks_and_passes_change_nothing(
    parallel: str, parts: list[list[list[int]]], doubled: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    found = update(corpus, tmp_path, config(parallel), parts)
    assert found["loss"] == pytest.approx(doubled["loss"], rel=1e-5)
    assert max(differences(found, doubled).values(), default=0) < 1e-5


def test_the_official_normaliser_depends_on_the_ranks(
    doubled: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    """Which is why it is not the default: half the ranks without targets halve the semantic loss."""
    found = update(corpus, tmp_path, config(normalise="rank"), [[POSITIVE], [NEGATIVE]])
    assert abs(found["loss"] / doubled["loss"] - 1) > 0.05
