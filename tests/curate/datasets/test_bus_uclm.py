"""BUS-UCLM: colours agree with INFO.csv, every lesion a component, cropped images stand where their masks are."""

import re
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

SOURCE = get_source("bus_uclm")
CONCEPTS = {1: "benign_breast_lesion", 0: "malignant_breast_lesion"}  # by colour channel


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("bus_uclm", tmp_path)
    return tmp_path / "BUS-UCLM Breast ultrasound lesion segmentation dataset/BUS-UCLM"


def cases(root: Path) -> dict[str, Case]:
    """The cases by the published name of their image."""
    return {case.files["image"].path.stem: case for case in list_download(SOURCE, root).cases}


def test_real_samples(samples: Path) -> None:
    found = cases(samples / "bus_uclm")
    assert found
    policy = Policy.of(load_catalog()["bus_uclm"], Making(), SOURCE.labels, Vocabulary.load())
    for key, case in found.items():
        (sample,) = samples_of(SOURCE, case)
        native = np.asarray(PIL.Image.open(case.files["mask"].path).convert("RGB"))
        assert sample.image.size == native.shape[:2]
        assert sample.group == sample.key[:3]
        expected = {c: ndimage.label(native[:, :, k], np.ones((3, 3)))[1] for k, c in CONCEPTS.items()}
        got = [i.concept for i in policy.instances(sample)[0]]
        assert {c: got.count(c) for c in CONCEPTS.values()} == expected, key
        image = np.asarray(PIL.Image.open(case.files["image"].path).convert("RGB"))
        if image.shape == native.shape:
            assert np.array_equal(sample.image.pixels, image)
            assert "alignment" not in sample.extra
        else:
            assert "inferred" in str(sample.extra["alignment"])
            for (
                i
            ) in sample.instances:  # the lesion is dark; at the inferred place darker than its surroundings
                mask = i.region.mask(native.shape[:2])
                rim = ndimage.binary_dilation(mask, iterations=12) & ~mask
                assert sample.image.pixels[mask].mean() < sample.image.pixels[rim].mean() - 5, key


def test_table_covers_all_683_images(samples: Path) -> None:
    from medshards.curate.datasets.bus_uclm.converter import _read_table

    listing = list_download(SOURCE, samples / "bus_uclm")
    rows = _read_table(listing.trees[0].files["INFO.csv"])
    labels = [row["Label"] for row in rows.values()]
    assert (len(rows), labels.count("Normal"), labels.count("Benign"), labels.count("Malignant")) == (
        683,
        419,
        174,
        90,
    )


def test_patients_are_numbered_in_the_order_of_their_codes(phantom: Path) -> None:
    found = cases(phantom)
    assert [case.key for _, case in sorted(found.items())] == sorted(case.key for case in found.values())
    assert found["ALWI_011"].key == "P01_011"
    assert found["MENE_002"].key == "P05_002"
    (phantom / "images/ALWI_000.png").unlink()
    assert cases(phantom)["MENE_002"].key == "P05_002"  # whatever else is missing
    listing = list_download(SOURCE, phantom)
    shown = str([(case.key, case.group, [f.name for f in case.files.values()]) for case in listing.cases])
    assert not re.search("ALWI|CHCO|COPE|HESN|MENE", shown + str(listing.rejects))


def test_cropped_images_are_placed_not_resized(phantom: Path) -> None:
    found = cases(phantom)
    for key in ("HESN_000", "HESN_003"):
        (sample,) = samples_of(SOURCE, found[key])
        assert sample.image.size == (606, 856)
        (lesion,) = sample.instances
        inside = lesion.region.mask((606, 856))
        assert (sample.image.pixels[inside] == 30).all()  # the tone of the lesion, to the pixel
        original = np.asarray(PIL.Image.open(found[key].files["image"].path))[:, :, :3]
        assert (sample.image.pixels == 30).sum() == (original == 30).sum()
        assert sample.image.pixels[:20].max() == 0
        assert "inferred" in str(sample.extra["alignment"])


def test_only_that_patient_is_placed(phantom: Path) -> None:
    path = phantom / "images/ALWI_000.png"
    PIL.Image.open(path).crop((0, 0, 792, 485)).save(path)
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(cases(phantom)["ALWI_000"]))
    too_tall = phantom / "images/HESN_003.png"
    PIL.Image.new("RGBA", (792, 600), (9, 9, 9, 255)).save(too_tall)
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(cases(phantom)["HESN_003"]))


def test_table_is_read_and_must_agree_with_colours(phantom: Path) -> None:
    found = cases(phantom)
    (sample,) = samples_of(SOURCE, found["COPE_004"])
    assert sample.extra["doppler"] is True  # written "Y"
    assert sample.official_split == "test"
    assert found["ALWI_000"].split == "train"
    table = phantom / "INFO.csv"
    table.write_bytes(
        table.read_bytes().replace(b"ALWI_000.png;856x606;Benign", b"ALWI_000.png;856x606;Malignant")
    )
    with pytest.raises(Reject, match=r"label_mismatch: INFO\.csv says Malignant"):
        list(SOURCE.load(cases(phantom)["ALWI_000"]))


def test_unknown_colour_and_unknown_answer_are_refused(phantom: Path) -> None:
    mask = phantom / "masks/CHCO_000.png"
    PIL.Image.fromarray(np.asarray(PIL.Image.open(mask))[:, :, ::-1]).save(mask)  # read as BGR somewhere
    with pytest.raises(Reject, match=r"masks/P02_000.png: unknown_label: colours #0000ff"):
        list(SOURCE.load(cases(phantom)["CHCO_000"]))
    table = phantom / "INFO.csv"
    table.write_bytes(table.read_bytes().replace(b"Benign;Yes", b"Benign;Perhaps"))
    with pytest.raises(Reject, match="Perhaps"):
        list(SOURCE.load(cases(phantom)["ALWI_011"]))


def test_incomplete_pairs_are_named(phantom: Path) -> None:
    (phantom / "masks/ALWI_001.png").unlink()
    (phantom / "images/MENE_002.png").unlink()
    table = phantom / "INFO.csv"
    table.write_bytes(b"\n".join(r for r in table.read_bytes().split(b"\n") if not r.startswith(b"CHCO")))
    rejects = list_download(SOURCE, phantom).rejects
    assert sorted(r["code"] for r in rejects) == ["missing_image", "missing_label", "missing_mask"]
