"""From bytes to tensors: geometry, targets, prompts."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medshards.curate.formats.pictures import png
from medshards.curate.sample import Region
from medshards.shards.read.corpus import BadSample, Raw
from medshards.train.data.batch import Builder, NoPrompt, collate, unpack
from medshards.train.data.resizing import boxes_of, pack, resize_image, resize_masks
from medshards.train.data.tokenizer import tokenize
from medshards.train.run.config import DataConfig

BOX = {"bbox": [0, 0, 20, 20]}
NAMES = {c: (c, f"{c} one", f"{c} two") for c in ("cell", "gland", "lesion", "nerve", "polyp", "vessel")}


def builder(side: int = 64, seed: int = 0, **data: Any) -> Builder:
    return Builder(DataConfig.model_validate(data), side, seed, NAMES)


def raw(instances: list[tuple[str, NDArray[np.bool_]]], absent: tuple[str, ...] = ()) -> Raw:
    """A sample whose instances do not overlap, on a grey image that shows them white."""
    size = instances[0][1].shape if instances else (64, 64)
    plane = np.zeros(size, np.uint8)
    for number, (_, mask) in enumerate(instances, start=1):
        plane[mask] = number
    record: dict[str, Any] = {
        "dataset": "toy",
        "size": list(size),
        "instances": [
            {"id": n, "plane": 0, "concept": c, "bbox": list(Region.of(mask).bbox)}
            for n, (c, mask) in enumerate(instances, start=1)
        ],
        "absent": list(absent),
    }
    image = png.encode_image(np.where(plane > 0, 255, 40).astype(np.uint8))
    return Raw("toy/one", image, "png", (png.encode_mask(plane),), record)


def square(top: int, left: int, side: int, size: tuple[int, int] = (128, 128)) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("shape", [(300, 200, 3), (50, 90, 3), (130, 70)])
def test_images_are_resized_as_pillow_does_it(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ours = resize_image(pixels, 112).permute(1, 2, 0).numpy().astype(int)
    theirs = PIL.Image.fromarray(pixels).convert("RGB").resize((112, 112), PIL.Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 1


@pytest.mark.parametrize("shape", [(300, 200, 3), (130, 70)])
@pytest.mark.parametrize("side", [64, 112])
def test_an_image_is_made_where_a_batch_has_it(shape: tuple[int, ...], side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batch = torch.full((3, 3, 112, 112), 7, dtype=torch.uint8)
    made = resize_image(pixels, side, batch[1])
    assert made.data_ptr() == batch[1].data_ptr()
    assert torch.equal(batch[1, :, :side, :side], resize_image(pixels, side))
    assert not batch[1, :, side:].any()
    assert not batch[1, :, :, side:].any()
    assert (batch[::2] == 7).all()


def test_a_pixel_belongs_to_a_mask_when_at_least_half_of_it_does() -> None:
    # Halving, the triangle filter weighs four columns 1 : 3 : 3 : 1. Column 16 of 32 takes columns 31 to 34.
    for columns, expected in [(32, 16), (33, 17), (34, 17)]:  # an eighth, a half, seven eighths of column 16
        mask = np.zeros((64, 64), bool)
        mask[:, :columns] = True
        small = resize_masks([Region.of(mask)], mask.shape, 32)
        assert small.shape == (1, 32, 32)
        assert small[0].all(axis=0).tolist() == [True] * expected + [False] * (32 - expected)
    assert resize_masks([Region.of(mask)], mask.shape, 128)[0][:, :64].all()


@pytest.mark.parametrize("size", [(96, 128), (1000, 1200), (565, 584), (97, 1008), (64, 61)])
@pytest.mark.parametrize("side", [112, 1008])
def test_a_part_is_resized_as_within_the_whole(size: tuple[int, int], side: int) -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros(size, bool) for _ in range(6)]
    for mask in masks[:-1]:
        top, left = (int(rng.integers(0, length)) for length in size)
        mask[top : top + 9, left : left + 21] = rng.random((9, 21))[: size[0] - top, : size[1] - left] < 0.8
    masks[0][0, 0] = masks[1][-1, -1] = True  # corners
    whole = torch.from_numpy(np.stack(masks)).float()[None] * 255
    grey = torch.nn.functional.interpolate(whole, (side, side), mode="bilinear", antialias=True)[0].numpy()
    found = resize_masks([Region.of(mask) for mask in masks], size, side)
    clear = abs(grey - 127.5) > 1.5  # rounding to whole grey values decides the rest
    assert (found == (grey > 127.5))[clear].all()
    assert not found[-1].any()


@given(st.tuples(*[st.integers(1, 300)] * 2), st.integers(1, 260), st.integers(0, 2**32))
@settings(max_examples=150)
def test_a_small_mask_is_resized_to_the_bit_as_torch_does_it(
    size: tuple[int, int], side: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, bool)
    top, left = (int(rng.integers(0, length)) for length in size)
    height, width = (max(1, int(rng.integers(0, length + 1)) // 2) for length in size)
    mask[top : top + height, left : left + width] = True
    mask &= rng.random(size) < rng.choice([0.5, 0.9, 1.0])
    whole = torch.from_numpy(mask.view(np.uint8) * np.uint8(255))[None, None]
    grey = torch.nn.functional.interpolate(whole, (side, side), mode="bilinear", antialias=True)[0, 0]
    assert (resize_masks([Region.of(mask)], size, side)[0] == (grey > 127).numpy()).all()


def test_boxes_are_tight_and_end_after_the_last_pixel() -> None:
    masks = np.stack([square(8, 16, 32), square(127, 127, 1), np.ones((128, 128), bool)])
    expected = [
        [32 / 128, 24 / 128, 0.25, 0.25],
        [127.5 / 128, 127.5 / 128, 1 / 128, 1 / 128],
        [0.5, 0.5, 1, 1],
    ]
    torch.testing.assert_close(boxes_of(pack(masks, 128), 128), torch.tensor(expected))


def test_bits_unpack_to_the_masks_for_sides_that_eight_does_not_divide() -> None:
    masks = np.random.default_rng(1).random((3, 21, 21)) < 0.5
    for side in (21, 35):
        whole = np.zeros((3, side, side), bool)
        whole[:, :21, :21] = masks
        assert (unpack(torch.from_numpy(pack(masks, side)), side).numpy() == whole).all()


def test_targets_lie_where_the_image_shows_them() -> None:
    instances = [("gland", square(10, 20, 30)), ("cell", square(70, 60, 21)), ("gland", square(90, 10, 20))]
    example = builder(side=64).example(raw(instances), 0, 0)
    assert [(p.concept, p.instances) for p in example.prompts] == [("cell", 1), ("gland", 2)]
    batch = collate([example])
    targets = batch.targets("cpu")
    assert targets.masks is not None
    assert targets.num_boxes.tolist() == [1, 2]
    shown = batch.images[0, 0] > 147  # half-way between 40 and 255
    assert (targets.masks.any(0) == shown).float().mean() > 0.995
    for mask, box in zip(targets.masks, targets.boxes):
        rows, columns = mask.nonzero(as_tuple=True)
        cx, cy, w, h = (box * 64).tolist()
        assert (int(columns.min()), int(columns.max()) + 1) == (round(cx - w / 2), round(cx + w / 2))
        assert (int(rows.min()), int(rows.max()) + 1) == (round(cy - h / 2), round(cy + h / 2))


def test_an_instance_that_vanishes_is_dropped_and_counted() -> None:
    instances = [("cell", square(5, 5, 1, (1024, 1024))), ("cell", square(200, 200, 400, (1024, 1024)))]
    example = builder(side=64).example(raw(instances), 0, 0)
    assert [p.instances for p in example.prompts] == [1]
    assert example.dropped == {"instances without area after resizing": 1}
    with pytest.raises(NoPrompt, match="instances without area"):
        builder(side=64).example(raw(instances[:1]), 0, 0)


def test_negatives_are_drawn_anew_for_each_epoch_and_always_the_same() -> None:
    absent = ("lesion", "nerve", "polyp", "vessel")
    sample = raw([("cell", square(5, 5, 50))], absent)

    def drawn(epoch: int, seed: int = 0) -> tuple[str, ...]:
        example = builder(seed=seed).example(sample, epoch, 3)
        assert [p.instances for p in example.prompts] == [1, 0, 0]
        return tuple(p.text for p in example.prompts[1:])

    assert [drawn(epoch) for epoch in range(20)] == [drawn(epoch) for epoch in range(20)]
    assert set(Counter(text for epoch in range(20) for text in drawn(epoch))) == set(absent)
    assert [drawn(epoch) for epoch in range(20)] != [drawn(epoch, seed=1) for epoch in range(20)]


def test_negatives_give_way_first() -> None:
    instances = [("cell", square(0, 0, 20)), ("gland", square(30, 30, 20)), ("nerve", square(60, 60, 20))]
    sample = raw(instances, ("lesion", "polyp"))
    for most, positive, negative in [(5, 3, 2), (4, 3, 1), (3, 3, 0), (2, 2, 0)]:
        example = builder(max_prompts_per_image=most).example(sample, 0, 0)
        counts = [p.instances for p in example.prompts]
        assert (counts.count(1), counts.count(0)) == (positive, negative)
        assert example.dropped == ({"prompts above max_prompts_per_image": 1} if most == 2 else {})


def test_synonyms_are_drawn_and_canonical_is_the_default() -> None:
    sample = raw([("cell", square(5, 5, 50))])
    assert {builder().example(sample, epoch, 0).prompts[0].text for epoch in range(30)} == {"cell"}
    synonyms = builder(prompt_text="synonyms")
    assert {synonyms.example(sample, epoch, 0).prompts[0].text for epoch in range(30)} == set(NAMES["cell"])
    fixed = synonyms.for_validation({})
    assert {fixed.example(sample, epoch, 0).prompts[0].text for epoch in range(30)} == {"cell"}


def test_merged_instances_become_one_per_concept() -> None:
    instances = [("cell", square(0, 0, 20)), ("gland", square(30, 30, 20)), ("cell", square(60, 60, 20))]
    example = builder(side=128, instances={"toy": "merged"}).example(raw(instances), 0, 0)
    assert [(p.concept, p.instances) for p in example.prompts] == [("cell", 1), ("gland", 1)]
    mask = unpack(example.masks, 128)[0].numpy()
    assert (mask == (instances[0][1] | instances[2][1])).all()
    other = builder(side=128, instances={"other": "merged"}).example(raw(instances), 0, 0)
    assert [p.instances for p in other.prompts] == [2, 1]


def test_a_crowded_prompt_is_left_out_and_counted() -> None:
    instances = [("cell", square(6 * n, 6 * n, 5)) for n in range(20)] + [("gland", square(0, 60, 20))]
    example = builder(max_instances_per_prompt=19).example(raw(instances), 0, 0)
    assert [p.concept for p in example.prompts] == ["gland"]
    assert example.dropped == {"prompts with more than 19 instances": 1}


def test_overlapping_instances_come_from_their_planes() -> None:
    first, second = square(10, 10, 60), square(40, 40, 60)
    sample = raw([("cell", first)])
    planes = (sample.planes[0], png.encode_mask(second.astype(np.uint8) * 2))
    record = sample.record | {
        "instances": [
            {"id": 1, "plane": 0, "concept": "cell", "bbox": sample.record["instances"][0]["bbox"]},
            {"id": 2, "plane": 1, "concept": "cell", "bbox": list(Region.of(second).bbox)},
        ]
    }
    example = builder(side=128).example(Raw("toy/two", sample.image, "png", planes, record), 0, 0)
    assert (unpack(example.masks, 128).numpy() == np.stack([first, second])).all()


def test_a_smaller_side_leaves_the_rest_black_and_moves_the_targets_along() -> None:
    sample = raw([("cell", square(64, 64, 64))])
    shrinking = builder(side=64, random_square_resize=(32, 16))
    sides = set()
    for epoch in range(20):
        example = shrinking.example(sample, epoch, 0)
        side = round(float(example.boxes[0, 2]) * 64 * 2)
        sides.add(side)
        assert not example.image[:, side:].any()
        assert not example.image[:, :, side:].any()
        assert example.image[:, :side, :side].min() >= 39
        assert unpack(example.masks, 64)[0, side // 2 + 1 : side - 1, side // 2 + 1 : side - 1].all()
    assert sides == {32, 48, 64}


def test_sixteen_bit_images_keep_their_upper_eight_bits() -> None:
    sample = raw([("cell", square(5, 5, 50))])
    pixels = np.full((128, 128), 0x7F12, np.uint16)
    example = builder().example(Raw("x", png.encode_image(pixels), "png", sample.planes, sample.record), 0, 0)
    assert (example.image == 0x7F).all()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"size": [128, 127]}, "its mask has"),
        (
            {"instances": [{"id": 9, "plane": 0, "concept": "cell", **BOX}]},
            "an instance that is not in its mask",
        ),
        (
            {"instances": [{"id": 1, "plane": 3, "concept": "cell", **BOX}]},
            "a mask plane that it does not have",
        ),
        (
            {"instances": [{"id": 1, "plane": 0, "concept": "horn", **BOX}]},
            "'horn' is not in the vocabulary",
        ),
    ],
)
def test_a_sample_that_contradicts_itself_is_named(broken: dict[str, Any], message: str) -> None:
    whole = raw([("cell", square(5, 5, 50))])
    with pytest.raises(BadSample, match=f"toy/one: .*{message}"):
        builder().example(replace(whole, record=whole.record | broken), 0, 0)


def test_collation_encodes_equal_texts_once() -> None:
    absent = ("vessel",)
    examples = [
        builder().example(raw([("cell", square(5, 5, 50))], absent), 0, 0),
        builder().example(raw([("gland", square(5, 5, 9)), ("cell", square(40, 40, 50))], absent), 0, 1),
    ]
    batch = collate(examples)
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.images.dtype == batch.masks.dtype == torch.uint8
    assert batch.img_id.tolist() == [0, 0, 1, 1, 1]
    assert batch.text_id.tolist() == [0, 1, 0, 2, 1]
    ids, mask = tokenize(["cell", "vessel", "gland"])
    assert torch.equal(batch.input_ids, ids)
    assert torch.equal(batch.attention_mask, mask)
    assert batch.num_boxes.tolist() == [1, 0, 1, 1, 0]
    inputs = batch.inputs("cpu")
    assert inputs["pixel_values"].dtype == torch.float32
    assert -1 <= inputs["pixel_values"].min() < inputs["pixel_values"].max() == 1
    assert batch.targets("cpu").prompt_name(3) == "prompt 3 (toy/one: gland)"


def test_a_batch_of_negatives_alone_has_no_targets() -> None:
    batch = collate([builder().example(raw([], ("vessel", "polyp")), 0, 0)])
    targets = batch.targets("cpu")
    assert targets.masks is not None
    assert (targets.boxes.shape, targets.masks.shape) == ((0, 4), (0, 64, 64))
    assert targets.num_boxes.tolist() == [0, 0]


def jpeg_sample(side: int) -> Raw:
    """A smooth picture with an edge, as a JPEG."""
    rows, columns = np.mgrid[:side, :side]
    pixels = np.stack([rows // 3 % 256, columns // 3 % 256, 255 * (rows > columns)], axis=2).astype(np.uint8)
    sample = raw([("cell", square(10, 10, side // 2, (side, side)))])
    return replace(sample, image=simplejpeg.encode_jpeg(pixels, 95), extension="jpg")


def test_a_large_jpeg_is_decoded_smaller_where_that_is_asked_for() -> None:
    exact, small = (
        builder(64, scaled_jpeg=scaled).example(jpeg_sample(512), 0, 0) for scaled in (False, True)
    )
    off = (exact.image.int() - small.image.int()).abs().float()
    assert 0 < off.mean() < 2
    assert (exact.masks == small.masks).all()
    same = (builder(300, scaled_jpeg=scaled).example(jpeg_sample(512), 0, 0) for scaled in (False, True))
    assert torch.equal(*(example.image for example in same))  # less than twice the input
    record, planes = jpeg_sample(256).record, jpeg_sample(256).planes
    other = replace(jpeg_sample(512), record=record, planes=planes)
    with pytest.raises(BadSample, match=r"its image has \(512, 512\) px, its record \[256, 256\]"):
        builder(64, scaled_jpeg=True).example(other, 0, 0)
