"""Figures of the experiments under the prior."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

# Okabe and Ito's colours with distinct markers and dashes, as in the other figures.
_STYLES = (
    ("#0072B2", "o", "-"),
    ("#009E73", "^", "--"),
    ("#E69F00", "v", "-."),
    ("#D55E00", "s", ":"),
)


def truncation(datasets: Sequence[xr.Dataset]) -> Figure:
    """Errors of ε-pruning measured and predicted, a panel a depth, and ranked node variances.

    Args:
        datasets: as `truncation-error` writes them, up to four indices `α`.
    """
    depths = sorted({data.attrs["depth"] for data in datasets})
    figure = Figure(figsize=(3.1 * (len(depths) + 1) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(depths) + 1, squeeze=False)[0]
    for axes, depth in zip(panels, depths, strict=False):
        chosen = [data for data in datasets if data.attrs["depth"] == depth]
        for data, (colour, marker, dashes) in zip(chosen, _STYLES, strict=False):
            epsilon = data["threshold"].values
            low, middle, high = np.quantile(data["limit"].values, [0.1, 0.5, 0.9], axis=0)
            axes.fill_between(epsilon, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(epsilon, middle, dashes, color=colour, linewidth=1.4)
            finite = np.median(data["finite"].values, axis=0)
            axes.plot(epsilon, finite, color="0.35", linewidth=0.8)
            measured = np.median(data["measured"].values, axis=0)
            label = f"α = {data.attrs['alpha']:g}"
            axes.plot(epsilon, measured, marker, color=colour, markersize=4.5, label=label)
        axes.set(xscale="log", yscale="log", xlabel="threshold ε")
        axes.set_title(f"{depth} hidden layer{'s' if depth > 1 else ''}", fontsize="medium")
        _tidy(axes)
    panels[0].set_ylabel("relative error of the output")
    panels[0].legend(frameon=False, fontsize="small", loc="lower right")
    if len(depths) > 1:
        limits = np.array([axes.get_ylim() for axes in panels[:-1]])
        for axes in panels[:-1]:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    axes = panels[-1]
    first = [data for data in datasets if data.attrs["depth"] == depths[0]]
    for data, (colour, marker, _) in zip(first, _STYLES, strict=False):
        rank, sizes = data["rank"].values, np.median(data["ranked"].values, axis=0)
        axes.plot(rank, sizes, marker, color=colour, markersize=3)
        axes.plot(rank, data["expected"].values, color=colour, linewidth=1.2)
        axes.plot(rank, data["power_law"].values, "k:", linewidth=0.9)
    axes.set(xscale="log", yscale="log", xlabel="rank r", ylabel="node variance")
    axes.set_ylim(1e-9, 10)
    axes.set_title("ranked λ: drawn, limit, power law (dots)", fontsize="small")
    _tidy(axes)
    width = datasets[0].attrs["width"]
    figure.suptitle(
        f"ε-pruning under GBFRY, medians: networks of width {width} (markers), predicted for them "
        "(grey), and in the limit (lines; bands 10 to 90 %)",
        fontsize="medium",
    )
    return figure


def dependence(datasets: Sequence[xr.Dataset]) -> Figure:
    """Dependence of two outputs, distance to the limit, and the largest node variance.

    Args:
        datasets: as `prior-dependence` writes them, up to four priors.
    """
    figure = Figure(figsize=(11.5, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for i, (data, (colour, marker, dashes)) in enumerate(zip(datasets, _STYLES, strict=False)):
        share, width, label = data["share"].values, data["width"].values, data.attrs["label"]
        left.plot(share, data["both"].values, marker, color=colour, markersize=4, label=label)
        left.plot(share, data["both_limit"].values, dashes, color=colour, linewidth=1.2)
        middle.plot(width, data["distance"].values, marker + dashes, color=colour, markersize=5)
        low, median, high = data["largest"].values.T
        place = width * 1.06**i
        bars = np.stack([median - low, high - median])
        right.errorbar(place, median, bars, fmt=marker, color=colour, markersize=4.5, capsize=2)
        if data["largest_limit"].values[1] > 0:
            for value, line in zip(data["largest_limit"].values, (":", "-", ":"), strict=True):
                right.axhline(value, color=colour, linestyle=line, linewidth=0.9)
    left.set(xscale="log", ylim=(0, 1), xlabel="P(|Z₁| > s)")
    left.set_ylabel("P(|Z₂| > s given |Z₁| > s)")
    left.set_title("two outputs: widest networks, limit (lines)", fontsize="medium")
    left.legend(frameon=False, fontsize="small", loc="upper left")
    noise = 1.36 * np.sqrt(2 / datasets[0].attrs["draws"])
    middle.axhline(noise, color="0.5", linestyle="--", linewidth=0.9)
    middle.annotate("95 % of equal laws are below", (width[0], noise * 1.06), fontsize="x-small")
    middle.set(xscale="log", yscale="log", xlabel="width p")
    middle.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    middle.yaxis.set_major_formatter("{x:g}")
    middle.yaxis.set_minor_locator(NullLocator())
    middle.set_ylabel("Kolmogorov distance")
    middle.set_title("an output: distance to the limit", fontsize="medium")
    right.set(xscale="log", yscale="log", xlabel="width p", ylabel="largest node variance")
    right.set_title("5, 50, 95 %; limit (lines)", fontsize="medium")
    for axes in (left, middle, right):
        _tidy(axes)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="small")


__all__ = ["dependence", "truncation"]
