"""Typed options: YAML in, checked values out; an unknown key or wrong type never passes.

An options file is YAML; `key.path=value` arguments override it. Parts (a space, a loss, a
regularizer, a schedule, ...) are written as a name, or a name with its options, and checked
against the signature of what the name stands for.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from srnas.choice import RELAXATIONS
from srnas.errors import UserError, did_you_mean
from srnas.files import read_text
from srnas.losses import LOSSES
from srnas.metrics import PROTOCOLS
from srnas.registry import Registry
from srnas.regularizers import REGULARIZERS
from srnas.schedules import SCHEDULES
from srnas.spaces import SPACES
from srnas.updates import UPDATES

PositiveInt = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]


class Strict(BaseModel):
    """A mapping that takes its own keys only; another key is answered with the nearest."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = did_you_mean(key, cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key", "unknown key {key}; {hint}", {"key": repr(key), "hint": hint}
                    )
        return data


class Part:
    """Annotation of an option that names a registered part: `Annotated[dict, Part(SPACES)]`.

    Accepts NAME or {"name": NAME, option: value, ...}; the value is always the latter with
    every option filled in. default: the name that options without one belong to. number_is:
    the part that a bare number stands for, as its `value`.
    """

    def __init__(
        self, registry: Registry, default: str | None = None, number_is: str | None = None
    ) -> None:
        self.registry = registry
        self.default = default
        self.number_is = number_is

    def check(self, value: Any) -> dict[str, Any]:
        """Check one part; pydantic reports what this raises under the option's path."""
        if self.number_is and isinstance(value, int | float) and not isinstance(value, bool):
            value = {"name": self.number_is, "value": value}
        elif self.number_is and isinstance(value, str):
            value = {"name": self.number_is, "value": value}  # PyYAML reads 1e-4 as a string
        elif isinstance(value, str):
            value = {"name": value}
        elif isinstance(value, dict) and self.default:
            value = {"name": self.default, **value}
        kind = self.registry.kind
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "part", "a {kind} is written as its name, or as name: with options", {"kind": kind}
            )
        name = value["name"]
        if name not in self.registry:
            raise PydanticCustomError(
                "part_name",
                "no {kind} is named {name}; {hint}",
                {"kind": kind, "name": repr(name), "hint": did_you_mean(name, self.registry)},
            )
        arguments = {key: option for key, option in value.items() if key != "name"}
        try:
            checked = self.model(name).model_validate(arguments)
        except ValidationError as error:
            path, message = _first_error(error)
            raise PydanticCustomError(
                "part_option", "{message}", {"message": message, "path": path}
            ) from error
        return {"name": name, **checked.model_dump()}

    def model(self, name: str) -> type[Strict]:
        """The pydantic model of one part's options, from its signature."""
        fields: dict[str, Any] = {
            key: (
                parameter.annotation,
                ... if parameter.default is parameter.empty else parameter.default,
            )
            for key, parameter in self.registry.options_of(name).items()
        }
        return create_model(f"{name}_options", __base__=Strict, **fields)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        choices: list[dict[str, Any]] = [{"type": "string", "enum": sorted(self.registry)}]
        if self.number_is:
            choices = [{"type": "number"}]
        for name in self.registry:
            part = self.model(name).model_json_schema()
            part["properties"] = {"name": {"const": name}, **part.get("properties", {})}
            named = [] if name == self.default else ["name"]
            part["required"] = [*named, *part.get("required", [])]
            part.pop("title", None)
            choices.append(part)
        return {"anyOf": choices}


ScheduleOption = Annotated[dict[str, Any], Part(SCHEDULES, number_is="constant")]


class ImagesOptions(Strict):
    """Where images come from: a folder of HR (and LR) images, or packaged photographs."""

    hr: Path | None = None
    lr: Path | None = None
    images: str | None = None
    packaged: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "ImagesOptions":
        if (self.hr is None) == (self.packaged is None):
            raise PydanticCustomError("source", "give either hr: FOLDER or packaged: SPLIT", {})
        if self.packaged and (self.lr or self.images):
            raise PydanticCustomError("source", "lr: and images: belong to hr:, not packaged:", {})
        return self


class AdamOptions(Strict):
    """torch.optim.Adam (weight decay coupled into the gradient); lr in steps of progress."""

    lr: ScheduleOption
    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    weight_decay: Annotated[float, Ge(0)] = 0.0


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


class SearchData(Strict):
    """Disjoint images for the weights and the alphas; `val` is only looked at."""

    train: ImagesOptions = ImagesOptions(packaged="train")
    alpha: ImagesOptions = ImagesOptions(packaged="alpha")
    val: ImagesOptions | None = None
    batch_size: PositiveInt = 64
    hr_patch: PositiveInt = 64


class RegularizerOptions(Strict):
    """A term of the alphas' loss, with its weight over the run."""

    term: Annotated[dict[str, Any], Part(REGULARIZERS)]
    weight: ScheduleOption = {"name": "constant", "value": 1.0}
    update: Literal["epoch", "step"] = "epoch"


class SearchOptions(RunOptions):
    """`srnas search`."""

    space: Annotated[dict[str, Any], Part(SPACES)]
    relaxation: Annotated[dict[str, Any], Part(RELAXATIONS, default="softmax")] = {}
    partial_channels: PositiveInt = 1
    affine: bool = False
    alpha_std: Annotated[float, Ge(0)] = 1e-3
    data: SearchData = SearchData()
    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    warmup_epochs: Count = 0
    stop_after_stable_epochs: PositiveInt | None = None
    update: Annotated[dict[str, Any], Part(UPDATES, default="alternate")] = {}
    loss: Annotated[dict[str, Any], Part(LOSSES, default="l1")] = {}
    weight_optimizer: AdamOptions
    alpha_optimizer: AdamOptions
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    regularizers: list[RegularizerOptions] = []
    val_every_epochs: Count = 1

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class TrainData(Strict):
    """Images to train on, and a validation split that chooses the best checkpoint."""

    train: ImagesOptions = ImagesOptions(packaged="train+alpha")
    val: ImagesOptions = ImagesOptions(packaged="val")
    batch_size: PositiveInt = 16
    hr_patch: PositiveInt = 192


class TrainOptions(RunOptions):
    """`srnas train`."""

    space: Annotated[dict[str, Any], Part(SPACES)]
    genotype: Path | None = None
    data: TrainData = TrainData()
    steps: PositiveInt
    loss: Annotated[dict[str, Any], Part(LOSSES, default="l1")] = {}
    optimizer: AdamOptions
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    val_every: PositiveInt = 5000


class TestOptions(Strict):
    """`srnas test`: one model (model, or weights with space and genotype) on data sets, and
    beside it other model files of the same scale."""

    __test__ = False  # not a pytest class

    model: Path | None = None
    weights: Path | None = None
    space: Annotated[dict[str, Any], Part(SPACES)] | None = None
    genotype: Path | None = None
    beside: list[Path] = []
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
    word. Raises UserError with the file, the key's path and what to write instead.
    """
    content = {**read_yaml(file), **(replaced or {})}
    for override in overrides:
        _apply(content, override)
    return check_options(kind, content, str(file))


def check_options(kind: str, content: Any, where: str) -> Any:
    """Check a mapping as options of a kind; `where` names it in errors."""
    try:
        return OPTIONS[kind].model_validate(content)
    except ValidationError as error:
        path, message = _first_error(error)
        place = ".".join(map(str, path))
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file's mapping; UserError with the line if it is not one."""
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise UserError(f"{file}:{line} {problem}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected keys with values, found {type(content).__name__}")
    return content


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


def _first_error(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """(path, message) of the first fault, through nested parts."""
    first = error.errors(include_url=False)[0]
    path, message = first["loc"], first["msg"]
    context = first.get("ctx", {})
    if first["type"] == "part_option":
        path = (*path, *context["path"])
    elif first["type"] == "missing":
        message = "is missing"
    elif first["type"] not in ("unknown_key", "part", "part_name", "source", "name", "model"):
        message = f"{message}, got {first['input']!r}"
    return path, message
