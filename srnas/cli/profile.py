"""`srnas profile`: parameters and MACs."""

from typing import Annotated

import typer

from srnas.cli.arguments import (
    GenotypeFile,
    JsonFile,
    ModelFile,
    SpaceName,
    parse_size,
    write_figures,
)
from srnas.errors import UserError


def command(
    model: ModelFile = None,
    genotype: GenotypeFile = None,
    space: SpaceName = None,
    scale: Annotated[
        int | None, typer.Option(metavar="N", help="2, 3 or 4, for super-resolution")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--input", metavar="WxH", help="Another input size to count")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Count parameters and MACs of a model, a genotype, or a space's published network."""
    from srnas.choice import Genotype
    from srnas.cli.tables import cost_table
    from srnas.model_file import load_model
    from srnas.spaces import SPACES, derived_network, genotype_space, published_genotype
    from srnas.tasks import task_of

    if sum(given is not None for given in (model, genotype, space)) != 1:
        raise UserError("give one of --model, --genotype, --space")
    if model:
        network = load_model(model).network
        traits = task_of(network).traits(network)
        if scale is not None and traits != f"x{scale}":
            raise UserError(f"{model} is {traits or 'a network without a scale'}, not x{scale}")
    else:
        chosen = Genotype.load(genotype) if genotype else published_genotype(str(space))
        searched = chosen.provenance.get("options", {}).get("space")
        known = isinstance(searched, dict) and "scale" in searched
        if scale is None and not known and "scale" in SPACES.options_of(chosen.space):
            raise UserError("give --scale 2, 3 or 4")
        at_scale = {} if scale is None else {"scale": scale}
        network = derived_network(genotype_space(chosen, **at_scale), chosen)
    result = task_of(network).profile(network, parse_size(size) if size else None)
    cost_table(result)
    write_figures(json_file, result)
