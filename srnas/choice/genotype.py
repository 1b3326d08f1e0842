"""A genotype: which candidate each position of a space got, and where that came from."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from srnas.errors import UserError
from srnas.files import read_json, write_json

FORMAT = "srnas-genotype"
VERSION = 1


@dataclass(frozen=True)
class Genotype:
    """The discrete result of a search.

    space: name of the space. choices: label -> candidate name, or for a link the numbers
        (from 1) of the chosen inputs in order, or for a node [candidate, input] pairs (inputs
        from 0); or whatever form the space's `write_choices` gives them.
    provenance: options, seed, versions and step of the search that made it.
    """

    space: str
    choices: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def flat(self, space: Any) -> "Genotype":
        """The same with its choices by label: as the space's `read_choices` reads them."""
        return replace(self, choices=getattr(space, "read_choices", dict)(self.choices))

    def to_dict(self) -> dict[str, Any]:
        """The content of a genotype file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            "choices": self.choices,
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, content: Any, where: str) -> "Genotype":
        """Check and take in a genotype file's content; `where` names it in errors."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f'{where}: not a genotype (no "format": "{FORMAT}")')
        if content.get("version") != VERSION:
            raise UserError(
                f"{where}: genotype version {content.get('version')!r}; this srnas reads {VERSION}"
            )
        space, choices = content.get("space"), content.get("choices")
        if not isinstance(space, str) or not isinstance(choices, dict):
            raise UserError(f'{where}: a genotype needs "space": NAME and "choices": {{...}}')
        return cls(space, choices, content.get("provenance") or {})

    def save(self, path: Path) -> None:
        """Write the genotype file, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Genotype":
        """Read a genotype file; UserError if it is missing or is none."""
        return cls.from_dict(read_json(path), str(path))

    def __str__(self) -> str:
        return " ".join(f"{label}={_short(choice)}" for label, choice in self.choices.items())


def _short(choice: Any) -> str:
    if not isinstance(choice, list):
        return str(choice)
    if choice and isinstance(choice[0], str):  # a candidate on an input
        return "~".join(map(str, choice))
    return ",".join(map(_short, choice))
