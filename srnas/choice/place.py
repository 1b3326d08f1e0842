"""The place of a choice in a network."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Place:
    """The place of one open choice in a network.

    All modules that ask for the same place share one choice, and one row of alphas.

    Attributes:
        group: Cell type that the choice belongs to ("normal"), or "" in a network without cell
            types. The alphas of one group form one matrix, as in the papers.
        node: Name of the operation, of the layer whose inputs are chosen, or of the node.
        input: Index of the input (from 0) for an edge of a node, None otherwise.

    >>> str(Place.of("c1"))
    'c1'
    >>> str(Place("normal", "3").edge(0))
    'normal/3<-0'
    """

    group: str
    node: str
    input: int | None = None

    @classmethod
    def of(cls, place: "Place | str") -> "Place":
        """Return `place` itself, or for a plain name the place of this name without a group."""
        return place if isinstance(place, Place) else cls("", place)

    @property
    def everywhere(self) -> "Place":
        """The place of this name without a group."""
        return replace(self, group="")

    @classmethod
    def named(cls, label: str) -> "Place":
        """Return the place of a label without an input: "c1" or "block1/c1"."""
        group, _, node = label.rpartition("/")
        return cls(group, node)

    def edge(self, index: int) -> "Place":
        """Return the place of the edge from input number `index` to this node."""
        return replace(self, input=index)

    def __str__(self) -> str:
        """Return the label that is used in checkpoints, logs and messages."""
        label = f"{self.group}/{self.node}" if self.group else self.node
        return label if self.input is None else f"{label}<-{self.input}"
