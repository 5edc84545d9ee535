"""A push or pull that is killed at any request leaves no half corpus, and the next one completes it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.command import medshards
from tests.hub import Hub
from tests.shards.conftest import build_phantoms
from tests.shards.share.test_hub import FREE, NAME, files, there


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus that may be passed on."""
    return build_phantoms(FREE[:1], tmp_path_factory.mktemp("killed"))


def killed(hub: Hub, request: int, *words: str | Path) -> bool:
    """Run the command in a fork that is killed while it waits for the answer to that request, from 1; False: it had
    fewer."""
    hub.met.clear()
    child = os.fork()
    if child == 0:
        os._exit(medshards(*words).exit_code)

    def strike(kind: str, path: str) -> bool:
        if hub.met.total() == request:
            os.kill(child, signal.SIGKILL)
        return False

    hub.failing = strike
    _, status = os.waitpid(child, 0)
    hub.failing = lambda kind, path: False
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def check(corpus: Path, folder: Path, hub: Hub, every: int) -> tuple[int, int]:
    """Kill pushes and pulls at every so many-th request; returns how many of each were killed."""
    pushes = pulls = 0
    for request in range(3, 1000, every):
        hub.repos.clear()
        hub.uploads.clear()
        if not killed(hub, request, "push", corpus, NAME):
            break
        pushes += 1
        assert not hub.repos or there(hub) in ({}, files(corpus))
        assert medshards("push", corpus, NAME).exit_code == 0
        assert there(hub) == files(corpus)
    for request in range(3, 1000, every):
        back = folder / f"back-{request}"
        if not killed(hub, request, "pull", NAME, back):
            break
        pulls += 1
        assert not back.exists()
        assert not (folder / f".{back.name}.part/corpus.json").exists()
        assert medshards("pull", NAME, back).exit_code == 0
        assert files(back) == files(corpus)
    return pushes, pulls


def test_kills_leave_nothing_half(free: Path, tmp_path: Path, hub: Hub) -> None:
    assert min(check(free, tmp_path, hub, 12)) >= 1


@pytest.mark.slow
def test_kills_at_every_request_leave_nothing_half(free: Path, tmp_path: Path, hub: Hub) -> None:
    assert min(check(free, tmp_path, hub, 1)) >= 10
