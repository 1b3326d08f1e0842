"""What a network costs, and what each alternative spares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv
from statistics import median
from typing import Any, Literal

from srnas.choice import Space
from srnas.cost import count_macs, count_parameters
from srnas.latency.runtime import open_network
from srnas.machine import WARMUP, time_alternately
from srnas.progress import Progress
from srnas.shrinking.alternatives import Alternative, Original, layers_of

Kind = Literal["latency", "macs", "params", "size"]
BYTES = 4  # of a parameter in a file
UNITS = {"latency": "ms", "macs": "MACs", "params": "parameters", "size": "bytes"}


@dataclass(frozen=True)
class Setting:
    """How costs are counted or measured.

    Attributes:
        kind: What counts: time; MACs for the input; parameters; bytes of the weights in float32.
        runtime: Runtime that time is measured in, see `srnas.latency.runtime.runtimes`.
        threads: Its number of threads.
        width, height: Size of the input in pixels.
        precision: Precision of the export.
        repeats: Number of runs of each network, whose median counts.
    """

    kind: Kind
    runtime: str = "onnxruntime"
    threads: int = 1
    width: int = 160
    height: int = 90
    precision: str = "fp32"
    repeats: int = 15

    def measure(self, networks: Sequence[Space]) -> list[float]:
        """Return the cost of networks.

        Times are measured in turns. That of a network is the median of the first one's, times the
        median over the rounds of its ratio to the first one: a machine that is slower in some
        rounds is so for both.

        Raises:
            UserError: The runtime is not installed, or cannot express a network.
        """
        if self.kind != "latency":
            return [float(self._count(network)) for network in networks]
        size = (self.width, self.height)
        rounds = WARMUP + self.repeats
        with Progress(len(networks) + rounds) as progress:
            calls: list[Callable[[], object]] = []
            for number, network in enumerate(networks, 1):
                opened = open_network(network, self.runtime, size, self.threads, self.precision)
                calls.append(opened.call)
                progress.advance(number)
                progress.say(f"exported for {self.runtime}")
            rows = time_alternately(
                calls,
                self.repeats,
                after_round=lambda done: progress.advance(len(networks) + done),
            )
            progress.say("timed")
        first = rows[0]
        ratios = [median(map(truediv, row, first)) for row in rows]
        return [round(median(first) * ratio, 4) for ratio in ratios]

    def _count(self, network: Space) -> int:
        if self.kind == "macs":
            return count_macs(network, self.width, self.height)
        return count_parameters(network) * (BYTES if self.kind == "size" else 1)


def measure_alternatives(
    reference: Space,
    original: Original,
    alternatives: Sequence[Alternative],
    setting: Setting,
) -> tuple[float, float, list[float]]:
    """Measure a network and its alternatives.

    Alternatives that replace modules of equal layers by modules of equal layers are measured once.

    Returns:
        The costs of the reference and of the network, and what each alternative adds to the
        latter (negative if it spares).
    """
    built: dict[tuple[Any, ...], Space] = {}
    keys = []
    for one in alternatives:
        network = original.changed(one.changes).eval()
        key = (layers_of(original.network, one.scope), layers_of(network, one.scope))
        keys.append(key)
        built.setdefault(key, network)
    first, base, *costs = setting.measure([reference, original.network, *built.values()])
    added = {key: cost - base for key, cost in zip(built, costs, strict=True)}
    return first, base, [added[key] for key in keys]
