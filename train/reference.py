"""docs/config.md: every field of a run's configuration, generated from the types. Renew it with `make docs`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from medshards.train.run.config import FOLDER, Config, presets
from medshards.train.section import section_of

HEAD = """\
# The configuration of a training run

Written by `make docs` from the types; do not edit it here.

`medshards train --config` takes the name of a preset or a YAML file, which names only what differs from the defaults
below. `--set SECTION.FIELD=VALUE` overrides one field; a key that does not exist, or a value out of range, is refused
with the line it stands in. The run's folder keeps the resolved configuration in `config.yaml`.

```yaml
model: {preset: small}
data:
  datasets: [busi, kvasir_seg]
batch: {images: 8, per_rank: 2}
run: {epochs: 3, precision: fp32}
```
"""
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
}
WORDS = {
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
}


def reference() -> str:
    """The page as Markdown: the presets with what their files say of themselves, then a table for each section."""
    lines = [HEAD, "## Presets\n", "| name | for |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(_opening(name))} |" for name in presets()]
    for path, section in _sections(Config, ""):
        lines += [f"\n## `{path}`\n", f"{' '.join((section.__doc__ or '').split())}\n"]
        lines += ["| field | value | default | meaning |", "|---|---|---|---|"]
        schemas = section.model_json_schema()["properties"]
        for name, field in section.model_fields.items():
            if _is_section(field.annotation):
                continue
            default = json.dumps(to_jsonable_python(field.default))
            cells = [f"`{name}`", _values(schemas[name]), f"`{default}`", field.description or ""]
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _sections(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section that has fields of its own, with its dotted name, outer ones first."""
    if path and not all(_is_section(field.annotation) for field in section.model_fields.values()):
        yield path, section
    for name, field in section.model_fields.items():
        if (inner := section_of(field.annotation)) is not None:
            yield from _sections(inner, f"{path}.{name}" if path else name)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _opening(preset: str) -> str:
    """The comment that a preset's file begins with."""
    found = re.match(r"(?:#.*\n)+", (FOLDER / f"{preset}.yaml").read_text("utf-8"))
    return re.sub(r"\n?# ?", " ", found.group()) if found else ""


def _values(schema: dict[str, Any]) -> str:
    """What a field may hold, in words."""
    if "anyOf" in schema:
        return " or ".join(map(_values, schema["anyOf"]))
    if "$ref" in schema:
        return "the fields below"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "prefixItems" in schema:
        return f"[{', '.join(map(_values, schema['prefixItems']))}]"
    if schema.get("type") == "array":
        return f"list of {_values(schema['items'])}"
    if schema.get("type") == "object":
        return f"mapping of slug to {_values(schema['additionalProperties'])}"
    word = "path" if schema.get("format") == "path" else WORDS[schema["type"]]
    bounds = [text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if key in schema]
    return " ".join([word, *bounds])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
