"""BKAI-IGH NeoPolyp: doubled folders, colour masks as JPEG, one pair under two names, tests without mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (140, 180)
RED, GREEN = (255, 0, 0), (0, 255, 0)
TWINS = ("6c04414eaa922bca73d5379c7c851a50", "cdc265a0b0a1230b118fa8625605da20")
EXPECTED = Expected(samples=6, concepts={"neoplastic_polyp": 6, "non_neoplastic_polyp": 3}, skipped=2)


def write(root: Path, rng: np.random.Generator) -> None:
    """Six pairs, of which two are the same picture; two test images."""
    for name, colors in (
        ("0081835cf877e004e8bfb905b78a9139", [RED]),
        ("aa179344271fa54aa1b27918630bfd2a", [GREEN]),
        ("cc01dd78294679c9cbb2a365b5574868", [RED, GREEN]),
        ("d7a36ccf1225024da63fb9a76b926334", [RED, RED, GREEN]),
    ):
        _write_pair(root, name, colors, rng)
    _write_pair(root, TWINS[0], [RED], rng)
    for folder in ("train/train", "train_gt/train_gt"):
        (root / folder / f"{TWINS[1]}.jpeg").write_bytes((root / folder / f"{TWINS[0]}.jpeg").read_bytes())
    for name in ("019410b1fcf0625f608b4ce97629ab55", "02fa602bb3c7abacdbd7e6afd56ea7bc"):
        draw.save(root / f"test/test/{name}.jpeg", draw.picture(rng, SIZE, (), (), (150, 60, 50)))
    draw.text(root / "sample_submission.csv", "Id,Expected\n")


def _write_pair(root: Path, name: str, colors: list[tuple[int, int, int]], rng: np.random.Generator) -> None:
    polyps = draw.blobs(rng, SIZE, len(colors), (14, 20))
    mask = np.zeros((*SIZE, 3), np.uint8)
    for polyp, color in zip(polyps, colors, strict=True):
        mask[polyp] = color
    image = draw.picture(rng, SIZE, polyps, [(190, 90, 80)], (150, 60, 50), noise=3)
    draw.save(root / f"train/train/{name}.jpeg", image, quality=85)
    draw.save(root / f"train_gt/train_gt/{name}.jpeg", mask, quality=85)
