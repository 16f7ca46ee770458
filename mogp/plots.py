"""Figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

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


def error_curves(errors: dict[str, np.ndarray], *, title: str = "") -> Figure:
    """Test error against epochs: means over seeds, bands one standard deviation to each side.

    Args:
        errors: name in the legend = errors in [0, 1], shape (epochs, seeds); at most six.
        title: title of the figure.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for (label, values), (colour, _, dashes) in zip(errors.items(), _STYLES, strict=False):
        mean, sd = 100 * values.mean(axis=1), 100 * values.std(axis=1)
        epochs = np.arange(1, len(mean) + 1)
        low = np.maximum(mean - sd, mean / 2)  # an error has no negative part on a log axis
        axes.fill_between(epochs, low, mean + sd, color=colour, alpha=0.18, linewidth=0)
        text = f"{label}: {mean[-1]:.1f} ± {sd[-1]:.1f} %"
        axes.plot(epochs, mean, color=colour, linestyle=dashes, linewidth=1.6, label=text)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("test error (%), logarithmic")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize="medium")
    axes.legend(
        frameon=False,
        loc="upper right",
        fontsize="small",
        title="after the last epoch",
        title_fontsize="small",
    )
    return figure


def evolution(datasets: Sequence[xr.Dataset], *, title: str = "") -> Figure:
    """Paths of components or neurons from start to end, and how far their law has moved.

    Each panel shows the plane in which the law of directions varies most at the end. Colours run
    from yellow at the start to dark blue at the end; rings are starts, dots are ends. Ellipses hold
    the directions within one standard deviation of a component, broken lines at the start.

    Args:
        datasets: up to four, as `gm-evolution` writes them: `path`, `covariance`, `moved`,
            `explained`, and the attributes `label` and, if there is one, `test_error` in [0, 1].
        title: title of the figure.
    """
    figure = Figure(figsize=(11.5, 6.8), layout="constrained")
    places = figure.subplot_mosaic([["0", "1", "moved"], ["2", "3", "moved"]])
    for empty in "0123"[len(datasets) :]:
        places[empty].remove()
    for place, data, (colour, _, dashes) in zip("0123", datasets, _STYLES, strict=False):
        _draw_paths(places[place], data)
        epochs, moved = data["epoch"].values[1:], data["moved"].values[1:]
        places["moved"].plot(
            epochs, moved, color=colour, linestyle=dashes, linewidth=1.8, label=data.attrs["label"]
        )
    axes = places["moved"]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("epoch")
    axes.set_title("distance moved / size at the start", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.suptitle(f"{title}: directions β from the start (rings) to the end (dots)")
    return figure


def _draw_paths(axes: Axes, data: xr.Dataset) -> None:
    """One panel of `evolution`."""
    path, covariance = data["path"].values, data["covariance"].values
    times, count = path.shape[:2]
    shown = np.linspace(0, count - 1, min(count, 150)).astype(int)
    few = len(shown) <= 30
    shades = colormaps["plasma_r"](0.1 + 0.9 * np.linspace(0, 1, times))
    if covariance.any():
        for k in shown:
            _ellipse(axes, path[0, k], covariance[0, k], edgecolor="0.65", linestyle="--")
            _ellipse(axes, path[-1, k], covariance[-1, k], facecolor=(*shades[-1][:3], 0.12))
            _ellipse(axes, path[-1, k], covariance[-1, k], edgecolor=shades[-1])
    segments = np.stack([path[:-1, shown], path[1:, shown]], axis=2)  # (times - 1, k, 2, 2)
    for shade, piece in zip(shades[1:], segments, strict=True):
        width = 2.0 if few else 0.7
        axes.add_collection(LineCollection(list(piece), colors=[shade], linewidths=width))
    size = 28 if few else 7
    (x, y), (u, v) = path[0, shown].T, path[-1, shown].T
    axes.scatter(x, y, s=size, facecolors="white", edgecolors="0.55", linewidths=0.8)
    axes.scatter(u, v, s=size, color=[shades[-1]], zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize="x-small")
    shares = 100 * data["explained"].values
    axes.set_xlabel(f"first principal component, {shares[0]:.0f} % of variance", fontsize="small")
    axes.set_ylabel(f"second, {shares[1]:.0f} %", fontsize="small")
    text = data.attrs["label"]
    if "test_error" in data.attrs:
        text += f"\ntest error {100 * data.attrs['test_error']:.1f} %"
    if len(shown) < count:
        text += f", {len(shown)} of {count} shown"
    axes.set_title(text, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _ellipse(axes: Axes, centre: np.ndarray, covariance: np.ndarray, **style: Any) -> None:
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
    style = {"facecolor": "none", "edgecolor": "none", "linewidth": 0.9} | style
    axes.add_patch(Ellipse((centre[0], centre[1]), width, height, angle=angle, **style))


__all__ = ["Line", "error_curves", "evolution", "pruning_curves"]
