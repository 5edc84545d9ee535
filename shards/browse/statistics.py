"""The figures of a corpus as tables, each with a plot: what there is, how large, what beside what, what was refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.catalog.entry import Entry
from medshards.shards.browse.shelf import Shelf
from medshards.shards.build.index import ANNOTATIONS, INDEX, read_columns
from medshards.shards.build.split import SPLITS
from medshards.shards.prove.stats import corpus_stats
from medshards.shards.prove.table1 import compare, number
from medshards.shards.view.plot import bars, intervals, matrix

SHOWN = 40  # bars of a plot; the table behind it has all
TOGETHER = 24  # concepts of the plot of what stands beside what
Table = list[dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A plot (SVG) of one of the tables. note: what is left out of it, and how it is meant."""

    title: str
    table: str
    svg: str
    note: str = ""


class Statistics:
    """What is measured of the corpus at `out`: tables by name, plots of them, and Table 1 of the paper beside it."""

    def __init__(self, out: Path, shelves: Mapping[str, Shelf], entries: Mapping[str, Entry]) -> None:
        self.measured = corpus_stats(out, dict(entries))
        counts = _Counts()
        for slug in shelves:
            counts.add(out / slug)
        rejects = Counter((slug, r["code"]) for slug, shelf in shelves.items() for r in shelf.rejects)
        modality = {slug: entries[slug].modality if slug in entries else "other" for slug in shelves}
        self.tables: dict[str, Table] = {
            "samples": [
                {"dataset": m["slug"], **{s: m["splits"][s]["images"] for s in SPLITS}} for m in self.measured
            ],
            "instances": [
                {"dataset": m["slug"], **{s: m["splits"][s]["annotations"] for s in SPLITS}}
                for m in self.measured
            ],
            "modalities": _summed(self.measured, modality),
            "concepts": [
                {"concept": c, **{s: counts.instances[c, s] for s in SPLITS}, "samples": counts.alone[c]}
                for c, _ in _by_count(self.measured)
            ],
            "areas": [
                {"from_px": 2**k, "below_px": 2 ** (k + 1), "instances": counts.areas[k]}
                for k in range(min(counts.areas, default=0), max(counts.areas, default=-1) + 1)
            ],
            "areas_of_concepts": _quantiles(counts.sizes),
            "together": [
                {"concept": a, "other": b, "samples": n}
                for (a, b), n in sorted(counts.together.items(), key=lambda pair: (-pair[1], pair[0]))
            ],
            "rejects": [
                {"dataset": slug, "reason": code, "refused": n} for (slug, code), n in sorted(rejects.items())
            ],
        }  # fmt: skip
        self.table1 = [row for row in compare(self.measured, dict(entries)) if row.measured is not None]
        self.figures = self._plots(counts)

    def _plots(self, found: _Counts) -> list[Figure]:
        def split(name: str, most: int | None = None) -> list[tuple[str, list[int]]]:
            rows = self.tables[name][:most]
            return [(str(next(iter(row.values()))), [row[s] for s in SPLITS]) for row in rows]

        many = len(self.tables["concepts"]) - SHOWN
        more = f"{many} more concepts are in the table." if many > 0 else ""
        spans = []
        for row in self.tables["areas_of_concepts"][:SHOWN]:
            low, median, high = (float(np.log10(row[name])) for name in ("p10", "median", "p90"))
            spans.append((str(row["concept"]), low, median, high))
        areas = [
            (f"{row['from_px']:,}–{row['below_px']:,} px", [row["instances"]]) for row in self.tables["areas"]
        ]
        often = [concept for concept, _ in found.alone.most_common(TOGETHER)]
        counts = [
            [found.alone[a] if a == b else found.together[min(a, b), max(a, b)] for b in often] for a in often
        ]
        made = [
            Figure("Samples by dataset and split", "samples", bars("Samples by dataset", split("samples"), SPLITS)),
            Figure(
                "Instances by dataset and split", "instances", bars("Instances by dataset", split("instances"), SPLITS)
            ),
            Figure(
                "Samples by modality",
                "modalities",
                bars("Samples by modality", [(r["modality"], [r["samples"]]) for r in self.tables["modalities"]]),
            ),
            Figure(
                "Instances by concept and split",
                "concepts",
                bars("Instances by concept", split("concepts", SHOWN), SPLITS),
                more,
            ),
            Figure("Areas of instances", "areas", bars("Areas of instances", areas), "From bar to bar areas double."),
            Figure(
                "Areas of instances by concept",
                "areas_of_concepts",
                intervals("Areas by concept", "area in px, as a power of 10", spans),
                f"Median, and from the tenth to the ninetieth percentile. {more}",
            ),
            Figure(
                "Concepts in one picture",
                "together",
                matrix("Concepts in one picture", often, counts),
                "Number of samples that show both; on the diagonal, that show the one. The most frequent concepts.",
            ),
        ]  # fmt: skip
        if self.tables["rejects"]:
            rows = [(f"{r['dataset']}: {r['reason']}", [r["refused"]]) for r in self.tables["rejects"]]
            made.append(Figure("Refused, by reason", "rejects", bars("Refused", rows)))
        return made

    def table1_rows(self) -> list[list[str]]:
        """Title, then printed and measured figures in turn."""
        return [
            [
                row.title,
                *(number(v) for pair in zip(row.printed, row.measured or (), strict=True) for v in pair),
            ]
            for row in self.table1
        ]


def csv_of(table: Table) -> str:
    """A table as CSV. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(table[0]) if table else [], lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@" else v for k, v in row.items()})
    return stream.getvalue()


class _Counts:
    """together, alone: samples that show a pair of concepts, and one. areas: instances by the power of two of their
    area in px. instances: by concept and split. sizes: areas (px) of the instances of each concept."""

    def __init__(self) -> None:
        self.together, self.alone = Counter[tuple[str, str]](), Counter[str]()
        self.areas, self.instances = Counter[int](), Counter[tuple[str, str]]()
        self.sizes: dict[str, list[NDArray[np.int64]]] = {}

    def add(self, folder: Path) -> None:
        """Count a dataset."""
        column = read_columns(folder / INDEX, ["concepts"])["concepts"]
        for concepts, count in Counter(tuple(c) for c in column.to_pylist()).items():
            for concept in concepts:
                self.alone[concept] += count
            for pair in combinations(sorted(concepts), 2):
                self.together[pair] += count
        table = read_columns(folder / ANNOTATIONS, ["concept", "split", "area"])
        for row in table.group_by(["concept", "split"]).aggregate([("area", "count")]).to_pylist():
            self.instances[row["concept"], row["split"]] += row["area_count"]
        for row in table.group_by("concept").aggregate([("area", "list")]).to_batches():
            for concept, own in zip(row["concept"].to_pylist(), row["area_list"], strict=True):
                self.sizes.setdefault(concept, []).append(own.values.to_numpy())
        powers = np.frexp(np.maximum(table["area"].to_numpy(), 1))[1] - 1
        self.areas.update(
            {int(k): int(n) for k, n in zip(*np.unique(powers, return_counts=True), strict=True)}
        )


def _quantiles(sizes: Mapping[str, Sequence[NDArray[np.int64]]]) -> Table:
    """Instances of each concept and their areas (px), the largest medians first."""
    rows = []
    for concept, parts in sizes.items():
        areas = np.concatenate(parts)
        low, median, high = (round(float(q), 1) for q in np.quantile(areas, (0.1, 0.5, 0.9)))
        facts = {"concept": concept, "instances": len(areas), "least": int(areas.min())}
        rows.append({**facts, "p10": low, "median": median, "p90": high, "most": int(areas.max())})
    return sorted(rows, key=lambda row: (-row["median"], row["concept"]))


def _summed(measured: Sequence[Mapping[str, Any]], modality: Mapping[str, str]) -> Table:
    samples, instances = Counter[str](), Counter[str]()
    for row in measured:
        samples[modality[row["slug"]]] += row["images"]
        instances[modality[row["slug"]]] += row["annotations"]
    return [{"modality": m, "samples": n, "instances": instances[m]} for m, n in samples.most_common()]


def _by_count(measured: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    total = Counter[str]()
    for row in measured:
        total.update(row["concepts"])
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
