"""Figures of posteriors: predictions, calibration, chains, unknowns before and after the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

_ORANGE, _BLUE, _GREY = "#D55E00", "#0072B2", "0.55"
_CHAINS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def band(
    x: np.ndarray,
    predicted: pd.DataFrame,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
) -> Figure:
    """Predictions along one input: mean and 90 % interval of an observation.

    Args:
        x: increasing, of shape (n,).
        predicted: with columns `mean`, `q05`, `q95` and n rows.
        points: name in the legend = inputs and observations; the first are dots, others rings.
        x_label: name of the input.
        y_label: name of the target.
        title: title of the figure.
    """
    figure, axes = _figure(x_label, y_label, title)
    low, high = predicted["q05"].to_numpy(), predicted["q95"].to_numpy()
    axes.fill_between(x, low, high, color=_BLUE, alpha=0.18, linewidth=0, label="90 % interval")
    axes.plot(x, predicted["mean"].to_numpy(), color=_BLUE, linewidth=1.6, label="mean")
    looks: tuple[dict[str, Any], ...] = (
        {"color": "black"},
        {"facecolors": "white", "edgecolors": _ORANGE},
    )
    for (name, (u, v)), look in zip(points.items(), looks, strict=False):
        axes.scatter(u, v, s=16, zorder=3, linewidths=1.1, label=name, **look)
    axes.legend(frameon=False, fontsize="small")
    return figure


def predicted_observed(
    predicted: pd.DataFrame, observed: np.ndarray, *, label: str, title: str = ""
) -> Figure:
    """Observations against predictions with 90 % intervals; on the line they agree.

    Args:
        predicted: with columns `mean`, `q05`, `q95` and n rows.
        observed: of shape (n,).
        label: name of the target.
        title: title of the figure.
    """
    figure, axes = _figure(
        f"{label}, predicted mean and 90 % interval", f"{label}, observed", title
    )
    mean, low, high = (predicted[name].to_numpy() for name in ("mean", "q05", "q95"))
    inside = (observed >= low) & (observed <= high)
    ends = [min(observed.min(), mean.min()), max(observed.max(), mean.max())]
    axes.plot(ends, ends, color=_GREY, linewidth=1, zorder=1)
    for kind, colour, name in ((inside, _BLUE, "inside"), (~inside, _ORANGE, "outside")):
        text = f"{kind.sum()} of {len(kind)} {name} their interval"
        axes.hlines(observed[kind], low[kind], high[kind], color=colour, alpha=0.25, linewidth=1)
        axes.scatter(mean[kind], observed[kind], s=14, color=colour, zorder=3, label=text)
    axes.legend(frameon=False, fontsize="small")
    return figure


def confusion(
    shares: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], *, title: str = ""
) -> Figure:
    """How many rows of each class were taken for which.

    Args:
        shares: probabilities of the classes, of shape (n, len(classes)).
        labels: classes of the rows, in [0, len(classes)), of shape (n,).
        classes: their names.
        title: title of the figure.
    """
    figure, axes = _figure("most probable class", "class", title)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, shares.argmax(1)), 1)
    rows = np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(counts / rows, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            dark = counts[i, j] > rows[i, 0] / 2
            colour = "white" if dark else "black"
            axes.text(j, i, str(count), ha="center", va="center", color=colour, fontsize="small")
    ticks = range(len(classes))
    long = max(map(len, classes)) > 4
    axes.set_xticks(ticks, classes, rotation=60 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, classes)
    axes.grid(visible=False)
    return figure


def rank_histogram(ranks: np.ndarray, *, title: str = "") -> Figure:
    """Where observations lie among the predictions: level if these are calibrated.

    A heap in the middle means intervals that are too wide, heaps at the ends too narrow ones.

    Args:
        ranks: in (0, 1), of shape (n,).
        title: title of the figure.
    """
    from scipy import stats

    figure, axes = _figure("share of draws below the observation", "rows", title)
    bins = int(np.clip(len(ranks) // 8, 4, 20))
    counts, edges = np.histogram(ranks, bins=bins, range=(0, 1))
    looks: dict[str, Any] = {"color": _BLUE, "alpha": 0.55, "edgecolor": "white"}
    axes.bar(edges[:-1], counts, width=1 / bins, align="edge", **looks)
    low, high = stats.binom.interval(0.9, len(ranks), 1 / bins)
    axes.axhspan(low, high, color="0.85", zorder=0, label="90 % of bins if calibrated")
    axes.axhline(len(ranks) / bins, color=_GREY, linewidth=1, zorder=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.25 * max(counts.max(), high))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small")
    return figure


def reliability(shares: np.ndarray, labels: np.ndarray, *, title: str = "") -> Figure:
    """How often the most probable class was right, against its probability.

    Bins hold equally many rows; bars are 90 % intervals (Jeffreys) of the share that was right.

    Args:
        shares: probabilities of the classes, of shape (n, classes).
        labels: classes of the rows, of shape (n,).
        title: title of the figure.
    """
    from scipy import stats

    text = "probability of the most probable class"
    figure, axes = _figure(text, "share of rows where it is right", title)
    sure, right = shares.max(1), shares.argmax(1) == labels
    order = np.argsort(sure, kind="stable")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, label="calibrated")
    for k, rows in enumerate(np.array_split(order, int(np.clip(len(order) // 15, 1, 10)))):
        hits, misses = right[rows].sum(), (~right[rows]).sum()
        low, high = stats.beta.ppf([0.05, 0.95], hits + 0.5, misses + 0.5)
        mean, centre = sure[rows].mean(), hits / len(rows)
        axes.vlines(mean, low, high, color=_BLUE, linewidth=1.4)
        label = f"about {len(rows)} rows a bin" if k == 0 else None
        axes.scatter(mean, centre, s=26, color=_BLUE, zorder=3, label=label)
    axes.set_xlim(min(0.98 * sure.min(), 0.95), 1.01)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def chains(values: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draws of unknowns in order, and the ranks of each chain's draws among all.

    Chains that agree look alike on the left, and have level histograms on the right.

    Args:
        values: name = draws, of shape (chains, draws).
        title: title of the figure.
    """
    figure = Figure(figsize=(9, 0.5 + 1.7 * len(values)), layout="constrained")
    panels = figure.subplots(len(values), 2, squeeze=False)
    for (name, draws), (left, right) in zip(values.items(), panels, strict=True):
        num_chains, num = draws.shape
        ranks = np.argsort(np.argsort(draws, axis=None)).reshape(draws.shape) / draws.size
        bins = int(np.clip(num // 20, 4, 20))
        for k, colour in zip(range(num_chains), _CHAINS * num_chains, strict=False):
            left.plot(draws[k], color=colour, linewidth=0.5, alpha=0.8)
            counts, edges = np.histogram(ranks[k], bins=bins, range=(0, 1))
            right.stairs(counts * bins / num, edges, baseline=None, color=colour, linewidth=1.3)
        right.axhline(1, color=_GREY, linewidth=0.8, linestyle="--")
        right.set_ylim(0, None)
        left.set_ylabel(name, fontsize="small")
        for axes in (left, right):
            axes.tick_params(labelsize="x-small")
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_title("draws of each chain, in order", fontsize="small")
    panels[0, 1].set_title("density of their ranks among all draws", fontsize="small")
    panels[-1, 0].set_xlabel("draw", fontsize="small")
    panels[-1, 1].set_xlabel("rank / number of draws", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure


def before_after(
    prior: Mapping[str, np.ndarray], posterior: Mapping[str, np.ndarray], *, title: str = ""
) -> Figure:
    """Densities of positive unknowns before and after the data, on a logarithmic axis.

    Curves are kernel estimates of the density of the logarithm.

    Args:
        prior: name = draws, of any shape.
        posterior: the same names.
        title: title of the figure.
    """
    from scipy import stats

    columns = min(3, len(posterior))
    rows = -(-len(posterior) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.6 + 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, posterior, strict=False):
        logs = [np.log10(np.ravel(draws[name])) for draws in (prior, posterior)]
        ends = np.quantile(logs[0], [0.005, 0.995])
        low, high = min(ends[0], logs[1].min()), max(ends[1], logs[1].max())
        looks = ((_GREY, "prior", 0.25), (_BLUE, "posterior", 0.45))
        grid = np.linspace(low, high, 200)
        for draws, (colour, label, alpha) in zip(logs, looks, strict=True):
            height = stats.gaussian_kde(draws)(grid)
            axes.fill_between(10**grid, height, color=colour, alpha=alpha, label=label, linewidth=0)
        axes.set_title(name, fontsize="small")
        axes.set_yticks([])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high - low < 2 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, None)
        axes.tick_params(labelsize="x-small")
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in panels[len(posterior) :]:
        axes.remove()
    panels[0].legend(frameon=False, fontsize="x-small")
    figure.suptitle(title, fontsize="medium")
    return figure


def _figure(x_label: str, y_label: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize="medium")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


__all__ = [
    "band",
    "before_after",
    "chains",
    "confusion",
    "predicted_observed",
    "rank_histogram",
    "reliability",
]
