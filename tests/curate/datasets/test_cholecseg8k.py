"""CholecSeg8k: tool numbers of the watershed masks, operations as groups, frames without a label left alone."""

import csv
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, get_source
from medshards.curate.tree import File, recognise
from tests.samples import samples_of

SOURCE = get_source("cholecseg8k")
# The watershed numbers of the authors' table, with the prompts they stand for.
NUMBERS = {
    **{5: "liver_ligament", 11: "abdominal_wall", 12: "fat", 13: "gastrointestinal_tract", 21: "liver"},
    **{22: "gallbladder", 23: "connective_tissue", 24: "blood", 25: "cystic_duct", 31: "grasper"},
    **{32: "hook_electrocautery", 33: "hepatic_vein", 50: None, 0: None, 255: None},
}


def cases(root: Path) -> dict[str, Case]:
    return {case.key: case for case in list_download(SOURCE, root).cases}


def test_all_8080_frames_are_found_by_name(samples: Path) -> None:
    """The names of the whole dataset, made from the published list of clips."""
    clips = list(csv.DictReader((samples / "cholecseg8k/clip_list.csv").open()))
    paths = [
        f"{clip['video']}/{clip['clip_folder']}/frame_{number}_endo{suffix}.png"
        for clip in clips
        for number in range(int(clip["first_frame"]), int(clip["last_frame"]) + 1)
        for suffix in ("", "_mask", "_color_mask", "_watershed_mask")
    ]
    (tree,) = recognise({p: File(p, Path(p)) for p in paths}, SOURCE.layouts)
    found = [case for case in SOURCE.discover(tree) if isinstance(case, Case)]
    assert len(found) == len({case.key for case in found}) == 8080
    assert len({case.group for case in found}) == 17
    assert sum(case.group == "video01" for case in found) == 1280
    assert all(case.files["mask"].name.endswith("_endo_watershed_mask.png") for case in found)
    assert {case.facts["index"] for case in found} == set(range(80))


@pytest.mark.parametrize(("number", "concept"), NUMBERS.items())
def test_numbers_mean_what_the_table_says(tmp_path: Path, number: int, concept: str | None) -> None:
    write_phantom("cholecseg8k", tmp_path)
    case = cases(tmp_path)["video01-00080"]
    values = np.full((72, 128, 3), number, np.uint8)
    values[:5] = 50
    PIL.Image.fromarray(values).save(case.files["mask"].path)
    (sample,) = samples_of(SOURCE, case)
    assert isinstance(sample, Sample)
    assert [(i.concept, i.area) for i in sample.instances] == ([(concept, 67 * 128)] if concept else [])


def test_values_not_in_the_table_are_refused(tmp_path: Path) -> None:
    write_phantom("cholecseg8k", tmp_path)
    case = cases(tmp_path)["video01-00081"]
    values = np.asarray(PIL.Image.open(case.files["mask"].path)).copy()
    values[20, 20] = 7
    PIL.Image.fromarray(values).save(case.files["mask"].path)
    with pytest.raises(
        Reject, match=r"frame_81_endo_watershed_mask.png: unknown_label: pixel values 7 \(1 px\)"
    ):
        list(SOURCE.load(case))
    shutil.copy(case.files["mask"].path.with_name("frame_81_endo_color_mask.png"), case.files["mask"].path)
    with pytest.raises(Reject, match="pixel values 127"):
        list(SOURCE.load(case))


def test_rgba_mask_and_clip_position(tmp_path: Path) -> None:
    write_phantom("cholecseg8k", tmp_path)
    found = cases(tmp_path)
    case = found["video18-01216"]
    assert PIL.Image.open(case.files["mask"].path).mode == "RGBA"
    (sample,) = samples_of(SOURCE, case)
    assert isinstance(sample, Sample)
    assert sample.position is not None
    assert (sample.position.volume, sample.position.index, sample.position.count) == ("video18_01139", 77, 80)
    values = np.asarray(PIL.Image.open(case.files["mask"].path))[:, :, 0]
    assert {i.label: i.area for i in sample.instances}["Grasper"] == int((values == 31).sum())
    assert [case.group for case in found.values()].count("video01") == 4


def test_what_does_not_belong_is_named(tmp_path: Path) -> None:
    write_phantom("cholecseg8k", tmp_path)
    folder = tmp_path / "video01/video01_00080"
    (folder / "frame_80_endo_watershed_mask.png").unlink()
    (folder / "frame_81_endo.png").unlink()
    for suffix in ("", "_watershed_mask"):
        (folder / f"frame_99_endo{suffix}.png").rename(folder / f"frame_160_endo{suffix}.png")
    PIL.Image.new("RGB", (64, 36)).save(folder / "frame_100_endo_watershed_mask.png")
    rejects = list_download(SOURCE, tmp_path).rejects
    assert [(r["code"], Path(r["file"]).name) for r in rejects] == [
        ("missing_mask", "frame_80_endo.png"),
        ("missing_image", "frame_81_endo_watershed_mask.png"),
        ("not_native", "frame_160_endo.png"),
    ]
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(cases(tmp_path)["video01-00100"]))
