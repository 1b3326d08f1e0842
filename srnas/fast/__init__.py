"""Faster ways to compute what `srnas.choice` and `srnas.primitives` say, with a switch for each.

They give the same outputs, gradients and running statistics, up to rounding. All are on, except for
those that the environment variable SRNAS_PLAIN names (separated by commas, or `all`; processes
started by this one see it, too) and those switched off by `without` and `plain`.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache

from srnas.errors import UserError, short

TECHNIQUES = {
    "merging": "linear candidates of a mixed operation run as one convolution",
    "folding": "weights of candidates scale parameters instead of feature maps",
    "fused_edges": "edges that leave the same feature map run together",
    "depthwise": "gradients of large or dilated depthwise kernels on a CPU",
    "memory_format": "channels-last networks and images, BatchNorm of few channels, slices",
}
VARIABLE = "SRNAS_PLAIN"

_without: ContextVar[frozenset[str]] = ContextVar("without", default=frozenset())


def on(technique: str) -> bool:
    """Return whether a technique is on at this moment."""
    return technique not in switched_off()


def switched_off() -> frozenset[str]:
    """Return the names of the techniques that are off at this moment.

    Raises:
        UserError: SRNAS_PLAIN names a technique that there is not.
    """
    return _without.get() | _parsed(os.environ.get(VARIABLE, ""))


@contextmanager
def without(*techniques: str) -> Iterator[None]:
    """Switch techniques off within the context, in this thread.

    Raises:
        UserError: There is no technique of that name.
    """
    token = _without.set(_without.get() | _known(techniques, "without"))
    try:
        yield
    finally:
        _without.reset(token)


def plain() -> AbstractContextManager[None]:
    """Switch all techniques off within the context, in this thread."""
    return without(*TECHNIQUES)


@lru_cache
def _parsed(written: str) -> frozenset[str]:
    if written.strip() == "all":
        return frozenset(TECHNIQUES)
    return _known([name.strip() for name in written.split(",") if name.strip()], VARIABLE)


def _known(names: Iterable[str], where: str) -> frozenset[str]:
    for name in names:
        if name not in TECHNIQUES:
            known = ", ".join(TECHNIQUES)
            raise UserError(f"{where}: no technique is named {short(name)}; known: {known}")
    return frozenset(names)
