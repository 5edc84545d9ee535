"""PanNuke: memory-mapped rows, ids by channel, background no class, folds paired by number."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source
from tests.samples import samples_of

SOURCE = get_source("pannuke")
NAMES = ["Neoplastic", "Inflammatory", "Connective/Soft tissue", "Dead", "Epithelial"]


def load_all(root: Path) -> list[Sample]:
    return [sample for case in list_download(SOURCE, root).cases for sample in samples_of(SOURCE, case)]


def write_fold(
    folder: Path, number: int, count: int, types: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A fold in the official tree with float64 arrays, and these arrays."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (count, 16, 16, 3)).astype(np.float64)
    masks = np.zeros((count, 16, 16, 6))
    masks[:, 2:5, 2:5, 0] = 9
    masks[:, 5:8, 2:5, 0] = 3  # touches the first
    masks[:, 10:14, 10:14, 3] = 9  # the same id in another channel
    masks[..., 5] = masks[..., :5].sum(-1) == 0
    for kind, array in (("images", images), ("masks", masks)):
        path = folder / f"Fold {number}" / kind / f"fold{number}" / f"{kind}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, array)
    if types is not None:
        shutil.copy(types, folder / f"Fold {number}/images/fold{number}/types.npy")
    return images, masks


def test_ids_of_a_channel_are_the_instances(tmp_path: Path) -> None:
    images, masks = write_fold(tmp_path, 2, 3)
    for row, sample in enumerate(load_all(tmp_path)):
        assert (sample.key, sample.group, sample.official_split) == (f"fold2-{row:04d}", "fold2", "fold2")
        assert sample.image.pixels.dtype == np.uint8
        assert np.array_equal(sample.image.pixels, images[row])
        assert [(i.label, i.native_id, i.area) for i in sample.instances] == [
            ("Neoplastic", 3, 9),
            ("Neoplastic", 9, 9),
            ("Dead", 9, 16),
        ]
        for instance in sample.instances:
            channel = NAMES.index(instance.label)
            assert np.array_equal(
                instance.region.mask((16, 16)), masks[row, :, :, channel] == instance.native_id
            )


def test_every_row_comes_once_in_cases_of_bounded_size(tmp_path: Path) -> None:
    write_fold(tmp_path, 1, 205)
    cases = list_download(SOURCE, tmp_path).cases
    assert [c.key for c in cases] == ["fold1-00", "fold1-01", "fold1-02"]
    assert [c.facts["rows"] for c in cases] == [[0, 100], [100, 200], [200, 205]]
    assert [s.key for s in load_all(tmp_path)] == [f"fold1-{row:04d}" for row in range(205)]


def test_folds_side_by_side_are_paired_by_number(tmp_path: Path) -> None:
    for number in (3, 1):
        write_fold(tmp_path, number, 2)
    assert [s.key for s in load_all(tmp_path)] == ["fold1-0000", "fold1-0001", "fold3-0000", "fold3-0001"]


def test_kaggle_parts(tmp_path: Path) -> None:
    for number in (1, 2):
        write_fold(tmp_path, number, 2)
        for kind in ("images", "masks"):
            target = tmp_path / "kaggle" / f"Part {number}" / kind.title() / f"{kind}.npy"
            target.parent.mkdir(parents=True)
            (tmp_path / f"Fold {number}" / kind / f"fold{number}" / f"{kind}.npy").rename(target)
    official_keys = ["fold1-0000", "fold1-0001", "fold2-0000", "fold2-0001"]
    assert [s.key for s in load_all(tmp_path / "kaggle")] == official_keys
    assert [s.key for s in load_all(tmp_path / "kaggle/Part 2")] == official_keys  # one folder too deep


def test_half_a_fold_is_named(tmp_path: Path) -> None:
    for number in (1, 2):
        write_fold(tmp_path, number, 1)
    (tmp_path / "Fold 2/masks/fold2/masks.npy").unlink()
    listing = list_download(SOURCE, tmp_path)
    assert [c.key for c in listing.cases] == ["fold1-00"]
    assert [(r["code"], r["file"]) for r in listing.rejects] == [
        ("missing_mask", "Fold 2/images/fold2/images.npy")
    ]


def test_arrays_that_do_not_belong_together(tmp_path: Path) -> None:
    write_fold(tmp_path, 1, 4)
    path = tmp_path / "Fold 1/masks/fold1/masks.npy"
    np.save(path, np.load(path)[:3])
    (reject,) = list_download(SOURCE, tmp_path).rejects
    assert reject["code"] == "size_mismatch"
    assert reject["file"].endswith("masks.npy")


def test_fractions_and_bright_pixels_are_refused(tmp_path: Path) -> None:
    write_fold(tmp_path, 1, 2)
    path = tmp_path / "Fold 1/masks/fold1/masks.npy"
    masks = np.load(path)
    masks[1, 0, 0, 2] = 0.5
    np.save(path, masks)
    with pytest.raises(Reject, match="label_not_integer"):
        load_all(tmp_path)
    masks[1, 0, 0, 2] = 0
    np.save(path, masks)
    images = tmp_path / "Fold 1/images/fold1/images.npy"
    np.save(images, np.load(images) * 2)
    with pytest.raises(Reject, match="unsupported_image"):
        load_all(tmp_path)


def test_truncated_array(tmp_path: Path) -> None:
    write_phantom("pannuke", tmp_path)
    path = tmp_path / "Fold 1/masks/fold1/masks.npy"
    path.write_bytes(path.read_bytes()[:-100])
    (reject,) = list_download(SOURCE, tmp_path).rejects
    assert reject["code"] == "unreadable"


def test_real_types_name_the_tissue_of_each_row(samples: Path, tmp_path: Path) -> None:
    found = sorted((samples / "pannuke").glob("Fold */images/fold?/types.npy"))
    for types in found:
        number = int(types.parent.name[-1])
        tissues = np.load(types)
        write_fold(tmp_path / types.parent.name, number, len(tissues), types)
        cases = list_download(SOURCE, tmp_path / types.parent.name).cases
        assert len(cases) == -(-len(tissues) // 100)
        loaded = list(samples_of(SOURCE, list(cases)[-1]))
        assert [s.extra["tissue"] for s in loaded] == tissues[(len(tissues) - 1) // 100 * 100 :].tolist()
    if not found:
        pytest.skip("no types.npy among the samples")
