"""Scores, curves and averages of answers to perturbed prompts."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from medshards.evaluate.averages import (
    Group,
    by_patient,
    macro,
    macro_mean,
    pooled,
)
from medshards.evaluate.bootstrap import interval_of
from medshards.evaluate.prompts.answers.answerer import CopyPrompt, IgnorePrompt, Outcome
from medshards.evaluate.prompts.cli.prompts import prompts as command
from medshards.evaluate.prompts.families.catalog import choose
from medshards.evaluate.prompts.prompt import Prompt, make_prompts
from medshards.evaluate.prompts.results.curves import (
    area,
    corruption_error,
    first_below,
    prompt_lift,
    rates,
    summarise,
)
from medshards.evaluate.prompts.results.report import Results, read_rows
from medshards.evaluate.prompts.results.score import Row, score_scene
from medshards.evaluate.prompts.target import Part, Scene, Target

ORGANS = ("liver", "spleen", "left_kidney", "right_kidney")


@pytest.fixture(scope="module")
def prompts(scene: Scene) -> list[Prompt]:
    return [
        p for c in ORGANS for p in make_prompts(Target(scene, c, scene.classes[c]), choose("core"), "core")
    ]


def rows_of(scene: Scene, prompts: list[Prompt], answerer: Any) -> list[Row]:
    """As of two patients."""
    rows = list(score_scene(scene, "one", prompts, answerer))
    return rows + [replace(row, patient="two") for row in rows]


def test_copy_has_no_gain_and_a_perfect_score(scene: Scene, prompts: list[Prompt]) -> None:
    rows = rows_of(scene, prompts, CopyPrompt())
    results = Results.of(rows, {"model": "copy"}, 50)
    assert len(results.summaries) == 5  # mask families of the core set
    for summary in results.summaries:
        assert summary.perfect == 1
        for made in summary.curves.values():
            assert made.score[0] == 1
            assert all(g == 0 for g in made.gain)
            # the score falls as the severity says
            np.testing.assert_allclose(made.score, 1 - np.array(made.severity), atol=1e-4)
    lift = prompt_lift(rows)
    assert set(lift) == set(ORGANS)
    assert set(lift.values()) == {1.0}


def test_ignoring_the_prompt_has_no_lift_and_a_flat_curve(scene: Scene, prompts: list[Prompt]) -> None:
    rows = rows_of(scene, prompts, IgnorePrompt())
    assert {round(value, 12) for value in prompt_lift(rows).values()} == {0.0}
    summary = summarise(rows, "M1-shrink", 20)
    assert summary is not None
    for made in summary.curves.values():
        assert len(set(made.score)) == 1
        assert made.relative == pytest.approx(1) or made.score[0] == 0
        assert made.reach(0.9) is None


def test_the_averages_of_the_published_logs(samples: Path) -> None:
    path = samples.parents[1] / "design" / "prompt-robustness-reference.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    runs: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    with path.open() as stream:
        for line in csv.DictReader(stream):
            runs[line["model"], line["perturbation"], line["radius"]][line["organ"]] = line
    assert len(runs) == 58
    for run in runs.values():
        printed = {name: run.pop(name) for name in ("ALL_MACRO", "ALL_POOLED")}
        groups = [
            Group(
                int(line["n"]),
                float(line["dice_mean"]),
                float(line["dice_std_pop"]),
                float(line["dice_median"]),
                int(line["n_zero"]),
            )
            for line in run.values()
        ]
        for name, own in (("ALL_MACRO", macro(groups)), ("ALL_POOLED", pooled(groups))):
            assert own.n == int(printed[name]["n"])
            assert own.mean == pytest.approx(float(printed[name]["dice_mean"]), abs=1e-4)
            assert own.sd == pytest.approx(float(printed[name]["dice_std_pop"]), abs=1.5e-4)
        assert macro(groups).median == pytest.approx(float(printed["ALL_MACRO"]["dice_median"]), abs=1e-4)
        assert pooled(groups).zeros == int(printed["ALL_POOLED"]["n_zero"])


def test_patients_count_before_classes() -> None:
    values = [("liver", "a", 1.0), ("liver", "a", 0.0), ("liver", "b", 0.8), ("spleen", "a", 0.2)]
    classes = by_patient(values)
    assert classes == {"liver": {"a": 0.5, "b": 0.8}, "spleen": {"a": 0.2}}
    assert macro_mean(classes) == pytest.approx((0.65 + 0.2) / 2)


def test_area_and_reach_worked_out_by_hand() -> None:
    severity, score = (0.0, 0.1, 0.3), (1.0, 0.8, 0.2)
    assert area(severity, score) == pytest.approx((0.1 * 0.9 + 0.2 * 0.5) / 0.3)
    assert first_below(severity, score, 0.9) == pytest.approx(0.05)
    assert first_below(severity, score, 0.5) == pytest.approx(0.2)
    assert first_below(severity, score, 0.1) is None


def test_an_interval_covers_a_known_mean() -> None:
    values = {str(k): k / 10 for k in range(11)}
    interval = interval_of(list(values), lambda drawn: float(np.mean([values[p] for p in drawn])))
    assert interval is not None
    assert interval[0] < 0.5 < interval[1]
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * 0.3162 / np.sqrt(11), rel=0.15)
    assert interval_of(["a"], lambda drawn: 1.0) is None


class Moody:
    """Fails on boxes, refuses what is absent, gives a smaller mask else."""

    name = "moody"
    kinds = ("mask", "box", "text")

    def answer(self, scene: Scene, concept: str, prompts: list[Prompt]) -> list[Outcome]:
        made = []
        for prompt in prompts:
            kind = prompt.record["kind"]
            if kind == "box":
                made.append(Outcome("failed", reason="out of memory"))
            elif prompt.record["family"] == "T6-absent":
                made.append(Outcome("refused"))
            else:
                payload = prompt.payload()
                part = payload if isinstance(payload, Part) else scene.classes[concept]
                crop = part.crop.copy()
                crop[: len(crop) // 3] = False
                made.append(Outcome.of(Part(crop, part.start)))
        return made


def test_failures_refusals_and_empty_answers_stand_apart(scene: Scene, prompts: list[Prompt]) -> None:
    rows = rows_of(scene, prompts, Moody())
    found = rates(rows)
    assert found["B1-noise"]["failed"] == found["B1-noise"]["prompts"] == 2 * 3 * len(ORGANS)
    assert all(row.dice is None for row in rows if row.state == "failed")
    absent = found["T6-absent"]
    assert absent["to refuse"] == absent["rightly"] == absent["prompts"] - absent["unreachable"]
    assert found["M0-empty"]["empty"] == found["M0-empty"]["empty prompts"] == 2 * len(ORGANS)
    assert summarise(rows, "B1-noise") is None
    shrunk = summarise(rows, "M5-shift", 10)
    assert shrunk is not None
    assert shrunk.gain is not None
    assert shrunk.gain < 0  # it makes prompts worse
    copied = summarise(rows_of(scene, prompts, CopyPrompt()), "M5-shift", 10)
    assert copied is not None
    error = corruption_error([shrunk], [copied])
    assert error is not None
    assert error > 1
    assert corruption_error([copied], [copied]) == pytest.approx(1)


def test_stability_is_the_likeness_of_the_answers_to_replicates(scene: Scene) -> None:
    target = Target(scene, "spleen", scene.classes["spleen"])
    made = list(make_prompts(target, choose("core", ["M0-perfect", "M5-shift"]), "core", replicates=3))
    rows = list(score_scene(scene, "one", made, CopyPrompt()))
    stable = {r.severity: r.stable for r in rows if r.family == "M5-shift"}
    assert all(value is not None and 0 < value < 1 for value in stable.values())
    assert stable[1] > stable[5]  # type: ignore[operator]
    constant = [r.stable for r in score_scene(scene, "one", made, IgnorePrompt()) if r.family == "M5-shift"]
    assert set(constant) == {1.0}


def test_the_command_writes_a_page_that_opens_offline(corpus: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    sets = str(tmp_path / "sets")
    families = "M0-perfect,M0-empty,M7-wobble,T0-canonical,T6-absent"
    arguments = [str(corpus), "--datasets", "kvasir_seg", "--sets", sets]
    built = run(command, ["build", *arguments, "--families", families])
    assert built.exit_code == 0, built.output
    for model in ("copy", "ignore", "everything"):
        out = tmp_path / model
        extra = ["--reference", str(tmp_path / "copy")] if model == "ignore" else []
        result = run(command, ["score", *arguments, "--model", model, "--out", str(out), *extra])
        assert result.exit_code == 0, result.output
        assert all(len(line) <= 80 for line in result.output.splitlines() if line[:1] != "/")
    facts = json.loads((tmp_path / "ignore" / "results.json").read_text())
    assert facts["corruption_error"] > 1
    assert set(facts["prompt_lift"].values()) == {0.0}
    page = (tmp_path / "copy" / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page
    assert len(read_rows(tmp_path / "copy" / "rows.jsonl")) == 4 * 5
    everything = json.loads((tmp_path / "everything" / "results.json").read_text())
    assert everything["rates"]["T0-canonical"]["prompts"] == 4
    (tmp_path / "none").mkdir()
    failed = run(
        command, ["score", *arguments, "--model", f"folder:{tmp_path / 'none'}", "--out", str(tmp_path / "y")]
    )
    assert failed.exit_code == 1
    assert "36 of 36 prompts failed" in failed.output
    wrong = run(command, ["score", *arguments, "--model", "folder:nowhere", "--out", str(tmp_path / "x")])
    assert wrong.exit_code == 1
    assert "nowhere" in wrong.output
