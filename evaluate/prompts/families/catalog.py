"""The families of perturbations: facts from catalog.yaml, functions by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from medshards.common.yamlfile import read_yaml
from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.severity import MOST, STEPS, Knob, Steps
from medshards.evaluate.prompts.target import Target

FILE = Path(__file__).with_name("catalog.yaml")
CORE, FULL = "core", "full"
Kind = Literal["mask", "box", "points", "text"]


class Family(BaseModel):
    """One family. See catalog.yaml for the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Kind
    ladder: Literal["dice", "iou", "own"]
    make: str
    title: str
    volumes: bool = False
    expected: Literal["target", "prompt", "text", "nothing", "refuse"] = "target"
    core: tuple[int, ...] = ()
    reference: bool = False

    @property
    def function(self) -> Callable[[Target, Draws], Knob[Any] | Steps[Any] | None]:
        """What draws the perturbation's field for a target."""
        module, name = self.make.split(".")
        found = importlib.import_module(f"medshards.evaluate.prompts.families.{module}")
        function: Callable[[Target, Draws], Knob[Any] | Steps[Any] | None] = getattr(found, name)
        return function

    def severities(self, part: str) -> tuple[int, ...]:
        """The severities (from 1) that belong to the core or the full set."""
        most = MOST if self.ladder == "own" else STEPS  # a family may have fewer
        return self.core if part == CORE or self.reference else tuple(range(1, most + 1))


@cache
def _content() -> dict[str, Any]:
    """The content of the file."""
    content: dict[str, Any] = read_yaml(FILE)
    return content


@cache
def families() -> tuple[Family, ...]:
    """All families, in the order of the file."""
    return tuple(Family(**entry) for entry in _content()["families"])


def version() -> int:
    """Version of the file: part of every seed."""
    return int(_content()["version"])


def choose(part: str, ids: Sequence[str] = ()) -> list[Family]:
    """The families of the core or full set; only `ids`, where there are any. Raises KeyError with the unknown id."""
    known = {f.id: f for f in families()}
    if unknown := [i for i in ids if i not in known]:
        raise KeyError(unknown[0])
    return [f for f in families() if (f.id in ids if ids else f.severities(part))]
