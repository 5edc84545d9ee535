"""The configuration of a run: one typed YAML file, every field of which the command line can override.

A file names only what differs from the defaults below; a key that does not exist is an error with its line.
``presets/`` holds files to start from, and a preset's name may stand wherever a file can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

from medshards.common.files import local_path
from medshards.common.yamlfile import LocatedDict, read_yaml
from medshards.train.model.options import ModelConfig
from medshards.train.objective.objective import PRESETS as OBJECTIVES
from medshards.train.objective.objective import ObjectiveConfig
from medshards.train.run.optim import OptimConfig, Rates, ScheduleConfig
from medshards.train.section import Section, section_of

FOLDER = Path(__file__).with_name("presets")


class ConfigError(ValueError):
    """The configuration is wrong; a line for each problem."""


class DataConfig(Section):
    """What is trained on, and how samples become prompts and targets."""

    datasets: list[str] | None = None
    """Slugs to train on; null takes all datasets of the corpus."""
    weights: dict[str, NonNegativeFloat] = {}
    """How often an epoch holds each sample of a dataset, by slug; 1 where not named. See train/data/order.py."""
    instances: dict[str, Literal["native", "merged"]] = {}
    """merged: the instances of a concept in an image become one, by slug; native where not named."""
    max_negatives_per_image: NonNegativeInt = 2
    """Prompts for concepts that are known to be absent; drawn anew for each image and epoch."""
    absent: dict[str, list[str]] = {}
    """More such concepts, by slug: ids of which you know that no image of the dataset shows them, though nobody
    looked for them. Without it a dataset of one concept teaches that this concept is always there."""
    impossible: bool = True
    """Also take as absent the corpus's other concepts that a dataset's kind of picture cannot show, whoever annotated
    what: vocab/scenes.yaml."""
    max_prompts_per_image: PositiveInt = 8
    """Prompts of an image in all; negatives are dropped first."""
    max_instances_per_prompt: PositiveInt = 200
    """A prompt with more instances than the model has queries is left out, and counted."""
    prompt_text: Literal["canonical", "synonyms"] = "canonical"
    """The vocabulary's text of a concept, or any of its names, drawn anew for each image and epoch."""
    random_square_resize: tuple[PositiveInt, PositiveInt] | None = None
    """(smallest side, step) in px: show images at a random side up to the network's, the rest black."""
    random_window: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Vary width and centre of the window in which slices of volumes (HU, SUV) are shown by up to this part."""
    scaled_jpeg: bool = False
    """Decode a JPEG of at least twice the network input at a smaller scale before it is resized: half the time, and 0.3
    to 2 grey levels (mean) beside the exact way."""
    workers: NonNegativeInt = 4
    """Processes that read and decode, for each rank; 0 does it in the training process."""
    prefetch: PositiveInt = 4
    """Batches that each of them prepares in advance."""
    check_digests: bool = True
    """Compare the bytes of each sample with the index."""
    check_index: bool = True
    """Compare each dataset's whole index with its manifest when the corpus is opened (1 to 2 s a GB); without, as for
    corpora of many millions of samples, its size and the checksums of the pages that are read."""
    max_bad_samples: NonNegativeInt = 10
    """The run stops when more different samples than this were found damaged, and had to be replaced."""
    window_gb: Annotated[float, Field(gt=0)] | None = None
    """GiB of shards among which samples are shuffled, before the next shards come; null: among all. For a corpus that
    is larger than cache_gb take half of cache_gb. See docs/streaming.md."""
    cache: Annotated[Path, BeforeValidator(local_path)] | None = None
    """Folder for shards of a remote corpus; null reads each sample by itself."""
    cache_gb: PositiveInt = 100
    """Largest size of that folder, in GB."""


class BatchConfig(Section):
    """Images of one update."""

    images: PositiveInt | None = None
    """Images of a whole update, over all ranks and accumulated passes; null: per_rank on each rank."""
    per_rank: PositiveInt | None = 1
    """Images of one forward pass on one rank; null: as many of ``images`` as fit the card by an estimate of the memory
    (`medshards train --plan`), one without a GPU."""
    sizes: tuple[PositiveInt, ...] | None = None
    """Prompts, texts and mask pairs of a pass are filled up to the next of these numbers, ascending, beyond the last
    to its next multiple, so that few shapes occur. What is filled in counts in no loss (train/speed/padding.py). []:
    nothing is; null: 4, 8, 16, 32 where the model is compiled."""

    @field_validator("sizes")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value and list(value) != sorted(set(value)):
            raise ValueError("the numbers must ascend")
        return value

    @property
    def in_a_pass(self) -> int:
        """``per_rank``; 1 where it is still to be chosen."""
        return self.per_rank or 1


class RunConfig(Section):
    """How long, how precisely, on what, and what is kept."""

    seed: NonNegativeInt = 42
    """Decides random weights, the order of samples, and every choice of prompts."""
    epochs: PositiveInt = 10
    """Passes over the training split."""
    steps: PositiveInt | None = None
    """Updates of the run; null: as many as the epochs take."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the forward pass; weights, losses and the optimiser are always fp32."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """ddp: each rank holds the whole model. fsdp: weights, gradients and optimiser are shared among ranks."""
    normalise: Literal["global", "rank"] = "global"
    """What the loss terms are averaged over: the whole update, so that the number of ranks and accumulated
    passes changes nothing; or each rank's forward pass, as the official code does it."""
    deterministic: bool = False
    """Only deterministic algorithms on a GPU: slower, bit-exact when a run is repeated or resumed."""
    validate_every: PositiveInt | None = None
    """Updates between two validations; null: once an epoch. The end of the run always validates."""
    validate_on: Literal["val", "train"] = "val"
    """The split; train shows whether a model can learn its images by heart, and is no validation."""
    validate_images: PositiveInt = 200
    """Images of each dataset's validation split that are used; the same ones every time."""
    validate_mask: Literal["top1", "union", "semantic"] = "top1"
    """The prediction whose Dice decides which checkpoint is best; see train/run/validation.py."""
    checkpoint_every: PositiveInt | None = None
    """Updates between two checkpoints; null: once an epoch."""
    keep_last: PositiveInt = 2
    """Newest checkpoints that are kept, beside the best."""
    async_checkpoint: bool = True
    """Write checkpoints beside the training, where the weights lie on a GPU."""
    log_every: PositiveInt = 10
    """Updates between two lines in log and TensorBoard."""
    overlays: NonNegativeInt = 4
    """Validation images with prediction and truth that go to TensorBoard."""
    record_samples: bool = False
    """Write the samples of every update to samples-rank*.jsonl."""


class Config(Section):
    """Everything that decides a run, but for the corpus, the machines and the folder it writes to."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    """Its fields, or one word: official or paper_table2."""
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: RunConfig = RunConfig()

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_preset(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in OBJECTIVES:
                raise ValueError(f"no preset {value!r}; there are: {', '.join(OBJECTIVES)}")
            return OBJECTIVES[value]
        return value


def presets() -> list[str]:
    """Names of the configurations that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a preset or file, with overrides such as ``optim.lr.vision=1e-4`` applied.

    Raises ConfigError with a line for each problem.
    """
    path = None if source is None else _path(source)
    content: Any = {}
    if path is not None:
        try:
            content = read_yaml(path)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        content = LocatedDict() if content is None else content
        if not isinstance(content, dict):
            raise ConfigError(f"{path}:1: expected sections such as `model:` and `run:`, found {content!r}")
    named = _Source(path, content, _override(content, overrides))
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(map(named.problem, error.errors()))) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML; `load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _path(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if (FOLDER / f"{source}.yaml").is_file():
        return FOLDER / f"{source}.yaml"
    what = "a folder" if path.is_dir() else "no such file"
    raise ConfigError(f"{source}: {what}, and no preset; presets are {', '.join(presets())}")


def _override(content: dict[str, Any], overrides: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Set dotted keys in ``content``; returns each with the text that set it."""
    found = {}
    for text in overrides:
        dotted, equals, value = text.partition("=")
        keys = tuple(dotted.strip().split("."))
        if not equals or not all(keys):
            raise ConfigError(f"--set {text}: expected KEY=VALUE, such as optim.lr.vision=1e-4")
        place = content
        for key in keys[:-1]:
            place[key] = place = _section(place.get(key), key, text)
        try:
            place[keys[-1]] = _scalar(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text}: the value is no YAML ({error})") from error
        found[keys] = text
    return found


def _section(value: Any, key: str, text: str) -> dict[str, Any]:
    """What stands at ``key`` as a section that an override can go into; short forms are written out."""
    if value is None:
        return {}
    if key == "objective" and value in OBJECTIVES:
        return OBJECTIVES[value].model_dump()
    if key == "lr" and isinstance(value, int | float):
        return dict.fromkeys(Rates.model_fields, value)
    if not isinstance(value, dict):
        raise ConfigError(f"--set {text}: {key} is {value!r} and has no fields")
    return value


def _scalar(text: str) -> Any:
    """A value as YAML reads it; numbers such as 1e-4, which YAML 1.1 takes for text, as numbers."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


@dataclasses.dataclass
class _Source:
    """Where values came from, to say so in errors."""

    path: Path | None
    content: Any
    overrides: dict[tuple[str, ...], str]

    def problem(self, error: Any) -> str:
        """One line about an error of pydantic."""
        keys = tuple(str(key) for key in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = f"there is no such key; known are {', '.join(_fields(keys[:-1]))}"
        elif "input" in error and not isinstance(error["input"], dict):
            message += f", found {error['input']!r}"
        return f"{self._where(keys)}: {'.'.join(keys)}: {message}"

    def _where(self, keys: tuple[str, ...]) -> str:
        for set_keys, text in self.overrides.items():
            if set_keys[: len(keys)] == keys[: len(set_keys)]:
                return f"--set {text}"
        line, place = 1, self.content
        for key in keys:
            if isinstance(place, LocatedDict):
                line = place.lines.get(key, line)
            place = place.get(key) if isinstance(place, dict) else None
        return f"{self.path}:{line}" if self.path else "configuration"


def _fields(keys: tuple[str, ...]) -> list[str]:
    """Names of the fields of the section that ``keys`` lead to."""
    section: Any = Config
    for key in keys:
        section = section_of(section.model_fields[key].annotation)
    return list(section.model_fields)
