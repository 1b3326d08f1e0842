"""How mappings of options are merged: files over their bases, methods, and a caller's changes.

Mappings merge key by key, to any depth; lists, plain values and empty mappings (`{}`) replace what
was there. Three rules follow from what options are:

- A component that names another one (`name:`) replaces it with all its options. One without a name
  changes the options of the one that is there, also if that is written as its name alone.
- Images of another source replace the former source: `hr:` drops the `lr:` beside it, since LR
  images are those of their HR images (`REPLACED`).
- A genotype and a data set of BasicSR are replaced, as their keys are not options (`WHOLE`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The key beside it that a key drops, unless both are given.
REPLACED = {
    "hr": ("lr", "packaged", "basicsr"),
    "lr_only": ("packaged", "basicsr"),
    "packaged": ("hr", "lr", "lr_only", "images", "basicsr", "folder"),
    "basicsr": ("hr", "lr", "lr_only", "images", "packaged"),
    "folder": ("packaged",),
}
WHOLE = ("genotype", "basicsr")
DEFAULT = "default"  # the source of values that are written nowhere


class Whole(dict[str, Any]):
    """A mapping that replaces another one instead of being merged into it."""


@dataclass(frozen=True)
class Given:
    """A value that remembers where it is written.

    Attributes:
        value: A plain value or a list; mappings have these inside, see `labelled`.
        source: The place: a file, "method NAME", ...
    """

    value: Any
    source: str = field(compare=False)


def labelled(value: Any, source: str) -> Any:
    """Return options whose values, however deep in mappings, are `Given` by a source."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, Given) else Given(value, source)
    inner = {key: labelled(one, source) for key, one in value.items()}
    return Whole(inner) if isinstance(value, Whole) else inner


def plain(value: Any) -> Any:
    """Return options without the sources that `labelled` added; mappings are copied."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return value.value if isinstance(value, Given) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `base` with those of `over` merged into them.

    Neither is changed. Both are whole sets of options, so that their own `name` is an option like
    others. Values may be `Given`.

    >>> merge({"val": {"hr": "a", "lr": "b", "images": "1-9"}}, {"val": {"hr": "c"}})
    {'val': {'hr': 'c', 'images': '1-9'}}
    >>> merge({"loss": {"name": "l1", "weight": 2}}, {"loss": {"name": "l2"}})
    {'loss': {'name': 'l2'}}
    >>> merge({"space": "imdn"}, {"space": {"num_feat": 8}})
    {'space': {'name': 'imdn', 'num_feat': 8}}
    """
    dropped = {key for one in over for key in REPLACED.get(one, ()) if key not in over}
    kept = {key: value for key, value in base.items() if key not in dropped}
    return {**kept, **{key: join(key, kept.get(key), value) for key, value in over.items()}}


def join(key: str, base: Any, over: Any) -> Any:
    """Return the value of one option: `over`, merged into `base` if both are options.

    Args:
        key: Name of the option.
        base: The value before; None for none.
        over: The value that takes precedence.
    """
    if not over or not isinstance(over, Mapping) or isinstance(over, Whole) or key in WHOLE:
        return over
    if isinstance(plain(base), str) and "name" not in over:
        base = {"name": base}
    if not isinstance(base, Mapping) or differ(over, {"name": None, **base}):
        return over
    return merge(base, over)


def differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two mappings name different components."""
    return "name" in one and "name" in other and one["name"] != other["name"]
