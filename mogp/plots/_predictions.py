"""Figures of predictions: along one input, against observations, and their calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mogp.plots._style import BLUE, GREY, ORANGE, axes, tidy


def band(
    x: np.ndarray,
    mean: np.ndarray,
    interval: np.ndarray,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw predictions along one input: their mean and an interval of an observation.

    Args:
        x: increasing inputs, of shape (n,).
        mean: predicted means, of shape (n,).
        interval: lower and upper ends of 90 % intervals, of shape (2, n).
        points: at most two sets of observations, each a name in the legend with inputs and values;
            the first are drawn as dots, the second as rings.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> x = np.linspace(0.0, 1.0, 5)
        >>> ax = plots.band(x, x, np.stack([x - 1, x + 1]), {"data": (x, x**2)})
        >>> ax.get_legend_handles_labels()[1]
        ['90 % interval', 'mean', 'data']
    """
    ax = axes(ax)
    ax.fill_between(x, *interval, color=BLUE, alpha=0.18, linewidth=0, label="90 % interval")
    ax.plot(x, mean, color=BLUE, linewidth=1.6, label="mean")
    looks: tuple[dict[str, Any], ...] = (
        {"color": "black"},
        {"facecolors": "white", "edgecolors": ORANGE},
    )
    for (name, (u, v)), look in zip((points or {}).items(), looks, strict=False):
        ax.scatter(u, v, s=16, zorder=3, linewidths=1.1, label=name, **look)
    return tidy(ax, "x", "y")


def predicted_observed(
    mean: np.ndarray,
    interval: np.ndarray,
    observed: np.ndarray,
    *,
    label: str = "y",
    ax: Axes | None = None,
) -> Axes:
    """Draw observations against predictions with intervals; on the line they agree.

    Args:
        mean: predicted means, of shape (n,).
        interval: lower and upper ends of 90 % intervals, of shape (2, n).
        observed: observations, of shape (n,).
        label: the name of what is predicted.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> y = np.array([0.0, 1.0])
        >>> ax = plots.predicted_observed(y, np.stack([y - 1, y + 1]), np.array([0.5, 3.0]))
        >>> ax.get_legend_handles_labels()[1]
        ['1 of 2 inside their interval', '1 of 2 outside their interval']
    """
    ax, (low, high) = axes(ax), interval
    inside = (observed >= low) & (observed <= high)
    ends = [min(observed.min(), mean.min()), max(observed.max(), mean.max())]
    ax.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
    for kind, colour, name in ((inside, BLUE, "inside"), (~inside, ORANGE, "outside")):
        text = f"{kind.sum()} of {len(kind)} {name} their interval"
        ax.hlines(observed[kind], low[kind], high[kind], color=colour, alpha=0.25, linewidth=1)
        ax.scatter(mean[kind], observed[kind], s=14, color=colour, zorder=3, label=text)
    return tidy(ax, f"{label}, predicted mean and 90 % interval", f"{label}, observed")


def confusion(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of how many rows of each class were taken for which class.

    Args:
        probabilities: predicted probabilities of the classes, of shape (n, len(classes)).
        labels: classes of the rows, integers in [0, len(classes)), of shape (n,).
        classes: the names of the classes.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> ax = plots.confusion(np.array([[0.9, 0.1]]), np.array([0]), ["cat", "dog"])
        >>> [text.get_text() for text in ax.texts]
        ['1']
    """
    ax = axes(ax)
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
    return ax


def rank_histogram(
    draws: np.ndarray | Array,
    observed: np.ndarray,
    *,
    key: Array,
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


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, ax: Axes | None = None) -> Axes:
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
