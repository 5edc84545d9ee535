"""A database of a process: nothing of it stays, and whoever collects it as garbage has no trouble."""

import gc
import sys
import threading

import pytest

from medshards.common.machine import MachineError, machine_error
from medshards.common.scratch import scratch


def test_it_goes_without_a_word_whichever_thread_collects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    owner = [scratch("CREATE TABLE numbers (number)")]
    owner[0].execute("INSERT INTO numbers VALUES (1)")

    def collect() -> None:
        owner.clear()
        gc.collect()

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    assert said == []


def test_a_full_disk_is_trouble_of_the_machine() -> None:
    rows = scratch("CREATE TABLE texts (text)", "PRAGMA max_page_count = 8")
    with pytest.raises(MachineError, match="full") as caught:
        rows.execute("INSERT INTO texts VALUES (?)", ("long " * 20_000,))
    trouble = machine_error(caught.value)
    assert trouble is not None
    assert "a temporary file cannot be written (database or disk is full)" in str(trouble)
    assert "TMPDIR" in str(trouble)
