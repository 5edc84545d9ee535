"""Read YAML written by people: safely, without duplicate keys, and with the line of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class LocatedDict(dict[Any, Any]):
    """A YAML mapping that remembers where it stands: `line` of the mapping, `lines` of its keys (from 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.line = 1
        self.lines: dict[Any, int] = {}


class _DuplicateKey(yaml.constructor.ConstructorError):
    pass


# libyaml's loader knows the same safe types and reads ten times as fast; not every build of PyYAML has it
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """A safe loader whose mappings are `LocatedDict`s; a key may stand only once in a mapping."""

    def construct_located(self, node: yaml.MappingNode) -> LocatedDict:
        mapping = LocatedDict()
        mapping.line = node.start_mark.line + 1
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key_node.start_mark
                )
            if key in mapping:
                problem = f"the key {key!r} stands here again (first on line {mapping.lines[key]}); keep one"
                raise _DuplicateKey(None, None, problem, key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=True)
            mapping.lines[key] = key_node.start_mark.line + 1
        return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_located)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; plain values only, mappings as `LocatedDict`.

    Raises ValueError, its text beginning with `file:line:`, for a file that is absent, not UTF-8 or not
    YAML, for a duplicate key and for a tag other than YAML's plain types.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # of a file that breaks off, libyaml names the line after the last
        line = min(mark.line + 1, len(text.splitlines())) if mark else 1
        raise ValueError(f"{path}:{line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}:1: is not YAML ({error})") from error
    finally:
        loader.dispose()
