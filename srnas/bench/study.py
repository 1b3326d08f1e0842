"""Studies: many searches, by method or setting and seed, judged against a table."""

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from scipy import stats

from srnas.analysis.logs import read_alphas
from srnas.analysis.trajectory import convergence
from srnas.bench.pool import run_jobs
from srnas.bench.protocol import without_places
from srnas.choice import Genotype
from srnas.engine.run import CHECKPOINT, LOCK
from srnas.engine.search import search
from srnas.errors import UserError
from srnas.files import read_json_lines, read_yaml
from srnas.latency.table import LatencyTable
from srnas.lock import hold
from srnas.methods import find_method, find_recipe, load_method, method_folders
from srnas.options import SearchOptions, check_options
from srnas.overrides import apply_overrides
from srnas.parts import Seed, Strict, first_error
from srnas.tables import Table

LEVEL = 0.95  # of intervals
RESAMPLES = 10_000
SIMULATED = 2_000  # draws of the random rival
Array = NDArray[np.float64]


class Arm(Strict):
    """One method or setting.

    Attributes:
        method: A method, by name; none for the search as it is.
        set: "key.path=value" arguments that go over the search and the method.
    """

    method: str | None = None
    set: list[str] = Field([])


class Study(Strict):
    """Searches that differ in method or settings and in the seed.

    Attributes:
        name: Name of the study.
        search: Options of the searches, without name and seed.
        arms: What is compared, by name.
        seeds: Seeds of every arm.
    """

    name: Annotated[str, MinLen(1)]
    search: dict[str, Any]
    arms: Annotated[dict[str, Arm], MinLen(1)]
    seeds: Annotated[list[Seed], MinLen(1)]

    def options(self, arm: str, seed: int) -> SearchOptions:
        """Return the options of one search.

        Raises:
            UserError: They are invalid.
        """
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
        content = [without_places(self.search), chosen.model_dump(), definition]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Searched:
    """The result of one search.

    Attributes:
        arm: Name of the arm.
        seed: Its seed.
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
    """One search.

    Attributes:
        arm: Name of the arm.
        seed: Its seed.
    """

    arm: str
    seed: int


def load_study(file: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study.

    Args:
        file: The file; if it does not exist, it is looked up among the bundled ones.
        overrides: "key.path=value" arguments, such as where the images lie.

    Raises:
        UserError: The study, or one of its searches, is invalid.
    """
    content = apply_overrides(read_yaml(find_recipe(file)), overrides)
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        path, message = first_error(error)
        raise UserError(f"{file}: {'.'.join(map(str, path))}: {message}") from error
    for arm in study.arms:
        study.options(arm, study.seeds[0])
    return study


def run(study: Study, out: Path, processes: int = 1, arms: Sequence[str] = ()) -> None:
    """Run the searches that have no result yet; interrupted ones continue where they were.

    Args:
        study: The study.
        out: Folder of the results (`results-WORKER.jsonl`) and of the runs.
        processes: Number of worker processes.
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
        run_jobs(todo, files, _Searcher, (study, out), _line, study.name)


class _Searcher:
    def __init__(self, study: Study, out: Path) -> None:
        self.study, self.out = study, out

    def run(self, job: Job) -> Searched:
        identity = self.study.identity(job.arm)
        options = self.study.options(job.arm, job.seed)
        options = options.model_copy(update={"experiments": self.out / f"runs-{identity}"})
        resume = (options.folder / CHECKPOINT).exists()
        began = time.process_time()
        search(options, resume)
        seconds = time.process_time() - began
        rows = read_alphas(options.folder / "alphas.jsonl")
        return Searched(
            arm=job.arm,
            seed=job.seed,
            identity=identity,
            genotypes=[row["genotype"] for row in rows],
            probabilities={
                label: [round(p, 6) for p in row]
                for label, row in rows[-1]["probabilities"].items()
            },
            settled=convergence(rows).epoch if len(rows) > 1 else 0,
            cpu_seconds=None if resume else round(seconds, 1),
        )


def _line(searcher: _Searcher, job: Job) -> str:
    return json.dumps(asdict(searcher.run(job)))


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


class Interval(NamedTuple):
    """A mean with its interval.

    Attributes:
        mean: The mean.
        low, high: Ends of the interval; NaN for a single value.
    """

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Return the mean and its 95% interval, by bootstrap over the values (the seeds)."""
    data = np.array(values)
    if len(data) < 2 or float(np.ptp(data)) == 0:
        nothing = float("nan") if len(data) < 2 else float(data[0])
        return Interval(float(data.mean()), nothing, nothing)
    result = stats.bootstrap(
        (data,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(float(data.mean()), float(result.low), float(result.high))


def collect(
    study: Study,
    results: Sequence[Searched],
    table: Table,
    training_seconds: float,
    latency: LatencyTable | None = None,
) -> list[dict[str, Any]]:
    """Judge the arms of a study.

    Args:
        study: The study.
        results: Results of `run`; those of other versions of an arm are left out.
        table: The table of the space.
        training_seconds: Processor time of one training of the table, for the random rival.
        latency: Times of the candidates, to predict those of the networks.

    Returns:
        For each arm with results, by name of the figure: number of "seeds"; `Interval` of
        "percentile", "regret" (dB), "regret_at_macs" (dB), "tau" (Kendall's, between the logarithm
        of a genotype's probability and its PSNR in the table); mean "macs", "settled" (epoch),
        "largest" (mean of the positions' largest probabilities), "minutes" (processor time), with
        `latency` "ms" (mean of the networks' predicted times), and
        "rival", the percentile of the best of as many random genotypes as could have been trained
        in the same time, chosen by one noisy training each.
    """
    found: dict[str, list[Searched]] = defaultdict(list)
    for result in results:
        if result.arm in study.arms and result.identity == study.identity(result.arm):
            found[result.arm].append(result)
    return [
        {"arm": arm, **_judge(found[arm], table, training_seconds, latency)}
        for arm in study.arms
        if found[arm]
    ]


def _judge(
    results: Sequence[Searched],
    table: Table,
    training_seconds: float,
    latency: LatencyTable | None,
) -> dict[str, Any]:
    genotypes = [Genotype(table.space, r.genotypes[-1]) for r in results]
    judged = [table.judge(genotype) for genotype in genotypes]
    times = [r.cpu_seconds for r in results if r.cpu_seconds is not None]
    seconds = float(np.median(times)) if times else float("nan")
    draws = max(1, int(seconds / training_seconds)) if times else 1
    taus = [agreement(result.probabilities, table) for result in results]
    return {
        "seeds": len(results),
        **{
            name: interval([j[name] for j in judged])
            for name in ("percentile", "regret", "regret_at_macs")
        },
        "tau": interval(taus),
        "macs": float(np.mean([table.find(genotype).macs for genotype in genotypes])),
        "settled": float(np.mean([r.settled for r in results])),
        "epochs": len(results[0].genotypes),
        "largest": float(np.mean([max(row) for r in results for row in r.probabilities.values()])),
        "minutes": seconds / 60,
        **({"ms": float(np.mean([latency.predict(g) for g in genotypes]))} if latency else {}),
        "draws": draws,
        "rival": rival(table, draws),
    }


def agreement(probabilities: Mapping[str, Sequence[float]], table: Table) -> float:
    """Return Kendall's tau between log-probabilities of all genotypes and their PSNR.

    A genotype's log-probability is the sum over its positions; NaN where all are equal.
    """
    scores, psnr = [], []
    names = _candidates(table, list(probabilities))
    logs = {
        label: dict(zip(names[label], np.log(np.maximum(row, 1e-12)), strict=True))
        for label, row in probabilities.items()
    }
    for row in table.rows:
        choices = dict(word.split("=") for word in row.genotype.split())
        scores.append(sum(logs[label][name] for label, name in choices.items()))
        psnr.append(row.psnr)
    return float(stats.kendalltau(np.round(scores, 9), psnr).statistic)


def rival(table: Table, draws: int, seed: int = 0) -> float:
    """Return the mean percentile of the best of several random genotypes, after one training each.

    Each genotype's training gives its PSNR in the table plus the noise that the table's report
    states; the one with the highest result is kept.

    Args:
        table: The table.
        draws: Number of genotypes.
        seed: Seed of the simulation.
    """
    rng = np.random.default_rng(seed)
    psnr = np.array([row.psnr for row in table.rows])
    percentiles = 100 * (stats.rankdata(psnr) - 1) / max(1, len(psnr) - 1)
    noise = float(table.about.get("report", {}).get("val", {}).get("noise", 0.0))
    picked = rng.integers(len(psnr), size=(SIMULATED, draws))
    seen = psnr[picked] + rng.normal(0, noise, picked.shape)
    best = picked[np.arange(SIMULATED), seen.argmax(1)]
    return float(percentiles[best].mean())


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the judged arms as a Markdown table."""
    heads = ["arm", "seeds", "percentile", "regret, dB", "at equal MACs, dB", "GMACs"]
    heads += ["ms"] if any("ms" in row for row in rows) else []
    heads += ["Kendall's tau", "largest p", "settled", "CPU minutes", "best of k random"]
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] * len(heads)) + " |"]
    for row in rows:
        cells = [
            row["arm"],
            str(row["seeds"]),
            _cell(row["percentile"], 1),
            _cell(row["regret"], 3),
            _cell(row["regret_at_macs"], 3),
            f"{row['macs'] / 1e9:.2f}",
            *([f"{row['ms']:.1f}"] if "ms" in row else []),
            _cell(row["tau"], 2),
            f"{row['largest']:.2f}",
            f"{row['settled'] + 1:.0f} of {row['epochs']}",
            f"{row['minutes']:.1f}",
            f"{row['rival']:.1f} (k = {row['draws']})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: Interval, digits: int) -> str:
    if math.isnan(value.mean):
        return "-"
    if math.isnan(value.low):
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _candidates(table: Table, labels: Sequence[str]) -> dict[str, list[str]]:
    from srnas.bench.sample import open_choices

    positions = open_choices(table.about["space"]).positions
    missing = [label for label in labels if label not in positions]
    if missing or not labels:
        raise UserError(f"{table.path}: no positions {', '.join(missing)} in its space")
    return {label: list(positions[label].candidates) for label in labels}
