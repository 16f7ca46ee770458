"""Figures of the calibration of predictions."""

from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Num, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mogp.plots._style import BLUE, GREY, axes, tidy


def rank_histogram(
    draws: Num[np.ndarray | Array, "num_draws n"],
    observed: Num[np.ndarray | Array, " n"],
    *,
    key: PRNGKeyArray,
    ax: Axes | None = None,
) -> Axes:
    """Draw a histogram of where observations lie among draws of their predictions.

    It is level if the predictions are calibrated. A heap in the middle means intervals that are too
    wide, and heaps at the ends mean intervals that are too narrow. Ties, which counts have, are
    broken at random (Czado, Gneiting and Held, 2009, Biometrics 65).

    Args:
        draws: predicted observations, as of `Predictive.sample`, of shape (num_draws, n).
        observed: observations, of shape (n,).
        key: a random key, for ties.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import jax
        >>> from mogp import plots
        >>> draws = jax.random.normal(jax.random.key(0), (100, 40))
        >>> plots.rank_histogram(draws[1:], draws[0], key=jax.random.key(1)).get_ylabel()
        'rows'
    """
    from scipy import stats

    ax, ranks = axes(ax), _ranks(np.asarray(draws), np.asarray(observed), key)
    bins = int(np.clip(len(ranks) // 8, 4, 20))
    counts, edges = np.histogram(ranks, bins=bins, range=(0, 1))
    looks: dict[str, Any] = {"color": BLUE, "alpha": 0.55, "edgecolor": "white"}
    ax.bar(edges[:-1], counts, width=1 / bins, align="edge", **looks)
    low, high = stats.binom.interval(0.9, len(ranks), 1 / bins)
    ax.axhspan(low, high, color="0.85", zorder=0, label="90 % of bins if calibrated")
    ax.axhline(len(ranks) / bins, color=GREY, linewidth=1, zorder=0)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.25 * max(counts.max(), high))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return tidy(ax, "share of draws below the observation", "rows")


def _ranks(draws: np.ndarray, observed: np.ndarray, key: Array) -> np.ndarray:
    """Shares of draws below the observations, in (0, 1) and of shape (n,)."""
    observed = observed.astype(draws.dtype)
    below, ties = (draws < observed).sum(0), (draws == observed).sum(0)
    shares = np.asarray(jax.random.uniform(key, (len(observed),)))
    return (below + shares * (ties + 1)) / (len(draws) + 1)


def reliability(
    probabilities: Float[np.ndarray, "n classes"],
    labels: Int[np.ndarray | Array, " n"],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often the most probable class was right, against its probability.

    Bins hold equally many rows, and bars are 90 % intervals (Jeffreys) of the share that was right.

    Args:
        probabilities: predicted probabilities of the classes, of shape (n, classes).
        labels: classes of the rows, integers, of shape (n,).
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> shares = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> plots.reliability(shares, np.array([0, 1])).get_xlabel()
        'probability of the most probable class'
    """
    from scipy import stats

    ax = axes(ax)
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    order = np.argsort(sure, kind="stable")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="calibrated")
    for k, rows in enumerate(np.array_split(order, int(np.clip(len(order) // 15, 1, 10)))):
        hits, misses = right[rows].sum(), (~right[rows]).sum()
        low, high = stats.beta.ppf([0.05, 0.95], hits + 0.5, misses + 0.5)
        mean = sure[rows].mean()
        ax.vlines(mean, low, high, color=BLUE, linewidth=1.4)
        label = f"about {len(rows)} rows a bin" if k == 0 else None
        ax.scatter(mean, hits / len(rows), s=26, color=BLUE, zorder=3, label=label)
    ax.set_xlim(min(0.98 * sure.min(), 0.95), 1.01)
    ax.set_ylim(-0.02, 1.02)
    text = "probability of the most probable class"
    return tidy(ax, text, "share of rows where it is right")
