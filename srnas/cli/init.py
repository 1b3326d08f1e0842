"""`srnas init`: options files for one's own photographs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError, counted


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
    from srnas.files import check_free, write_atomic
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
    texts = {}
    for kind, file in (("search", search), ("train", train)):
        check_free(file, overwrite, ", or another --name")
        template = Path(__file__).with_name(f"init_{kind}.yml.in").read_text(encoding="utf-8")
        texts[kind, file] = template.format_map(facts)
        check_options(kind, yaml.safe_load(texts[kind, file]), "srnas init")
    for (kind, file), text in texts.items():
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
