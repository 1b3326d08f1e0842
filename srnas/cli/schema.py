"""`srnas schema`: the JSON Schema of options files, for editors."""

import json
from typing import Annotated

import typer

from srnas.errors import UserError, did_you_mean


def command(
    kind: Annotated[str, typer.Argument(help="search, train or test")] = "search",
) -> None:
    """Print the JSON Schema of an options file, with which editors complete and check YAML."""
    from srnas.options import json_schema, kinds

    if kind not in kinds():
        raise UserError(f"schema {kind}: {did_you_mean(kind, kinds())}")
    print(json.dumps(json_schema(kind), indent=2))
