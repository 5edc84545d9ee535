"""ACOUSLIC-AI: both grades are the abdomen, annotated frames only, subjects from the table."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medshards.curate.datasets.acouslic import phantom as acouslic
from medshards.curate.datasets.acouslic.phantom import save_mha
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Skip, get_source
from tests.samples import position_of

FIRST = "2e99ee0e-506a-443b-8c16-e8a0619da2f7"


def load(root: Path, slices: str = "annotated") -> tuple[dict[str, Sample], list[Skip]]:
    source = type(get_source("acouslic"))()
    source.slices = slices
    loaded = [item for case in list_download(source, root).cases for item in source.load(case)]
    return {s.key: s for s in loaded if isinstance(s, Sample)}, [s for s in loaded if isinstance(s, Skip)]


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("acouslic", tmp_path)
    return tmp_path / "acouslic-ai-train-set"


def test_annotated_frames_of_either_grade(phantom: Path) -> None:
    found, skips = load(phantom)
    masks = sitk.GetArrayFromImage(sitk.ReadImage(str(phantom / f"masks/stacked_fetal_abdomen/{FIRST}.mha")))
    frames = sitk.GetArrayFromImage(
        sitk.ReadImage(str(phantom / f"images/stacked_fetal_ultrasound/{FIRST}.mha"))
    )
    mine = [s for s in found.values() if position_of(s).volume == FIRST]
    assert [s.key for s in mine] == [f"{FIRST}-{index:04d}" for index in (2, 3, 4)]
    assert [[i.label for i in s.instances] for s in mine] == [["suboptimal"], ["optimal"], ["suboptimal"]]
    for sample in mine:
        index = position_of(sample).index
        assert np.array_equal(sample.image.pixels, frames[index])
        assert np.array_equal(sample.instances[0].region.mask(acouslic.SIZE), masks[index] > 0)
        assert sample.instances[0].concept == "fetal_abdomen"
        assert sample.spacing == (0.28, 0.28)
    assert [s.reason for s in skips] == ["volume without annotation"]


def test_largest_frame_is_the_papers(phantom: Path) -> None:
    found, skips = load(phantom, "largest")
    assert [position_of(s).index for s in found.values()] == [3, 3, 3]
    assert len(skips) == 1


def test_frames_that_were_not_annotated_say_nothing_of_absence() -> None:
    assert get_source("acouslic").labels.exhaustive is False


def test_masks_may_lie_inside_images(phantom: Path) -> None:
    keys = load(phantom)[0].keys()
    shutil.move(phantom / "masks", phantom / "images/masks")
    assert load(phantom)[0].keys() == keys


def test_sweep_is_told_where_all_six_are_there(phantom: Path) -> None:
    masks = np.zeros((840, 4, 5), np.uint8)
    masks[[0, 139, 140, 839], 1:3, 1:3] = 1
    save_mha(phantom / f"masks/stacked_fetal_abdomen/{FIRST}.mha", masks)
    save_mha(phantom / f"images/stacked_fetal_ultrasound/{FIRST}.mha", masks * 90)
    mine = [s for s in load(phantom)[0].values() if position_of(s).volume == FIRST]
    assert [s.extra["sweep"] for s in mine] == [1, 1, 2, 6]
    assert {s.spacing for s in mine} == {None}  # the header is silent


def test_other_values_and_shapes_are_refused(phantom: Path) -> None:
    path = phantom / f"masks/stacked_fetal_abdomen/{FIRST}.mha"
    save_mha(path, np.full((acouslic.FRAMES, *acouslic.SIZE), 3, np.uint8))
    with pytest.raises(Reject, match="unknown_label"):
        load(phantom)
    save_mha(path, np.ones((acouslic.FRAMES - 1, *acouslic.SIZE), np.uint8))
    with pytest.raises(Reject, match="size_mismatch"):
        load(phantom)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Reject, match="unreadable"):
        load(phantom)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(Reject, match="lfs_pointer"):
        load(phantom)


def test_halves_of_pairs_and_unknown_subjects(phantom: Path) -> None:
    first, second, third, _ = acouslic.VOLUMES
    (phantom / f"masks/stacked_fetal_abdomen/{first}.mha").unlink()
    (phantom / f"images/stacked_fetal_ultrasound/{second}.mha").unlink()
    table = phantom / "circumferences/fetal_abdominal_circumferences_per_sweep.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if third not in line))
    rejects = list_download(get_source("acouslic"), phantom).rejects
    assert {(r["code"], Path(r["file"]).stem) for r in rejects} == {
        ("missing_mask", first),
        ("missing_image", second),
        ("missing_metadata", third),
    }


def test_groups_are_the_subjects_of_the_real_table(samples: Path, tmp_path: Path) -> None:
    tables = sorted((samples / "acouslic").rglob("*.csv"))
    if not tables:
        pytest.skip("no circumference table among the samples")
    folder = tmp_path / "acouslic-ai-train-set"
    (folder / "circumferences").mkdir(parents=True)
    shutil.copy(tables[0], folder / "circumferences")
    with tables[0].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        for kind in ("images/stacked_fetal_ultrasound", "masks/stacked_fetal_abdomen"):
            save_mha(folder / kind / f"{row['uuid']}.mha", np.ones((1, 2, 2), np.uint8))
    cases = list_download(get_source("acouslic"), tmp_path).cases
    assert {c.key: c.group for c in cases} == {r["uuid"]: f"subject-{r['subject_id']}" for r in rows}
    assert len({c.group for c in cases}) == len({r["subject_id"] for r in rows})
