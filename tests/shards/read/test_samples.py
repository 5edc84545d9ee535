"""The public reading of a corpus: `medshards.open`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

import medshards
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.vocab.vocabulary import Vocabulary

SLUGS = ("kvasir_seg", "ravir")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open")
    for slug in SLUGS:
        phantoms.write_phantom(slug, folder / "raw" / slug)
        build_dataset(load_catalog()[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest)
    return folder / "corpus"


def test_all_samples_have_the_instances_that_were_drawn(corpus: Path) -> None:
    samples = [sample for split in ("train", "val", "test") for sample in medshards.open(corpus, split)]
    for slug in SLUGS:
        expected = phantoms.write_phantom(slug, corpus.parent / "again" / slug)
        own = [sample for sample in samples if sample.name.startswith(f"{slug}/")]
        assert len(own) == expected.samples
        assert sum(len(masks) for sample in own for masks in sample.masks.values()) == expected.instances
    for sample in samples:
        height, width = sample.record["size"]
        assert sample.image.shape == (height, width, 3)
        assert sample.image.dtype == np.uint8
        assert set(sample.prompts) == {instance["text"] for instance in sample.record["instances"]}
        areas = sorted(int(mask.sum()) for masks in sample.masks.values() for mask in masks)
        assert areas == sorted(instance["area"] for instance in sample.record["instances"])


def test_it_is_a_sequence_that_torch_loads(corpus: Path) -> None:
    samples = medshards.open(corpus, datasets=["kvasir_seg"])
    assert [s.name for s in samples[:2]] == [samples[0].name, samples[1].name]
    assert samples[-1].name == samples[len(samples) - 1].name
    with pytest.raises(IndexError, match=f"sample {len(samples)} of {len(samples)}"):
        samples[len(samples)]
    loader: DataLoader[list[str]] = DataLoader(
        samples,  # type: ignore[arg-type] # a sequence, as torch's own page on datasets allows
        batch_size=2,
        num_workers=1,
        collate_fn=lambda batch: [s.name for s in batch],
    )
    assert [name for batch in loader for name in batch] == [sample.name for sample in samples]


def test_what_is_no_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(medshards.CorpusError, match="is no corpus"):
        medshards.open(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        medshards.opne  # noqa: B018


def test_the_lines_of_the_readme_run(corpus: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    plain, torch = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    samples = medshards.open(corpus)

    def printed(code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=corpus.parent, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    annotated = sum(len(sample.prompts) for sample in samples)
    assert len(re.findall(r"^(?:kvasir_seg|ravir)/", printed(plain), re.MULTILINE)) == annotated
    shown = [f"{sample.image.shape} { {p: len(m) for p, m in sample.masks.items()} }" for sample in samples]
    assert sorted(printed(torch).splitlines()) == sorted(shown)


def test_reading_needs_no_torch(corpus: Path) -> None:
    code = (
        "import sys, medshards\n"
        "assert 'numpy' not in sys.modules\n"
        f"assert len(medshards.open({str(corpus)!r})[0].masks) >= 0\n"
        "assert all(hasattr(medshards, name) for name in medshards.__all__)\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
