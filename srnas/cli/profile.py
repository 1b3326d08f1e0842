"""`srnas profile`: parameters and MACs."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import (
    GenotypeFile,
    ModelFile,
    SpaceName,
    parse_size,
)
from srnas.errors import UserError


def command(
    model: ModelFile = None,
    genotype: GenotypeFile = None,
    space: SpaceName = None,
    scale: Annotated[
        int | None, typer.Option(metavar="N", help="2, 3 or 4; a classifier has none")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--input", metavar="WxH", help="Another input size to count")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
) -> None:
    """Count parameters and MACs of a model, a genotype, or a space's published network."""
    from srnas.choice import Genotype
    from srnas.cli.tables import cost_table
    from srnas.cost import profile
    from srnas.export.model_file import load_model
    from srnas.files import write_json
    from srnas.spaces import SPACES, derived_network, published_genotype
    from srnas.spaces.options import genotype_space

    if sum(given is not None for given in (model, genotype, space)) != 1:
        raise UserError("give one of --model, --genotype, --space")
    if model:
        loaded = load_model(model)
        if scale is not None and scale != loaded.scale:
            raise UserError(f"{model} enlarges x{loaded.scale}, not x{scale}")
        network, scale = loaded.network, loaded.space.get("scale")
    else:
        chosen = Genotype.load(genotype) if genotype else published_genotype(space)
        if scale is None and SPACES[chosen.space].task == "super_resolution":
            raise UserError("give --scale 2, 3 or 4")
        at_scale = {} if scale is None else {"scale": scale}
        network = derived_network(genotype_space(chosen, **at_scale), chosen)
    result = profile(network, scale, parse_size(size) if size else None)
    cost_table(result)
    if json_file:
        write_json(json_file, result)
