"""ATTRIBUTION.md and citations.bib: whom to thank, and on what terms."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medshards.shards.card.about import About
from medshards.shards.card.text import MARK, link, markdown

ABOUT = """\
Whoever uses or passes on this corpus owes the authors of each dataset in it what their licence asks, in most cases
to be named and cited. The licences are as the catalog of medshards reads them, with its certainty: `stated` by the
publisher of the data, said by a `third-party`, or `unverified`. That is no legal advice.
"""


def attribution(datasets: Mapping[str, About]) -> str:
    """Content of ATTRIBUTION.md: every dataset of the corpus with licence and citation."""
    parts = ["# Attribution", f"<!-- {MARK} -->", ABOUT]
    for slug, facts in datasets.items():
        licence, citation = facts["licence"], facts["citation"]
        name = markdown(licence["name"]) + (f" (SPDX {licence['spdx']})" if licence["spdx"] else "")
        lines = [
            f"## {markdown(facts['title'])} (`{slug}`)\n",
            f"- Cite: {markdown(citation['text'])}"
            + (f", {link(_doi(citation['doi']))}" if citation["doi"] else ""),
            f"- Licence: {name} [{licence['certainty']}]; redistribution: {licence['redistribution']}; "
            f"commercial use: {licence['commercial']}",
        ]
        lines += [f"- Note: {markdown(licence['note'])}"] if licence["note"] else []
        lines += [f"- Source: {link(facts['homepage'])}"] if facts["homepage"] else []
        lines.append(
            "- Changes: cut into shards; masks to instance maps, labels to concepts, groups to splits"
        )
        parts.append("\n".join(lines))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def bibliography(datasets: Mapping[str, About]) -> str:
    """Content of citations.bib: an entry a dataset, its key the slug; the citation stands whole in `note`."""
    entries = [f"% {MARK}\n"]
    for slug, facts in datasets.items():
        citation = facts["citation"]
        fields = {"title": f"{{{_tex(facts['title'])}}}", "note": _tex(citation["text"])}
        if citation["doi"]:
            fields["doi"] = citation["doi"]
        if facts["homepage"]:
            fields["url"] = facts["homepage"]
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        entries.append(f"@misc{{{slug},\n{body}}}\n")
    return "\n".join(entries)


def _doi(doi: str) -> str:
    return f"https://doi.org/{doi}"


def _tex(text: str) -> str:
    """Text for a field of BibTeX: the characters that mean something to TeX are escaped, braces left out."""
    return re.sub(r"([#$%&_])", r"\\\1", re.sub(r"[{}\\^~]", "", " ".join(text.split())))
