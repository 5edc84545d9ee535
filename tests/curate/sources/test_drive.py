"""DRIVE: first observer only, split by name, test images without manual are skipped."""

from pathlib import Path

import numpy as np
import PIL.Image

from curate.source import get_source
from shards.build import list_download


def test_real_samples(samples: Path) -> None:
    source = get_source("drive")
    listing = list_download(source, samples / "drive")
    by_key = {case.key: case for case in listing.cases}
    assert {c.split for c in listing.cases} == {"training", "test"}
    for key, case in by_key.items():
        (sample,) = source.load(case)
        assert sample.image.size == (584, 565)
        manual = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert "1st_manual" in case.files["mask"].name
        assert sample.instances[0].area == int((manual > 127).sum()), key
        assert sample.instances[0].concept == "retinal_vessel"
