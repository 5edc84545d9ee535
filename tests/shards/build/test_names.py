"""No name in a corpus tells of a patient, not where the download is damaged either; see `names`, and `test_build`."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.common.console import SHOWN
from medshards.curate import phantoms
from medshards.curate.pseudonyms import VARIABLE
from medshards.curate.source import get_source, slugs
from tests.shards.build.names import names, told


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("055-1/055_M_GA38_BW3245_PA78_DG13_PF0_D1_S09_6", {"age", "sex", "weight", "diagnosis"}),
        ("101_F_GA30_BW1100_PA44_DG111_DG20_PF0_D1_S1_3", {"age", "sex", "weight", "diagnosis"}),
        ("plasma-P_20221017_161510_crop0", {"date"}),
        ("detection/train/images/1692243677854.jpg", {"time"}),
        ("065Y_male", {"age", "sex"}),
        ("CHNCXR_0001_1", {"diagnosis"}),
        ("Train/COVID-19/images/covid_1.png", {"diagnosis"}),
        ("scan 2024-01-02, 81 kg", {"date", "weight"}),
        ("benign-001", {"diagnosis"}),
        ("IMG000001", set()),
        ("a2024010212345678/0123456789abcdef.png", set()),
    ],
)
def test_patterns_find_what_names_tell(name: str, what: set[str]) -> None:
    assert told(name, "drive") == what


class Lines(logging.Handler):
    """Every line that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def build(slug: str, raw: Path, out: Path) -> list[str]:
    """Build a dataset; the lines that it prints or logs, without the paths that the user gave."""
    log, root = Lines(), logging.getLogger()
    root.addHandler(log)
    try:
        result = CliRunner().invoke(cli, ["build", slug, "--raw", str(raw), "--out", str(out)])
    finally:
        root.removeHandler(log)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return [
        line.replace(str(raw), "").replace(str(out), "") for line in (*result.output.splitlines(), *log.lines)
    ]


PRIVATE = [slug for slug in slugs() if get_source(slug).private_names]


@pytest.mark.parametrize("slug", PRIVATE)
def test_no_line_about_damage_tells_of_a_patient(slug: str, tmp_path: Path) -> None:
    """Files cut short, files that lack their partner, and files beside them under other names."""
    phantoms.write_phantom(slug, tmp_path / "raw" / slug)
    files = sorted(p for p in (tmp_path / "raw").rglob("*") if p.is_file())
    published = {path.stem for path in files if re.search(r"\d{2}", path.stem)}
    for number, path in enumerate(files):
        if number % 3 == 0:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif number % 7 == 1:
            path.rename(path.with_name(f"065Y_M_{path.name}"))
    lines = build(slug, tmp_path / "raw", tmp_path / "out")
    if (tmp_path / "out" / slug).exists():
        lines += names(tmp_path / "out" / slug)
    assert any("reject" in line or "unreadable" in line for line in lines)
    for line in lines:
        assert not told(line, slug), line
        assert not any(name in line for name in published if not name.startswith(("0", "dataset"))), line


def test_a_private_map_tells_what_the_names_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSHARDS_KEY_FILE", str(tmp_path / "private" / "patients.key"))
    phantoms.write_phantom("coph100", tmp_path / "raw" / "coph100")
    inspect = ["inspect", "coph100", "--raw", str(tmp_path / "raw")]
    assert CliRunner().invoke(cli, inspect).exit_code == 0
    assert not (tmp_path / "private").exists()
    assert CliRunner().invoke(cli, [*inspect, "--name-map"]).exit_code == 0
    lines = (tmp_path / "private" / "coph100.names.tsv").read_text().splitlines()
    assert len(lines) == sum(p.is_file() for p in (tmp_path / "raw").rglob("*"))
    assert CliRunner().invoke(cli, ["inspect", "--raw", str(tmp_path / "raw"), "--name-map"]).exit_code == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_inspect_writes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    phantoms.write_phantom("coph100", tmp_path / "raw/coph100")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home/patients.key"))
    before = sorted(tmp_path.rglob("*"))
    words = ["inspect", "coph100", "--raw", str(tmp_path / "raw"), "--workers", workers]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert sorted(tmp_path.rglob("*")) == before
    assert os.environ[VARIABLE] == str(tmp_path / "home/patients.key")


def test_inspect_caps_a_long_list(tmp_path: Path) -> None:
    phantoms.write_phantom("kvasir_seg", tmp_path / "raw/kvasir_seg")
    image = next((tmp_path / "raw").rglob("images/*.jpg"))
    for number in range(SHOWN + 7):
        shutil.copy(image, image.with_name(f"{number:03d}_without_mask.jpg"))
    words = ["inspect", "kvasir_seg", "--raw", str(tmp_path / "raw")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    assert done.stderr.count("would be rejected") == SHOWN
    left = len(json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)["rejects"]) - SHOWN
    assert f"{left} more; --json names all" in done.stderr
