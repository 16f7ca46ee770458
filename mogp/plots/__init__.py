"""Figures of results, all in one style: pruned networks, training, calibration of predictions.

Every function draws on Matplotlib axes, those that you pass as `ax=` or new ones, and returns them:
`plots.error_curves(errors).figure.savefig("errors.png")`.
"""

from mogp.plots._predictions import rank_histogram, reliability
from mogp.plots._style import BLUE, GREY, ORANGE, STYLES, Style, number_ticks, panels, tidy
from mogp.plots._training import Line, error_curves, pruning_curves

__all__ = [
    "BLUE",
    "GREY",
    "Line",
    "ORANGE",
    "STYLES",
    "Style",
    "error_curves",
    "number_ticks",
    "panels",
    "pruning_curves",
    "rank_histogram",
    "reliability",
    "tidy",
]
