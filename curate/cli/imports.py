"""Command `import`."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from medshards.common.commands import LocalPath
from medshards.common.console import say_some
from medshards.common.machine import MachineError
from medshards.curate.catalog.entry import CatalogError, Instances
from medshards.curate.listing import list_download
from medshards.curate.sample import Reject
from medshards.curate.source import Own, get_source, vocabulary_of
from medshards.curate.standard.finding import Found
from medshards.curate.standard.importing import (
    CONCEPTS,
    CONVERTER,
    FORMATS,
    LABELS,
    Answers,
    Format,
    find,
    format_of,
    write_dataset,
)
from medshards.vocab.vocabulary import Vocabulary, VocabularyError, load_labels

QUESTIONS = {
    "title": "Name of the dataset",
    "modality": "Modality (one of the catalog's headings, such as Ultrasound)",
    "licence": "Licence, as its owner states it",
    "homepage": "Address where the data is described (https://…)",
    "citation": "Who made it, and how it is cited",
    "group": "Regular expression for patient or video in the path of an image; none: the names do not tell",
}


@click.command("import")
@click.argument("folder", metavar="DIR", type=LocalPath(exists=True))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), required=True, help="What lies in DIR.")
@click.option("--slug", required=True, help="Name of the dataset: lower-case letters, digits, underscores.")
@click.option("--out", "target", type=LocalPath(), required=True, help="Folder for the files.")
@click.option(
    "--labels",
    type=LocalPath(exists=True, dir_okay=False),
    help="Label file: what each label means (docs/add-a-dataset.md, 3). Without it the labels found are shown.",
)
@click.option(
    "--concepts",
    type=LocalPath(exists=True, dir_okay=False),
    help="Concepts that the vocabulary lacks (docs/add-a-dataset.md, Your own concepts).",
)
@click.option("--group", metavar="REGEX", help=f"{QUESTIONS['group']}.")
@click.option(
    "--split", metavar="REGEX", help="Where the authors' split stands in the path; else there is none."
)
@click.option(
    "--images", metavar="PATH", help='pairs, labelmap: path of an image, such as "images/{name}.png".'
)
@click.option(
    "--masks", metavar="PATH", help='pairs, labelmap: path of its mask, such as "masks/{name}.png".'
)
@click.option(
    "--instances",
    type=click.Choice(get_args(Instances)),
    help="Where masks are images or volumes: how a mask becomes instances.",
)
@click.option("--title", help=f"{QUESTIONS['title']}.")
@click.option("--modality", help=f"{QUESTIONS['modality']}.")
@click.option("--licence", help=f"{QUESTIONS['licence']}.")
@click.option("--homepage", metavar="URL", help=f"{QUESTIONS['homepage']}.")
@click.option("--citation", metavar="TEXT", help=f"{QUESTIONS['citation']}.")
def import_(
    folder: Path,
    form: str,
    slug: str,
    target: Path,
    labels: Path | None,
    concepts: Path | None,
    **said: Any,
) -> None:
    """Make a dataset of your own of the files in DIR: entry, label file and converter, outside the tree.

    What the files do not say is asked for on a terminal and refused elsewhere. Then `inspect`, `check` and `build` take
    it with --own. Exit status 1 when something in DIR would be refused.

    \b
    medshards import ~/export --format coco --slug mine --labels labels.yaml \\
        --group 'p[0-9]+' --out mine
    medshards build mine --raw ~/export --own mine --out corpus
    """
    try:
        found = find(folder, form)
        if labels is None:
            raise click.UsageError(_template(slug, found))
        answers = Answers(slug=slug, **_complete(form, format_of(form, found), said))
        own = Own(
            (target / CONVERTER).resolve(),
            (target / LABELS).resolve(),
            concepts and (target / CONCEPTS).resolve(),
        )
        vocabulary = vocabulary_of(replace(own, concepts=concepts))
        known = load_labels(slug, labels, vocabulary)
        write_dataset(target, form, found, answers, labels, known, concepts)
        listing = list_download(get_source(slug, own), folder)
    except (Reject, MachineError, CatalogError, VocabularyError, LookupError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or target}: {error.strerror or error}") from error
    told = [f"{row['file'] or row['case']}: {row['code']}: {row['message']}" for row in listing.rejects]
    say_some([f"would be rejected: {line}" for line in told], "`medshards inspect --json` names all")
    groups = Counter(case.group for case in listing.cases)
    click.echo(f"{slug}: {len(listing.cases)} cases in {len(groups)} groups; files in {target}")
    click.echo(f"next: medshards inspect {slug} --raw {folder} --own {target}")
    if listing.rejects:
        sys.exit(1)


def _complete(form: str, chosen: Format, said: dict[str, Any]) -> dict[str, Any]:
    """All answers; what is missing is asked for, or, where nobody can answer, refused."""
    fixed = chosen.instances
    questions = dict(QUESTIONS)
    if usual := chosen.usual:
        said |= {name: said[name] or path for name, path in zip(("images", "masks"), usual, strict=True)}
    if chosen.paths:
        questions |= {
            "images": "Path of an image, with {fields}",
            "masks": "Path of its mask, with the same fields",
        }
    if fixed is None:
        questions["instances"] = f"How a mask becomes instances ({', '.join(get_args(Instances))})"
    if given := [name for name in ("images", "masks", "instances") if said[name] and name not in questions]:
        raise click.UsageError(f"--{given[0]} does not go with --format {form}")
    missing = [name for name in questions if said[name] is None]
    if missing and not sys.stdin.isatty():
        told = "".join(f"\n  --{name}: {questions[name]}" for name in missing)
        raise click.UsageError(f"the files do not say this; give it as options:{told}")
    said |= {name: click.prompt(questions[name], err=True) for name in missing}
    for name in ("group", "split"):
        if said[name] is not None:
            try:
                re.compile(said[name])
            except re.error as error:
                raise click.UsageError(
                    f"--{name} {said[name]!r} is no regular expression: {error}"
                ) from error
    group = None if said["group"] == "none" else said["group"]
    paths = {name: said[name] or "" for name in ("images", "masks")}
    return said | paths | {"group": group, "instances": fixed or said["instances"]}


def _template(slug: str, found: Found) -> str:
    """What a label file would hold, with the concepts that may be meant."""
    vocabulary = Vocabulary.load()
    lines = [
        f"dataset: {slug}",
        "exhaustive: false  # true: all that is visible of these is annotated",
        "labels:",
    ]
    for label in found.labels or ("LABEL",):
        value = found.values.get(label)
        if value == 0:
            lines.append(f"  {json.dumps(label)}: {{ignore: true, value: 0}}")
            continue
        concept = "CONCEPT" if value is None else f"{{concept: CONCEPT, value: {value}}}"
        near = [concept.id for concept in vocabulary.search(label)][:3]
        hint = f"  # {', '.join(near)}?" if near else ""
        lines.append(f"  {json.dumps(label)}: {concept}{hint}")
    text = "\n".join(lines)
    return f"--labels is missing: write a file that says what each label means, such as\n\n{text}\n"
