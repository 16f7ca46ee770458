"""The pictures of a report, on axes in the style of the library."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mogp.plots import BLUE, GREY, ORANGE, STYLES, number_ticks, tidy


def band(
    ax: Axes, x: np.ndarray, mean: np.ndarray, interval: np.ndarray,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> None:  # fmt: skip
    """Means and intervals along one input; the first set of points are dots, the second rings."""
    ax.fill_between(x, *interval, color=BLUE, alpha=0.18, linewidth=0, label="90 % interval")
    ax.plot(x, mean, color=BLUE, linewidth=1.6, label="mean")
    looks: tuple[dict[str, Any], ...] = (
        {"color": "black"},
        {"facecolors": "white", "edgecolors": ORANGE},
    )
    for (name, (u, v)), look in zip(points.items(), looks, strict=False):
        ax.scatter(u, v, s=16, zorder=3, linewidths=1.1, label=name, **look)
    tidy(ax)


def predicted_observed(
    ax: Axes, mean: np.ndarray, interval: np.ndarray, observed: np.ndarray, label: str
) -> None:
    """Observations against predictions with intervals; on the line they agree."""
    low, high = interval
    inside = (observed >= low) & (observed <= high)
    ends = [min(observed.min(), mean.min()), max(observed.max(), mean.max())]
    ax.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
    for kind, colour, name in ((inside, BLUE, "inside"), (~inside, ORANGE, "outside")):
        text = f"{kind.sum()} of {len(kind)} {name} their interval"
        ax.hlines(observed[kind], low[kind], high[kind], color=colour, alpha=0.25, linewidth=1)
        ax.scatter(mean[kind], observed[kind], s=14, color=colour, zorder=3, label=text)
    tidy(ax, f"{label}, predicted mean and 90 % interval", f"{label}, observed")


def confusion(
    ax: Axes, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """How many rows of each class were taken for which class."""
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, probabilities.argmax(1)), 1)
    rows = np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(counts / rows, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            colour = "white" if counts[i, j] > rows[i, 0] / 2 else "black"
            ax.text(j, i, str(count), ha="center", va="center", color=colour, fontsize="small")
    long = max(map(len, classes)) > 4
    turned: dict[str, Any] = {"rotation": 60, "ha": "right"} if long else {}
    ax.set_xticks(range(len(classes)), classes, **turned)
    ax.set_yticks(range(len(classes)), classes)
    tidy(ax, "most probable class", "class")
    ax.grid(visible=False)


def traces(ax: Axes, draws: np.ndarray, name: str) -> None:
    """An unknown of each chain (chains, draws) in the order of sampling; they should look alike."""
    for k, chain in enumerate(draws):
        ax.plot(chain, color=STYLES[k % len(STYLES)].color, linewidth=0.5, alpha=0.8)
    tidy(ax, "draw", name)


def rank_densities(ax: Axes, draws: np.ndarray) -> None:
    """Histograms of the ranks of each chain's draws among all; level if the chains agree.

    Source: Vehtari et al. (2021), Rank-normalization, folding, and localization, Bayesian
    Analysis 16.
    """
    num = draws.shape[1]
    ranks = np.argsort(np.argsort(draws, axis=None)).reshape(draws.shape) / draws.size
    bins = int(np.clip(num // 20, 4, 20))
    for k, chain in enumerate(ranks):
        counts, edges = np.histogram(chain, bins=bins, range=(0, 1))
        style = STYLES[k % len(STYLES)]
        ax.stairs(counts * bins / num, edges, baseline=None, color=style.color, linewidth=1.3)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    ax.set_ylim(0, None)
    tidy(ax, "rank / number of draws", "")


def before_after(ax: Axes, prior: np.ndarray, posterior: np.ndarray) -> None:
    """Kernel estimates of the density of the logarithm of an unknown before and after the data."""
    from scipy import stats

    logs = [np.log10(np.ravel(draws)) for draws in (prior, posterior)]
    ends = np.quantile(logs[0], [0.005, 0.995])
    low, high = min(ends[0], logs[1].min()), max(ends[1], logs[1].max())
    grid = np.linspace(low, high, 200)
    for draws, colour, label in zip(logs, (GREY, BLUE), ("prior", "posterior"), strict=True):
        height = stats.gaussian_kde(draws)(grid)
        ax.fill_between(10**grid, height, color=colour, alpha=0.4, label=label, linewidth=0)
    ax.set_xscale("log")
    number_ticks(ax.xaxis, (1, 3) if high - low < 2 else (1,))
    ax.set_ylim(0, None)
    tidy(ax)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
