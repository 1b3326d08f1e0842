"""`srnas check`: validate a file."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError, did_you_mean


def command(file: Annotated[Path, typer.Argument(help="Options, genotype or model file")]) -> None:
    """Check an options file (YAML), a genotype (JSON) or a model (safetensors, pth)."""
    print(f"{file}: {describe(file)}")


def describe(file: Path) -> str:
    """Return a one-line description of a valid file.

    Raises:
        UserError: The file is invalid, or of a type that srnas does not know.
    """
    if file.suffix in (".yml", ".yaml"):
        return f"valid options for srnas {_options_kind(file)}"
    if file.suffix in (".safetensors", ".pth", ".pt"):
        from srnas.model_file import load_model
        from srnas.tasks import task_of

        model = load_model(file)
        traits = task_of(model.network).traits(model.network)
        return f"model of space {model.space.name!r}{traits and f', {traits}'}: {model.genotype}"
    if file.suffix == ".json":
        from srnas.choice import Genotype
        from srnas.spaces import derived_network, genotype_space

        genotype = Genotype.load(file)
        derived_network(genotype_space(genotype), genotype)
        return f"genotype of space {genotype.space!r}: {genotype}"
    raise UserError(f"{file}: expected .yml, .json, .safetensors or .pth")


def _options_kind(file: Path) -> str:
    from srnas.bench.protocol import load_protocol
    from srnas.bench.study import load_study
    from srnas.inherit import read_options
    from srnas.methods import method_folders
    from srnas.options import check_options, kinds

    content = read_options(file).content
    if "about" in content or not {"name", "data"} & set(content):
        check_method(file)
        return "search, as a method"
    if "arms" in content:
        load_study(file)
        return "study"
    if "sample" in content:
        load_protocol(file)
        return "bench"
    if "epochs" in content or "alpha_optimizer" in content:
        kind = "search"
    elif "steps" in content or "optimizer" in content:
        kind = "train"
    else:
        kind = "test"
    assert kind in kinds()
    check_options(kind, content, str(file), folders=method_folders(file))
    return kind


def check_method(file: Path) -> None:
    """Check the file of a method as part of a minimal search.

    Raises:
        UserError: The file is invalid, as in `check_options`.
    """
    from pydantic import ValidationError

    from srnas.methods import apply_method, load_method, method_folders
    from srnas.options import SearchOptions
    from srnas.parts import first_error
    from srnas.spaces import SPACES

    search = {
        "name": "check",
        "method": str(file),
        "space": next(iter(SPACES)),
        "epochs": 1,
        "steps_per_epoch": 1,
        "weight_optimizer": {"lr": 1e-3},
        "alpha_optimizer": {"lr": 1e-3},
    }
    known = SearchOptions.model_fields
    for space in [None, *load_method(file, known).recipes]:
        if space is not None and space not in SPACES:
            hint = did_you_mean(space, SPACES)
            raise UserError(f"{file}: on: no space is named {space!r}; {hint}")
        content = {**search, "space": space, "recipe": "over"} if space else search
        content = apply_method(content, method_folders(), known, space)
        try:
            SearchOptions.model_validate(content)
        except ValidationError as error:
            where = f"{file}: on.{space}" if space else str(file)
            path, message = first_error(error)
            raise UserError(f"{where}: {'.'.join(map(str, path))}: {message}") from error
