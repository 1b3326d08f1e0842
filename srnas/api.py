"""The Python API: the commands as functions on Python objects.

Its functions are attributes of `srnas`. A user's mistake raises `srnas.UserError`, whose message
is the line that the command line would print. So does a file that is missing, broken or cannot be
written (then it is an OSError as well). What else the operating system refuses, such as to read a
file without permission, stays an OSError that names the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from srnas.choice import Genotype, Space
from srnas.errors import UserError, did_you_mean
from srnas.model_file import DEFAULT, Model, load_model
from srnas.options import SearchOptions, TrainOptions, check_options, load_options
from srnas.spaces import SPACES, SpaceLike, derived_network, genotype_space
from srnas.spaces import check_space as _check_space
from srnas.tasks import task_of

if TYPE_CHECKING:
    from srnas.finding import Answer

Options: TypeAlias = str | Path | Mapping[str, Any] | None
"""A YAML file (a path, or one of srnas's: "search/imdn_x2.yml"), or its content as a mapping."""
GenotypeLike: TypeAlias = Genotype | Mapping[str, Any] | str | Path
"""A genotype, its file, the content of its file, or its choices alone."""
Kind = TypeVar("Kind")
Image = TypeVar("Image", NDArray[np.uint8], Tensor)


class SearchResult(NamedTuple):
    """The result of a search.

    Attributes:
        genotype: The choices, with their provenance.
        folder: The run's folder: logs, checkpoint, genotype.json.
    """

    genotype: Genotype
    folder: Path


class TrainResult(NamedTuple):
    """The result of a training.

    Attributes:
        model: The network with the weights that were kept, in evaluation mode, on the CPU.
        folder: The run's folder: logs, checkpoint, model.safetensors.
    """

    model: Model
    folder: Path


def load(model_file: str | Path = DEFAULT) -> Model:
    """Load a model file (model.safetensors), or published weights (IMDN_x2.pth).

    Args:
        model_file: The file, or "default" for the x2 model in the package.

    Returns:
        The model, in evaluation mode, on the CPU; `model.network` is an `nn.Module`.

    Raises:
        UserError: The file is missing or broken, or its network is not recognized.
    """
    return load_model(Path(model_file))


def upscale(
    model: Model, image: Image, *, tile: int | None = None, overlap: int = 16, device: str = "auto"
) -> Image:
    """Enlarge an RGB image with a super-resolution model.

    Args:
        image: A numpy array, (H, W, 3) uint8, or a tensor, (3, H, W) floating point in [0, 1].
        tile: Work in tiles of so many LR pixels a side, to bound memory. Networks that pool over
            the whole image (IMDN's attention) then give slightly different results.
        overlap: The LR pixels that neighbouring tiles share, less than half a tile.
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Returns:
        The same kind of image: (scale*H, scale*W, 3) uint8, or (3, scale*H, scale*W) in [0, 1], of
        the tensor's dtype and on its device. A tensor is not rounded to 8 bits.

    Raises:
        UserError: The image has another form or is too small, or the model is not for
            super-resolution.
    """
    from srnas.distributed import choose_device
    from srnas.tasks.super_resolution.evaluate import NetworkUpscale, Upscale
    from srnas.tasks.super_resolution.task import scale_of
    from srnas.tasks.super_resolution.tiles import Tiled

    scale = scale_of(model.network)
    enlarge = NetworkUpscale(model.network, choose_device(device))
    if isinstance(image, Tensor):
        if image.ndim != 3 or len(image) != 3 or not image.is_floating_point():
            raise UserError(
                f"image: {tuple(image.shape)} {image.dtype}; a tensor is (3, H, W), "
                "floating point in [0, 1]"
            )
        if tile is not None:
            raise UserError("tile: tiles are for numpy images, (H, W, 3) uint8")
        sr = enlarge.tensor(image[None])[0].to(image)
        return sr.clone()  # an inference tensor could neither be changed nor differentiated
    if not isinstance(image, np.ndarray):
        raise UserError(f"image: {type(image).__name__}; give a numpy image or a tensor")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"image: {image.shape} {image.dtype}; a numpy image is (H, W, 3) uint8 RGB")
    run: Upscale = enlarge if tile is None else Tiled(enlarge, scale, tile, overlap)
    return run(image)


def search(options: Options = None, *, resume: bool = False, **changes: Any) -> SearchResult:
    """Search for a genotype, as `srnas search` does.

    Args:
        options: A YAML file or its content.
        resume: Continue a run that exists, to the same result.
        changes: Options by name; they go over the file's, also over its method's. Mappings are
            merged into the file's, except for components of another name:
            `search("search/imdn_sac_demo.yml", name="mine", data={"batch_size": 2})`.

    Raises:
        UserError: The options or images do not fit, or the run exists and `resume` is off.
        Interrupted: Ctrl-C; the state is saved.
    """
    from srnas.engine.search import search as run_search
    from srnas.report.page import write_report

    file = run_search(_options("search", SearchOptions, options, changes), resume, write_report)
    return SearchResult(Genotype.load(file), file.parent)


def train(
    options: Options = None,
    *,
    genotype: GenotypeLike | None = None,
    resume: bool = False,
    **changes: Any,
) -> TrainResult:
    """Train a genotype from scratch, as `srnas train` does.

    Args:
        options: A YAML file or its content.
        genotype: What to train; by default the options' genotype file, or the published network
            of the space.
        resume: Continue a run that exists, to the same result.
        changes: Options by name; they go over the file's, as in `search`.

    Raises:
        UserError: The options, genotype or images do not fit, or the run exists and `resume` is
            off.
        Interrupted: Ctrl-C; the state is saved.
    """
    from srnas.engine.train import train as run_train
    from srnas.report.page import write_report

    if isinstance(genotype, str | Path):
        changes["genotype"] = genotype
    checked = _options("train", TrainOptions, options, changes)
    given = None
    if genotype is not None and not isinstance(genotype, str | Path):
        given = _genotype(genotype, checked.space.name)
    file = run_train(checked, resume, given, write_report)
    return TrainResult(load_model(file), file.parent)


def shrink(*, resume: bool = False, **options: Any) -> TrainResult:
    """Make a trained network faster or smaller, as `srnas shrink` does.

    Args:
        resume: Continue a run that exists, to the same result.
        options: Those of `srnas.shrinking.options.ShrinkOptions`: `model`, `out`, `data` (a list of
            folders), one budget such as `speedup=2`, and others.

    Raises:
        UserError: The options, the network or the images do not fit, the budget cannot be met, or
            the run exists and `resume` is off.
        Interrupted: Ctrl-C; the state is saved.
    """
    from srnas.report.page import write_report
    from srnas.shrinking.options import check_shrink_options
    from srnas.shrinking.run import shrink as run_shrink

    checked = check_shrink_options(options)
    return TrainResult(load_model(run_shrink(checked, resume, write_report)), checked.out)


def find(*sources: str | Path, val: str | Path | None = None, **limits: Any) -> "Answer":
    """Find the best network for a budget, measured on this machine, as `srnas find` does.

    Args:
        sources: Models, tables, `front.json` of sampled searches, and folders of runs. The model in
            the package is looked at, too.
        val: Folder of HR images for PSNR; by default photographs that come with scikit-image.
        limits: Those of `srnas.finding.Limits`, such as `ms=5`, `kb=200` and `scale=2`.

    Returns:
        The networks; `best` are the best model and the best ones of each table and front.

    Raises:
        UserError: A source is missing or broken, a limit is unknown, or the runtime is not there.
    """
    from dataclasses import fields

    from srnas.finding import Limits
    from srnas.finding import find as run_find

    known = [field.name for field in fields(Limits)]
    for name in limits:
        if name not in known:
            raise UserError(f"find: {name}: {did_you_mean(name, known)}")
    folder = None if val is None else Path(val)
    return run_find(map(Path, sources), Limits(**limits), folder)


def evaluate(model: Model, data: Any, *, device: str = "auto", **how: Any) -> dict[str, Any]:
    """Measure a model on images that it was not trained on.

    Args:
        data: For super-resolution and denoising, name -> folder of each set, or one folder, or
            "packaged" for the photographs that come with scikit-image. For classification, a data
            set as in options: {"name": "npz", "file": ...}.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        how: What the model's task takes besides, see its `evaluate`: for super-resolution
            `protocol`, `lr`, `self_ensemble`, and `metrics`, a list such as ["psnr", "lpips"].

    Returns:
        Figures of merit: for super-resolution, name -> {"psnr" in dB, "ssim", "metrics": their
        names, "images"}.

    Raises:
        UserError: An image cannot be read or does not fit the model.
    """
    task = task_of(model.network)
    result: dict[str, Any] = task.evaluate(model.network, data, device=device, **how)
    return result


def derive(genotype: GenotypeLike, space: SpaceLike | None = None) -> Space:
    """Build the network of a genotype, randomly initialized.

    Args:
        space: The space, with its options as a mapping; by default that of the genotype's search.

    Returns:
        An `nn.Module`.

    Raises:
        UserError: The genotype does not fit the space.
    """
    if space is None:
        chosen = _genotype(genotype, None)
        return derived_network(genotype_space(chosen), chosen)
    checked = _check_space(space)
    return derived_network(checked, _genotype(genotype, checked.name))


def list_spaces() -> list[str]:
    """Return the names of the search spaces."""
    return sorted(SPACES)


def list_methods() -> list[str]:
    """Return the names of the published methods, which a search takes as `method`."""
    from srnas.methods import BUNDLED
    from srnas.methods import list_methods as read_methods

    return [method.name for method in read_methods(BUNDLED, SearchOptions.model_fields)]


def _options(kind: str, model: type[Kind], options: Options, changes: Mapping[str, Any]) -> Kind:
    """Check options from any source; changes go over all of them."""
    if isinstance(options, str | Path):
        checked = load_options(kind, Path(options), changes=changes)
    elif options is None or isinstance(options, Mapping):
        checked = check_options(kind, dict(options or {}), f"srnas.{kind}", changes=changes)
    else:
        raise UserError(f"srnas.{kind}: {type(options).__name__}; give a file or a mapping")
    assert isinstance(checked, model), checked
    return checked


def _genotype(genotype: GenotypeLike, space: str | None) -> Genotype:
    if isinstance(genotype, Genotype):
        return genotype
    if isinstance(genotype, str | Path):
        return Genotype.load(Path(genotype))
    if not isinstance(genotype, Mapping):
        raise UserError(f"genotype: {type(genotype).__name__}; give a Genotype, choices or a file")
    if "format" in genotype:
        return Genotype.from_dict(dict(genotype), "genotype")
    if space is None:
        raise UserError("genotype: choices alone do not say their space; name it by space=...")
    return Genotype(space, dict(genotype))
