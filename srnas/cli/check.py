"""`srnas check`: validate a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srnas.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from srnas.resolve import Resolved

YAML = (".yml", ".yaml")


def command(
    file: Annotated[Path, typer.Argument(help="Options, genotype or model file")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY.PATH=VALUE", help="Override options")
    ] = None,
    resolved: Annotated[
        bool,
        typer.Option("--resolved", help="Print all options, and where each of them comes from"),
    ] = False,
) -> None:
    """Check an options file (YAML), a genotype (JSON) or a model (safetensors, pth)."""
    if file.suffix in YAML:
        kind, values, sources = check_yaml(file, overrides or ())
        said = f"{file}: valid options for srnas {kind}"
        print(f"# {said}\n{with_sources(values, sources)}" if resolved else said)
        return
    if resolved or overrides:
        raise UserError(f"{file}: only options files (.yml) are resolved, or take key=value")
    print(f"{file}: {describe(file)}")


def describe(file: Path) -> str:
    """Return a one-line description of a valid genotype or model file.

    Raises:
        UserError: The file is invalid, or of a type that srnas does not know.
    """
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


def check_yaml(file: Path, overrides: Sequence[str] = ()) -> tuple[str, dict[str, Any], "Resolved"]:
    """Check an options file of any kind.

    Args:
        file: The file; if it does not exist, it is looked up among the bundled ones.
        overrides: "key.path=value" arguments.

    Returns:
        What it is for, its options in plain values, and how they were resolved.

    Raises:
        UserError: The file is invalid.
    """
    from srnas.inherit import find_recipe, read_options
    from srnas.options import kinds, load_resolved
    from srnas.resolve import resolve_other
    from srnas.table.protocol import load_protocol
    from srnas.table.study import load_study

    content = read_options(find_recipe(file), str(file))
    for kind, mark, load in (("study", "arms", load_study), ("table", "sample", load_protocol)):
        if mark in content:
            values = load(file, overrides).model_dump(mode="json")
            return kind, values, resolve_other(kind, file, overrides)
    if "about" in content or not {"name", "data"} & set(content):
        if overrides:
            raise UserError(f"{file}: a method takes no key=value; give them to srnas search")
        check_method(find_recipe(file))
        resolved = resolve_other("method", file)
        return "search, as a method", resolved.content, resolved
    if "epochs" in content or "alpha_optimizer" in content:
        kind = "search"
    elif "steps" in content or "optimizer" in content:
        kind = "train"
    else:
        kind = "test"
    assert kind in kinds()
    options, resolved = load_resolved(kind, file, overrides)
    return kind, options.model_dump(mode="json"), resolved


def with_sources(values: Mapping[Any, Any], resolved: "Resolved") -> str:
    """Return options as YAML, with where it comes from in a comment behind each top-level key."""
    import yaml

    lines: list[str] = []
    for key, value in values.items():
        text = yaml.safe_dump({key: value}, sort_keys=False, width=1 << 20, allow_unicode=True)
        first, *rest = text.splitlines()
        comment = f"# {'; '.join(resolved.sources(str(key), value))}"
        whole = not rest or isinstance(value, Mapping | list)  # else a text of several lines
        lines += [f"{first}  {comment}", *rest] if whole else [comment, first, *rest]
    return "\n".join(lines)


def check_method(file: Path) -> None:
    """Check the file of a method as part of a minimal search.

    Raises:
        UserError: The file is invalid, as in `check_options`.
    """
    from srnas.components import check_model
    from srnas.methods import apply_method, load_method, method_folders
    from srnas.options import SearchOptions
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
        check_model(SearchOptions, content, f"{file}: on.{space}" if space else str(file))
