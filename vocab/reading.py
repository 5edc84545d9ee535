"""Read and validate concepts.yaml and a dataset's label file; every problem is told with file and line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from medshards.common.text import near
from medshards.common.yamlfile import LocatedDict, read_yaml
from medshards.vocab.concept import KINDS, Code, Concept, Label, VocabularyError, normalise

_ID = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_CODE = re.compile(r"[1-9][0-9]{5,17}")
_COLOR = re.compile(r"#[0-9a-f]{6}")


class _Problems:
    """Collects what is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        self.found.append((line, what))

    def unknown_fields(self, entry: LocatedDict, allowed: tuple[str, ...]) -> None:
        for key in entry:
            if key not in allowed:
                self.add(entry.lines[key], f"unknown field {key!r}; the fields are {', '.join(allowed)}")

    def text(self, entry: LocatedDict, key: str) -> str | None:
        """A field that must hold a word; None, and a problem, when it does not."""
        value = entry.get(key)
        if isinstance(value, str) and value.strip():
            return value
        line = entry.lines.get(key, entry.line)
        self.add(
            line,
            f"{key!r} is missing" if value is None else f"{key!r} must be a word, not {value!r}; quote it",
        )
        return None

    def raise_any(self) -> None:
        if self.found:
            raise VocabularyError(*(f"{self.path}:{line}: {what}" for line, what in sorted(self.found)))


def _read_mapping(path: Path) -> LocatedDict:
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise VocabularyError(str(error)) from error
    if not isinstance(content, LocatedDict):
        raise VocabularyError(f"{path}:1: must hold 'key: value' entries, not {type(content).__name__}")
    return content


# ---- concepts.yaml ----


def read_concepts(path: Path, known: Iterable[Concept] = ()) -> list[Concept]:
    """The concepts of a file, validated one by one, against each other and against those already `known`, which may be
    their parents. Raises VocabularyError."""
    content, problems = _read_mapping(path), _Problems(path)
    concepts = [
        concept
        for key, entry in content.items()
        if (concept := _read_concept(key, entry, content.lines[key], problems)) is not None
    ]
    earlier = {concept.id: concept for concept in known}
    _check_names(concepts, content.lines, earlier, problems)
    _check_parents(concepts, content, earlier, problems)
    problems.raise_any()
    return concepts


def _read_concept(key: Any, entry: Any, line: int, problems: _Problems) -> Concept | None:
    if not isinstance(key, str) or not _ID.fullmatch(key):
        problems.add(line, f"bad id {key!r}; an id is lower-case letters, digits and single underscores")
        return None
    if not isinstance(entry, LocatedDict):
        problems.add(line, f"{key}: must hold at least 'text' and 'kind'")
        return None
    problems.unknown_fields(entry, ("text", "kind", "synonyms", "parent", "snomed"))
    text, kind = problems.text(entry, "text"), problems.text(entry, "kind")
    if kind is not None and kind not in KINDS:
        problems.add(entry.lines["kind"], f"{key}: unknown kind {kind!r}; the kinds are {', '.join(KINDS)}")
    synonyms = entry.get("synonyms", [])
    if not isinstance(synonyms, list) or not all(isinstance(name, str) for name in synonyms):
        problems.add(entry.lines["synonyms"], f"{key}: 'synonyms' must be a list of words")
        synonyms = []
    for field, name in [("text", text), *(("synonyms", name) for name in synonyms)]:
        if name is not None and name != normalise(name):
            problems.add(entry.lines[field], f"{key}: write {name!r} as {normalise(name)!r}")
    parent = problems.text(entry, "parent") if "parent" in entry else None
    snomed = _read_code(key, entry["snomed"], entry.lines["snomed"], problems) if "snomed" in entry else None
    if text is None or kind is None:
        return None
    return Concept(key, text, kind, tuple(synonyms), parent, snomed)


def _read_code(concept_id: str, entry: Any, line: int, problems: _Problems) -> Code | None:
    if not isinstance(entry, LocatedDict):
        problems.add(line, f"{concept_id}: 'snomed' must hold 'code' and 'meaning'")
        return None
    problems.unknown_fields(entry, ("code", "meaning"))
    code, meaning = problems.text(entry, "code"), problems.text(entry, "meaning")
    if code is not None and not _CODE.fullmatch(code):
        problems.add(entry.lines["code"], f"{concept_id}: {code!r} is not a SNOMED CT code (6 to 18 digits)")
    return None if code is None or meaning is None else Code(code, meaning)


def _check_names(
    concepts: list[Concept], lines: dict[Any, int], known: Mapping[str, Concept], problems: _Problems
) -> None:
    """A name, normalised, belongs to one concept and stands there once; so does a code."""
    owner = {normalise(name): c for c in known.values() for name in (c.id, *c.names)}
    code_owner = {c.snomed.code: c for c in known.values() if c.snomed is not None}
    for concept in concepts:
        if concept.id in known:
            advice = "label your data with it, or choose another id"
            problems.add(lines[concept.id], f"{concept.id}: the vocabulary has this concept; {advice}")
            continue
        line = lines[concept.id]
        names = [normalise(name) for name in concept.names]
        for name in {*names, normalise(concept.id)}:
            first = owner.setdefault(name, concept)
            if first is not concept:
                where = f"line {lines[first.id]}" if first.id in lines else "in the vocabulary"
                problems.add(
                    line,
                    f"{concept.id}: the name {name!r} belongs to {first.id} ({where}); give it to one of them",
                )
            if names.count(name) > 1:
                problems.add(line, f"{concept.id}: the name {name!r} stands here twice; keep one")
        if concept.snomed is not None:
            first = code_owner.setdefault(concept.snomed.code, concept)
            if first is not concept:
                problems.add(
                    line, f"{concept.id}: {first.id} has the same SNOMED CT code; one of them is wrong"
                )


def _check_parents(
    concepts: list[Concept], content: LocatedDict, known: Mapping[str, Concept], problems: _Problems
) -> None:
    """Every parent is a known concept or one of the file, and no concept is its own ancestor."""
    parents = {concept.id: concept.parent for concept in (*known.values(), *concepts)}
    for concept in concepts:
        if concept.parent is None:
            continue
        line = content[concept.id].lines["parent"]
        if concept.parent not in content and concept.parent not in known:
            problems.add(
                line, f"{concept.id}: unknown parent {concept.parent!r}{near(concept.parent, parents)}"
            )
            continue
        seen = [concept.id]
        parent: str | None = concept.parent
        while parent is not None and parent not in seen:
            seen.append(parent)
            parent = parents.get(parent)
        if parent == concept.id:
            problems.add(
                line, f"{concept.id}: is its own ancestor ({' > '.join([*seen, parent])}); cut the circle"
            )


# ---- labels/<slug>.yaml ----


def read_labels(path: Path, dataset: str, concept_ids: Collection[str]) -> tuple[bool, list[Label]]:
    """Whether a label file is exhaustive, and its labels, validated. Raises VocabularyError.

    `dataset` must be the slug that the file names; `concept_ids` are the concepts that there are. A file may say
    `same_as: SLUG` in place of labels: those of the dataset in the folder beside it.
    """
    content, problems = _read_mapping(path), _Problems(path)
    shared = "same_as" in content
    problems.unknown_fields(
        content, ("dataset", "same_as") if shared else ("dataset", "exhaustive", "labels")
    )
    slug = problems.text(content, "dataset")
    if slug is not None and slug != dataset:
        problems.add(
            content.lines["dataset"], f"is for the dataset {slug!r}, but is read as that of {dataset!r}"
        )
    if shared:
        other = problems.text(content, "same_as")
        if other == dataset:
            problems.add(content.lines["same_as"], f"{other!r} has no other labels than these")
        problems.raise_any()
        return read_labels(path.parent.parent / str(other) / path.name, str(other), concept_ids)
    exhaustive = content.get("exhaustive")
    if not isinstance(exhaustive, bool):
        problems.add(content.lines.get("exhaustive", content.line), "'exhaustive' must be true or false")
    entries = content.get("labels")
    labels: list[Label] = []
    if isinstance(entries, LocatedDict) and entries:
        for native, entry in entries.items():
            label = _read_label(native, entry, entries.lines[native], concept_ids, problems)
            if label is not None:
                labels.append(label)
        _check_unique(labels, entries.lines, problems)
    else:
        problems.add(
            content.lines.get("labels", content.line), "'labels' must hold 'native label: concept' entries"
        )
    problems.raise_any()
    return exhaustive is True, labels


def _read_label(
    native: Any, entry: Any, line: int, concept_ids: Collection[str], problems: _Problems
) -> Label | None:
    if not isinstance(native, str):
        problems.add(line, f"YAML reads the label {native!r} as {type(native).__name__}; put it in quotes")
        return None
    if isinstance(entry, str):
        return _known(Label(native, entry), line, concept_ids, problems)
    if not isinstance(entry, LocatedDict):
        problems.add(line, f"{native!r}: must be a concept id, or hold 'concept' or 'ignore: true'")
        return None
    problems.unknown_fields(entry, ("concept", "ignore", "value", "color", "reason"))
    ignored = entry.get("ignore", False)
    if not isinstance(ignored, bool) or ignored == ("concept" in entry):
        problems.add(line, f"{native!r}: needs either 'concept' or 'ignore: true'")
    concept = problems.text(entry, "concept") if "concept" in entry else None
    reason = problems.text(entry, "reason") if "reason" in entry else None
    if reason is not None and concept is not None:
        problems.add(
            entry.lines["reason"], f"{native!r}: 'reason' tells why a label is ignored, and this one is not"
        )
    value = entry.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        problems.add(
            entry.lines["value"], f"{native!r}: 'value' must be a whole number from 0, not {value!r}"
        )
        value = None
    color = _read_color(native, entry, problems)
    return _known(Label(native, concept, value, color, reason), line, concept_ids, problems)


def _read_color(native: str, entry: LocatedDict, problems: _Problems) -> tuple[int, int, int] | None:
    if "color" not in entry:
        return None
    color = entry["color"]
    if not isinstance(color, str) or not _COLOR.fullmatch(color):
        problems.add(
            entry.lines["color"], f"{native!r}: 'color' must look like \"#00ff7f\" (in quotes), not {color!r}"
        )
        return None
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _known(label: Label, line: int, concept_ids: Collection[str], problems: _Problems) -> Label:
    if label.concept is not None and label.concept not in concept_ids:
        what = f"{label.native!r}: unknown concept {label.concept!r}{near(label.concept, concept_ids)}"
        problems.add(line, f"{what}; correct it, or add the concept to concepts.yaml (your own: --concepts)")
    return label


def _check_unique(labels: list[Label], lines: dict[Any, int], problems: _Problems) -> None:
    for field in ("value", "color"):
        first: dict[Any, str] = {}
        for label in labels:
            key = getattr(label, field)
            if key is not None and first.setdefault(key, label.native) != label.native:
                other = first[key]
                problems.add(
                    lines[label.native],
                    f"{label.native!r}: has the {field} of {other!r} (line {lines[other]})",
                )
