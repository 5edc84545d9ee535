"""The site: what lies at each address. A server asks for one answer at a time, a static site is all of them.

Nothing in an address is ever a path of a file: slugs and keys are looked up, everything else is not there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medshards.curate.catalog.entry import Entry
from medshards.shards.browse import catalog, sample, statistics
from medshards.shards.browse.pack import packed
from medshards.shards.browse.runs import Run
from medshards.shards.browse.shelf import ROWS, Shelf
from medshards.shards.build.manifest import read_corpus, read_manifest
from medshards.shards.encode.record import json_bytes
from medshards.shards.read.corpus import Raw
from medshards.shards.view.html import templates

HERE = Path(__file__).parent
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css",
    "js": "text/javascript",
    "csv": "text/csv",
    "svg": "image/svg+xml",
}
KEY = r"(?P<key>[A-Za-z0-9_-]{1,80})"
SLUG = r"(?P<slug>[a-z0-9_]{1,80})"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"  # a page on its own, without scripts
PACK = 12  # samples of one file of a static site; half a page of the grid


@dataclass(frozen=True)
class Answer:
    """What lies at an address. kind: its media type. policy: what its page may load."""

    body: bytes
    kind: str
    policy: str = POLICY


class Site:
    """The catalog, and a corpus seen through it. pack: samples of one answer. full: pictures of each dataset that are
    there in full and not only small; None: all.

    runs: folders of training runs. audit: what `medshards audit --json` printed of the corpus. Raises
    FileNotFoundError when `out` is no corpus or a run none.
    """

    def __init__(
        self,
        out: Path,
        entries: dict[str, Entry],
        pack: int = 1,
        full: int | None = None,
        runs: Sequence[Path] = (),
        audit: dict[str, Any] | None = None,
    ) -> None:
        facts = read_corpus(out)
        if facts is None:
            raise FileNotFoundError(f"{out} is no corpus: it has no corpus.json; `medshards build` makes one")
        self.out, self.entries, self.facts, self.pack, self._full = out, entries, facts, pack, full
        self.runs, self.audit = [Run(folder) for folder in runs], audit
        self.shelves = {slug: Shelf(out, slug) for slug in sorted(facts["datasets"])}
        self._templates = templates(HERE / "pages")
        self._routes: list[tuple[re.Pattern[str], Callable[..., Answer | None]]] = [
            (re.compile(pattern), answer)
            for pattern, answer in (
                (r"(index\.html)?", self._catalog),
                (rf"datasets/{SLUG}\.html", self._dataset),
                (r"corpus\.html", self._corpus),
                (r"sample\.html", lambda: self._page("sample.html.j2", "sample", facts=self._contents)),
                (r"statistics\.html", self._statistics),
                (r"statistics/(?P<name>[a-z_]+)\.csv", self._table),
                (r"runs\.html", self._runs),
                (r"runs/(?P<number>\d{1,3})/overlay-(?P<place>\d{1,3})\.png", self._overlay),
                (r"runs/(?P<number>\d{1,3})/(?P<name>[\w.-]+\.html)", self._report),
                (r"assets/(?P<name>[a-z]+\.(?:css|js|svg))", self._asset),
                (rf"rows/{SLUG}/(?P<page>\d{{1,6}})\.js", self._rows),
                (rf"small/{SLUG}/{KEY}\.jpg", self._small),
                (rf"pictures/{SLUG}/{KEY}", self._picture),
                (rf"samples/{SLUG}/(?P<number>\d{{1,8}})\.js", self._samples),
                (rf"rejects/{SLUG}/(?P<page>\d{{1,6}})\.js", self._rejects),
                (rf"numbers/{SLUG}/{KEY}\.js", self._numbers),
            )
        ]

    def get(self, address: str) -> Answer | None:
        """What lies at an address (without a leading slash); None where nothing does. Raises BadSample, StoreError."""
        for pattern, answer in self._routes:
            if match := pattern.fullmatch(address):
                named = {name: value for name, value in match.groupdict().items() if value is not None}
                return answer(**named)
        return None

    def prepare(self) -> None:
        """Read all tables and templates now, so that no page has to wait for them."""
        for address in ("index.html", "corpus.html", "sample.html", "statistics.html"):
            self.get(address)

    def addresses(self) -> Iterator[str]:
        """All addresses."""
        yield from ("index.html", "corpus.html", "sample.html", "statistics.html")
        yield from (f"assets/{path.name}" for path in sorted((HERE / "assets").iterdir()))
        yield from (f"statistics/{name}.csv" for name in self._figures.tables)
        yield from (f"datasets/{slug}.html" for slug in self._known)
        for number, run in enumerate(self.runs):
            yield from (f"runs/{number}/overlay-{place}.png" for place in range(len(run.overlays)))
            yield from (f"runs/{number}/{name}" for name in run.reports)
        if self.runs:
            yield "runs.html"
        for slug, shelf in self.shelves.items():
            yield from (f"rows/{slug}/{page}.js" for page in range(_pages(len(shelf), ROWS)))
            yield from (f"rejects/{slug}/{page}.js" for page in range(_pages(len(shelf.rejects), ROWS)))
            yield from (f"samples/{slug}/{number}.js" for number in range(_pages(len(shelf), self.pack)))
            if stands := shelf.first_with_instances():
                yield f"small/{slug}/{stands}.jpg"
            for row in self.full[slug]:
                key, volume = (shelf.table[name][row].as_py() for name in ("key", "volume"))
                yield f"pictures/{slug}/{key}"
                if volume is not None:
                    yield f"numbers/{slug}/{key}.js"

    @cached_property
    def _known(self) -> list[str]:
        """Slugs of the catalog, then those that the corpus alone has."""
        return [*self.entries, *(slug for slug in self.shelves if slug not in self.entries)]

    @cached_property
    def _figures(self) -> statistics.Statistics:
        return statistics.Statistics(self.out, self.shelves, self.entries)

    @cached_property
    def full(self) -> dict[str, Collection[int]]:
        """Rows of each dataset whose picture is there in full."""
        most = self._full
        return {
            slug: range(len(shelf)) if most is None else shelf.some(most)
            for slug, shelf in self.shelves.items()
        }

    def _page(self, template: str, here: str, root: str = "", **content: Any) -> Answer:
        html = self._templates.get_template(template).render(
            here=here, root=root, has_runs=bool(self.runs), **content
        )
        return Answer(html.encode(), TYPES["html"])

    def _catalog(self) -> Answer:
        return self._page(
            "catalog.html.j2", "catalog", cards=self._cards, choices=catalog.choices(self._cards)
        )

    @cached_property
    def _cards(self) -> list[dict[str, Any]]:
        return catalog.cards(self.entries, self.shelves, self.facts["datasets"])

    def _dataset(self, slug: str) -> Answer | None:
        if slug not in self._known:
            return None
        shelf, entry = self.shelves.get(slug), self.entries.get(slug)
        measured = next((row for row in self._figures.measured if row["slug"] == slug), None)
        return self._page(
            "dataset.html.j2",
            "catalog",
            "../",
            slug=slug,
            entry=entry,
            sheet=catalog.sheet(entry) if entry else [],
            labels=catalog.labels(slug),
            measured=measured,
            counts=catalog.counts(entry, measured) if measured else [],
            left=self._left_out(slug) if shelf else {},
            rejected=sorted(Counter(r["code"] for r in shelf.rejects).items()) if shelf else [],
        )

    def _left_out(self, slug: str) -> dict[str, int]:
        """What the build left out without refusing it, by reason."""
        manifest = read_manifest(self.out / slug)
        return {**manifest["counts"]["skipped"], **manifest["counts"]["lost"]} if manifest else {}

    def _corpus(self) -> Answer:
        return self._page("corpus.html.j2", "corpus", facts=self._contents)

    @cached_property
    def _contents(self) -> dict[str, Any]:
        """What the pages of samples have to know of the corpus to find one."""
        datasets, texts = [], dict[str, str]()
        for row in self._figures.measured:
            shelf, entry = self.shelves[row["slug"]], self.entries.get(row["slug"])
            datasets.append(
                {
                    "slug": row["slug"],
                    "title": entry.title if entry else row["slug"],
                    "samples": len(shelf),
                    "firsts": shelf.firsts,
                    "concepts": list(row["concepts"]),
                    "rejects": len(shelf.rejects),
                }
            )
            manifest = read_manifest(self.out / row["slug"])
            known = manifest["policy"]["texts"] if manifest else {}
            texts |= {concept: known.get(concept, concept) for concept in row["concepts"]}
        reasons = sorted({r["code"] for shelf in self.shelves.values() for r in shelf.rejects})
        concepts = dict(sorted(texts.items()))
        return {"pack": self.pack, "datasets": datasets, "concepts": concepts, "reasons": reasons}

    def _statistics(self) -> Answer:
        return self._page("statistics.html.j2", "statistics", figures=self._figures, audit=self.audit)

    def _runs(self) -> Answer | None:
        return self._page("runs.html.j2", "runs", runs=list(enumerate(self.runs))) if self.runs else None

    def _overlay(self, number: str, place: str) -> Answer | None:
        overlays = self.runs[int(number)].overlays if int(number) < len(self.runs) else []
        return Answer(overlays[int(place)][1], "image/png") if int(place) < len(overlays) else None

    def _report(self, number: str, name: str) -> Answer | None:
        if int(number) >= len(self.runs) or name not in self.runs[int(number)].reports:
            return None
        return Answer((self.runs[int(number)].folder / name).read_bytes(), TYPES["html"], REPORT)

    def _table(self, name: str) -> Answer | None:
        table = self._figures.tables.get(name)
        return Answer(statistics.csv_of(table).encode(), TYPES["csv"]) if table is not None else None

    def _asset(self, name: str) -> Answer | None:
        path = next((p for p in (HERE / "assets").iterdir() if p.name == name), None)
        return Answer(path.read_bytes(), TYPES[name.rpartition(".")[2]]) if path else None

    def _rows(self, slug: str, page: str) -> Answer | None:
        shelf = self.shelves.get(slug)
        if shelf is None or int(page) >= _pages(len(shelf), ROWS):
            return None
        return _script(f"rows/{slug}/{page}", shelf.rows(int(page)))

    def _rejects(self, slug: str, page: str) -> Answer | None:
        shelf = self.shelves.get(slug)
        found = shelf.rejects[int(page) * ROWS :][:ROWS] if shelf else []
        return _script(f"rejects/{slug}/{page}", found) if found else None

    def _samples(self, slug: str, number: str) -> Answer | None:
        shelf = self.shelves.get(slug)
        if shelf is None or int(number) >= _pages(len(shelf), self.pack):
            return None
        first = int(number) * self.pack
        rows = range(first, min(first + self.pack, len(shelf)))
        return _script(f"samples/{slug}/{number}", packed(shelf, rows, self.full[slug]))

    def _small(self, slug: str, key: str) -> Answer | None:
        raw = self._read(slug, key)
        return Answer(sample.small_picture(raw), "image/jpeg") if raw else None

    def _picture(self, slug: str, key: str) -> Answer | None:
        raw = self._read(slug, key)
        return Answer(*sample.picture(raw)) if raw else None

    def _numbers(self, slug: str, key: str) -> Answer | None:
        raw = self._read(slug, key)
        return _script(f"numbers/{slug}/{key}", sample.numbers(raw)) if raw else None

    def _read(self, slug: str, key: str) -> Raw | None:
        shelf = self.shelves.get(slug)
        row = shelf.place(key) if shelf else None
        return shelf.read(row) if shelf is not None and row is not None else None


def _pages(many: int, size: int) -> int:
    return -(-many // size)


def _script(address: str, content: Any) -> Answer:
    """Data as a script: a page that was opened from a disk may load it, as it may not load JSON."""
    body = (
        b"medshards.receive(" + json.dumps(address).encode() + b", " + json_bytes(content).rstrip() + b");\n"
    )
    return Answer(body, TYPES["js"])
