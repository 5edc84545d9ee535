"""Reports read again and set side by side; Table 3 with the printed figures; the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.report.page import html
from medshards.evaluate.report.rows import Measured, Row
from medshards.evaluate.report.saved import ReportError, read_report
from medshards.evaluate.report.table3 import printed
from medshards.evaluate.report.text import Report
from medshards.train.model.answers import Rule

TOP1 = Rule("top1", 0.1)
SPLITS = {"drive": "val", "ph2": "test", "busi": "val", "stare": "val"}


def saved(path: Path, dice: float, text: str = "x") -> Path:
    """Ten samples of each dataset by ten patients; the Dice of sample k is `dice` + k / 100."""
    samples = [
        Measured(
            slug,
            k,
            f"k{k}",
            f"p{k}",
            (Row(str(TOP1), "x", text, 50, 1000, "none", True, 0.9, dice + k / 100, 0.5),),
        )
        for slug in SPLITS
        for k in range(10)
    ]
    report = Report(
        {"corpus_digest": "abc"}, {s: (split, "native") for s, split in SPLITS.items()}, [TOP1], samples
    )
    path.write_text(json.dumps(report.saved()))
    return path


def test_a_report_read_again_is_the_same(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", 0.5)
    assert json.loads(json.dumps(read_report(path).saved())) == json.loads(path.read_text())
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ReportError, match=r"b\.json is no report"):
        read_report(tmp_path / "b.json")


def test_two_models_with_their_difference(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "first.json", 0.5), saved(tmp_path / "second.json", 0.6)
    result = CliRunner().invoke(evaluate, ["--compare", str(first), str(second), "--json"])
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.stdout)
    for row in table["rows"]:
        assert row["dice"] == pytest.approx([54.5, 64.5])
        assert row["delta"] == pytest.approx(10)
    # every sample gains the same, so drawing patients alike for both models leaves no doubt
    assert table["rows"][0]["delta_ci95"] == pytest.approx([10, 10])
    shown = CliRunner().invoke(evaluate, ["--compare", str(first), str(second)])
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_mean_is_over_the_datasets_that_both_models_have(tmp_path: Path) -> None:
    """One report lacks a dataset that the other does best on: no gain of the other."""
    first, second = saved(tmp_path / "first.json", 0.5), saved(tmp_path / "second.json", 0.6)
    content = json.loads(first.read_text())
    content["datasets"] = [own for own in content["datasets"] if own["dataset"] != "ph2"]
    content["samples"] = [own for own in content["samples"] if own["dataset"] != "ph2"]
    first.write_text(json.dumps(content))
    content = json.loads(second.read_text())
    for own in content["samples"]:
        for row in own["rows"]:
            row["dice"] = 0.9 if own["dataset"] == "ph2" else row["dice"]
    second.write_text(json.dumps(content))
    result = CliRunner().invoke(evaluate, ["--compare", str(first), str(second), "--json"])
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.stdout)
    assert table["rows"][-1]["dataset"] == "mean of 3 datasets"
    assert table["rows"][-1]["dice"] == pytest.approx([54.5, 64.5])
    assert table["rows"][-1]["delta"] == pytest.approx(10)


def test_table_3_has_the_papers_rows_and_says_what_is_missing(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "first.json", 0.5), saved(tmp_path / "second.json", 0.6)
    for form in ("json", "csv", "md", "tex", "html"):
        out = tmp_path / f"table.{form}"
        options = ["--compare", str(first), str(second), "--paper", "--out", str(out)]
        result = CliRunner().invoke(evaluate, options)
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines()[:60])) <= 80
        assert "PAPILA" in out.read_text()
    (table,) = json.loads((tmp_path / "table.json").read_text())
    rows = {row["name"]: row for row in table["rows"]}
    assert len(rows) == 19
    assert [r for r in rows if "Avg" in r] == ["Avg. (Internal)", "Avg. (External)"]
    assert rows["DRIVE"]["paper_dice"] == [24.8, 55.8]
    assert rows["DRIVE"]["dice"] == pytest.approx([54.5, 64.5])
    assert rows["TN3K"]["missing"] == "not in the corpus, or left out by --datasets"
    assert rows["STARE"]["missing"] == "measured on val; the paper has test"
    assert rows["Avg. (Internal)"]["missing"] == "9 sets missing"
    assert r"24.8 & 14.2 & 55.8 & 39.2" in (tmp_path / "table.tex").read_text()


def test_printed_averages_are_those_of_the_printed_rows() -> None:
    for role in ("internal", "external"):
        own = [row for row in printed() if row.role == role]
        (average,) = (row for row in own if not row.slug)
        for k in range(2):
            values = [row.dice[k] for row in own if row.slug]
            assert sum(values) / len(values) == pytest.approx(average.dice[k], abs=0.06)


def test_what_comes_from_data_is_escaped(tmp_path: Path) -> None:
    report = read_report(saved(tmp_path / "a.json", 0.5))
    report.made["checkpoint"] = "<script>alert(1)</script>"
    report.samples = [*report.samples, Measured("busi", 99, "<b>", "", problem='"><img src=x>')]
    page = html(report)
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_in_a_browser(corpus: Path, run: Path, tmp_path: Path) -> None:
    """With overlays and the listening report, in headless Chromium: it draws, and asks for nothing outside."""
    out = tmp_path / "report.html"
    options = [
        "--data",
        corpus,
        "--checkpoint",
        run,
        "--datasets",
        "busi,ravir",
        "--listen",
        "--start",
        run,
        "--out",
        out,
    ]
    result = CliRunner().invoke(evaluate, [str(o) for o in options])
    assert result.exit_code == 0, result.output
    page = out.read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    for words in (
        "Does it still listen?",
        "what cannot be there",
        "Best cases",
        "Worst cases",
        "By size",
        "before",
    ):
        assert words in page
    assert page.count("data:image/png;base64,") >= 2
    dom, shot = browsed(out, tmp_path)
    assert dom.count("<table>") >= 8
    assert dom.count("<rect") >= 4
    assert shot.stat().st_size > 20_000


def test_two_models_on_one_page(corpus: Path, run: Path, tmp_path: Path) -> None:
    """Bars beside each other, and pictures of the truth and of both answers, opened from what the reports name."""
    reports = []
    for what in (str(run), "everything"):
        reports.append(tmp_path / f"{Path(what).name}.json")
        options = ["--data", corpus, "--checkpoint", what, "--datasets", "busi,ravir", "--split", "train"]
        options += ["--distances", "none", "--out", reports[-1]]
        assert CliRunner().invoke(evaluate, [str(o) for o in options]).exit_code == 0
    out = tmp_path / "both.html"
    result = CliRunner().invoke(evaluate, ["--compare", *map(str, reports), "--out", str(out)])
    assert result.exit_code == 0, result.output
    page = out.read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    for words in (
        "Δ Dice",
        "By dataset",
        "By concept",
        "By size",
        "B gains most: truth, A, B",
        "grey: run, blue: everything",
    ):
        assert words in page
    moved = json.loads(reports[0].read_text())
    moved["made"]["corpus"] = str(tmp_path / "gone")
    reports[0].write_text(json.dumps(moved))
    result = CliRunner().invoke(evaluate, ["--compare", *map(str, reports), "--out", str(out)])
    assert result.exit_code == 0
    assert "the page has no pictures: what the reports were made from cannot be opened" in result.stderr
    assert "B gains most" not in out.read_text()
    dom, _ = browsed(out, tmp_path)
    assert dom.count('fill="#98a2b0"') >= 4


def browsed(page: Path, folder: Path) -> tuple[str, Path]:
    """The page's elements and a picture of it, from headless Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here (apt install chromium)")
    shot = folder / "page.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--window-size=1100,3000", f"--screenshot={shot}", "--dump-dom", f"file://{page}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, shot
