"""Making networks smaller: what is lost, rankings of nodes, pruning curves, compaction."""

from mogp.pruning._compact import check_keep, compact, mask, num_kept
from mogp.pruning._curve import KEEP, Curve, curve
from mogp.pruning._error import PruningError, error
from mogp.pruning._lost import Compressibility, compressibility
from mogp.pruning._nodes_for import NodesFor, nodes_for
from mogp.pruning._rank import RANKS, scores
from mogp.pruning._tails import (
    Ranked,
    Slopes,
    WeightTail,
    hill,
    power_law,
    ranked,
    slopes,
    weight_tails,
)

__all__ = [
    "KEEP",
    "RANKS",
    "Compressibility",
    "Curve",
    "NodesFor",
    "PruningError",
    "Ranked",
    "Slopes",
    "WeightTail",
    "check_keep",
    "compact",
    "compressibility",
    "curve",
    "error",
    "hill",
    "mask",
    "nodes_for",
    "num_kept",
    "power_law",
    "ranked",
    "scores",
    "slopes",
    "weight_tails",
]
