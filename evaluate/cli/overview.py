"""Command `overview`."""

from __future__ import annotations

from pathlib import Path

import click

from medshards.common.commands import LocalPath
from medshards.common.text import comma_separated


@click.command()
@click.argument("data", metavar="OUT")
@click.option(
    "--out",
    "target",
    required=True,
    type=LocalPath(dir_okay=False),
    help="The picture to write: .png, .jpg or .webp.",
)
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these; repeatable.")
@click.option(
    "--per-dataset", type=click.IntRange(1), default=4, show_default=True, help="Samples of each dataset."
)
@click.option(
    "--checkpoint",
    type=LocalPath(),
    help="Draw the predictions (top1) of this run or checkpoint beside each sample; then from the split it is "
    "evaluated on.",
)
def overview(
    data: str, target: Path, datasets: tuple[str, ...], per_dataset: int, checkpoint: Path | None
) -> None:
    """Draw the corpus OUT: a row a dataset, samples with their masks, the prompts below.

    \b
    medshards overview corpus --out overview.png
    medshards overview corpus --out predictions.png --checkpoint run --per-dataset 2
    """
    from medshards.shards.read.corpus import BadSample, CorpusError
    from medshards.shards.view.overview import FORMATS
    from medshards.shards.view.overview import overview as draw

    if target.suffix.lower() not in FORMATS:
        raise click.BadParameter(
            f"{target}: expected a name ending in {', '.join(FORMATS)}", param_hint="--out"
        )
    slugs = comma_separated(datasets)
    try:
        if checkpoint is None:
            draw(data, target, per_dataset, slugs)
        else:
            _with_predictions(data, target, per_dataset, slugs, checkpoint)
    except (CorpusError, BadSample) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or target}: {error.strerror or error}") from error
    click.echo(f"{target}")


def _with_predictions(data: str, target: Path, per_dataset: int, slugs: list[str], checkpoint: Path) -> None:
    """Draw samples of the split that a checkpoint is evaluated on, with what it answers."""
    from medshards.evaluate.dataset import open_datasets
    from medshards.evaluate.open import OPENING, open_segmenter
    from medshards.evaluate.protocol import claims_of, contest
    from medshards.shards.view.overview import overview as draw
    from medshards.train.model.answers import Rule

    opened = {d.slug: d for d in open_datasets(data, slugs)}
    try:
        segmenter, rule = open_segmenter(checkpoint), Rule("top1", 0.0)
    except OPENING as error:
        raise click.ClickException(str(error)) from error
    draw(
        data,
        target,
        per_dataset,
        {slug: dataset.split for slug, dataset in opened.items()},
        lambda slug, sample: contest(
            claims_of(segmenter, sample, opened[slug], [rule])[rule], sample, opened[slug]
        ),
    )
