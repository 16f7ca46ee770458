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


def residuals(ax: Axes, mean: np.ndarray, observed: np.ndarray, sd: np.ndarray, label: str) -> None:
    """Observed less predicted, in predicted standard deviations; most lie between the lines."""
    ax.scatter(mean, (observed - mean) / sd, s=14, color=BLUE)
    for level, style in ((0, "-"), (-2, "--"), (2, "--")):
        ax.axhline(level, color=GREY, linewidth=1, linestyle=style, zorder=1)
    tidy(ax, f"{label}, predicted mean", "(observed - mean) / sd")


def shares(ax: Axes, found: Mapping[str, Sequence[float]]) -> None:
    """Mean shares with their intervals, the largest on top."""
    names = list(found)[::-1]
    mean, low, high = np.array([found[name] for name in names]).T
    places = np.arange(len(names))
    ax.hlines(places, low, high, color=BLUE, linewidth=2.2, alpha=0.35)
    ax.scatter(mean, places, s=26, color=BLUE, zorder=3)
    ax.set_yticks(places, names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlim(0, None)
    tidy(ax, "share", "")


def effect(ax: Axes, values: np.ndarray, draws: np.ndarray, name: str, label: str) -> None:
    """Draws (num_draws, m) of averages at the values of a column, numbers or text."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    if values.dtype == object:
        places = np.arange(len(values))
        ax.vlines(places, low, high, color=BLUE, linewidth=2.2, alpha=0.35)
        ax.scatter(places, draws.mean(0), s=26, color=BLUE, zorder=3)
        ax.set_xticks(places, values, rotation=60 if max(map(len, values)) > 4 else 0)
        ax.set_xlim(-0.6, len(values) - 0.4)
    else:
        ax.fill_between(values, low, high, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(values, draws.mean(0), color=BLUE, linewidth=1.6)
    tidy(ax, name, label)


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
