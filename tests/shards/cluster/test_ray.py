"""A build on a Ray cluster of two nodes gives the bytes of a local one, also when workers and a node are lost."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medshards.curate import phantoms
from medshards.shards.cli.build import build
from tests.shards.cluster.downloads import build_all, corpus, reference
from tests.shards.conftest import contents, write_phantoms

pytest.importorskip("ray", reason="the extra `ray` is not installed: `make prove-ray`")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STORE = 80 << 20  # bytes of each node's object store, about the least that Ray takes
SLUGS = ("drive", "ravir", "mucic_hl60", "busi")
# kills the process of some cases the first times, and of one case every time; hangs in the cases of one node
SITE = """
import os, signal, time, zlib
from pathlib import Path
def walk(source, policy, case, *more):
    import ray
    folder = Path(os.environ["STAMPS"])
    stamp, times = folder / f"{policy.slug}-{case.key}", folder / "times"
    killed = stamp.stat().st_size if stamp.exists() else 0
    if zlib.crc32(case.key.encode()) % 5 == 0 and killed < int(times.read_text()):
        stamp.write_bytes(bytes(killed + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    poison = folder / "poison"
    if poison.exists() and case.key == poison.read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    node = folder / "node"
    if node.exists() and node.read_text() == ray.get_runtime_context().get_node_id():
        (folder / "hangs").touch()
        time.sleep(600)
    return real(source, policy, case, *more)
if b"default_worker" in Path("/proc/self/cmdline").read_bytes():  # what Ray runs tasks in
    from medshards.shards.encode import work
    real, work.walk = work.walk, walk
elif "CASES_A_TASK" in os.environ:  # the building process
    from medshards.shards.cluster import ray
    ray.CHUNK = int(os.environ["CASES_A_TASK"])
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two nodes, each some processes on this machine."""
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    (folder / "stamps").mkdir()
    (folder / "stamps" / "times").write_text("1")
    os.environ |= {"STAMPS": str(folder / "stamps"), "RAY_raylet_start_wait_time_s": "300"}
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder}:{before}"
    made = Cluster()
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=STORE)
        yield made
    finally:
        os.environ["PYTHONPATH"] = before
        made.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> str:
    """Its address."""
    address: str = nodes.address
    return address


def command(address: str, raw: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "medshards", "build", *words, "--raw", str(raw), "--out", str(out)]
    return subprocess.run(
        [*line, "--engine", "ray", "--ray", address], capture_output=True, text=True, timeout=900
    )


def test_a_cluster_gives_the_bytes_of_a_local_build(cluster: str, tmp_path: Path) -> None:
    write_phantoms(SLUGS, tmp_path / "raw")
    words = [*SLUGS, "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "local"), "--allow-rejects", "9"]
    assert CliRunner().invoke(build, words).exit_code == 0
    done = command(cluster, tmp_path / "raw", tmp_path / "out", *SLUGS, "--allow-rejects", "9")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert list(Path(os.environ["STAMPS"]).glob("*-*")), "no worker was lost"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["phantoms", "samples"])
def test_everything_gives_the_bytes_of_a_local_build(
    cluster: str, samples: Path, tmp_path: Path, kind: str
) -> None:
    """With no worker lost, and with the workers of a fifth of the cases lost once and twice."""
    local = reference(kind, samples, tmp_path)
    stamps = Path(os.environ["STAMPS"])
    try:
        for times in range(3):
            for stamp in stamps.glob("*-*"):
                stamp.unlink()
            (stamps / "times").write_text(str(times))
            out = tmp_path / f"out{times}"
            assert build_all(local.raw, out, "--engine", "ray", "--ray", cluster) == local.status
            assert corpus(out) == local.files
            assert (len([*stamps.glob("*-*")]) > 10) == (times > 0), "workers that were lost"
    finally:
        (stamps / "times").write_text("1")


def test_a_node_that_is_lost_takes_no_case_with_it(nodes: Any, tmp_path: Path) -> None:
    """It goes with cases in hand; meanwhile Ray's object store is looked at again and again."""
    from ray._private.internal_api import memory_summary

    phantoms.write_phantom("umd_petct", tmp_path / "raw" / "umd_petct")
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    words = ["drive", "umd_petct", "--raw", str(tmp_path / "raw"), "--allow-rejects", "9"]
    assert CliRunner().invoke(build, [*words, "--out", str(tmp_path / "local")]).exit_code == 0
    stamps, stored = Path(os.environ["STAMPS"]), []
    third = nodes.add_node(num_cpus=1, object_store_memory=STORE)
    (stamps / "node").write_text(third.node_id)
    line = [sys.executable, "-m", "medshards", "build", *words, "--out", str(tmp_path / "out")]
    some = {**os.environ, "CASES_A_TASK": "1"}  # tasks for every node
    try:
        with subprocess.Popen([*line, "--engine", "ray", "--ray", nodes.address], env=some) as building:
            until = time.monotonic() + 900
            while building.poll() is None and time.monotonic() < until:
                if third is not None and (stamps / "hangs").exists():
                    nodes.remove_node(third, allow_graceful=False)
                    third = None
                summary = memory_summary(nodes.address, stats_only=True)
                stored.append(int(re.search(r"Plasma memory usage (\d+) MiB", summary)[1]))  # type: ignore[index]
                time.sleep(0.2)
            assert building.poll() == 0
    finally:
        (stamps / "node").unlink()
    assert third is None, "no case was in the hands of the node that was to be lost"
    assert corpus(tmp_path / "out") == corpus(tmp_path / "local")
    print(f"{len(stored)} looks at the object store: at most {max(stored)} MiB")
    assert max(stored) < 10


def test_a_case_that_always_kills_is_named_and_the_rest_is_built(cluster: str, tmp_path: Path) -> None:
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    poison = Path(os.environ["STAMPS"]) / "poison"
    poison.write_text("24_training")
    done = command(cluster, tmp_path / "raw", tmp_path / "out", "drive")
    poison.unlink()
    assert done.returncode == 1
    assert "kills_worker" in done.stderr
    assert "workers of Ray were lost with 8 cases in hand; each is tried again alone" in done.stderr
    assert "drive: 7 samples" in done.stdout
    assert "raylet" not in done.stdout + done.stderr, "what Ray itself has to say"


def test_memory_that_no_node_has_is_said(cluster: str, tmp_path: Path) -> None:
    """Such a build waits: a cluster may grow."""
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    line = [sys.executable, "-m", "medshards", "build", "drive", "--raw", str(tmp_path / "raw")]
    line += ["--out", str(tmp_path / "out"), "--engine", "ray", "--ray", cluster, "--mem", "900T"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            said = waiting.stderr.readline()
        finally:
            waiting.kill()
    assert said.startswith("no node of the Ray cluster has 921600.0 GiB of memory for a task (the largest: ")


def test_no_cluster_is_said(tmp_path: Path) -> None:
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    done = command("127.0.0.1:1", tmp_path / "raw", tmp_path / "out", "drive")
    assert done.returncode == 1
    assert "no Ray cluster at '127.0.0.1:1'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
