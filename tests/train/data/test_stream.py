"""Reading a corpus: by index, in one range a sample, nothing damaged passes unnoticed."""

import io
import json
import random
import shutil
import tarfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from medshards.curate.formats.pictures import png
from medshards.shards.read.cache import Cached
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import BadSample, Corpus
from medshards.shards.read.storage import Bucket, StoreError
from medshards.train.data.batch import Builder, collate
from medshards.train.data.feed import Feed
from medshards.train.data.loader import Samples, concept_names
from medshards.train.data.open import open_data
from medshards.train.data.plan import Request, Slices
from medshards.train.run.config import DataConfig, load_config


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> Path:
    return shutil.copytree(corpus, tmp_path / "copy")


def samples_of(location: Path | str, **data: object) -> Samples:
    opened = Corpus.open(location)
    return Samples(opened, Builder(DataConfig.model_validate(data), 64, 0, concept_names(opened)))


def test_members_are_those_of_the_tar(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    assert opened.slugs == ["busi", "drive", "ravir"]
    for sample in range(len(opened)):
        raw = opened.read(sample)
        slug, key = raw.name.split("/")
        members: dict[str, bytes] = {}
        for shard in (corpus / slug / "train").glob("*.tar"):
            with tarfile.open(shard) as tar:
                found = [m for m in tar if m.name.split(".", 1)[0] == key]
                members |= {m.name.split(".", 1)[1]: tar.extractfile(m).read() for m in found}  # type: ignore[union-attr]
        assert members[raw.extension] == raw.image
        assert [members["mask.png"]] == list(raw.planes)
        assert json.loads(members["json"]) == raw.record
        assert raw.record["split"] == "train"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_is_its_examples(corpus: Path, workers: int) -> None:
    samples = samples_of(corpus, random_square_resize=(32, 16))
    requests = [Request(0, sample) for sample in range(len(samples.corpus))]
    with Feed(samples, [requests], workers) as feed:
        batch = next(feed)
    expected = collate([samples[request] for request in requests])
    for name, value in vars(expected).items():
        found = getattr(batch, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


def test_splits_and_datasets_are_chosen(corpus: Path) -> None:
    train, val = Corpus.open(corpus, "train"), Corpus.open(corpus, "val")
    names = [{opened.name(i) for i in range(len(opened))} for opened in (train, val)]
    assert not names[0] & names[1]
    assert (len(train), len(val)) == (18, 5)
    assert len(Corpus.open(corpus, datasets=["drive"])) == 5
    with pytest.raises(CorpusError, match="no dataset brats; it has busi, drive, ravir"):
        Corpus.open(corpus, datasets=["brats"])


def test_images_without_any_prompt_are_known_from_the_index(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    assert len(opened.with_prompts(negatives=True)) == 18
    assert len(opened.with_prompts(negatives=False)) == 16  # two normal breasts without lesion


def test_groups_are_those_of_the_index(corpus: Path) -> None:
    busi, *others = (group.tolist() for group in Corpus.open(corpus).groups())
    assert busi == [0, 1, 2, 3, 3, 4, 5]  # the phantom draws two lesions so alike that they are one group
    assert others == [list(range(n)) for n in (5, 6)]


def test_opening_reads_no_shard(copy: Path) -> None:
    for shard in copy.rglob("*.tar"):
        shard.unlink()
    opened = Corpus.open(copy)
    with pytest.raises(
        StoreError, match=r"busi/train/busi-train-000000.tar cannot be read for busi/benign-001: No such file"
    ):
        opened.read(0)


def test_opening_takes_milliseconds(corpus: Path) -> None:
    Corpus.open(corpus)
    began = time.process_time()
    for _ in range(5):
        Corpus.open(corpus)
    assert (time.process_time() - began) / 5 < 0.02


def test_no_corpus_is_said_plainly(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(CorpusError, match=r"is no corpus: it has no corpus\.json"):
        Corpus.open(tmp_path)
    facts = json.loads((copy / "corpus.json").read_text())
    facts["datasets"]["drive"]["samples"] += 1
    (copy / "corpus.json").write_text(json.dumps(facts))
    with pytest.raises(CorpusError, match="its digest does not fit"):
        Corpus.open(copy)


def refusals_of_flips(copy: Path, path: str, flips: int) -> int:
    """In how many of so many trials, each with one bit flipped in a file of a corpus, it is refused."""
    whole, refused = (copy / path).read_bytes(), 0
    generator = random.Random(7)
    for _ in range(flips):
        data = bytearray(whole)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        (copy / path).write_bytes(data)
        try:
            Corpus.open(copy).prepare()
        except CorpusError:
            refused += 1
    (copy / path).write_bytes(whole)
    return refused


@pytest.mark.parametrize("file", ["corpus.json", "drive/manifest.json", "busi/index.parquet"])
def test_a_flipped_bit_of_the_chain_is_refused(copy: Path, file: str) -> None:
    assert refusals_of_flips(copy, file, 30) == 30


@pytest.mark.slow
def test_every_flipped_bit_of_an_index_is_refused(copy: Path) -> None:
    assert refusals_of_flips(copy, "busi/index.parquet", 800) == 800


def test_the_index_of_another_dataset_or_build_is_refused(copy: Path) -> None:
    index = copy / "drive/index.parquet"
    own = index.read_bytes()
    index.write_bytes((copy / "ravir/index.parquet").read_bytes())
    with pytest.raises(
        CorpusError, match=r"drive/index\.parquet is not the file that its manifest describes"
    ):
        Corpus.open(copy)
    with pytest.raises(CorpusError, match="not the file"):  # its size tells
        Corpus.open(copy, check_index=False)
    index.write_bytes(own)
    (copy / "drive/manifest.json").write_bytes((copy / "ravir/manifest.json").read_bytes())
    with pytest.raises(CorpusError, match=r"drive/manifest\.json is not the file that the corpus describes"):
        Corpus.open(copy)
    (copy / "drive/manifest.json").unlink()
    with pytest.raises(CorpusError, match=r"drive/manifest\.json is not there"):
        Corpus.open(copy)


def test_without_the_digest_of_an_index_the_checksums_of_its_pages_are_left(copy: Path) -> None:
    index = copy / "busi/index.parquet"
    flip(index, 2000)  # within a page
    with pytest.raises(CorpusError, match=r"busi/index\.parquet cannot be read"):
        Corpus.open(copy, check_index=False).prepare()


@pytest.mark.parametrize("member", ["image", "mask", "record"])
def test_a_flipped_byte_is_named(copy: Path, member: str) -> None:
    column = {"image": "image_offset", "mask": "mask_offsets", "record": "json_offset"}[member]
    opened = Corpus.open(copy)
    offset = opened.rows("drive")[column][2].as_py()
    flip(copy / "drive/train/drive-train-000000.tar", (offset[0] if member == "mask" else offset) + 40)
    with pytest.raises(BadSample, match=f"drive/24_training: its {member} in drive/train/"):
        opened.read(7 + 2)
    opened.read(7 + 3)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_bad_sample_is_named_and_replaced_by_its_neighbour(copy: Path) -> None:
    opened = Corpus.open(copy)
    for row in (3, 4):  # the last two of drive: the neighbour of the last is the first
        offset = opened.rows("drive")["image_offset"][row].as_py()
        flip(copy / "drive/train/drive-train-000000.tar", offset + 100)
    example = samples_of(copy)[Request(0, 7 + 3)]
    assert example.name == "drive/22_training"
    assert [bad.name for bad in example.bad] == ["drive/25_training", "drive/26_training"]
    assert all("its image in drive/train/" in bad.reason for bad in example.bad)
    (batch,) = Feed(samples_of(copy), [[Request(0, 0), Request(0, 7 + 3)]], workers=1)
    assert batch.names == ("busi/benign-001", "drive/22_training")
    assert batch.bad == example.bad


def test_a_truncated_shard_is_no_bad_sample(copy: Path) -> None:
    shard = copy / "ravir/train/ravir-train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-12000])
    with pytest.raises(StoreError, match=r"ravir-train-000000.tar cannot be read for ravir/.*ends after"):
        Corpus.open(copy).read(17)
    with pytest.raises(StoreError, match="ends after"), Feed(samples_of(copy), [[Request(0, 17)]], 1) as feed:
        next(feed)


def test_a_validation_leaves_a_damaged_image_out(copy: Path) -> None:
    opened = Corpus.open(copy)
    flip(copy / "drive/train/drive-train-000000.tar", opened.rows("drive")["image_offset"][4].as_py() + 100)
    samples = samples_of(copy)
    samples.replace = False
    (batch,) = Feed(samples, [[Request(0, 7 + 3), Request(0, 7 + 4)]])
    assert batch.void == (False, True)
    assert [bad.name for bad in batch.bad] == ["drive/26_training"]
    assert batch.images[1].max() == 0
    assert [prompt.instances for prompt in batch.prompts][-1] == 0


def test_when_everything_is_bad_it_stops(copy: Path) -> None:
    shard = copy / "drive/train/drive-train-000000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CorpusError, match="20 samples in a row"):
        samples_of(copy)[Request(0, 7)]


def test_workers_change_nothing(corpus: Path) -> None:
    requests = [[Request(0, i), Request(1, 17 - i)] for i in range(6)]
    for alone, helped in zip(Feed(samples_of(corpus), requests), Feed(samples_of(corpus), requests, 2)):
        assert (alone.names, alone.prompts) == (helped.names, helped.prompts)
        assert (alone.images == helped.images).all()
        assert (alone.masks == helped.masks).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
def test_every_sample_comes_once_whatever_ranks_and_workers_take_it(corpus: Path) -> None:
    """From one process to eight ranks of four workers each; every run goes on where the one before stopped."""
    sizes = np.concatenate([each.sizes for each in Corpus.open(corpus).shards()])
    assert 2 * sizes.max() < sizes.sum()
    window = f"data.window_gb={2 * sizes.max() / 2**30}"
    data = open_data(load_config("tiny", [window]), str(corpus), 64)
    taken: list[str] = []
    for world, workers, steps in ((1, 0, 1), (2, 1, 1), (8, 4, 3), (4, 2, 2)):
        parts = []
        for rank in range(world):
            slices = Slices(data.plan, len(taken), 8, 1, rank, world)
            with Feed(data.samples, islice(slices, steps * 8 // world), workers) as feed:
                parts.append([name for batch in feed for name in batch.names])
        taken += [name for chunk in zip(*parts, strict=True) for name in chunk]
    assert taken == [data.samples.corpus.name(sample) for _, sample in data.plan.requests(0, 56)]
    every = {data.samples.corpus.name(sample) for sample in range(18)}
    assert all(set(taken[epoch * 18 : epoch * 18 + 18]) == every for epoch in range(3))


def test_a_window_too_small_for_the_shards_is_said(corpus: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not hold two of the largest shards.*data\.window_gb"):
        open_data(load_config("tiny", ["data.window_gb=0.0001"]), str(corpus), 64)


def test_a_cache_that_would_fetch_shards_again_and_again_is_remarked(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remarks(window: int | None, limit: int) -> list[str]:
        data = open_data(load_config("tiny"), str(corpus), 64)
        data.samples.corpus.store = Cached(Bucket("memory://none"), tmp_path, limit)
        data.plan.window = window
        return data.remarks()

    total = sum(path.stat().st_size for path in corpus.glob("*/train/*.tar"))
    assert remarks(None, total) == remarks(total // 3, total) == []
    assert "holds less than the training shards" in remarks(None, total - 1)[0]
    assert "holds less than two windows" in remarks(total // 3, total // 2)[0]


def test_where_samples_lie_is_known_without_reading_it(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    for slug, shards in zip(opened.slugs, opened.shards()):
        files = [f"{slug}/{file}" for file in opened.rows(slug)["shard"].to_pylist()]
        assert [shards.paths[number] for number in shards.of] == files
        assert shards.sizes.tolist() == [(corpus / path).stat().st_size for path in shards.paths]


def test_any_image_format_of_the_corpus_is_decoded(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    raw = opened.read(0)
    assert png.decode(raw.image).shape[:2] == tuple(raw.record["size"])
    assert io.BytesIO(raw.image).read(4) == b"\x89PNG"
