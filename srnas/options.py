"""Typed options: YAML in, checked values out. Unknown keys and wrong types are errors.

An options file is YAML; `key.path=value` arguments override it. Components (a space, a loss,
a regularizer, a schedule, ...) are written as a name, or as a name with options
(`srnas.components`). This module defines the options that all searches and trainings share; each
task adds its data and loss.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import Field, ValidationError, model_validator
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from srnas.choice import RELAXATIONS, Relaxation, Space
from srnas.components import (
    Component,
    ComponentOf,
    Count,
    PositiveInt,
    Seed,
    Strict,
    Threads,
    first_error,
    written,
)
from srnas.errors import UserError, did_you_mean, short
from srnas.inherit import find_recipe, inherit, read_options
from srnas.inherit_schema import allow_bases
from srnas.methods import method_folders
from srnas.optimizers import OPTIMIZERS, ScheduledOptimizer
from srnas.perturbations import PERTURBATIONS, Perturbation
from srnas.regularizers import REGULARIZERS, Regularizer
from srnas.resolve import Resolved, resolve, space_name, without_defaults_of_other_tasks
from srnas.schedules import ScheduleOption, Update
from srnas.search_parts import SampledOptions, ShrinkOptions
from srnas.spaces import SPACES
from srnas.tasks import TASKS, Task, task_class, task_of_space
from srnas.updates import UPDATES, UpdateRule

Optimizer = Annotated[Component[ScheduledOptimizer], ComponentOf(OPTIMIZERS, default="adam")]
SpaceOption = Annotated[Component[Space], ComponentOf(SPACES)]
RelaxationOption = Annotated[Component[Relaxation], ComponentOf(RELAXATIONS, default="softmax")]
UpdateRuleOption = Annotated[Component[UpdateRule], ComponentOf(UPDATES, default="alternate")]


class RunOptions(Strict):
    """Options of every run.

    Attributes:
        name: Name of the run, and of its folder.
        experiments: Folder that contains the run folders.
        seed: Seed of initialization and data.
        device: Device: "cpu", "cuda", "cuda:1", ...; "auto" is CUDA if available, otherwise the
            CPU.
        precision: Precision of forward passes; "bfloat16" uses autocast.
        threads: Number of CPU threads of PyTorch operations; PyTorch's default if not given.
        sync_batchnorm: Whether BatchNorm takes the statistics of the batches of all processes, so
            that the result does not depend on their number.
        log_every: Number of steps between rows of metrics.jsonl.
        checkpoint_every: Number of steps between checkpoints.
        tensorboard: Whether to write TensorBoard logs as well.
        space: The space with its options.
        data: Images, defined by the task.
        loss: Loss function, defined by the task.
    """

    name: Annotated[str, MinLen(1)]
    experiments: Path = Path("experiments")
    seed: Seed = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: Threads | None = None
    sync_batchnorm: bool = True
    log_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 1000
    tensorboard: bool = False
    space: SpaceOption
    data: Any = None
    loss: Any = None

    @model_validator(mode="after")
    def _plain_name(self) -> "RunOptions":
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            raise PydanticCustomError(
                "name",
                "name: {name} must be letters, digits, '.', '_', '-'",
                {"name": short(self.name)},
            )
        return self

    @property
    def task(self) -> type[Task]:
        """Task of the space."""
        return task_of_space(self.space.name)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.experiments / self.name


class RegularizerOptions(Strict):
    """A term of the alphas' loss.

    Attributes:
        term: The regularizer.
        weight: Weight of the term over the run.
        update: Whether the weight changes every "epoch" or every "step".
    """

    term: Annotated[Component[Regularizer], ComponentOf(REGULARIZERS)]
    weight: ScheduleOption = written({"name": "constant", "value": 1.0})
    update: Update = "epoch"


class SearchOptions(RunOptions):
    """Options of `srnas search`; a task adds `data` and `loss`.

    Attributes:
        method: A method, by its name in options/methods or the path of its file. Its options go
            over those of this file.
        from_method: Name of the method that these options were made with.
        recipe: Whether what the method's paper fixed on the space goes "under" the options of this
            file, or "over" them (in files whose values are only defaults); false for neither.
        relaxation: Relaxation of the alphas.
        partial_channels: K; only 1/K of the channels pass through the candidates.
        edge_normalization: Whether nodes that keep only some of their edges have edge weights of
            their own (PC-DARTS).
        node_norm: Whether the sum of a node that keeps only some of its edges goes through
            BatchNorm, for edges whose weights do not sum to 1 (CRB of DARTS-PRIME).
        auxiliary_skip: Weight of the auxiliary skip connection over the run (DARTS-).
        perturbation: Perturbation of the relaxed weights in weight steps (SmoothDARTS).
        affine: Whether BatchNorm in the supernet's candidates and cells has scale and shift.
        alpha_std: Standard deviation of the normal noise that all alphas start with.
        alpha_init: Offset of the initial alphas of positions, one number or one for each candidate.
        derive_threshold: Minimum probability of an edge of the genotype. Edges below it are
            dropped, except the strongest of each node (FairDARTS). It has no effect on nodes that
            keep all edges.
        init: A trained network of the same space to start from, a model file or published weights.
            The candidate that it has at a position starts as it is, the others as close to it as a
            closed form brings them; it must have the widths of the supernet.
        epochs: Number of epochs.
        steps_per_epoch: Number of steps per epoch.
        warmup_epochs: Number of epochs at the start in which only the weights are trained.
        shrink: Stages with fewer candidates (DrNAS).
        stop_after_stable_epochs: Number of epochs without a change of the genotype after which the
            search stops early.
        update_rule: Update rule: which steps of weights and alphas are taken on which batches.
        weight_optimizer: Optimizer of the weights.
        alpha_optimizer: Optimizer of the alphas.
        clip_grad_norm: Maximum norm of the gradient of the weights' loss.
        clip_grad_scope: Whether this norm is that of the "weights", or of "weights_and_alphas", as
            in code where the alphas are parameters of the network (NAS-Bench-201's, DrNAS's). Only
            the weights move by this gradient in either case.
        clip_alpha_grad_norm: Maximum norm of the gradient of the alphas' loss.
        sampled: How networks are drawn, if they are trained by themselves; most of the options
            above then have no effect.
        regularizers: Terms of the alphas' loss.
        regularizer_scale: Factor of the weights of all regularizers. The weights are those of the
            papers; use 1/255 for a loss on RGB in 0-1 where the paper's loss is on RGB in 0-255.
        val_every_epochs: Number of epochs between validations; 0 for none.
        table: Table in which the genotype of every epoch is looked up (`srnas table fit`).
    """

    method: str | None = None
    from_method: str | None = None
    recipe: Literal["under", "over", False] = "under"
    relaxation: RelaxationOption = written({})
    partial_channels: PositiveInt = 1
    edge_normalization: bool = False
    node_norm: bool = False
    auxiliary_skip: ScheduleOption | None = None
    perturbation: Annotated[Component[Perturbation], ComponentOf(PERTURBATIONS)] | None = None
    affine: bool = False
    alpha_std: Annotated[float, Ge(0)] = 1e-3
    alpha_init: float | list[float] = 0.0
    derive_threshold: Annotated[float, Interval(ge=0, le=1)] | None = None
    init: Path | None = None
    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    warmup_epochs: Count = 0
    shrink: list[ShrinkOptions] = Field([])
    stop_after_stable_epochs: PositiveInt | None = None
    update_rule: UpdateRuleOption = written({})
    sampled: SampledOptions | None = None
    weight_optimizer: Optimizer
    alpha_optimizer: Optimizer
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    clip_grad_scope: Literal["weights", "weights_and_alphas"] = "weights"
    clip_alpha_grad_norm: Annotated[float, Gt(0)] | None = None
    regularizers: list[RegularizerOptions] = Field([])
    regularizer_scale: Annotated[float, Gt(0)] = 1.0
    val_every_epochs: Count = 1
    table: Path | None = None

    @property
    def table_file(self) -> Path | None:
        """The table, if there is one."""
        return self.table

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class TrainOptions(RunOptions):
    """Options of `srnas train`; a task adds `data` and `loss`.

    Attributes:
        genotype: File of the genotype, or its choices ({c1: conv_3x3, ...}); without one, the
            space's published network is trained.
        init: A model or weight file of the same genotype to start from. From a file of another
            scale, everything except the upsampler is taken (as DLSR's x4 starts from x2).
        init_where_fitting: Whether `init` may be of another genotype: layers that its weights do
            not fit start at random.
        reparameterize: Form in which all dense 3x3 convolutions are trained, from the same output
            on: "rep_mbconv" (PlainUSR), "ecb" (ECBSR), "conv3xc" (SPAN). Model files have plain
            ones.
        steps: Number of steps.
        steps_per_epoch: Number of steps per epoch, for values that change every epoch.
        optimizer: Optimizer of the network.
        clip_grad_norm: Maximum norm of the gradient.
        ema: Decay of the moving average of the weights; 0 for none.
        val_every: Number of steps between validations.
    """

    genotype: Path | dict[str, Any] | None = None
    init: Path | None = None
    init_where_fitting: bool = False
    reparameterize: Literal["rep_mbconv", "ecb", "conv3xc"] | None = None
    steps: PositiveInt
    steps_per_epoch: PositiveInt | None = None
    optimizer: Optimizer
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    val_every: PositiveInt = 5000

    @model_validator(mode="after")
    def _has_epochs_for_its_optimizer(self) -> Self:
        update = getattr(self.optimizer.options, "update", "step")
        return self.needs_epochs("optimizer.update", update)

    def needs_epochs(self, key: str, update: str) -> Self:
        """Return these options, or report that `key` is "epoch" although there are no epochs."""
        if update == "epoch" and self.steps_per_epoch is None:
            text = "{key}: epoch needs steps_per_epoch"
            raise PydanticCustomError("model", text, {"key": key})
        return self

    def progress(self, step: int) -> tuple[float, float]:
        """Return the progress in [0, 1] at a step, and at the first step of its epoch."""
        by_step = step / self.steps
        if self.steps_per_epoch is None:
            return by_step, by_step
        return by_step, step // self.steps_per_epoch * self.steps_per_epoch / self.steps


def kinds() -> list[str]:
    """Return the kinds of options files: search, train and test."""
    return list(dict.fromkeys(kind for name in TASKS for kind in task_class(name).options))


def options_models(kind: str) -> dict[str, type[Strict]]:
    """Return the options models of one kind by task; UserError if no task has this kind."""
    if kind not in kinds():
        raise UserError(f"options {kind!r}: {did_you_mean(kind, kinds())}")
    tasks = {name: task_class(name).options for name in TASKS}
    return {name: options[kind] for name, options in tasks.items() if kind in options}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of options file, over all tasks."""
    models = options_models(kind).values()
    references, definitions = models_json_schema([(model, "validation") for model in models])
    return allow_bases(list(references.values()), definitions)


def load_options(
    kind: str, file: Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> Any:
    """Read and check an options file; `srnas.resolve` defines which value overrides which.

    Args:
        kind: "search", "train" or "test".
        file: The file. If it does not exist, it is looked up among the bundled ones
            ("search/imdn_x2.yml").
        overrides: "key.path=value" arguments.
        changes: Options by name, which go over the file and its method, but under the overrides.

    Raises:
        UserError: The options are invalid; the message names the file, the key, and what to write
            instead.
    """
    return load_resolved(kind, file, overrides, changes)[0]


def load_resolved(
    kind: str, file: Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> tuple[Any, Resolved]:
    """Return the options as `load_options` does, and how they were resolved."""
    found = find_recipe(file)
    given, known = read_options(found, str(file)), SearchOptions.model_fields
    folders = method_folders(found)
    resolved = resolve(kind, given, str(file), known, overrides, changes, folders)
    return _check(kind, resolved, str(file)), resolved


def check_options(
    kind: str,
    content: Any,
    where: str,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    folders: Sequence[Path] | None = None,
) -> Any:
    """Check a mapping of options.

    Args:
        kind: "search", "train" or "test".
        overrides, changes: As in `load_options`.
        folders: Folders in which methods are looked up; by default options/methods in the current
            directory and the bundled ones.

    Raises:
        UserError: The options are invalid, as in `load_options`.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: expected keys with values, found {type(content).__name__}")
    given, known = inherit(content, where), SearchOptions.model_fields
    return _check(kind, resolve(kind, given, where, known, overrides, changes, folders), where)


def dump_options(options: Strict) -> str:
    """Return the resolved options as YAML that can be read back to the same options."""
    return yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False)


def _check(kind: str, resolved: Resolved, where: str) -> Any:
    """Check resolved options; an error names its source: an override, a base, or `where`."""
    model = _model(kind, resolved.content)
    content = without_defaults_of_other_tasks(resolved.content, model.model_fields)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        path, message = first_error(error)
        place = ".".join(map(str, path))
        unknown = re.match(r"unknown key '([^']+)'", message)
        at_fault = resolved.at_fault(where, path, unknown[1] if unknown else None)
        raise UserError(f"{at_fault}: {place + ': ' if place else ''}{message}") from error


def _model(kind: str, content: Mapping[str, Any]) -> type[Strict]:
    """Return the options model of the task that the content's space is for.

    If the space is unknown, the content is checked with the model of the first task, which reports
    the error.
    """
    models = options_models(kind)
    name = space_name(content.get("space"))
    if name is not None and name in SPACES:
        task = task_of_space(name)
        if kind in task.options:
            return task.options[kind]
    return next(iter(models.values()))
