"""Figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mogp.pruning import num_kept

# Okabe and Ito's colours with distinct markers and dashes: readable in grey and by everyone.
_STYLES = (
    ("#D55E00", "s", "-"),
    ("#0072B2", "o", "-"),
    ("#009E73", "^", "--"),
    ("#CC79A7", "D", "-."),
    ("#E69F00", "v", ":"),
    ("#56B4E9", "P", "--"),
)


class Line(NamedTuple):
    """One model in `pruning_curves`.

    Attributes:
        label: name in the legend.
        keep: fractions of nodes kept, in (0, 1]; a single 1 for a model that is not pruned.
        accuracy: shape (len(keep), seeds), in [0, 1].
    """

    label: str
    keep: np.ndarray
    accuracy: np.ndarray


def pruning_curves(lines: Sequence[Line], *, width: int | None = None, title: str = "") -> Figure:
    """Test accuracy against the fraction of hidden nodes kept.

    Lines are means over seeds, bands one standard deviation to each side. A model that is not
    pruned is a level line in black.

    Args:
        lines: what to draw, at most six pruned models.
        width: nodes of a hidden layer, to write numbers of nodes under the fractions.
        title: title of the figure.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    pruned = [line for line in lines if len(line.keep) > 1]
    for line, style in zip(pruned, _STYLES, strict=False):
        _draw(axes, line, style)
    fractions = np.unique(np.concatenate([line.keep for line in lines]))
    for line in lines:
        if len(line.keep) == 1:
            flat = np.broadcast_to(line.accuracy, (len(fractions), line.accuracy.shape[-1]))
            _draw(axes, Line(line.label, fractions, flat), ("black", "", (0, (1, 1.2))))

    axes.set_xscale("log")
    axes.set_xlim(fractions.max() * 1.12, fractions.min() / 1.12)
    axes.xaxis.set_major_locator(FixedLocator(list(fractions)))
    axes.xaxis.set_minor_locator(NullLocator())
    nodes = [f"\n{num_kept(f, width)}" if width else "" for f in fractions]
    axes.set_xticklabels([f"{100 * f:g} %{n}" for f, n in zip(fractions, nodes, strict=True)])
    axes.set_xlabel("hidden nodes kept" + (", share and number in each layer" if width else ""))
    axes.set_ylim(0, 102)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize="medium")
    axes.legend(frameon=False, loc="lower left", fontsize="small")
    return figure


def _draw(axes: Axes, line: Line, style: tuple[str, str, Any]) -> None:
    colour, marker, dashes = style
    mean, sd = 100 * line.accuracy.mean(axis=-1), 100 * line.accuracy.std(axis=-1)
    axes.fill_between(line.keep, mean - sd, mean + sd, color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        line.keep,
        mean,
        color=colour,
        marker=marker,
        linestyle=dashes,
        markersize=5,
        linewidth=1.6,
        label=line.label,
    )


__all__ = ["Line", "pruning_curves"]
