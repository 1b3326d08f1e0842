"""What tests share: options of runs that take seconds, processes, comparisons of runs."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml
from torch import nn

from srnas.choice import Genotype, NodeChoice, Supernet
from srnas.choice.inherit import kept_tensors
from srnas.errors import UserError
from srnas.files import load_tensors, save_tensors, write_json_lines
from srnas.model_file import Model, save_model
from srnas.spaces import check_space, derived_network, published_genotype
from tests.preloaded import run_command, run_session, run_until

ROOT = Path(__file__).parents[1]
needs_basicsr = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="BasicSR does not build on Python 3.13"
)


def search_options(tmp_path: Path, photos: Path, **changes: object) -> dict:
    """Options of a search that takes seconds."""
    return {
        "name": "search",
        "experiments": str(tmp_path / "experiments"),
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "threads": 1,
        "data": {
            "train": {"hr": str(photos), "images": "1-3"},
            "alpha": {"hr": str(photos), "images": "4-5"},
            "val": {"hr": str(photos), "images": "6-6"},
            "batch_size": 2,
            "hr_patch": 32,
        },
        "epochs": 4,
        "steps_per_epoch": 5,
        "warmup_epochs": 1,
        "log_every": 2,
        "checkpoint_every": 3,
        "weight_optimizer": {"lr": 1e-3, "weight_decay": 1e-8},
        "alpha_optimizer": {"lr": 1e-2, "betas": [0.5, 0.999]},
        "regularizers": [
            {"term": "smooth_activation", "weight": {"name": "linear", "start": 0, "end": 1}},
            {"term": "expected_cost", "weight": 0.1},
        ],
        **changes,
    }


def train_options(tmp_path: Path, photos: Path, **changes: object) -> dict:
    """Options of a training that takes seconds."""
    return {
        "name": "train",
        "experiments": str(tmp_path / "experiments"),
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "threads": 1,
        "data": {
            "train": {"hr": str(photos), "images": "1-5"},
            "val": {"hr": str(photos), "images": "6-6"},
            "batch_size": 2,
            "hr_patch": 32,
        },
        "steps": 24,
        "log_every": 2,
        "val_every": 8,
        "checkpoint_every": 3,
        "optimizer": {"lr": {"name": "one_cycle", "peak": 2e-3}},
        **changes,
    }


CLASS_SPACES = {
    "nasbench201": {"name": "nasbench201", "num_classes": 4, "num_feat": 4, "num_cell": 1},
    "darts": {
        "name": "darts",
        "num_classes": 4,
        "num_feat": 4,
        "num_cell": 3,
        "space_set": "s3",
    },
}


def class_options(tmp_path: Path, space: str = "nasbench201", **changes: object) -> dict:
    """Options of a classification search that takes seconds, on generated images."""
    return {
        "name": "search",
        "experiments": str(tmp_path / "experiments"),
        "space": CLASS_SPACES[space],
        "threads": 1,
        "data": {
            "dataset": {"name": "generated", "num_classes": 4, "train": 64, "test": 32, "side": 8},
            "batch_size": 8,
        },
        "epochs": 4,
        "steps_per_epoch": 5,
        "warmup_epochs": 1,
        "log_every": 2,
        "checkpoint_every": 3,
        "weight_optimizer": {"name": "sgd", "lr": 0.025, "weight_decay": 3e-4},
        "alpha_optimizer": {"lr": 1e-2, "betas": [0.5, 0.999], "weight_decay": 1e-3},
        "clip_grad_norm": 5,
        **changes,
    }


def class_train_options(tmp_path: Path, space: str = "nasbench201", **changes: object) -> dict:
    """Options of a classification training that takes seconds, of any candidates."""
    full = {key: value for key, value in CLASS_SPACES[space].items() if key != "space_set"}
    return {
        "name": "train",
        "experiments": str(tmp_path / "experiments"),
        "space": full,
        "threads": 1,
        "data": {
            "dataset": {
                "name": "generated",
                "num_classes": 4,
                "train": 128,
                "test": 64,
                "side": 16,
            },
            "batch_size": 16,
        },
        "steps": 40,
        "log_every": 10,
        "val_every": 20,
        "ema": 0,
        "optimizer": {"name": "sgd", "lr": {"name": "cosine", "start": 0.1}, "nesterov": True},
        **changes,
    }


def write_options(path: Path, options: dict) -> Path:
    """Write options as YAML."""
    path.write_text(yaml.safe_dump(options))
    return path


FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.preloaded"])


class Started:
    """A process of the command line, with what `subprocess.Popen` has.

    The process is forked from a server that has imported srnas and nothing else, as importing
    torch takes longer than most commands.

    Args:
        arguments: Arguments of `srnas`.
        environment: Variables that are added to the environment.
        work: What runs the command: `run_command`, or a function of `tests.preloaded` around it.
        before: Arguments of `work` before those of `run_command`.
        folder: Where it runs; by default the current folder.
    """

    def __init__(
        self,
        arguments: tuple[object, ...],
        environment: Mapping[str, str] | None = None,
        work: Callable[..., None] = run_command,
        before: tuple[object, ...] = (),
        folder: Path | None = None,
    ) -> None:
        self.command = [*map(str, arguments)]
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [str(Path(self._folder.name) / name) for name in ("stdout", "stderr")]
        variables = {**os.environ, **(environment or {})}
        given = (*before, self.command, str(folder or os.getcwd()), variables, *self._outputs)
        self._process = FORKSERVER.Process(target=work, args=given)
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self.poll() is None, self.communicate()
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self._process.exitcode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        files = [Path(file) for file in self._outputs]
        stdout, stderr = (file.read_text() if file.exists() else "" for file in files)
        return stdout, stderr


def srnas(
    *arguments: object, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    process = Started(arguments, environment)
    written = process.communicate(timeout)
    return subprocess.CompletedProcess(process.command, process.wait(), *written)


def start(command: str, file: Path, *more: object) -> Started:
    """Start a run of the command line."""
    return Started((command, "-opt", file, *more))


def kill_when(arguments: tuple[object, ...], condition: Callable[[], bool]) -> None:
    """Run the command line, and kill it and its processes as soon as a condition holds."""
    process = Started(arguments, work=run_session)
    while not condition():
        assert process.poll() is None, f"it ended before it was killed: {process.communicate()}"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed(moment: int, place: Path, work: Callable[..., object], *arguments: object) -> bool:
    """Do `work(*arguments)` in a process, and kill it before its `moment`-th change below a place.

    Returns:
        Whether it was killed; False if it ended before that.
    """
    process = FORKSERVER.Process(target=run_until, args=(moment, str(place), work, *arguments))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def together(*works: tuple[Callable[..., object], ...]) -> None:
    """Do each `work(*arguments)` in a process of its own, all at once."""
    processes = [FORKSERVER.Process(target=work, args=given) for work, *given in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def in_two(work: Callable[..., dict], *given: object) -> list[dict]:
    """Return what `work(rank, *given)` returns in each of two processes that work together."""
    with tempfile.TemporaryDirectory() as folder:
        group, outs = Path(folder) / "group", [Path(folder) / f"{rank}.pt" for rank in range(2)]
        processes = [
            FORKSERVER.Process(target=_in_group, args=(rank, group, out, work, *given))
            for rank, out in enumerate(outs)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0, 0]
        return [load_tensors(out) for out in outs]


def _in_group(rank: int, group: Path, out: Path, work: Callable[..., dict], *given: object) -> None:
    torch.set_num_threads(1)
    os.environ["WORLD_SIZE"] = "2"  # what torchrun tells
    dist.init_process_group("gloo", init_method=f"file://{group}", rank=rank, world_size=2)
    save_tensors(out, work(rank, *given))
    dist.destroy_process_group()


def small_model(path: Path) -> Path:
    """Write the model file of a small IMDN x2 that is not trained, and return its path."""
    torch.manual_seed(0)
    space = check_space({"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}, "test")
    genotype = published_genotype("imdn")
    save_model(path, Model(derived_network(space, genotype), space, genotype, {}))
    return path


class Malicious:
    """A pickle that makes a folder when it is loaded the careless way."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def told(call: Callable[..., object], *arguments: object) -> str | None:
    """Return the one line of the UserError that a function raises; None if it raises none."""
    try:
        call(*arguments)
    except UserError as error:
        line = str(error)
    else:
        return None
    assert len(line.splitlines()) == 1, line
    assert len(line) < 600, line
    return line


LOGS = ("metrics.jsonl", "alphas.jsonl", "genotype.json", "model.safetensors")


def flat(value, path=""):
    """All leaves of nested dicts and lists, by path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from flat(inner, f"{path}/{key}")
    else:
        yield path, value


def assert_same_run(one, other):
    for name in LOGS:
        assert (one / name).exists() == (other / name).exists(), name
        if (one / name).exists():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    states = [dict(flat(load_tensors(r / "checkpoints" / "last.pt"))) for r in (one, other)]
    assert states[0].keys() == states[1].keys()
    for path, value in states[0].items():
        same = torch.equal if torch.is_tensor(value) else (lambda a, b: a == b)
        assert same(value, states[1][path]), path


def wait_for_step(run, process, step):
    """Until the run has logged a step beyond `step`, its checkpoint lying before it."""
    log = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = log.read_text().splitlines() if log.exists() else []
        if (
            lines
            and json.loads(lines[-1])["step"] >= step
            and (run / "checkpoints/last.pt").exists()
        ):
            return
        time.sleep(0.01)
    pytest.fail(f"the run ended or hung before step {step}: {process.communicate()}")


def killed_and_resumed(command, file, tmp_path, *more):
    """Kill a run in the middle with SIGKILL, resume it, and compare it with a whole one."""
    moved = f"experiments={tmp_path / 'experiments'}"
    whole = srnas(command, "-opt", file, f"experiments={tmp_path / 'whole'}", *more)
    assert whole.returncode == 0, whole.stderr
    killed = tmp_path / "experiments" / command

    # It kills itself before the seventh row of its log, mid-epoch and after a checkpoint.
    process = Started(
        (command, "-opt", file, moved, *more),
        work=run_until,
        before=(7, str(killed / "metrics.jsonl"), run_command),
    )
    _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told
    at, end = (
        load_tensors(run / "checkpoints/last.pt")["step"]
        for run in (killed, tmp_path / "whole" / command)
    )
    assert 0 < at < end, "it was not killed in the middle"

    again = srnas(command, "-opt", file, moved, *more, "--resume")
    assert again.returncode == 0, again.stderr
    assert_same_run(tmp_path / "whole" / command, killed)


def derive(supernet: Supernet, space: dict, genotype: Genotype | None = None) -> nn.Module:
    """The derived network of `genotype` (default: the current one) with the supernet's weights.

    BatchNorm without scale and shift becomes one with scale 1 and shift 0. Only without partial
    channels and links, where the weights have the shapes of the derived network's, and without
    nodes that drop edges, where the function would be another.
    """
    for choice in supernet.choices.others.values():
        fits = isinstance(choice, NodeChoice) and choice.keep is None
        assert fits, "what follows links is wider, and nodes lack edges, in the derived network"
    genotype = genotype or supernet.genotype()
    derived = derived_network(space, genotype)
    kept = dict(kept_tensors(supernet, supernet.network.read_choices(genotype.choices)))
    missing, unexpected = derived.load_state_dict(kept, strict=False)
    assert not unexpected, unexpected
    affine = {
        f"{name}.{suffix}"
        for name, module in derived.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for suffix in ("weight", "bias")
    }
    assert set(missing) <= affine, missing
    return derived.train(supernet.training)


def write_results(path, results):
    """Write results of `srnas table build` to one file, gzipped if its name ends in .gz."""
    write_json_lines(path, map(asdict, results))


def outputs(*networks, size=(17, 19)):
    """What networks make of an image."""
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return [one(x) for one in networks]
