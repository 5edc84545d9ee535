"""What answers: a model in batches, baselines, folders of predictions; and checkpoints that must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from medshards.evaluate import segmenter as module
from medshards.evaluate.open import open_segmenter
from medshards.evaluate.segmenter import Baseline, ModelSegmenter, Query
from medshards.shards.read.corpus import BadSample
from medshards.train.model.answers import Rule
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.weights import WeightsError, build_model, export_folder, export_official
from medshards.train.run.checkpoint import CheckpointError, load_model

TEXTS = ("polyp", "retinal vein", "optic disc")


def queries(count: int = 3) -> list[Query]:
    draw = np.random.default_rng(5)
    return [
        Query(f"image {k}", draw.integers(0, 256, (30 + k, 40, 3), np.uint8), TEXTS[: k + 1])
        for k in range(count)
    ]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(preset="tiny", seed=4)
    alone = ModelSegmenter(model).segment(queries(), 0.0, True)
    monkeypatch.setattr(module, "PROMPTS", 4)
    together = ModelSegmenter(model, batch=3).segment(queries(), 0.0, True)
    assert [len(own) for own in together] == [1, 2, 3]
    for one, other in zip(chain(*alone), chain(*together), strict=True):
        assert one.size == other.size
        assert [f.score for f in one.instances] == pytest.approx([f.score for f in other.instances], abs=1e-5)
        assert one.semantic is not None
        assert other.semantic is not None
        np.testing.assert_allclose(one.semantic, other.semantic, atol=1e-4)


def test_the_floor_leaves_out_all_but_the_best() -> None:
    model = build_model(preset="tiny", seed=4)
    [[every]] = ModelSegmenter(model).segment(queries(1), 0.0)
    scores = [found.score for found in every.instances]
    assert len(scores) == 20  # all queries
    assert scores == sorted(scores, reverse=True)
    [[some]] = ModelSegmenter(model).segment(queries(1), scores[4])
    assert [found.score for found in some.instances] == scores[:5]
    [[best]] = ModelSegmenter(model).segment(queries(1), 1.0)
    assert [found.score for found in best.instances] == scores[:1]
    assert best.score == scores[0]


def test_an_image_without_a_text_and_no_image() -> None:
    model = ModelSegmenter(build_model(preset="tiny"))
    assert model.segment([]) == []
    assert model.segment([Query("a", np.zeros((9, 9), np.uint8), ())]) == [[]]


@pytest.mark.parametrize(("kind", "share"), [("empty", 0), ("everything", 1)])
def test_baselines(kind: str, share: float) -> None:
    answers = open_segmenter(kind).segment(queries(), semantic=True)
    assert [len(own) for own in answers] == [1, 2, 3]
    for rule in (Rule("top1", 0.1), Rule("union", 0.5), Rule("semantic")):
        assert all(answer.claim(rule).claimed.mean() == share for own in answers for answer in own)
    assert Baseline(kind).facts() == {"baseline": kind}


@pytest.fixture(scope="module")
def exports(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sam3Graph, Path]:
    model, _ = load_model(run)
    folder = tmp_path_factory.mktemp("exports")
    export_folder(model, folder / "hf")
    export_official(model, folder / "sam3.pt")
    return model, folder


def test_checkpoint_and_both_exports_answer_alike(run: Path, exports: tuple[Sam3Graph, Path]) -> None:
    _, folder = exports
    own, hf, official = (open_segmenter(path, "cpu") for path in (run, folder / "hf", folder / "sam3.pt"))
    for other in (hf, official):
        for a, b in zip(
            chain(*own.segment(queries(), 0.0)), chain(*other.segment(queries(), 0.0)), strict=True
        ):
            assert [f.score for f in a.instances] == [f.score for f in b.instances]
            assert all(
                np.array_equal(x.probability, y.probability)
                for x, y in zip(a.instances, b.instances, strict=True)
            )
    assert "checkpoint_step" in own.facts()
    assert official.facts()["architecture"] == "tiny"
    assert hf.facts()["weights"] == str(folder / "hf")


def _prefixed(prefix: str) -> Callable[[dict], dict]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


BROKEN: dict[str, tuple[Callable[[dict], dict], str]] = {
    "module": (_prefixed("module."), r"names begin with 'module\.', as DistributedDataParallel saves them"),
    "detector": (_prefixed("detector."), r"names begin with 'detector\.'"),
    "half": (
        lambda t: dict(sorted(t.items())[: len(t) // 2]),
        r"It holds 50% of the model; the rest would stay random",
    ),
    "larger": (
        lambda t: {n: torch.cat([v, v]) if v.ndim else v for n, v in t.items()},
        "model of another size",
    ),
    "lora": (
        lambda t: {f"base_model.model.{n}.lora_A.weight": torch.zeros(2, 2) for n in sorted(t)[:9]},
        "LoRA adapters, which mean nothing without their base model",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("form", ["hf", "official"])
def test_a_broken_checkpoint_is_refused_by_its_name(
    kind: str, form: str, exports: tuple[Sam3Graph, Path], tmp_path: Path
) -> None:
    change, words = BROKEN[kind]
    if form == "hf":
        tensors = {n: t.clone() for n, t in load_file(exports[1] / "hf" / "model.safetensors").items()}
        save_file({n: t.clone() for n, t in change(tensors).items()}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_bytes((exports[1] / "hf" / "config.json").read_bytes())
        broken = tmp_path
    else:
        official = torch.load(exports[1] / "sam3.pt", weights_only=True)
        broken = tmp_path / "broken.pt"
        torch.save({"model": change(official)}, broken)
        if kind == "half":
            words = "missing: "
    with pytest.raises(WeightsError, match=words) as error:
        open_segmenter(broken)
    assert str(broken) in str(error.value)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate([[1, 2], {"epoch": 3, "best": 0.9}, {"model": {}}]):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(WeightsError, match=r"state dict"):
            open_segmenter(tmp_path / f"{number}.pt")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="LoRA adapters"):
        open_segmenter(tmp_path / "adapter")
    (tmp_path / "weights.bin").write_bytes(b"1234")
    with pytest.raises(WeightsError, match=r"weights\.bin is no checkpoint"):
        open_segmenter(tmp_path / "weights.bin")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        open_segmenter(tmp_path)


def test_masks_of_other_tools_by_text_or_concept(tmp_path: Path) -> None:
    mask = np.zeros((8, 6), np.uint8)
    mask[2:5, 1:4] = 255
    for name in ("polyp", "optic_disc"):
        (tmp_path / name).mkdir()
        PIL.Image.fromarray(mask).save(tmp_path / name / "a.png")
    (tmp_path / "liver").mkdir()
    volume = np.zeros((6, 8, 3), np.uint8)  # column, row, slice
    volume[0, 0, 2] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "liver" / "scan.nii.gz")
    segmenter = open_segmenter(tmp_path)
    image = np.zeros((8, 6), np.uint8)
    [[polyp, disc]] = segmenter.segment([Query("busi/a", image, ("Polyp", "optic disc"))])
    for answer in (polyp, disc):
        assert answer.score == 1
        np.testing.assert_array_equal(answer.claim(Rule("top1", 0.1)).claimed, mask > 0)
    [[first]] = segmenter.segment([Query("ct/scan-0001", image, ("liver",))])
    [[last]] = segmenter.segment([Query("ct/scan-0002", image, ("liver",))])
    assert (first.score, last.claim(Rule("union", 0.5)).claimed.sum()) == (0, 1)
    for name, size, words in [
        ("a", (8, 6), "no prediction for 'fold'"),
        ("b", (8, 6), "no prediction"),
        ("a", (9, 6), "the image"),
    ]:
        texts = ("fold",) if words.endswith("'fold'") else ("polyp",)
        with pytest.raises(BadSample, match=words):
            segmenter.segment([Query(f"busi/{name}", np.zeros(size, np.uint8), texts)])
    (tmp_path / "a.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(BadSample, match="its format is 'another'"):
        open_segmenter(tmp_path).segment([Query("busi/a", image, ("polyp",))])
