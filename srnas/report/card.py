"""The model card of an export: what a file is, how it was trained, what it can and cannot do."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from srnas.data.terms import PACKAGED_TERMS, UNKNOWN_TERMS, named_terms
from srnas.errors import UserError
from srnas.export.write import Export
from srnas.files import write_atomic
from srnas.model_file import Model
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
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it")
    write_atomic(path, card(model, written))
    return path


def card(model: Model, written: Export) -> str:
    """Return the text of `write_card`."""
    network, task = model.network, task_of(model.network)
    parts = [
        f"# {written.files[0].stem}",
        _summary(model),
        "## Network",
        _network(model),
        _table(("cost", "value"), _costs(task.profile(network, None))),
        "## Training",
        _training(model.provenance),
        "## Quality",
        _quality(model.provenance),
        "## Files",
        _table(("file", "bytes"), ((f.name, f"{f.stat().st_size:,}") for f in written.files)),
        f"Precision {written.precision}. Compared with PyTorch on a photograph, in the runtime of "
        "the files:",
        _table(
            ("input", "largest difference (of 1.0)", "PSNR between both, dB"),
            ((a.size, f"{a.largest:.1e}", f"{a.psnr:.1f}") for a in written.agreements),
        ),
        *written.notes,
        "## Limits",
        _limits(model),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(model: Model) -> str:
    network = model.network
    if isinstance(network, SuperResolutionSpace):
        what = f"Super-resolution by a factor of {network.scale}"
    else:
        what = f"A network for {network.task.replace('_', ' ')}"
    versions = model.provenance.get("versions", {})
    made = f", trained by srnas {versions['srnas']}" if "srnas" in versions else ""
    return f"{what}: a network of the search space `{model.space.name}`{made}."


def _network(model: Model) -> str:
    """Return a table of the choices, or of the space's options if there is nothing to choose."""
    named: Mapping[str, Any] = model.genotype.choices
    head = ("position", "choice")
    if not named:
        options = {k: v for k, v in model.space.to_dict().items() if k != "name" and v is not None}
        named, head = options, ("option", "value")
    return _table(head, ((label, f"`{value}`") for label, value in named.items()))


def _costs(counted: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "parameters", f"{counted['params']:,}"
    for convention, value in counted.items():
        if isinstance(value, dict):
            name = value.get("size", convention.replace("_", " "))
            yield f"GMACs, {name}", f"{value['macs'] / 1e9:.2f}"


def _training(provenance: Mapping[str, Any]) -> str:
    options = provenance.get("options")
    if not options:
        source = provenance.get("weights")
        return f"Published weights, read from `{source}`." if source else "Not recorded."
    rows = [(key, f"`{_short(options[key])}`") for key in SHOWN if options.get(key) is not None]
    data = options.get("data") or {}
    rows += [
        (f"data.{key}", f"`{_short(value)}`")
        for key, value in data.items()
        if value is not None and key not in ("val", "cache", "keep", "workers")
    ]
    return _table(("option", "value"), rows) + f"\n\n{_images(provenance, data)}"


def _images(provenance: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the folders that were trained on, with their images and terms."""
    sources = provenance.get("images")
    if sources:
        rows = ((s["folder"], f"{s['images']:,}", s["terms"]) for s in sources)
        return _table(("images from", "number", "terms"), rows)
    train = data.get("train")  # versions before this one recorded the options only
    if isinstance(train, dict) and train.get("packaged"):
        return f"Terms of the data: {PACKAGED_TERMS}."
    place = str(train) + str(data.get("dataset", ""))
    return f"Terms of the data: {named_terms(place) or UNKNOWN_TERMS}."


def _quality(provenance: Mapping[str, Any]) -> str:
    val = provenance.get("val") or {}
    if not val:
        return "No validation is recorded; `srnas test` measures the benchmark sets."
    step = provenance.get("step")
    rows = ((name, f"{value:.4f}") for name, value in val.items())
    return (
        f"On the validation images of the training, at step {step:,}:\n\n"
        + _table(("figure", "value"), rows)
        + "\n\n`srnas test` measures the benchmark sets."
    )


def _limits(model: Model) -> str:
    network = model.network
    lines = [f"- Sides of an input are at least {network.min_size} pixels."]
    if isinstance(network, SuperResolutionSpace):
        lines += [
            "- Trained on images made smaller by bicubic interpolation: blur, noise and "
            "compression of other sources are enlarged with the image.",
            "- The output is not clipped to [0, 1].",
        ]
    return "\n".join(lines)


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
