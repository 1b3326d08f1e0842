"""The measured networks of a table: one JSON line a training."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.files import read_json_lines


@dataclass(frozen=True)
class Result:
    """One trained network.

    Attributes:
        protocol: Identity of the protocol, see `Protocol.identity`.
        number: Number of the genotype in the sample.
        choices: Choices of the genotype, in the format of the space's genotype files.
        seed: Seed of the training.
        scores: Metrics by set ("val" for the validation images) and name, as {"val": {"psnr": dB}}.
        params: Number of parameters.
        macs: MACs of one HR image of 1280x720 (or in the task's first convention).
        loss: Mean loss over the last tenth of the training.
        seconds: Duration of the training.
        data: Hash of the training images' names and bytes.
        versions: Versions of srnas and torch.
    """

    protocol: str
    number: int
    choices: dict[str, Any]
    seed: int
    scores: dict[str, dict[str, float]]
    params: int
    macs: int
    loss: float
    seconds: float
    data: str
    versions: dict[str, str] = field(default_factory=dict)

    def genotype(self, space: str) -> Genotype:
        """Return the genotype."""
        return Genotype(space, self.choices)

    def to_json(self) -> str:
        """Return the result as a line of JSON."""
        return json.dumps(asdict(self))


def read_results(folders: Iterable[Path]) -> list[Result]:
    """Read the results of folders (`*.jsonl`, `*.jsonl.gz`) and of such files.

    A training that several shards have done counts once.

    Raises:
        UserError: A file is missing, or a line is no result.
    """
    found: dict[tuple[str, str, int], Result] = {}
    for place in folders:
        files = sorted(place.glob("*.jsonl*")) if place.is_dir() else [place]
        for file in files:
            if not file.is_file():
                raise UserError(f"{file}: no such file; srnas table build writes it")
            for row in read_json_lines(file):
                try:
                    result = Result(**row)
                except TypeError as error:
                    raise UserError(f"{file}: no results of srnas table build ({error})") from error
                key = (result.protocol, json.dumps(result.choices, sort_keys=True), result.seed)
                found.setdefault(key, result)
    return sorted(found.values(), key=lambda r: (r.number, r.seed))
