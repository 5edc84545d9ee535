"""All that is known of a dataset, and what is not, as named lines of text: for the terminal and for pages."""

from __future__ import annotations

from medshards.curate.catalog.entry import Archive, Entry, Official, Paper


def sheet_of(entry: Entry) -> list[tuple[str, list[str]]]:
    """Named lines with everything a user needs before the download."""
    licence, citation = entry.licence, entry.citation
    spdx = f", SPDX {licence.spdx}" if licence.spdx else ""
    permissions = f"redistribution: {licence.redistribution}; commercial use: {licence.commercial}"
    floor = f", at least {entry.min_area} px" if entry.min_area else ""
    sheet = [
        (entry.slug, [entry.title, f"{entry.modality}; role: {entry.role}"]),
        ("homepage", [entry.homepage]),
        ("access", [f"{entry.access.kind}: {entry.access.how}"]),
        ("files", [line for archive in entry.archives for line in _archive(archive)]),
        ("licence", _lines(f"{licence.name} [{licence.certainty}{spdx}]", permissions, licence.note)),
        ("citation", _lines(citation.text, citation.doi and f"doi {citation.doi}")),
        ("burnt in", [f"{entry.burnt_in} (text or marks in the pixels, which no build removes)"]),
        ("instances", [entry.instances + floor]),
        ("group", [entry.group]),
        ("official", _lines(_figures(entry.official), entry.official.note)),
    ]
    if entry.paper:
        paper, sure = entry.paper, entry.paper.certainty
        rule = paper.rule.model_dump(exclude_defaults=True)
        words = [f"{k}: {', '.join(v) if isinstance(v, list) else v}" for k, v in rule.items()]
        sheet += [
            ("Table 1", [f"{paper.row}: {_figures(paper)}"]),
            (
                "  certainty",
                [f"images {sure.images}, annotations {sure.annotations}, median {sure.median_area}"],
            ),
            ("  rule", ["; ".join(words)]),
            ("  note", [paper.note]),
        ]
    sheet.append(("verified", [f"{entry.verified} (layout and encodings, on real files)"]))
    sheet.append(("open questions", [f"- {question}" for question in entry.open_questions] or ["none"]))
    return sheet


def _lines(*texts: str | None) -> list[str]:
    return [text for text in texts if text]


def _figures(facts: Official | Paper) -> str:
    figures = [
        (facts.images, "{} images"),
        (facts.annotations, "{} annotations"),
        (facts.median_area, "median area {} px"),
    ]
    return ", ".join(form.format(figure(value)) for value, form in figures if value is not None)


def _archive(archive: Archive) -> list[str]:
    size = f" ({archive.bytes:,} bytes)" if archive.bytes else ""
    details = (
        archive.url,
        archive.sha256 and f"sha256 {archive.sha256}",
        archive.md5 and f"md5 {archive.md5}",
    )
    optional = ", optional" if archive.optional else ""
    return [archive.file + size + optional, *(f"  {detail}" for detail in details if detail)]


def figure(value: float | None) -> str:
    """A figure with thousands separators, "-" where it is not known."""
    return "-" if value is None else f"{value:,.1f}".removesuffix(".0")
