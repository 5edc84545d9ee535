"""Command `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from medshards.common.commands import LocalPath, json_option
from medshards.common.text import comma_separated
from medshards.evaluate.cli import options
from medshards.evaluate.cli.calibrated import calibrated
from medshards.evaluate.cli.compare import compare, tell
from medshards.evaluate.cli.shown import end_unread, json_text, progress

if TYPE_CHECKING:
    from medshards.common.window import Windows
    from medshards.evaluate.dataset import Dataset
    from medshards.evaluate.report.text import Report
    from medshards.evaluate.segmenter import Segmenter
    from medshards.train.model.answers import Rule


@click.command()
@click.option("--data", help="The corpus: a folder that `medshards build` wrote, or its URL.")
@click.option("--checkpoint", type=LocalPath(), help=options.ANSWERS)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Which split.  [default: test of external datasets, val of others]",
)
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these; repeatable.")
@click.option(
    "--aggregate",
    type=options.AGGREGATES,
    multiple=True,
    default=("top1",),
    show_default=True,
    help="A class's mask: that of the best query, the union of all good ones, or the semantic map; repeatable.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    multiple=True,
    default=(0.1, 0.0),
    show_default=True,
    help="top1: below this score nothing is predicted; repeatable.",
)
@click.option(
    "--threshold",
    metavar="auto|FILE",
    help="A score for each concept, beside the fixed ones. auto: calibrated on validation images, never on test, and "
    "written beside --out (NAME.thresholds.json); or such a file.",
)
@click.option(
    "--union-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="union: queries with this score or more count.",
)
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    help="Write the report here: .json (what --compare reads), .html (one page with pictures), .md, or .csv (a line a "
    "dataset); with --compare or --paper .json, .csv, .md, .tex or .html. Killed and run again, it goes on where it "
    "was.",
)
@click.option(
    "--compare",
    "compared",
    nargs=2,
    type=LocalPath(),
    metavar="A.json B.json",
    help="Set two reports side by side instead: B less A, with its 95 % interval by patient, video or volume, paired.",
)
@click.option(
    "--paper",
    is_flag=True,
    help="Table 3 of Medical SAM3: its sets alone, the printed figures beside, what is missing and why.",
)
@click.option(
    "--nifti",
    type=LocalPath(file_okay=False),
    help="Write the predictions (of the first rule) on slices as volumes: DIR/<volume>/<concept>.nii.gz.",
)
@click.option(
    "--absent",
    multiple=True,
    metavar="CONCEPT,…",
    help="Also ask every image for these concepts, which it does not show: ids of the vocabulary; repeatable. Left out "
    "for datasets that have a broader, narrower or the same concept.",
)
@click.option(
    "--paired",
    is_flag=True,
    help="Compare CT, MR and PET of the same patients instead, organ by organ, on whole volumes; the first rule "
    "counts. --out: .json, .html or .md.",
)
@click.option(
    "--in-domain",
    multiple=True,
    metavar="NAME=DICE",
    help="--paired: a Dice that the model is known for, to be shown beside; repeatable.",
)
@click.option(
    "--distances",
    type=click.Choice(["border", "surface", "none"]),
    default="border",
    show_default=True,
    help="HD95 and NSD between outermost pixels (as MONAI), between surface elements, or not at all.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Of NSD, in mm where the data have a spacing, else px.",
)
@click.option(
    "--listen", is_flag=True, help="Also ask for what cannot be there, and in other words: the first rule."
)
@click.option("--start", help="--listen: what the training started from, to be asked the same.")
@options.model
@json_option("the report")
def evaluate(
    data: str | None,
    checkpoint: Path | None,
    split: str | None,
    datasets: tuple[str, ...],
    aggregate: tuple[str, ...],
    min_score: tuple[float, ...],
    threshold: str | None,
    union_score: float,
    out: Path | None,
    compared: tuple[Path, Path] | None,
    paper: bool,
    nifti: Path | None,
    absent: tuple[str, ...],
    paired: bool,
    in_domain: tuple[str, ...],
    distances: str,
    tolerance: float,
    listen: bool,
    start: str | None,
    windows: Windows,
    batch: int | None,
    precision: str | None,
    base: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how well a checkpoint answers text prompts, per dataset, at the images' own resolution.

    Each class is asked for by its text alone; contested pixels go to the most confident class; for a class that an
    image lacks it is counted whether the answer is empty. Every figure is printed with how it was made. A sample that
    cannot be read is named and makes the exit status 1.

    \b
    medshards evaluate --data corpus --checkpoint run --out ours.json
    medshards evaluate --data corpus --checkpoint run --threshold auto --out ours.html
    medshards evaluate --data corpus --checkpoint run --datasets umd_petct --paired --out paired.html
    medshards evaluate --compare sam3.json ours.json --paper --out table3.tex
    """
    from medshards.evaluate import measure
    from medshards.evaluate.cli.paired import compare_modalities
    from medshards.evaluate.dataset import ids_of, open_datasets
    from medshards.evaluate.open import OPENING, open_segmenter
    from medshards.evaluate.protocol import rules_of
    from medshards.evaluate.report.journal import Journal
    from medshards.evaluate.report.table3 import sets_of
    from medshards.evaluate.thresholds import ThresholdError
    from medshards.evaluate.volumes.nifti import VolumeError, VolumeWriter
    from medshards.shards.read.chain import read_facts
    from medshards.shards.read.corpus import BadSample, CorpusError
    from medshards.shards.read.storage import open_store
    from medshards.train.run.parallel import world
    from medshards.vocab.vocabulary import UnknownConcept

    options.check_form(
        out,
        options.TABLES if compared is not None or paper else options.PAIRED if paired else options.REPORTS,
    )
    if compared is not None:
        if data is not None or checkpoint is not None:
            raise click.UsageError("--compare reads reports: give no --data and no --checkpoint with it")
        compare(compared, paper, out, as_json)
        return
    if data is None or checkpoint is None:
        raise click.UsageError("give --data and --checkpoint, or --compare with two reports")
    rules = rules_of(aggregate, min_score, union_score)
    try:
        slugs = comma_separated(datasets)
        if paper and not slugs:
            slugs = sets_of(read_facts(open_store(data), data)["datasets"])
            if not slugs:
                raise click.ClickException(f"{data}: none of Table 3's sets is in this corpus")
        opened = open_datasets(data, slugs, split, comma_separated(absent))
        if not any(len(dataset.corpus) for dataset in opened):
            splits = ", ".join(f"{dataset.slug} ({dataset.split})" for dataset in opened)
            raise click.ClickException(f"nothing to evaluate: no samples in {splits}; choose another --split")
        with world() as ranks:
            if ranks.size > 1 and (out is None or nifti is not None):
                raise click.UsageError("several ranks need --out, and do not write --nifti")
            device, ids = device or ranks.device.type, ids_of(opened)
            segmenter = open_segmenter(checkpoint, device, batch, precision, base, ids)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
            if threshold is not None:
                own = calibrated(threshold, out, segmenter, data, opened, rules[0], windows, ranks)
                rules = [own, *rules]
            measured = measure.Measure(
                rules, cast(Any, None if distances == "none" else distances), tolerance, windows
            )
            made = {**segmenter.facts(), **measure.protocol_facts(data, opened[0].corpus.facts, measured)}
            if absent:
                made["also_asked"] = ", ".join(
                    f"{d.slug}: {', '.join(d.foreign) or 'nothing'}" for d in opened
                )
            if paired:
                made |= {"rule": str(rules[0]), "nsd_tolerance": f"{tolerance:g} mm"}
                compare_modalities(
                    segmenter, opened, rules[0], tolerance, windows, made, in_domain, out, as_json
                )
                return
            everything = {**made, "datasets": [(d.slug, d.split) for d in opened], "batch": segmenter.batch}
            journal = Journal(out, everything | {"rules": [rule.facts() for rule in rules]}, ranks.rank)
            volumes = VolumeWriter(nifti) if nifti is not None else None
            with progress(opened) as step:
                report = measure.evaluate(
                    segmenter, opened, measured, made, step, volumes, journal, (ranks.rank, ranks.size)
                )
            if volumes is not None:
                volumes.close()
            ranks.barrier()
            if ranks.first:
                journal.read()
                report.samples = journal.samples()
                if listen:
                    report.listening = _listening(segmenter, opened, rules[0], start, device)
                if out is not None and not paper:
                    _write(report, out, segmenter, opened, windows)
                if paper:
                    tell([report], [str(checkpoint)], True, out, as_json)
            ranks.barrier()
            journal.close(finished=ranks.first)
            if not ranks.first:
                return
    except (CorpusError, *OPENING, BadSample, VolumeError, ThresholdError, UnknownConcept) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or data}: {error.strerror or error}") from error
    if as_json and not paper:
        click.echo(json_text(report.facts()), nl=False)
    elif not paper:
        report.print()
    end_unread(report.unreadable)


def _listening(
    segmenter: Segmenter, opened: Sequence[Dataset], rule: Rule, start: str | None, device: str | None
) -> list[list[str]]:
    from medshards.evaluate.listening import listen, rows
    from medshards.evaluate.open import open_segmenter

    before = None if start is None else listen(open_segmenter(start, device), opened, rule)
    return rows(listen(segmenter, opened, rule), before)


def _write(
    report: Report, out: Path, segmenter: Segmenter, opened: Sequence[Dataset], windows: Windows
) -> None:
    """Write the report in the form that the file's suffix asks for."""
    from medshards.common.files import write_atomically

    if out.suffix == ".json":
        text = json_text(report.saved())
    elif out.suffix == ".html":
        from medshards.evaluate.report.page import html
        from medshards.evaluate.report.pictures import drawer

        text = html(report, drawer([(segmenter, report.rules[0])], opened, report, windows))
    else:
        text = {".md": report.markdown, ".csv": report.csv}[out.suffix]()
    write_atomically(out, text.encode())
