"""Damaged files: every reader gives a result or a Reject, within seconds, without taking the memory a header claims.

$MEDSHARDS_FUZZ is the number of damages to each reader (default 50; `make prove` makes 500). A worker process
reads, so that a crash of a library is seen; mutation k of a file is always the same.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medshards.curate import phantoms
from tests import conftest
from tests.curate.fuzz.mutate import mutate
from tests.curate.fuzz.worker import READERS

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("MEDSHARDS_SAMPLES", conftest.SAMPLES))
COUNT = int(os.environ.get("MEDSHARDS_FUZZ", "50"))
SECONDS, MEBIBYTES, SILENCE = 5, 2048, 120
LARGEST = 1 << 20  # bytes; larger samples only cost time
EACH = 6  # files a reader is tried on

# what each reader is tried on: patterns in the folder of real samples, then phantoms and patterns in these
FILES: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
    "picture": (
        ["**/*.png", "**/*.jpg", "**/*.tif", "**/*.gif", "**/*.bmp", "**/*.ppm*"],
        [
            ("kvasir_seg", "*.jpg"),
            ("drive", "*.gif"),
            ("drive", "*.tif"),
            ("stare", "*.gz"),
            ("busi", "*.png"),
            ("ph2", "*.bmp"),
        ],
    ),
    "tiff stack": (["**/*.tif"], [("mucic_colon", "*.tif"), ("drive", "*.tif")]),
    "npy": (["**/*.npy"], [("pannuke", "*.npy")]),
    "npz": ([], [("btcv", "*.npz")]),
    "hdf5": (
        ["**/*.h5", "**/*.hdf5"],
        [("mucic_hl60", "*.h5"), ("nucmm_z", "*.h5"), ("mucic_colon", "*.h5")],
    ),
    "metaimage": (["**/*.mha"], [("acouslic", "*.mha"), ("ps_fh_aop_2023", "*.mha")]),
    "nifti": (["**/*.nii.gz", "**/*.nii"], [("segthy", "*.nii*"), ("btcv", "*.nii*"), ("urocell", "*.nii*")]),
    "dicom": (
        [
            "pet_dicom/**/PT/*.dcm",
            "pet_dicom/**/image/*.dcm",
            "pet_dicom/*enhanced*/*.dcm",
            "pet_dicom/**/multiframe/*.dcm",
        ],
        [("umd_petct", "*.dcm")],
    ),
    "dicom seg": (["pet_dicom/highdicom_seg/*.dcm", "pet_dicom/dcmqi/**/*.dcm"], []),
    "rtstruct": (["pet_dicom/**/RS/*.dcm", "pet_dicom/**/mask/*.dcm"], []),
    "coco": (["arcade/**/*.json"], [("arcade", "*.json")]),
    "labelme": (["btxrd/**/*.json"], [("btxrd", "*.json"), ("pcmmd", "*.json")]),
    "aperio": (["**/*.xml"], [("monuseg", "*.xml")]),
    "xlsx": (["**/*.xlsx"], [("btxrd", "*.xlsx")]),
    "archive": (
        [],
        [
            ("kvasir_seg", "*.zip"),
            ("kvasir_seg", "*.tar"),
            ("kvasir_seg", "*.tar.gz"),
            ("kvasir_seg", "*.tar.bz2"),
        ],
    ),
}


class Worker:
    """A process that reads files, started again when it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, reader: str, path: Path) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"reader": reader, "path": str(path)}) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], SILENCE)[0]:
            self.close()
            return {"outcome": "crashed", "message": f"no answer in {SILENCE} s"}
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._process = None
            return {"outcome": "crashed", "message": f"the process died with status {status}"}
        answer: dict[str, Any] = json.loads(line)
        if answer["mebibytes"] > MEBIBYTES:
            self.close()  # the peak stays; the next file shall be measured from the start
        return answer

    def _start(self) -> subprocess.Popen[str]:
        quiet = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
        grid = {"FUZZ_GRID": str(SAMPLES / "pet_dicom/oncoray_suv_dro/DRO/DRO_0_0/PT")}
        command = [sys.executable, "-m", "tests.curate.fuzz.worker"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | quiet | grid,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def originals(reader: str, folder: Path) -> list[Path]:
    """The smallest undamaged file for each pattern, real ones first, and then the next."""
    real, fake = FILES[reader]
    kinds = [[*SAMPLES.glob(pattern)] for pattern in real] if SAMPLES.is_dir() else []
    for slug, pattern in fake:
        phantoms.write_phantom(slug, folder / slug)
        if reader == "npz":
            values = np.arange(4 * 20 * 30, dtype=np.uint8).reshape(4, 20, 30)
            for save, name in ((np.savez, "plain"), (np.savez_compressed, "small")):
                save(folder / slug / f"{name}.npz", imgs=values, gts=values > 100, spacing=np.ones(3))
        if reader == "archive":
            for form in ("zip", "tar", "gztar", "bztar"):
                shutil.make_archive(str(folder / slug / slug), form, folder / slug / "Kvasir-SEG")
        kinds.append([*(folder / slug).rglob(pattern)])
    kinds = [
        sorted(
            (f for f in kind if f.is_file() and 0 < f.stat().st_size <= LARGEST),
            key=lambda f: (f.stat().st_size, f.name),
        )
        for kind in kinds
    ]
    chosen = [kind[k] for k in range(EACH) for kind in kinds if k < len(kind)]
    return list(dict.fromkeys(chosen))[: 2 * max(EACH, len(kinds))]


def complaint(answer: dict[str, Any]) -> str:
    """What is wrong with a reading, "" when nothing is."""
    if answer["outcome"] == "crashed":
        return str(answer["message"])
    if answer["seconds"] > SECONDS:
        return f"took {answer['seconds']:.1f} s of the processor"
    if answer["mebibytes"] > MEBIBYTES:
        return f"took {answer['mebibytes']} MiB"
    return ""


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(reader: str, worker: Worker, tmp_path: Path) -> None:
    files = [
        f for f in originals(reader, tmp_path / "phantoms") if worker.read(reader, f)["outcome"] == "read"
    ]
    if not files:
        pytest.skip(f"neither samples in {SAMPLES} nor phantoms for {reader}")
    found: dict[str, int] = {"read": 0, "refused": 0}
    wrong: list[str] = []
    for number in range(COUNT):
        original = files[number % len(files)]
        damaged = tmp_path / f"{number}-{original.name}"
        damaged.write_bytes(mutate(original.read_bytes(), number))
        answer = worker.read(reader, damaged)
        if what := complaint(answer):
            wrong.append(f"{original} damaged by mutate(…, {number}): {what}")
        else:
            found[answer["outcome"]] += 1
        damaged.unlink()
        shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
    assert not wrong, f"{len(wrong)} of {COUNT}\n" + "\n".join(wrong[:5])
    assert found["read"] + found["refused"] == COUNT


@pytest.mark.parametrize("slug", phantoms.slugs())
def test_a_download_with_a_damaged_file_is_no_crash(slug: str, worker: Worker, tmp_path: Path) -> None:
    phantoms.write_phantom(slug, tmp_path / slug)
    files = sorted(f for f in (tmp_path / slug).rglob("*") if f.is_file() and f.stat().st_size)
    wrong = []
    for number in range(max(2, COUNT // 25)):
        file = files[(7 * number + 3) % len(files)]
        whole = file.read_bytes()
        file.write_bytes(mutate(whole, number))
        if what := complaint(worker.read(slug, tmp_path / slug)):
            wrong.append(f"{file} damaged by mutate(…, {number}): {what}")
        file.write_bytes(whole)
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("dies", "the process died with status"),
        ("raises", "KeyError"),
        ("takes memory", "MiB"),
        ("takes all memory", "MemoryError"),
        ("swallows a failed allocation", "bad_alloc"),
    ],
)
def test_every_fault_is_noticed(fault: str, words: str, worker: Worker, tmp_path: Path) -> None:
    assert words in complaint(worker.read(fault, tmp_path))
    assert complaint(worker.read("nothing wrong", tmp_path)) == "", "the next file is read again"


def test_time_and_memory_count() -> None:
    fine = {"outcome": "refused", "message": "", "seconds": 4.9, "mebibytes": 2000}
    assert complaint(fine) == ""
    assert "processor" in complaint(fine | {"seconds": 5.1})
    assert "MiB" in complaint(fine | {"mebibytes": 2100})
