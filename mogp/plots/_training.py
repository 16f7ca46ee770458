"""Figures of trained networks: scores against the nodes kept, errors against epochs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from mogp.plots._style import STYLES, Style, axes, mean_and_spread, number_ticks, tidy
from mogp.pruning import num_kept


class Line(NamedTuple):
    """One line of `pruning_curves`.

    Attributes:
        label: the name in the legend. What stands before `": "` decides the colour, and what stands
            behind it the dashes and the marker.
        keep: fractions of nodes kept, in (0, 1], of shape (k,). A single fraction, of a model that
            is not pruned, becomes a level line.
        values: the scores, of shape (k, runs).
        reference: whether the line is drawn in black, as a bound to compare with.
    """

    label: str
    keep: Float[np.ndarray, " k"]
    values: Float[np.ndarray, "k runs"]
    reference: bool = False


def pruning_curves(
    lines: Sequence[Line],
    *,
    score: str = "accuracy",
    width: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw scores on test data against the fraction of hidden nodes kept, on a logarithmic axis.

    Lines are means over runs, and bands reach one standard deviation to each side.

    Args:
        lines: what to draw.
        score: `"accuracy"`, in [0, 1] and drawn in per cent; or `"nll"`, the mean negative
            log-likelihood in nats, on a logarithmic axis.
        width: the number of nodes of a hidden layer, if numbers of nodes are to be written under
            the fractions.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if `score` is another word.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> keep = np.array([1.0, 0.1, 0.01])
        >>> lines = [plots.Line("Horseshoe", keep, np.array([[0.98], [0.97], [0.2]]))]
        >>> plots.pruning_curves(lines, width=100).get_ylabel()
        'test accuracy (%)'
    """
    if score not in ("accuracy", "nll"):
        raise ValueError(f"score must be 'accuracy' or 'nll', got {score!r}")
    ax, percent = axes(ax), score == "accuracy"
    fractions = np.unique(np.concatenate([line.keep for line in lines]))
    bounds = (0.0, 100.0) if percent else (1e-3, np.inf)
    for line, style in zip(lines, _styles(lines), strict=True):
        keep, values = line.keep, (100 if percent else 1) * line.values
        if len(keep) == 1:
            keep, values = fractions, np.broadcast_to(values, (len(fractions), values.shape[-1]))
            style = style._replace(marker="")
        mean_and_spread(ax, keep, values, style, line.label, bounds)
    ax.set_xscale("log")
    ax.set_xlim(fractions.max() * 1.15, fractions.min() / 1.15)
    ax.xaxis.set_major_locator(FixedLocator(list(fractions)))
    ax.xaxis.set_minor_locator(NullLocator())
    nodes = [f"\n{num_kept(f, width)}" if width else "" for f in fractions]
    ax.set_xticklabels([f"{100 * f:g} %{n}" for f, n in zip(fractions, nodes, strict=True)])
    if percent:
        ax.set_ylim(0, 102)
        label = "test accuracy (%)"
    else:
        ax.set_yscale("log")
        number_ticks(ax.yaxis)
        label = "test negative log-likelihood (nats), logarithmic"
    shown = "hidden nodes kept" + (", share and number in each layer" if width else "")
    return tidy(ax, shown, label)


def _styles(lines: Sequence[Line]) -> list[Style]:
    """A colour for each kind of line and dashes for each rule; both by the line without rules."""
    parts = [line.label.partition(": ")[::2] for line in lines]
    coloured = [part for part, line in zip(parts, lines, strict=True) if not line.reference]
    kinds, rules = (list(dict.fromkeys(part[i] for part in coloured)) for i in (0, 1))
    found = []
    for (kind, rule), line in zip(parts, lines, strict=True):
        if line.reference:
            found.append(Style("black", "o", (0, (1, 1.2))))
            continue
        style = STYLES[kinds.index(kind) % len(STYLES)]
        if len(rules) > 1:
            style = STYLES[rules.index(rule) % len(STYLES)]._replace(color=style.color)
        found.append(style)
    return found


def error_curves(
    errors: Mapping[str, Float[np.ndarray, "epochs seeds"]], *, ax: Axes | None = None
) -> Axes:
    """Draw test errors against epochs, on a logarithmic axis.

    Lines are means over seeds, and bands reach one standard deviation to each side. The legend says
    the errors after the last epoch.

    Args:
        errors: for each name in the legend, at most six, errors in [0, 1], shape (epochs, seeds).
        ax: axes to draw on; None makes a new figure.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from mogp import plots
        >>> ax = plots.error_curves({"GM layer": np.array([[0.2, 0.3], [0.1, 0.1]])})
        >>> ax.get_legend_handles_labels()[1]
        ['GM layer: 10.0 ± 0.0 %']
    """
    ax = axes(ax)
    for (name, values), style in zip(errors.items(), STYLES, strict=False):
        percent = 100 * values
        label = f"{name}: {percent[-1].mean():.1f} ± {percent[-1].std():.1f} %"
        epochs = np.arange(1, len(values) + 1)
        # Half of the least mean: an error has no negative part on a logarithmic axis.
        bounds = (percent.mean(-1).min() / 2, 100.0)
        mean_and_spread(ax, epochs, percent, style._replace(marker=""), label, bounds)
    ax.set_yscale("log")
    number_ticks(ax.yaxis)
    tidy(ax, "epoch", "test error (%), logarithmic")
    ax.legend(frameon=False, fontsize="small", title="after the last epoch")
    return ax
