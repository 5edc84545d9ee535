"""PolypGen: single frames, positive and negative sequences; a video is one group wherever its frames lie."""

import csv
from collections import Counter
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
from medshards.curate.tree import File, recognise
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("polypgen")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("polypgen", tmp_path)
    return tmp_path / "PolypGen2021_MultiCenterData_v3"


def cases(root: Path) -> dict[str, Case]:
    return {case.key: case for case in list_download(SOURCE, root).cases}


def test_real_samples(samples: Path, tmp_path: Path) -> None:
    """Frames without mask are named; with a mask they are loaded, and their Exif dates stay behind."""
    listing = list_download(SOURCE, samples / "polypgen/PolypGen2021_MultiCenterData_v3")
    frames = sorted((samples / "polypgen").glob("PolypGen*/data_C*/images_C*/*.jpg"))
    assert frames
    assert len(listing.cases) + len(listing.rejects) == len(frames)
    assert {r["code"] for r in listing.rejects} <= {"missing_mask"}
    for frame in frames:
        image = PIL.Image.open(frame)
        centre = frame.parent.name.removeprefix("images_")
        for kind, name in (("images", f"{frame.stem}.jpg"), ("masks", f"{frame.stem}_mask.jpg")):
            (tmp_path / f"data_{centre}/{kind}_{centre}").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"data_{centre}/{kind}_{centre}" / name).write_bytes(frame.read_bytes())
        mask = PIL.Image.new("L", image.size)
        mask.paste(255, (80, 80, 180, 180))
        mask.save(tmp_path / f"data_{centre}/masks_{centre}/{frame.stem}_mask.jpg")
    for case in cases(tmp_path).values():
        (sample,) = samples_of(SOURCE, case)
        original = PIL.Image.open(case.files["image"].path)
        assert np.array_equal(sample.image.pixels, np.asarray(original))
        assert sample.instances[0].area == pytest.approx(100 * 100, rel=0.01)
        date = str(original.getexif().get(306, "no date"))
        assert sample.image.encoded is not None
        assert date.encode() not in sample.image.encoded


def test_all_3762_published_names(samples: Path) -> None:
    rows = list(csv.DictReader((samples / "polypgen/file_list_positive.csv").open()))
    paths = [row[column] for row in rows for column in ("image_path_inferred", "mask_path_inferred")]
    (tree,) = recognise({p: File(p, Path(p)) for p in paths}, SOURCE.layouts)
    found = [case for case in SOURCE.discover(tree) if isinstance(case, Case)]
    assert Counter(case.split for case in found) == {"single": 1537, "positive": 2225}
    assert len({case.key for case in found}) == 3762
    group = {case.key: case.group for case in found}
    assert group["seq1-0_endocv2021_positive_284"] == "C4-0"
    assert {g for k, g in group.items() if k.startswith("seq2-")} == {"C4-0"}
    assert {g for k, g in group.items() if k.startswith("C4-0_")} <= {"C4-0"}
    assert Counter(group.values())["C3"] == 457
    assert {group[f"C1-{name}"] for name in ("100H0050", "100S0001", "100S0003")} == {"C1"}


def test_groups_and_splits(phantom: Path) -> None:
    found = cases(phantom)
    assert {k: (c.group, c.split) for k, c in found.items()} == {
        "C1-104OLCV1_100H0002": ("C1-104OLCV1", "single"),
        "C1-100S0001": ("C1", "single"),
        "C3-C3_EndoCV2021_00464": ("C3", "single"),
        "C4-0_endocv2021_positive_12": ("C4-0", "single"),
        "seq1-0_endocv2021_positive_284": ("C4-0", "positive"),
        "seq2-0_endocv2021_positive_301": ("C4-0", "positive"),
        "seq11-EndoCV2021_seq11_Image_2201450": ("seq11", "positive"),
        "seq11-EndoCV2021_seq11_Image_2201475": ("seq11", "positive"),
        "seq16-seq1_C6_230": ("seq16", "positive"),
        "seq3_neg-seq3_neg_2_endocv2021_positive_7": ("C4-2", "negative"),
        "seq11_neg-EndoCV2021_C5_seq1_3": ("seq11_neg", "negative"),
        "seq11_neg-EndoCV2021_C5_seq1_4": ("seq11_neg", "negative"),
    }


def test_paper_takes_positive_sequences_with_polyps(phantom: Path) -> None:
    policy = Policy.of(load_catalog()["polypgen"], Making("paper"), SOURCE.labels, Vocabulary.load())
    counts = {
        k: policy.paper_annotations(s) for k, c in cases(phantom).items() for s in samples_of(SOURCE, c)
    }
    kept = {key: len(areas) for key, areas in counts.items() if areas is not None}
    assert sorted(kept.values()) == [1, 1, 1, 2]
    assert all(key.startswith("seq") and "_neg" not in key for key in kept)


def test_sequences_without_the_level_positive(phantom: Path) -> None:
    (phantom / "sequenceData/positive/seq11").rename(phantom / "sequenceData/seq11")
    assert cases(phantom)["seq11-EndoCV2021_seq11_Image_2201450"].split == "positive"
    assert len(cases(phantom)) == 12


def test_mixed_releases_are_refused(phantom: Path) -> None:
    path = phantom / "data_C3/images_C3/C3_EndoCV2021_00464.jpg"
    picture = PIL.Image.open(path)
    PIL.Image.new("RGB", (picture.width + 9, picture.height)).save(path)
    with pytest.raises(Reject, match=r"C3_EndoCV2021_00464_mask.jpg: size_mismatch"):
        list(SOURCE.load(cases(phantom)["C3-C3_EndoCV2021_00464"]))


def test_masks_are_thresholded(phantom: Path) -> None:
    for case in cases(phantom).values():
        (sample,) = samples_of(SOURCE, case)
        area = sum(i.area for i in sample.instances)
        if "mask" in case.files:
            grey = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
            assert area == int((grey > 127).sum())
            assert ndimage.label(grey > 127)[1] <= 2
        else:
            assert sample.instances == []


def test_incomplete_pairs_are_named(phantom: Path) -> None:
    (phantom / "data_C1/masks_C1/100S0001_mask.jpg").unlink()
    (phantom / "sequenceData/positive/seq16/images_seq16/seq1_C6_230.jpg").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert [r["code"] for r in rejects] == ["missing_mask", "missing_image"]
