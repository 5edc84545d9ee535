"""What the vocabulary is made of: concepts, labels of datasets, and the errors that name what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("anatomy", "tissue", "cell", "organelle", "lesion", "substance", "instrument")


class VocabularyError(ValueError):
    """A vocabulary or label file is wrong; `problems` has a line for each: `file:line: what, what to do`."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class _UnknownName(KeyError):
    def __str__(self) -> str:  # KeyError would show the repr of the text
        return str(self.args[0])


class UnknownConcept(_UnknownName):
    """No concept has this name."""


class UnknownLabel(_UnknownName):
    """A dataset's label map does not know this label."""


def normalise(name: str) -> str:
    """A name as it is compared: lower case, underscores and runs of blanks as one blank."""
    return " ".join(name.replace("_", " ").lower().split())


@dataclass(frozen=True, order=True)
class Code:
    """A SNOMED CT code with its meaning in DICOM PS3.16."""

    code: str
    meaning: str


@dataclass(frozen=True)
class Concept:
    """One class of things that can be prompted for and segmented."""

    id: str
    text: str
    """The canonical prompt, a lower-case noun phrase."""
    kind: str
    """One of `KINDS`."""
    synonyms: tuple[str, ...] = ()
    parent: str | None = None
    """Id of the broader concept: every pixel of this one is a pixel of its parent."""
    snomed: Code | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The text, then the synonyms."""
        return (self.text, *self.synonyms)

    def facts(self) -> dict[str, Any]:
        """The concept as JSON values."""
        return asdict(self) | {"synonyms": list(self.synonyms)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Concept:
        """The concept of these facts."""
        snomed = facts["snomed"] and Code(**facts["snomed"])
        return cls(**{**facts, "synonyms": tuple(facts["synonyms"]), "snomed": snomed})


@dataclass(frozen=True)
class Label:
    """One label of a dataset. `concept` is None where the label is deliberately ignored (see `reason`)."""

    native: str
    concept: str | None
    value: int | None = None
    """Pixel value, class id or channel in the files."""
    color: tuple[int, int, int] | None = None
    """Red, green, blue, 0..255, where the masks are colour-coded."""
    reason: str | None = None
