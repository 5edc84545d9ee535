"""The library `datasets` reads a corpus by its card: every configuration, every sample, typed."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medshards.curate import phantoms
from tests.shards.conftest import SLUGS

datasets = pytest.importorskip("datasets", reason="needs the library `datasets` (extra dev)")


def records(corpus: Path, pattern: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Record and prompts of every sample, read from the shards by tarfile."""
    for path in sorted(corpus.glob(pattern)):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for name, data in files.items():
            if name.endswith(".json"):
                yield json.loads(data), files[name.replace(".json", ".txt")].decode()


def load(corpus: Path, config: str | None, cache: Path, streaming: bool) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split of a configuration (None: the default one)."""
    names = () if config is None else (config,)
    opened = datasets.load_dataset(str(corpus), *names, cache_dir=str(cache), streaming=streaming)
    return {split: list(rows) for split, rows in opened.items()}


def rounded(value: Any) -> Any:
    """A JSON value as `datasets` keeps it: numbers to ten decimals."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 10) if isinstance(value, float) else value


def same(rows: list[dict[str, Any]], corpus: Path, pattern: str) -> bool:
    """Whether the rows are the samples of these shards: every field of every record; what no record has is null."""
    expected = {(r["dataset"], r["key"]): (r, prompts) for r, prompts in records(corpus, pattern)}
    for row in rows:
        record, prompts = expected.pop((row["json"]["dataset"], row["json"]["key"]))
        filled = {name: record.get(name) for name in row["json"]}
        if rounded(row["json"]) != rounded(filled) or record.keys() - filled.keys() or row["txt"] != prompts:
            return False
        pictures = [row.get("png") or row.get("jpg"), row["mask.png"]]
        if any(list(np.asarray(picture).shape[:2]) != record["size"] for picture in pictures):
            return False
    return not expected


def test_every_dataset_loads_alone_and_all_together(corpus: Path, tmp_path: Path) -> None:
    assert sorted(datasets.get_dataset_config_names(str(corpus))) == sorted([*SLUGS, "all"])
    for config, slugs in [(None, "*"), *((slug, slug) for slug in SLUGS)]:
        splits = load(corpus, config, tmp_path, streaming=config in (None, "btcv"))
        assert splits.keys() == {path.parent.name for path in corpus.glob(f"{slugs}/*/*.tar")}
        for split, rows in splits.items():
            assert same(rows, corpus, f"{slugs}/{split}/*.tar"), (config, split)


def test_columns_are_declared(corpus: Path) -> None:
    builder = datasets.load_dataset_builder(str(corpus), "btcv")
    features = builder.info.features
    assert features["json"]["size"] == datasets.List(datasets.Value("int64"))
    assert features["json"]["spacing"] == datasets.List(datasets.Value("float64"))
    assert features["json"]["grid"] == datasets.Json()  # a field of this converter alone
    assert isinstance(features["mask.png"], datasets.Image)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 4, "val": 4}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("streaming", [False, True], ids=["ordinary", "streaming"])
def test_every_phantom_loads(everything: Path, tmp_path: Path, streaming: bool) -> None:
    for config, pattern in [("all", "*"), *((slug, slug) for slug in phantoms.slugs())]:
        for split, rows in load(everything, config, tmp_path / "cache", streaming).items():
            assert same(rows, everything, f"{pattern}/{split}/*.tar"), (config, split)
