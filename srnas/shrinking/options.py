"""Options of `srnas shrink`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval, Len, MinLen
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from srnas.components import (
    BatchSize,
    Count,
    PositiveInt,
    Seed,
    Side,
    Strict,
    Threads,
    first_error,
)
from srnas.errors import UserError
from srnas.shrinking.costs import Kind, Setting
from srnas.spaces import space_class

Positive = Annotated[float, Gt(0)]
BUDGETS = ("speedup", "latency", "macs", "params", "size")


class ShrinkOptions(Strict):
    """Options of `srnas shrink`: a trained network, a budget, and images.

    Exactly one of the budgets is given: speedup, latency, macs, params or size.

    Attributes:
        model: The network: a model file, or published weights.
        out: Folder of the run.
        data: Folders of HR images to fit, score and distil on.
        lr_data: Folders of LR images, whose targets are the outputs of the network alone.
        val: Folder of HR images whose PSNR chooses the weights; by default photographs that come
            with scikit-image.
        test: Folders of benchmark sets to measure at the end, by name.
        export: Formats to write the result in, into `export/`: names of targets, such as "onnx", or
            with a precision, "onnx:int8", which may lose 0.1 dB on `val`.
        speedup: How many times as fast as the network the result is to be.
        latency: Largest time in milliseconds.
        macs: Largest number of MACs for the input.
        params: Largest number of parameters.
        size: Largest number of bytes of the weights, in float32.
        runtime: Runtime that is measured: onnxruntime, openvino, ncnn, torch.
        precision: Precision in this runtime.
        runtime_threads: Number of threads in this runtime.
        input: Width and height of the LR image that time and MACs are for.
        repeats: Number of runs of each network, whose median counts.
        space: Options of the space that go over those that it opens by itself, such as
            {search_feat: [16, 32]}.
        reuse: Folder (`out`) of another run with the same network, images and setting, whose fits,
            losses and costs are taken.
        fit_steps: Number of steps of the fits; 0 for none.
        minutes: Minutes for everything, which decide the number of steps of the distillation.
        steps: Number of steps of the distillation, in place of `minutes`; 0 for none.
        check: Number of random compositions whose losses are compared with sums of losses, at
            least 3; 0 for none.
        batch_size: Number of patches of a batch.
        lr_patch: Side of the LR patches in pixels.
        peak: Largest learning rate of the distillation.
        training_precision: Precision of its forward passes: float32, bfloat16; "auto" is bfloat16
            where the device has instructions for it.
        reparameterize: Form in which it trains the dense 3x3 convolutions: rep_mbconv, ecb,
            conv3xc, none; "auto" is that of the space, see `Space.trained_as`.
        hr_weight: Weight of the loss to HR beside that to the network's outputs.
        seed: Seed.
        device: Device of fits, scores and distillation: auto, cpu, cuda, ...
        threads: Number of threads there.
    """

    model: Path
    out: Path
    data: Annotated[list[Path], MinLen(1)]
    lr_data: list[Path] = Field([])
    val: Path | None = None
    test: dict[str, Path] = Field({})
    export: list[str] = Field([])
    speedup: Annotated[float, Gt(1)] | None = None
    latency: Positive | None = None
    macs: Positive | None = None
    params: Positive | None = None
    size: Positive | None = None
    runtime: str = "onnxruntime"
    precision: str = "fp32"
    runtime_threads: Threads = 1
    input: Annotated[list[Side], Len(2, 2)] = Field([160, 90])
    repeats: PositiveInt = 15
    space: dict[str, Any] = Field({})
    reuse: Path | None = None
    fit_steps: Count = 200
    minutes: Positive = 60.0
    steps: Count | None = None
    check: Annotated[int, Interval(ge=0, le=10_000)] = 20
    batch_size: BatchSize = 8
    lr_patch: Side = 32
    peak: Positive = 1e-3
    training_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    reparameterize: Literal["auto", "none", "rep_mbconv", "ecb", "conv3xc"] = "auto"
    hr_weight: Annotated[float, Gt(-1e-9)] = 0.2
    seed: Seed = 0
    device: str = "auto"
    threads: Threads | None = None

    @model_validator(mode="after")
    def _enough_to_compare(self) -> "ShrinkOptions":
        if 0 < self.check < 3:
            raise PydanticCustomError("model", "check: give 0, or 3 or more", {})
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> "ShrinkOptions":
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            text = "give one budget: speedup, latency, macs, params or size"
            raise PydanticCustomError("model", text, {})
        return self

    @property
    def setting(self) -> Setting:
        """How costs are measured."""
        (budget,) = (name for name in BUDGETS if getattr(self, name) is not None)
        kinds: dict[str, Kind] = {"macs": "macs", "params": "params", "size": "size"}
        width, height = self.input
        return Setting(
            kinds.get(budget, "latency"),
            self.runtime,
            self.runtime_threads,
            width,
            height,
            self.precision,
            self.repeats,
        )

    def most(self, base: float) -> float:
        """Return the largest cost of the result, for a network that costs `base`."""
        if self.speedup is not None:
            return base / self.speedup
        return next(x for x in (self.latency, self.macs, self.params, self.size) if x is not None)

    def training(
        self,
        space: dict[str, Any],
        choices: dict[str, Any],
        init: Path | None,
        steps: int,
        precision: str = "float32",
    ) -> dict[str, Any]:
        """Return the options of the distillation.

        Args:
            space: The space.
            choices: Choices of the network.
            init: Its weights.
            steps: Number of steps.
            precision: Precision of forward passes.
        """
        scale = space.get("scale", 2)
        form: str | None = self.reparameterize
        if form == "auto":
            form = space_class(space["name"]).trained_as
        train: dict[str, Any] = {"hr": [str(folder) for folder in self.data]}
        if self.lr_data:
            train["lr_only"] = [str(folder) for folder in self.lr_data]
        val = {"hr": str(self.val)} if self.val else {"packaged": "val"}
        return {
            "name": self.out.name,
            "experiments": str(self.out.parent),
            "seed": self.seed,
            "device": self.device,
            "precision": precision,
            "threads": self.threads,
            "space": space,
            "genotype": choices,
            "init": str(init) if init else None,
            "reparameterize": None if form == "none" else form,
            "teacher": {
                "model": str(self.model),
                "hr_weight": self.hr_weight,
                "cache": str(self.out.parent / "teacher"),
            },
            "data": {
                "train": train,
                "val": val,
                "batch_size": self.batch_size,
                "hr_patch": self.lr_patch * scale,
            },
            "steps": steps,
            "loss": "l1",
            "optimizer": {"lr": {"name": "one_cycle", "peak": self.peak}},
            "clip_grad_norm": 0.5,
            "log_every": 100,
            "val_every": max(1, min(1000, steps)),
            "checkpoint_every": 500,
        }


def check_shrink_options(content: Mapping[str, Any]) -> ShrinkOptions:
    """Check options.

    Raises:
        UserError: They are invalid.
    """
    try:
        return ShrinkOptions.model_validate(dict(content))
    except ValidationError as error:
        path, message = first_error(error)
        place = "".join(f"{one}: " for one in path)
        raise UserError(f"shrink: {place}{message}") from error
