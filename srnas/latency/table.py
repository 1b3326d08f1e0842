"""What each candidate of a space costs in time at each position, as `latency.measure` found it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from srnas.choice import Choice, Genotype
from srnas.errors import UserError, one_line
from srnas.files import read_json, write_json

FORMAT = "srnas-latency"


@dataclass(frozen=True)
class LatencyTable:
    """Times of the candidates of a space, in milliseconds.

    A network's predicted time is that of the base network plus, for each position, what its
    candidate adds to the base's.

    Attributes:
        space: The space with its options.
        setting: How it was measured: runtime, precision, threads, size, repeats.
        base: Choices of the base network.
        base_ms: Its time.
        ms: Time of the base network with one candidate changed, by position and candidate.
        channels: Channels of the input and output of each position.
        check: What `check_prediction` returned, {} if it was not called.
    """

    space: dict[str, Any]
    setting: dict[str, Any]
    base: dict[str, Any]
    base_ms: float
    ms: dict[str, dict[str, float]]
    channels: dict[str, tuple[int, ...]]
    check: dict[str, Any]

    def predict(self, genotype: Genotype) -> float:
        """Return the predicted milliseconds of a genotype."""
        return self.base_ms + sum(
            row[str(genotype.choices[label])] - self.base_ms for label, row in self.ms.items()
        )

    def costs(self, choice: Choice) -> list[float]:
        """Return the time of each alternative of a choice, as a share of the base network's.

        Raises:
            UserError: The table has no such choice, or another one under its name.
        """
        label, names = choice.label, choice.names
        row = self.ms.get(label)
        if row is None or set(row) != set(names):
            raise UserError(
                f"the latency table of space {self.space['name']!r} has no position {label!r} with "
                f"the candidates of this search; make one: srnas latency table"
            )
        channels = tuple(self.channels[label])
        if channels != choice.shape:
            then, now = (" -> ".join(map(str, shape)) for shape in (channels, choice.shape))
            raise UserError(
                f"the latency table has {then} channels at position {label!r}, this search {now}; "
                "make one of this width: srnas latency table"
            )
        return [row[name] / self.base_ms for name in names]

    def save(self, path: Path) -> None:
        """Write the table as JSON, atomically."""
        write_json(path, {"format": FORMAT, **asdict(self)})


def read_latency_table(path: Path) -> LatencyTable:
    """Read what `LatencyTable.save` wrote.

    Raises:
        UserError: The file is missing or is not a latency table.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path}: not a latency table; srnas latency table makes one")
    try:
        table = LatencyTable(**content)
        TypeAdapter(LatencyTable).validate_python(content)
        for row in table.ms.values():
            for value in row.values():
                if not 0 < float(value) < float("inf"):
                    raise ValueError(f"{value} milliseconds")
    except (TypeError, ValueError, OverflowError) as error:
        reason = one_line(" ".join(str(error).splitlines()[:3]), 200)
        raise UserError(f"{path}: a broken latency table ({reason})") from error
    return table
