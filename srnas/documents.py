"""Parse YAML and JSON into plain values, within bounds.

A kilobyte of YAML can expand to billions of values (by aliases), a number can have more digits than
Python converts, and thousands of nested lists end every recursion over them. Such text is refused
here, so that nothing else needs to expect it.
"""

import json
from collections.abc import Hashable
from typing import Any

import yaml

from srnas.errors import UserError, one_line, short

MAX_DEPTH = 50  # levels of lists and mappings
MAX_NODES = 20_000  # keys and values of a YAML text, its aliases written out
MAX_DIGITS = 100  # characters of a number
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(text: str, where: str) -> Any:
    """Parse a YAML text.

    Returns:
        Plain values; keys are text, integers or booleans.

    Raises:
        UserError: It is not YAML, gives a key twice, or is beyond a bound of this module.

    >>> parse_yaml("{lr: 0.1, betas: [0, 1]}", "here")
    {'lr': 0.1, 'betas': [0, 1]}
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise UserError(f"{where}:{line} {one_line(problem, 200)}") from error


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON text.

    Raises:
        UserError: It is not JSON, gives a key twice, or is beyond a bound of this module.
    """
    try:
        return load_json(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON (line {error.lineno}: {error.msg})") from error
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error


def load_json(text: str) -> Any:
    """Parse a JSON text as `json.loads` does.

    Raises:
        ValueError: As `parse_json` tells.
    """
    try:
        value = json.loads(text, parse_int=_integer, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"key {short(key)} is given twice")
        mapping[key] = value
    return mapping


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        lists = [
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        ]
        if not lists:
            return
        level = [v for values in lists for v in values]
    raise ValueError(f"more than {MAX_DEPTH} levels")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """PyYAML's safe loader, bounded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0
        # Number of keys and values, and levels, of each finished node with its aliases written out.
        self.sizes: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        mark = event.start_mark
        self.count += 1
        self.depth += 1
        self._check(self.count, self.depth - 1, mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self.sizes:
                raise _problem(f"alias *{event.anchor} contains itself", mark)
            return node
        size = levels = 1
        if isinstance(node, yaml.ScalarNode):
            levels = 0
        else:
            children = node.value
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                children = [one for pair in children for one in pair]
            size += sum(self.sizes[child][0] for child in children)
            levels += max((self.sizes[child][1] for child in children), default=0)
        self._check(size, self.depth + levels, mark)
        self.sizes[node] = size, levels
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise _problem(f"a number of {len(node.value)} characters", node.start_mark)
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # what a tag cannot convert raises errors of many kinds
            kind = node.tag.rpartition(":")[2]
            raise _problem(f"{short(node.value)} is not of type {kind}", node.start_mark) from error
        if isinstance(value, str) and "\0" in value:
            raise _problem(f"{short(value)} has a character 0", node.start_mark)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        for key in mapping:
            if not isinstance(key, str | int):
                raise _problem(f"{short(key)} cannot be a key, write text", node.start_mark)
        return mapping

    def _check(self, nodes: int, levels: int, mark: Any) -> None:
        if nodes > MAX_NODES:
            raise _problem(f"more than {MAX_NODES:,} values", mark)
        if levels > MAX_DEPTH:
            raise _problem(f"more than {MAX_DEPTH} levels", mark)


def _check_keys(node: Any) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
            if (key.tag, key.value) in seen:
                raise _problem(f"key {short(key.value)} is given twice", key.start_mark)
            seen.add((key.tag, key.value))


def _problem(what: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, mark)
