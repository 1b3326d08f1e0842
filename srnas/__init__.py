"""srnas: differentiable architecture search for small super-resolution networks.

The functions and classes below are the Python API. Importing the package costs nothing; torch is
imported when one of them is first used.

>>> import srnas
>>> "sa_darts" in srnas.list_methods()
True
>>> network = srnas.derive(dict.fromkeys(("c1", "c2", "c3", "c4"), "conv_3x3"), "imdn")
>>> sum(p.numel() for p in network.parameters())  # IMDN x2 itself
694404
"""

from typing import TYPE_CHECKING, Any

from srnas.version import __version__ as __version__

if TYPE_CHECKING:
    from srnas.api import (
        SearchResult,
        TrainResult,
        derive,
        evaluate,
        find,
        list_methods,
        list_spaces,
        load,
        search,
        shrink,
        train,
        upscale,
    )
    from srnas.choice import Genotype
    from srnas.errors import Interrupted, UserError
    from srnas.model_file import Model

__all__ = [
    "Genotype",
    "Interrupted",
    "Model",
    "SearchResult",
    "TrainResult",
    "UserError",
    "derive",
    "evaluate",
    "find",
    "list_methods",
    "list_spaces",
    "load",
    "search",
    "shrink",
    "train",
    "upscale",
]
_ELSEWHERE = {
    "Genotype": "srnas.choice",
    "Interrupted": "srnas.errors",
    "Model": "srnas.model_file",
    "UserError": "srnas.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'srnas' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ELSEWHERE.get(name, "srnas.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
