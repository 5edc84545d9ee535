"""`medshards vocab …`, as a person and as a script see it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshards.cli import cli

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["vocab", *arguments])


def test_the_shipped_files_are_well() -> None:
    result = run("check")
    assert result.exit_code == 0, result.output
    assert "datasets: all well" in result.output


def test_show_tells_prompt_parents_code_and_datasets() -> None:
    result = run("show", "Retinal  blood vessel")
    assert result.exit_code == 0
    for fact in ("retinal_vessel", "blood_vessel", "retinal_artery, retinal_vein", "chase_db1: vessel"):
        assert fact in result.output
    assert "10200004 Liver" in run("show", "liver").output


def test_show_as_json() -> None:
    facts = json.loads(run("show", "gall-bladder", "--json").output)
    assert facts["id"] == "gallbladder"
    assert facts["snomed"] == {"code": "28231008", "meaning": "Gallbladder"}
    assert facts["datasets"]["m2caiseg"] == ["gall-bladder"]
    assert facts["datasets"]["cholecseg8k"] == ["Gallbladder"]


def test_show_of_an_unknown_name_fails_and_suggests() -> None:
    result = run("show", "liverr")
    assert result.exit_code == 1
    assert "did you mean 'liver'" in result.output


def test_search() -> None:
    result = run("search", "polyp")
    assert result.exit_code == 0
    assert "non_neoplastic_polyp" in result.output
    assert "liver" not in result.output
    assert [concept["id"] for concept in json.loads(run("search", "hook", "--json").output)] == [
        "hook_electrocautery"
    ]


def test_search_without_a_hit_fails() -> None:
    assert run("search", "zebra").exit_code == 1
    result = run("search", "zebra", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output) == []


@pytest.mark.parametrize("command", [[], ["list"]])
def test_list_filters(command: list[str]) -> None:
    everything = json.loads(run(*command, "--json").output)
    organelles = json.loads(run(*command, "--kind", "organelle", "--json").output)
    btcv = json.loads(run(*command, "--dataset", "btcv", "--json").output)
    assert len(everything) > 100
    assert [concept["id"] for concept in organelles] == [
        "endolysosome",
        "fusiform_vesicle",
        "golgi_apparatus",
        "mitochondrion",
    ]
    assert len(btcv) == 13
    assert "fusiform_vesicle" in run(*command).output


def test_wrong_usage_has_status_2() -> None:
    assert run("--dataset", "none").exit_code == 2
    assert run("--kind", "none").exit_code == 2
    assert run("--json", "check").exit_code == 2


def files(folder: Path, concepts: str, **labels: str) -> list[str]:
    (folder / "concepts.yaml").write_text(concepts)
    for slug, text in labels.items():
        (folder / "labels" / slug).mkdir(parents=True)
        (folder / "labels" / slug / "labels.yaml").write_text(
            f"dataset: {slug}\nexhaustive: true\nlabels:\n{text}\n"
        )
    return ["check", "--concepts", str(folder / "concepts.yaml"), "--labels", str(folder / "labels")]


CONCEPTS = """\
lung: {text: lung, kind: anatomy}
left_lung: {text: left lung, kind: anatomy, parent: lung}
liver: {text: liver, kind: anatomy}
"""


def test_check_accepts_a_parent_that_no_dataset_has(tmp_path: Path) -> None:
    result = run(*files(tmp_path, CONCEPTS, one="  a: left_lung\n  b: liver"))
    assert result.exit_code == 0, result.output
    assert "3 concepts, 1 dataset: all well" in result.output


def test_check_finds_orphans(tmp_path: Path) -> None:
    result = run(*files(tmp_path, CONCEPTS, one="  a: left_lung"))
    assert result.exit_code == 1
    assert "liver: no dataset annotates it" in result.output
    assert "lung: no dataset" not in result.output


def test_check_tells_the_problems_of_every_file(tmp_path: Path) -> None:
    result = run(*files(tmp_path, CONCEPTS, one="  a: livr", two="  9: liver"), "--json")
    assert result.exit_code == 1
    problems = json.loads(result.output)["problems"]
    assert [Path(problem.split(":")[0]).parent.name for problem in problems] == ["one", "two"]


def test_check_tells_wrong_concepts(tmp_path: Path) -> None:
    result = run(*files(tmp_path, CONCEPTS + "hepar: {text: liver, kind: anatomy}", one="  a: liver"))
    assert result.exit_code == 1
    assert "concepts.yaml:4: hepar: the name 'liver' belongs to liver (line 3)" in result.output


def test_it_needs_nothing_heavy() -> None:
    code = (
        "import sys; from medshards.vocab.cli import vocab; vocab(['list'], standalone_mode=False); "
        "print(sorted({'numpy', 'torch', 'pandas', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
