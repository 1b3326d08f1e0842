"""What makes a network searchable: builders, alphas and their relaxation, and genotypes."""

from srnas.choice.builder import Builder, Derived, Relaxed
from srnas.choice.edges import run_nodes
from srnas.choice.genotype import Genotype
from srnas.choice.mixed_op import MixedOp
from srnas.choice.open_choices import Choices, Link, Node, OpenChoices, Position
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates, Primitive
from srnas.choice.relaxations import RELAXATIONS, Relaxation
from srnas.choice.space import ScoreTable, Space
from srnas.choice.supernet import Supernet

__all__ = [
    "RELAXATIONS",
    "Builder",
    "Candidates",
    "Choices",
    "Derived",
    "Genotype",
    "Link",
    "MixedOp",
    "Node",
    "OpenChoices",
    "Place",
    "Position",
    "Primitive",
    "Relaxation",
    "Relaxed",
    "ScoreTable",
    "Space",
    "Supernet",
    "run_nodes",
]
