"""A run that trains adapters: it goes on, is exported, and answers from its base and its adapters."""

from pathlib import Path

import pytest
import torch

from medshards.evaluate.open import open_segmenter
from medshards.evaluate.segmenter import ModelSegmenter
from medshards.train.model.lora import digest
from medshards.train.model.weights import WeightsError, build_model, export_folder
from medshards.train.run.checkpoint import CheckpointError, folder_of, load_model
from medshards.train.run.session import Failure, run_training
from tests.train.graph import tiny, tiny_inputs

QUIET = ["run.validate_every=1000", "run.overlays=0", "run.checkpoint_every=2", "data.datasets=[busi]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    export_folder(tiny(), folder)
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two updates, and two more after a resume."""
    out = tmp_path_factory.mktemp("adapters") / "run"
    options = [*QUIET, f"model.weights={base}", "model.lora={rank: 4}", "optim.lr=1e-2"]
    run_training(str(corpus), out, "tiny", [*options, "run.steps=2"])
    told = run_training(str(corpus), out, overrides=["run.steps=4"], resume=True, export=["adapter", "hf"])
    assert "LoRA adapters: " in told
    return out


def masks(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(*tiny_inputs()).masks
    return found


def test_checkpoints_hold_the_adapters_alone(run: Path, base: Path) -> None:
    size = sum(path.stat().st_size for path in folder_of(run, 4).glob("*.safetensors"))
    assert size < (base / "model.safetensors").stat().st_size / 10
    unmerged, _ = load_model(run, merged=False)
    assert digest(unmerged) == digest(build_model(base))


def test_run_export_and_adapters_are_one_model(run: Path, base: Path) -> None:
    expected = masks(load_model(run)[0])
    for what in (run / "export/adapter", run / "export/hf"):
        segmenter = open_segmenter(what)
        assert isinstance(segmenter, ModelSegmenter)
        torch.testing.assert_close(masks(segmenter.model), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(masks(build_model(base)), expected, atol=1e-3)
    assert (run / "export/adapter/README.md").is_file()


def test_a_moved_base_is_named_and_another_refused(run: Path, base: Path, tmp_path: Path) -> None:
    expected = masks(load_model(run)[0])
    moved = base.rename(base.with_name("moved"))
    try:
        with pytest.raises(WeightsError):
            load_model(run)
        segmenter = open_segmenter(run, base=str(moved))
        assert isinstance(segmenter, ModelSegmenter)
        torch.testing.assert_close(masks(segmenter.model), expected)
    finally:
        moved.rename(base)
    export_folder(tiny(seed=1), tmp_path / "other")
    with pytest.raises(CheckpointError, match="were not trained on the weights"):
        load_model(run, base=str(tmp_path / "other"))


def test_it_does_not_go_on_as_another_run(run: Path, corpus: Path) -> None:
    with pytest.raises(Failure, match="was trained with adapters on the weights"):
        run_training(str(corpus), run, overrides=["run.steps=6", "model.lora=null"], resume=True)


def test_adapters_are_exported_of_adapters_alone(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"set model\.lora to train adapters"):
        run_training(str(corpus), tmp_path / "run", "tiny", ["run.steps=1"], export=["adapter"])
