"""Fits, losses and costs of another run on the same network, for another budget."""

import shutil
from pathlib import Path

from srnas.errors import UserError
from srnas.files import read_json, read_json_lines
from srnas.shrinking.options import BUDGETS, ShrinkOptions, check_shrink_options

OWN = {*BUDGETS, "out", "test", "val", "minutes", "steps", "peak", "hr_weight", "reuse", "export",
       "device", "threads"}  # fmt: skip
# In this order: with the last one, all are there.
FILES = ("costs.json", "sums.json", "losses.jsonl", "starts.pt", "fits.pt")


def take_over(options: ShrinkOptions, folder: Path, alternatives: int) -> None:
    """Copy what was measured for `options.reuse` into the folder of a new run.

    Args:
        options: Options of the new run.
        folder: Its folder.
        alternatives: Number of alternatives of its network.

    Raises:
        UserError: That run has not come so far, or it was for something else.
    """
    other = options.reuse
    if other is None or (folder / "fits.pt").exists():
        return
    other = other / "shrink"
    if not (other / "options.json").exists():
        raise UserError(f"{other / 'options.json'}: no such file; --reuse takes the --out of a run")
    before = check_shrink_options(read_json(other / "options.json"))
    if before.setting != options.setting:
        raise UserError(
            f"{other / 'costs.json'}: measured as {before.setting}, asked for is {options.setting}"
        )
    rows = other / "losses.jsonl"
    measured = len(read_json_lines(rows)) if rows.exists() else 0
    if measured < alternatives or not (other / "costs.json").exists():
        raise UserError(f"{other}: this run has not measured all alternatives; continue it first")
    old, new = (one.model_dump(mode="json") for one in (before, options))
    changed = [key for key in new if key not in OWN and old[key] != new[key]]
    if changed:
        raise UserError(
            f"{other / 'options.json'}: {changed[0]} was {old[changed[0]]!r}, it is "
            f"{new[changed[0]]!r} now; leave --reuse out"
        )
    for name in FILES:
        if (other / name).exists():
            shutil.copyfile(other / name, folder / f"{name}.new")
    for name in FILES:
        if (folder / f"{name}.new").exists():
            (folder / f"{name}.new").replace(folder / name)
