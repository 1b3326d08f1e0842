"""Space options from other sources than YAML: flags, genotypes, model files."""

from typing import Any

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.parts import Part
from srnas.spaces import SPACES


def check_space(space: Any, where: str) -> dict[str, Any]:
    """Check a space's options as YAML's are checked; `where` names them in errors."""
    try:
        return Part(SPACES).check(space)
    except ValueError as error:
        raise UserError(f"{where}: space: {error}") from error


def genotype_space(genotype: Genotype, **changes: Any) -> dict[str, Any]:
    """The space options that a genotype's search used, with changes (such as the scale)."""
    made_with = genotype.provenance.get("options", {}).get("space", {"name": genotype.space})
    return check_space({**made_with, **changes}, "genotype")
