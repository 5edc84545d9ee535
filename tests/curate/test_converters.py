"""The contract every converter keeps, on its phantom: what is drawn comes back, and nothing else."""

from collections import Counter
from pathlib import Path

import pytest

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.sample import MAX_KEY
from medshards.curate.source import get_source, slugs
from medshards.shards.encode.policy import Making, Policy
from medshards.shards.encode.walk import walk
from medshards.vocab.vocabulary import Vocabulary, load_labels


def test_every_converter_has_entry_labels_and_phantom() -> None:
    assert set(slugs()) <= set(load_catalog())
    assert set(slugs()) == set(phantoms.slugs())
    for slug in slugs():
        assert load_labels(slug).concepts


@pytest.mark.parametrize("slug", slugs())
def test_phantom_is_converted_whole(slug: str, tmp_path: Path) -> None:
    expected = phantoms.write_phantom(slug, tmp_path)
    source = get_source(slug)
    policy = Policy.of(load_catalog()[slug], Making(), source.labels, Vocabulary.load())
    listing = list_download(source, tmp_path)
    rejects = Counter(r["code"] for r in listing.rejects)
    keys, concepts, skipped = Counter[str](), Counter[str](), len(listing.skips)
    for case in listing.cases:
        assert 0 < len(case.key) <= MAX_KEY
        assert case.files
        walked = walk(source, policy, case, lambda sample, encoded: sample)
        rejects.update(row["code"] for row in walked.rejects)
        skipped += len(walked.skips)
        for sample in walked.samples:
            keys[sample.key] += 1
            assert sample.group
            assert sample.key.startswith(case.key)
            height, width = sample.image.size
            instances, _ = policy.instances(sample)
            for instance in instances:
                x, y, w, h = instance.region.bbox
                assert x >= 0
                assert y >= 0
                assert x + w <= width
                assert y + h <= height
                assert instance.area == instance.region.crop.sum() > 0
                concepts[instance.concept] += 1
    assert set(keys.values()) <= {1}, "keys must be unique"
    assert sum(keys.values()) == expected.samples
    assert dict(concepts) == expected.concepts
    assert dict(rejects) == expected.rejects
    assert skipped == expected.skipped


@pytest.mark.parametrize("slug", slugs())
def test_root_may_lie_deeper(slug: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "download"  # some phantoms have folders of their own above, too
    expected = phantoms.write_phantom(slug, folder)
    for root in (folder, folder.parent, tmp_path):
        listing = list_download(get_source(slug), root)
        assert len(listing.cases) > 0
        assert len(listing.skips) <= expected.skipped
