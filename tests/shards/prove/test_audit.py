"""The audit finds what stands in more than one split, within and between datasets."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from medshards.cli import cli
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Reject
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.encode.fingerprint import SIDE, fingerprint
from medshards.shards.encode.policy import Making, Profile
from medshards.shards.prove.audit import Sample, leaks, nearest_pair, read_samples
from medshards.shards.prove.fix import move
from medshards.shards.prove.verify import verify
from tests.shards.build.pictures import CHANGES, picture, pixels

KVASIR = "Kvasir-SEG/images/cju0qkwl35piu0993l0dewei2.jpg"


def _corpus(
    folder: Path, change: Callable[[Path], object] = lambda raw: None, profile: Profile = "default"
) -> Path:
    """Phantoms of DRIVE (train, val, test) and Kvasir-SEG (train, val), changed before they are built."""
    for slug in ("drive", "kvasir_seg"):
        phantoms.write_phantom(slug, folder / "raw" / slug)
    change(folder / "raw")
    for slug in ("drive", "kvasir_seg"):
        build_dataset(load_catalog()[slug], folder / "raw" / slug, folder / "out", Making(profile))
    write_corpus(folder / "out", profile, "none")
    return folder / "out"


def _plant(raw: Path) -> None:
    """Put a test image of DRIVE among those of Kvasir-SEG: 2 % cropped, resized, as JPEG."""
    with PIL.Image.open(raw / "drive/DRIVE/test/images/01_test.tif") as image:
        width, height = image.size
        cropped = image.crop((0, round(0.02 * height), width - round(0.02 * width), height))
    with PIL.Image.open(raw / "kvasir_seg" / KVASIR) as old:
        size = old.size
    cropped.resize(size).save(raw / "kvasir_seg" / KVASIR, quality=75)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _corpus(tmp_path_factory.mktemp("planted"), _plant)


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["audit", *map(str, arguments)])


def test_a_planted_copy_in_another_dataset_and_split_is_found(planted: Path) -> None:
    (leak,) = leaks(read_samples(planted))
    (tie,) = leak.ties
    assert tie.kind == "same view"
    assert {(s.dataset, s.key) for s in (tie.a, tie.b)} == {
        ("drive", "01_test"),
        ("kvasir_seg", Path(KVASIR).stem),
    }
    assert tie.a.split == "test" != tie.b.split
    told = audit(planted)
    assert told.exit_code == 1
    assert "leak: drive/01_test (test) and kvasir_seg/cju0qkwl35piu0993l0dewei2" in told.output
    assert "1 leak between splits" in told.output
    facts = json.loads(audit(planted, "--json").stdout)
    assert [n["samples"] for n in facts["leaks"][0]["samples"]] == [1, 1]


def test_a_corpus_without_leaks_exits_with_0(tmp_path: Path) -> None:
    told = audit(_corpus(tmp_path))
    assert told.exit_code == 0, told.output
    assert "14 samples" not in told.output
    assert "12 samples of 2 datasets: 0 leaks between splits" in told.output


def test_samples_of_a_published_list_are_named(planted: Path, tmp_path: Path) -> None:
    source = planted.parent / "raw/drive/DRIVE/training/images/21_training.tif"
    stored = next(s for s in read_samples(planted) if s.key == "22_training")
    names = [
        hashlib.sha256(source.read_bytes()).hexdigest().upper(),
        stored.digest,
        "# a note",
        "",
        "x/02_test",
        "no.png",
    ]
    (tmp_path / "list.txt").write_text("\n".join(names))
    told = audit(planted, "--against", tmp_path / "list.txt", "--json")
    assert told.exit_code == 1
    assert {s["key"] for s in json.loads(told.stdout)["listed"]} == {"21_training", "22_training", "02_test"}


def _sample(
    dataset: str, number: int, split: str, group: str = "", digest: str = "", view: int = -1
) -> Sample:
    shown = picture(number if view < 0 else view, noise=2)
    return Sample(
        dataset, str(number), split, group or str(number), digest or str(number), shown, f"{number}.png"
    )


def test_every_kind_of_tie_is_told() -> None:
    samples = [
        _sample("a", 0, "train", group="p"),
        _sample("a", 1, "val", group="p"),
        _sample("a", 2, "train", group="TCGA-A1-B234"),
        _sample("b", 3, "test", group="TCGA-A1-B234-01Z"),
        _sample("a", 4, "val", digest="same"),
        _sample("b", 5, "train", digest="same"),
        _sample("a", 6, "train", view=6),
        _sample("b", 7, "test", view=6),
        _sample("a", 8, "train", group="1"),
        _sample("b", 9, "test", group="1"),  # a number names no patient across datasets
        _sample("a", 10, "train", view=10),
        _sample("b", 11, "train", view=10),  # both in one split
    ]
    found = leaks(samples)
    assert [[tie.kind for tie in leak.ties] for leak in found] == [
        ["group"],
        ["patient"],
        ["equal image"],
        ["same view"],
    ]
    assert [{s.key for tie in leak.ties for s in (tie.a, tie.b)} for leak in found] == [
        {str(n), str(n + 1)} for n in (0, 2, 4, 6)
    ]


def test_planted_copies_are_told_apart_from_ten_thousand_unrelated_pairs() -> None:
    """150 training pictures of one dataset, 70 unrelated test pictures of another, 30 changed copies among them."""

    def stored(dataset: str, number: int, split: str, shown: np.ndarray) -> Sample:
        name = f"{dataset}{number}"
        return Sample(dataset, name, split, name, name, fingerprint(shown), f"{name}.png")

    copied = CHANGES["resized, re-encoded and 2 % cropped"]
    samples = [stored("a", n, "train", pixels(n)) for n in range(150)]
    samples += [stored("b", n, "test", pixels(n)) for n in range(1000, 1070)]
    samples += [stored("b", n, "test", copied(pixels(n))) for n in range(30)]
    found = leaks(samples)
    assert [tie.kind for leak in found for tie in leak.ties] == ["same view"] * 30
    pairs = {frozenset((tie.a.key, tie.b.key)) for leak in found for tie in leak.ties}
    assert pairs == {frozenset((f"a{n}", f"b{n}")) for n in range(30)}


def test_what_is_tied_over_others_is_one_leak_with_its_counts() -> None:
    samples = [_sample("a", n, "train" if n < 4 else "val", view=0) for n in range(5)] + [
        _sample("b", 9, "test")
    ]
    (leak,) = leaks(samples)
    assert leak.samples == {("a", "train"): 4, ("a", "val"): 1}


def test_blank_pictures_are_no_leak() -> None:
    blank = bytes(SIDE * SIDE)
    samples = [
        Sample("a", str(n), split, str(n), "same", blank, "") for n, split in enumerate(("train", "test"))
    ]
    assert leaks(samples) == []
    assert nearest_pair(samples) is None


def test_the_split_of_the_paper_leaks_where_groups_are_divided(tmp_path: Path) -> None:
    """Two frames of one view, which the split by image may divide: it does for one of these two pairs."""

    def double(raw: Path) -> None:
        names = sorted((raw / "kvasir_seg/Kvasir-SEG/images").iterdir())
        for image in names[1:]:
            shutil.copy(names[0], image)
            shutil.copy(
                names[0].parents[1] / "masks" / names[0].name, names[0].parents[1] / "masks" / image.name
            )

    assert [leak.ties[0].kind for leak in leaks(read_samples(_corpus(tmp_path, double, "paper")))] == [
        "equal image"
    ]


def test_no_corpus_is_one_line(tmp_path: Path) -> None:
    told = audit(tmp_path)
    assert told.exit_code == 1
    assert "expected the folder that `medshards build --out` wrote" in told.output


def test_fix_moves_whole_groups_and_leaves_a_corpus_that_proves_itself(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(planted, out)
    before = {(s.dataset, s.key): s for s in read_samples(out)}
    stem = Path(KVASIR).stem
    assert before["kvasir_seg", stem].split == "train"
    told = audit(out, "--fix")
    assert told.exit_code == 0, told.output
    assert f"moved: group {before['kvasir_seg', stem].group} of kvasir_seg to test" in told.output
    assert verify(out) == []
    after = {(s.dataset, s.key): s for s in read_samples(out)}
    assert leaks(list(after.values())) == []
    moved = {name for name, sample in after.items() if sample != before[name]}
    group = before["kvasir_seg", stem].group
    assert moved == {name for name, s in before.items() if (s.dataset, s.group) == ("kvasir_seg", group)}
    assert {after[name].split for name in moved} == {"test"}
    assert {s.digest for s in after.values()} == {s.digest for s in before.values()}


def test_a_later_build_leaves_what_was_moved(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted.parent, tmp_path / "all")
    out = tmp_path / "all/out"
    assert audit(out, "--fix").exit_code == 0
    before = (out / "corpus.json").read_bytes()
    result = build_dataset(load_catalog()["kvasir_seg"], tmp_path / "all/raw/kvasir_seg", out)
    assert (result.encoded, result.changed) == (0, False)
    (out / "kvasir_seg/index.parquet").unlink()  # so that it is put together anew
    build_dataset(load_catalog()["kvasir_seg"], tmp_path / "all/raw/kvasir_seg", out)
    write_corpus(out, "default", "none")
    assert (out / "corpus.json").read_bytes() == before


def test_a_corpus_of_the_papers_split_is_not_mended(tmp_path: Path) -> None:
    out = _corpus(tmp_path, profile="paper")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(Reject, match="nothing is moved"):
        move(out, {"drive": {"21_training": "val"}})
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
