"""`srnas demo`: all stages on packaged photographs, in a few minutes on two cores."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError


def command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go")] = Path(
        "experiments/demo"
    ),
) -> None:
    """Search, train, test and export a small x2 network on packaged photographs.

    An interrupted demo continues where it stopped when it is called again.
    """
    from srnas.cli.test import run as run_test
    from srnas.engine.search import search
    from srnas.engine.train import train
    from srnas.export.write import export
    from srnas.inherit import RECIPES
    from srnas.model_file import load_model
    from srnas.options import check_options, load_options
    from srnas.report.page import write_report

    if out.exists() and not (out / "search" / "options.yml").exists():
        raise UserError(f"{out}: exists, and is no earlier demo; give another --out DIR")
    place = {"experiments": str(out)}
    print("1/4 search")
    options = load_options("search", RECIPES / "search/imdn_sac_demo.yml", changes=place)
    genotype = search(options, resume=True, report=write_report)
    print("2/4 train")
    chosen = {**place, "genotype": genotype}
    options = load_options("train", RECIPES / "train/imdn_demo.yml", changes=chosen)
    model = train(options, resume=True, report=write_report)
    print("3/4 test: photographs that neither search nor training has seen")
    for file in (genotype, model):
        shutil.copy(file, out / file.name)
    sets = {
        "model": out / "model.safetensors",  # named after its folder, "demo"
        "data": {"photographs": "packaged"},
        "crops": out / "pictures",
    }
    run_test(check_options("test", sets, "demo"), out / "test.json")
    print("4/4 export")
    export(load_model(model), out / "model.onnx", overwrite=True)
    print("to look at:")
    for name in ("search/report.html", "train/report.html", "pictures/photographs"):
        print(f"  {out / name}")
    print("to use:")
    for name in ("genotype.json", "model.safetensors", "model.onnx", "test.json"):
        print(f"  {out / name}")
