"""`srnas schema`: the JSON Schema of options files, for editors."""

import json
from typing import Annotated

import typer


def command(
    kind: Annotated[
        str, typer.Argument(help="search, train, test, method, study or table")
    ] = "search",
) -> None:
    """Print the JSON Schema of a kind of file, with which editors complete, check and explain."""
    from srnas.schemas import schema

    print(json.dumps(schema(kind), indent=2))
