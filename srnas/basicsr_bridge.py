"""The one door to BasicSR 1.4.2.

It is imported only here and only when asked for: it takes seconds, and it expects a module
that torchvision no longer has.

- `basicsr("metrics.psnr_ssim")` imports a module of it.
- A loss that srnas does not know is looked up in BasicSR's registry (`basicsr_loss`).
- `register_archs` makes srnas's networks available to BasicSR as `type: SRNAS`; with

      python -m srnas.basicsr_bridge -opt options.yml

  BasicSR's own training runs, unmodified, with them (its folders go below the current one).
"""

import contextlib
import importlib
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

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


def basicsr_loss(name: str) -> Callable[..., nn.Module] | None:
    """The builder of a loss in BasicSR's registry, its options keyword-only; None without one.

    None too where BasicSR is not installed.
    """
    try:
        basicsr("losses")
        registry = basicsr("utils.registry").LOSS_REGISTRY
    except UserError:
        return None
    if name not in registry:
        return None
    loss = registry.get(name)

    def build(**options: Any) -> nn.Module:
        return loss(**options)

    parameters = list(inspect.signature(loss).parameters.values())
    build.__signature__ = inspect.Signature(
        [
            p.replace(kind=p.KEYWORD_ONLY, annotation=Any)
            for p in parameters
            if p.kind != p.VAR_KEYWORD
        ]
    )
    build.__doc__ = f"BasicSR's {name}."
    return build


def make_lmdb(files: Sequence[Path], target: Path, key: Callable[[Path], str]) -> None:
    """Write images into an LMDB as BasicSR's loaders read it, whole or not at all.

    target: the folder, ending in .lmdb. key: file -> the name that LR and HR share.
    """
    make = basicsr("utils.lmdb_util").make_lmdb_from_imgs
    partial = target.with_name(f".{target.stem}.part.lmdb")
    shutil.rmtree(partial, ignore_errors=True)
    # BasicSR guesses the database's bound from its first image; recompressed PNGs hardly grow.
    bound = 4 * sum(file.stat().st_size for file in files) + (64 << 20)
    names = [str(file) for file in files]
    with contextlib.redirect_stdout(sys.stderr):  # it tells what it does
        make("", str(partial), names, [key(file) for file in files], map_size=bound)
    os.replace(partial, target)


def register_archs() -> None:
    """Enter srnas's derived networks into BasicSR's ARCH_REGISTRY as SRNAS.

    network_g: {type: SRNAS, genotype: genotype.json, scale: 2}; other keys are the space's
    options, by default those of the genotype's search.
    """
    basicsr("archs")
    registry = basicsr("utils.registry").ARCH_REGISTRY
    if "SRNAS" in registry:
        return

    def build(genotype: str, scale: int, **space: Any) -> nn.Module:
        from srnas.choice import Genotype
        from srnas.spaces import derived_network
        from srnas.spaces.options import genotype_space

        chosen = Genotype.load(genotype)
        return derived_network(genotype_space(chosen, scale=scale, **space), chosen)

    build.__name__ = "SRNAS"  # BasicSR's registry goes by it
    registry.register(build)


def train() -> None:
    """BasicSR's training entry, its networks and srnas's at hand; reads sys.argv."""
    register_archs()
    basicsr("train").train_pipeline(os.getcwd())


if __name__ == "__main__":
    try:
        train()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
