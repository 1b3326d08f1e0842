"""The one door to BasicSR 1.4.2.

It is imported only here and only when asked for: it takes seconds, and it expects a module
that torchvision no longer has.
"""

import importlib
import sys
from types import ModuleType

from srnas.errors import UserError


def basicsr(module: str = "") -> ModuleType:
    """Import `basicsr`, or `basicsr.MODULE`; UserError if it is not installed.

    BasicSR imports `rgb_to_grayscale` from `torchvision.transforms.functional_tensor`, which
    torchvision 0.17 removed; the function lives on in `torchvision.transforms.functional`.
    """
    gone = "torchvision.transforms.functional_tensor"
    if gone not in sys.modules:
        try:
            importlib.import_module(gone)
        except ModuleNotFoundError:
            from torchvision.transforms.functional import rgb_to_grayscale

            stand_in = ModuleType(gone)
            stand_in.rgb_to_grayscale = rgb_to_grayscale
            sys.modules[gone] = stand_in
    try:
        return importlib.import_module(f"basicsr.{module}" if module else "basicsr")
    except ModuleNotFoundError as error:
        if error.name != "basicsr":
            raise
        raise UserError(
            "BasicSR is not installed; it needs Python below 3.13: pip install basicsr"
        ) from error
