"""`srnas convert`: make a model file of published weights."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import GenotypeFile, SpaceName
from srnas.errors import UserError


def command(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth or .safetensors")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The model file to write")],
    space: SpaceName = None,
    genotype: GenotypeFile = None,
    scale: Annotated[int | None, typer.Option(metavar="N", help="2, 3 or 4")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE")] = False,
) -> None:
    """Make a model file of a weight file, which all other commands then take.

    The weights of IMDN and DLSR are recognized. For others, give the space, and the genotype if it
    is not that of the space's published network; the width is taken from the file.
    """
    from srnas.choice import Genotype
    from srnas.files import check_free
    from srnas.model_file import load_model, load_published, save_model
    from srnas.spaces import genotype_space, published_genotype

    if out.suffix != ".safetensors":
        raise UserError(f"{out}: the name of a model file ends in .safetensors")
    check_free(out, overwrite)
    if space or genotype:
        chosen = Genotype.load(genotype) if genotype else published_genotype(str(space))
        if space and chosen.space != space:
            raise UserError(f"{genotype}: a genotype of space {chosen.space!r}, not of {space!r}")
        changes = {} if scale is None else {"scale": scale}
        model = load_published(weights, genotype_space(chosen, **changes), chosen)
    elif scale is not None:
        raise UserError("--scale goes with --space or --genotype")
    else:
        model = load_model(weights)
    save_model(out, model)
    options = ", ".join(f"{key} {value}" for key, value in model.space.to_dict().items())
    print(f"{out}: {options}")
