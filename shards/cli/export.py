"""Command `export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from medshards.common.commands import LocalPath, json_option
from medshards.common.console import progress_bar
from medshards.common.files import appearing
from medshards.shards.export.coco import export_coco
from medshards.shards.export.folders import export_folders
from medshards.shards.export.nnunet import export_nnunet
from medshards.shards.export.report import Report
from medshards.shards.export.saco import export_saco
from medshards.shards.export.samples import Export
from medshards.shards.export.target import write_terms
from medshards.shards.export.yolo import export_yolo
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import BadSample

FORMATS: dict[str, Callable[[Export, Path], Report]] = {
    "coco": export_coco,
    "saco": export_saco,
    "folders": export_folders,
    "nnunet": export_nnunet,
    "yolo-seg": export_yolo,
}


@click.command()
@click.argument("out", metavar="OUT")
@click.option("--to", "form", type=click.Choice(list(FORMATS)), required=True, help="Format to write.")
@click.option("--out", "target", type=LocalPath(), required=True, help="Folder to write; made, or empty.")
@click.option("--datasets", multiple=True, metavar="SLUG", help="Only this dataset; repeatable.")
@json_option("the counts")
def export(out: str, form: str, target: Path, datasets: tuple[str, ...], as_json: bool) -> None:
    """Write the corpus OUT (a folder or URL) in a format of other tools, with licences and citations.

    Every instance is written, or counted as lost with the reason; then the exit status is 1. docs/ecosystem.md says
    what each format holds.

    \b
    medshards export corpus --to coco --out corpus-coco
    medshards export corpus --to saco --out corpus-saco --datasets busi
    """
    try:
        with progress_bar(form) as progress, appearing(target) as folder:
            source = Export(out, datasets or None, progress)
            report = FORMATS[form](source, folder)
            write_terms(folder, source.about)
    except (CorpusError, BadSample, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or target}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps(report.facts, indent=1))
    else:
        click.echo(f"{report.images} images, {report.instances} instances in {target}")
        for what, count in report.changed.items():
            click.echo(f"changed {count}: {what}")
    for what, count in report.lost.items():
        click.echo(f"lost {count}: {what}", err=True)
    if report.lost:
        sys.exit(1)
