"""Train the sample of a protocol: in several processes, in shards, to be continued."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from srnas.choice import Space
from srnas.engine.bench import Bench
from srnas.engine.sessions import versions
from srnas.errors import UserError, counted
from srnas.lock import hold
from srnas.options import TrainOptions
from srnas.table.pool import run_jobs
from srnas.table.protocol import Job, Protocol, count_costs, jobs
from srnas.table.results import Result, read_results
from srnas.tasks.base import Task

LAST = 0.1  # share of the steps whose mean loss is reported


def build(
    protocol: Protocol,
    out: Path,
    *,
    processes: int = 1,
    shard: tuple[int, int] = (1, 1),
    limit: int | None = None,
    device: str = "cpu",
) -> None:
    """Train the networks without a result.

    Every worker appends to a file of its own, `shard-I-of-N-WORKER.jsonl`. What any file in the
    folder contains is not trained again, so a build can be stopped and continued, also with
    another number of processes. A training that was interrupted starts anew.

    Args:
        processes: Number of worker processes, with one thread each.
        shard: (i, n): train every n-th job, beginning with the i-th (from 1), for n builds that run
            at the same time, on one machine or several.
        limit: Number of jobs of the whole table to consider, from the first.

    Raises:
        UserError: The images cannot be read, the folder has results of another protocol, or another
            process builds this shard in it.
    """
    name = f"shard-{shard[0]}-of-{shard[1]}"
    with hold(out / f".{name}.lock", out / name, "give another --out"):
        todo = remaining(protocol, out, shard, limit)
        shown = f"{counted(len(todo), 'training')} to do in shard {shard[0]}/{shard[1]}"
        print(f"# {protocol.name}: {shown}", flush=True)
        files = [out / f"{name}-{worker}.jsonl" for worker in range(processes)]
        if todo:
            run_jobs(todo, files, Workbench, (protocol, device), _line, protocol.name)


def remaining(
    protocol: Protocol, out: Path, shard: tuple[int, int] = (1, 1), limit: int | None = None
) -> list[Job]:
    """Return the jobs of a shard that have no result yet.

    Raises:
        UserError: The folder has results of another protocol.
    """
    wanted = list(jobs(protocol, protocol.genotypes()))[:limit]
    results = read_results([out]) if out.is_dir() else []
    check_protocol(results, protocol, out)
    done = {(result.number, result.seed) for result in results}
    number, count = shard
    return [job for job in wanted[number - 1 :: count] if (job.number, job.seed) not in done]


def check_protocol(results: Sequence[Result], protocol: Protocol, where: Path) -> None:
    """Raise a UserError if results come from another protocol or from several sets of images."""
    for result in results:
        if result.protocol != protocol.identity():
            raise UserError(
                f"{where}: has results of protocol {result.protocol}, this one is "
                f"{protocol.identity()}; take another folder, or the protocol of the results"
            )
        if result.data != results[0].data:
            raise UserError(
                f"{where}: results from different training images ({result.data} and "
                f"{results[0].data}); build each in a folder of its own"
            )


class Workbench:
    """Trains and measures networks by a protocol; the images are decoded once a seed."""

    def __init__(self, protocol: Protocol, device: str = "cpu") -> None:
        self.protocol, self.device = protocol, device
        self.bench = Bench(device)

    def run(self, job: Job) -> Result:
        """Train the network of a job and measure it; UserError if the images cannot be read."""
        options = self.protocol.training(job.seed)
        network, task, losses, seconds = self.bench.train(options, job.genotype)
        params, macs = count_costs(type(task), network)
        return Result(
            protocol=self.protocol.identity(),
            number=job.number,
            choices=job.genotype.choices,
            seed=job.seed,
            scores=self._scores(task, network),
            params=params,
            macs=macs,
            loss=round(losses[-max(1, round(LAST * options.steps)) :].mean().item(), 7),
            seconds=round(seconds, 2),
            data=fingerprint(options),
            versions=versions(),
        )

    def _scores(self, task: Task, network: Space) -> dict[str, dict[str, float]]:
        scores = {"val": task.validate(network)} if task.val_count else {}
        if self.protocol.sets:
            metrics = getattr(self.protocol.training(0), "metrics", None)
            how = {"metrics": metrics} if metrics else {}
            measured = task.evaluate(network, self.protocol.sets, device=self.device, **how)
            for name, figures in measured.items():
                scores[name] = {k: v for k, v in figures.items() if isinstance(v, float)}
        return {
            name: {figure: round(value, 5) for figure, value in figures.items()}
            for name, figures in scores.items()
        }


def fingerprint(options: TrainOptions) -> str:
    """Return a hash of the identity of a training's images, by its task."""
    return hashlib.sha256(options.task.identify_data(options).encode()).hexdigest()[:12]


def _line(bench: Workbench, job: Job) -> str:
    return bench.run(job).to_json()
