"""Reading a corpus: by index, in one range a sample, nothing damaged passes unnoticed."""

import io
import json
import shutil
import tarfile
import time
from pathlib import Path

import fsspec
import pytest

from medshards.curate.formats.pictures import png
from medshards.train.data.batch import Builder
from medshards.train.data.corpus import BadSample, Corpus, CorpusError
from medshards.train.data.loader import Samples, batches, concept_names
from medshards.train.data.plan import Request
from medshards.train.data.storage import Cached, Folder, open_store
from medshards.train.run.config import DataConfig


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
    with pytest.raises(BadSample, match=r"busi/benign-001: busi/train/busi-train-000000.tar cannot be read"):
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
    assert example.problem is not None
    assert "drive/25_training" in example.problem
    assert "drive/26_training" in example.problem
    (batch,) = batches(samples_of(copy), [[Request(0, 0), Request(0, 7 + 3)]], workers=1)
    assert batch.names == ("busi/benign-001", "drive/22_training")
    assert batch.problems == (example.problem,)


def test_a_truncated_shard_is_named(copy: Path) -> None:
    shard = copy / "ravir/train/ravir-train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-12000])
    with pytest.raises(BadSample, match=r"ravir/.*ends after"):
        Corpus.open(copy).read(17)


def test_when_everything_is_bad_it_stops(copy: Path) -> None:
    shard = copy / "drive/train/drive-train-000000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(BadSample, match="20 samples in a row"):
        samples_of(copy)[Request(0, 7)]


def test_workers_change_nothing(corpus: Path) -> None:
    requests = [[Request(0, i), Request(1, 17 - i)] for i in range(6)]
    for alone, helped in zip(batches(samples_of(corpus), requests), batches(samples_of(corpus), requests, 2)):
        assert (alone.names, alone.prompts) == (helped.names, helped.prompts)
        assert (alone.images == helped.images).all()
        assert (alone.masks == helped.masks).all()


@pytest.fixture
def bucket(corpus: Path) -> str:
    memory = fsspec.filesystem("memory")
    for path in corpus.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/{path.relative_to(corpus)}", path.read_bytes())
    return "memory://bucket"


def test_an_object_store_gives_the_same(corpus: Path, bucket: str) -> None:
    near, far = Corpus.open(corpus), Corpus.open(bucket)
    assert far.digest == near.digest
    assert [far.read(i) for i in range(len(far))] == [near.read(i) for i in range(len(near))]


def test_the_cache_holds_no_more_than_its_limit(corpus: Path, bucket: str, tmp_path: Path) -> None:
    shards = sorted(corpus.rglob("*-train-*.tar"))
    sizes = [shard.stat().st_size for shard in shards]
    limit = sum(sizes) - min(sizes)  # one must go
    far = Corpus.open(bucket, cache=tmp_path / "cache", cache_bytes=limit)
    near = Corpus.open(corpus)
    for _ in range(2):
        for sample in range(len(far)):
            assert far.read(sample) == near.read(sample)
            kept = list((tmp_path / "cache").glob("*.tar"))
            assert sum(path.stat().st_size for path in kept) <= limit
    assert kept
    assert not list((tmp_path / "cache").glob(".*partial"))


def test_a_cached_shard_is_fetched_once(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bucket, tmp_path / "cache", 1 << 30)
    assert isinstance(store, Cached)
    fetched = []
    fetch = store.bucket.fetch

    def counting(path: str, target: Path) -> None:
        fetched.append(path)
        fetch(path, target)

    monkeypatch.setattr(store.bucket, "fetch", counting)
    for offset in (0, 512, 1024):
        store.read_range("drive/train/drive-train-000000.tar", offset, 512)
    assert fetched == ["drive/train/drive-train-000000.tar"]


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medshards.train.data.storage.OPEN_FILES", 2)
    store = Folder(tmp_path)
    for name in "abcd":
        (tmp_path / name).write_text(name * 4)
    assert [store.read_range(name, 1, 2) for name in "abcdab"] == [c.encode() * 2 for c in "abcdab"]
    assert len(store._files) == 2


def test_any_image_format_of_the_corpus_is_decoded(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    raw = opened.read(0)
    assert png.decode(raw.image).shape[:2] == tuple(raw.record["size"])
    assert io.BytesIO(raw.image).read(4) == b"\x89PNG"
