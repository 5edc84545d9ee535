"""PCMMD: polygons of both classes, turned photographs, drawings of another size, crops without outline."""

import json
from pathlib import Path

import numpy as np
import pytest

from medshards.curate.datasets.pcmmd import phantom as pcmmd
from medshards.curate.listing import list_download
from medshards.curate.phantoms import draw, write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, get_source
from tests.samples import samples_of

SOURCE = get_source("pcmmd")


def load_all(root: Path) -> dict[str, Sample]:
    """Samples by folder and stem, as published."""
    cases = list_download(SOURCE, root).cases
    return {published(case): sample for case in cases for sample in samples_of(SOURCE, case)}


def published(case: Case) -> str:
    path = case.files["image"].path
    return f"{path.parent.parent.name}/{path.stem}"


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("pcmmd", tmp_path)
    return tmp_path / pcmmd.TOP / pcmmd.TOP / "data"


def test_equal_stems_in_both_classes_are_one_photograph(phantom: Path) -> None:
    found = load_all(phantom)
    plasma, other = (
        found["plasma cells/P_20221017_161510_crop0"],
        found["non-plasma cells/P_20221017_161510_crop0"],
    )
    assert plasma.group == other.group == found["plasma cells/P_20221017_161510_crop1"].group
    assert len({sample.group for sample in found.values()}) == 3
    assert (plasma.key[:6], other.key[:10]) == ("plasma", "non-plasma")
    assert [i.concept for i in plasma.instances] == ["plasma_cell"]
    assert [i.concept for i in other.instances] == ["non_plasma_cell"]


@pytest.mark.parametrize("name", ["plasma cells/P_20221017_161510_crop0", "plasma cells/IMG_20230628_184923"])
def test_outline_lies_on_its_cell_turned_or_not(phantom: Path, name: str) -> None:
    sample = load_all(phantom)[name]
    assert sample.image.size == pcmmd.SIZE
    cell = sample.instances[0].region.mask(pcmmd.SIZE)
    drawn = draw.ellipse(pcmmd.SIZE, (30, 20), (14, 12))
    assert (cell & drawn).sum() / (cell | drawn).sum() > 0.93
    grey = sample.image.pixels.mean(axis=2)
    assert grey[cell].mean() < 130 < 200 < grey[~cell].mean()


def test_bytes_of_a_turned_photograph_are_not_kept(phantom: Path) -> None:
    found = load_all(phantom)
    assert found["plasma cells/IMG_20230628_184923"].image.encoded is None
    assert found["plasma cells/P_20221017_161510_crop0"].image.encoded is not None


def test_drawing_made_on_a_larger_copy_is_scaled(phantom: Path) -> None:
    path = phantom / "segmentation/plasma cells/masks/P_20221017_161510_crop0.json"
    expected = load_all(phantom)["plasma cells/P_20221017_161510_crop0"].instances[0].region.mask(pcmmd.SIZE)
    content = json.loads(path.read_text())
    content["imageHeight"], content["imageWidth"] = 120, 160
    content["shapes"][0]["points"] = (np.array(content["shapes"][0]["points"]) * 2).tolist()
    path.write_text(json.dumps(content))
    found = load_all(phantom)["plasma cells/P_20221017_161510_crop0"].instances[0].region.mask(pcmmd.SIZE)
    assert np.array_equal(found, expected)


def change(phantom: Path, **fields: object) -> None:
    path = phantom / "segmentation/plasma cells/masks/P_20221017_161510_crop0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_other_proportions_are_refused(phantom: Path) -> None:
    change(phantom, imageHeight=80, imageWidth=60)
    with pytest.raises(Reject, match="size_mismatch"):
        load_all(phantom)


@pytest.mark.parametrize(
    ("shapes", "code"),
    [
        ([{"label": "blast", "points": [[1, 1], [9, 1], [9, 9]]}], "unknown_label"),
        ([{"label": "plasma_cell", "points": [[1, 1], [9, 1]]}], "bad_annotations"),
    ],
)
def test_other_labels_and_lines_are_refused(phantom: Path, shapes: list, code: str) -> None:
    change(phantom, shapes=shapes)
    with pytest.raises(Reject, match=code):
        load_all(phantom)


def test_crops_without_outline_are_skipped(phantom: Path) -> None:
    change(phantom, shapes=[])
    listing = list_download(SOURCE, phantom)
    assert [reason for _, reason in listing.skips] == ["crop without outline"]
    (skip,) = SOURCE.load(
        next(c for c in listing.cases if published(c) == "plasma cells/P_20221017_161510_crop0")
    )
    assert isinstance(skip, Skip)
    assert skip.reason == "crop without outline"


def test_outline_without_image(phantom: Path) -> None:
    (phantom / "segmentation/plasma cells/images/IMG_20230628_184923.jpg").unlink()
    (reject,) = list_download(SOURCE, phantom).rejects
    assert (reject["code"], Path(reject["file"]).suffix) == ("missing_image", ".json")
    assert "2023" not in str(reject)
