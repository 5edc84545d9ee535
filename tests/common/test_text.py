"""Names that were meant."""

import pytest

from medshards.common.text import near

SLUGS = ("bus_uclm", "busi", "isic_2018", "umd_petct", "umd_petmr", "drive")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BUS-UCLM", "; did you mean 'bus_uclm'?"),
        ("isic 2018", "; did you mean 'isic_2018'?"),
        ("umd", "; did you mean 'umd_petct' or 'umd_petmr'?"),
        ("drives", "; did you mean 'drive'?"),
        ("retina", ""),
        ("", ""),
    ],
)
def test_near(name: str, meant: str) -> None:
    assert near(name, SLUGS) == meant
