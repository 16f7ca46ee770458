"""Figures of draws of a posterior: chains side by side, and unknowns before and after the data."""

import numpy as np
from matplotlib.axes import Axes

from mogp.plots._style import BLUE, GREY, STYLES, axes, number_ticks, tidy


def traces(draws: np.ndarray, *, name: str = "", ax: Axes | None = None) -> Axes:
    """Draw an unknown number of each chain in the order of sampling; chains should look alike.

    Args:
        draws: of shape (chains, draws).
        name: the name of the unknown.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> len(plots.traces(np.random.default_rng(0).normal(size=(4, 100))).lines)
        4
    """
    ax = axes(ax)
    for k, chain in enumerate(draws):
        ax.plot(chain, color=STYLES[k % len(STYLES)].color, linewidth=0.5, alpha=0.8)
    return tidy(ax, "draw", name)


def rank_densities(draws: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Draw histograms of the ranks of each chain's draws among all; level if the chains agree.

    Source: Vehtari et al. (2021), Rank-normalization, folding, and localization, Bayesian
    Analysis 16.

    Args:
        draws: of shape (chains, draws).
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> draws = np.random.default_rng(0).normal(size=(4, 100))
        >>> plots.rank_densities(draws).get_xlabel()
        'rank / number of draws'
    """
    ax, num = axes(ax), draws.shape[1]
    ranks = np.argsort(np.argsort(draws, axis=None)).reshape(draws.shape) / draws.size
    bins = int(np.clip(num // 20, 4, 20))
    for k, chain in enumerate(ranks):
        counts, edges = np.histogram(chain, bins=bins, range=(0, 1))
        style = STYLES[k % len(STYLES)]
        ax.stairs(counts * bins / num, edges, baseline=None, color=style.color, linewidth=1.3)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    ax.set_ylim(0, None)
    return tidy(ax, "rank / number of draws", "")


def before_after(prior: np.ndarray, posterior: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Draw densities of a positive unknown before and after the data, on a logarithmic axis.

    Curves are kernel estimates of the density of the logarithm.

    Args:
        prior: draws from the prior, positive, of any shape.
        posterior: draws from the posterior, likewise.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> draws = np.exp(np.random.default_rng(0).normal(size=(2, 100)))
        >>> plots.before_after(draws[0], draws[1]).get_xscale()
        'log'
    """
    from scipy import stats

    ax = axes(ax)
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
    return ax
