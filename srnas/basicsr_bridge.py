"""The only module that imports BasicSR (1.4.2).

BasicSR is imported only when something asks for it: the import takes seconds, and it expects a
module that torchvision no longer has.

- `basicsr("metrics.psnr_ssim")` imports one of its modules.
- `basicsr_loss` looks up losses that srnas does not know in BasicSR's registry.
- `register_archs` makes the networks of srnas available to BasicSR as `type: SRNAS`. With

      python -m srnas.basicsr_bridge -opt options.yml

  BasicSR's own training runs with them, unmodified. It writes below the current directory.
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
    """Import `basicsr`, or its submodule `basicsr.MODULE`.

    BasicSR imports `rgb_to_grayscale` from `torchvision.transforms.functional_tensor`, which
    torchvision 0.17 removed. A stand-in module provides the function, which still exists in
    `torchvision.transforms.functional`.

    Args:
        module: Dotted name below `basicsr`; empty for the package itself.

    Raises:
        UserError: BasicSR is not installed.
    """
    gone = "torchvision.transforms.functional_tensor"
    if gone not in sys.modules:
        try:
            importlib.import_module(gone)
        except ModuleNotFoundError:
            from torchvision.transforms.functional import rgb_to_grayscale

            stand_in = ModuleType(gone)
            stand_in.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
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
    """Find a loss in BasicSR's registry.

    Returns:
        A builder that takes the loss's options as keyword-only arguments; None if BasicSR has no
        such loss or is not installed.
    """
    try:
        basicsr("losses")
        registry = basicsr("utils.registry").LOSS_REGISTRY
    except UserError:
        return None
    if name not in registry:
        return None
    loss: Callable[..., nn.Module] = registry.get(name)

    def build(**options: Any) -> nn.Module:
        return loss(**options)

    parameters = list(inspect.signature(loss).parameters.values())
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            p.replace(kind=p.KEYWORD_ONLY, annotation=Any)
            for p in parameters
            if p.kind != p.VAR_KEYWORD
        ]
    )
    build.__doc__ = f"BasicSR's {name}."
    return build


def make_lmdb(files: Sequence[Path], target: Path, key: Callable[[Path], str]) -> None:
    """Write images into an LMDB in the form that BasicSR's loaders read, completely or not at all.

    Args:
        files: The images.
        target: Folder of the LMDB; its name ends in ".lmdb".
        key: Maps a file to its key in the LMDB, the name that LR and HR share.

    Raises:
        UserError: BasicSR is not installed.
    """
    make = basicsr("utils.lmdb_util").make_lmdb_from_imgs
    partial = target.with_name(f".{target.stem}.part.lmdb")
    shutil.rmtree(partial, ignore_errors=True)
    # By default BasicSR guesses the map size from the first image. The images are compressed
    # again as PNG, which hardly makes them larger.
    bound = 4 * sum(file.stat().st_size for file in files) + (64 << 20)
    names = [str(file) for file in files]
    with contextlib.redirect_stdout(sys.stderr):  # BasicSR prints its progress
        make("", str(partial), names, [key(file) for file in files], map_size=bound)
    os.replace(partial, target)


def register_archs() -> None:
    """Register derived networks of srnas in BasicSR's ARCH_REGISTRY as "SRNAS".

    In BasicSR's options they are written as

        network_g: {type: SRNAS, genotype: genotype.json, scale: 2}

    Further keys are options of the space; by default they are those of the genotype's search.

    Raises:
        UserError: BasicSR is not installed.
    """
    basicsr("archs")
    registry = basicsr("utils.registry").ARCH_REGISTRY
    if "SRNAS" in registry:
        return

    def build(genotype: str, scale: int, **space: Any) -> nn.Module:
        from srnas.choice import Genotype
        from srnas.spaces import derived_network, genotype_space

        chosen = Genotype.load(Path(genotype))
        return derived_network(genotype_space(chosen, scale=scale, **space), chosen)

    build.__name__ = "SRNAS"  # the name under which BasicSR's registry enters it
    registry.register(build)


def train() -> None:
    """Run BasicSR's training with the networks of both BasicSR and srnas.

    The options are read from `sys.argv`.

    Raises:
        UserError: BasicSR is not installed.
    """
    register_archs()
    basicsr("train").train_pipeline(os.getcwd())


if __name__ == "__main__":
    try:
        train()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
