"""Nothing that names a person, a time or a place leaves a study: not in shards, tables, rejects, messages or logs.

A DICOM study with a marker in every element that holds text is built, inspected and verified, as it is and after
failures of every kind; then every byte of every file and of everything printed is searched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import pyarrow.parquet as pq
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset

from medshards.cli import cli
from medshards.curate.phantoms import write_phantom
from tests.curate.formats.dicom.test_dicom_privacy import (
    FREE_TEXT,
    elements,
    one_per_tag,
    plant,
    write_implicit,
)

MARKER = b"PLANTEDIDENTITY"
NAMES = ("PLANTEDIDENTITY Doe", "PLANTEDIDENTITY 20240102 study", "PLANTEDIDENTITY series")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The DICOM files of the phantom."""
    root = tmp_path_factory.mktemp("phantom")
    write_phantom("umd_petct", root)
    return sorted(p for p in (root / "L7 DICOM").rglob("*") if p.is_file())


def planted(study: list[Path], raw: Path, edit: Callable[[Dataset], object], suffix: str = "") -> Path:
    """The study below raw/umd_petct, each file edited, in folders that name a person; returns `raw`."""
    for path in study:
        ds = pydicom.dcmread(path)
        edit(ds)
        folder = raw.joinpath("umd_petct", *NAMES[:2], f"{NAMES[2]} {path.parent.name}")
        folder.mkdir(parents=True, exist_ok=True)
        write_implicit(ds, folder / f"{MARKER.decode()}{path.name}{suffix}")
    return raw


def mark_free_text(ds: Dataset) -> None:
    """A marker in every element of free text, private ones included; what decides the picture stays."""
    ds.add_new(0x00091010, "LO", "PLANTED CREATOR")
    ds.add_new(0x00091011, "LT", "")
    for keyword in ("InstitutionName", "InstitutionAddress", "StudyDescription", "SeriesDescription", "PatientComments",
                    "OtherPatientIDs", "ReferringPhysicianName", "OperatorsName", "AccessionNumber", "StationName",
                    "ProtocolName", "ImageComments", "DeviceSerialNumber"):  # fmt: skip
        setattr(ds, keyword, "")
    for holder, tag in list(elements(ds)):
        if holder[tag].VR in FREE_TEXT and holder[tag].keyword != "SegmentLabel":
            holder[tag].value = MARKER.decode()


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage()


def run(raw: Path, out: Path) -> bytes:
    """Everything that build, inspect and verify print or log."""
    records, root = Records(), logging.getLogger()
    root.addHandler(records)
    said = ""
    try:
        for command in (
            ["build", "umd_petct", "--raw", str(raw), "--out", str(out)],
            ["inspect", "umd_petct", "--raw", str(raw), "--json"],
            ["inspect", "--dicom", str(raw)],
            ["inspect", "--dicom", str(raw), "--json"],
            ["verify", str(out)],
        ):
            result = CliRunner().invoke(cli, command)
            assert result.exception is None or isinstance(result.exception, SystemExit), command
            said += result.output
    finally:
        root.removeHandler(records)
    return (said + records.text).encode()


def everything(out: Path) -> Iterator[tuple[str, bytes]]:
    """Every file with its name, as bytes and, where it is compressed, as what it holds."""
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += str(pq.read_table(path).to_pylist()).encode()
        yield str(path.relative_to(out)), content


def search(raw: Path, out: Path, *secrets: bytes) -> int:
    """Search all that comes of a study for the marker and `secrets`; returns the number of samples built."""
    said = run(raw, out).replace(str(raw).encode(), b"")  # the user's own argument may be repeated
    files = dict(everything(out))
    for secret in (MARKER, *secrets):
        assert secret.lower() not in said.lower(), secret
        for name, content in files.items():
            assert secret.lower() not in name.encode().lower() + content.lower(), (secret, name)
    index = out / "umd_petct" / "index.parquet"
    return pq.read_table(index).num_rows if index.exists() else 0


def test_a_study_full_of_names(study: list[Path], tmp_path: Path) -> None:
    raw = planted(study, tmp_path / "raw", mark_free_text)
    secrets = (b"Doe", b"P08", b"19500101", b"20240102", b"1.2.826.0.1.3680043", b"PHANTOM")
    original = pydicom.dcmread(next(p for p in raw.rglob("*") if p.is_file()))
    assert MARKER.decode() in str(original.PatientName)
    assert search(raw, tmp_path / "out", *secrets) == 36


def _name_segments(ds: Dataset) -> None:
    for segment in ds.get("SegmentSequence", []):
        segment.SegmentLabel = MARKER.decode()


FAILURES: dict[str, Callable[[Dataset], object]] = {
    "no weight": lambda ds: ds.__delattr__("PatientWeight"),
    "another frame": lambda ds: setattr(
        ds, "FrameOfReferenceUID", f"1.2.3.{len(ds.Modality)}{ord(ds.Modality[0])}"
    ),
    "no pixels": lambda ds: ds.__delattr__("PixelData"),
    "one position": lambda ds: setattr(ds, "ImagePositionPatient", [0, 0, 0]) if "Rows" in ds else None,
    "unknown segment": _name_segments,
    "no study": lambda ds: ds.__delattr__("StudyInstanceUID"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_failures(study: list[Path], tmp_path: Path, failure: str) -> None:
    def edit(ds: Dataset) -> None:
        mark_free_text(ds)
        FAILURES[failure](ds)

    assert search(planted(study, tmp_path / "raw", edit), tmp_path / "out") == 0


@pytest.mark.parametrize("gone", ["nothing", "SUV.nii.gz", "CTres.nii.gz", "labels.nii.gz", "labels.json"])
def test_folders_and_headers_of_nifti(tmp_path: Path, gone: str) -> None:
    write_phantom("umd_petct", tmp_path / "phantom")
    (folder,) = (tmp_path / "phantom").glob("L3 autoPET/*/*")
    target = (tmp_path / "raw" / "umd_petct").joinpath(*NAMES[:2])
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name.endswith(".nii.gz"):
            image = nib.Nifti1Image.from_filename(path)
            header: Any = image.header  # a structured array, of which the stubs know nothing
            for field in ("descrip", "aux_file", "intent_name", "db_name"):
                header[field] = MARKER
            nib.save(image, target / path.name)
        else:
            (target / path.name).write_bytes(path.read_bytes())
    (target / gone).unlink(missing_ok=True)
    if gone == "CTres.nii.gz":
        (target / "CT.nii.gz").unlink()
    assert search(tmp_path / "raw", tmp_path / "out", b"20240102") == (36 if gone == "nothing" else 0)


def test_damaged_files(study: list[Path], tmp_path: Path) -> None:
    raw = planted(study, tmp_path / "raw", mark_free_text)
    for number, path in enumerate(sorted(p for p in raw.rglob("*") if p.is_file())):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * (1 + number % 9) // 10])
    search(raw, tmp_path / "out")


def test_a_marker_in_each_element_by_itself(study: list[Path], tmp_path: Path) -> None:
    """Also in codes, UIDs, dates, times and numbers, where it is malformed; in all files of the study at once."""
    few = [p for p in study if p.parent.name == "3-SEG"] + [
        p for p in study if p.name in ("006", "008", "010")
    ]
    tags = {tag for path in few for _, tag in one_per_tag(pydicom.dcmread(path))}
    assert len(tags) > 40
    for number, tag in enumerate(sorted(tags)):

        def edit(ds: Dataset, tag: pydicom.tag.BaseTag = tag) -> None:
            for holder, found in one_per_tag(ds):
                if found == tag:
                    plant(holder, found)

        raw = planted(few, tmp_path / f"raw{number}", edit)
        search(raw, tmp_path / f"out{number}")


def test_the_key_stays_out_of_the_corpus(
    study: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "MEDSHARDS_KEY_FILE", str(tmp_path / "not used")
    )  # restored after --key-file has set it
    raw, out = planted(study, tmp_path / "raw", mark_free_text), tmp_path / "out"
    build = ["build", "umd_petct", "--raw", str(raw), "--out", str(out), "--key-file"]
    assert CliRunner().invoke(cli, [*build, str(out / "key")]).exit_code == 2
    assert CliRunner().invoke(cli, [*build, str(tmp_path / "key")]).exit_code == 0
    key = (tmp_path / "key").read_bytes().strip()
    assert all(key not in content for _, content in everything(out))
    groups = set(pq.read_table(out / "umd_petct" / "index.parquet")["group"].to_pylist())
    assert (
        CliRunner()
        .invoke(cli, [*build[:5], str(tmp_path / "other"), "--key-file", str(tmp_path / "2nd")])
        .exit_code
        == 0
    )
    assert groups.isdisjoint(
        pq.read_table(tmp_path / "other" / "umd_petct" / "index.parquet")["group"].to_pylist()
    )
