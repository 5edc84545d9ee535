"""COCO files: annotations by image and never by their own id, run lengths plain and compressed, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from medshards.curate.formats.pictures import coco, polygons
from medshards.curate.formats.pictures.rle import decode_counts, encode_counts, run_lengths
from medshards.curate.sample import Reject
from medshards.curate.tree import File

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]


def write(folder: Path, **changes: object) -> File:
    content = {
        "images": [
            {"id": 7, "file_name": "1.png", "width": 10, "height": 8},
            {"id": 1, "file_name": "7.png", "width": 10, "height": 8},
        ],
        "categories": [{"id": 26, "name": "stenosis"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 26, "segmentation": SQUARE, "iscrowd": 0},
            {"id": 1, "image_id": 1, "category_id": 26, "segmentation": [[0, 0, 2, 0, 2, 2]], "iscrowd": 0},
        ],
        **changes,
    }
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return File("train.json", path)


def annotation(segmentation: object) -> coco.Annotation:
    return coco.Annotation("annotation 5", 5, "stenosis", False, segmentation)


FILE = File("train.json", Path("train.json"))


def test_annotations_follow_image_ids_not_stems_and_own_ids_may_repeat(tmp_path: Path) -> None:
    images = coco.read_coco(write(tmp_path)).images
    assert list(images) == ["1.png", "7.png"]
    assert [a.segmentation for a in images["1.png"].annotations] == [SQUARE]
    assert [a.id for entry in images.values() for a in entry.annotations] == [1, 1]
    assert images["1.png"].size == (8, 10)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert len(coco.read_coco(write(tmp_path)).images["1.png"].annotations) == 1
    assert len(coco.read_coco(write(tmp_path, annotations=[])).images["1.png"].annotations) == 0


def test_unlisted_category_is_named_when_its_label_is_asked_for(tmp_path: Path) -> None:
    stray = [{"id": 1, "image_id": 7, "category_id": 99, "segmentation": SQUARE}]
    (only,) = coco.read_coco(write(tmp_path, annotations=stray)).images["1.png"].annotations
    assert only.label == "category 99"


def listed(*images: tuple[int, str]) -> list[dict[str, object]]:
    return [{"id": number, "file_name": name, "width": 10, "height": 8} for number, name in images]


@pytest.mark.parametrize(
    ("changes", "bad", "strays"),
    [
        ({"images": listed((7, "a"), (7, "b"), (1, "c"))}, {"a": "have the id 7", "b": "have the id 7"}, []),
        ({"images": listed((1, "a"), (7, "a"), (9, "c"))}, {"a": "is listed 2 times"}, []),
        ({"images": listed((7, "a"))}, {}, ["annotation 1 is of the image id 1, which is not listed"]),
        ({"annotations": [{"id": 4}]}, {}, ["annotation 4 is of the image id None, which is not listed"]),
        ({"annotations": [{"image_id": 7}]}, {"1.png": "the 1. annotation: KeyError"}, []),
        (
            {"annotations": [{"id": 4, "image_id": 7, "category_id": []}]},
            {"1.png": "annotation 4: TypeErr"},
            [],
        ),
    ],
)
def test_a_bad_entry_spoils_its_image_alone(
    tmp_path: Path, changes: dict[str, object], bad: dict[str, str], strays: list[str]
) -> None:
    content = coco.read_coco(write(tmp_path, **changes))
    problems = {name: entry.problem for name, entry in content.images.items() if entry.problem}
    assert problems.keys() == bad.keys()
    assert all(words in problems[name] for name, words in bad.items())
    assert list(content.strays) == strays


def test_an_annotation_needs_no_id_and_no_outline_to_be_listed(tmp_path: Path) -> None:
    bare = [{"image_id": 7, "category_id": 26, "iscrowd": 1}]
    (only,) = coco.read_coco(write(tmp_path, annotations=bare)).images["1.png"].annotations
    assert (only.name, only.id, only.crowd, only.segmentation) == ("the 1. annotation", None, True, None)


def test_what_has_no_lists_is_no_coco_file(tmp_path: Path) -> None:
    with pytest.raises(Reject, match="no COCO instance file: TypeError"):
        coco.read_coco(write(tmp_path, categories=None))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    for content, message in (
        (b"{", "is no JSON"),
        (b"[]", "holds a list"),
        (b"\xff\xfe", "is no text in UTF-8"),
        (b"", "empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(Reject, match=message):
            coco.read_coco(File("train.json", path))


def test_polygons_of_one_annotation_are_united() -> None:
    found = coco.region(annotation([*SQUARE, [7, 5, 9, 5, 9, 7, 7, 7]]), (8, 10), FILE)
    expected = np.zeros((8, 10), bool)
    expected[1:4, 2:6] = expected[5:7, 7:9] = True
    assert np.array_equal(found.mask((8, 10)), expected)
    whole = coco.region(annotation(SQUARE), (8, 10), FILE, lambda p, size: polygons.fill(p, size, centre=0))
    assert whole.area == 20


def test_run_lengths_go_down_the_columns_and_begin_with_background() -> None:
    found = coco.region(annotation({"size": [3, 4], "counts": [1, 3, 8]}), (3, 4), FILE)
    assert np.array_equal(found.mask((3, 4)), [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    full = coco.region(annotation({"size": [3, 4], "counts": [0, 12]}), (3, 4), FILE)
    assert full.area == 12


def test_compressed_run_lengths_of_the_coco_tools() -> None:
    """The pair below is the one that the documentation threads of COCO's own tools show for a 9 x 10 mask."""
    counts = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert decode_counts("61X13mN000`0") == counts
    plain = coco.region(annotation({"size": [9, 10], "counts": counts}), (9, 10), FILE)
    compressed = coco.region(annotation({"size": [9, 10], "counts": "61X13mN000`0"}), (9, 10), FILE)
    assert plain.area == compressed.area == 1 + 4 + 4 + 4
    assert np.array_equal(plain.mask((9, 10)), compressed.mask((9, 10)))


def encoded(numbers: list[int]) -> str:
    """COCO's compressed string, written from its description with text of bits."""
    text = ""
    for place, number in enumerate(numbers):
        value = number - numbers[place - 2] if place > 2 else number
        width = 5
        while not -(1 << (width - 1)) <= value < 1 << (width - 1):
            width += 5
        bits = format(value % (1 << width), f"0{width}b")
        groups = [bits[at : at + 5] for at in range(width - 5, -1, -5)]
        text += "".join(chr(48 + int(g, 2) + 32 * (n + 1 < len(groups))) for n, g in enumerate(groups))
    return text


def test_compressed_run_lengths_of_any_size() -> None:
    rng = np.random.default_rng(1)
    for top in (2, 40, 3000, 1 << 20):
        numbers = [int(n) for n in rng.integers(0, top, 30)]
        assert decode_counts(encoded(numbers)) == numbers


@pytest.mark.parametrize(
    ("segmentation", "code", "message"),
    [
        ([], "missing_mask", "annotation 5 has no segmentation"),
        ({"size": [3, 4], "counts": [1, 3]}, "bad_annotations", "4 px in all"),
        ({"size": [3, 4], "counts": [15, -3]}, "bad_annotations", "12 px in all"),
        ({"size": [3, 4], "counts": "1"}, "bad_annotations", "1 px in all"),
        ({"size": [3, 4], "counts": "6 "}, "bad_annotations", "' ' in compressed"),
        ({"size": [3, 4], "counts": "6X"}, "bad_annotations", "end within a number"),
        ({"size": [4, 3], "counts": [12]}, "size_mismatch", "3 x 4 px"),
        ([[0, 0, 1, 1, 2]], "bad_annotations", "annotation 5"),
        ([[0, 0, 1, 1]], "bad_annotations", "three points"),
        ([[50, 50, 60, 50, 60, 60]], "bad_annotations", "outside its image"),
    ],
)
def test_segmentations_that_cannot_be_trusted(segmentation: object, code: str, message: str) -> None:
    with pytest.raises(Reject, match=message) as caught:
        coco.region(annotation(segmentation), (3, 4), FILE)
    assert (caught.value.code, caught.value.file) == (code, "train.json")


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_lengths_come_back(mask: np.ndarray) -> None:
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert decode_counts(encode_counts(counts)) == counts
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert (mask == inside.reshape(mask.shape[::-1]).T).all()
