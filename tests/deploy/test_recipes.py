"""The recipes for clusters: valid, in agreement with each other, and every command in them is one that exists."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from torch.distributed.run import get_args_parser

from medshards.shards.cli.build import build
from medshards.train.cli import train
from medshards.train.run.checkpoint import steps
from medshards.train.run.config import load_config
from medshards.train.run.session import FINISHED
from tests.train import processes
from tests.train.conftest import build_corpus
from tests.train.run.test_trainer import wait_for_step

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
NODE = DEPLOY / "node.sh"
PAGES = sorted((PROJECT / "docs").glob("cluster-*.md"))


def kubernetes() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "pytorchjob.yaml").read_text())


def skypilot() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "skypilot.yaml").read_text())


def parsed(words: list[str]) -> dict[str, Any]:
    """Options of `medshards train`; raises click.UsageError. Checks the configuration that they make too."""
    params = train.make_context("train", words).params
    load_config(params["source"], params["overrides"])
    return params


def of_torchrun(words: list[str]) -> tuple[Any, dict[str, Any]]:
    """The options of torchrun and those of `medshards train` behind it."""
    assert words[0] == "torchrun"
    options = get_args_parser().parse_args(words[1:])
    assert options.module
    assert options.training_script == "medshards"
    assert options.training_script_args[0] == "train"
    return options, parsed(options.training_script_args[1:])


def test_the_pytorchjob_is_complete() -> None:
    job = kubernetes()
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    roles = job["spec"]["pytorchReplicaSpecs"]
    assert roles["Master"]["replicas"] == 1
    assert roles["Master"]["template"] == roles["Worker"]["template"]
    for role in roles.values():
        assert role["restartPolicy"] == "OnFailure"  # an unfinished node ends with status 75
    pod = roles["Master"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "pytorch"
    words = [re.sub(r"\$\(\w+\)", "0", word) for word in container["args"]]
    options, params = of_torchrun(words)
    assert int(options.nnodes) == sum(role["replicas"] for role in roles.values())
    assert int(options.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert container["args"][3:6] == [
        "--node-rank=$(RANK)", "--master-addr=$(MASTER_ADDR)", "--master-port=$(MASTER_PORT)",
    ]  # fmt: skip
    assert container["command"] == ["medshards-node", str(params["out"])]
    assert params["auto_resume"]
    config = load_config(params["source"], params["overrides"])
    ranks = int(options.nnodes) * int(options.nproc_per_node)
    assert config.batch.images is not None
    assert config.batch.images % (ranks * config.batch.in_a_pass) == 0
    per_node = int(options.nproc_per_node) * (1 + config.data.workers)
    assert int(container["resources"]["requests"]["cpu"]) >= per_node
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    for path in (params["data"], str(params["out"])):
        assert any(path.startswith(mount + "/") for mount in mounts), path
    assert "/dev/shm" in mounts
    patience = int(re.search(r"TIMEOUT:-(\d+)", NODE.read_text())[1])  # type: ignore[index]
    assert pod["terminationGracePeriodSeconds"] > patience


def test_the_skypilot_task_is_complete() -> None:
    task = skypilot()
    counts = set(task["resources"]["accelerators"].values())
    assert len(counts) == 1  # each kind of machine has as many
    script = task["run"].replace("\\\n", " ").replace("$SKYPILOT_NUM_GPUS_PER_NODE", str(*counts))
    assert subprocess.run(["bash", "-n"], input=task["run"] + task["setup"], text=True).returncode == 0
    (line,) = [line for line in script.splitlines() if "torchrun" in line]
    shell, node, run, *words = shlex.split(line.replace("$CORPUS", task["envs"]["CORPUS"]))
    assert (shell, PROJECT / node) == ("sh", NODE)
    options, params = of_torchrun(words)
    assert int(options.nproc_per_node) in counts
    assert run == str(params["out"])
    assert params["auto_resume"]
    assert any(run.startswith(mount + "/") for mount in task["file_mounts"])
    assert all(
        mount["mode"] == "MOUNT_CACHED" for mount in task["file_mounts"].values()
    )  # appends and renames
    config = load_config(params["source"], params["overrides"])
    assert config.data.cache is not None
    assert config.data.cache_gb < task["resources"]["disk_size"]
    assert 75 in task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert "exit 75" in NODE.read_text()
    assert (PROJECT / task["workdir"] / "constraints.txt").is_file()


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]  # type: ignore[misc]


def test_the_image_has_all_that_is_installed() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    copied = {word for what, rest in instructions() if what == "COPY" for word in rest.split()[:-1]}
    for path in copied:
        assert (PROJECT / path).exists(), path
    rooms = [path.resolve() for path in (PROJECT / "src/medshards").iterdir() if path.is_symlink()]
    needed = {
        "src", *(room.relative_to(PROJECT).as_posix() for room in rooms), project["project"]["readme"],
        *project["project"]["license-files"], "pyproject.toml", "constraints.txt", "deploy/node.sh",
    }  # fmt: skip
    assert copied == needed
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert sent == needed
    assert "*" in rules


def test_the_image_pins_what_it_installs() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    (base,) = [rest for what, rest in instructions() if what == "FROM"]
    assert base.startswith("python:3.11")
    assert project["requires-python"] == ">=3.11"
    pins = (PROJECT / "constraints.txt").read_text().lower()
    installs = [rest for what, rest in instructions() if what == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    for line in [*installs, *(line for line in skypilot()["setup"].splitlines() if "pip install" in line)]:
        assert "--constraint constraints.txt" in line
        *_, what = shlex.split(line)
        extras = re.findall(r"\[(.*)\]", what)
        for extra in extras[0].split(",") if extras else []:
            for requirement in project["optional-dependencies"][extra]:
                name = re.match(r"[\w-]+", requirement)[0].lower()  # type: ignore[index]
                assert f"\n{name}==" in pins, name
    assert any(what == "USER" and rest != "root" for what, rest in instructions())


def test_the_rayjob_builds_with_options_that_exist() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["medshards", "build"]
    params = build.make_context("build", words[2:]).params
    assert params["engine"] == "ray"
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        mounted = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        assert {str(params["raw"]), "/corpora"} <= set(mounted)
        assert {"name": "PYTHONSAFEPATH", "value": "1"} in pod["containers"][0]["env"]
        assert pod["volumes"] == pods[0]["volumes"]
    assert Path(params["place"]).is_relative_to("/corpora")


def test_no_recipe_imports_from_the_working_folder() -> None:
    """As the batch script of Slurm, which a test of its own runs."""
    pod = kubernetes()["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    assert {"name": "PYTHONSAFEPATH", "value": "1"} in pod["containers"][0]["env"]
    lines = [line.partition("#")[0].strip() for line in skypilot()["run"].splitlines()]
    assert "export PYTHONSAFEPATH=1" in lines[: next(n for n, line in enumerate(lines) if "torchrun" in line)]


def test_each_recipe_has_its_page() -> None:
    assert [page.stem for page in PAGES] == ["cluster-kubernetes", "cluster-skypilot", "cluster-slurm"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    commands = [
        shlex.split(line, comments=True)
        for line in text.splitlines()
        if re.match(r" {4}(medshards train|torchrun) ", line)
    ]
    assert commands
    for words in commands:
        if words[0] == "torchrun":
            of_torchrun(words)
        else:
            parsed(words[2:])
    for link in re.findall(r"`((?:deploy|train|docs)/[\w./-]+)`", text):
        assert (PROJECT / link).exists(), link


def test_an_option_that_does_not_exist_is_found() -> None:
    """The checks above would see it."""
    with pytest.raises(click.UsageError):
        parsed(["--data", "x", "--out", "y", "--auto-resum"])
    with pytest.raises(ValueError, match="no such file, and no preset"):
        parsed(["--data", "x", "--out", "y", "--config", "clustr"])


def node(run: Path, *command: str) -> subprocess.Popen:
    return subprocess.Popen(["sh", str(NODE), str(run), *command], text=True, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    ("finished", "program", "status"),
    [(True, "exit 0", 0), (False, "exit 0", 75), (True, "exit 3", 3), (False, "exit 3", 3)],
)
def test_a_node_is_done_when_the_run_is(finished: bool, program: str, status: int, tmp_path: Path) -> None:
    if finished:
        (tmp_path / FINISHED).touch()
    assert node(tmp_path, "sh", "-c", program).wait(processes.PATIENCE) == status


def test_a_node_passes_the_signal_on_and_waits(tmp_path: Path) -> None:
    """The command takes a second to save after SIGTERM, as torchrun does, and ends with an error, as it does."""
    saved = "trap 'sleep 1; touch saved; exit 1' TERM; touch started; while :; do sleep 0.1; done"
    process = node(tmp_path, "sh", "-c", f"cd {tmp_path}; {saved}")
    processes.wait_until((tmp_path / "started").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(processes.PATIENCE) == 75
    assert (tmp_path / "saved").exists()


@pytest.mark.slow
def test_an_evicted_training_saves_and_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank under the real torchrun; two are preempted and requeued in the tests of Slurm."""
    corpus, run, total = build_corpus(tmp_path, ("drive",)), tmp_path / "run", 16
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [
        "torchrun", "--standalone", "--nproc-per-node=1", "-m", "medshards", "train", "--auto-resume",
        "--data", str(corpus), "--out", str(run), "--config", "tiny", "--steps", str(total),
        "--set", "batch.per_rank=1", "--set", "run.log_every=1", "--set", "run.checkpoint_every=1000",
        "--set", "run.validate_every=1000", "--set", "run.overlays=0", "--set", "data.workers=1",
    ]  # fmt: skip
    process = node(run, *command)
    wait_for_step(run, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=processes.PATIENCE)
    assert process.returncode == 75, said
    (stopped,) = steps(run)
    assert 2 <= stopped < total
    assert not (run / FINISHED).exists()
    process = node(run, *command)
    _, said = process.communicate(timeout=processes.PATIENCE)
    assert process.returncode == 0, said
    assert f"updates {stopped} to {total}" in said
    assert steps(run)[-1] == total
