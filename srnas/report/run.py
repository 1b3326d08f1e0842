"""What a run folder tells: options, logs, genotype, costs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from srnas.analysis.logs import read_alphas, read_metrics
from srnas.choice import Genotype
from srnas.errors import UserError, one_line
from srnas.files import read_json, read_json_lines, read_yaml
from srnas.metrics import METRICS, find_metric, show_value
from srnas.spaces import SPACES, check_space, derived_network
from srnas.tasks import Task, task_of, task_of_space

Points = list[tuple[float, float]]


@dataclass
class RunRecord:
    """A run folder, read.

    Attributes:
        folder: The folder.
        options: Its options, as written.
        metrics: Rows of metrics.jsonl.
        alphas: Rows of alphas.jsonl, [] for trainings.
        sessions: Rows of sessions.jsonl: when and where the run was worked on.
        choices: Choices of genotype.json, None if there is none.
    """

    folder: Path
    options: dict[str, Any]
    metrics: list[dict[str, Any]]
    alphas: list[dict[str, Any]]
    sessions: list[dict[str, Any]] = field(default_factory=list)
    choices: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def kind(self) -> str:
        """The kind of the run: "search" or "train"."""
        return "search" if "weight_optimizer" in self.options else "train"

    @property
    def space(self) -> dict[str, Any]:
        """The space with its options, {"name": ""} if it has none."""
        space = self.options.get("space")
        return space if isinstance(space, dict) else {"name": space or ""}

    @property
    def task(self) -> type[Task] | None:
        """The task of the space, None if the space is unknown."""
        name = self.space["name"]
        return task_of_space(name) if name in SPACES else None

    @cached_property
    def learns(self) -> bool:
        """Whether the alphas have moved; in a random search, they do not."""
        return len(self.alphas) > 1 and self.alphas[0]["alphas"] != self.alphas[-1]["alphas"]

    def series(self, key: str) -> Points:
        """Return a metric as (step, value)."""
        return [(row["step"], row[key]) for row in self.metrics if key in row]

    def last(self, key: str) -> float | None:
        """Return the last value of a metric."""
        points = self.series(key)
        return points[-1][1] if points else None

    def names(self) -> dict[str, list[str]]:
        """Return the names of the candidates by label; inputs of links are numbered from 1."""
        row = self.alphas[-1]
        candidates = row.get("candidates", {})
        return {
            label: candidates.get(label)
            or [f"input {number}" for number in range(1, len(alpha) + 1)]
            for label, alpha in row["alphas"].items()
        }

    def probabilities(self) -> dict[str, dict[str, float]]:
        """Return the last probability of each candidate by label, {} if none are logged."""
        if not self.alphas or "probabilities" not in self.alphas[-1]:
            return {}
        rows, names = self.alphas[-1]["probabilities"], self.names()
        return {label: dict(zip(names[label], row, strict=True)) for label, row in rows.items()}

    def chosen(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
        """Return which candidates, or inputs of links, the genotype takes in each row.

        Genotypes of cells do not name edges; there it is the most probable candidate.
        """
        found = {}
        for label, row in rows.items():
            choice = (self.choices or {}).get(label)
            if isinstance(choice, list):
                found[label] = [f"input {number}" for number in choice]
            else:
                found[label] = [str(choice or max(row, key=lambda name: row[name]))]
        return found

    def gaps(self) -> dict[str, float]:
        """Return by how much the largest probability exceeds the next, by position."""
        candidates = self.alphas[-1].get("candidates", {})
        rows = {k: sorted(v.values()) for k, v in self.probabilities().items() if k in candidates}
        return {label: row[-1] - row[-2] for label, row in rows.items() if len(row) > 1}

    def left(self) -> str:
        """Say how far a run came that has not ended, "" of one that has ended."""
        if self.kind == "search":
            done = self.alphas[-1]["epoch"] + 1 if self.alphas else 0
            total, unit = self.options.get("epochs"), "epochs"
        else:
            done = max((row["step"] for row in self.metrics), default=0)
            total, unit = self.options.get("steps"), "steps"
        if not isinstance(total, int) or done >= total:
            return ""
        return f"Not finished: {done:,} of {total:,} {unit} are in the log; --resume continues."

    def validated(self) -> list[str]:
        """Return the names of the image metrics that validations have logged, as "val_" + name."""
        parts = self.options.get("metrics") or []
        own = [str(part["name"] if isinstance(part, dict) else part) for part in parts]
        return [name for name in dict.fromkeys([*own, *METRICS]) if self.series(f"val_{name}")]

    def task_curves(self) -> dict[str, str]:
        """Return titles by key: those of the task, and of the image metrics that are logged."""
        curves = dict(self.task.curves) if self.task else {}
        for metric in self.validated():
            found = find_metric(metric)
            title = f"{found.title if found else metric} on the validation images"
            unit = f", {found.unit}" if found and found.unit else ""
            curves.setdefault(f"val_{metric}", title + unit)
        return curves

    def score(self) -> str:
        """Return the task's score, "psnr" if the space is unknown; "val_" + it is its key."""
        return self.task.score if self.task else "psnr"

    def higher_is_better(self) -> bool:
        """Return whether larger scores are better."""
        return self.task.higher_is_better if self.task else True

    def baselines(self, key: str) -> dict[str, Points]:
        """Return what a metric of the task is compared with, by name."""
        names = self.task.baselines.get(key, {}) if self.task else {}
        return {names[other]: self.series(other) for other in names if self.series(other)}

    def latencies(self) -> dict[str, float]:
        """Return what `srnas latency --json` measured of this network: ms by setting.

        The files are those in the run folder.
        """
        found = {}
        for file in sorted(self.folder.glob("*.json")):
            content = read_json(file)
            if isinstance(content, dict) and {"runtime", "models", "threads"} <= set(content):
                for row in content["models"]:
                    if Path(row["model"]).parts[-2:] == (self.name, "model.safetensors"):
                        threads = f"{content['threads']} thread{'s' * (content['threads'] > 1)}"
                        setting = (content["runtime"], content["precision"], threads)
                        found[f"ms, {', '.join(setting)}, {content['size']}"] = row["median"]
        return found

    def siblings(self) -> "list[RunRecord]":
        """Return the other trainings beside this one of its task and on its validation images."""
        found = []
        for file in sorted(self.folder.resolve().parent.glob("*/options.yml")):
            if file.parent == self.folder.resolve():
                continue
            try:
                other = read_run(file.parent)
            except UserError:  # the page of another run reports this error
                continue
            if other.kind == "train" and self._validated_alike(other):
                found.append(other)
        return found

    def _validated_alike(self, other: "RunRecord") -> bool:
        mine, theirs = ((run.options.get("data") or {}).get("val") for run in (self, other))
        scales = [run.space.get("scale") for run in (self, other)]
        return mine == theirs and scales[0] == scales[1]

    def summary(self) -> str:
        """Return a line about the run: method, space, data, length."""
        what = "Search" if self.kind == "search" else "Training"
        method = self.options.get("from_method")
        space = ", ".join(
            str(value) if key == "name" else f"{key} {value}"
            for key, value in self.space.items()
            if value is not None
        )
        parts = [what + (f" by {method}" if method else ""), f"space {space}"]
        if self.kind == "search":
            parts.append(f"{self.options.get('epochs')} epochs")
        else:
            parts.append(f"{self.options.get('steps', 0):,} steps")
        images = self._images()
        return " · ".join([*parts, *([images] if images else [])])

    def _images(self) -> str:
        data = self.options.get("data") or {}
        train = data.get("train")
        if isinstance(train, dict):
            if train.get("packaged"):
                return "packaged photographs"
            folder = train.get("hr") or train.get("basicsr")
            return f"images {Path(str(folder)).name}" if folder else ""
        dataset = data.get("dataset")
        return str(dataset.get("name")) if isinstance(dataset, dict) else ""

    def history(self) -> list[str]:
        """Return when, for how long and on what machine the run was worked on, as far as known."""
        if not self.sessions:
            return []
        seconds = sum(_seconds(s["began"], s["ended"]) for s in self.sessions if s.get("ended"))
        last = self.sessions[-1]
        parts = [f"begun {self.sessions[0]['began'][:16].replace('T', ' ')}"]
        if seconds:
            parts.append(f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} of work")
        return [*parts, str(last["machine"]), f"srnas {last['versions']['srnas']}"]

    @cached_property
    def costs(self) -> dict[str, Any]:
        """Costs of the derived network by the task; {} if the network cannot be built."""
        if self.choices is None:
            return {}
        try:
            space = check_space(self.space)
            network = derived_network(space, Genotype(space.name, self.choices))
        except UserError:
            return {}
        return task_of(network).profile(network, None)

    def figures(self) -> dict[str, str]:
        """Return the content of the cards: the metrics of validation, and the costs."""
        shown = {}
        for key, title in self.task_curves().items():
            value = self.last(key)
            if value is not None:
                whose = ", supernet" if self.kind == "search" else ""
                metric = key.removeprefix("val_")
                text = show_value(metric, value) if find_metric(metric) else f"{value:.3f}"
                shown[title + whose] = text
        percentile = self.last("table_percentile")
        if percentile is not None:
            shown["of the table's genotypes are worse"] = f"{percentile:.1f} %"
        if self.costs:
            shown["parameters"] = f"{self.costs['params']:,}"
            for name, value in self.costs.items():
                if isinstance(value, dict):
                    shown[f"GMACs, {name.replace('_', ' ')}"] = _rounded(value["macs"] / 1e9)
        shown |= {name: f"{ms:.1f}" for name, ms in self.latencies().items()}
        return shown


def _rounded(value: float) -> str:
    """Return two decimals, or three digits where that is more."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.3g}"


def _seconds(began: str, ended: str) -> int:
    between = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    return round(between.total_seconds())


@contextmanager
def told_of(*folders: Path) -> Iterator[None]:
    """Tell errors to which odd content of files leads as a UserError that names the run folders.

    What can be checked by itself is checked on reading; this is for files that contradict each
    other, or that are not by srnas.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = ", ".join(map(str, folders))
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{names}: files are not as srnas writes them ({reason})") from error


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; UserError if it is not one, or a log is broken."""
    if not (folder / "options.yml").is_file():
        raise UserError(f"{folder}: not a run folder (no options.yml)")
    file = folder / "genotype.json"
    return RunRecord(
        folder,
        read_yaml(folder / "options.yml"),
        read_metrics(folder / "metrics.jsonl"),
        read_alphas(folder / "alphas.jsonl"),
        read_json_lines(folder / "sessions.jsonl"),
        Genotype.load(file).choices if file.exists() else None,
    )
