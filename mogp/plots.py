"""Figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

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
    axes.legend(frameon=False, loc="upper right", fontsize="small", title="after the last epoch")
    return figure


def evolution(datasets: Sequence[xr.Dataset], *, title: str = "") -> Figure:
    """Paths of components or neurons from a grey start to a coloured end, and how far they moved.

    Each panel shows the plane in which the law of directions varies most at the end; ellipses
    hold the directions within one standard deviation of a component.

    Args:
        datasets: four, with `path`, `covariance`, `moved`, `explained` as `gm-evolution` writes.
        title: title of the figure.
    """
    figure = Figure(figsize=(10.5, 6.6), layout="constrained")
    places = figure.subplot_mosaic([["0", "1", "moved"], ["2", "3", "moved"]])
    for place, (data, (colour, _, dashes)) in enumerate(zip(datasets, _STYLES, strict=False)):
        axes, label = places[str(place)], data.attrs["label"]
        path, covariance = data["path"].values, data["covariance"].values
        ellipses = covariance.any()
        shown = np.linspace(0, path.shape[1] - 1, min(path.shape[1], 150)).astype(int)
        axes.plot(*path[:, shown].transpose(2, 0, 1), color=colour, alpha=0.5, linewidth=0.8)
        axes.plot(*path[0, shown].T, "o", color="0.6", markersize=2.5)
        axes.plot(*path[-1, shown].T, "o", color=colour, markersize=3.5)
        if ellipses:
            for k in shown:
                _ellipse(axes, path[0, k], covariance[0, k], "0.7", 0.0)
                _ellipse(axes, path[-1, k], covariance[-1, k], colour, 0.15)
        shares = 100 * data["explained"].values
        axes.set_xlabel(f"first component, {shares[0]:.0f} % of variance", fontsize="small")
        axes.set_ylabel(f"second, {shares[1]:.0f} %", fontsize="small")
        axes.tick_params(labelsize="small")
        some = f" (150 of {path.shape[1]} shown)" if path.shape[1] > 150 else ""
        axes.set_title(f"{label}{some}", fontsize="medium")
        axes.set_aspect("equal", adjustable="datalim")
        epochs, moved = data["epoch"].values[1:], data["moved"].values[1:]
        places["moved"].plot(
            epochs, moved, color=colour, linestyle=dashes, linewidth=1.6, label=label
        )
    axes = places["moved"]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_title("distance moved / size at the start", fontsize="medium")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(frameon=False, fontsize="small")
    figure.suptitle(f"{title}: directions β from the start (grey) to the end (colour)")
    return figure


def _ellipse(
    axes: Axes, centre: np.ndarray, covariance: np.ndarray, colour: str, fill: float
) -> None:
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
    face = (*to_rgb(colour), fill)
    axes.add_patch(
        Ellipse(
            (centre[0], centre[1]),
            width,
            height,
            angle=angle,
            facecolor=face,
            edgecolor=colour,
            linewidth=0.8,
        )
    )


__all__ = ["Line", "error_curves", "evolution", "pruning_curves"]
