"""The protocol of a table: how every one of its networks is trained and measured."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Gt, MinLen
from pydantic import Field

from srnas.choice import Genotype, Space
from srnas.components import Component, Count, PositiveInt, Seed, Side, Strict, Threads, check_model
from srnas.engine.sample import sample_genotypes, spread_genotypes
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.options import TrainOptions, check_options
from srnas.resolve import resolve_other
from srnas.score_table import read_table
from srnas.spaces import derived_network
from srnas.tasks import Task, task_of_space

PLACES = ("hr", "lr_only", "model", "cache", "root", "file", "experiments", "device", "threads")


class SampleOptions(Strict):
    """The genotypes to train.

    Attributes:
        count: Number of genotypes.
        seed: Seed of the sample.
        skip: Number of genotypes to leave out at the beginning of the sample, which another
            protocol has trained, so that the others check its table.
        spread: A table. The sample is then `count` of its genotypes, at equal steps of its ranking,
            from the worst to the best.
        listed: A file with the choices of a genotype, in JSON, on each line. The sample is then the
            first `count` of them, each once.
        macs: Most MACs of a network, for one HR image of 1280x720.
        repeated: Number of genotypes at the beginning of the sample that are trained with all
            seeds.
        seeds: Number of seeds of these; the others have the first one.
        first_seed: The first seed; the others follow.
    """

    count: PositiveInt
    skip: Count = 0
    spread: Path | None = None
    listed: Path | None = None
    macs: Annotated[float, Gt(0)] | None = None
    seed: Seed = 0
    repeated: Count = 0
    seeds: PositiveInt = 1
    first_seed: Seed = 0


class LatencyOptions(Strict):
    """The measurement of latency, in ONNX Runtime.

    Attributes:
        width, height: Size of the input in pixels.
        threads: Number of threads.
        repeats: Number of runs after one to warm up; the median counts.
    """

    width: Side = 320
    height: Side = 180
    threads: Threads = 1
    repeats: PositiveInt = 15


class Protocol(Strict):
    """Training and measurement of the networks of a table.

    Attributes:
        name: Name of the table.
        version: Version of the protocol; results of another version are not mixed with these.
        train: Options of `srnas train` without name and seed.
        sets: Benchmark sets that are measured besides the validation images, by name.
        sample: The genotypes to train.
        latency: How latency is measured.
    """

    name: Annotated[str, MinLen(1)]
    version: PositiveInt
    train: dict[str, Any]
    sets: dict[str, Path] = Field({})
    sample: SampleOptions
    latency: LatencyOptions = LatencyOptions()

    def training(self, seed: int) -> TrainOptions:
        """Return the options of the trainings with a seed; UserError if they are invalid."""
        content = {**self.train, "name": self.name, "seed": seed}
        options = check_options("train", content, f"{self.name}: train")
        assert isinstance(options, TrainOptions)
        return options

    def genotypes(self) -> list[Genotype]:
        """Return the genotypes of the sample, with those that are skipped.

        Raises:
            UserError: `spread` is not a table, or of another space; `listed` has something that is
                no genotype of the space.
        """
        space, sample = self.training(0).space, self.sample
        if sample.listed:
            return _listed(sample.listed, space)[: sample.count]
        if sample.spread is None:
            return sample_genotypes(space, sample.count, sample.seed, self._small_enough)
        table = read_table(sample.spread)
        if table.space != space.name:
            raise UserError(
                f"{sample.spread}: a table of space {table.space!r}; the protocol is of "
                f"{space.name!r}"
            )
        return spread_genotypes(table, sample.count)

    def _small_enough(self, genotype: Genotype) -> bool:
        """Return whether a network is within the limit of the sample."""
        if self.sample.macs is None:
            return True
        space = self.training(0).space
        with torch.device("meta"):
            network = derived_network(space, genotype)
        return count_costs(task_of_space(space.name), network)[1] <= self.sample.macs

    def identity(self) -> str:
        """Return a hash of name, version and `train` as written, without the places of files."""
        content = json.dumps([self.name, self.version, without_places(self.train)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


class Job(NamedTuple):
    """One training.

    Attributes:
        number: Number of the genotype in the sample.
        genotype: The genotype.
        seed: Seed of the training.
    """

    number: int
    genotype: Genotype
    seed: int


def _listed(file: Path, space: Component[Space]) -> list[Genotype]:
    """Return the genotypes of a file, each once."""
    found: dict[str, Genotype] = {}
    for number, row in enumerate(read_json_lines(file), 1):
        genotype = Genotype(space.name, row)
        try:
            with torch.device("meta"):
                derived_network(space, genotype)
        except UserError as error:
            raise UserError(f"{file}, line {number}: {error}") from error
        found.setdefault(str(genotype), genotype)
    return list(found.values())


def load_protocol(file: Path, overrides: Sequence[str] = ()) -> Protocol:
    """Read a protocol.

    Args:
        file: The file; if it does not exist, it is looked up among the bundled ones
            ("table/imdn_x2.yml").
        overrides: "key.path=value" arguments, such as the folder of the images.

    Raises:
        UserError: The protocol is invalid.
    """
    content = resolve_other("table", file, overrides).content
    protocol = check_model(Protocol, content, str(file))
    protocol.training(0)
    return protocol


def jobs(protocol: Protocol, genotypes: Sequence[Genotype]) -> Iterator[Job]:
    """Yield the trainings of a sample in their order: first those with several seeds."""
    sample = protocol.sample
    for number, genotype in enumerate(genotypes[: sample.repeated]):
        for seed in range(sample.seeds) if number >= sample.skip else ():
            yield Job(number, genotype, sample.first_seed + seed)
    for number, genotype in enumerate(genotypes):
        if number >= max(sample.repeated, sample.skip):
            yield Job(number, genotype, sample.first_seed)


def count_costs(task: type[Task], network: Space) -> tuple[int, int]:
    """Return parameters, and MACs in the last convention of the task (HR of 1280x720)."""
    counted = task.profile(network, None)
    conventions = [value["macs"] for value in counted.values() if isinstance(value, dict)]
    return counted["params"], conventions[-1] if conventions else 0


def without_places(value: Any) -> Any:
    """Leave out what differs between machines without an influence on a result."""
    if isinstance(value, dict):
        kept = {key: v for key, v in value.items() if key not in PLACES}
        folders = (str, list)  # where "lr" is no learning rate
        kept = {k: v for k, v in kept.items() if not (k == "lr" and isinstance(v, folders))}
        return {key: without_places(v) for key, v in kept.items()}
    return [without_places(v) for v in value] if isinstance(value, list) else value
