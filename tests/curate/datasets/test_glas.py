"""GlaS: ids are glands, an id in pieces is several, stray ids are dropped and counted, patients from Grade.csv."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import Case, get_source
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("glas")
POLICY = Policy.of(load_catalog()["glas"], Making(), SOURCE.labels, Vocabulary.load())


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("glas", tmp_path)
    return tmp_path / "Warwick_QU_Dataset"


def cases(root: Path) -> dict[str, Case]:
    return {case.key: case for case in list_download(SOURCE, root).cases}


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "glas")
    assert listing.cases
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        ids = np.asarray(PIL.Image.open(case.files["mask"].path))
        native = {i.native_id: i.area for i in sample.instances}
        assert native == {k: int((ids == k).sum()) for k in np.unique(ids) if k > 0}, case.key
        pieces = [ndimage.label(ids == k, np.ones((3, 3)))[0] for k in native]
        areas = sorted(a for p in pieces for a in np.bincount(p.ravel())[1:].tolist() if a >= 100)
        assert sorted(i.area for i in POLICY.instances(sample)[0]) == areas
        assert case.key.startswith(str(case.split))
        assert 1 <= int(case.group) <= 16
        assert sample.extra["grade"] in ("benign", "malignant")


def test_glands_with_one_id_are_separate(samples: Path) -> None:
    case = cases(samples / "glas").get("testB_3")
    if case is None:
        pytest.skip("testB_3 is not among the samples")
    (sample,) = samples_of(SOURCE, case)
    assert len(sample.instances) == 1
    instances, dropped = POLICY.instances(sample)
    assert (len(instances), dropped) == (6, 1)  # seven pieces, one of them below the floor


def test_table_of_165_images_and_16_patients(samples: Path) -> None:
    from medshards.curate.datasets.glas.converter import _read_table

    rows = _read_table(list_download(SOURCE, samples / "glas").trees[0].files["Grade.csv"])
    rows.pop("name")
    assert len(rows) == 165
    assert {patient for patient, _, _ in rows.values()} == {str(n) for n in range(1, 17)}
    trained = [grade for name, (_, grade, _) in rows.items() if name.startswith("train")]
    assert (trained.count("benign"), trained.count("malignant")) == (37, 48)


def test_patients_cross_the_official_splits(phantom: Path) -> None:
    found = cases(phantom)
    assert found["train_1"].group == found["testA_1"].group == "4"
    assert (found["train_1"].split, found["testA_1"].split, found["testB_3"].split) == (
        "train",
        "testA",
        "testB",
    )
    (sample,) = samples_of(SOURCE, found["train_44"])
    assert sample.extra == {"grade": "malignant", "detailed_grade": "moderately-to-poorly differentated"}
    assert sample.spacing == pytest.approx((0.00062005, 0.00062005))


def test_stray_ids_are_dropped_and_counted(phantom: Path) -> None:
    (sample,) = samples_of(SOURCE, cases(phantom)["train_44"])
    assert [i.native_id for i in sample.instances] == [1, 2, 3, 4]
    instances, dropped = POLICY.instances(sample)
    assert ([i.native_id for i in instances], dropped) == ([1, 2, 3], 1)


def test_what_is_incomplete_is_named(phantom: Path) -> None:
    (phantom / "train_1_anno.bmp").unlink()
    (phantom / "train_12.bmp").unlink()
    table = phantom / "Grade.csv"
    table.write_bytes(b"\r".join(r for r in table.read_bytes().split(b"\r") if not r.startswith(b"testA_10")))
    PIL.Image.new("L", (20, 20)).save(phantom / "testB_3_anno.bmp")
    listing = list_download(SOURCE, phantom)
    assert sorted(r["code"] for r in listing.rejects) == ["missing_image", "missing_label", "missing_mask"]
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(cases(phantom)["testB_3"]))
