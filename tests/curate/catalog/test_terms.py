"""Which licence allows which use: what the catalog says, read without the code under test."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medshards.curate.catalog.entry import Licence, default_path
from medshards.curate.catalog.terms import USES, Terms, Use, allows

ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(Path(default_path()).read_text(encoding="utf-8"))
FIELD = {"commercial": "commercial", "redistributable": "redistribution"}


@pytest.mark.parametrize("use", FIELD)
def test_a_use_is_allowed_where_the_catalog_says_so(use: Use) -> None:
    assert {allows(Licence(**entry["licence"]), use) for entry in ENTRIES.values()} == {
        "yes",
        "no",
        "unknown",
    }
    for slug, entry in ENTRIES.items():
        assert allows(Licence(**entry["licence"]), use) == entry["licence"][FIELD[use]], slug


def test_research_rests_on_the_publishers_own_words() -> None:
    for slug, entry in ENTRIES.items():
        known = allows(Licence(**entry["licence"]), "research")
        assert (known == "yes") == (entry["licence"]["certainty"] == "stated"), slug


@pytest.mark.parametrize("use", USES)
def test_unknown_is_no_permission_unless_asked_for_and_no_stays_no(use: Use) -> None:
    for slug, entry in ENTRIES.items():
        licence = Licence(**entry["licence"])
        known = allows(licence, use)
        strict, lax = Terms(use).objection(licence), Terms(use, allow_unknown=True).objection(licence)
        assert (strict is None) == (known == "yes"), slug
        assert (lax is None) == (known != "no"), slug
        assert licence.name in (strict or licence.name)
