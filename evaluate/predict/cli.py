"""Command `predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from medshards.common.commands import LocalPath, json_option
from medshards.evaluate.cli import options

if TYPE_CHECKING:
    from medshards.common.window import Windows

FORMATS = ("png", "coco", "nifti", "dicom-seg")


@click.command()
@click.argument("inputs", nargs=-1)
@click.option(
    "--checkpoint",
    required=True,
    help=options.ANSWERS,
)
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="What to look for; repeatable.")
@click.option(
    "--jobs",
    type=LocalPath(exists=True, dir_okay=False),
    help="Instead of INPUT and --prompt a table: JSON [{file, prompts}] or CSV file,prompts (prompts parted by ;).",
)
@click.option("--out", required=True, type=LocalPath(file_okay=False), help="Folder to write to.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("png",),
    show_default=True,
    help="Label pictures, one COCO file, volumes on the source's grid, or DICOM SEG; repeatable.",
)
@click.option("--overlay", is_flag=True, help="Also write a picture of each input with what was found.")
@click.option("--canonical", is_flag=True, help="Ask a synonym by the vocabulary's own text.")
@click.option(
    "--aggregate",
    type=options.AGGREGATES,
    default="union",
    show_default=True,
    help="What is written of a text: the best instance, all good ones, or the semantic map.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Instances with less are left out.  [default: 0.5 with union, 0.1 with top1]",
)
@click.option(
    "--thresholds",
    type=LocalPath(exists=True, dir_okay=False),
    help="A score for each concept, as `medshards evaluate --threshold auto` wrote it, with its way to make masks.",
)
@click.option(
    "--tracker",
    metavar="WEIGHTS",
    help="Follow the objects of volumes with SAM3's video tracker, each from the slice where it is largest: a folder "
    "or Hub name with its weights, e.g. facebook/sam3.  [default: what touches from slice to slice is one object]",
)
@options.model
@json_option("what was found")
def predict(
    inputs: tuple[str, ...],
    checkpoint: str,
    prompts: tuple[str, ...],
    jobs: Path | None,
    out: Path,
    formats: tuple[str, ...],
    overlay: bool,
    canonical: bool,
    aggregate: str,
    min_score: float | None,
    thresholds: Path | None,
    tracker: str | None,
    windows: Windows,
    batch: int | None,
    precision: str | None,
    base: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Segment images and volumes by text prompts.

    INPUT is a picture, a NIfTI or MetaImage volume, a DICOM file, a folder of any of these, or a pattern. Volumes are
    gone through slice by slice; what touches from slice to slice is one object. An input that cannot be read is named,
    the rest goes on, and the exit status is 1.

    \b
    medshards predict images/ --checkpoint run --prompt polyp --out masks --overlay
    medshards predict ct.nii.gz --checkpoint run --prompt liver --prompt spleen --out seg --format nifti
    medshards predict study/ --checkpoint run --prompt liver --out seg --format dicom-seg
    """
    from medshards.common.console import say
    from medshards.curate.sample import Reject
    from medshards.evaluate.open import OPENING, default_device, open_segmenter, vocabulary_of
    from medshards.evaluate.predict.jobs import JobsError, read_jobs
    from medshards.evaluate.predict.run import run
    from medshards.evaluate.thresholds import ThresholdError, Thresholds
    from medshards.train.model.answers import MIN_SCORE, UNION_SCORE, Rule

    if (jobs is None) == (not inputs) or (jobs is None) != bool(prompts):
        raise click.UsageError("give INPUT and --prompt, or --jobs alone")
    if aggregate == "semantic" and min_score is not None:
        raise click.UsageError("--min-score has no part in --aggregate semantic")
    given = click.get_current_context().get_parameter_source("aggregate")
    if thresholds is not None and (min_score is not None or given is ParameterSource.COMMANDLINE):
        raise click.UsageError(
            "--thresholds say how masks are made: give no --aggregate and no --min-score with them"
        )
    if "dicom-seg" in formats:
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            raise click.UsageError(
                "--format dicom-seg needs highdicom: pip install 'medshards[dicom-seg]'"
            ) from error
    try:
        asked = read_jobs(jobs) if jobs is not None else {text: list(prompts) for text in inputs}
        default = {"top1": MIN_SCORE, "union": UNION_SCORE, "semantic": None}[aggregate]
        rule = Rule(aggregate, default if min_score is None else min_score)  # type: ignore[arg-type]
        if thresholds is not None:
            rule = Thresholds.read(thresholds).rule
    except (JobsError, ThresholdError) as error:
        raise click.ClickException(str(error)) from error
    try:
        segmenter, vocabulary = (
            open_segmenter(checkpoint, device, batch, precision, base),
            vocabulary_of(checkpoint),
        )
    except OPENING as error:
        raise click.ClickException(str(error)) from error
    following = None
    if tracker is not None:
        from medshards.evaluate.predict.tracker import Tracker, TrackerError

        try:
            following = Tracker.load(tracker, device or default_device())
        except TrackerError as error:
            raise click.ClickException(str(error)) from error
    try:
        summary = run(
            segmenter, asked, rule, out, formats, overlay, canonical, windows, following, vocabulary
        )
    except Reject as reject:
        raise click.ClickException(str(reject)) from reject
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror or error}") from error
    if as_json:
        made = {**segmenter.facts(), "mask": str(rule), **({"tracker": tracker} if tracker else {})}
        click.echo(json.dumps({"made": made, **summary}, indent=1))
    else:
        _tell(summary, out)
    for each in summary["refused"]:
        say(f"refused {each['input']}: {each['reason']}")
    if summary["refused"]:
        sys.exit(1)


def _tell(summary: dict[str, Any], out: Path) -> None:
    for text in summary["outside_vocabulary"]:
        click.echo(f"note: {text!r} is not in the vocabulary; it was asked as it is", err=True)
    for each in summary["inputs"]:
        found = ", ".join(
            f"{count} × {text}" if count else f"no {text}" for text, count in each["found"].items()
        )
        click.echo(f"{each['input']}: {found}")
    click.echo(f"{len(summary['inputs'])} inputs, {summary['files']} files in {out}")
