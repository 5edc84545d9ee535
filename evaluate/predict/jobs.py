"""Which texts are asked of which input: the same for all, or a table of jobs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from medshards.common.text import in_words
from medshards.evaluate.predict.outputs import Asked
from medshards.vocab.vocabulary import UnknownConcept, Vocabulary


class JobsError(ValueError):
    """A table of jobs cannot be used; the message says where and why."""


def read_jobs(path: Path) -> dict[str, list[str]]:
    """Texts by input: JSON (`[{"file": …, "prompts": [ … ]}]`) or CSV (columns file, prompts; prompts parted by ;).

    A file is relative to the table. Raises JobsError.
    """
    try:
        if path.suffix == ".json":
            rows = [
                (row["file"], list(row["prompts"])) for row in json.loads(path.read_text(encoding="utf-8"))
            ]
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = [(row["file"], row["prompts"].split(";")) for row in csv.DictReader(stream)]
    except OSError as error:
        raise JobsError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobsError(
            f"{path}: expected files, each with its prompts; found something else ({in_words(error)})"
        ) from error
    jobs: dict[str, list[str]] = {}
    for file, texts in rows:
        own = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        if not own:
            raise JobsError(f"{path}: {file} has no prompt")
        jobs.setdefault(str(path.parent / file), []).extend(own)
    return jobs


def ask(texts: Sequence[str], vocabulary: Vocabulary, canonical: bool = False) -> list[Asked]:
    """The texts, each once; with `canonical` a synonym is asked by the vocabulary's own text."""
    found = dict[str, Asked]()
    for typed in texts:
        try:
            concept = vocabulary.resolve(typed)
        except UnknownConcept:
            found.setdefault(typed, Asked(typed, typed, None))
        else:
            text = concept.text if canonical else typed
            found.setdefault(text, Asked(text, typed, concept))
    return list(found.values())


def broader(asked: Sequence[Asked], vocabulary: Vocabulary) -> dict[str, list[str]]:
    """The texts whose concept is wider than that of a text, or the same: they do not compete for pixels."""
    return {
        one.text: [
            other.text
            for other in asked
            if one is not other
            and one.concept is not None
            and other.concept is not None
            and other.concept.id in (one.concept.id, *vocabulary.ancestors(one.concept.id))
        ]
        for one in asked
    }
