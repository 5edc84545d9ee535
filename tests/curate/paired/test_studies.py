"""Small tables of paired studies, names of organs, and which files make a study."""

from pathlib import Path

import pytest

from medshards.curate.paired.study import choose_contrast, choose_masks, contrast_of
from medshards.curate.paired.tables import Crosswalk, OrganNames, nearest_table, read_crosswalk, read_table
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.vocab.vocabulary import load_labels


def file(folder: Path, name: str, content: str) -> File:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return File(name, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.json", '{"1": "liver", "2": "Left Kidney"}'),
        ("labels.json", '{"liver": 1, "Left Kidney": 2}'),
        ("labels.json", '{"liver": "1", "Left Kidney": "2"}'),
        ("dataset.json", '{"name": "x", "labels": {"liver": 1, "Left Kidney": 2}}'),
        ("labels.json", '{"organs": {"1": "liver", "2": "Left Kidney"}, "Bones": {"1": "rib"}}'),
        ("a.csv", "id,name\n1,liver\n2,Left Kidney\n\n"),
        ("a.csv", "\ufeffNAME , ID\r\nliver,1\r\nLeft Kidney,02\r\n"),
        ("a.tsv", "index\tname\tcolor\n1\tliver\t#f00\n2\tLeft Kidney\t#0f0\n"),
    ],
)
def test_forms_of_a_label_table(tmp_path: Path, name: str, content: str) -> None:
    assert read_table(file(tmp_path, name, content), "Organs") == {"1": "liver", "2": "Left Kidney"}


@pytest.mark.parametrize(
    "content",
    [
        "id,name\n1\n",
        "id,name\n1,\n",
        "id,name\n",
        "id,name\n1,liver\n1,spleen\n",
        "id,name\n01,liver\n1,lung\n",
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: str) -> None:
    with pytest.raises(Reject, match="label_table_invalid"):
        read_table(file(tmp_path, "a.csv", content))


def test_the_nearest_table_counts(tmp_path: Path) -> None:
    names = ("labels.csv", "a/labels.csv", "b/dataset.json", "a/c/notes.csv")
    contents = ("id,name\n1,liver\n", "id,name\n1,lung\n", '{"channel_names": {}}', "patient,age\n")
    files = {n: file(tmp_path, n, c) for n, c in zip(names, contents, strict=True)}
    found = {folder: nearest_table(files, folder) for folder in ("a/c/", "b/", "")}
    assert {folder: f.name for folder, f in found.items() if f} == {
        "a/c/": "a/labels.csv",
        "b/": "labels.csv",
        "": "labels.csv",
    }
    assert nearest_table({}, "a/c/") is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Left Kidney", "left kidney"),
        ("kidney_left", "kidney_left"),
        ("LUNG UPPER LOBE LEFT", "lung_upper_lobe_left"),
        ("Oesophagus", "esophagus"),
        ("lungs", "lung"),
        ("Background", "background"),
        ("kidney", None),
        ("liver lesion", None),
        ("", None),
    ],
)
def test_names_of_organs(name: str, label: str | None) -> None:
    assert OrganNames(load_labels("umd_petct")).find(name) == label


def test_codes_of_organs() -> None:
    names = OrganNames(load_labels("umd_petct"))
    assert names.by_code("SCT", "10200004") == "liver"
    assert names.by_code("SCT", "28231008") is None  # gallbladder, no target
    assert names.by_code("99LOCAL", "10200004") is None


def test_persons_of_a_crosswalk() -> None:
    crosswalk = Crosswalk([("sub-1", "A"), ("2", ""), ("", "C"), ("3", "A"), ("4", "D")])
    assert (
        crosswalk.person("umd_petct", "1")
        == crosswalk.person("umd_petmr", "A")
        == crosswalk.person("umd_petct", "3")
        == "1"
    )
    assert crosswalk.person("umd_petmr", "sub-D") == "4"
    assert crosswalk.persons == ["1", "2", "4", "C"]
    assert crosswalk.person("umd_petct", "A") is None


def test_a_crosswalk_is_told_by_its_columns(tmp_path: Path) -> None:
    files = [
        file(tmp_path, "a.csv", "petmr_id,age,petct_id\nM1,40,P1\n"),
        file(tmp_path, "b.csv", "petct_id,petmr_id\nP1,M1\n"),  # the same persons
        file(tmp_path, "c.csv", "id,name\n1,liver\n"),
    ]
    crosswalk = read_crosswalk(files)
    assert crosswalk is not None
    assert crosswalk.person("umd_petmr", "M1") == "P1"
    assert read_crosswalk(files[2:]) is None
    with pytest.raises(Reject, match="crosswalk_conflict"):
        read_crosswalk([*files, file(tmp_path, "d.csv", "petct_id,petmr_id\nP1,M2\n")])


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("sub-1_acq-dixon_part-mag_W", "water"),
        ("sub-1_t1_vibe_dixon_in", "in_phase"),
        ("sub-1_dixon_opp", "opposed_phase"),
        ("wb_F", "fat"),
        ("wb_FF", "fat_fraction"),
        ("sub-1_T1w", "t1w"),
        ("sub-f1_mr", ""),
    ],
)
def test_contrast_by_the_words_of_a_name(name: str, contrast: str) -> None:
    assert contrast_of(name) == contrast


def test_order_of_contrasts() -> None:
    assert choose_contrast(["fat", "in_phase", "water"]) == "water"
    assert choose_contrast(["fat", "in_phase", ""]) == "in_phase"
    assert choose_contrast(["fat", ""]) == ""
    with pytest.raises(Reject, match="mr_contrast_unsupported"):
        choose_contrast(["fat", "fat_fraction"])


def test_order_of_masks(tmp_path: Path) -> None:
    names = [
        "s/SUV.nii.gz",
        "s/SEG.nii.gz",
        "s/labels.nii.gz",
        "s/x_organs.nii.gz",
        "s/segmentations/liver.nii.gz",
    ]
    files = {name: file(tmp_path, name, "") for name in names}
    for name in names[:0:-1]:
        maps, organs = choose_masks(files)
        (taken,) = [*maps.values(), *organs.values()]
        assert taken.name == name
        del files[name]
    with pytest.raises(Reject, match="missing_mask"):
        choose_masks(files)
