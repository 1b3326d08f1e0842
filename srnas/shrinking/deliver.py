"""What is made of the network at the end: pictures beside the original, and exports."""

from pathlib import Path

from srnas.benchmarks.benchmark import test
from srnas.data.images import list_images
from srnas.errors import UserError, counted, did_you_mean
from srnas.export.int8 import photograph_budget
from srnas.export.target import EXPORT_TARGETS
from srnas.export.write import export
from srnas.files import write_json
from srnas.model_file import load_model
from srnas.options import check_options
from srnas.shrinking.options import ShrinkOptions

FEWEST = 4  # photographs
MAX_DROP = 0.1  # dB


def check_wishes(options: ShrinkOptions) -> None:
    """Check images and exports before anything is done.

    Raises:
        UserError: There are too few photographs, or no such export.
    """
    folders = [*options.data, *options.lr_data]
    count = sum(len(list_images(folder)) for folder in folders)
    if 0 < count < FEWEST:
        raise UserError(
            f"{folders[0]}: {counted(count, 'image')} in all; fits and losses need {FEWEST} "
            "photographs or more, and a distillation hundreds"
        )
    for wish in options.export:
        name, precision = _split(wish)
        if name not in EXPORT_TARGETS:
            raise UserError(f"export {wish}: {did_you_mean(name, EXPORT_TARGETS)}")
        known = EXPORT_TARGETS.build(name).limits
        if precision and precision not in known:
            raise UserError(f"export {wish}: {name} has {', '.join(known)}")


def deliver(options: ShrinkOptions, file: Path) -> None:
    """Write crops, `test.json` for the report, and exports.

    Args:
        options: Options of the run.
        file: The model file.

    Raises:
        UserError: An export differs from the network by more than it may.
    """
    figures = options.out / "test.json"
    if not figures.exists():
        sets = {name: str(folder) for name, folder in options.test.items()}
        content = {
            "model": file,
            "beside": [options.model],
            "data": sets or {"photographs": "packaged"},
            "crops": options.out / "crops",
            "device": options.device,
        }
        write_json(figures, test(check_options("test", content, "srnas shrink")))
    for wish in options.export:
        _export(options, file, wish)


def _export(options: ShrinkOptions, file: Path, wish: str) -> None:
    name, precision = _split(wish)
    target = EXPORT_TARGETS.build(name)
    folder = options.out / "export"
    folder.mkdir(exist_ok=True)
    stem = "-".join(filter(None, ("model", name, precision)))
    out = folder / f"{stem}{target.suffixes[0]}"
    if all((folder / f"{stem}{suffix}").exists() for suffix in target.suffixes):
        return
    model = load_model(file)
    budget = None
    if precision == "int8":
        budget = photograph_budget(model.network, options.data[0], options.val, MAX_DROP)
    written = export(model, out, name, precision, overwrite=True, budget=budget)
    for note in written.notes:
        print(note)
    for one in written.files:
        print(f"{one}: {one.stat().st_size:,} bytes")


def _split(wish: str) -> tuple[str, str | None]:
    name, _, precision = wish.partition(":")
    return name, precision or None
