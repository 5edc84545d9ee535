"""croissant.json describes every file, is valid, and its record sets load."""

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medshards.curate import phantoms
from tests.shards.conftest import SLUGS


def test_every_file_is_there_with_its_digest(corpus: Path) -> None:
    told = json.loads((corpus / "croissant.json").read_bytes())
    digests = {each["contentUrl"]: each["sha256"] for each in told["distribution"]}
    files = {path.relative_to(corpus).as_posix(): path for path in corpus.rglob("*") if path.is_file()}
    own = {name for name in files if name.startswith(".work/")} | {"corpus.json", "croissant.json"}
    assert digests == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name not in own
    }


def _plain(value: Any) -> Any:
    """A value as Croissant hands it on, as it stands in the table."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def check(corpus: Path, slugs: Sequence[str]) -> None:
    """It is valid, and the first records of every record set are the rows of its index."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs mlcroissant (extra dev)")
    dataset = mlcroissant.Dataset(jsonld=str(corpus / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert [each.id for each in dataset.metadata.record_sets] == sorted(slugs)
    for slug in slugs:
        rows = pq.read_table(corpus / slug / "index.parquet").to_pylist()
        for record, row in islice(zip(dataset.records(slug), rows, strict=False), 3):
            found = {name.removeprefix(f"{slug}/"): _plain(value) for name, value in record.items()}
            assert len(found) > 20
            assert found == {name: row[name] for name in found}


def test_it_is_valid_and_every_record_set_loads(corpus: Path) -> None:
    check(corpus, SLUGS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_is_valid_for_every_phantom(everything: Path) -> None:
    check(everything, phantoms.slugs())
