"""Paired volumes in shards: together and in order, their numbers kept, split by patient over both halves."""

from __future__ import annotations

import json
import shutil
import tarfile
from itertools import groupby
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medshards.common.window import shown, values
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.formats.pictures import png
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.build.index import INDEX, read_rows
from medshards.shards.encode.policy import Making
from medshards.shards.prove.verify import verify
from medshards.vocab.vocabulary import Vocabulary
from tests.shards.conftest import contents, write_phantoms

HALVES = ("umd_petct", "umd_petmr")
SMALL = 250_000  # bytes of a shard: room for one volume and a part of the next


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(HALVES, tmp_path_factory.mktemp("raw"))


def build(raw: Path, out: Path, *slugs: str, workers: int = 1, **making: Any) -> None:
    for slug in slugs:
        result = build_dataset(load_catalog()[slug], raw / slug, out, Making(**making), workers)
        assert not result.rejects
    write_corpus(out, "default", Vocabulary.load().digest)


@pytest.fixture(scope="module")
def corpus(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    build(raw, out, *HALVES, shard_bytes=SMALL)
    return out


def rows(out: Path, slug: str) -> list[dict[str, Any]]:
    return list(read_rows(out / slug / INDEX))


def read(out: Path, slug: str, row: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    with tarfile.open(out / slug / row["shard"]) as tar:
        image = tar.extractfile(f"{row['key']}.png")
        record = tar.extractfile(f"{row['key']}.json")
        assert image is not None
        assert record is not None
        return png.decode(image.read()), json.loads(record.read())


def test_the_corpus_is_clean(corpus: Path) -> None:
    assert verify(corpus) == []


def test_slices_of_a_volume_lie_together_in_order_in_one_shard(corpus: Path) -> None:
    for slug in HALVES:
        found = rows(corpus, slug)
        assert len({row["shard"] for row in found if row["split"] == "train"}) > 2
        runs = [list(run) for _, run in groupby(found, key=lambda row: row["volume"])]
        assert len(runs) == 18  # each volume is one run
        for run in runs:
            assert len({row["shard"] for row in run}) == 1
            assert [row["slice"] for row in run] == [*range(15), 16, 17, 18]


def test_patients_are_split_once_for_both_halves(corpus: Path) -> None:
    sides: dict[str, str] = {}
    for slug in HALVES:
        for row in rows(corpus, slug):
            assert sides.setdefault(row["group"], row["split"]) == row["split"]
    assert len(sides) == 9
    assert set(sides.values()) == {"train", "val"}


def test_a_volume_larger_than_a_shard_goes_on_in_the_next(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path, "umd_petct", shard_bytes=30_000)
    assert verify(tmp_path) == []
    assert max(p.stat().st_size for p in tmp_path.rglob("*.tar")) <= 30_000


def test_without_a_crosswalk_both_halves_are_held_out(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "umd_petct" / "L2 flat", tmp_path / "raw" / "umd_petct")
    build(tmp_path / "raw", tmp_path / "out", "umd_petct")
    assert {row["split"] for row in rows(tmp_path / "out", "umd_petct")} == {"test"}


def test_stored_numbers_are_those_of_the_files(raw: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "umd_petct" / "L2 flat", tmp_path / "raw" / "umd_petct")
    build(tmp_path / "raw", tmp_path / "out", "umd_petct")
    truth = {
        modality: np.asarray(nib.Nifti1Image.from_filename(next((tmp_path / "raw").rglob(pattern))).dataobj).T
        for modality, pattern in (("CT", "*_ct_res.nii.gz"), ("PT", "*_pet_suv.nii.gz"))
    }
    for row in rows(tmp_path / "out", "umd_petct"):
        pixels, record = read(tmp_path / "out", "umd_petct", row)
        assert pixels.dtype == np.uint16
        image = truth[record["modality"]][row["slice"]]
        np.testing.assert_allclose(values(pixels, record), image, atol=np.ptp(image) / 131070 * 1.01)
        low, high = record["intensity"]["window"]
        expected = np.clip((image - low) / (high - low), 0, 1) * 255
        assert np.abs(shown(pixels, record) - expected).max() <= 1
        assert record["pair"] == [
            row["key"].replace("-ct-", "-xx-").replace("-pt-", "-ct-").replace("-xx-", "-pt-")
        ]


def test_masks_of_a_pair_are_the_same_bytes(corpus: Path) -> None:
    for slug in HALVES:
        found = {row["key"]: row for row in rows(corpus, slug)}
        for row in list(found.values())[::7]:
            _, record = read(corpus, slug, row)
            (other,) = record["pair"]
            assert found[other]["mask_sha256"] == row["mask_sha256"]
            assert found[other]["split"] == row["split"]


def test_a_second_build_gives_the_same_bytes(raw: Path, corpus: Path, tmp_path: Path) -> None:
    build(raw, tmp_path, "umd_petct", workers=2, shard_bytes=4 * SMALL)
    build(raw, tmp_path, "umd_petct", shard_bytes=SMALL)  # reuses what is encoded
    assert contents(tmp_path / "umd_petct") == contents(corpus / "umd_petct")
