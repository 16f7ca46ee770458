"""The style of all figures: one palette, one way to tidy axes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator


class Style(NamedTuple):
    """How one of several lines looks, as keyword arguments of `Axes.plot`: `**style._asdict()`.

    Attributes:
        color: a colour of Okabe and Ito's palette.
        marker: the marker of its points.
        linestyle: the dashes of its line.
    """

    color: str
    marker: str
    linestyle: Any


# Okabe and Ito's colours with distinct markers and dashes: readable in grey and by everyone.
STYLES = (
    Style("#D55E00", "s", "-"),
    Style("#0072B2", "o", "--"),
    Style("#009E73", "^", "-."),
    Style("#CC79A7", "D", ":"),
    Style("#E69F00", "v", (0, (6, 1.5, 1, 1.5))),
    Style("#56B4E9", "P", (0, (5, 3))),
)
ORANGE, BLUE, GREY = STYLES[0].color, STYLES[1].color, "0.55"


def tidy(ax: Axes, x_label: str = "", y_label: str = "", title: str = "") -> Axes:
    """Give axes the style of the library: light grid, two spines, small fonts, labels, legend.

    Args:
        ax: the axes, which are changed. They get a legend if something on them has a label.
        x_label: the label of the horizontal axis; an empty text leaves it as it is.
        y_label: the label of the vertical axis, likewise.
        title: the title of the axes, likewise.

    Returns:
        The same axes.

    Example:
        >>> from mogp import plots
        >>> figure, axes = plots.panels(1, 2)
        >>> plots.tidy(axes[0, 0], "width", "error").get_xlabel()
        'width'
    """
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize="small")
    ax.set_xlabel(x_label or ax.get_xlabel())
    ax.set_ylabel(y_label or ax.get_ylabel())
    ax.set_title(title or ax.get_title(), fontsize="medium")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small", title_fontsize="small")
    return ax


def panels(
    rows: int, columns: int, size: tuple[float, float] | None = None, title: str = ""
) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of empty axes, not tied to a window.

    Args:
        rows: the number of rows of axes.
        columns: the number of columns of axes.
        size: width and height of the figure in inches; None is 4.6 × 4.0 for each of the axes.
        title: the title of the figure.

    Returns:
        The figure, and its axes as an array of shape (rows, columns).

    Example:
        >>> from mogp import plots
        >>> plots.panels(2, 3)[1].shape
        (2, 3)
    """
    figure = Figure(figsize=size or (4.6 * columns, 4.0 * rows), layout="constrained")
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure, figure.subplots(rows, columns, squeeze=False)


def number_ticks(axis: Axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Plain numbers on a logarithmic axis, such as 0.1, 0.2, 0.5, 1.

    Args:
        axis: `ax.xaxis` or `ax.yaxis`.
        subs: the multiples of powers of ten that are written.

    Example:
        >>> from mogp import plots
        >>> ax = plots.panels(1, 1)[1][0, 0]
        >>> ax.set_yscale("log")
        >>> plots.number_ticks(ax.yaxis)
    """
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def axes(ax: Axes | None) -> Axes:
    """The axes that were given, or the only ones of a new figure."""
    return panels(1, 1, (6.4, 4.4))[1][0, 0] if ax is None else ax


def mean_and_spread(
    ax: Axes,
    x: np.ndarray,
    values: np.ndarray,
    style: Style,
    label: str,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """A line through the means over the last axis, and a band of one standard deviation."""
    mean, sd = values.mean(axis=-1), values.std(axis=-1)
    low, high = (np.clip(end, *bounds) for end in (mean - sd, mean + sd))
    ax.fill_between(x, low, high, color=style.color, alpha=0.16, linewidth=0)
    ax.plot(x, np.clip(mean, *bounds), **style._asdict(), ms=4.5, linewidth=1.6, label=label)
