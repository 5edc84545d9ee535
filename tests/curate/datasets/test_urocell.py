"""UroCell: labels in the order of the array whatever the headers say, blank slices left out, the best labels taken."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medshards.curate.datasets.urocell import phantom as urocell
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Skip, get_source
from tests.samples import position_of

BLOCK = "fib1-0-0-0.nii.gz"


def load(root: Path, slices: str = "annotated") -> tuple[dict[str, Sample], list[Skip]]:
    source = type(get_source("urocell"))()
    source.slices = slices
    loaded = [item for case in list_download(source, root).cases for item in source.load(case)]
    return {s.key: s for s in loaded if isinstance(s, Sample)}, [s for s in loaded if isinstance(s, Skip)]


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("urocell", tmp_path)
    return tmp_path / "UroCell-master"


def stored(path: Path) -> np.ndarray:
    """Voxels in the order of the file: third, second, first axis."""
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T


def test_real_labels_with_made_up_images(samples: Path, tmp_path: Path) -> None:
    """The samples hold labels only, so each block gets a picture of its size."""
    real = samples / "urocell"
    shutil.copytree(real, tmp_path / "raw")
    names = sorted({p.name for p in real.rglob("fib1-*.nii.gz")})
    (tmp_path / "raw/data").mkdir()
    noise = np.random.default_rng(0).integers(1, 255, (256, 256, 256), np.uint8)
    for name in names:
        (tmp_path / "raw/data" / name).write_bytes(nib.Nifti1Image(noise, np.eye(4)).to_bytes())
    found, skips = load(tmp_path / "raw", "every 64")
    folders = {
        "mito": "mito/instance",
        "lyso": "lyso/binary",
        "fv": "fv/instance",
        "golgi": "golgi/precise/binary",
    }
    for name in names:
        assert not skips
        for index in (0, 64, 128, 192):
            sample = found[f"{name.removesuffix('.nii.gz')}-{index:04d}"]
            assert np.array_equal(sample.image.pixels, noise.T[:, index])
            for label, folder in folders.items():
                drawn = np.zeros((256, 256), bool)
                for instance in sample.instances:
                    if instance.label == label:
                        drawn |= instance.region.mask((256, 256))
                path = real / folder / name
                expected = stored(path)[:, index] > 0 if path.exists() else np.zeros((256, 256), bool)
                assert np.array_equal(drawn, expected), (name, label, index)
            ids = {i.native_id for i in sample.instances if i.label == "mito"}
            if (real / "mito/instance" / name).exists():
                assert ids == set(np.unique(stored(real / "mito/instance" / name)[:, index])) - {0}


def test_affines_do_not_turn_anything(phantom: Path) -> None:
    sample = load(phantom)[0]["fib1-1-0-3-0004"]
    assert sample.image.size == (24, 20)
    lyso = next(i for i in sample.instances if i.label == "lyso").region.mask((24, 20))
    assert np.array_equal(lyso, stored(phantom / "lyso/binary/fib1-1-0-3.nii.gz")[:, 4] > 0)
    assert np.abs(sample.image.pixels[lyso].mean() - 90) < 10  # the tone in which the phantom draws it
    assert sample.spacing == (15e-6, 16e-6)
    assert (position_of(sample).volume, position_of(sample).index, position_of(sample).count) == (
        "fib1-1-0-3",
        4,
        8,
    )


def test_blank_slices_are_left_out_and_told(phantom: Path) -> None:
    for rule, indices in {
        "annotated": range(2, 8),
        "all": range(2, 8),
        "largest": [2],
        "middle": [4],
    }.items():
        found, skips = load(phantom, rule)
        assert [position_of(s).index for s in found.values() if s.group == "fib1-0-0-0"] == list(indices)
        assert [s.reason for s in skips if "0-0-0" in s.file] == ["slice without image data"] * 2


def test_precise_golgi_before_approximate(phantom: Path) -> None:
    found, _ = load(phantom)
    assert {i.label for s in found.values() if s.group == "fib1-2-2-3" for i in s.instances} == {"golgi"}
    assert {i.label for s in found.values() if s.group == "fib1-1-0-3" for i in s.instances} == {
        "mito",
        "lyso",
        "golgi approximate",
    }


def test_only_what_was_annotated_counts_as_absent(phantom: Path) -> None:
    found, _ = load(phantom)
    assert found["fib1-0-0-0-0002"].concepts == ("endolysosome", "fusiform_vesicle", "mitochondrion")
    assert found["fib1-1-0-3-0002"].concepts == ("endolysosome", "mitochondrion")
    assert found["fib1-2-2-3-0002"].concepts == ("golgi_apparatus",)


def test_block_without_any_organelle_is_skipped(phantom: Path) -> None:
    found, skips = load(phantom)
    assert not [s for s in found.values() if s.group == "fib1-2-3-0"]
    assert [s.reason for s in skips if "2-3-0" in s.file] == ["volume without annotation"]


def test_old_clone(phantom: Path) -> None:
    for organelle in ("mito", "lyso"):
        for path in (phantom / organelle / "binary").iterdir():
            path.rename(phantom / organelle / path.name)
        for folder in [p for p in (phantom / organelle).iterdir() if p.is_dir()]:
            shutil.rmtree(folder)
    shutil.rmtree(phantom / "fv")
    found, _ = load(phantom)
    sample = found["fib1-0-0-0-0002"]
    assert [(i.label, i.native_id) for i in sample.instances] == [("mito", 1), ("lyso", 1)]


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / "data" / BLOCK).unlink()
    (phantom / "golgi/approximate/binary/fib1-2-3-0.nii.gz").unlink()
    rejects = list_download(get_source("urocell"), phantom).rejects
    assert sorted((r["code"], r["file"].removeprefix("UroCell-master/")) for r in rejects) == [
        ("missing_image", f"fv/instance/{BLOCK}"),
        ("missing_image", f"lyso/binary/{BLOCK}"),
        ("missing_image", f"mito/instance/{BLOCK}"),
        ("missing_mask", "data/fib1-2-3-0.nii.gz"),
    ]


def test_damage_is_named(phantom: Path) -> None:
    urocell.save(phantom / "lyso/binary" / BLOCK, np.zeros((24, 8, 19), np.int16), np.eye(4))
    with pytest.raises(Reject, match=f"lyso/binary/{BLOCK}: size_mismatch"):
        load(phantom)
    urocell.save(phantom / "lyso/binary" / BLOCK, np.full((24, 8, 20), 0.5, np.float32), np.eye(4))
    with pytest.raises(Reject, match=f"lyso/binary/{BLOCK}: label_not_integer"):
        load(phantom)
    (phantom / "lyso/binary" / BLOCK).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(Reject, match=f"lyso/binary/{BLOCK}: lfs_pointer"):
        load(phantom)
    (phantom / "lyso/binary" / BLOCK).unlink()
    bright = np.arange(24 * 8 * 20, dtype=np.float32).reshape(24, 8, 20)
    urocell.save(phantom / "data" / BLOCK, bright, np.eye(4))
    with pytest.raises(Reject, match=f"data/{BLOCK}: unsupported_image"):
        load(phantom)
