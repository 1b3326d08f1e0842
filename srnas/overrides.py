"""Overrides: "key.path=value" arguments that change a mapping of options."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from srnas.errors import UserError


def apply_overrides(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a mapping with "key.path=value" arguments applied.

    Raises:
        UserError: An argument has another form, or its value is not YAML.
    """
    changed: dict[str, Any] = _deep_copy(content)
    for override in overrides:
        _apply(changed, override)
    return changed


def _deep_copy(value: Any) -> Any:
    """Copy mappings and lists, since overrides change them in place."""
    if isinstance(value, Mapping):
        return {key: _deep_copy(inner) for key, inner in value.items()}
    return [_deep_copy(inner) for inner in value] if isinstance(value, list) else value


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"override {override!r}: write it as key.path=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r}: the value is not YAML") from error
    *parents, last = path.split(".")
    node: Any = content
    for key in parents:
        if isinstance(node, list):
            node = node[_index(node, key, override)]
            continue
        if not isinstance(node.get(key), dict | list):
            node[key] = {"name": node[key]} if isinstance(node.get(key), str) else {}
        node = node[key]
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _index(node: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"override {override!r}: {key!r} is not one of 0-{len(node) - 1}")
    return int(key)
