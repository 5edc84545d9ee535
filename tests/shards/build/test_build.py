"""The promises of a build: the same bytes whatever happened on the way, nothing done twice, nothing half."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
import webdataset

from medshards.common.files import locked
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source, get_source, slugs
from medshards.shards.build import index
from medshards.shards.build.dataset import build_dataset
from medshards.shards.build.manifest import read_corpus
from medshards.shards.build.place import WORK
from medshards.shards.prove.verify import verify
from tests.command import medshards
from tests.shards.build.names import names, told
from tests.shards.conftest import Build, contents, write_phantoms


def test_worker_processes_do_not_show_in_the_bytes(build: Build, tmp_path: Path) -> None:
    for workers in (1, 2, 3):
        build(tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")
    assert verify(tmp_path / "1") == []
    assert {p.suffix for p in (tmp_path / "1" / WORK).iterdir()} == {".lock"}


def test_a_second_build_does_nothing(build: Build, tmp_path: Path) -> None:
    first = build(tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.tar")}
    second = build(tmp_path / "out")
    assert (first.encoded, first.changed) == (8, True)
    assert (second.encoded, second.reused, second.changed) == (0, 8, False)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.tar")} == before


def test_what_a_reused_case_left_out_is_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case may give samples, a slice that is refused and one that is passed over: all three are told again."""
    source = get_source("mucic_hl60")

    def load(self: Source, case: Case) -> Iterator[Sample | Skip | Reject]:
        _, *rest = real(self, case)
        yield Reject("broken_slice", "is damaged", case.files["image"].name)
        yield Skip(case.files["image"].name, "blank")
        yield from rest

    real = type(source).load
    monkeypatch.setattr(type(source), "load", load)
    phantoms.write_phantom("mucic_hl60", tmp_path / "raw")
    results = []
    for _ in range(2):
        results.append(build_dataset(load_catalog()["mucic_hl60"], tmp_path / "raw", tmp_path / "out"))
    first, second = results
    assert (first.encoded, second.encoded, second.reused, second.changed) == (3, 0, 3, False)
    assert len(first.rejects) == len(second.rejects) == 3
    assert first.manifest == second.manifest
    assert first.manifest["counts"]["skipped"] == {"blank": 3}
    one = next((tmp_path / "raw").glob("*Low*C00*/image-final*"))
    with h5py.File(one, "r+") as handle:
        handle["Image"][0, 0, 0] += 1
    third = build_dataset(load_catalog()["mucic_hl60"], tmp_path / "raw", tmp_path / "out")
    assert (third.encoded, third.reused, len(third.rejects)) == (1, 2, 3)
    assert third.manifest["counts"]["skipped"] == {"blank": 3}
    fresh = build_dataset(load_catalog()["mucic_hl60"], tmp_path / "raw", tmp_path / "fresh")
    assert contents(tmp_path / "out/mucic_hl60") == contents(tmp_path / "fresh/mucic_hl60")
    assert fresh.manifest == third.manifest


def test_a_refused_second_copy_is_told_once_in_every_build(build: Build, raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "drive/DRIVE", raw / "drive/again/DRIVE")
    results = [build(tmp_path / "out") for _ in range(2)]
    assert [len(r.rejects) for r in results] == [8, 8]
    assert results[0].rejects == results[1].rejects
    assert {r["code"] for r in results[0].rejects} == {"duplicate_key"}
    assert not results[1].changed


def test_a_changed_file_redoes_its_case_alone(build: Build, raw: Path, tmp_path: Path) -> None:
    build(tmp_path / "out")
    manual = raw / "drive/DRIVE/training/1st_manual/23_manual1.gif"
    stat = manual.stat()
    pixels = np.asarray(PIL.Image.open(manual).convert("L")).copy()
    pixels[:9, :9] = 255
    PIL.Image.fromarray(pixels).save(manual)
    os.utime(manual, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # content decides, not the clock
    again = build(tmp_path / "out")
    assert (again.encoded, again.reused, again.changed) == (1, 7, True)
    build(tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_removed_and_an_added_file_leave_no_trace(
    build: Build, built: Path, raw: Path, tmp_path: Path
) -> None:
    for name in ("images/24_training.tif", "1st_manual/24_manual1.gif"):
        shutil.move(raw / "drive/DRIVE/training" / name, tmp_path / Path(name).name)
    build(tmp_path / "out")
    for name in ("images/24_training.tif", "1st_manual/24_manual1.gif"):
        shutil.move(tmp_path / Path(name).name, raw / "drive/DRIVE/training" / name)
    assert build(tmp_path / "out").encoded == 1
    assert contents(tmp_path / "out") == contents(built)


def test_changed_code_or_policy_redoes_everything(
    build: Build, built: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built, tmp_path / "out")
    for module in ("dataset", "survey"):
        monkeypatch.setattr(f"medshards.shards.build.{module}.code", lambda *_: {"files": "0" * 64})
    assert build(tmp_path / "out").encoded == 8
    entry = load_catalog()["drive"].model_copy(update={"instances": "components"})
    assert build_dataset(entry, raw / "drive", tmp_path / "out").encoded == 8


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A download of some hundred images, and the corpus that an undisturbed build makes of it."""
    folder = tmp_path_factory.mktemp("many")
    phantoms.write_phantom("us_nerve", folder / "raw" / "us_nerve")
    train = folder / "raw" / "us_nerve" / "train"
    originals = sorted(p for p in train.glob("*.tif") if "mask" not in p.name)
    for number in range(400):
        image = originals[number % len(originals)]
        name = f"{number % 47 + 1}_{200 + number}"
        shutil.copy(image, train / f"{name}.tif")
        shutil.copy(image.with_name(f"{image.stem}_mask.tif"), train / f"{name}_mask.tif")
    into = ("--raw", folder / "raw", "--out", folder / "out")
    assert medshards("build", "us_nerve", *into, "--workers", "2").exit_code == 0
    return folder / "raw", contents(folder / "out")


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.25, 0.5])
def test_a_killed_build_goes_on_where_it_was(
    many: tuple[Path, dict[str, bytes]], tmp_path: Path, moment: float
) -> None:
    raw, whole = many
    out = tmp_path / "out"
    command: list[str | Path] = ["build", "us_nerve", "--raw", str(raw), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-m", "medshards", *command], stderr=subprocess.DEVNULL)
    packs = out / WORK / "us_nerve" / "packs"
    deadline = time.monotonic() + 300
    while process.poll() is None and not any(packs.glob("*.journal")):
        assert time.monotonic() < deadline, "the build does not get to work"
        time.sleep(0.01)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for tar in out.glob("us_nerve/*/*.tar"):  # what is visible under its final name is complete
        assert tar.read_bytes() == whole[str(tar.relative_to(out))]
    resumed = medshards(*command)
    assert resumed.exit_code == 0, resumed.stderr
    assert contents(out) == whole


def test_a_kill_between_the_two_renames_is_mended(build: Build, built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "out")
    work = tmp_path / "out" / WORK / "drive"
    work.mkdir(parents=True)
    (tmp_path / "out" / "drive").rename(work / "old")
    assert any("drive" in str(problem) for problem in verify(tmp_path / "out"))
    assert build(tmp_path / "out").encoded == 0
    assert verify(tmp_path / "out") == []


def test_a_dataset_that_a_killed_build_moved_aside_is_put_back_by_any_build(
    raw: Path, tmp_path: Path
) -> None:
    phantoms.write_phantom("ravir", raw / "ravir")
    out = tmp_path / "out"
    assert medshards("build", "drive", "--raw", raw, "--out", out).exit_code == 0
    (out / WORK / "drive").mkdir(parents=True)
    (out / "drive").rename(out / WORK / "drive" / "old")
    (out / ".corpus.json.1.tmp").write_text("half")
    medshards("build", "ravir", "--raw", raw, "--out", out)
    corpus = read_corpus(out)
    assert corpus is not None
    assert set(corpus["datasets"]) == {"drive", "ravir"}
    assert verify(out) == []


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("engine", ["local", "ray", "slurm"])
def test_two_builds_of_a_dataset_do_not_write_into_one_corpus(raw: Path, tmp_path: Path, engine: str) -> None:
    with locked(tmp_path / "out" / WORK / "drive.lock"):
        result = medshards("build", "drive", "--raw", raw, "--out", tmp_path / "out", "--engine", engine)
    assert result.exit_code == 1
    assert f"another build is writing drive into {tmp_path / 'out'}" in result.stderr
    assert not (tmp_path / "out" / "drive").exists()


def test_builds_of_several_datasets_at_once_are_one_corpus(tmp_path: Path) -> None:
    chosen = ("drive", "busi", "ravir", "kvasir_seg")
    write_phantoms(chosen, tmp_path / "raw")
    commands = [
        [sys.executable, "-m", "medshards", "build", slug, "--raw", str(tmp_path / "raw")] for slug in chosen
    ]
    running = [
        subprocess.Popen([*c, "--out", str(tmp_path / "out"), "--allow-rejects", "99"]) for c in commands
    ]
    assert [p.wait(timeout=300) for p in running] == [0] * len(chosen)
    assert verify(tmp_path / "out") == []
    medshards("build", *chosen, "--raw", tmp_path / "raw", "--out", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_profiles_do_not_mix(raw: Path, tmp_path: Path) -> None:
    assert medshards("build", "drive", "--raw", raw, "--out", tmp_path / "out").exit_code == 0
    result = medshards("build", "drive", "--raw", raw, "--out", tmp_path / "out", "--profile", "paper")
    assert result.exit_code == 1
    assert "--profile default" in result.stderr


def test_paper_profile_follows_the_rule(build: Build, tmp_path: Path) -> None:
    result = build(tmp_path / "out", profile="paper")
    # the two test images have manuals and are no part of the paper's corpus; the trees of the phantom are 8-connected
    assert result.samples == 6
    assert result.manifest["counts"]["skipped"]["not in the official training split (paper)"] == 2
    rows = list(index.read_rows(tmp_path / "out/drive" / index.INDEX))
    assert sorted(r["split"] for r in rows) == ["train"] * 5 + ["val"]
    assert verify(tmp_path / "out") == []


def test_small_shards_hold_the_same_samples(build: Build, built: Path, tmp_path: Path) -> None:
    build(tmp_path / "many", shard_bytes=100_000)
    tars = sorted((tmp_path / "many/drive/train").glob("*.tar"))
    assert len(tars) > 1
    assert all(t.stat().st_size <= 100_000 for t in tars)
    assert verify(tmp_path / "many") == []
    keys = [
        [r["key"] for r in index.read_rows(out / "drive" / index.INDEX)] for out in (built, tmp_path / "many")
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("slug", slugs())
def test_every_phantom_builds_verifies_and_is_read_by_webdataset(slug: str, tmp_path: Path) -> None:
    expected = phantoms.write_phantom(slug, tmp_path / "raw" / slug)
    out = tmp_path / "out"
    result = medshards("build", slug, "--raw", tmp_path / "raw", "--out", out)
    assert (result.exit_code == 0) == (not expected.rejects), result.stderr
    corpus = read_corpus(out)
    assert corpus is not None
    assert corpus["datasets"][slug]["samples"] == expected.samples
    assert verify(out) == []
    found = 0
    for tar in sorted((out / slug).glob("*/*.tar")):
        reader = webdataset.WebDataset(str(tar), shardshuffle=False).decode("pil")
        for image, mask, text, record in reader.to_tuple("png;jpg;jpeg", "mask.png", "txt", "json"):
            assert image.size == mask.size == tuple(record["size"][::-1])
            present = set(np.unique(np.asarray(mask)).tolist()) - {0}
            assert present == {i["id"] for i in record["instances"] if i["plane"] == 0}
            assert text.splitlines() == [
                t for _, t in sorted({(i["concept"], i["text"]) for i in record["instances"]})
            ]
            found += 1
    assert found == expected.samples
    said = f"{result.stdout}\n{result.stderr}".replace(str(tmp_path), "").splitlines()
    assert not {line: what for line in (*said, *names(out / slug)) if (what := told(line, slug))}
