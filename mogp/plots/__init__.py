"""Figures of results, all in one style: pruned networks, training, predictions, chains.

Every function draws on Matplotlib axes, those that you pass as `ax=` or new ones, and returns them:
`plots.error_curves(errors).figure.savefig("errors.png")`.
"""

from mogp.plots._chains import before_after, rank_densities, traces
from mogp.plots._predictions import (
    band,
    confusion,
    predicted_observed,
    rank_histogram,
    reliability,
)
from mogp.plots._style import (
    BLUE,
    GREY,
    ORANGE,
    STYLES,
    Style,
    number_ticks,
    panels,
    tidy,
)
from mogp.plots._training import Line, error_curves, pruning_curves

__all__ = [
    "BLUE",
    "GREY",
    "Line",
    "ORANGE",
    "STYLES",
    "Style",
    "band",
    "before_after",
    "confusion",
    "error_curves",
    "number_ticks",
    "panels",
    "predicted_observed",
    "pruning_curves",
    "rank_densities",
    "rank_histogram",
    "reliability",
    "tidy",
    "traces",
]
