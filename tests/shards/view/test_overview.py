"""The overview picture: the colours are where the masks are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from medshards.evaluate.cli.overview import overview as command
from medshards.shards.read.corpus import Corpus, CorpusError
from medshards.shards.read.decode import decode
from medshards.shards.view import drawing
from medshards.shards.view.drawing import (
    BOX,
    FILL,
    LABEL,
    MARGIN,
    SPACE,
    Cell,
    Row,
    Shape,
    colour,
    displayable,
    overlay,
    page,
)
from medshards.shards.view.overview import overview, prediction_cell


def square(size: tuple[int, int], top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_inside_is_tinted_edge_is_coloured_outside_untouched() -> None:
    image = np.full((100, 120), 80, np.uint8)
    first, second = square((100, 120), 10, 10, 40), square((100, 120), 50, 70, 30)
    drawn = overlay(image, [Shape(first, colour(0)), Shape(second, colour(1))], (240, 200)).astype(int)
    assert drawn.shape == (200, 240, 3)
    for number, (row, column) in enumerate([(60, 60), (130, 170)]):
        tint = np.round(80 * (1 - FILL) + np.array(colour(number)) * FILL)
        assert np.abs(drawn[row, column] - tint).max() <= 1
    for row, column in [(20, 60), (60, 20), (99, 60), (60, 99)]:  # the four edges of the first square
        around = drawn[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        assert np.abs(around - colour(0)).sum(axis=1).min() < 40
    assert (drawn[5, 5] == 80).all()
    assert (drawn[190, 100] == 80).all()


def test_holes_have_a_contour_and_no_fill() -> None:
    mask = square((100, 100), 10, 10, 80) & ~square((100, 100), 35, 35, 30)
    drawn = overlay(np.full((100, 100), 60, np.uint8), [Shape(mask, colour(2))], (200, 200)).astype(int)
    assert (drawn[100, 100] == 60).all()
    assert np.abs(drawn[68:73, 100] - colour(2)).sum(axis=1).min() < 40


def test_dashes_leave_gaps() -> None:
    image, mask = np.zeros((100, 100), np.uint8), square((100, 100), 20, 20, 60)
    for dashed in (False, True):
        drawn = overlay(image, [Shape(mask, colour(0), dashed)], (300, 300))
        edge = drawn[59:63, 70:230, 2].max(axis=0)
        coloured = (edge > 200).mean()
        assert (0.35 < coloured < 0.75) if dashed else coloured == 1.0


def test_16_bit_grey_is_stretched() -> None:
    ramp = np.linspace(1000, 3000, 10000).reshape(100, 100).astype(np.uint16)
    shown = displayable(ramp)
    assert shown.shape == (100, 100, 3)
    assert (shown.min(), shown.max()) == (0, 255)


def test_prompts_that_do_not_fit_are_counted_and_unusual_letters_do_no_harm() -> None:
    prompts = {
        f"organ number {k} – with a name that is far too long for the column": [colour(k)] for k in range(5)
    }
    cell = Cell(np.zeros((50, 50, 3), np.uint8), [], prompts)
    sheet = page(
        [Row("Ein Titel mit Ü, × and ° that goes on and on and on and on for ever", ["MRT"], [cell])]
    )
    assert sheet.width == 2 * MARGIN + LABEL + SPACE + BOX[0]
    right = np.asarray(sheet)[:, -MARGIN:]
    assert (right == 255).all()  # nothing runs out of its column
    assert len(drawing._wrap("a b " * 100, drawing._font(16), LABEL, 3)) == 3


def test_colours_in_the_picture_lie_where_the_masks_of_the_corpus_are(corpus: Path, tmp_path: Path) -> None:
    target = overview(corpus, tmp_path / "deep" / "overview.png", per_dataset=2, datasets=["ph2", "drive"])
    picture = np.asarray(PIL.Image.open(target).convert("RGB")).astype(int)
    train, val, test = (Corpus.open(corpus, split, ["drive"]) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (5, 1, 2)
    samples = [decode(train.read(0)), decode(test.read(1))]  # the first and the last of 8
    for column, sample in enumerate(samples):
        width, height = drawing.fitted(sample.image.shape, BOX)
        left = MARGIN + LABEL + SPACE + column * (SPACE + BOX[0])
        shown = picture[MARGIN : MARGIN + height, left : left + width]  # drive comes first in the catalog
        plain = overlay(sample.image, [], BOX).astype(int)
        mask = sample.mask(sample.record["instances"][0]).astype(np.uint8)
        large = np.asarray(PIL.Image.fromarray(mask * 255).resize((width, height))) > 127
        changed = np.abs(shown - plain).max(axis=2) > 20
        assert changed[large].mean() > 0.95
        grown = np.zeros_like(large)
        for dy in range(-4, 5):
            for dx in range(-4, 5):
                grown |= np.roll(large, (dy, dx), (0, 1))
        assert not changed[~grown].any()
        bluer = (shown - plain)[large].mean(axis=0)
        assert bluer[2] > bluer[0] + 20  # the first colour is a blue


def test_the_picture_is_the_same_every_time(corpus: Path, tmp_path: Path) -> None:
    one, two = (overview(corpus, tmp_path / name, per_dataset=1) for name in ("a.png", "b.png"))
    assert one.read_bytes() == two.read_bytes()


def test_predictions_are_dashed_in_the_colour_of_their_concept(corpus: Path) -> None:
    ravir = Corpus.open(corpus, "train", ["ravir"])
    sample = next(s for n in range(len(ravir)) if len((s := decode(ravir.read(n))).record["instances"]) > 1)
    artery, vein = (np.zeros(sample.image.shape[:2], bool) for _ in range(2))
    artery[5:20, 5:20] = True
    cell = prediction_cell(sample, {"retinal_vein": vein, "retinal_artery": artery, "not_there": artery})
    concepts = [i["concept"] for i in sample.record["instances"]]
    assert [s.colour for s in cell.shapes] == [
        colour(concepts.index("retinal_artery")),
        colour(concepts.index("retinal_vein")),
    ]
    assert all(shape.dashed for shape in cell.shapes)
    assert list(cell.prompts) == ["predicted: retinal artery", "predicted: no retinal vein"]


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus"):
        overview(tmp_path, tmp_path / "x.png")


def test_the_command_writes_what_the_name_says_and_needs_no_torch(corpus: Path, tmp_path: Path) -> None:
    program = """if True:
        import sys
        sys.modules["torch"] = None
        from medshards.cli import cli
        for out in sys.argv[2:]:
            words = ["overview", sys.argv[1], "--out", out, "--per-dataset", "1"]
            cli.main(words, prog_name="medshards", standalone_mode=False)
    """
    kinds = {tmp_path / "a.png": "PNG", tmp_path / "a.jpg": "JPEG", tmp_path / "a.webp": "WEBP"}
    line: list[str | Path] = [sys.executable, "-c", program, corpus, *kinds]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for out, kind in kinds.items():
        with PIL.Image.open(out) as picture:
            assert picture.format == kind


def test_a_name_that_is_no_picture_is_refused(corpus: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(corpus), "--out", str(tmp_path / "a.csv")])
    assert done.exit_code == 2
    assert "expected a name ending in .png" in done.output
    assert not any(tmp_path.iterdir())
