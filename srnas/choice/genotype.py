"""Genotypes: the choices of a search at every position of a space, with their provenance."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from srnas.errors import UserError, one_line, short
from srnas.files import read_json, write_json

FORMAT = "srnas-genotype"
VERSION = 1


@dataclass(frozen=True)
class Genotype:
    """The discrete result of a search.

    Attributes:
        space: Name of the space.
        choices: The choices in the format of the space's files. By default the candidate by label,
            or for a link the list of chosen inputs (counted from 1) in order. Spaces with cells
            have formats of their own, see `Space.write_choices`.
        provenance: Options, seed, versions and step of the search that found it. It is ignored in
            comparisons.

    >>> imdn = dict.fromkeys(("c1", "c2", "c3", "c4"), "conv_3x3")
    >>> print(Genotype("imdn", imdn))
    c1=conv_3x3 c2=conv_3x3 c3=conv_3x3 c4=conv_3x3
    >>> Genotype.from_dict(Genotype("imdn", imdn).to_dict(), "example") == Genotype("imdn", imdn)
    True
    """

    space: str
    choices: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a genotype file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            "choices": self.choices,
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, content: Any, where: str) -> "Genotype":
        """Build a genotype from the content of a genotype file.

        Args:
            content: What `to_dict` returned.
            where: Name of the source in error messages.

        Raises:
            UserError: The content is not a genotype of this version.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f'{where}: not a genotype (no "format": "{FORMAT}")')
        if content.get("version") != VERSION:
            version = short(content.get("version"))
            raise UserError(f"{where}: genotype version {version}; this srnas reads {VERSION}")
        space, choices = content.get("space"), content.get("choices")
        if not isinstance(space, str) or not isinstance(choices, dict):
            raise UserError(f'{where}: a genotype needs "space": NAME and "choices": {{...}}')
        provenance = check_provenance(content.get("provenance") or {}, where)
        return cls(space, choices, provenance)

    def save(self, path: Path) -> None:
        """Write a genotype file, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Genotype":
        """Read a genotype file.

        Raises:
            UserError: The file is missing or not a genotype.
        """
        return cls.from_dict(read_json(path), str(path))

    def __str__(self) -> str:
        chosen = [f"{label}={_short(choice)}" for label, choice in self.choices.items()]
        return " ".join(chosen) or "no choices"


def check_provenance(provenance: Any, where: str) -> dict[str, Any]:
    """Return a provenance from a file, if it has the form in which srnas writes one.

    Args:
        provenance: Options, versions, validation ("val") and step of a run, as far as given.
        where: Name of the source in error messages.

    Raises:
        UserError: It or one of these parts has another type.
    """
    try:
        _PROVENANCE.validate_python(provenance)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("provenance", *first["loc"])))
        raise UserError(f"{where}: {one_line(place, 100)}: {first['msg']}") from error
    known: dict[str, Any] = provenance
    return known


class _Provenance(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]
    options: dict[str, Any]
    versions: dict[str, str]
    val: dict[str, float]
    step: int


_PROVENANCE = TypeAdapter(_Provenance)


def _short(choice: Any) -> str:
    if not isinstance(choice, list):
        return str(choice)
    if choice and isinstance(choice[0], str):  # a candidate and its input
        return "~".join(map(str, choice))
    return ",".join(map(_short, choice))
