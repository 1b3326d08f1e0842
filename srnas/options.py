"""Typed options: YAML in, checked values out; an unknown key or wrong type never passes.

An options file is YAML; `key.path=value` arguments override it. Parts (a space, a loss, a
regularizer, a schedule, ...) are written as a name, or a name with its options, and checked
against the signature of what the name stands for.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from srnas.choice import RELAXATIONS
from srnas.data.options import (
    ClassSearchData,
    ClassTrainData,
    Count,
    PositiveInt,
    SearchData,
    TrainData,
)
from srnas.errors import UserError, did_you_mean
from srnas.files import read_yaml
from srnas.losses import CLASS_LOSSES, LOSSES
from srnas.methods import with_method
from srnas.metrics import PROTOCOLS
from srnas.optimizers import OPTIMIZERS
from srnas.parts import Part, ScheduleOption, Strict, first_error
from srnas.perturbations import PERTURBATIONS
from srnas.regularizers import REGULARIZERS
from srnas.spaces import SPACES
from srnas.updates import UPDATES

Optimizer = Annotated[dict[str, Any], Part(OPTIMIZERS, default="adam")]


class RunOptions(Strict):
    """What every run has: its name and folder, seed, device, and how often it writes."""

    name: Annotated[str, MinLen(1)]
    experiments: Path = Path("experiments")
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: PositiveInt | None = None
    log_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 1000
    tensorboard: bool = False

    @model_validator(mode="after")
    def _plain_name(self) -> "RunOptions":
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            raise PydanticCustomError(
                "name",
                "name: {name} must be letters, digits, '.', '_', '-'",
                {"name": repr(self.name)},
            )
        return self


def _of_task(info: ValidationInfo, choices: Mapping[str, Any]) -> Any:
    """That of the choices which the space's task asks for."""
    space = info.data.get("space")
    return choices[SPACES[space["name"]].task if space else "super_resolution"]


def _checked(model: type[Strict], value: Any) -> Strict:
    """A nested model, whose fault is told with its path."""
    if isinstance(value, model):
        return value
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        path, message = first_error(error)
        context = {"message": message, "path": path}
        raise PydanticCustomError("part_option", "{message}", context) from error


class TaskOptions(RunOptions):
    """What a search and a training share; the space's task says which data and losses fit."""

    space: Annotated[dict[str, Any], Part(SPACES)]
    data: Any = None
    loss: Any = None  # checked by _loss_of_the_task

    data_of_task: ClassVar[dict[str, type[Strict]]]

    @field_validator("data", mode="before")
    @classmethod
    def _data_of_the_task(cls, value: Any, info: ValidationInfo) -> Strict:
        return _checked(_of_task(info, cls.data_of_task), value)

    @field_validator("loss", mode="before")
    @classmethod
    def _loss_of_the_task(cls, value: Any, info: ValidationInfo) -> dict[str, Any]:
        return _of_task(info, LOSS_OF_TASK).check({} if value is None else value)


LOSS_OF_TASK = {
    "super_resolution": Part(LOSSES, default="l1"),
    "classification": Part(CLASS_LOSSES, default="cross_entropy"),
}


class RegularizerOptions(Strict):
    """A term of the alphas' loss, with its weight over the run."""

    term: Annotated[dict[str, Any], Part(REGULARIZERS)]
    weight: ScheduleOption = Field({"name": "constant", "value": 1.0})
    update: Literal["epoch", "step"] = "epoch"


class ShrinkOptions(Strict):
    """After a share of the epochs, keep the strongest candidates of each position.

    at: that share. keep: how many stay. partial_channels: K from then on; another K than
    before builds wider candidates, whose weights repeat the old ones. warmup: the share of the
    epochs for which the alphas rest then.
    """

    at: Annotated[float, Interval(gt=0, lt=1)]
    keep: PositiveInt
    partial_channels: PositiveInt | None = None
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0


class SearchOptions(TaskOptions):
    """`srnas search`.

    method: a file of options/methods, by name or path; see `srnas.methods`. from_method: the
    one that these options were made with. regularizer_scale: multiplies all regularizers'
    weights, which are the papers': 1/255 where the papers' losses are on RGB in 0-255.
    nb201_table: for the space nasbench201, the table in which each epoch's cell is looked up.
    """

    data_of_task: ClassVar[dict[str, type[Strict]]] = {
        "super_resolution": SearchData,
        "classification": ClassSearchData,
    }

    data: SearchData | ClassSearchData = Field(None)
    method: str | None = None
    from_method: str | None = None
    relaxation: Annotated[dict[str, Any], Part(RELAXATIONS, default="softmax")] = Field({})
    partial_channels: PositiveInt = 1
    edge_normalization: bool = False
    node_norm: bool = False
    auxiliary_skip: ScheduleOption | None = None
    perturbation: Annotated[dict[str, Any], Part(PERTURBATIONS)] | None = None
    affine: bool = False
    alpha_std: Annotated[float, Ge(0)] = 1e-3
    alpha_init: float | list[float] = 0.0
    derive_threshold: Annotated[float, Interval(ge=0, le=1)] | None = None
    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    warmup_epochs: Count = 0
    shrink: list[ShrinkOptions] = Field([])
    stop_after_stable_epochs: PositiveInt | None = None
    update: Annotated[dict[str, Any], Part(UPDATES, default="alternate")] = Field({})
    weight_optimizer: Optimizer
    alpha_optimizer: Optimizer
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    regularizers: list[RegularizerOptions] = Field([])
    regularizer_scale: Annotated[float, Gt(0)] = 1.0
    val_every_epochs: Count = 1
    nb201_table: Path | None = None

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class TrainOptions(TaskOptions):
    """`srnas train`.

    init: a model or weight file of the same genotype to start from; of another scale, all but
    the upsampler is taken (as DLSR's x4 starts from x2). drop_path: probability that an edge of
    a cell is left out; auxiliary_weight: of the second classifier's loss (both: space darts).
    """

    data_of_task: ClassVar[dict[str, type[Strict]]] = {
        "super_resolution": TrainData,
        "classification": ClassTrainData,
    }

    data: TrainData | ClassTrainData = Field(None)
    genotype: Path | None = None
    init: Path | None = None
    steps: PositiveInt
    optimizer: Optimizer
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    drop_path: ScheduleOption | None = None
    auxiliary_weight: Annotated[float, Ge(0)] = 0.4
    val_every: PositiveInt = 5000


class TestOptions(Strict):
    """`srnas test`: one model (model, or weights with space and genotype) on data sets, and
    beside it other model files of the same scale."""

    __test__ = False  # not a pytest class

    model: Path | None = None
    weights: Path | None = None
    space: Annotated[dict[str, Any], Part(SPACES)] | None = None
    genotype: Path | None = None
    beside: list[Path] = Field([])
    scale: Literal[2, 3, 4]
    data: Annotated[dict[str, Path], MinLen(1)]
    lr: Literal["files", "made"] = "files"
    protocol: str = "basicsr"
    explain: bool = False
    self_ensemble: bool = False
    device: str = "auto"
    save_images: Path | None = None
    crops: Path | None = None

    @model_validator(mode="after")
    def _one_model(self) -> "TestOptions":
        if (self.model is None) == (self.weights is None):
            raise PydanticCustomError("model", "give either model or weights", {})
        if self.weights and self.space is None:
            raise PydanticCustomError("model", "weights need a space (such as imdn)", {})
        if self.model and (self.space or self.genotype):
            raise PydanticCustomError("model", "a model file knows its space and genotype", {})
        if self.protocol not in PROTOCOLS:
            raise PydanticCustomError(
                "model",
                "no protocol is named {name}; {hint}",
                {"name": repr(self.protocol), "hint": did_you_mean(self.protocol, PROTOCOLS)},
            )
        if self.crops and self.crops == self.save_images:
            raise PydanticCustomError(
                "model", "crops and save_images would overwrite each other; give two folders", {}
            )
        return self


OPTIONS: dict[str, type[Strict]] = {
    "search": SearchOptions,
    "train": TrainOptions,
    "test": TestOptions,
}


def load_options(
    kind: str,
    file: Path,
    overrides: Sequence[str] = (),
    replaced: Mapping[str, Any] | None = None,
) -> Any:
    """Read and check an options file of a kind (search, train, test).

    replaced: whole keys given otherwise (by flags); overrides: "key.path=value", the last
    word, also over what a search's method says. Raises UserError with the file, the key's path
    and what to write instead.
    """
    content = {**read_yaml(file), **(replaced or {})}
    if kind == "search":
        chosen = [o for o in overrides if o.startswith("method=")]
        overrides = [o for o in overrides if o not in chosen]
        for override in chosen:
            _apply(content, override)
        content = with_method(content, file, SearchOptions.model_fields)
    for override in overrides:
        _apply(content, override)
    return check_options(kind, content, str(file))


def check_options(kind: str, content: Any, where: str) -> Any:
    """Check a mapping as options of a kind; `where` names it in errors."""
    if kind == "search" and isinstance(content, dict):
        content = with_method(content, Path(where), SearchOptions.model_fields)
    try:
        return OPTIONS[kind].model_validate(content)
    except ValidationError as error:
        path, message = first_error(error)
        place = ".".join(map(str, path))
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}") from error


def check_method(file: Path) -> None:
    """Check a method's file, on the smallest search; UserError as `check_options` raises it."""
    search = {
        "name": "check",
        "method": str(file),
        "space": "imdn",
        "epochs": 1,
        "steps_per_epoch": 1,
        "weight_optimizer": {"lr": 1e-3},
        "alpha_optimizer": {"lr": 1e-3},
    }
    check_options("search", search, str(file))


def dump_options(options: Strict) -> str:
    """The resolved options as YAML that reads back to the same options."""
    return yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False)


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"override {override!r}: write it as key.path=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r}: the value is not YAML") from error
    *parents, last = path.split(".")
    node: Any = content
    for key in parents:
        if isinstance(node, list):
            node = node[_index(node, key, override)]
            continue
        if not isinstance(node.get(key), dict | list):
            node[key] = {"name": node[key]} if isinstance(node.get(key), str) else {}
        node = node[key]
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _index(node: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"override {override!r}: {key!r} is not one of 0-{len(node) - 1}")
    return int(key)
