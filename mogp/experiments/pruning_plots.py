"""Figures of pruning: scores against size, and what the top nodes look at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from mogp.pruning import num_kept

# Okabe and Ito's colours; a prior has a colour, a rule a dash.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[tuple[str, Any], ...] = (("o", "-"), ("s", (0, (4, 1.5))), ("^", ":"), ("D", "-."))


class Line(NamedTuple):
    """One line in `size_curves`.

    Attributes:
        label: name in the legend; what stands before `": "` decides the colour, what stands behind
            it the dashes; a name without is drawn in black.
        keep: fractions of nodes kept, in (0, 1].
        accuracy: in [0, 1], shape (len(keep), runs).
        nll: in nats, of the same shape.
    """

    label: str
    keep: np.ndarray[Any, Any]
    accuracy: np.ndarray[Any, Any]
    nll: np.ndarray[Any, Any]


def size_curves(lines: Sequence[Line], *, width: int | None = None, title: str = "") -> Figure:
    """Test accuracy and negative log-likelihood against the share of nodes kept, logarithmic.

    Lines are means over runs (or draws of a posterior), bands one standard deviation to each side.

    Args:
        lines: what to draw.
        width: nodes of a hidden layer, to write numbers of nodes under the fractions.
        title: title of the figure.
    """
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    fractions = np.unique(np.concatenate([line.keep for line in lines]))
    kinds = list(dict.fromkeys(line.label.split(": ")[0] for line in lines if ": " in line.label))
    rules: dict[str, int] = {}
    for line in lines:
        kind, _, rule = line.label.partition(": ")
        marker, dashes = _DASHES[rules.setdefault(rule, len(rules)) % len(_DASHES)]
        colour = _COLOURS[kinds.index(kind) % len(_COLOURS)] if rule else "black"
        style = {"color": colour, "marker": marker, "linestyle": dashes, "label": line.label}
        _draw(left, line.keep, 100 * line.accuracy, (0.0, 100.0), style)
        _draw(right, line.keep, line.nll, (1e-3, np.inf), style)
    for axes in (left, right):
        _by_size(axes, fractions, width)
    left.set_ylim(0, 102)
    left.set_ylabel("test accuracy (%)")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    right.yaxis.set_minor_formatter("{x:g}")
    right.set_ylabel("test negative log-likelihood (nats), logarithmic")
    left.set_title(title, fontsize="medium", loc="left")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
        fontsize="small",
    )  # fmt: skip
    return figure


def _draw(
    axes: Axes, keep: Any, values: Any, bounds: tuple[float, float], style: dict[str, Any]
) -> None:
    mean, sd = values.mean(axis=1), values.std(axis=1)
    low, high = (np.clip(v, *bounds) for v in (mean - sd, mean + sd))
    axes.fill_between(keep, low, high, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(keep, np.clip(mean, *bounds), markersize=4, linewidth=1.5, **style)


def _by_size(axes: Axes, fractions: np.ndarray[Any, Any], width: int | None) -> None:
    axes.set_xscale("log")
    axes.set_xlim(fractions.max() * 1.15, fractions.min() / 1.15)
    axes.xaxis.set_major_locator(FixedLocator(list(fractions)))
    axes.xaxis.set_minor_locator(NullLocator())
    nodes = [f"\n{num_kept(f, width)}" if width else "" for f in fractions]
    axes.set_xticklabels([f"{100 * f:g} %{n}" for f, n in zip(fractions, nodes, strict=True)])
    axes.tick_params(labelsize="small")
    axes.set_xlabel("hidden nodes kept" + (", share and number in each layer" if width else ""))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def node_images(weights: Mapping[str, np.ndarray[Any, Any]], *, title: str = "") -> Figure:
    """Incoming weights of nodes as images, a row of nodes each; blue is negative, red positive.

    Args:
        weights: name of the row = weights of nodes, shape (nodes, pixels); images are square.
        title: title of the figure.

    Raises:
        ValueError: if a number of pixels is not a square.
    """
    columns = max(len(rows) for rows in weights.values())
    size = (0.9 * columns + 1.4, 1.0 * len(weights) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(len(weights), columns, squeeze=False)
    for axes in places.ravel():
        axes.set_axis_off()
    for row, (name, nodes) in zip(places, weights.items(), strict=True):
        side = round(nodes.shape[1] ** 0.5)
        if side**2 != nodes.shape[1]:
            raise ValueError(f"weights must be of square images, got {nodes.shape[1]} pixels")
        for axes, node in zip(row, nodes, strict=False):
            most = np.abs(node).max()
            axes.imshow(node.reshape(side, side), cmap="RdBu_r", vmin=-most, vmax=most)
        row[0].text(
            -0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize="small"
        )
    figure.suptitle(title, fontsize="medium")
    return figure


__all__ = ["Line", "node_images", "size_curves"]
