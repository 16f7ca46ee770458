"""Making networks smaller: rankings of nodes, pruning curves, compaction."""

from mogp.pruning._compact import check_keep, compact, mask, num_kept
from mogp.pruning._curve import KEEP, Curve, curve
from mogp.pruning._rank import RANKS, scores

__all__ = ["KEEP", "RANKS", "Curve", "check_keep", "compact", "curve", "mask", "num_kept", "scores"]
