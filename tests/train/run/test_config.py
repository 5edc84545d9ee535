"""One typed file, every field overridable, every mistake named with its place."""

from pathlib import Path

import pytest

from medshards.train.objective.objective import PRESETS
from medshards.train.run.config import Config, ConfigError, dump_config, load_config, presets


@pytest.mark.parametrize(
    "preset", ["paper", "single-gpu", "cluster", "24gb", "small-gpu", "small", "tiny", "overfit"]
)
def test_presets_load_and_come_back_from_yaml(preset: str, tmp_path: Path) -> None:
    assert preset in presets()
    config = load_config(preset)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_the_paper_preset_holds_the_papers_numbers() -> None:
    config = load_config("paper")  # arXiv 2601.10880, section 4 and Table 2
    assert config.optim.lr.model_dump() == {
        "decoder": 3e-4, "encoder": 3e-4, "vision": 5e-5, "text": 5e-5, "geometry": 1e-4,
    }  # fmt: skip
    assert (config.optim.betas, config.optim.layer_decay_rate, config.run.epochs) == ((0.9, 0.999), 0.85, 10)
    assert config.objective == PRESETS["official"]


def test_overrides_reach_every_depth() -> None:
    config = load_config(
        "tiny",
        ["optim.lr=1e-4", "optim.lr.vision=2e-5", "run.steps=7", "data.weights={busi: 2}", "objective=paper_table2",
         "objective.mask_points=true",
         "data.random_square_resize=[56, 14]", "model.weights=null", "data.weights.drive=0.5"],
    )  # fmt: skip
    assert (config.optim.lr.text, config.optim.lr.vision) == (1e-4, 2e-5)
    assert (config.run.steps, config.data.weights) == (7, {"busi": 2, "drive": 0.5})
    assert config.objective == PRESETS["paper_table2"].model_copy(update={"mask_points": True})
    assert config.data.random_square_resize == (56, 14)


def test_a_file_names_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("run: {seed: 7}\n")
    assert load_config(path).run.seed == 7
    assert load_config(path).optim == Config().optim
    path.write_text("# nothing\n")
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "run:\n  seed: 1\n  stepz: 3\n",
            r"mine.yaml:3: run.stepz: there is no such key; known are seed, epochs",
        ),
        (
            "model:\n  preset: sam3\n\noptmi: {}\n",
            r"mine.yaml:4: optmi: there is no such key; known are model",
        ),
        (
            "optim:\n  lr:\n    visoin: 1\n",
            r"mine.yaml:3: optim.lr.visoin: .*known are decoder, encoder, vision",
        ),
        (
            "run:\n  precision: fp16\n",
            r"mine.yaml:2: run.precision: Input should be 'bf16' or 'fp32', found 'fp16'",
        ),
        ("run: {seed: 1}\nrun: {seed: 2}\n", r"mine.yaml:2: the key 'run' stands here again"),
        ("objective: best\n", r"mine.yaml:1: objective: no preset 'best'; there are: official, paper_table2"),
        ("- run\n", r"mine.yaml:1: expected sections"),
        ("run: [\n", r"mine.yaml:\d+: "),
        ("run: !!python/object:os.system {}\n", r"mine.yaml:1: "),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.stepz=3", "--set run.stepz=3: run.stepz: there is no such key"),
        ("nothing.at.all=3", "--set nothing.at.all=3: nothing: there is no such key"),
        ("run.steps=-1", "--set run.steps=-1: run.steps: Input should be greater than 0, found -1"),
        ("run.seed.x=1", "--set run.seed.x=1: seed is 42 and has no fields"),
        ("run.steps", "--set run.steps: expected KEY=VALUE"),
        ("run.steps=[", "the value is no YAML"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("tiny", ["run.seed=42", override])
    assert message in str(caught.value)


def test_an_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match="presets are 24gb, cluster, overfit, paper, single-gpu, small, small-gpu, tiny"
    ):
        load_config("huge")


def test_words_that_yaml_reads_as_truth_values_keep_their_meaning(tmp_path: Path) -> None:
    """`off` is false in YAML 1.1; configurations of earlier versions had true and false."""
    path = tmp_path / "mine.yaml"
    path.write_text("model: {compile: off, checkpoint_activations: off}\n")
    model = load_config(path).model
    assert (model.compile, model.checkpoint_activations) == ("off", "off")
    path.write_text("model: {compile: true, checkpoint_activations: true}\n")
    model = load_config(path).model
    assert (model.compile, model.checkpoint_activations) == ("regions", "all")
    assert (
        load_config("tiny", ["model.checkpoint_activations=vision:2"]).model.checkpoint_activations
        == "vision:2"
    )
    for wrong in ("vision:0", "some"):
        with pytest.raises(ConfigError, match=r"model\.checkpoint_activations"):
            load_config("tiny", [f"model.checkpoint_activations={wrong}"])
    with pytest.raises(ConfigError, match=r"batch\.sizes: the numbers must ascend"):
        load_config("tiny", ["batch.sizes=[8, 4]"])
