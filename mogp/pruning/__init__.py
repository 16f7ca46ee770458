"""Making networks smaller: what is lost, rankings, budgets, repair, curves, compaction, files."""

from mogp.pruning._budget import BUDGETS, check_keep, num_kept, select
from mogp.pruning._compact import compact, mask
from mogp.pruning._curve import KEEP, Curve, curve
from mogp.pruning._error import PruningError, error
from mogp.pruning._export import Cost, load, measure, save
from mogp.pruning._lost import Compressibility, compressibility
from mogp.pruning._nodes_for import NodesFor, nodes_for
from mogp.pruning._posterior import PosteriorCurve, compact_posterior, posterior_curve
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
    "BUDGETS",
    "Compressibility",
    "Cost",
    "Curve",
    "KEEP",
    "NodesFor",
    "PosteriorCurve",
    "PruningError",
    "RANKS",
    "Ranked",
    "Slopes",
    "WeightTail",
    "check_keep",
    "compact",
    "compact_posterior",
    "compressibility",
    "curve",
    "error",
    "hill",
    "load",
    "mask",
    "measure",
    "nodes_for",
    "num_kept",
    "posterior_curve",
    "power_law",
    "ranked",
    "save",
    "scores",
    "select",
    "slopes",
    "weight_tails",
]
