"""What makes a network searchable: builders, alphas and their relaxation, and genotypes."""

from srnas.choice.builder import Builder, DerivedBuilder, RelaxedBuilder
from srnas.choice.choice import Choice
from srnas.choice.depth import DepthChoice
from srnas.choice.edges import run_nodes
from srnas.choice.genotype import Genotype
from srnas.choice.inputs import InputChoice
from srnas.choice.mixed_op import MixedOp
from srnas.choice.node import NodeChoice
from srnas.choice.open_choices import Choices, OpenChoices
from srnas.choice.operation import OpChoice
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates, Primitive
from srnas.choice.relaxations import RELAXATIONS, Relaxation
from srnas.choice.space import ScoreTable, Space
from srnas.choice.supernet import Supernet
from srnas.choice.width import WidthChoice

__all__ = [
    "RELAXATIONS",
    "Builder",
    "Candidates",
    "Choice",
    "Choices",
    "DepthChoice",
    "DerivedBuilder",
    "Genotype",
    "InputChoice",
    "MixedOp",
    "NodeChoice",
    "OpChoice",
    "OpenChoices",
    "Place",
    "Primitive",
    "Relaxation",
    "RelaxedBuilder",
    "ScoreTable",
    "Space",
    "Supernet",
    "WidthChoice",
    "run_nodes",
]
