"""The page of the configuration's fields is what the types say."""

from pathlib import Path

import pytest

from medshards.train.reference import reference
from medshards.train.run.config import Config, ConfigError, load_config, presets

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference(), "run `make docs`"


def test_every_field_and_preset_is_on_it() -> None:
    page = reference()
    for name in presets():
        assert f"| `{name}` |" in page
    sections = [("", Config)]
    while sections:
        path, section = sections.pop()
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                sections.append((f"{path}.{name}".lstrip("."), field.annotation))
            else:
                own = page.split(f"\n## `{path}`\n")[1].split("\n## ")[0]
                assert f"\n| `{name}` |" in own


@pytest.mark.parametrize(
    "override",
    ["optim.lr=-1e-4", "optim.lr.vision=-1", "optim.weight_decay=-0.1", "optim.betas=[0.9, 1.0]", "optim.eps=0",
     "objective.weights.mask=-1", "objective.matcher.o2m_top_k=0", "data.weights.busi=-1", "data.cache_gb=0"],
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused_where_it_stands(override: str) -> None:
    with pytest.raises(ConfigError, match=r"Input should be (greater|less) than") as caught:
        load_config("tiny", [override])
    assert f"--set {override}: {override.partition('=')[0]}" in str(caught.value)
