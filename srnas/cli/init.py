"""`srnas init`: options files for one's own photographs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError, counted

SEARCH = """\
# yaml-language-server: $schema=search.schema.json
# A search on {count} photographs:
#   srnas search {search}
# and the training of its result:
#   srnas train {train} --genotype experiments/{name}_search/genotype.json
name: {name}_search
method: {method}  # `srnas methods` lists all; compare with method: random
seed: 0
space: {space}
data:
  # Disjoint images: of the weights, of the alphas, and to look at.
  train: {{hr: {hr}, images: 1-{first}}}
  alpha: {{hr: {hr}, images: {after_first}-{second}}}
  val: {{hr: {hr}, images: {after_second}-{count}}}
  batch_size: 8  # larger is steadier and slower
  hr_patch: 48  # side of the HR patches in pixels, a multiple of the scale
# As long as you can wait. The report shows at the end whether the genotype has settled.
epochs: 20
steps_per_epoch: 40
warmup_epochs: 4  # only the weights move
weight_optimizer: {{lr: {{name: cosine, start: 5.0e-4, end: 0}}}}  # larger ones find worse networks
alpha_optimizer: {{lr: 3.0e-2, betas: [0.5, 0.999]}}
regularizer_scale: 0.00392  # 1/255: the papers' weights are for RGB in 0-255
log_every: 40
val_every_epochs: 5
checkpoint_every: 200  # steps; a crash costs at most these
"""
TRAIN = """\
# yaml-language-server: $schema=train.schema.json
# The training of the network that {search} found:
#   srnas train {train} --genotype experiments/{name}_search/genotype.json
# Without --genotype, the space's published network is trained, to compare with.
name: {name}_train
seed: 0
space: {space}  # can be wider than in the search
data:
  train: {{hr: {hr}, images: 1-{second}}}
  val: {{hr: {hr}, images: {after_second}-{count}}}  # chooses the weights that are kept
  batch_size: 16
  hr_patch: 96
steps: 20000
optimizer:
  lr: {{name: one_cycle, peak: 2.0e-3}}
ema: 0.999
log_every: 100
val_every: 1000
checkpoint_every: 1000
"""


def command(
    photographs: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of photographs")],
    name: Annotated[str, typer.Option(help="Name of the runs and files")] = "mine",
    space: Annotated[str, typer.Option(help="Search space, for super-resolution")] = "imdn",
    method: Annotated[str, typer.Option(help="Search method; `srnas methods`")] = "drnas",
    scale: Annotated[int, typer.Option(metavar="N", help="2, 3 or 4")] = 2,
    width: Annotated[int, typer.Option(metavar="C", help="Channels of the networks")] = 32,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files")] = False,
) -> None:
    """Write commented options for a search and a training on your own photographs."""
    import yaml

    from srnas.data.images import list_images
    from srnas.files import write_atomic
    from srnas.options import check_options, json_schema

    count = len(list_images(photographs))
    if count < 3:
        raise UserError(f"{photographs}: {counted(count, 'image')}; a search needs at least 3")
    val = max(1, min(20, count // 10))
    second = count - val
    options = {"name": space, "scale": scale}
    options |= {"num_feat": width} if _has_width(space) else {}
    search, train = out / f"{name}_search.yml", out / f"{name}_train.yml"
    facts = {
        "count": count,
        "first": (second + 1) // 2,
        "after_first": (second + 1) // 2 + 1,
        "second": second,
        "after_second": second + 1,
        "hr": json.dumps(str(photographs)),
        "name": name,
        "method": method,
        "space": yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=999)[:-1],
        "search": search,
        "train": train,
    }
    files = {search: SEARCH.format_map(facts), train: TRAIN.format_map(facts)}
    for kind, (file, text) in zip(("search", "train"), files.items(), strict=True):
        if file.exists() and not overwrite:
            raise UserError(f"{file}: exists; give --overwrite to replace it, or another --name")
        check_options(kind, yaml.safe_load(text), "srnas init")
    for kind, (file, text) in zip(("search", "train"), files.items(), strict=True):
        write_atomic(file, text)
        write_atomic(out / f"{kind}.schema.json", json.dumps(json_schema(kind)) + "\n")
        print(file)
    print(f"next: srnas search {search}")


def _has_width(space: str) -> bool:
    """Return whether a space has an option for its width.

    Raises:
        UserError: There is no such space, it is not for super-resolution, or it has no choices.
    """
    from srnas.errors import did_you_mean
    from srnas.spaces import SPACES, is_open, space_class
    from srnas.spaces.kinds import SuperResolutionSpace

    names = [one for one in SPACES if issubclass(space_class(one), SuperResolutionSpace)]
    if space not in names:
        raise UserError(f"--space {space}: not for photographs; {did_you_mean(space, names)}")
    if not is_open(space):
        raise UserError(f"--space {space}: leaves nothing to choose, so there is nothing to search")
    return "num_feat" in SPACES.options_of(space)
