"""What an update takes, and how it is divided to fit a card."""

import json
from pathlib import Path
from typing import Any

import pytest

from medshards.train.memory.cards import GIB, PLANNED, Card, measured, sold_with, speed
from medshards.train.memory.choose import Option, changed, choose
from medshards.train.memory.estimate import Estimate, Load, estimate, fullest
from medshards.train.run import session
from medshards.train.run.checkpoint import folder_of, read_state
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import world
from tests.command import medshards

FULL = ["model.compile=off", "batch.sizes=[]"]  # as it was when it was measured
OPEN = [
    "batch.images=4",
    "batch.per_rank=null",
    "model.checkpoint_activations=null",
    "data.max_prompts_per_image=2",
]


def gib_of(images: int, level: str, *options: str) -> float:
    config = load_config(None, [*FULL, f"model.checkpoint_activations={level}", *options])
    return estimate(config, Load(images, prompts=1)).total / GIB


def test_the_full_model_takes_what_was_measured() -> None:
    row = next(row for row in measured()["rows"] if (row["images"], row["checkpointing"]) == (2, "off"))
    assert gib_of(2, "off") == pytest.approx(row["gib"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("row", measured()["rows"], ids=lambda row: f"{row['images']}-{row['checkpointing']}")
def test_every_measured_step_of_the_full_model(row: dict[str, Any]) -> None:
    """Since then weights are cast once a pass, and the casts stay until its end: 1.6 GiB."""
    found = gib_of(row["images"], row["checkpointing"])
    close = 0.01 if row["checkpointing"] == "off" else 0.08
    assert row["gib"] * 0.99 <= found <= row["gib"] * (1 + close)


@pytest.mark.slow
def test_eight_images_do_not_fit_80_gib_and_adapters_fit_11_gb() -> None:
    """The first was tried on such a card."""
    assert gib_of(8, "off") > 80
    assert gib_of(1, "all", "model.lora={}") * GIB < sold_with(11).room


def test_images_a_second_are_those_that_were_measured_or_none() -> None:
    assert speed(load_config("paper"), 4, "all") == 4.56
    assert speed(load_config("paper"), 4, "vision:2") is None
    for other in ("cluster", "small-gpu", "tiny"):  # shared among ranks, adapters, another model
        assert speed(load_config(other), 4, "all") is None


def small(*options: str) -> Config:
    return load_config("tiny", [*OPEN, *options])


def memory(images: int, level: str, *options: str, ranks: int = 1) -> int:
    config = small(f"batch.per_rank={images}", f"model.checkpoint_activations={level}", *options)
    return estimate(config, fullest(config, images), ranks).total


@pytest.mark.slow
def test_levels_images_and_precision_are_in_order() -> None:
    by_level = [memory(4, level) for level in ("off", "vision:2", "all")]
    assert by_level == sorted(by_level, reverse=True)
    assert len(set(by_level)) == 3
    assert memory(2, "off") < by_level[0]
    assert memory(4, "off", "run.precision=bf16") < by_level[0]


def test_ranks_that_share_the_model_take_less() -> None:
    with world():  # a run that has begun
        assert memory(1, "off", "run.parallel=fsdp", ranks=8) < memory(1, "off", "run.parallel=fsdp")


PER_IMAGE = {"off": 40, "vision:2": 30, "vision:1": 20, "all": 5}
MIB = 2**20


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MiB, and for each image of a pass so many as above."""

    def taken(config: Config, load: Load, ranks: int) -> Estimate:
        each = PER_IMAGE[config.model.checkpoint_activations or ""]
        return Estimate(60 * MIB, 40 * MIB, load.images * each * MIB, 2, 2)

    monkeypatch.setattr("medshards.train.memory.choose.estimate", taken)


def card(mib: int) -> Card:
    """A card that is planned with so many MiB."""
    return Card("small", int(mib * MIB / PLANNED) + 2)


LARGE = card(1000)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(
    ("mib", "images", "level"),
    [
        (260, 4, "off"),
        (259, 4, "vision:2"),
        (180, 4, "vision:1"),
        (179, 4, "all"),
        (120, 4, "all"),
        (119, 2, "all"),  # two images as they are would take 180, and 110 computed again
        (105, 1, "all"),
    ],
)
def test_the_card_is_filled(mib: int, images: int, level: str) -> None:
    """As many images a pass as can be, then as few blocks again as can be."""
    config, option = choose(small(), card(mib), ranks=1)
    assert option is not None
    assert option.fits
    assert (config.batch.images, config.batch.per_rank) == (4, images)
    assert config.model.checkpoint_activations == level


@pytest.mark.usefixtures("by_hand")
def test_where_nothing_fits_the_least_is_taken() -> None:
    tried: list[Option] = []
    config, option = choose(small(), card(104), 1, tell=tried.append)
    assert option is not None
    assert not option.fits
    assert (config.batch.per_rank, config.model.checkpoint_activations) == (1, "all")
    assert [(each.images, each.level) for each in tried] == [(4, "all"), (2, "all"), (1, "all")]


@pytest.mark.usefixtures("by_hand")
def test_what_the_configuration_says_wins() -> None:
    config, _ = choose(small("batch.per_rank=2"), LARGE, 1)
    assert (config.batch.per_rank, config.model.checkpoint_activations) == (2, "off")
    config, _ = choose(small("model.checkpoint_activations=all"), LARGE, 1)
    assert (config.batch.per_rank, config.model.checkpoint_activations) == (4, "all")
    config, option = choose(small("batch.per_rank=4", "model.checkpoint_activations=off"), card(200), 1)
    assert option is not None
    assert not option.fits
    assert (config.batch.per_rank, config.model.checkpoint_activations) == (4, "off")


def test_ranks_divide_the_images_and_without_a_card_least_is_taken(by_hand: None) -> None:
    config, _ = choose(small(), LARGE, 2)
    assert config.batch.per_rank == 2
    config, option = choose(small(), None, 1)
    assert option is None
    assert (config.batch.per_rank, config.model.checkpoint_activations) == (1, "all")
    config, _ = choose(small("batch.images=null"), LARGE, 2)
    assert config.batch.per_rank == 1


@pytest.mark.usefixtures("by_hand")
def test_what_was_chosen_is_kept_where_it_fits() -> None:
    before, _ = choose(small(), card(119), 1)
    again, _ = choose(small(), LARGE, 1, before)
    assert again == before
    assert changed(before, again) is None
    less, _ = choose(small(), card(105), 1, before)
    assert less.batch.per_rank == 1
    assert (changed(before, less) or "").startswith("batch.per_rank was 2, is 1: the same samples an update")
    ranks, _ = choose(small(), LARGE, 4, before)
    assert ranks.batch.per_rank == 1


@pytest.mark.usefixtures("by_hand")
def test_a_run_goes_on_with_what_was_chosen_or_says_what_is_other(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def train(mib: int, *words: str | int) -> str:
        monkeypatch.setattr(session, "smallest", lambda ranks: card(mib))
        done = medshards("train", "--data", corpus, "--out", run, *map(str, words))
        assert done.exit_code == 0, done.stderr
        return " ".join(done.stderr.split())

    options = [w for o in ("run.validate_every=1000", "run.overlays=0", *OPEN) for w in ("--set", o)]
    said = train(120, "--config", "tiny", "--steps", 1, *options)
    assert (
        "note: 4 images a pass, checkpoint_activations all: up to 0.1 of 0.1 GiB of small, by estimate"
        in said
    )
    config = load_config(run / "config.yaml")
    assert (config.batch.images, config.batch.per_rank, config.model.checkpoint_activations) == (
        4,
        None,
        None,
    )
    assert read_state(folder_of(run, 1)).config["batch"]["per_rank"] == 4

    said = train(1000, "--resume", "--steps", 2)
    assert "4 images a pass, checkpoint_activations all" in said
    assert "batch.per_rank was" not in said
    said = train(119, "--resume", "--steps", 3)
    assert "2 images a pass, checkpoint_activations all" in said
    assert "note: batch.per_rank was 4, is 2: the same samples an update" in said
    assert read_state(folder_of(run, 3)).config["batch"] == {"images": 4, "per_rank": 2, "sizes": None}


@pytest.mark.usefixtures("by_hand")
def test_the_command_plans_without_data() -> None:
    words = ["train", "--plan", "--config", "tiny", *(word for option in OPEN for word in ("--set", option))]
    said = medshards(*words, "--card", 11)
    assert said.exit_code == 0
    assert "taken: 4 images a pass, checkpoint_activations off; passes an update: 1" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80
    found = json.loads(medshards(*words, "--card", 0.1, "--ranks", 2, "--json").stdout)
    assert not found["taken"]["fits"]
    assert (found["taken"]["images"], found["taken"]["passes"], found["ranks"]) == (1, 2, 2)
    assert [row["images"] for row in found["options"]] == [2, 1]
    assert medshards(*words, "--card", 0.1).exit_code == 1
    assert "name one by its memory" in medshards(*words).stderr
    assert "--card: only with --plan" in medshards("train", "--card", 4).stderr
    assert "Missing option '--data'" in medshards("train", "--out", "run").stderr
