"""Supernets that start from a trained network."""

import torch

from srnas.choice import Genotype, MixedOp, OpChoice, Supernet
from srnas.choice.closed_form import take_after
from srnas.errors import UserError
from srnas.model_file import load_model
from srnas.options import SearchOptions
from srnas.spaces import derived_network, published_genotype, spelled_out


@torch.no_grad()
def start_from(supernet: Supernet, options: SearchOptions) -> None:
    """Give a supernet the weights of the trained network `init`.

    Raises:
        UserError: The file is missing or broken, its network belongs to another space or does not
            fit, or only a part of the channels runs through the candidates.
    """
    assert options.init
    where = f"init: {options.init}"
    if options.partial_channels > 1:
        raise UserError(f"{where}: partial_channels shuffles channels; leave it or init out")
    model = load_model(options.init)
    space = options.space
    if model.space.name != space.name:
        raise UserError(f"{where}: a network of space {model.space.name!r}, not {space.name!r}")
    chosen = {**published_genotype(space).choices, **model.genotype.choices}
    genotype = spelled_out(space, Genotype(space.name, chosen))
    network, ours = derived_network(space, genotype), supernet.network
    try:
        network.load_state_dict(model.network.state_dict())
    except RuntimeError:
        raise UserError(
            f"{where}: its layers have other shapes than this space; give the options of its space"
        ) from None
    known = network.state_dict()
    for key, tensor in ours.state_dict().items():
        if key in known and known[key].shape == tensor.shape:
            tensor.copy_(known[key])
    for name, module in ours.named_modules():
        choice = supernet.choices.get(getattr(module, "label", ""))
        if isinstance(module, MixedOp) and isinstance(choice, OpChoice):
            base = network.get_submodule(name)
            chosen_one = choice.candidates[genotype.choices[choice.label]]
            for label, candidate in module.candidates.items():
                take_after(candidate, choice.candidates[label], base, chosen_one)
