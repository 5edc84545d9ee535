"""Builds of downloads whose pictures or masks are odd in one way: they come out right, or are refused by name."""

import json
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from click.testing import CliRunner
from numpy.typing import NDArray

from medshards.cli import cli
from medshards.curate.formats.pictures import png

MASK = np.zeros((60, 80), np.uint8)
MASK[15:45, 20:60] = 255
NOISE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)


def save(path: Path, pixels: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def build(slug: str, raw: Path) -> tuple[int, str, list[dict]]:
    """(exit status, what was said, rejects)."""
    out = raw.with_name("out")
    result = CliRunner().invoke(cli, ["build", slug, "--raw", str(raw), "--out", str(out)])
    rejects = (out / slug / "rejects.jsonl").read_text().splitlines()
    return result.exit_code, result.output, [json.loads(line) for line in rejects]


def members(raw: Path) -> dict[str, bytes]:
    found = {}
    for path in raw.with_name("out").rglob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                found[member.name] = stream.read() if stream else b""
    return found


def cvc_clinicdb(raw: Path) -> None:
    """Masks of 0 and 1, as nnU-Net wants them."""
    for number in (1, 2):
        save(raw / f"cvc_clinicdb/CVC-ClinicDB/Original/{number}.png", NOISE)
        save(raw / f"cvc_clinicdb/CVC-ClinicDB/Ground Truth/{number}.png", MASK // 255)


def isic_2018(raw: Path) -> None:
    """Masks in the alpha channel of one colour."""
    for number, color in ((1, 0), (2, 255)):
        mask = np.dstack([np.full_like(MASK, color)] * 3 + [MASK])
        save(raw / f"isic_2018/ISIC2018_Task1-2_Training_Input/ISIC_{number:07d}.jpg", NOISE)
        save(raw / f"isic_2018/ISIC2018_Task1_Training_GroundTruth/ISIC_{number:07d}_segmentation.png", mask)


def pannuke(raw: Path) -> None:
    """Images scaled to 0..1."""
    images, masks = (raw / f"pannuke/Fold 1/{part}/fold1" for part in ("images", "masks"))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    classes = np.zeros((2, 64, 64, 6))
    classes[:, 10:20, 10:20, 0] = 1
    classes[..., 5] = classes[..., 0] == 0
    np.save(images / "images.npy", np.random.default_rng(0).random((2, 64, 64, 3)))
    np.save(images / "types.npy", np.array(["Breast"] * 2))
    np.save(masks / "masks.npy", classes)


@pytest.mark.parametrize(
    ("write", "code", "words", "count"),
    [
        (cvc_clinicdb, "unknown_label", "is it a mask of 0 and 1?", 2),
        (isic_2018, "unsupported_image", "transparent pixels", 2),
        (pannuke, "unsupported_image", "fractions from", 1),
    ],
)
def test_what_cannot_be_right_is_refused(write, code: str, words: str, count: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = tmp_path / "raw"
    write(raw)
    status, said, rejects = build(write.__name__, raw)
    assert status == 1
    assert "0 samples" in said
    assert words in said
    assert [reject["code"] for reject in rejects] == [code] * count


def test_a_turned_tiff_keeps_its_mask(tmp_path: Path) -> None:
    """DRIVE with a tag that turns one image by 180 degrees; what lies under the mask is red."""
    raw = tmp_path / "raw"
    folder = raw / "drive/DRIVE/training"
    image = np.full((60, 80, 3), 60, np.uint8)
    image[MASK > 0] = (220, 40, 40)
    (folder / "images").mkdir(parents=True)
    mask = MASK.copy()
    mask[:15] = 255 * (np.arange(80) < 9)  # turned, it would not lie on itself
    image[mask > 0] = (220, 40, 40)
    for number, orientation in ((21, 1), (22, 3)):
        tag = [(274, "H", 1, orientation, True)]
        path = folder / f"images/{number}_training.tif"
        tifffile.imwrite(path, image, photometric="rgb", extratags=tag)
        save(folder / f"1st_manual/{number}_manual1.gif", mask)
    assert build("drive", raw)[0] == 0
    found = members(raw)
    for number in (21, 22):
        stored = png.decode(found[f"{number}_training.png"])
        assert np.array_equal(png.decode(found[f"{number}_training.mask.png"]) > 0, mask > 0)
        assert np.array_equal(stored, image)


@pytest.mark.parametrize("spacing", ["0.28 0.28 1", "0 0 0"])
def test_a_metaimage_whose_pixels_begin_later(spacing: str, tmp_path: Path) -> None:
    """ACOUSLIC with 700 bytes before its frames, and with spacings that are no distances."""
    raw, name = tmp_path / "raw", "00000000-0000-0000-0000-000000000001.mha"
    folder = raw / "acouslic/acouslic-ai-train-set"
    _, rows, columns = np.indices((6, 40, 50))
    frames = ((columns * 4 + 10 * np.arange(6)[:, None, None]) % 256).astype(np.uint8)
    masks = ((np.arange(6)[:, None, None] == 2) & (rows < 20) & (columns < 20)).astype(np.uint8)
    for part, pixels, skip in (
        ("images/stacked_fetal_ultrasound", frames, 700),
        ("masks/stacked_fetal_abdomen", masks, 0),
    ):
        header = f"NDims = 3\nElementSpacing = {spacing}\nHeaderSize = {skip}\nDimSize = 50 40 6\n"
        header += "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        (folder / part).mkdir(parents=True)
        (folder / part / name).write_bytes(header.encode().ljust(skip, b"\0") + pixels.tobytes())
    table = folder / "circumferences/fetal_abdominal_circumferences_per_sweep.csv"
    table.parent.mkdir()
    table.write_text(f"uuid,subject_id\n{name[:-4]},001\n")
    assert build("acouslic", raw)[0] == 0
    (image,) = (data for key, data in members(raw).items() if key.count(".") == 1 and key.endswith(".png"))
    assert np.array_equal(png.decode(image), frames[2])
    (record,) = (json.loads(data) for key, data in members(raw).items() if key.endswith(".json"))
    assert record["spacing"] == ([0.28, 0.28] if spacing.startswith("0.28") else None)
