"""How many images a pass takes, and which blocks are computed again, so that a run fills the card it finds.

The images of an update stay what the configuration says: more images a pass make fewer passes. Only what the
configuration leaves open (null) is chosen. More images a pass come first, then fewer blocks that are computed again:
so it was faster wherever it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medshards.train.memory.cards import GIB, Card
from medshards.train.memory.estimate import Estimate, estimate, fullest
from medshards.train.run.config import Config

LEVELS = ("off", "vision:2", "vision:1", "all")
"""Of ``model.checkpoint_activations``, from the most memory to the least."""


@dataclass(frozen=True)
class Option:
    """A way to make an update: images of a pass, blocks that are computed again, the memory that takes, whether that
    fits the card by the estimate.
    """

    images: int
    level: str
    memory: Estimate
    fits: bool


def choose(
    config: Config,
    card: Card | None,
    ranks: int,
    before: Config | None = None,
    tell: Callable[[Option], None] = lambda option: None,
) -> tuple[Config, Option | None]:
    """A configuration with nothing left open, and the option it takes (None without a card). Where nothing fits, that
    is the one that takes least.

    before: the configuration of a checkpoint that the run goes on from. What was chosen for it is kept where it fits,
    so that the run goes on exactly. tell: called with each option that is tried, the one taken last.
    """
    kept = _kept(config, before, ranks)
    if card is None:
        images, level = kept or (config.batch.in_a_pass, config.model.checkpoint_activations or LEVELS[-1])
        return filled(config, images, level), None
    chosen = _option(config, card, ranks, *kept) if kept else None
    if chosen is not None:
        tell(chosen)
    if chosen is None or not chosen.fits:
        for chosen in options(config, card, ranks):
            tell(chosen)
    assert chosen is not None
    return filled(config, chosen.images, chosen.level), chosen


def options(config: Config, card: Card, ranks: int) -> Iterator[Option]:
    """Options in the order in which they are tried, up to the first that fits."""
    asked = config.model.checkpoint_activations
    levels = LEVELS if asked is None else (asked,)
    for images in passes(config, ranks):
        least = _option(config, card, ranks, images, levels[-1])
        if least.fits:
            for level in levels[:-1]:
                option = _option(config, card, ranks, images, level)
                yield option
                if option.fits:
                    return
        yield least
        if least.fits:
            return


def passes(config: Config, ranks: int) -> list[int]:
    """Numbers of images that a pass can have on each of so many ranks, the largest first."""
    if config.batch.per_rank is not None:
        return [config.batch.per_rank]
    each = max(1, (config.batch.images or 1) // ranks)
    return [images for images in range(each, 0, -1) if each % images == 0]


def filled(config: Config, images: int, level: str) -> Config:
    """The configuration with so many images a pass and this ``checkpoint_activations``."""
    batch = config.batch.model_copy(update={"per_rank": images})
    model = config.model.model_copy(update={"checkpoint_activations": level})
    return config.model_copy(update={"batch": batch, "model": model})


def told(option: Option, card: Card) -> str:
    """A line about the option that a run takes."""
    return (
        f"{option.images} images a pass, checkpoint_activations {option.level}: up to "
        f"{option.memory.total / GIB:.1f} of {card.memory / GIB:.1f} GiB of {card.name}, by estimate"
        + ("" if option.fits else "; that does not fit, see docs/speed.md")
    )


def changed(before: Config, now: Config) -> str | None:
    """What is divided otherwise than before a run was resumed, None where nothing is."""
    pairs = {
        "batch.per_rank": (before.batch.per_rank, now.batch.per_rank),
        "model.checkpoint_activations": (
            before.model.checkpoint_activations,
            now.model.checkpoint_activations,
        ),
    }
    other = [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]
    if not other:
        return None
    return (
        f"{', '.join(other)}: the same samples an update; sums are rounded, and with other passes dropout is drawn, "
        "otherwise"
    )


def _option(config: Config, card: Card, ranks: int, images: int, level: str) -> Option:
    memory = estimate(filled(config, images, level), fullest(config, images), ranks)
    return Option(images, level, memory, memory.total <= card.room)


def _kept(config: Config, before: Config | None, ranks: int) -> tuple[int, str] | None:
    """What was chosen before, with what the configuration does not leave open; None where that is no option now."""
    if before is None:
        return None
    images = config.batch.per_rank or before.batch.in_a_pass
    level = config.model.checkpoint_activations or before.model.checkpoint_activations
    return (images, level) if level is not None and images in passes(config, ranks) else None
