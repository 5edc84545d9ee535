"""Say which dataset a download looks like, by the layouts of all converters. Touches names only."""

from __future__ import annotations

from pathlib import Path

from medshards.curate.source import get_source, slugs
from medshards.curate.tree import Tree, recognise, recognise_above, views


def identify(root: Path) -> dict[str, list[Tree]]:
    """The places below `root` that have the layout of a dataset, by slug; empty when it looks like none.

    Archives are opened only where nothing fits without, and the folder above counts when nothing below does.
    Raises Reject as `open_download` does, except for `not_recognised`.
    """
    layouts = {slug: get_source(slug).layouts for slug in slugs()}
    for files in views(root):
        if found := {slug: trees for slug, own in layouts.items() if (trees := recognise(files, own))}:
            return found
    return {slug: trees for slug, own in layouts.items() if (trees := recognise_above(root, own))}


def looks_like(root: Path) -> str:
    """A sentence that names the dataset which a download looks like, "" when it looks like none."""
    found = [f"{slug} ({trees[0].layout.title})" for slug, trees in identify(root).items()]
    return f"It looks like {' or '.join(found)}." if found else ""
