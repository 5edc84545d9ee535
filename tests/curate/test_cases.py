"""The cases of a download come back as they were, in order of their keys."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from medshards.curate.cases import Cases
from medshards.curate.source import Case
from medshards.curate.tree import File

NO_UTF8 = os.fsdecode(b"\xff.png")


def test_a_case_comes_back_as_it_was() -> None:
    series = File("ct", f"/data/a/{NO_UTF8}", (Path(f"/data/a/{NO_UTF8}"), Path("/data/a/2.dcm")))
    files = {"image": series, "mask": File("ä/m.png", "/data/ä/m.png")}
    case = Case("a", files, "patient", "train", {"spacing": [0.1, 2.5], "grade": None, "of": {"x": 1}})
    cases = Cases()
    cases.add(case)
    assert list(cases) == [case]
    assert [(f.name, f.place, f.parts) for f in next(iter(cases)).files.values()] == [
        (f.name, f.place, f.parts) for f in files.values()
    ]
    assert (cases.get("a"), cases.get("b")) == (case, None)


@given(st.sets(st.text(st.characters(codec="ascii", exclude_characters="\0")), max_size=30))
def test_cases_are_in_order_of_their_keys(keys: set[str]) -> None:
    cases = Cases()
    for key in keys:
        cases.add(Case(key, {}, key))
    assert [case.key for case in cases] == sorted(keys)
    assert len(cases) == len(keys)
