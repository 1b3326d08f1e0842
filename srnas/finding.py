"""A budget in, a network out: of trained models, and of those that tables and fronts promise.

Models are compared by PSNR on the same photographs. What a table or the front of a sampled search
predicts is for a short training: it orders their own networks. Times are measured here, of all
networks in turns.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from srnas.choice import Genotype, Space
from srnas.cost import count_macs, count_parameters
from srnas.data.images import benchmark_pairs
from srnas.data.packaged import packaged_pairs
from srnas.distributed import choose_device
from srnas.errors import UserError
from srnas.files import read_json, read_text
from srnas.latency.runtime import open_network
from srnas.machine import time_alternately
from srnas.model_file import DEFAULT, load_model
from srnas.progress import Progress
from srnas.score_table import read_table
from srnas.spaces import check_space, derived_network, read_genotype
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, mean_psnr

TABLES = (".csv", ".csv.gz")
RUN_FILES = ("model.safetensors", "front.json")  # what is looked for in folders
LARGEST = 1e9  # seconds


@dataclass(frozen=True)
class Limits:
    """What a network may cost, and where.

    Attributes:
        scale: Scale factor.
        ms: Most milliseconds for the input.
        kb: Most kilobytes (1000 bytes) of the exported files.
        macs: Most MACs for the input.
        params: Most parameters.
        runtime: Runtime that is measured.
        precision: Precision there.
        threads: Number of threads there.
        size: Width and height of the LR image.
        repeats: Number of runs of each network, whose median counts.
    """

    scale: int = 2
    ms: float | None = None
    kb: float | None = None
    macs: float | None = None
    params: float | None = None
    runtime: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    size: tuple[int, int] = (320, 180)
    repeats: int = 15

    def keeps(self, costs: Mapping[str, float]) -> bool:
        """Return whether costs by name, as far as they are known, are within the limits."""
        limits = {name: getattr(self, name) for name in ("ms", "kb", "macs", "params")}
        return all(most is None or costs.get(name, 0) <= most for name, most in limits.items())

    def searches(self) -> list[str]:
        """Return commands that make a network within the limits."""
        width, height = self.size
        setting = f"--runtime {self.runtime} --runtime-threads {self.threads}"
        shrink = "srnas shrink --model MODEL --data PHOTOS --out experiments/shrunk"
        wanted = {"latency": self.ms, "macs": self.macs, "params": self.params}
        wanted["size"] = self.kb and 1000 * self.kb
        budgets = [f"--{name} {value:g}" for name, value in wanted.items() if value]
        search = "srnas search -opt search/imdn_x2.yml method=thompson"
        return [
            f"{shrink} {[*budgets, '--speedup 2'][0]} {setting} --input {width}x{height}",
            f"{search} 'sampled.most=[LOW,HIGH]' sampled.latency=TABLE.json",
        ]


@dataclass
class Candidate:
    """A network that may fit.

    Attributes:
        name: The file, with the number on the front of those that it promises.
        source: The file that it, or its prediction, is from.
        network: The network.
        genotype: Its genotype.
        space: Its space with all options.
        predicted: What the source predicts of it, in the units of its score; None for a model.
        costs: "params", "macs" for the input, "kb" of the exported files, "ms", as far as known.
        psnr: PSNR in dB, measured here; None if it is not trained, or does not fit.
    """

    name: str
    source: Path
    network: Space
    genotype: Genotype
    space: Mapping[str, Any]
    predicted: float | None = None
    costs: dict[str, float] = field(default_factory=dict)
    psnr: float | None = None

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return self.predicted is None

    def figures(self) -> dict[str, Any]:
        """Return what is known of it as JSON's values."""
        return {
            "name": self.name,
            "trained": self.trained,
            "genotype": self.genotype.choices,
            **{name: round(value, 4) for name, value in self.costs.items()},
            "psnr": self.psnr and round(self.psnr, 4),
            "predicted": self.predicted and round(self.predicted, 4),
            "command": self.command(),
        }

    def command(self) -> str:
        """Return the command that uses it, or that trains it."""
        if self.trained:
            return shlex.join(["srnas", "upscale", "photo.jpg", "--model", str(self.source)])
        parts = {"space": self.space, "genotype": self.genotype.choices}
        flow = [f"{key}={yaml.safe_dump(value, default_flow_style=True, width=LARGEST).strip()}"
                for key, value in parts.items()]  # fmt: skip
        return shlex.join(["srnas", "train", "-opt", "train/default_x2.yml", "name=found", *flow])


@dataclass
class Answer:
    """What there is for a budget.

    Attributes:
        fitting: Networks within it: models by PSNR, then those of each table and front by what it
            predicts, the best first.
        others: Networks beyond it, the fastest or smallest first.
        left_out: What was not looked at, and why.
    """

    fitting: list[Candidate] = field(default_factory=list)
    others: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def best(self) -> list[Candidate]:
        """The best model, and the best network of each table and front."""
        kinds: dict[Any, Candidate] = {}
        for one in self.fitting:
            kinds.setdefault("model" if one.trained else one.source, one)
        return list(kinds.values())


def find(sources: Iterable[Path], limits: Limits, val: Path | None = None) -> Answer:
    """Look for networks within limits.

    Args:
        sources: Model files, tables, `front.json` of sampled searches, and folders, in which all
            models and fronts of runs are looked for. The model in the package is looked at, too.
        limits: The limits.
        val: Folder of HR images for PSNR; by default photographs that come with scikit-image.

    Raises:
        UserError: A file that is named is missing or broken, or the runtime is not installed.
    """
    answer = Answer()
    networks = _collect(sources, limits.scale, answer)
    for one in networks:
        one.costs["params"] = count_parameters(one.network)
        one.costs["macs"] = count_macs(one.network, *limits.size)
    _time([one for one in networks if limits.keeps(one.costs)], limits)
    for one in networks:
        (answer.fitting if limits.keeps(one.costs) else answer.others).append(one)
    _measure([one for one in answer.fitting if one.trained], limits.scale, val)
    order = {one.source: 0 if one.trained else number for number, one in enumerate(networks)}
    answer.fitting.sort(key=lambda one: (not one.trained, order[one.source], -_quality(one)))
    answer.others.sort(key=lambda one: one.costs.get("ms", LARGEST * one.costs["macs"]))
    return answer


def _quality(one: Candidate) -> float:
    return (one.psnr if one.predicted is None else one.predicted) or 0.0


def _collect(sources: Iterable[Path], scale: int, answer: Answer) -> list[Candidate]:
    """Read all sources; what is broken or of another kind in a folder is left out and said."""
    found: list[Candidate] = []
    seen = set[Path]()
    for source in [Path(DEFAULT), *sources]:
        files = [source]
        if source.is_dir():
            files = sorted(file for name in RUN_FILES for file in source.rglob(name))
            if not files:
                raise UserError(f"{source}: no {' or '.join(RUN_FILES)} in this folder")
        for file in files:
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            try:
                read = _read(file)
            except UserError as error:
                if file == source:
                    raise
                answer.left_out.append(str(error))
                continue
            fitting = [one for one in read if getattr(one.network, "scale", None) == scale]
            if len(fitting) < len(read):
                answer.left_out.append(f"{file}: not for scale {scale}")
            found += fitting
    names = [one.name for one in found]
    for one in found:
        if names.count(one.name) > 1:
            one.name = one.name.replace(_short(one.source), str(one.source))
    return found


def _short(file: Path) -> str:
    """Return the name of a file, with the run folder that it is in."""
    return f"{file.parent.name}/{file.name}" if file.name in RUN_FILES else file.name


def _read(file: Path) -> list[Candidate]:
    """Return the networks of a file."""
    if file.name.endswith(TABLES):
        table = read_table(file)
        space, front = table.about["space"], table.front()
        return _promised(file, space, [(read_genotype(space, r.genotype), r.psnr) for r in front])
    if file.suffix == ".json":
        return _read_front(file)
    model = load_model(file)
    space = model.space.to_dict()
    return [Candidate(_short(file), file, model.network, model.genotype, space)]


def _read_front(file: Path) -> list[Candidate]:
    """Return the networks of the front of a sampled search, whose options are beside it."""
    content, options = read_json(file), file.parent / "options.yml"
    try:
        space = yaml.safe_load(read_text(options))["space"]
        name = str(space["name"])
        rows = [
            (Genotype(name, dict(row["choices"])), float(row["score"]))
            for row in content["networks"]
        ]
    except (KeyError, TypeError, ValueError, yaml.YAMLError, FileNotFoundError):
        raise UserError(
            f"{file}: not the front.json of a sampled search with its options.yml beside it"
        ) from None
    return _promised(file, space, rows)


def _promised(
    file: Path, space: Mapping[str, Any], rows: Sequence[tuple[Genotype, float]]
) -> list[Candidate]:
    checked = check_space(space, str(file))
    if not issubclass(checked.builder, SuperResolutionSpace):
        raise UserError(f"{file}: its networks are not for super-resolution")
    return [
        Candidate(
            f"{_short(file)} {number}",
            file,
            derived_network(checked, genotype).eval(),
            genotype,
            checked.to_dict(),
            predicted,
        )
        for number, (genotype, predicted) in enumerate(rows, 1)
    ]


def _time(networks: Sequence[Candidate], limits: Limits) -> None:
    """Export networks, and time those whose files are small enough in turns."""
    calls = {}
    with Progress(len(networks) + limits.repeats) as progress:
        for number, one in enumerate(networks, 1):
            setting = (limits.runtime, limits.size, limits.threads, limits.precision)
            opened = open_network(one.network, *setting)
            one.costs["kb"] = sum(map(len, opened.content.values())) / 1000
            if limits.keeps(one.costs):
                calls[number] = opened.call
            progress.advance(number)
            progress.say(f"exported for {limits.runtime}")
        if not calls:
            return
        rows = time_alternately(
            list(calls.values()),
            limits.repeats,
            after_round=lambda done: progress.advance(len(networks) + done),
        )
        progress.say("timed")
    for number, row in zip(calls, rows, strict=True):
        networks[number - 1].costs["ms"] = median(row)


def _measure(models: Sequence[Candidate], scale: int, val: Path | None) -> None:
    """Measure the PSNR of models on the same images."""
    pairs = benchmark_pairs(val, scale) if val else packaged_pairs("test")
    device = choose_device("auto")
    for one in models:
        one.psnr = mean_psnr(NetworkUpscale(one.network, device), pairs, scale)
