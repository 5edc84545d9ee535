"""What a converter is, and the registry of converters.

A converter knows one dataset's downloaded tree. `discover` lists the work from names and small tables;
`load` decodes one case and may run in any process. Adding a dataset is adding `curate/datasets/<slug>/converter.py`
with a class `Converter(Source)`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from medshards.common.text import in_words, near
from medshards.curate.pseudonyms import open_renamed
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.tree import File, Layout, Tree, open_download
from medshards.vocab.vocabulary import DATASETS, LabelMap, Vocabulary, load_labels


@dataclass(frozen=True, slots=True)
class Case:
    """One unit of work: small, picklable, the same on every machine.

    key: stable and unique in the dataset, made by `make_key`; keys of its samples are this key or begin with it.
    files: what `load` reads, by role ("image", "mask", …).
    group: samples of one group never stand on both sides of a split.
    split: the official split, if there is one.
    facts: what small tables say of the case (spacing, grade …): JSON values only.
    """

    key: str
    files: Mapping[str, File]
    group: str
    split: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """A file that is in order and yet no sample, e.g. an image of an official test set without public mask.

    reason: the same words for all files skipped for that reason: they are counted by it.
    also: further files that are passed over with it, such as the mask of an image.
    """

    file: str
    reason: str
    also: tuple[str, ...] = ()


class Source(ABC):
    """A converter of one dataset.

    layouts: the distributions it can read, the most native first.
    ignored: why files of a download are not read, such as a second observer's masks, by glob relative to a tree's base
        (one that begins with `**/` fits anywhere in the download). Other pictures that are passed over are refused.
    loose: a case takes what it needs of a study, and names what it misses; other files of it are not said one by one.
    private_names: published names tell of a patient (sex, age, a date), so every file comes to `discover` under a name
        of the project's own; `tree.files` still has the published path, for `discover` alone to read. Keys and groups
        are then made with `curate.pseudonyms.pseudonym`, and no message quotes a published name.
    slices: which slices of a volume `load` makes samples of, a rule of `curate.slices.choose`; the build sets it.
    """

    slug: ClassVar[str]
    layouts: ClassVar[tuple[Layout, ...]]
    ignored: ClassVar[Mapping[str, str]] = {}
    loose: ClassVar[bool] = False
    private_names: ClassVar[bool] = False
    slices: str = "annotated"

    def __init__(self, labels: LabelMap | None = None) -> None:
        self.labels = labels if labels is not None else load_labels(self.slug)

    def open(self, root: Path) -> list[Tree]:
        """The trees of the download at `root`, at least one; overridden where names do not tell what it is.

        Raises Reject when the download is not the dataset.
        """
        if self.private_names:
            return open_renamed(root, self.layouts, self.slug)
        return open_download(root, self.layouts)

    @abstractmethod
    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """List the cases of one recognised tree; touches names and small tables only.

        A case that cannot be formed (an image without mask) is handed on as a `Reject`.
        """

    @abstractmethod
    def load(self, case: Case) -> Iterable[Sample | Skip | Reject]:
        """Decode one case. Pure: no state, any process.

        Raises Reject when the whole case cannot be trusted, and hands one on for a single slice or frame of it;
        hands on a Skip for a volume in which no slice is chosen.
        """

    def concept(self, label: str, file: File) -> str:
        """The concept of a native label. Raises Reject for a label that the label file does not know or ignores."""
        try:
            concept = self.labels.concept(label)
        except KeyError:
            concept = None
        if concept is None:
            known = ", ".join(sorted(self.labels.labels))
            raise Reject("unknown_label", f"label {label!r} is not among the known ones: {known}", file.name)
        return concept

    def instances(self, masks: Mapping[str, NDArray[Any]], file: File) -> list[Instance]:
        """One instance for the mask (H×W) of each native label in `file`; labels that are ignored give none."""
        kept = {label: mask for label, mask in masks.items() if label not in self.labels.ignored}
        return [Instance(self.concept(label, file), Region.of(mask), label) for label, mask in kept.items()]


def slugs() -> list[str]:
    """Slugs of all converters: built in, and of installed packages with an entry point `medshards.sources`."""
    built_in = {p.parent.name for p in DATASETS.glob("*/converter.py")}
    return sorted(built_in | {e.name for e in entry_points(group="medshards.sources")})


@dataclass(frozen=True)
class Own:
    """A dataset of the user's own, outside the tree.

    code: file with its class Converter. labels: its label file; None where the converter brings its labels itself.
    concepts: file with the concepts that its labels mean and the vocabulary does not hold, if there are any.
    """

    code: Path
    labels: Path | None = None
    concepts: Path | None = None


def vocabulary_of(own: Own | None) -> Vocabulary:
    """The concepts that the labels of a dataset may mean. Raises VocabularyError."""
    vocabulary = Vocabulary.load()
    return vocabulary if own is None or own.concepts is None else vocabulary.with_file(own.concepts)


@cache
def get_source(slug: str, own: Own | None = None) -> Source:
    """The converter of a dataset. Raises LookupError when there is none, and for an own one that cannot be used."""
    if own is not None:
        return _own(slug, own)
    if (DATASETS / slug / "converter.py").is_file():
        return _converter(importlib.import_module(f"medshards.curate.datasets.{slug}.converter"))
    for entry in entry_points(group="medshards.sources"):
        if entry.name == slug:
            return _converter(entry.load())
    raise LookupError(
        f"no converter for {slug!r}{near(slug, slugs()) or '; there are: ' + ', '.join(slugs())}"
    )


def _converter(module: Any, *labels: LabelMap) -> Source:
    converter: Source = module.Converter(*labels)
    return converter


def _own(slug: str, own: Own) -> Source:
    spec = importlib.util.spec_from_file_location(f"own_{slug}", own.code)
    if spec is None or spec.loader is None:
        raise LookupError(f"{own.code}: is no Python file")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LookupError(f"{own.code}: cannot be imported: {in_words(error)}") from error
    found = getattr(getattr(module, "Converter", None), "slug", None)
    if found != slug:
        what = "no class Converter with a slug" if found is None else f"the converter of {found!r}"
        raise LookupError(f"{own.code}: holds {what}, expected that of {slug!r}")
    return _converter(module, *([load_labels(slug, own.labels, vocabulary_of(own))] if own.labels else []))
