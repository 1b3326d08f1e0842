"""Overrides: "key.path=value" arguments that change a mapping of options."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from srnas.documents import MAX_DEPTH, parse_yaml
from srnas.errors import UserError, short
from srnas.merging import REPLACED, join


def apply_overrides(
    content: Mapping[str, Any], overrides: Sequence[str], whole: Collection[str] = ()
) -> dict[str, Any]:
    """Return a copy of a mapping with "key.path=value" arguments applied, in their order.

    A mapping as value is merged into that of its key, see `srnas.merging`. Images of another
    source replace the former one, except for what is overridden as well.

    Args:
        whole: Keys whose mappings are replaced instead, as their keys are names that the user made.

    Raises:
        UserError: An argument has another form, or its value is not YAML.

    >>> apply_overrides({"train": {"hr": "a", "lr": "b"}}, ["train.hr=c"])
    {'train': {'hr': 'c'}}
    >>> apply_overrides({"data": {"batch_size": 8, "hr_patch": 64}}, ["data={batch_size: 2}"])
    {'data': {'batch_size': 2, 'hr_patch': 64}}
    """
    changed: dict[str, Any] = _deep_copy(content)
    given = {override.partition("=")[0] for override in overrides}
    for override in overrides:
        node, last = _apply(changed, override, whole)
        parent = override.partition("=")[0].removesuffix(last)
        for key in REPLACED.get(last, ()):
            beside = f"{parent}{key}"
            if isinstance(node, dict) and not any(overlap(one, beside) for one in given):
                node.pop(key, None)
    return changed


def overlap(one: str, other: str) -> bool:
    """Return whether two paths of keys are the same, or one leads to the other.

    >>> overlap("data.train", "data.train.hr"), overlap("data.train", "data.trainer")
    (True, False)
    """
    shorter, longer = sorted((one, other), key=len)
    return longer == shorter or longer.startswith(f"{shorter}.")


def _deep_copy(value: Any) -> Any:
    """Copy mappings and lists, since overrides change them in place."""
    if isinstance(value, Mapping):
        return {key: _deep_copy(inner) for key, inner in value.items()}
    return [_deep_copy(inner) for inner in value] if isinstance(value, list) else value


def _apply(content: dict[str, Any], override: str, whole: Collection[str]) -> tuple[Any, str]:
    """Apply an argument; return the mapping or list that it changed, and the key."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"override {short(override)}: write it as key.path=value")
    value = parse_yaml(text, f"override {short(override)}")
    *parents, last = path.split(".")
    if len(parents) >= MAX_DEPTH:
        raise UserError(f"override {short(override)}: more than {MAX_DEPTH} levels")
    node: Any = content
    for key in parents:
        place: Any = _place(node, key, override)
        inner = node[place] if isinstance(node, list) else node.get(place)
        if not isinstance(inner, dict | list):
            inner = node[place] = {"name": inner} if isinstance(inner, str) else {}
        node = inner
    at: Any = _place(node, last, override)
    if isinstance(node, dict) and path not in whole:
        value = _deep_copy(join(last, node.get(at), value))
    node[at] = value
    return node, last


def _place(node: Any, key: str, override: str) -> str | int:
    """Return a key as that of a mapping, or as a position of a list."""
    if not isinstance(node, list):
        return key
    if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= len(node):
        places = f"is not one of 0-{len(node) - 1}" if node else "is in an empty list"
        raise UserError(f"override {short(override)}: {key!r} {places}")
    return int(key)
