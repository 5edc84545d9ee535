"""The catalog against the dossiers, the paper and the vocabulary; its errors; the command."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from medshards.curate.catalog.entry import CatalogError, load_catalog
from medshards.curate.cli.catalog import catalog as command
from medshards.curate.sample import Reject
from medshards.curate.source import Case, get_source
from medshards.curate.tree import open_download
from medshards.vocab.vocabulary import Vocabulary, load_labels

CATALOG = load_catalog()
PAPER = {slug: entry.paper for slug, entry in CATALOG.items() if entry.paper is not None}
TRAIN = list(PAPER)  # others may be added

# Table 1 of Medical SAM3 (arXiv 2601.10880v1): images, annotations, median area in px
TABLE_1 = {
    "covid_qu_ex": (33920, 67839, 7542),
    "chest_xray_masks": (704, 1415, 1022508),
    "chest_xray_pneumothorax": (290, 370, 7183),
    "btxrd": (3746, 2273, 14746),
    "arcade": (1500, 2316, 1472),
    "busi": (647, 647, 17348),
    "bus_uclm": (264, 281, 24102),
    "us_nerve": (2323, 2323, 6954),
    "acouslic": (300, 300, 58330),
    "ps_fh_aop_2023": (4000, 3999, 8048),
    "ct2us_kidney": (4586, 4601, 11807),
    "segthy": (59, 130, 2118),
    "cholecseg8k": (8080, 112521, 749),
    "m2caiseg": (614, 804, 102493),
    "polypgen": (1710, 2003, 70698),
    "bkai_neopolyp": (1000, 1117, 39138),
    "kvasir_seg": (1000, 1060, 34489),
    "pannuke": (2540, 21978, 811),
    "monuseg": (82, 2887, 172),
    "breast_cancer_seg": (151, 3495, 15524),
    "glas": (165, 1538, 10904),
    "mucic_colon": (60, 12396, 1688),
    "mucic_hl60": (240, 3987, 4857),
    "nucmm_z": (62, 581, 58),
    "urocell": (5, 163, 241),
    "pcmmd": (3517, 3519, 26227),
    "intraretinal_fluid": (1459, 4601, 202),
    "papila": (488, 488, 172486),
    "coph100": (324, 324, 7168),
    "ravir": (23, 141, 3638),
    "drive": (20, 20, 28176),
    "isic_2018": (2594, 2594, 429033),
    "fetoplac": (483, 994, 6456),
}
EXTERNAL = {"chase_db1", "stare", "hc18", "ph2", "tn3k", "cvc_clinicdb", "etis_larib"}

ENTRY = """\
mine:
  title: Mine
  modality: CT
  role: train
  homepage: https://example.org
  access: {kind: open, how: ask me}
  licence:
    name: CC BY 4.0
    redistribution: "yes"
    commercial: "yes"
    certainty: stated
  citation: {text: me}
  archives:
    - {file: a.zip}
    - file: b.zip
      sha256: SHA
  instances: native
  group: patient
  official: {images: 1}
  verified: "yes"
""".replace("SHA", "0123456789abcdef" * 4)


def test_burnt_in_text_is_told_where_it_was_seen(dossiers: dict[str, str]) -> None:
    seen = {slug for slug, text in dossiers.items() if re.search(r"\bburnt\b", text, re.IGNORECASE)}
    assert "bkai_neopolyp" in seen
    assert {CATALOG[slug].burnt_in for slug in seen} == {"yes"}
    assert CATALOG["drive"].burnt_in == "unknown"  # nobody looked at all of them
    shown = CliRunner().invoke(command, ["show", "bkai_neopolyp"]).output
    assert "burnt in" in shown
    assert "992 of the 1,000 show date and time" in shown


@pytest.fixture(scope="session")
def dossiers(samples: Path) -> dict[str, str]:
    found = {path.stem: path.read_text(encoding="utf-8") for path in samples.parent.glob("*.md")}
    if not found:
        pytest.skip(f"no dossiers in {samples.parent}")
    return found


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ---- the facts ----


def test_table_1_is_complete_and_as_printed() -> None:
    rows = {slug: (row.images, row.annotations, row.median_area) for slug, row in PAPER.items()}
    assert rows == TABLE_1
    assert list(rows) == list(TABLE_1), "in the order of the table"


def test_sums_are_those_the_paper_states() -> None:
    assert sum(row.images for row in PAPER.values()) == 76_956
    assert sum(row.annotations for row in PAPER.values()) == 263_705
    images: Counter[str] = Counter()
    for slug, row in PAPER.items():
        images[CATALOG[slug].modality] += row.images
    assert images["CXR"] + images["X-ray"] == 40_160
    assert images["Ultrasound"] == 12_179
    assert images["Endoscopy"] + PAPER["fetoplac"].images == 12_887


def test_roles_and_modalities() -> None:
    assert len(TRAIN) == 33
    assert {CATALOG[slug].role for slug in TRAIN} == {"train"}
    assert {slug for slug, entry in CATALOG.items() if entry.role == "external"} == EXTERNAL
    assert {slug for slug, entry in CATALOG.items() if entry.role == "paired"} == {"umd_petct", "umd_petmr"}
    assert [slug for slug, entry in CATALOG.items() if entry.role == "robustness"] == ["btcv"]
    assert len({CATALOG[slug].modality for slug in TRAIN}) == 10
    headings = {CATALOG[slug].modality for slug in TRAIN}
    assert all(CATALOG[slug].modality in headings for slug in EXTERNAL)


def test_every_dossier_has_an_entry_and_the_other_way_round(dossiers: dict[str, str]) -> None:
    added = {slug for slug, entry in CATALOG.items() if entry.role == "train" and entry.paper is None}
    assert set(CATALOG) - added == set(dossiers) - added


def test_digests_and_dois_are_the_dossiers(dossiers: dict[str, str]) -> None:
    for slug in dossiers.keys() & CATALOG.keys():
        entry = CATALOG[slug]
        digests = set(re.findall(r"(?<!\w)[0-9a-f]{64}(?!\w)", dossiers[slug]))
        assert {archive.sha256 for archive in entry.archives} - {None} == digests, slug
        assert all(archive.md5 in dossiers[slug] for archive in entry.archives if archive.md5), slug
        assert entry.citation.doi is None or entry.citation.doi in dossiers[slug], slug


def test_rules_name_concepts_and_labels_that_there_are() -> None:
    vocabulary = {concept.id for concept in Vocabulary.load()}
    for slug in TRAIN:
        rule, labels = PAPER[slug].rule, load_labels(slug)
        assert rule.concept is None or rule.concept in vocabulary, slug
        assert set(rule.ignore_labels) <= set(labels.labels), slug
        left = {label.concept for name, label in labels.labels.items() if name not in rule.ignore_labels}
        assert left - {None}, slug


@pytest.mark.parametrize("slug", [slug for slug in TRAIN if PAPER[slug].rule.official_split])
def test_official_split_of_a_rule_is_one_the_converter_gives(slug: str, samples: Path) -> None:
    try:
        source = get_source(slug)
        trees = open_download(samples / slug, source.layouts)
    except (LookupError, Reject) as reason:
        pytest.skip(str(reason).splitlines()[0])
    splits = {case.split for tree in trees for case in source.discover(tree) if isinstance(case, Case)}
    if not splits:
        pytest.skip(f"no complete case of {slug} among the samples")
    assert PAPER[slug].rule.official_split in splits


def test_floor_of_drive_leaves_one_component_an_image(samples: Path) -> None:
    rule = PAPER["drive"].rule
    masks = sorted((samples / "drive").rglob("*_manual1.gif"))
    if not masks:
        pytest.skip("no DRIVE masks among the samples")
    for path in masks:
        labelled, _ = ndimage.label(
            np.asarray(Image.open(path).convert("L")) > 127, structure=np.ones((3, 3))
        )
        areas = np.bincount(labelled.ravel())[1:]
        assert (areas >= rule.min_area).sum() == 1, path.name


def test_permissions_rest_on_statements() -> None:
    for slug, entry in CATALOG.items():
        if entry.licence.certainty != "stated":
            assert "yes" not in (entry.licence.redistribution, entry.licence.commercial), slug
        spdx = entry.licence.spdx or ""
        if "-NC" in spdx:
            assert entry.licence.commercial == "no", slug


# ---- reading ----


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("  role: train\n", "", 1, "mine.role: is missing"),
        (
            "role: train",
            "role: training",
            4,
            "'train', 'external', 'paired' or 'robustness', found 'training'",
        ),
        ("  group: patient", "  grouping: patient", 18, "mine.grouping: there is no such field"),
        ('redistribution: "yes"', "redistribution: yes", 9, 'write "yes" in quotes'),
        ("certainty: stated", "certainty: third-party", 7, "rests on the publisher's own statement alone"),
        ("sha256: 0", "sha256: g", 16, "mine.archives.1.sha256"),
        ("{file: a.zip}", "{url: 'https://example.org'}", 14, "mine.archives.0.file: is missing"),
        ("images: 1", "images: -1", 19, "greater than or equal to 0, found -1"),
        ("images: 1", "images: many", 19, "mine.official.images"),
        ("https://example.org", "example.org", 5, "mine.homepage"),
        ("title: Mine", "title: ''", 2, "mine.title"),
        ("  modality: CT", "  title: Again", 3, "'title' stands here again (first on line 2)"),
        ("mine:", "My Set:", 1, "bad slug 'My Set'"),
        ("mine:", "all:", 1, "the slug 'all' stands for all datasets together"),
        ("  title: Mine", "  slug: other\n  title: Mine", 2, "mine.slug: remove it"),
        ("citation: {text: me}", "citation: {text: me", 13, ""),
    ],
)
def test_an_error_tells_file_line_and_field(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert ENTRY.count(old) == 1
    path = write(tmp_path, ENTRY.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert any(
        text.startswith(f"{path}:{line}:") and words in text for text in str(caught.value).splitlines()
    )


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path, ENTRY.replace("role: train", "role: x").replace("instances: native", "instances: y")
    )
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert [text.split(":")[1] for text in str(caught.value).splitlines()] == ["4", "17"]


@pytest.mark.parametrize(
    "text", ["", "- a list\n", "mine:\n", "mine: 3\n", "a: [1\n", "a: !!python/name:os.system\n"]
)
def test_files_that_are_no_catalog(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CatalogError, match=re.escape(f"{path}:")):
        load_catalog(path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path / "none.yaml")


def test_own_catalog_is_added(tmp_path: Path) -> None:
    merged = load_catalog(extra=[write(tmp_path, ENTRY)])
    assert list(merged) == [*CATALOG, "mine"]
    assert merged["mine"].slug == "mine"
    assert merged["mine"].paper is None


def test_a_slug_is_never_replaced_silently(tmp_path: Path) -> None:
    path = write(tmp_path, ENTRY.replace("mine:", "busi:"))
    with pytest.raises(
        CatalogError, match=rf"{re.escape(str(path))}:1: the slug 'busi' is taken .*catalog.yaml:\d+"
    ):
        load_catalog(extra=[path])


# ---- the command ----


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_the_list_in_a_pipe_has_one_whole_line_a_dataset() -> None:
    code, out, err = run()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert len(lines) == 1 + len(CATALOG)
    assert "\x1b" not in out
    assert "…" not in out
    for entry in CATALOG.values():
        (line,) = [line for line in lines if entry.slug in line.split()]
        assert line.startswith(entry.modality)
        assert entry.title in line
        assert entry.licence.name in line
        assert line.endswith(entry.access.kind)
    (nerve,) = [line for line in lines if " us_nerve " in line]
    assert re.search(r" 2,323 +2,323 +6,954 ", nerve)


@pytest.mark.parametrize(
    ("arguments", "slugs"),
    [
        (("--modality", "x-RAY"), {"btxrd", "arcade"}),
        (("--role", "paired"), {"umd_petct", "umd_petmr"}),
        (("--access", "unpublished"), {"umd_petct", "umd_petmr"}),
        (("--licence", "nc-sa", "--modality", "pathology"), {"pannuke", "monuseg"}),
        (("--commercial", "yes", "--role", "external"), {"hc18"}),
        (("--licence", "commercial"), {"breast_cancer_seg", "pcmmd", "coph100", "hc18"}),
        (("--licence", "redistributable", "--modality", "ultrasound", "--role", "external"), {"hc18"}),
        (("--licence", "research", "--role", "external"), {"hc18", "cvc_clinicdb"}),
    ],
)
def test_filters(arguments: tuple[str, ...], slugs: set[str]) -> None:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert {entry["slug"] for entry in json.loads(out)} == slugs


def test_commercial_yes_lists_nothing_else() -> None:
    chosen = json.loads(run("--commercial", "yes", "--json")[1])
    assert chosen
    assert all(entry["licence"]["commercial"] == "yes" for entry in chosen)


@pytest.mark.parametrize("slug", CATALOG)
def test_show_tells_everything(slug: str) -> None:
    code, out, _ = run("show", slug)
    entry = CATALOG[slug]
    assert code == 0
    facts = [
        entry.title,
        entry.homepage,
        entry.access.how,
        entry.licence.name,
        entry.citation.text,
        entry.group,
    ]
    facts += entry.open_questions
    facts += [text for a in entry.archives for text in (a.file, a.url, a.sha256, a.md5) if text]
    if entry.paper:
        facts += [entry.paper.note, f"{entry.paper.images:,} images"]
    assert [fact for fact in facts if fact not in out] == []
    assert json.loads(run("show", slug, "--json")[1]) == entry.model_dump(mode="json")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("bus", "'busi' or 'bus_uclm'"),
        ("Kvasir-SEG", "kvasir_seg"),
        ("dirve", "drive"),
        ("zzz", "lists them"),
    ],
)
def test_show_of_an_unknown_slug(word: str, hint: str) -> None:
    code, out, err = run("show", word)
    assert (code, out) == (2, "")
    assert hint in err


def test_filters_with_show_are_refused() -> None:
    code, _, err = run("--role", "train", "show", "busi")
    assert code == 2
    assert "filters are for the list" in err


def test_own_catalog_on_the_command_line(tmp_path: Path) -> None:
    good, bad = write(tmp_path, ENTRY), write(tmp_path, ENTRY.replace("role: train", "role: x"), "bad.yaml")
    assert run("--catalog", str(good), "show", "mine")[0] == 0
    code, out, err = run("--catalog", str(bad))
    assert (code, out) == (1, "")
    assert f"{bad}:4: mine.role" in err
