"""What makes a network searchable: the two builders, alphas, relaxations, genotypes."""

from srnas.choice.builder import (
    Candidates,
    Derived,
    LinkPosition,
    Position,
    Primitive,
    Relaxed,
)
from srnas.choice.edges import EdgeGroup
from srnas.choice.genotype import Genotype
from srnas.choice.relaxations import RELAXATIONS, Relaxation
from srnas.choice.supernet import Supernet

__all__ = [
    "RELAXATIONS",
    "Candidates",
    "Derived",
    "EdgeGroup",
    "Genotype",
    "LinkPosition",
    "Position",
    "Primitive",
    "Relaxation",
    "Relaxed",
    "Supernet",
]
