"""`medshards train --plan`: what an update takes on a card and how it would be divided, before anything is started."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from medshards.common.console import progress_bar
from medshards.train.memory.cards import GIB, Card, measured, speed
from medshards.train.memory.choose import Option, choose
from medshards.train.memory.estimate import fullest
from medshards.train.run.config import Config


def plan(config: Config, card: Card, ranks: int) -> dict[str, Any]:
    """The options in the order in which they were tried, the last of which is taken; sizes in GiB.

    images_per_s is that of `measured`'s card, null where no such pass was measured. Raises WeightsError.
    """
    tried: list[Option] = []
    with progress_bar("memory") as report:

        def tell(option: Option) -> None:
            tried.append(option)
            report("options", len(tried), len(tried) + 1)

        report("options", 0, 1)
        whole, taken = choose(config, card, ranks, tell=tell)
    assert taken is not None
    images = whole.batch.images or taken.images * ranks
    return {
        "card": {"name": card.name, "gib": _gib(card.memory), "planned_gib": _gib(card.room)},
        "ranks": ranks,
        "parameters": taken.memory.parameters,
        "trained": taken.memory.trained,
        "prompts_per_image": fullest(config, 1).prompts,
        "images_per_update": images,
        "options": [_row(config, option) for option in tried],
        "taken": {**_row(config, taken), "passes": -(-images // (taken.images * ranks))},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Print a plan."""
    card, taken = found["card"], found["taken"]
    console.print(
        f"{found['trained'] / 1e6:,.0f} M of {found['parameters'] / 1e6:,.0f} M parameters trained, "
        f"{found['prompts_per_image']} prompts an image at most\n"
        f"ranks: {found['ranks']} with {card['name']}: {card['gib']} GiB, of which {card['planned_gib']} are "
        "planned with"
    )
    table = Table(
        box=box.SIMPLE_HEAD, title="images of a pass, and GiB that a rank takes at most by estimate"
    )
    titles = ("images", "checkpointing", "weights", "AdamW", "rest", "GiB", "fits", "images/s *")
    for title in titles:
        table.add_column(title, justify="left" if title in ("checkpointing", "fits") else "right")
    for row in found["options"]:
        sizes = [f"{row[name]:.1f}" for name in ("weights_gib", "moments_gib", "rest_gib", "gib")]
        rate = "-" if row["images_per_s"] is None else f"{row['images_per_s']:.2f}"
        fits = "yes" if row["fits"] else "no"
        table.add_row(str(row["images"]), row["checkpointing"], *sizes, fits, rate)
    console.print(table)
    console.print(
        f"{'taken' if taken['fits'] else 'nothing fits; least is'}: {taken['images']} images a pass, "
        f"checkpoint_activations {taken['checkpointing']}; passes an update: {taken['passes']}"
    )
    if any(row["images_per_s"] is not None for row in found["options"]):
        console.print(
            f"* measured on one {measured()['card']} with one prompt an image, before anything was compiled; more "
            "prompts are slower"
        )


def _row(config: Config, option: Option) -> dict[str, Any]:
    memory = option.memory
    return {
        "images": option.images,
        "checkpointing": option.level,
        "weights_gib": _gib(memory.weights),
        "moments_gib": _gib(memory.moments),
        "rest_gib": _gib(memory.rest),
        "gib": _gib(memory.total),
        "fits": option.fits,
        "images_per_s": speed(config, option.images, option.level),
    }


def _gib(size: int) -> float:
    return round(size / GIB, 2)
