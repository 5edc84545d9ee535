"""Killed anywhere, work leaves nothing half to be seen, and the next run gives what an undisturbed one does."""

import random
import shutil
from pathlib import Path

import pytest

from tests.kills import STAGES, Kill, perform

MOMENT = 0.02  # s at most from a file operation to the kill


def survives(name: str, kills: int, folder: Path) -> None:
    """Kill a stage so many times, alternately at a file operation and a moment later, each time from the beginning."""
    stage, rng, struck = STAGES[name], random.Random(7), 0
    (folder / "begin").mkdir()
    stage.prepare(folder / "begin")
    shutil.copytree(folder / "begin", folder / "work")
    status, operations = perform(stage, folder / "work")
    assert status == 0, (folder / "work" / "log").read_text()
    whole = stage.result(folder / "work")
    (folder / "work").rename(folder / "whole")  # the work always has one place: it may be told in the result
    for number in range(kills):
        shutil.copytree(folder / "begin", folder / "work")
        if (folder / "whole" / "out").exists():
            shutil.copytree(folder / "whole" / "out", folder / "work" / "whole")
        operation = 1 + int(operations * rng.uniform(stage.begin, 1))
        kill = Kill(operation, rng.uniform(0, MOMENT) if number % 2 else 0)
        status, _ = perform(stage, folder / "work", kill)
        assert status <= 0, (folder / "work" / "log").read_text()
        struck += status < 0
        assert stage.half(folder / "work") == [], kill
        status, _ = perform(stage, folder / "work")
        assert status == 0, (folder / "work" / "log").read_text()
        assert stage.result(folder / "work") == whole, kill
        shutil.rmtree(folder / "work")
    print(f"{name}: {struck} of {kills} struck before the end, among {operations} file operations")
    assert struck


@pytest.mark.parametrize("name", STAGES)
def test_killed_work_goes_on(name: str, tmp_path: Path) -> None:
    survives(name, STAGES[name].kills[0], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("name", STAGES)
def test_hundreds_of_kills(name: str, tmp_path: Path) -> None:
    survives(name, STAGES[name].kills[1], tmp_path)
