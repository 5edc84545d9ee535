"""The label maps: against the datasets' own tables, and what a wrong file is told."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medshards.vocab.vocabulary import UnknownLabel, Vocabulary, VocabularyError, load_labels, slugs

# The prompts that the documentation of each dataset leads to.
PROMPTS = {
    "acouslic": "fetal abdomen",
    "arcade": "coronary artery stenosis, right coronary artery, left main coronary artery, left "
    "anterior descending artery, diagonal branch, left circumflex artery, obtuse "
    "marginal branch, left posterolateral branch, left posterior descending artery, "
    "right posterolateral branch",
    "bkai_neopolyp": "neoplastic polyp, non-neoplastic polyp",
    "breast_cancer_seg": "breast tumor, tumor stroma, lymphocytic infiltrate, necrosis or debris, glandular "
    "secretions, blood, metaplasia, fat, plasma cell, immune infiltrate, mucoid "
    "material, normal acinus or duct, lymphatic vessel, nerve, skin adnexa, blood "
    "vessel, angioinvasion, ductal carcinoma in situ",
    "btcv": "spleen, right kidney, left kidney, gallbladder, esophagus, liver, stomach, aorta, "
    "inferior vena cava, portal vein and splenic vein, pancreas, right adrenal gland, "
    "left adrenal gland",
    "btxrd": "osteochondroma, multiple osteochondromas, simple bone cyst, giant cell tumor of "
    "bone, osteofibroma, synovial osteochondroma, benign bone tumor, osteosarcoma, "
    "malignant bone tumor",
    "bus_uclm": "benign breast lesion, malignant breast lesion",
    "busi": "benign breast lesion, malignant breast lesion",
    "chase_db1": "retinal vessel",
    "chest_xray_masks": "lung",
    "chest_xray_pneumothorax": "pneumothorax",
    "cholecseg8k": "abdominal wall, liver, gastrointestinal tract, fat, grasper, connective tissue, "
    "blood, cystic duct, hook electrocautery, gallbladder, hepatic vein, liver ligament",
    "coph100": "retinal vessel",
    "covid_qu_ex": "covid-19 infection, lung",
    "ct2us_kidney": "kidney",
    "cvc_clinicdb": "polyp",
    "drive": "retinal vessel",
    "etis_larib": "polyp",
    "fetoplac": "placental vessel",
    "glas": "gland",
    "hc18": "fetal head",
    "intraretinal_fluid": "intraretinal cystoid fluid",
    "isic_2018": "skin lesion",
    "kvasir_seg": "polyp",
    "m2caiseg": "grasper, bipolar forceps, hook electrocautery, surgical scissors, clip applier, "
    "irrigator, specimen bag, trocar, surgical clip, liver, gallbladder, fat, abdominal "
    "wall, artery, intestine, bile, blood",
    "monuseg": "cell nucleus",
    "mucic_colon": "cell nucleus",
    "mucic_hl60": "cell nucleus",
    "nucmm_z": "cell nucleus",
    "pannuke": "connective tissue cell nucleus, dead cell nucleus, epithelial cell nucleus, "
    "inflammatory cell nucleus, neoplastic cell nucleus",
    "papila": "optic cup, optic disc",
    "pcmmd": "non-plasma cell, plasma cell",
    "ph2": "skin lesion",
    "polypgen": "polyp",
    "ps_fh_aop_2023": "fetal head, pubic symphysis",
    "ravir": "retinal artery, retinal vein",
    "segthy": "carotid artery, jugular vein, thyroid",
    "stare": "retinal vessel",
    "tn3k": "thyroid nodule",
    "umd_petct": "brain, lung, heart, aorta, liver, spleen, left kidney, right kidney, colon, "
    "urinary bladder, esophagus, stomach, pancreas, prostate, left lung, right lung, "
    "left lung upper lobe, left lung lower lobe, right lung upper lobe, right lung "
    "middle lobe, right lung lower lobe",
    "umd_petmr": "brain, lung, heart, aorta, liver, spleen, left kidney, right kidney, colon, "
    "urinary bladder, esophagus, stomach, pancreas, prostate, left lung, right lung, "
    "left lung upper lobe, left lung lower lobe, right lung upper lobe, right lung "
    "middle lobe, right lung lower lobe",
    "urocell": "endolysosome, fusiform vesicle, golgi apparatus, mitochondrion",
    "us_nerve": "brachial plexus nerve",
}


def test_every_dataset_has_a_map() -> None:
    assert len(PROMPTS) == 33 + 10  # Table 1 and the external sets
    assert set(PROMPTS) <= set(slugs())


@pytest.mark.parametrize(("slug", "prompts"), PROMPTS.items())
def test_a_dataset_has_the_prompts_of_its_documentation(slug: str, prompts: str) -> None:
    vocabulary = Vocabulary.load()
    assert {vocabulary[concept].text for concept in load_labels(slug).concepts} == set(prompts.split(", "))


def test_one_thing_is_one_concept_in_every_dataset() -> None:
    cholec, m2cai = load_labels("cholecseg8k"), load_labels("m2caiseg")
    for ours, theirs in [
        ("Gallbladder", "gall-bladder"),
        ("L-hook Electrocautery", "hook"),
        ("Abdominal Wall", "upperwall"),
        ("Fat", "fat"),
    ]:
        assert cholec.concept(ours) == m2cai.concept(theirs) is not None
    bcss = load_labels("breast_cancer_seg")
    assert bcss.concept("plasma_cells") == load_labels("pcmmd").concept("plasma_cell")
    assert bcss.concept("fat") == cholec.concept("Fat")


@pytest.mark.parametrize(
    ("slug", "native", "value", "concept"),
    [
        ("ravir", "artery", 128, "retinal_artery"),
        ("ravir", "vein", 255, "retinal_vein"),
        ("cholecseg8k", "Liver Ligament", 5, "liver_ligament"),
        ("cholecseg8k", "Grasper", 31, "grasper"),
        ("arcade", "9a", 10, "diagonal_branch"),
        ("arcade", "10", 11, "diagonal_branch"),
        ("arcade", "stenosis", 26, "coronary_artery_stenosis"),
        ("btcv", "left kidney", 3, "left_kidney"),
        ("btcv", "right adrenal gland", 12, "right_adrenal_gland"),
        ("pannuke", "Dead", 3, "dead_cell_nucleus"),
        ("acouslic", "suboptimal", 2, "fetal_abdomen"),
        ("ps_fh_aop_2023", "fetal head", 2, "fetal_head"),
        ("segthy", "jugular right", 5, "jugular_vein"),
    ],
)
def test_values(slug: str, native: str, value: int, concept: str) -> None:
    labels = load_labels(slug)
    assert labels.by_value()[value] == native
    assert labels.concept(native) == concept


def test_colors() -> None:
    m2cai = load_labels("m2caiseg")
    assert m2cai.by_color()[0, 170, 85] == "hook"  # not (0, 170, 255), as one loader has it
    assert len(m2cai.by_color()) == 19
    assert load_labels("bus_uclm").by_color()[0, 255, 0] == "benign"


@pytest.mark.parametrize("slug", ["umd_petct", "umd_petmr"])
def test_umd_is_mapped_by_name_never_by_number(slug: str) -> None:
    labels = load_labels(slug)
    assert labels.by_value() == {}
    assert labels.concept("kidney_left") == labels.concept("left kidney") == "left_kidney"


def test_a_label_that_is_not_known_is_an_error_and_an_ignored_one_is_none() -> None:
    labels = load_labels("breast_cancer_seg")
    assert labels.concept("undetermined") is None
    assert labels.labels["undetermined"].reason
    with pytest.raises(
        UnknownLabel, match="ravir has no label 'Vein'; its labels are 'background', 'artery'"
    ):
        load_labels("ravir").concept("Vein")


def test_a_map_travels_to_other_processes() -> None:
    labels = load_labels("busi")
    assert pickle.loads(pickle.dumps(labels)) == labels  # noqa: S301 - our own bytes
    error = VocabularyError("a.yaml:1: one", "a.yaml:2: two")
    assert pickle.loads(pickle.dumps(error)).problems == error.problems  # noqa: S301 - our own bytes


# ---- the datasets' own files ----


def the_files(samples: Path, pattern: str) -> list[Path]:
    files = sorted(samples.glob(pattern))
    if not files:
        pytest.skip(f"no {pattern} in {samples}")
    return files


def test_bcss_agrees_with_its_code_table(samples: Path) -> None:
    (table,) = the_files(samples, "breast_cancer_seg/*/meta/gtruth_codes.tsv")
    with table.open(newline="") as lines:
        codes = {int(row["GT_code"]): row["label"] for row in csv.DictReader(lines, delimiter="\t")}
    assert load_labels("breast_cancer_seg").by_value() == codes


def test_arcade_agrees_with_the_categories_of_its_files(samples: Path) -> None:
    for file in the_files(samples, "arcade/arcade/*/*/annotations/*.json"):
        categories = {entry["id"]: entry["name"] for entry in json.loads(file.read_text())["categories"]}
        assert load_labels("arcade").by_value() == categories


def test_btxrd_knows_every_label_of_its_files(samples: Path) -> None:
    labels = load_labels("btxrd")
    for file in the_files(samples, "btxrd/BTXRD/Annotations/*.json"):
        for shape in json.loads(file.read_text())["shapes"]:
            assert labels.concept(shape["label"]) is not None


def test_btxrd_labels_are_columns_of_its_table(samples: Path) -> None:
    (table,) = the_files(samples, "btxrd/dataset_head.csv")
    with table.open(newline="") as lines:
        columns = next(csv.reader(lines))
    assert set(load_labels("btxrd").labels) <= set(columns)


def test_urocell_labels_are_its_folders(samples: Path) -> None:
    folders = {path.name for path in the_files(samples, "urocell/*") if path.is_dir()}
    assert folders - {"data"} <= set(load_labels("urocell").labels)


@pytest.mark.parametrize(
    ("slug", "pattern"),
    [
        ("breast_cancer_seg", "*/masks/*.png"),
        ("drive", "DRIVE/*/1st_manual/*.gif"),
        ("isic_2018", "ISIC2018_Task1_Training_GroundTruth/*.png"),
        ("ravir", "RAVIR Dataset/train/training_masks/*.png"),
        ("stare", "flat_layout/STARE/*.ah.ppm"),
        ("us_nerve", "train/*_mask.tif"),
    ],
)
def test_every_value_of_a_real_mask_is_known(samples: Path, slug: str, pattern: str) -> None:
    known = load_labels(slug).by_value()
    for file in the_files(samples, f"{slug}/{pattern}"):
        assert set(np.unique(np.asarray(Image.open(file))).tolist()) <= set(known), file.name


def test_every_color_of_a_real_bus_uclm_mask_is_known_and_says_what_the_table_says(samples: Path) -> None:
    known: dict[Any, str] = load_labels("bus_uclm").by_color()
    masks = the_files(samples, "bus_uclm/*/BUS-UCLM/masks/*.png")
    with (masks[0].parents[1] / "INFO.csv").open(encoding="utf-8-sig", newline="") as lines:
        told = {row["Image"]: row["Label"].lower() for row in csv.DictReader(lines, delimiter=";")}
    for mask in masks:
        pixels = Image.open(mask).convert("RGB")
        colors = pixels.getcolors(pixels.width * pixels.height) or []
        found = {known[color] for _, color in colors} - {"background"}
        assert found == {told[mask.name]} - {"normal"}


# ---- wrong files ----

HEAD = "dataset: mine\nexhaustive: true\nlabels:\n"
WRONG = {
    "unknown concept": (HEAD + "  a: livver", "4: 'a': unknown concept 'livver'; did you mean 'liver'"),
    "unknown concept, long form": (
        HEAD + "  a: {concept: xyzzy}",
        "4: 'a': unknown concept 'xyzzy'; correct it",
    ),
    "duplicate value": (
        HEAD + "  a: {concept: liver, value: 1}\n  b: {ignore: true, value: 1}",
        "5: 'b': has the value of 'a' (line 4)",
    ),
    "duplicate colour": (
        HEAD + "  a: {concept: liver, color: '#00ff00'}\n  b: {concept: lung, color: '#00ff00'}",
        "5: 'b': has the color of 'a' (line 4)",
    ),
    "duplicate label": (
        HEAD + "  a: liver\n  b: lung\n  a: lung",
        "6: the key 'a' stands here again (first on line 4)",
    ),
    "number as label": (HEAD + "  9: liver", "4: YAML reads the label 9 as int; put it in quotes"),
    "truth as label": (HEAD + "  no: liver", "4: YAML reads the label False as bool; put it in quotes"),
    "neither concept nor ignore": (
        HEAD + "  a: {value: 1}",
        "4: 'a': needs either 'concept' or 'ignore: true'",
    ),
    "both": (
        HEAD + "  a: {concept: liver, ignore: true}",
        "4: 'a': needs either 'concept' or 'ignore: true'",
    ),
    "empty label": (HEAD + "  a:", "4: 'a': must be a concept id"),
    "bad value": (HEAD + "  a: {concept: liver, value: '1'}", "4: 'a': 'value' must be a whole number"),
    "truth as value": (HEAD + "  a: {concept: liver, value: true}", "4: 'a': 'value' must be a whole number"),
    "bad colour": (HEAD + "  a:\n    concept: liver\n    color: red", "6: 'a': 'color' must look like"),
    "reason without ignore": (HEAD + "  a: {concept: liver, reason: why}", "4: 'a': 'reason' tells why"),
    "unknown field": (HEAD + "  a: {concept: liver, id: 1}", "4: unknown field 'id'; the fields are concept"),
    "another dataset": (
        "dataset: yours\nexhaustive: true\nlabels: {a: liver}",
        "1: is for the dataset 'yours'",
    ),
    "exhaustive not told": ("dataset: mine\nlabels: {a: liver}", "1: 'exhaustive' must be true or false"),
    "exhaustive unclear": ("dataset: mine\nexhaustive: 1\nlabels: {a: liver}", "2: 'exhaustive' must be"),
    "no labels": ("dataset: mine\nexhaustive: true\nlabels:", "3: 'labels' must hold"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_told_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine/labels.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(VocabularyError) as caught:
        load_labels("mine", tmp_path)
    assert [problem for problem in caught.value.problems if problem.startswith(f"{file}:{message}")]


def test_a_file_outside_of_the_project(tmp_path: Path) -> None:
    file = tmp_path / "anything.yaml"
    file.write_text(HEAD + "  yes it is: {concept: liver, value: 7}\n  rest: {ignore: true}\n")
    labels = load_labels("mine", file)
    assert labels.concept("yes it is") == "liver"
    assert labels.by_value() == {7: "yes it is"}
    assert labels.concepts == ("liver",)


def test_a_dataset_without_a_map_is_told_where_to_write_it() -> None:
    with pytest.raises(
        VocabularyError, match=r"ravirr/labels\.yaml: the dataset 'ravirr' has no label map; .*'ravir'"
    ):
        load_labels("ravirr")


def test_the_digest_changes_with_a_label(tmp_path: Path) -> None:
    digests = []
    for concept in ("liver", "lung", "liver"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine/labels.yaml").write_text(HEAD + f"  a: {concept}\n")
        digests.append(load_labels("mine", tmp_path).digest)
    assert digests[0] == digests[2] != digests[1]


def test_a_dataset_may_have_the_labels_of_another() -> None:
    ct, mr = load_labels("umd_petct"), load_labels("umd_petmr")
    assert mr.dataset == "umd_petmr"
    assert mr.labels == ct.labels
    assert len(ct.labels) > 100


def test_the_labels_of_itself_are_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "labels.yaml").write_text("dataset: a\nsame_as: a\n")
    with pytest.raises(VocabularyError, match="no other labels"):
        load_labels("a", tmp_path)
