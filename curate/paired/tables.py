"""Small tables that come with paired studies: what label numbers mean, and who is who in the other half.

A label table is labels.json, dataset.json (nnU-Net) or a CSV or TSV with the columns `id,name`. A crosswalk is a CSV
with the columns `petct_id,petmr_id`. Both are told by their content.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from medshards.curate.formats import jsonfile
from medshards.curate.formats.dicom.rtstruct import plain_name
from medshards.curate.formats.files import blame
from medshards.curate.formats.text import read_text
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.vocab.vocabulary import LabelMap, Vocabulary

CROSSWALK = ("petct_id", "petmr_id")
_TABLE_NAMES = ("labels.json", "dataset.json")
_ID, _NAME = ("id", "index"), ("name",)


def nearest_table(files: Mapping[str, File], folder: str) -> File | None:
    """The label table in `folder` (a path that ends in "/", or ""), or in the nearest folder above it.

    Raises Reject `label_table_conflict` when one folder holds several.
    """
    while True:
        inside = {p[len(folder) :]: f for p, f in files.items() if p.startswith(folder)}
        found = [f for name, f in sorted(inside.items()) if "/" not in name and is_label_table(f)]
        if len(found) > 1:
            raise Reject(
                "label_table_conflict", "several label tables lie in one folder; leave one", found[1].name
            )
        if found or not folder:
            return found[0] if found else None
        folder = folder[: folder.rstrip("/").rfind("/") + 1]


def is_label_table(file: File) -> bool:
    """True for a file that is named or begins like a label table."""
    name = PurePosixPath(file.name).name.lower()
    if name == "dataset.json":
        return "labels" in _object(file)
    return name in _TABLE_NAMES or (
        file.suffix in (".csv", ".tsv") and {"id", "name"} <= {_column(c) for c in _header(file)}
    )


def read_table(file: File, section: str = "") -> dict[str, str]:
    """Name by id (ids as text; in a table for contours they may be names themselves).

    JSON may hold {id: name}, {name: id} or, one level deeper under `section`, either of them.
    Raises Reject `label_table_invalid`.
    """
    if file.suffix == ".json":
        content: Any = _object(file)
        content = content.get("labels", content)
        if isinstance(content, dict) and any(isinstance(v, dict) for v in content.values()):
            nested = {str(k).lower(): v for k, v in content.items() if isinstance(v, dict)}
            content = nested.get(section.lower())
        if not isinstance(content, dict):
            raise _invalid(file, "expected an object of ids and names")
        pairs = [_pair(key, value, file) for key, value in content.items()]
    else:
        rows = _rows(file)
        columns = {_column(name): n for n, name in enumerate(rows[0])}
        pairs = []
        for row in rows[1:]:
            if any(cell.strip() for cell in row):
                if len(row) <= max(columns["id"], columns["name"]):
                    raise _invalid(file, "a row has too few columns")
                pairs.append((row[columns["id"]].strip(), row[columns["name"]].strip()))
    table: dict[str, str] = {}
    for key, name in pairs:
        key = str(int(key)) if key.isascii() and key.isdigit() else plain_name(key)
        if not key or not name:
            raise _invalid(file, "an id or a name is empty")
        if table.setdefault(key, name) != name:
            raise _invalid(file, f"the id {key} stands for {table[key]!r} and for {name!r}")
    if not table:
        raise _invalid(file, "it has no entry")
    return table


def _pair(key: Any, value: Any, file: File) -> tuple[str, str]:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _invalid(file, f"{key!r} is given as {type(value).__name__}; expected a number or a name")
    text, other = str(key), str(value)
    return (
        (other, text) if isinstance(value, int) or (other.isdigit() and not text.isdigit()) else (text, other)
    )


def _invalid(file: File, what: str) -> Reject:
    return Reject("label_table_invalid", f"is no label table: {what}", file.name)


def _object(file: File) -> dict[str, Any]:
    try:
        return jsonfile.read_object(file)
    except Reject as reject:
        raise _invalid(file, "it is no JSON object") from reject


def _column(name: str) -> str:
    name = name.strip().lower()
    return "id" if name in _ID else "name" if name in _NAME else name


def _rows(file: File) -> list[list[str]]:
    return list(csv.reader(io.StringIO(read_text(file)), delimiter="\t" if file.suffix == ".tsv" else ","))


def _header(file: File) -> list[str]:
    with blame(file, OSError), file.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        line = stream.readline(4096)
    return next(csv.reader([line], delimiter="\t" if file.suffix == ".tsv" else ","), [])


@dataclass(frozen=True)
class OrganNames:
    """From the many spellings of an organ to a label of the dataset's label map (the default name map)."""

    labels: LabelMap

    def find(self, name: str) -> str | None:
        """The label that `name` is a spelling of, whatever its case, blanks and underscores; None for none.

        Synonyms of the vocabulary count too ("oesophagus").
        """
        wanted = plain_name(name)
        for native in self.labels.labels:
            if plain_name(native) == wanted:
                return native
        try:
            concept = Vocabulary.load().resolve(name).id
        except KeyError:
            return None
        return self._of_concept(concept)

    def by_code(self, scheme: str, code: str) -> str | None:
        """The label of a SNOMED CT code, as SEG objects carry it; None for none."""
        if scheme not in ("SCT", "SNOMED-CT"):
            return None
        concepts = [c.id for c in Vocabulary.load() if c.snomed is not None and c.snomed.code == code]
        return self._of_concept(concepts[0]) if concepts else None

    def _of_concept(self, concept: str) -> str | None:
        return next((n for n, label in self.labels.labels.items() if label.concept == concept), None)

    @property
    def known(self) -> str:
        """The labels of organs, for messages."""
        return ", ".join(sorted(n for n, label in self.labels.labels.items() if label.concept is not None))

    def ignored(self, native: str) -> bool:
        """True for a label that is no organ (background)."""
        return self.labels.labels[native].concept is None


class Crosswalk:
    """Which ids of the two halves are one person."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """rows: (id in PET/CT, id in PET/MR); either may be "" for a person of one half."""
        parent: dict[tuple[str, str], tuple[str, str]] = {}

        def root(node: tuple[str, str]) -> tuple[str, str]:
            while parent.setdefault(node, node) != node:
                node = parent[node]
            return node

        for petct, petmr in rows:
            ends = [
                (half, plain_id(i)) for half, i in (("umd_petct", petct), ("umd_petmr", petmr)) if i.strip()
            ]
            roots = sorted(root(end) for end in ends)
            for other in roots[1:]:
                parent[other] = roots[0]
        # a half sorts before the other, an id before a later one: the root is the first id in PET/CT, if there is one
        self._person = {node: root(node)[1] for node in list(parent)}

    @property
    def persons(self) -> list[str]:
        """The name of each person (the first of the ids, that of PET/CT where there is one), in order."""
        return sorted(set(self._person.values()))

    def person(self, half: str, native: str) -> str | None:
        """The person with an id in a half (a slug), None when the table does not list it."""
        return self._person.get((half, plain_id(native)))


def plain_id(native: str) -> str:
    """An id without the `sub-` of BIDS and without blanks around it."""
    return native.strip().removeprefix("sub-")


def is_crosswalk(file: File) -> bool:
    """True for a CSV with the columns of a crosswalk."""
    return file.suffix == ".csv" and set(CROSSWALK) <= {_column(c) for c in _header(file)}


def read_crosswalk(files: Iterable[File]) -> Crosswalk | None:
    """The crosswalk among `files`, None when there is none.

    Raises Reject `crosswalk_conflict` when two differ, `unreadable`.
    """
    found: dict[tuple[tuple[str, str], ...], File] = {}
    for file in files:
        if is_crosswalk(file):
            head, *rows = _rows(file)
            first, second = ([_column(c) for c in head].index(name) for name in CROSSWALK)
            filled = [row + [""] * (len(head) - len(row)) for row in rows]
            found[tuple(sorted((row[first], row[second]) for row in filled if any(row)))] = file
    if len(found) > 1:
        raise Reject("crosswalk_conflict", "several crosswalk tables differ; leave one", "crosswalk.csv")
    return Crosswalk(next(iter(found))) if found else None
