"""Command `prompts`."""

from __future__ import annotations

import click

from medshards.common.commands import Group
from medshards.evaluate.prompts.cli.score import score
from medshards.evaluate.prompts.cli.sets import build, show, verify


@click.group(cls=Group)
def prompts() -> None:
    """Sets of prompts that are spoilt in a controlled way, for the shards of a corpus.

    \b
    medshards prompts build corpus --datasets btcv --workers 8
    medshards prompts verify corpus
    medshards prompts score corpus --model RUN --out results
    """


for command in (build, verify, show, score):
    prompts.add_command(command)
