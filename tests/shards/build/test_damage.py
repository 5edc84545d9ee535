"""A build over a damaged corpus gives the bytes of a fresh one, with the same and with a changed download."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build import index
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import Result, build_dataset
from medshards.shards.build.manifest import CORPUS
from medshards.shards.build.place import PACKS, WORK
from medshards.shards.encode.policy import Making
from medshards.shards.prove.verify import verify
from medshards.vocab.vocabulary import Vocabulary
from tests.shards.conftest import contents

DRIVE = load_catalog()["drive"]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The phantom of DRIVE, and the same with one mask changed."""
    folder = tmp_path_factory.mktemp("downloads")
    phantoms.write_phantom("drive", folder / "same")
    shutil.copytree(folder / "same", folder / "changed")
    manual = folder / "changed/DRIVE/training/1st_manual/23_manual1.gif"
    pixels = np.asarray(PIL.Image.open(manual).convert("L")).copy()
    pixels[:9, :9] = 255
    PIL.Image.fromarray(pixels).save(manual)
    return folder / "same", folder / "changed"


@pytest.fixture(scope="module")
def whole(downloads: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of the first download: to be copied."""
    out = tmp_path_factory.mktemp("whole") / "out"
    _build(downloads[0], out)
    return out


def _build(download: Path, out: Path) -> Result:
    result = build_dataset(DRIVE, download, out, Making(shard_bytes=100_000))
    write_corpus(out, "default", Vocabulary.load().digest)
    return result


def _flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def _right_after_damage(downloads: tuple[Path, Path], folder: Path, times: int, seed: int = 9) -> int:
    """Damage one file after the other of a corpus: verify has to name it, and a build over it has to mend it.

    How often both hold, with the same and with a changed download in turn.
    """
    fresh = []
    for number, download in enumerate(downloads):
        _build(download, folder / str(number))
        fresh.append(contents(folder / str(number)))
    files = sorted(name for name, data in fresh[0].items() if data)
    rng, right = random.Random(seed), 0
    for number in range(times):
        changed, name = number // len(files) % 2, files[number % len(files)]
        out = folder / "out"
        shutil.copytree(folder / "0", out)
        _flip(out / name, rng.randrange(len(fresh[0][name])), rng.randrange(8))
        named = name in {problem.file for problem in verify(out)}
        _build(downloads[changed], out)
        right += named and contents(out) == fresh[changed]
        shutil.rmtree(out)
    return right


def test_a_build_over_damage_gives_the_bytes_of_a_fresh_one(
    downloads: tuple[Path, Path], tmp_path: Path
) -> None:
    assert _right_after_damage(downloads, tmp_path, 26) == 26


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(8))
def test_2000_builds_over_damage_give_the_bytes_of_a_fresh_one(
    downloads: tuple[Path, Path], tmp_path: Path, seed: int
) -> None:
    assert _right_after_damage(downloads, tmp_path, 250, seed) == 250


def test_a_damaged_shard_costs_its_own_cases_alone(downloads: tuple[Path, Path], tmp_path: Path) -> None:
    first = _build(downloads[0], tmp_path)
    shards = sorted(tmp_path.glob("drive/*/*.tar"))
    assert len(shards) > 2
    held = sum(
        row["shard"] == shards[0].relative_to(tmp_path / "drive").as_posix() for row in _rows(tmp_path)
    )
    _flip(shards[0], 700)
    again = _build(downloads[0], tmp_path)
    assert (again.encoded, again.reused, again.changed) == (held, first.samples - held, True)
    assert verify(tmp_path) == []


def _rows(out: Path) -> list[dict[str, object]]:
    return list(index.read_rows(out / "drive" / index.INDEX))


@pytest.mark.parametrize(
    "name", ["drive/manifest.json", "drive/index.parquet", "drive/rejects.jsonl", CORPUS]
)
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"datasets": 3, "digest": "x"}', b"[" * 100_000]
)
def test_a_file_of_nonsense_is_written_again(
    downloads: tuple[Path, Path], whole: Path, tmp_path: Path, name: str, data: bytes
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    (out / name).write_bytes(data or b"\n")
    assert verify(out)
    _build(downloads[0], out)
    assert contents(out) == contents(whole)


def test_a_missing_file_is_written_again(downloads: tuple[Path, Path], whole: Path, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    before = contents(whole)
    for name in sorted(set(before) - {"drive/manifest.json"}):
        (out / name).unlink()
        _build(downloads[0], out)
        assert contents(out) == before, name


def test_damage_in_a_neighbour_does_not_become_proof(whole: Path, tmp_path: Path) -> None:
    """A manifest that is not as it was written keeps the digest that corpus.json had of it."""
    out = shutil.copytree(whole, tmp_path / "out")
    path = out / "drive/manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"samples": 8', b'"samples": 9'))
    phantoms.write_phantom("ravir", tmp_path / "ravir")
    build_dataset(load_catalog()["ravir"], tmp_path / "ravir", out)
    corpus = write_corpus(out, "default", "none")
    assert corpus["datasets"]["drive"]["samples"] == 8
    assert "drive/manifest.json" in {problem.file for problem in verify(out)}


def test_damaged_packs_are_encoded_again(
    downloads: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption leaves packs; what is damaged of them, or of their journals, is no finished work."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medshards.shards.build.dataset.assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _build(downloads[0], tmp_path / "cut")
    packs = tmp_path / "cut" / WORK / "drive" / PACKS
    rng = random.Random(3)
    for pattern in ("*.pack", "*.journal"):
        for _ in range(4):
            shutil.copytree(tmp_path / "cut", tmp_path / "out")
            path = next((tmp_path / "out" / packs.relative_to(tmp_path / "cut")).glob(pattern))
            _flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
            result = _build(downloads[0], tmp_path / "out")
            assert (result.encoded, result.reused) == (1, 7)
            assert contents(tmp_path / "out") == contents(whole)
            shutil.rmtree(tmp_path / "out")
    journal = next(packs.glob("*.journal"))
    assert json.loads(journal.read_bytes().splitlines()[0].split(b" ", 1)[1])["case"]
