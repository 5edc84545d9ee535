"""`medshards evaluate` and `medshards overview` as a user runs them."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.cli.overview import overview
from medshards.evaluate.segmenter import ModelSegmenter
from medshards.shards.build.index import read_rows
from medshards.shards.build.manifest import read_corpus
from tests.train import processes


def call(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


def test_report_as_json_says_how_each_figure_was_made(corpus: Path, run: Path) -> None:
    result = call("--data", corpus, "--checkpoint", run, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    rows = {(r["dataset"], r["split"], r["aggregate"], r["min_score"]) for r in report["datasets"]}
    splits = {"busi": "val", "drive": "val", "ph2": "test", "ravir": "val"}
    assert rows == {(slug, split, "top1", score) for slug, split in splits.items() for score in (0.1, 0.0)}
    facts = read_corpus(corpus)
    assert facts is not None
    assert report["made"]["corpus_digest"] == facts["digest"]
    assert len(report["made"]["checkpoint_sha256"]) == 64
    assert report["made"]["checkpoint_step"] == 1
    assert all(0 <= r["dice"] <= 1 for r in report["datasets"])
    assert report["unreadable"] == []


def test_all_aggregates_and_a_markdown_file(corpus: Path, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "tables" / "report.md"
    options = [x for name in ("top1", "union", "semantic") for x in ("--aggregate", name)]
    chosen = ("--datasets", "drive,ravir", "--split", "train", "--min-score", "0.25", "--out", target)
    result = call("--data", corpus, "--checkpoint", run, *options, *chosen)
    assert result.exit_code == 0, result.output
    page = target.read_text()
    for rule in ("top1, score >= 0.25", "union, score >= 0.5", "semantic"):
        own = page.split(f"## Mask of a class: {rule}\n")[1].split("\n## ")[0]
        assert "| drive (train) | 5 | 5 |" in own
        assert "| mean of 2 datasets | " in own
        for what in ("concept", "modality", "size"):
            assert f"### By {what}\n" in own
    assert "- instances of drive: merged" in page
    assert "busi" not in page
    assert "- checkpoint sha256: " in page
    assert "retinal" not in result.stderr
    assert "drive" in result.stdout


def test_a_csv_file_has_a_line_for_each_dataset_and_rule(corpus: Path, run: Path, tmp_path: Path) -> None:
    report, table = tmp_path / "report.json", tmp_path / "report.csv"
    for out in (report, table):
        assert call("--data", corpus, "--checkpoint", run, "--out", out).exit_code == 0
    with table.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    scores = json.loads(report.read_text())["datasets"]
    assert len(lines) == len(scores) == 8
    for own in scores:
        mask = f"{own['aggregate']}, score >= {own['min_score']:g}"
        (line,) = [line for line in lines if (line["dataset"], line["mask"]) == (own["dataset"], mask)]
        assert line["split"] == own["split"]
        for name in (
            "images",
            "pairs",
            "dice",
            "iou",
            "hd95",
            "nsd",
            "dice_of_classes",
            "absent",
            "absent_empty",
        ):
            assert (float(line[name]) if line[name] else None) == own[name]
        ends = [float(line[end]) for end in ("dice_low", "dice_high") if line[end]]
        assert (ends or None) == own["dice_ci95"]
        assert int(line["nothing_predicted"]) == own["empty"].get("prediction", 0)


@pytest.mark.parametrize(
    ("options", "forms"),
    [
        ((), ".json, .html, .md, .csv"),
        (("--paper",), ".json, .csv, .md, .tex, .html"),
        (("--paired",), ".json, .html, .md"),
    ],
)
def test_a_report_of_another_form_is_refused_before_anything_is_measured(
    options: tuple[str, ...], forms: str, tmp_path: Path
) -> None:
    out = tmp_path / "report.pdf"
    result = call("--data", tmp_path / "none", "--checkpoint", "none", *options, "--out", out)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.endswith(f"{out}: expected a name ending in {forms}")
    assert not out.exists()


def test_the_same_run_gives_the_same_report(corpus: Path, run: Path, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        assert call("--data", corpus, "--checkpoint", run, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_concepts_that_no_image_shows_can_be_asked(corpus: Path, run: Path) -> None:
    options = ("--data", corpus, "--checkpoint", run, "--datasets", "busi,drive", "--json")
    report = json.loads(call(*options, "--absent", "polyp,breast_lesion").stdout)
    assert report["made"]["also_asked"] == "busi: polyp, drive: breast_lesion, polyp"
    assert {r["absent"] / r["images"] for r in report["datasets"] if r["dataset"] == "drive"} == {2}
    wrong = call(*options, "--absent", "polip")
    assert wrong.exit_code == 1
    assert "no concept has the id 'polip'" in wrong.stderr


def test_a_damaged_sample_is_named_and_the_rest_is_measured(corpus: Path, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    row = next(r for r in read_rows(copy / "ph2" / "index.parquet") if r["split"] == "test")
    shard = copy / "ph2" / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["image_offset"] + row["image_size"] // 2] ^= 0xFF
    shard.write_bytes(data)
    result = call("--data", copy, "--checkpoint", run, "--datasets", "ph2", "--json")
    assert result.exit_code == 1
    assert f"not read: ph2/{row['key']}: " in result.stderr
    report = json.loads(result.stdout)
    assert [(u["dataset"], u["sample"]) for u in report["unreadable"]] == [("ph2", row["key"])]
    assert {r["images"] for r in report["datasets"]} == {3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--datasets", "nonesuch"], "no dataset nonesuch"),
        (["--datasets", "ravir", "--split", "test"], "nothing to evaluate"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    corpus: Path, run: Path, arguments: list[str], words: str
) -> None:
    result = call("--data", corpus, "--checkpoint", run, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_no_checkpoint_and_no_corpus(corpus: Path, run: Path, tmp_path: Path) -> None:
    missing = call("--data", corpus, "--checkpoint", tmp_path)
    assert missing.exit_code == 1
    assert "no checkpoint" in missing.stderr
    empty = call("--data", tmp_path, "--checkpoint", run)
    assert empty.exit_code == 1
    assert "no corpus" in empty.stderr


def test_overview_with_predictions(corpus: Path, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    options = ["--out", str(target), "--checkpoint", str(run), "--per-dataset", "1", "--datasets", "ravir"]
    result = CliRunner().invoke(overview, [str(corpus), *options])
    assert result.exit_code == 0, result.output
    assert target.read_bytes()[:4] == b"\x89PNG"
    wrong = CliRunner().invoke(overview, [str(corpus), "--out", str(target), "--datasets", "nonesuch"])
    assert wrong.exit_code == 1
    assert "no dataset nonesuch" in wrong.stderr


def test_the_terminal_has_eighty_columns(corpus: Path, run: Path) -> None:
    result = call("--data", corpus, "--checkpoint", run)
    assert result.exit_code == 0, result.output
    table = result.stdout.split("Dice, IoU and NSD in")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table


def test_killed_half_way_it_goes_on_and_ends_in_the_same_bytes(
    corpus: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (
        "--data",
        corpus,
        "--checkpoint",
        run,
        "--aggregate",
        "top1",
        "--aggregate",
        "union",
        "--batch",
        "2",
    )
    assert call(*options, "--out", tmp_path / "whole.json").exit_code == 0
    target = tmp_path / "halves.json"
    asked: list[str] = []
    real = ModelSegmenter.segment

    def segment(self: ModelSegmenter, queries: list, *rest: object) -> object:
        asked.extend(query.name for query in queries)
        if len(asked) == 9:
            raise KeyboardInterrupt
        return real(self, queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelSegmenter, "segment", segment)
    assert call(*options, "--out", target).exit_code == 1  # aborted
    assert not target.exists()
    (journal,) = tmp_path.glob(".halves.json.journal-*/rank-0.jsonl")
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines, lines[-1][:40]]))  # a line that the kill cut short
    first = set(asked[:-1])
    asked.clear()
    asked += ["-"] * 100
    assert call(*options, "--out", target).exit_code == 0
    again = set(asked[100:])
    assert len(first - again) >= 6, "what was measured is not asked again"
    assert target.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not list(tmp_path.glob(".halves*"))


def test_two_ranks_write_the_report_of_one(corpus: Path, run: Path, tmp_path: Path) -> None:
    options = ["--data", corpus, "--checkpoint", run, "--device", "cpu", "--datasets", "busi,ravir"]
    options += ["--threshold", "auto"]
    assert call(*options, "--out", tmp_path / "one.json").exit_code == 0
    assert processes.run(2, _evaluate, [*map(str, options), "--out", str(tmp_path / "two.json")]) == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{kind}" for name in ("one", "two") for kind in ("json", "thresholds.json")
    ]
    for kind in ("json", "thresholds.json"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_table_3_of_a_run_measures_the_papers_sets_alone(corpus: Path, tmp_path: Path) -> None:
    shown = call("--data", corpus, "--checkpoint", "everything", "--paper", "--out", tmp_path / "t3.json")
    assert shown.exit_code == 0, shown.output
    assert "busi" not in shown.output
    table = json.loads((tmp_path / "t3.json").read_text())[0]
    measured = {row["dataset"] for row in table["rows"] if row["missing"] is None and row["dataset"]}
    assert measured == {"drive", "ph2"}  # of the corpus; ravir and busi are in no row of the paper
    refused = call("--data", corpus, "--checkpoint", "everything", "--paper", "--datasets", "ravir")
    assert refused.exit_code == 0
    assert "DRIVE: not in the corpus, or left out by --datasets" in refused.output


def _evaluate(options: list[str]) -> None:
    evaluate.main(options, standalone_mode=False)


def test_baselines_tell_what_a_figure_is_worth(corpus: Path) -> None:
    figures = {}
    for kind in ("empty", "everything"):
        result = call(
            "--data", corpus, "--checkpoint", kind, "--datasets", "busi", "--split", "train", "--json"
        )
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert report["made"]["baseline"] == kind
        figures[kind] = report["datasets"][0]
    assert figures["empty"]["dice"] == figures["empty"]["nsd"] == 0
    assert figures["empty"]["hd95"] is None
    assert figures["empty"]["empty"] == {"prediction": figures["empty"]["pairs"]}
    assert figures["empty"]["absent_empty"] == figures["empty"]["absent"] > 0
    assert 0 < figures["everything"]["dice"] < 0.9
    assert figures["everything"]["absent_empty"] == 0
    assert figures["everything"]["detection"]["IL_FPR"] == 1
