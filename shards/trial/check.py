"""Check a dataset that is being added: is everything there, does it fit together, what do its samples look like?"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medshards.common.spread import spread
from medshards.common.text import in_words
from medshards.curate import phantoms
from medshards.curate.catalog.entry import Entry
from medshards.curate.identify import identify
from medshards.curate.listing import RejectRow, list_download
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Own, Source, get_source, vocabulary_of
from medshards.shards.encode.policy import Making, Policy
from medshards.shards.encode.record import Encoded
from medshards.shards.encode.walk import Walked, walk
from medshards.shards.view.drawing import Cell, Row, page
from medshards.shards.view.samples import truth_cell
from medshards.vocab.vocabulary import DATASETS, LabelMap, Vocabulary, VocabularyError, load_labels

CASES = 24  # read of a download
DRAWN = 6  # samples in the picture
SHOWN = 5  # problems of one kind that are told
PHANTOM_BYTES, PHANTOM_SECONDS = 200_000, 2.0
TESTS = DATASETS.resolve().parents[1] / "tests" / "curate" / "datasets"  # in a checkout


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. text: what is there or, when it is not `done`, what to do."""

    part: str
    done: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok   ' if self.done else 'to do'}  {self.part}: {self.text}"


def check(
    slug: str, entries: Mapping[str, Entry], own: Own | None, root: Path | None, picture: Path
) -> Iterator[Finding]:
    """Check everything a dataset needs, in the order in which it is best written; draw its first samples.

    root: its download; without it the phantom is drawn. picture: the PNG that is written.
    """
    yield _entry(slug, entries)
    labels, source = None, None
    try:
        labels = load_labels(slug, own.labels if own else None, vocabulary_of(own) if own else None)
        named = ", ".join(labels.concepts)
        yield Finding("labels", True, f"{len(labels.labels)} labels, which mean {named or 'no concept'}")
    except VocabularyError as error:
        yield from (Finding("labels", False, line) for line in str(error).splitlines())
    try:
        source = get_source(slug, own)
        titles = "; ".join(layout.title for layout in source.layouts)
        yield Finding("converter", bool(titles), titles or "describe in `layouts` how the download looks")
    except (LookupError, VocabularyError) as error:
        yield Finding("converter", False, _in_words(error, slug, own))
    except Exception as error:
        yield Finding("converter", False, f"mend it: {in_words(error)}")
    entry = entries.get(slug)
    if own is None:
        yield from _phantom(slug, source, entry)
        yield _tests(slug)
    if source is None or entry is None or labels is None:
        yield Finding("samples", False, "not looked at before the above is there")
        return
    if root is not None:
        yield from _download(source, entry, labels, vocabulary_of(own), root, picture)
    elif own is None and slug in phantoms.slugs():
        with tempfile.TemporaryDirectory() as folder:
            phantoms.write_phantom(slug, Path(folder))
            yield from _download(source, entry, labels, Vocabulary.load(), Path(folder), picture)
    else:
        yield Finding("samples", False, "give the download with --raw DIR")


def _entry(slug: str, entries: Mapping[str, Entry]) -> Finding:
    entry = entries.get(slug)
    if entry is None:
        todo = f"write an entry {slug!r} into catalog.yaml, or into a file of your own for --catalog; docs/catalog.md"
        return Finding("catalog", False, f"{todo} explains each field")
    floor = f" of at least {entry.min_area} px" if entry.min_area else ""
    return Finding(
        "catalog", True, f"{entry.title}; instances: {entry.instances}{floor}; group: {entry.group}"
    )


def _in_words(error: Exception, slug: str, own: Own | None) -> str:
    if own is None and not (DATASETS / slug / "converter.py").exists():
        return f"write curate/datasets/{slug}/converter.py with a class Converter, after its neighbour kvasir_seg"
    return str(error).splitlines()[0]


def _phantom(slug: str, source: Source | None, entry: Entry | None) -> Iterator[Finding]:
    """Does the phantom give what it promises, is it small, and is it taken for no other dataset?"""
    if slug not in phantoms.slugs():
        file = f"curate/datasets/{slug}/phantom.py"
        todo = f"write {file} with write(root, rng) and EXPECTED, after its neighbour kvasir_seg"
        yield Finding("phantom", False, todo)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        start = time.perf_counter()
        try:
            expected = phantoms.write_phantom(slug, root)
        except Exception as error:
            yield Finding("phantom", False, f"mend write: {in_words(error)}")
            return
        seconds, size = (
            time.perf_counter() - start,
            sum(f.stat().st_size for f in root.rglob("*") if f.is_file()),
        )
        if seconds > PHANTOM_SECONDS or size > PHANTOM_BYTES:
            yield Finding("phantom", False, f"make it smaller: it took {seconds:.1f} s and {size:,} bytes")
        if source is None or entry is None:
            yield Finding(
                "phantom", True, f"{size:,} bytes; not converted before entry and converter are there"
            )
            return
        others = [other for other in identify(root) if other != slug]
        if others:
            todo = f"its tree is taken for {', '.join(others)} too: put names that only this dataset has into `layouts`"
            yield Finding("phantom", False, todo)
        try:
            found = _convert(source, Policy.of(entry, Making(), source.labels, Vocabulary.load()), root)
        except Exception as error:
            yield Finding("phantom", False, f"is not converted: {error}")
            return
    if found == expected:
        rejects = sum(expected.rejects.values())
        yield Finding(
            "phantom", True, f"{expected.samples} samples, {expected.instances} instances, {rejects} refused"
        )
    else:
        yield Finding("phantom", False, f"EXPECTED is {expected}, the converter makes {found}")


def _convert(source: Source, policy: Policy, root: Path) -> phantoms.Expected:
    """What the default build makes of a small download."""
    listing = list_download(source, root)
    rejects, concepts = Counter(r["code"] for r in listing.rejects), Counter[str]()
    samples, skipped = 0, len(listing.skips)
    for walked in (walk(source, policy, case, _Read) for case in listing.cases):
        rejects.update(row["code"] for row in walked.rejects)
        skipped += len(walked.skips)
        samples += len(walked.samples)
        concepts.update(concept for read in walked.samples for concept in read.concepts)
    return phantoms.Expected(samples, dict(concepts), dict(rejects), skipped)


@dataclass(frozen=True, eq=False)
class _Read:
    sample: Sample
    encoded: Encoded

    @property
    def concepts(self) -> list[str]:
        """That of each instance."""
        return [instance["concept"] for instance in self.encoded.record["instances"]]


def _tests(slug: str) -> Finding:
    name = f"tests/curate/datasets/test_{slug}.py"
    if not TESTS.is_dir():
        return Finding("tests", True, "this is no checkout, tests are not looked for")
    there = (TESTS / f"test_{slug}.py").is_file()
    todo = f"write {name}: each pitfall of the files that code can get wrong, with the right outcome"
    return Finding("tests", there, name if there else todo)


def _download(
    source: Source, entry: Entry, labels: LabelMap, vocabulary: Vocabulary, root: Path, picture: Path
) -> Iterator[Finding]:
    try:
        listing = list_download(source, root)
    except Reject as reject:
        yield Finding("download", False, str(reject))
        return
    places = "; ".join(f"{tree.layout.title} in {root / tree.base}" for tree in listing.trees)
    yield Finding("download", True, places)
    yield from _some("discover", [_told(row) for row in listing.rejects])
    groups = len({case.group for case in listing.cases})
    yield Finding(
        "cases",
        bool(groups),
        f"{len(listing.cases)} in {groups} groups, {len(listing.skips)} files passed over",
    )
    policy = Policy.of(entry, Making(), labels, vocabulary)
    chosen = spread(list(listing.cases), CASES)
    walked = [walk(source, policy, case, _Read) for case in chosen]
    yield from _some("load", [_told(row) for each in walked for row in each.rejects])
    read = [sample for each in walked for sample in each.samples]
    if chosen and _blobs(walk(source, policy, chosen[0], _Read)) != _blobs(walked[0]):
        yield Finding(
            "load", False, f"{chosen[0].key}: two readings differ; load must depend on its files alone"
        )
    if not read:
        yield Finding("samples", False, f"none of {len(chosen)} cases gives a sample")
        return
    counts = Counter(concept for r in read for concept in r.concepts)
    told = ", ".join(f"{n} {concept}" for concept, n in sorted(counts.items()))
    yield Finding("samples", True, f"{len(read)} of {len(chosen)} cases read; instances: {told or 'none'}")
    seen = {i.label for r in read for i in r.sample.instances}
    unseen = sorted(native for native, label in labels.labels.items() if label.concept and native not in seen)
    if unseen:
        yield Finding("labels", True, f"not seen in these samples: {', '.join(unseen)}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    cells = [_cell(r, policy) for r in spread([r for r in read if r.concepts] or read, DRAWN)]
    page([Row(entry.title, [entry.modality], cells)]).save(picture, "PNG")
    yield Finding("picture", True, f"look at {picture}: do the contours lie on what the prompts name?")


def _told(row: RejectRow) -> str:
    hint = (
        "; load must raise a Reject that says what is wrong with the file" if row["code"] == "failed" else ""
    )
    return f"{row['file']}: {row['code']}: {row['message']}{hint}"


def _blobs(walked: Walked[_Read]) -> list[bytes]:
    return [read.encoded.blob for read in walked.samples]


def _some(part: str, problems: Sequence[str]) -> Iterator[Finding]:
    yield from (Finding(part, False, problem) for problem in problems[:SHOWN])
    if len(problems) > SHOWN:
        yield Finding(
            part, False, f"and {len(problems) - SHOWN} more; `medshards inspect --json` lists them all"
        )


def _cell(read: _Read, policy: Policy) -> Cell:
    image, instances = read.sample.image, policy.instances(read.sample)[0]
    return truth_cell(
        image.pixels, read.encoded.record, lambda entry: instances[entry["id"] - 1].region.mask(image.size)
    )
