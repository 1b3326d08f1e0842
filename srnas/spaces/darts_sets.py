"""The candidates at each edge of a DARTS cell, in the order of the logits.

- full: The eight operations of DARTS.
- s1 to s4: The reduced sets of Zela et al., Understanding and Robustifying Differentiable
  Architecture Search, ICLR 2020 (RobustDARTS), after its released code.
- s5: The seven operations other than "none", as in the code of SmoothDARTS (Chen, Hsieh, ICML
  2020).
- three: The set of the loss landscapes in DARTS- (Chu et al., ICLR 2021).
"""

from srnas.choice import Candidates
from srnas.primitives.darts import DARTS_PRIMITIVES

NODES = (2, 3, 4, 5)  # 0 and 1 are the cell's inputs
EDGES = [(node, source) for node in NODES for source in range(node)]

_FULL = [
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
]
_SAME_EVERYWHERE = {
    "full": _FULL,
    "s2": ["skip_connect", "sep_conv_3x3"],
    "s3": ["none", "skip_connect", "sep_conv_3x3"],
    "s4": ["noise", "sep_conv_3x3"],
    "s5": _FULL[1:],
    "three": ["skip_connect", "avg_pool_3x3", "sep_conv_3x3"],
}
_SHORT = {
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "s3": "sep_conv_3x3",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
}
_S1 = {  # one line per node
    "normal": """
        sk,d3 sk,d5
        sk,d5 sk,s3 sk,d3
        mp,sk sk,s3 sk,s3 sk,d3
        sk,s3 mp,sk sk,d3 d3,d5 d3,d5
    """,
    "reduce": """
        mp,ap mp,d3
        mp,ap mp,ap sk,d5
        mp,ap mp,s3 sk,d3 sk,d5
        mp,ap mp,ap sk,d5 sk,d5 sk,d5
    """,
}


def edge_candidates(space_set: str, cell: str) -> dict[int, list[Candidates]]:
    """Return the candidates of a cell's edges.

    Args:
        space_set: Name of the set.
        cell: "normal" or "reduce".

    Returns:
        For each node, the candidates of its edges in the order of the inputs.
    """
    if space_set == "s1":
        names = [[_SHORT[short] for short in edge.split(",")] for edge in _S1[cell].split()]
    else:
        names = [_SAME_EVERYWHERE[space_set]] * len(EDGES)
    tables: dict[int, list[Candidates]] = {node: [] for node in NODES}
    for (node, _), edge in zip(EDGES, names, strict=True):
        tables[node].append({name: DARTS_PRIMITIVES[name] for name in edge})
    return tables
