"""Adapters of models, on stand-ins of the same interface and on a tiny tracker with random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medshards.curate.formats.pictures import png
from medshards.evaluate.prompts.answers.folder import PredictionFolder
from medshards.evaluate.prompts.answers.open import open_answerer
from medshards.evaluate.prompts.answers.volumetric import NnInteractive, SamMed3D
from medshards.evaluate.prompts.families.catalog import choose
from medshards.evaluate.prompts.prompt import Prompt, make_prompts
from medshards.evaluate.prompts.target import Part, Scene, Target, dice
from tests.evaluate.tiny_trackers import tiny_tracker

FAMILIES = ("M0-perfect", "M0-empty", "M1-shrink", "B0-tight", "B5-jitter", "P0-deepest", "P4-signs")


@pytest.fixture(scope="module")
def prompts(scene: Scene) -> list[Prompt]:
    target = Target(scene, "spleen", scene.classes["spleen"])
    return [p for p in make_prompts(target, choose("full", FAMILIES), "full") if p.usable]


class Session:
    """The interface of nnInteractive's inference session; answers with what it was last given."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def set_image(self, image: np.ndarray) -> None:
        assert image.ndim == 4
        assert image.dtype == np.float32

    def reset_interactions(self) -> None:
        self.log.append("reset")

    def set_target_buffer(self, target: np.ndarray) -> None:
        self.target = target

    def add_initial_seg_interaction(self, initial_seg: np.ndarray, run_prediction: bool = False) -> None:
        assert run_prediction
        self.target[:] = initial_seg

    def add_bbox_interaction(self, box: list[list[int]], include_interaction: bool) -> None:
        assert sum(b - a == 1 for a, b in box) == 1  # a plane
        self.target[tuple(slice(a, b) for a, b in box)] = 1

    def add_point_interaction(self, at: tuple[int, ...], include_interaction: bool) -> None:
        if not include_interaction:
            raise RuntimeError("no unwanted clicks today")
        self.target[tuple(at)] = 1


def test_nninteractive_is_given_prompts_as_in_the_study(scene: Scene, prompts: list[Prompt]) -> None:
    outcomes = NnInteractive(Session()).answer(scene, "spleen", prompts)
    states = {p.record["family"]: o for p, o in zip(prompts, outcomes, strict=True)}
    assert states["M0-empty"].state == "refused"
    assert states["P4-signs"].state == "failed"
    assert "unwanted" in states["P4-signs"].reason
    perfect = states["M0-perfect"].mask
    assert perfect is not None
    assert dice(perfect, scene.classes["spleen"]) == 1
    box = states["B0-tight"].mask
    assert box is not None
    assert box.crop.shape[1:] == scene.classes["spleen"].crop.shape[1:]


class Med3D:
    """The interface of SAM-Med3D; the decoder gives the mask prompt back at 32³."""

    def image_encoder(self, image: Any) -> Any:
        assert image.shape == (1, 1, 128, 128, 128)
        return image

    class prompt_encoder:
        @staticmethod
        def get_dense_pe() -> None:
            return None

        def __new__(cls, points: Any, boxes: Any, masks: Any) -> Any:
            assert points is None
            assert boxes is None
            assert masks.shape == (1, 1, 32, 32, 32)
            assert set(np.unique(masks.numpy())) <= {-20.0, 10.0}
            return None, masks

    def mask_decoder(self, dense_prompt_embeddings: Any, multimask_output: bool, **_: Any) -> Any:
        assert not multimask_output
        return dense_prompt_embeddings, None


def test_sam_med3d_sees_a_crop_of_192_mm_around_the_target(scene: Scene, prompts: list[Prompt]) -> None:
    masks = [p for p in prompts if p.record["kind"] == "mask"]
    outcomes = SamMed3D(Med3D()).answer(scene, "spleen", masks)
    by_family = dict(zip((p.record["family"] for p in masks), outcomes, strict=True))
    perfect = by_family["M0-perfect"].mask
    assert perfect is not None
    assert dice(perfect, scene.classes["spleen"]) > 0.75  # through 6 mm and back
    empty = by_family["M0-empty"].mask
    assert empty is not None
    assert not empty.voxels


@pytest.mark.parametrize("what", ["nninteractive:weights", "sam-med3d:weights"])
def test_a_model_that_is_not_installed_says_what_to_install(what: str) -> None:
    before = set(sys.modules)
    with pytest.raises(ImportError, match="pip install"):
        open_answerer(what)
    assert not {"nnInteractive", "medim"} & (set(sys.modules) - before)


def test_a_folder_of_predictions(scene: Scene, prompts: list[Prompt], tmp_path: Path) -> None:
    folder = tmp_path / scene.key
    folder.mkdir()
    truth = scene.classes["spleen"].whole(scene.shape)
    names = [p.id.replace("/", "__") for p in prompts]
    nib.save(nib.Nifti1Image(truth.T.astype(np.uint8), np.eye(4)), folder / f"{names[0]}.nii.gz")
    (folder / f"{names[1]}.refused").touch()
    (folder / f"{names[2]}.nii.gz").write_bytes(b"no nifti")
    nib.save(nib.Nifti1Image(truth[1:].T.astype(np.uint8), np.eye(4)), folder / f"{names[3]}.nii.gz")
    outcomes = PredictionFolder(tmp_path).answer(scene, "spleen", prompts)
    assert [o.state for o in outcomes[:5]] == ["answered", "refused", "failed", "failed", "failed"]
    assert outcomes[0].mask is not None
    assert dice(outcomes[0].mask, scene.classes["spleen"]) == 1
    assert "cannot be read" in outcomes[2].reason
    assert "its picture" in outcomes[3].reason


def test_predictions_of_pictures_are_png(tmp_path: Path) -> None:
    disc = np.hypot(*np.ogrid[-20:21, -20:21]) < 15
    part = Part(disc, (0, 0))
    scene = Scene(
        "a", "x", (41, 41), (10_000, 10_000), "px", {"polyp": part}, {}, lambda: np.zeros((41, 41), np.int32)
    )
    (prompt,) = make_prompts(
        Target(scene, "polyp", part.within((41, 41))), choose("core", ["M0-perfect"]), "core"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "polyp__M0-perfect__0__0.png").write_bytes(png.encode_mask(disc.astype(np.uint8)))
    (outcome,) = PredictionFolder(tmp_path).answer(scene, "polyp", [prompt])
    assert outcome.mask is not None
    assert dice(outcome.mask, part) == 1


def test_the_tracker_of_transformers_takes_masks_boxes_and_points(
    scene: Scene, prompts: list[Prompt]
) -> None:
    torch = pytest.importorskip("torch")
    from medshards.evaluate.prompts.answers.tracker import TrackerAnswerer

    torch.manual_seed(0)
    answerer = TrackerAnswerer(tiny_tracker(), "tiny")
    outcomes = answerer.answer(scene, "spleen", prompts)
    assert [o.state for o in outcomes] == ["answered"] * len(prompts)
    by_family = dict(zip((p.record["family"] for p in prompts), outcomes, strict=True))
    assert by_family["M0-empty"].mask is not None
    assert not by_family["M0-empty"].mask.voxels  # touches no slice
    spleen = scene.classes["spleen"]
    shown = by_family["M0-perfect"].mask
    assert shown is not None
    assert spleen.start[0] <= shown.start[0]
    assert shown.stop[0] <= spleen.stop[0]
    again = answerer.answer(scene, "spleen", prompts)
    assert all(
        a.mask is not None and b.mask is not None and dice(a.mask, b.mask) == 1
        for a, b in zip(outcomes, again, strict=True)
    )
    assert dice(outcomes[0].mask, by_family["B0-tight"].mask) < 1  # type: ignore[arg-type]
