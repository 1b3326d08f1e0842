"""The model card of an export: the network, its training, its uses and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srnas.data.terms import PACKAGED_TERMS, UNKNOWN_TERMS, named_terms
from srnas.export.write import Export
from srnas.files import check_free, write_atomic
from srnas.model_file import Model
from srnas.report.render import render
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks import task_of

SHOWN = ("steps", "seed", "loss", "optimizer", "ema", "clip_grad_norm", "precision")


def write_card(model: Model, written: Export, overwrite: bool = False) -> Path:
    """Write the model card of an export beside its files, as Markdown.

    Args:
        written: What was written.

    Returns:
        The card, named as the first file with ".md" behind its suffix.

    Raises:
        UserError: The card exists.
    """
    path = written.files[0].with_name(written.files[0].name + ".md")
    check_free(path, overwrite)
    write_atomic(path, card(model, written))
    return path


def card(model: Model, written: Export) -> str:
    """Return the text of `write_card`."""
    network, made = model.network, model.provenance
    options = made.get("options") or {}
    data = options.get("data") or {}
    rows = [(key, options[key]) for key in SHOWN if options.get(key) is not None]
    rows += [
        (f"data.{key}", value)
        for key, value in data.items()
        if value is not None and key not in ("val", "cache", "keep", "workers")
    ]
    return render(
        "card.md",
        model=model,
        network=network,
        scale=network.scale if isinstance(network, SuperResolutionSpace) else None,
        made={"weights": None, "images": None, "val": None, "step": None, **made},
        choices=_choices(model),
        costs=_costs(task_of(network).profile(network, None)),
        options=options and [(key, f"`{_short(value)}`") for key, value in rows],
        images=[(s["folder"], f"{s['images']:,}", s["terms"]) for s in made.get("images") or ()],
        terms=_terms(data),
        quality=[(name, f"{value:.4f}") for name, value in (made.get("val") or {}).items()],
        written=written,
        files=[(f.name, f"{f.stat().st_size:,}") for f in written.files],
        agreements=[(a.size, f"{a.largest:.1e}", f"{a.psnr:.1f}") for a in written.agreements],
    )


def _choices(model: Model) -> dict[str, Any]:
    """Return the choices, or the space's options if there is nothing to choose, as a table."""
    named: Mapping[str, Any] = model.genotype.choices
    head = ("position", "choice")
    if not named:
        options = {k: v for k, v in model.space.to_dict().items() if k != "name" and v is not None}
        named, head = options, ("option", "value")
    return {"head": head, "rows": [(label, f"`{value}`") for label, value in named.items()]}


def _costs(counted: Mapping[str, Any]) -> list[tuple[str, str]]:
    costs = [("parameters", f"{counted['params']:,}")]
    for convention, value in counted.items():
        if isinstance(value, dict):
            name = value.get("size", convention.replace("_", " "))
            costs.append((f"GMACs, {name}", f"{value['macs'] / 1e9:.2f}"))
    return costs


def _terms(data: Mapping[str, Any]) -> str:
    """Return the terms of the data of a version that recorded the options only."""
    train = data.get("train")
    if isinstance(train, dict) and train.get("packaged"):
        return PACKAGED_TERMS
    return named_terms(str(train) + str(data.get("dataset", ""))) or UNKNOWN_TERMS


def _short(value: Any) -> str:
    """Return an option in one line, without defaults that say nothing."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v is not None}
        if set(kept) == {"name"}:
            return str(kept["name"])
        if kept.get("name") == "constant":
            return str(kept["value"])
        return ", ".join(f"{k} {_short(v)}" for k, v in kept.items())
    return str(value)
