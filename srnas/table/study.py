"""Studies: many searches, by method or setting and seed; `judge` compares them with a table."""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import MinLen
from pydantic import Field

from srnas.analysis.logs import read_alphas
from srnas.analysis.trajectory import convergence
from srnas.components import Seed, Strict, check_model
from srnas.engine.run import CHECKPOINT, LOCK
from srnas.engine.search import search
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.lock import hold
from srnas.methods import find_method, load_method, method_folders
from srnas.options import SearchOptions, check_options
from srnas.renames import first_names
from srnas.resolve import resolve_other
from srnas.table.pool import run_jobs
from srnas.table.protocol import without_places


class Arm(Strict):
    """One method or setting.

    Attributes:
        method: A method, by name; without one, the search as it is.
        set: "key.path=value" arguments that go over the search and the method.
    """

    method: str | None = None
    set: list[str] = Field([])


class Study(Strict):
    """Searches that differ in method or settings and in the seed.

    Attributes:
        name: Name of the study.
        search: Options of the searches, without name and seed.
        arms: Methods or settings to compare, by name.
        seeds: Seeds of every arm.
    """

    name: Annotated[str, MinLen(1)]
    search: dict[str, Any]
    arms: Annotated[dict[str, Arm], MinLen(1)]
    seeds: Annotated[list[Seed], MinLen(1)]

    def options(self, arm: str, seed: int) -> SearchOptions:
        """Return the options of one search; UserError if they are invalid."""
        chosen = self.arms[arm]
        content = {**self.search, "name": f"{arm}-{seed}", "seed": seed, "method": chosen.method}
        where = f"{self.name}: {arm}"
        options = check_options("search", content, where, chosen.set, folders=method_folders())
        assert isinstance(options, SearchOptions)
        return options

    def identity(self, arm: str) -> str:
        """Return a hash of the search and the arm as written, and of the method's definition."""
        chosen = self.arms[arm]
        definition = None
        if chosen.method is not None:
            file = find_method(chosen.method, method_folders())
            definition = load_method(file, SearchOptions.model_fields).options
        content = first_names([without_places(self.search), chosen.model_dump(), definition])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Searched:
    """The result of one search.

    Attributes:
        identity: Identity of the arm, see `Study.identity`.
        genotypes: Choices at the end of every epoch.
        probabilities: Probabilities of the candidates at the end, by position.
        settled: Epoch since which the genotype has not changed.
        cpu_seconds: Processor time of the search, None if it was resumed.
    """

    arm: str
    seed: int
    identity: str
    genotypes: list[dict[str, Any]]
    probabilities: dict[str, list[float]]
    settled: int
    cpu_seconds: float | None


class Job(NamedTuple):
    """One search."""

    arm: str
    seed: int


def load_study(file: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study.

    Args:
        file: The file; if it does not exist, it is looked up among the bundled ones.
        overrides: "key.path=value" arguments, such as the folder of the images.

    Raises:
        UserError: The study, or one of its searches, is invalid.
    """
    study = check_model(Study, resolve_other("study", file, overrides).content, str(file))
    for arm in study.arms:
        study.options(arm, study.seeds[0])
    return study


def run(study: Study, out: Path, processes: int = 1, arms: Sequence[str] = ()) -> None:
    """Run the searches that have no result yet; interrupted ones continue where they were.

    Args:
        out: Folder of the results (`results-WORKER.jsonl`) and of the runs.
        arms: Arms to run; all by default.

    Raises:
        UserError: There is no such arm, a search cannot run, or another process runs a study in
            the folder.
    """
    unknown = [arm for arm in arms if arm not in study.arms]
    if unknown:
        raise UserError(f"--arm {unknown[0]}: the study has {', '.join(study.arms)}")
    with hold(out / LOCK, out, "give another --out"):
        _run(study, out, processes, arms)


def _run(study: Study, out: Path, processes: int, arms: Sequence[str]) -> None:
    done = {(r.arm, r.seed, r.identity) for r in read_searched([out])}
    identities = {arm: study.identity(arm) for arm in arms or study.arms}
    todo = [
        Job(arm, seed)
        for seed in study.seeds
        for arm in identities
        if (arm, seed, identities[arm]) not in done
    ]
    print(f"# {study.name}: searches to do: {len(todo)}", flush=True)
    if todo:
        files = [out / f"results-{worker}.jsonl" for worker in range(processes)]
        run_jobs(todo, files, tuple, ((study, out),), _search, study.name)


def _search(given: tuple[Study, Path], job: Job) -> str:
    """Run one search; return its result as a line of JSON."""
    study, out = given
    identity = study.identity(job.arm)
    options = study.options(job.arm, job.seed)
    options = options.model_copy(update={"experiments": out / f"runs-{identity}"})
    resume = (options.folder / CHECKPOINT).exists()
    began = time.process_time()
    search(options, resume)
    seconds = time.process_time() - began
    rows = read_alphas(options.folder / "alphas.jsonl")
    result = Searched(
        arm=job.arm,
        seed=job.seed,
        identity=identity,
        genotypes=[row["genotype"] for row in rows],
        probabilities={
            label: [round(p, 6) for p in row] for label, row in rows[-1]["probabilities"].items()
        },
        settled=convergence(rows).epoch if len(rows) > 1 else 0,
        cpu_seconds=None if resume else round(seconds, 1),
    )
    return json.dumps(asdict(result))


def read_searched(places: Iterable[Path]) -> list[Searched]:
    """Read results from folders (`*.jsonl`) and files.

    Raises:
        UserError: A line is no result of a study.
    """
    found: dict[tuple[str, int, str], Searched] = {}
    for place in places:
        for file in sorted(place.glob("*.jsonl*")) if place.is_dir() else [place]:
            for row in read_json_lines(file):
                try:
                    result = Searched(**row)
                except TypeError as error:
                    raise UserError(f"{file}: no results of srnas study run ({error})") from error
                found.setdefault((result.arm, result.seed, result.identity), result)
    return sorted(found.values(), key=lambda r: (r.arm, r.seed))
