"""Objects followed through a volume by SAM3's video tracker: random weights, and a stand-in that moves masks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from medshards.curate.sample import Region
from medshards.evaluate.predict.cli import predict
from medshards.evaluate.predict.inputs import Opened
from medshards.evaluate.predict.objects import Object, Result
from medshards.evaluate.predict.tracker import Tracker
from tests.evaluate.tiny_trackers import tiny_tracker, tiny_video_tracker

SIZE = (60, 80)


def square(top: int, left: int, side: int = 20) -> Region:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return Region.of(mask)


def volume(objects: list[dict[int, Region]], depth: int = 12) -> Result:
    rng = np.random.default_rng(0)
    slices = [rng.integers(0, 255, SIZE, dtype=np.uint8) for _ in range(depth)]
    found = tuple(Object(0, 0.9, regions) for regions in objects)
    return Result(Opened("scan", slices, np.eye(4)), found, (0.9,))


class Moving(torch.nn.Module):
    """What propagation looks like from outside: the prompt, one row lower a slice, until six slices away."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.image_size = 112

    def propagate_in_video_iterator(self, session: Any, start: int, reverse: bool = False) -> Any:
        prompt = session.mask_inputs_per_obj[0][start].float()
        numbers = range(start, -1, -1) if reverse else range(start, len(session.processed_frames))
        for number in numbers:
            assert session.processed_frames[number].shape == (3, 112, 112)
            assert session.processed_frames[number].abs().max() <= 1
            away = abs(number - start)
            mask = torch.roll(prompt, 2 * away, dims=2) * 20 - 10
            yield SimpleNamespace(
                frame_idx=number, pred_masks=mask if away < 6 else torch.full_like(mask, -10.0)
            )


def test_an_object_goes_from_its_largest_slice_to_both_ends() -> None:
    result = volume([{4: square(10, 30, 10), 5: square(20, 30), 6: square(0, 0, 3)}, {0: square(5, 5)}])
    followed = Tracker(Moving(), "moving").follow(result)
    first, second = followed.objects
    assert sorted(first.regions) == list(range(12))[0:11]  # 5 ± 5 slices
    assert first.regions[5] is result.objects[0].regions[5]
    assert sorted(second.regions) == list(range(6))
    for number, region in first.regions.items():
        top = 20 + 2 * abs(number - 5) * SIZE[0] / 112
        assert abs(region.top - top) <= 1
        assert abs(region.area - 400) <= 80
    assert (first.text, first.score) == (0, 0.9)


def test_the_network_of_transformers_is_asked_as_it_expects() -> None:
    result = volume([{5: square(20, 30)}])
    torch.manual_seed(0)
    seen = Tracker(tiny_video_tracker(), "tiny").follow(result).objects[0]
    assert sorted(seen.regions) == list(range(12))
    assert seen.regions[5].area == 400
    again = Tracker(tiny_video_tracker(), "tiny").follow(result).objects[0]
    assert all(np.array_equal(seen.regions[k].crop, again.regions[k].crop) for k in range(12))
    blind = Tracker(tiny_video_tracker(sees=False), "tiny").follow(result).objects[0]
    assert sorted(blind.regions) == [5]


def test_a_picture_stays_as_it_is() -> None:
    result = volume([{0: square(5, 5)}], depth=1)
    assert Tracker(Moving(), "moving").follow(result) is result


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    nib.save(
        nib.Nifti1Image(rng.integers(0, 200, (40, 30, 6)).astype(np.int16), np.eye(4)), tmp_path / "ct.nii.gz"
    )
    return tmp_path / "ct.nii.gz"


def test_the_command_follows_what_it_found(scan: Path, tmp_path: Path) -> None:
    tiny_video_tracker().save_pretrained(tmp_path / "tracker")
    shown = [
        str(scan),
        "--checkpoint",
        "everything",
        "--prompt",
        "liver",
        "--format",
        "nifti",
        "--device",
        "cpu",
    ]
    options = [*shown, "--out", str(tmp_path / "out"), "--tracker", str(tmp_path / "tracker"), "--json"]
    result = CliRunner().invoke(predict, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)["made"]
    assert made["tracker"] == str(tmp_path / "tracker")
    labels = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "out" / "ct.nii.gz").dataobj)
    assert labels.shape == (40, 30, 6)
    assert (labels == 1).any(axis=(0, 1)).all()
    assert not (labels == 1).all()  # the baseline's answer was everywhere


def test_weights_of_something_else_are_refused(scan: Path, tmp_path: Path) -> None:
    tiny_tracker().save_pretrained(tmp_path / "images-only")
    for weights in (tmp_path / "images-only", tmp_path / "nothing"):
        options = [str(scan), "--checkpoint", "empty", "--prompt", "liver", "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(predict, [*options, "--tracker", str(weights)])
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert "video tracker" in result.output
        assert result.output.count("\n") <= 3
