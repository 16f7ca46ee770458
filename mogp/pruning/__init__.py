"""Making networks smaller: rankings of nodes, budgets, repair, curves, compaction, files."""

from mogp.pruning._budget import BUDGETS, check_keep, num_kept, select
from mogp.pruning._compact import compact, mask
from mogp.pruning._curve import KEEP, Curve, curve
from mogp.pruning._rank import RANKS, scores

__all__ = [
    "BUDGETS",
    "KEEP",
    "RANKS",
    "Curve",
    "check_keep",
    "compact",
    "curve",
    "mask",
    "num_kept",
    "scores",
    "select",
]
