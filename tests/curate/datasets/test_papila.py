"""PAPILA: contours column before row, expert 1 only, both eyes of a patient together, resized copies refused."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.papila.phantom import DISC
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at

SOURCE = get_source("papila")
NATIVE = (1934, 2576)  # height, width of every photograph
MEASURED = {  # px by Pillow's polygon fill, which takes the outline in
    "RET002OD": {"disc": 197284, "cup": 44280},
    "RET013OS": {"disc": 183072, "cup": 29232},
}


def shoelace(points: np.ndarray) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("papila", tmp_path)
    return next(tmp_path.iterdir())


def test_real_samples(real: Path, tmp_path: Path) -> None:
    """Real contours; where their photographs are absent, on plain ones of the native size."""
    contours = next(real.glob("**/Contours"))
    shutil.copytree(contours, tmp_path / "ExpertsSegmentations/Contours")
    (tmp_path / "FundusImages").mkdir()
    eyes = sorted({p.name[:8] for p in contours.glob("*_disc_exp1.txt")})
    assert eyes
    for eye in eyes:
        image = contours.parents[1] / f"FundusImages/{eye}.jpg"
        if image.is_file():
            shutil.copy(image, tmp_path / f"FundusImages/{eye}.jpg")
        else:
            PIL.Image.new("RGB", NATIVE[::-1]).save(tmp_path / f"FundusImages/{eye}.jpg")
    found = samples_at(SOURCE, tmp_path)
    assert sorted(found) == eyes
    for eye, sample in found.items():
        assert sample.image.size == NATIVE
        assert sample.group == eye[3:6]
        assert [i.concept for i in sample.instances] == ["optic_disc", "optic_cup"]
        for instance in sample.instances:
            points = np.loadtxt(contours / f"{eye}_{instance.label}_exp1.txt")
            x, y, w, h = instance.region.bbox
            assert np.abs(points.min(axis=0) - (x, y)).max() < 1
            assert np.abs(points.max(axis=0) - (x + w - 1, y + h - 1)).max() < 1
            assert abs(instance.area / shoelace(points) - 1) < 0.002
            if eye in MEASURED:
                assert abs(instance.area / MEASURED[eye][instance.label] - 1) < 0.008
        disc, cup = (i.region.mask(NATIVE) for i in sample.instances)
        assert not (cup & ~disc).any()


def test_column_comes_before_row(phantom: Path) -> None:
    row, column, radius = DISC
    for sample in samples_at(SOURCE, phantom).values():
        disc, cup = (i.region for i in sample.instances)
        x, y, w, h = disc.bbox
        assert (x + (w - 1) / 2, y + (h - 1) / 2) == (column, row)
        assert abs(disc.area / (np.pi * radius**2) - 1) < 0.03  # expert 2 would have 44 % more
        assert abs(cup.area / (np.pi * radius**2 / 4) - 1) < 0.05


def test_both_eyes_of_a_patient_are_a_group(phantom: Path) -> None:
    assert {key: s.group for key, s in samples_at(SOURCE, phantom).items()} == {
        "RET002OD": "002",
        "RET002OS": "002",
        "RET004OD": "004",
        "RET005OS": "005",
    }


def test_second_expert_and_overlays_are_not_read(phantom: Path) -> None:
    for file in [*phantom.glob("**/*_exp2.txt"), *phantom.glob("**/Opht_cont_*.jpg")]:
        file.write_bytes(b"nothing")
    assert len(samples_at(SOURCE, phantom)) == 4
    assert not list_download(SOURCE, phantom).rejects


def test_contour_of_a_larger_photograph_is_refused(phantom: Path) -> None:
    image = phantom / "FundusImages/RET004OD.jpg"
    PIL.Image.open(image).resize((80, 60)).save(image)
    with pytest.raises(Reject, match=r"RET004OD_disc_exp1\.txt: size_mismatch: .* x 124, y 84; .* 80 x 60"):
        samples_at(SOURCE, phantom)


@pytest.mark.parametrize(
    "content",
    ["1 2\n3 4\n", "1 2 3\n4 5 6\n7 8 9\n1 1 1\n", "x y\n1 2\n3 4\n5 6\n", "nan 1\n2 3\n4 5\n", "\n"],
)
def test_what_is_no_contour_is_refused(phantom: Path, content: str) -> None:
    (phantom / "ExpertsSegmentations/Contours/RET005OS_cup_exp1.txt").write_text(content)
    with pytest.raises(Reject, match=r"RET005OS_cup_exp1\.txt: unreadable"):
        samples_at(SOURCE, phantom)


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "ExpertsSegmentations/Contours/RET004OD_cup_exp1.txt").unlink()
    (phantom / "FundusImages/RET005OS.jpg").unlink()
    rejects = {(r["code"], r["file"].rpartition("/")[2]) for r in list_download(SOURCE, phantom).rejects}
    assert rejects == {
        ("missing_mask", "RET004OD.jpg"),
        ("missing_mask", "RET004OD_disc_exp1.txt"),
        ("missing_image", "RET005OS_disc_exp1.txt"),
        ("missing_image", "RET005OS_cup_exp1.txt"),
    }
