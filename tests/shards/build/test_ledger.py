"""What became of cases comes back as it was, in one order, whatever the order in which it came; and takes no memory."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshards.shards.build.ledger import Ledger
from medshards.shards.encode import stage
from medshards.shards.encode.record import json_bytes
from medshards.shards.encode.stage import Entry, Outcome
from medshards.shards.encode.walk import Walked

NO_UTF8 = os.fsdecode(b"/data/\xff/000000.pack")
FIRST = Entry(
    key="a-1", group="patient", digest=b"\0\xff" * 16, name="ä.png", official=None, volume="a", case="a",
    input_key="k1", source=NO_UTF8, offset=2**40, size=7, meta_source=NO_UTF8, meta_offset=2**40 + 7, meta_size=9,
)  # fmt: skip


def outcome(case: str, *keys: str, input_key: str = "k1") -> Outcome:
    """A case of samples with these keys; something of it is left out."""
    entries = tuple(
        replace(FIRST, key=key, case=case, input_key=input_key, name=f"{case}.png") for key in keys
    )
    return Outcome(case, input_key, entries, (), (("b.png", "not annotated"),))


def test_an_outcome_comes_back_as_it_was() -> None:
    whole = Outcome("a", "k1", (replace(FIRST, key="a-2", official="train"), FIRST), (), (("x", "why"),))
    refused = Outcome("b", "", (), ({"case": "b", "file": "b.png", "code": "failed", "message": "ä"},), ())
    ledger = Ledger()
    ledger.add(refused)
    ledger.add(whole)
    assert (ledger.outcome("a"), ledger.outcome("b")) == (whole, refused)
    assert list(ledger.rejects()) == list(refused.rejects)
    assert list(ledger.skips()) == [("a", {"why": 1})]
    assert [ledger.input_key(case) for case in ("a", "b", "none")] == ["k1", "", ""]
    assert [entry.key for entry in ledger] == ["a-1", "a-2"]
    assert len(ledger) == 2


def test_what_comes_later_takes_the_place_of_what_was_known() -> None:
    ledger = Ledger()
    ledger.add(outcome("a", "a-1", "a-2"))
    ledger.add(outcome("a", "a-1", input_key="k2"))
    assert [(entry.key, entry.input_key) for entry in ledger] == [("a-1", "k2")]
    assert ledger.input_key("a") == "k2"
    ledger.forget("a")
    assert (len(ledger), ledger.input_key("a")) == (0, "")


CASES = (outcome("b", "x", "b-1"), outcome("a", "x", "a-1"), outcome("c", "b-1", "x", "x"), outcome("ä"))


@given(st.permutations(CASES))
def test_samples_of_one_key_are_kept_once_whatever_came_first(cases: list[Outcome]) -> None:
    ledger = Ledger()
    for each in cases:
        ledger.add(each)
    told = sorted((row["case"], row["file"], row["message"]) for row in ledger.settle())
    assert [(entry.key, entry.case) for entry in ledger] == [("a-1", "a"), ("b-1", "b"), ("x", "a")]
    assert told == [
        ("b", "b.png", "sample x was already made by case a"),
        ("c", "c.png", "sample b-1 was already made by case b"),
        ("c", "c.png", "sample x was already made by case a"),
        ("c", "c.png", "sample x was already made by case a"),
    ]


@pytest.mark.parametrize("cases", [(), CASES[:1], CASES])
def test_the_inputs_are_the_digest_of_a_list_of_pairs(cases: tuple[Outcome, ...]) -> None:
    ledger = Ledger()
    for each in cases:
        ledger.add(each)
    pairs = sorted((each.case, each.input_key) for each in cases)
    assert ledger.inputs() == hashlib.sha256(json_bytes(pairs)).hexdigest()


PEAK = """
import sys
from pathlib import Path
from medshards.curate.cases import Cases
from medshards.curate.source import Case
from medshards.curate.tree import File
from medshards.shards.build.ledger import Ledger
from tests.shards.build.test_ledger import outcome
ledger, cases = Ledger(), Cases()
for number in range(int(sys.argv[1])):
    key = f"{number:064d}"
    ledger.add(outcome(key, key))
    cases.add(Case(key, {"image": File(key, f"/data/{key}")}, key))
assert [sum(1 for _ in ledger), sum(1 for _ in cases)] == [number + 1] * 2
line, = (l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
print(line.split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory of a process")
def test_memory_does_not_grow_with_cases() -> None:
    """Each has some 800 bytes of text, and an object of more than that in memory."""

    def peak(cases: int) -> int:
        line = [sys.executable, "-c", PEAK, str(cases)]
        return int(subprocess.run(line, check=True, capture_output=True, text=True, timeout=300).stdout) << 10

    assert (peak(30_000) - peak(10_000)) / 20_000 < 200


def test_journals_are_proven_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for folder in ("000000", "000001"):
        writer = stage.PackWriter(tmp_path / folder)
        for number in range(40):
            names.append(writer.finish(f"{folder}-{number}", "k", Walked(skips=(("x.png", "why"),))).case)
        writer.close()
    monkeypatch.setattr(stage, "PART", 1000)
    parts = stage.parts(tmp_path)
    assert len(parts) > 8
    assert [each.case for part in parts for each in stage.finished(part)] == names
