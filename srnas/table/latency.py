"""Latency of a sample's networks in ONNX Runtime; it does not depend on their weights."""

import json
from pathlib import Path
from statistics import median

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.files import append_line, finish_lines, read_json_lines
from srnas.latency.runtime import open_network
from srnas.lock import hold
from srnas.machine import time_alternately
from srnas.progress import Progress
from srnas.spaces import derived_network
from srnas.table.protocol import Protocol

FILE = "latency.jsonl"


def measure(protocol: Protocol, folder: Path, limit: int | None = None) -> Path:
    """Measure the networks without a latency. Nothing else should run on the machine.

    Args:
        folder: Folder of the results; `latency/latency.jsonl` in it is written.
        limit: Number of genotypes of the sample to measure, from the first.

    Raises:
        UserError: onnx or onnxruntime is not installed, or another process measures in the folder.
    """
    genotypes = protocol.genotypes()[:limit]
    file = folder / "latency" / FILE
    with hold(file.with_name(".lock"), file, "give another --out"):
        finish_lines(file)
        known = read_latency(folder, protocol)
        todo = [genotype for genotype in genotypes if str(genotype) not in known]
        with Progress(len(todo)) as progress:
            for done, genotype in enumerate(todo, 1):
                ms = _time(genotype, protocol)
                settings = protocol.latency.model_dump()
                row = {"choices": genotype.choices, "ms": round(ms, 4), "settings": settings}
                append_line(file, json.dumps(row))
                progress.advance(done)
                progress.say(f"{genotype}  {ms:.2f} ms")
    return file


def read_latency(folder: Path, protocol: Protocol) -> dict[str, float]:
    """Return the measured milliseconds by genotype (as text), {} if there are none.

    Raises:
        UserError: They were measured with other settings.
    """
    found = {}
    space = protocol.training(0).space.name
    for row in read_json_lines(folder / "latency" / FILE):
        if row["settings"] != protocol.latency.model_dump():
            raise UserError(f"{folder}: latency was measured with {row['settings']}")
        found[str(Genotype(space, row["choices"]))] = float(row["ms"])
    return found


def _time(genotype: Genotype, protocol: Protocol) -> float:
    """Return the median milliseconds of a run of a genotype's network."""
    settings = protocol.latency
    size = (settings.width, settings.height)
    network = derived_network(protocol.training(0).space, genotype).eval()
    opened = open_network(network, "onnxruntime", size, settings.threads)
    (times,) = time_alternately([opened.call], settings.repeats, warmup=1)
    return median(times)
