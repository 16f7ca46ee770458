"""Making networks smaller: rankings of nodes, budgets, repair, curves, compaction, files."""

from mogp.pruning._budget import BUDGETS, check_keep, num_kept, select
from mogp.pruning._compact import compact, mask
from mogp.pruning._curve import KEEP, Curve, curve
from mogp.pruning._export import Cost, load, measure, save
from mogp.pruning._posterior import PosteriorCurve, compact_posterior, posterior_curve
from mogp.pruning._rank import RANKS, scores

__all__ = [
    "BUDGETS",
    "KEEP",
    "RANKS",
    "Cost",
    "Curve",
    "PosteriorCurve",
    "check_keep",
    "compact",
    "compact_posterior",
    "curve",
    "load",
    "mask",
    "measure",
    "num_kept",
    "posterior_curve",
    "save",
    "scores",
    "select",
]
