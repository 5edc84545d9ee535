"""The catalog: what is known of every dataset, typed and validated. docs/catalog.md explains the fields.

`catalog.yaml` holds facts for people and for every room: access, licence, how masks become instances, what
samples are grouped by, and the figures of Table 1 of the paper with the rule that measures them.
"The paper" is Medical SAM3 (Jiang et al., arXiv 2601.10880, 2026).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medshards.common.text import near
from medshards.common.yamlfile import LocatedDict, read_yaml

Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
Known = Literal["yes", "no", "unknown"]
Instances = Literal["native", "components", "merged"]
Role = Literal["train", "external", "paired", "robustness"]
AccessKind = Literal["open", "registration", "request", "unpublished"]
Certain = Literal["reproduced", "inferred", "unknown"]
Count = Annotated[int, Field(ge=0)]


class CatalogError(ValueError):
    """A catalog file that cannot be used; its text begins with `file:line:` for each thing that is wrong."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Access(_Facts):
    """How a user gets the data: the kind of hurdle, and what to do in a sentence or two."""

    kind: AccessKind
    how: Text


class Licence(_Facts):
    """What may be done with the data, and on whose word.

    spdx: identifier of the SPDX list, where `name` is (or is said to be) a licence of that list.
    certainty: stated by the publisher of the data; said by a third party; or unverified.
    """

    name: Text
    spdx: Text | None = None
    redistribution: Known
    commercial: Known
    certainty: Literal["stated", "third-party", "unverified"]
    note: Text | None = None

    @model_validator(mode="after")
    def _permission_needs_a_statement(self) -> Licence:
        if "yes" in (self.redistribution, self.commercial) and self.certainty != "stated":
            raise ValueError(
                f'"yes" rests on the publisher\'s own statement alone, and certainty is {self.certainty!r}; '
                'write "unknown"'
            )
        return self


class Citation(_Facts):
    """Authors, title, venue and year in one text, and the DOI without resolver."""

    text: Text
    doi: Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")] | None = None


class Archive(_Facts):
    """A file to download. A digest is that of the file its `url` (or the homepage) gave.

    optional: another form of the same data, or a part of which no sample is made.
    """

    file: Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]
    url: Url | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    optional: bool = False


class Official(_Facts):
    """The authors' own figures (or those counted on a complete copy); areas in px."""

    images: Count | None = None
    annotations: Count | None = None
    median_area: float | None = None
    note: Text | None = None


class PaperRule(_Facts):
    """How the paper's figures are measured from the masks of a dataset, step by step in this order.

    official_split: only images of this official split.
    ignore_labels: masks with these native labels are left out.
    slices: of a volume all slices, only the one with most annotated pixels (the first on a tie), or only
        number count // 2.
    concept: all masks of an image are put under this concept; None leaves each under its own.
    instances, connectivity: native, each mask is an annotation; components, the connected components of all
        pixels of a concept together; merged, one per concept.
    min_area, min_area_fraction: annotations below this many px, or below this part of the image's area, are
        left out.
    keep: all annotations of a concept in an image, or only the largest.
    drop_empty: images left without annotation are left out.
    median_over: the median area is over all images, or over the training part of the paper's split (names
        sorted as plain strings, numpy's RandomState(42).permutation, the first ceil(0.15 n) are validation).
    """

    official_split: Text | None = None
    ignore_labels: list[Text] = []
    slices: Literal["all", "largest", "middle"] = "all"
    concept: Text | None = None
    instances: Instances
    connectivity: Literal[4, 8] = 8
    min_area: Count = 0
    min_area_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    keep: Literal["all", "largest"] = "all"
    drop_empty: bool = True
    median_over: Literal["all", "train"] = "all"


class Certainty(_Facts):
    """Of each figure whether the rule gives it.

    reproduced: measured on a complete copy (or a complete published list) and equal to the printed figure,
        as far as the measurement is exact.
    inferred: the rule fits all that is known, but was not measured on everything.
    unknown: no known rule gives the printed figure.
    """

    images: Certain
    annotations: Certain
    median_area: Certain


class Paper(_Facts):
    """A row of Table 1 of the paper as printed (median area in px), and how to measure it."""

    row: Text
    images: Count
    annotations: Count
    median_area: float
    rule: PaperRule
    certainty: Certainty
    note: Text


class Entry(_Facts):
    """One dataset.

    slug: its key in the file.
    burnt_in: whether text or marks are drawn into the pixels of images: date, device, clinic, callipers. "no" needs
        a look at all of them.
    instances: how a mask becomes instances by default: native (each mask or id of the data is one),
        components (each 8-connected component of each mask), merged (one per concept).
    min_area: components below this many px are dropped and counted.
    group: in words, what samples share that must not stand on both sides of a split.
    groups: whether different groups are known to be different patients: published (by the authors, as a patient,
        subject or procedure) or guessed (from names or pictures); guessed ones are joined where pictures are alike.
    resplit: why the split that the authors publish is not used; left out, it is.
    verified: whether layout and encodings were checked on real files.
    open_questions: what a converter takes on trust.
    """

    slug: Text
    title: Text
    modality: Text
    role: Role
    homepage: Url
    access: Access
    licence: Licence
    citation: Citation
    archives: list[Archive] = []
    burnt_in: Known = "unknown"
    instances: Instances
    min_area: Count = 0
    group: Text
    groups: Literal["published", "guessed"] = "guessed"
    resplit: Text | None = None
    official: Official
    paper: Paper | None = None
    verified: Literal["yes", "partly", "no"]
    open_questions: list[Text] = []


def default_path() -> Path:
    """catalog.yaml as installed (inside this package) or, in a checkout, beside it."""
    return Path(__file__).parents[2] / "catalog.yaml"


def load_catalog(path: Path | None = None, extra: Iterable[Path] = ()) -> dict[str, Entry]:
    """The entries of a catalog file by slug, in the order of the file; those of `extra` files follow.

    path: default the catalog of medshards.
    extra: further files of the same form, e.g. for datasets of the user's own.

    Raises CatalogError, with file and line of everything that is wrong: not readable, not YAML, a key twice,
    a field missing, unknown or of the wrong form, a slug in two files.
    """
    entries: dict[str, Entry] = {}
    homes: dict[str, str] = {}
    for file in (path or default_path(), *extra):
        for slug, (line, entry) in _read(Path(file)).items():
            if slug in entries:
                raise CatalogError(
                    f"{file}:{line}: the slug {slug!r} is taken ({homes[slug]}); choose another"
                )
            entries[slug], homes[slug] = entry, f"{file}:{line}"
    return entries


def is_slug(name: str) -> bool:
    """Whether a dataset can have this name."""
    return name.isascii() and name.isidentifier() and name.lower() == name


def no_dataset(slug: str, known: Iterable[str]) -> str:
    """What to say of a slug that is none of the known ones."""
    return f"no dataset {slug!r}{near(slug, known) or '; `medshards catalog` lists them'}"


def _read(path: Path) -> dict[str, tuple[int, Entry]]:
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise CatalogError(str(error)) from error
    if not isinstance(content, LocatedDict):
        raise CatalogError(f"{path}:1: expected entries 'slug: …', found {type(content).__name__}")
    entries: dict[str, tuple[int, Entry]] = {}
    problems: list[tuple[int, str]] = []
    for slug, facts in content.items():
        line = content.lines[slug]
        if not isinstance(slug, str) or not is_slug(slug):
            problems.append(
                (line, f"bad slug {slug!r}; a slug is lower-case letters, digits and underscores")
            )
            continue
        if slug == "all":
            problems.append((line, "the slug 'all' stands for all datasets together; choose another"))
            continue
        if isinstance(facts, LocatedDict):
            if "slug" in facts:
                own = facts.lines["slug"]
                problems.append((own, f"{slug}.slug: remove it; the slug is the key of the entry"))
            facts = dict(facts) | {"slug": slug}
        try:
            entries[slug] = line, Entry.model_validate(facts)
        except ValidationError as error:
            for problem in error.errors():
                where = [str(part) for part in problem["loc"] if not str(part).startswith("function-")]
                found = _line_of(content, (slug, *problem["loc"]))
                problems.append((found, f"{'.'.join([slug, *where])}: {_in_words(dict(problem))}"))
    if problems:
        raise CatalogError("\n".join(f"{path}:{line}: {what}" for line, what in sorted(problems)))
    return entries


def _line_of(content: LocatedDict, place: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `place` that stands in the file."""
    line, value = content.line, content
    for part in place:
        if isinstance(value, LocatedDict) and part in value:
            line, value = value.lines[part], value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            line = value.line if isinstance(value, LocatedDict) else line
    return line


def _in_words(problem: dict[str, Any]) -> str:
    """What is wrong and what to do, from an error of pydantic."""
    kind, found = problem["type"], problem["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "there is no such field; see docs/catalog.md"
    if isinstance(found, bool) and kind in ("literal_error", "string_type"):
        word = "yes" if found else "no"
        return f'{word} without quotes is {found} in YAML; write "{word}" in quotes'
    said = problem["msg"].removeprefix("Value error, ")
    return said if isinstance(found, dict | list) else f"{said}, found {found!r}"
