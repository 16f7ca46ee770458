"""Making a trained network smaller: importances, budgets, repair, curves, compaction, files."""

from mogp.pruning.trained._compact import compact, mask, select
from mogp.pruning.trained._curve import KEEP, Curve, curve
from mogp.pruning.trained._files import load, save
from mogp.pruning.trained._importances import IMPORTANCES, importances
from mogp.pruning.trained._network import Cost, cost
from mogp.pruning.trained._options import BUDGETS, Options
from mogp.pruning.trained._posterior import PosteriorCurve, compact_posterior, posterior_curve
from mogp.pruning.trained._tails import Ranked, WeightTail, hill, ranked, weight_tails

__all__ = [
    "BUDGETS",
    "Cost",
    "Curve",
    "IMPORTANCES",
    "KEEP",
    "Options",
    "PosteriorCurve",
    "Ranked",
    "WeightTail",
    "compact",
    "compact_posterior",
    "cost",
    "curve",
    "hill",
    "importances",
    "load",
    "mask",
    "posterior_curve",
    "ranked",
    "save",
    "select",
    "weight_tails",
]
