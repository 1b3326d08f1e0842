"""Short trainings of many networks, one after the other, on the same batches."""

import copy
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnas.choice import Genotype, Space
from srnas.distributed import Process, choose_device, move
from srnas.engine.train import Trainer, initial_network
from srnas.options import TrainOptions
from srnas.tasks.base import Batches, Task


class Trained(NamedTuple):
    """A network after its training.

    Attributes:
        network: The network that is judged: its moving average, if the options ask for one.
        task: The task.
        losses: Loss of each step, (steps,).
        seconds: How long the steps took.
    """

    network: Space
    task: Task
    losses: Tensor
    seconds: float


class Bench:
    """Trains networks; the images of a seed are decoded once, and all networks see equal batches.

    Args:
        device: Name of the device.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.process = Process(choose_device(device))
        self._opened: dict[int, tuple[Task, Batches, Any]] = {}

    def train(self, options: TrainOptions, genotype: Genotype) -> Trained:
        """Train the network of a genotype; UserError if the images cannot be read."""
        torch.manual_seed(options.seed)
        network = initial_network(options, genotype)
        move(network, self.process.device)
        task, batches = self._open(options, network)
        trainer = Trainer(options, network, task, batches)
        began = time.monotonic()
        losses = torch.zeros(options.steps)
        for step in range(options.steps):
            losses[step] = trainer.step(step).detach()
        seconds = time.monotonic() - began
        trainer.settle()
        return Trained(trainer.judged, task, losses, seconds)

    def _open(self, options: TrainOptions, network: Space) -> tuple[Task, Batches]:
        """Open the images of a seed, or go back to the start of their batches."""
        if options.seed not in self._opened:
            task, (batches,) = options.task.open(options, self.process, network, ("train",))
            self._opened[options.seed] = task, batches, copy.deepcopy(batches.state_dict())
        task, batches, start = self._opened[options.seed]
        batches.load_state_dict(start)
        return task, batches
