"""Paired evaluation on whole-body phantoms: a known effect is found, with the right sign, in every organ."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.dataset import open_datasets, truth_of
from medshards.evaluate.open import open_segmenter
from medshards.evaluate.paired.measure import measure
from medshards.evaluate.paired.statistics import ALL, agreements, differences, failures, holm, signed_rank
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.read.decode import decode
from medshards.train.model.answers import Rule

HALVES = {"umd_petct": "CT", "umd_petmr": "MR"}
LOST = (0.2, 0.4)  # of every organ, in PET, from patient to patient


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves: nine patients each, in every layout that the converters read."""
    folder = tmp_path_factory.mktemp("paired")
    for slug in HALVES:
        write_phantom(slug, folder / "raw" / slug)
        build_dataset(load_catalog()[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", "none")
    return folder / "corpus"


@pytest.fixture(scope="module")
def predictions(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Structural images answered perfectly; in PET a part of every organ is lost, another one for each patient."""
    folder = tmp_path_factory.mktemp("predictions")
    rng = np.random.default_rng(5)
    for dataset in (d for s in ("train", "val", "test") for d in open_datasets(corpus, split=s)):
        volumes: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        for number in range(len(dataset.corpus)):
            sample = decode(dataset.corpus.read(number))
            shape = sample.record["grid"]["shape"]
            own = volumes[sample.record["volume"]]
            for concept, mask in truth_of(sample).items():
                own.setdefault(concept, np.zeros(shape, bool))[sample.record["slice"][0]] = mask
        for volume, masks in volumes.items():
            for concept, mask in masks.items():
                if volume.endswith("-pt"):
                    inside = np.flatnonzero(mask)
                    gone = rng.choice(inside, round(rng.uniform(*LOST) * len(inside)), replace=False)
                    mask.ravel()[gone] = False
                path = folder / concept / f"{volume}.nii.gz"
                path.parent.mkdir(exist_ok=True)
                affine = np.array(sample.record["grid"]["affine"])
                nib.save(nib.Nifti1Image(mask.T.astype(np.uint8), affine), path)
    return folder


def scores(corpus: Path, what: Path | str, slug: str):  # type: ignore[no-untyped-def]
    rule = Rule("top1", 0.0)
    found = []
    for split in ("train", "val", "test"):
        for dataset in open_datasets(corpus, [slug], split):
            found += measure(open_segmenter(what, "cpu"), dataset, rule, 2.0).scores
    return found


@pytest.mark.parametrize("slug", HALVES)
def test_a_known_effect_is_inside_every_interval(corpus: Path, predictions: Path, slug: str) -> None:
    found = scores(corpus, predictions, slug)
    made = {d.concept: d for d in differences(found)}
    assert len(made) == 13 + 1
    # of a part f that is lost the Dice is 2 (1 − f) / (2 − f), which is f / (2 − f) below 1: its mean for f uniform
    effect = 1 - 2 * np.log((2 - LOST[0]) / (2 - LOST[1])) / (LOST[1] - LOST[0])
    assert effect == pytest.approx(-0.1778, abs=1e-4)
    for concept, d in made.items():
        assert d.against == HALVES[slug]
        assert d.structural == 1
        assert d.difference == pytest.approx(effect, abs=0.08)
        assert d.interval is not None
        assert d.interval[0] <= d.difference <= d.interval[1] < 0
        if concept != ALL:
            assert d.p is not None
            assert d.corrected is not None
            assert d.p <= d.corrected
    overall = made[ALL]
    assert overall.interval is not None
    assert overall.interval[0] <= effect <= overall.interval[1]
    inside = [d.interval is not None and d.interval[0] <= effect <= d.interval[1] for d in made.values()]
    assert sum(inside) >= 12  # of 14 intervals of 95 %
    true = {(s.study, s.concept): s.truth_ml for s in found if s.modality == HALVES[slug]}
    assert all(true[s.study, s.concept] == pytest.approx(s.truth_ml) for s in found if s.modality == "PT")
    bias = {(a.concept, a.modality): a for a in agreements(found)}
    for concept in {s.concept for s in found}:
        own = [s.truth_ml for s in found if s.modality == "PT" and s.concept == concept]
        assert bias[concept, HALVES[slug]].bias == 0
        assert -0.45 * np.mean(own) < bias[concept, "PT"].bias < -0.15 * np.mean(own)


def test_an_empty_answer_is_counted_apart(corpus: Path) -> None:
    found = scores(corpus, "empty", "umd_petct")
    counts = failures(found)
    assert counts["CT"]["empty"] == counts["CT"]["organs"] == counts["PT"]["organs"] > 100
    assert all(d.difference == 0 for d in differences(found))
    assert all(d.p in (1.0, None) for d in differences(found))


def test_an_answer_in_another_organ_is_counted_apart(corpus: Path, predictions: Path, tmp_path: Path) -> None:
    for path in predictions.rglob("*.nii.gz"):
        name = {"left_kidney": "right_kidney", "right_kidney": "left_kidney"}.get(
            path.parent.name, path.parent.name
        )
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / path.name).symlink_to(path)
    found = scores(corpus, tmp_path, "umd_petct")
    wrong = {s.concept for s in found if s.state == "wrong organ"}
    assert wrong == {"left_kidney", "right_kidney"}
    assert failures(found)["CT"]["wrong organ"] == sum(
        s.modality == "CT" and s.concept in wrong for s in found
    )


def test_holm_and_the_signed_rank_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 2**5)  # all of one sign
    assert signed_rank([0.0, 0.0]) == 1.0
    assert signed_rank([0.3]) is None


def test_the_command(corpus: Path, predictions: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    arguments = [
        "--data",
        str(corpus),
        "--checkpoint",
        str(predictions),
        "--paired",
        "--datasets",
        "umd_petct",
    ]
    extra = ["--split", "train", "--in-domain", "published=0.95"]
    result = run(evaluate, [*arguments, *extra, "--json", "--out", str(tmp_path / "paired.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "paired.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page
    (row,) = json.loads(result.stdout)["illusion"]
    assert row["Dice"] == 0.95
    assert row["CT"] == pytest.approx(1.0)
    assert row["PET − in domain"] < 0
    assert run(evaluate, [*arguments, "--in-domain", "0.95"]).exit_code == 2
