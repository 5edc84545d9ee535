"""The command `medshards vocab`: list, show, search and check the concept vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medshards.common.commands import Group, LocalPath, json_option
from medshards.common.text import counted, near
from medshards.vocab.vocabulary import (
    CONCEPTS_FILE,
    DATASETS,
    KINDS,
    Concept,
    LabelMap,
    UnknownConcept,
    Vocabulary,
    VocabularyError,
    load_labels,
    slugs,
)

as_json = json_option("what is listed")


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        as_json,
        click.option("--dataset", metavar="SLUG", help="Only concepts that this dataset annotates."),
        click.option("--kind", type=click.Choice(KINDS), help="Only concepts of this kind."),
    ):
        command = option(command)
    return command


@click.group(cls=Group, invoke_without_command=True)
@_filters
@click.pass_context
def vocab(ctx: click.Context, kind: str | None, dataset: str | None, as_json: bool) -> None:
    """Show, search and check the concept vocabulary; without a sub-command, list it."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, kind=kind, dataset=dataset, as_json=as_json)
    elif kind or dataset or as_json:
        raise click.UsageError(f"put the options behind '{ctx.invoked_subcommand}'")


@vocab.command("list")
@_filters
def list_(kind: str | None, dataset: str | None, as_json: bool) -> None:
    """List the concepts with the datasets that annotate them."""
    vocabulary, maps = _load()
    if dataset is not None and dataset not in maps:
        raise click.BadParameter(
            f"no dataset {dataset!r}{near(dataset, maps) or '; there are ' + ', '.join(maps)}",
            param_hint="--dataset",
        )
    wanted = maps[dataset].concepts if dataset is not None else None
    concepts = [
        concept
        for concept in vocabulary
        if (kind is None or concept.kind == kind) and (wanted is None or concept.id in wanted)
    ]
    _print_concepts(concepts, maps, as_json, f"{len(concepts)} concepts, version {vocabulary.digest[:12]}")


@vocab.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show everything about the concept called NAME (id, prompt or synonym)."""
    vocabulary, maps = _load()
    try:
        concept = vocabulary.resolve(name)
    except UnknownConcept as error:
        raise click.ClickException(str(error)) from error
    facts = _facts(concept, maps) | {
        "ancestors": list(vocabulary.ancestors(concept.id)),
        "children": list(vocabulary.children(concept.id)),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    snomed = concept.snomed
    for field, value in (
        ("id", concept.id),
        ("prompt", concept.text),
        ("kind", concept.kind),
        ("synonyms", ", ".join(concept.synonyms)),
        ("broader", " > ".join(facts["ancestors"])),
        ("narrower", ", ".join(facts["children"])),
        ("SNOMED CT", f"{snomed.code} {snomed.meaning}" if snomed else ""),
    ):
        table.add_row(field, escape(value) or "-")
    for slug, natives in facts["datasets"].items():
        table.add_row("dataset", escape(f"{slug}: {', '.join(natives)}"))
    Console().print(table)


@vocab.command()
@click.argument("term")
@as_json
def search(term: str, as_json: bool) -> None:
    """List the concepts with TERM in their id, prompt or synonyms; exit status 1 when there are none."""
    vocabulary, maps = _load()
    concepts = vocabulary.search(term)
    if not concepts and not as_json:
        raise click.ClickException(
            f"no concept has {term!r} in a name; 'medshards vocab list' shows them all"
        )
    _print_concepts(concepts, maps, as_json, f"{len(concepts)} concepts with {term!r} in a name")
    if not concepts:
        raise SystemExit(1)


@vocab.command()
@click.option("--concepts", type=LocalPath(), default=CONCEPTS_FILE, help="Another concepts.yaml.")
@click.option(
    "--labels",
    type=LocalPath(),
    default=DATASETS,
    help="Another folder with SLUG/labels.yaml in it.",
)
@as_json
def check(concepts: Path, labels: Path, as_json: bool) -> None:
    """Validate concepts.yaml and every label file; exit status 1 when something is wrong."""
    problems: list[str] = []
    maps: list[LabelMap] = []
    vocabulary = Vocabulary([])
    try:
        vocabulary = Vocabulary.load(concepts)
    except VocabularyError as error:
        problems += error.problems
    if not labels.is_dir():
        problems.append(f"{labels}: is not a folder; give the folder that holds <slug>/labels.yaml files")
    if not problems:  # without concepts every label would seem wrong
        for slug in slugs(labels):
            try:
                maps.append(load_labels(slug, labels, vocabulary))
            except VocabularyError as error:
                problems += error.problems
        if not problems:  # a label file left out would leave orphans behind
            problems += [
                f"{concepts}: {orphan}: no dataset annotates it and it is no parent; map a label or remove it"
                for orphan in _orphans(vocabulary, maps)
            ]
    summary = {"concepts": len(vocabulary), "datasets": len(maps), "problems": problems}
    if as_json:
        click.echo(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            click.echo(problem, err=True)
        verdict = f"{len(problems)} problems" if problems else f"all well, version {vocabulary.digest[:12]}"
        click.echo(f"{counted(len(vocabulary), 'concept')}, {counted(len(maps), 'dataset')}: {verdict}")
    if problems:
        raise SystemExit(1)


def _load() -> tuple[Vocabulary, dict[str, LabelMap]]:
    try:
        return Vocabulary.load(), {slug: load_labels(slug) for slug in slugs()}
    except VocabularyError as error:
        raise click.ClickException(str(error)) from error


def _orphans(vocabulary: Vocabulary, maps: list[LabelMap]) -> list[str]:
    """Concepts that no dataset annotates and that are no concept's parent."""
    needed = {concept for labels in maps for concept in labels.concepts}
    needed |= {concept.parent for concept in vocabulary if concept.parent is not None}
    return [concept.id for concept in vocabulary if concept.id not in needed]


def _natives(concept: Concept, maps: dict[str, LabelMap]) -> dict[str, list[str]]:
    """The labels of each dataset that mean this concept."""
    return {
        slug: [native for native, label in labels.labels.items() if label.concept == concept.id]
        for slug, labels in maps.items()
        if concept.id in labels.concepts
    }


def _facts(concept: Concept, maps: dict[str, LabelMap]) -> dict[str, Any]:
    snomed = concept.snomed
    return {
        "id": concept.id,
        "text": concept.text,
        "kind": concept.kind,
        "synonyms": list(concept.synonyms),
        "parent": concept.parent,
        "snomed": {"code": snomed.code, "meaning": snomed.meaning} if snomed else None,
        "datasets": _natives(concept, maps),
    }


def _print_concepts(concepts: list[Concept], maps: dict[str, LabelMap], as_json: bool, caption: str) -> None:
    if as_json:
        click.echo(json.dumps([_facts(concept, maps) for concept in concepts], indent=2, ensure_ascii=False))
        return
    table = Table(box=SIMPLE_HEAD, caption=escape(caption), caption_justify="left")
    table.add_column("id", no_wrap=True)  # the prompt is the id in plain words
    for column in ("kind", "broader", "datasets"):
        table.add_column(column, overflow="fold")
    for concept in concepts:
        datasets = " ".join(_natives(concept, maps))
        table.add_row(*map(escape, (concept.id, concept.kind, concept.parent or "", datasets)))
    Console().print(table)
