"""The pictures of `docs/levy.md`.

    python docs/figures/levy.py

writes `levy-tails.png`, `levy-jumps.png` and `levy-residual.png` to `docs/images`.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpyro.distributions import Exponential

from mogp import levy

IMAGES = Path(__file__).parents[1] / "images"

# Okabe and Ito's colours with distinct dashes and markers, as in `mogp.plots`.
ORANGE, BLUE, GREEN, PINK, YELLOW, SKY = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)))


def styled(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Logarithmic axes with labels, a grid and few ticks."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize="medium")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())


def tails() -> Figure:
    """Densities and tails of all families, a column for each behaviour at infinity."""
    columns: dict[str, list[tuple[str, levy.LevyMeasure, str]]] = {
        "power laws at infinity": [
            ("Stable(0.5)", levy.Stable(0.5), ORANGE),
            ("GBFRY(0.5, τ=2)", levy.GBFRY(0.5, 2.0), BLUE),
            ("BetaPareto(1, 1, τ=1.5)", levy.BetaPareto(1.0, 1.0, 1.5), GREEN),
        ],
        "exponential at infinity": [
            ("GeneralizedGamma(0.7)", levy.GeneralizedGamma(0.7), ORANGE),
            ("InverseGaussian(1, 1)", levy.InverseGaussian(1.0, 1.0), BLUE),
            ("Gamma(1, 1)", levy.Gamma(1.0, 1.0), GREEN),
            ("CompoundPoisson(3, Exp)", levy.CompoundPoisson(3.0, Exponential(1.0)), PINK),
        ],
        "no jumps beyond 1": [
            ("StableBeta(0.7, 1)", levy.StableBeta(0.7, 1.0), ORANGE),
            ("RegularizedHorseshoe(1)", levy.RegularizedHorseshoe(1.0), BLUE),
            ("Beta(1, 1)", levy.Beta(1.0, 1.0), GREEN),
            ("Beta(1, 5)", levy.Beta(1.0, 5.0), PINK),
        ],
    }
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    grid = figure.subplots(2, 3, sharex="col", sharey="row")
    for column, (title, cases) in enumerate(columns.items()):
        x = np.geomspace(1e-6, 1e3, 800)
        if column == 2:
            x = np.concatenate([np.geomspace(1e-3, 0.5, 400), 1 - np.geomspace(0.5, 1e-9, 400)])
        for dashes, (label, measure, colour) in zip(DASHES, cases, strict=False):
            style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.7}
            density = np.array(measure.density(x), float) * x
            tail = np.array(measure.tail(x), float)
            for axes, y in zip(grid[:, column], (density, tail), strict=True):
                axes.plot(x, np.where(y > 1e-9, y, np.nan), label=label, **style)
        styled(grid[0, column], "", "" if column else "intensity of log-sizes, x ρ(x)", title)
        styled(grid[1, column], "size x", "" if column else "expected jumps above x")
        place = "lower left" if column == 2 else "upper right"
        grid[0, column].legend(frameon=False, loc=place, fontsize="small")
        grid[0, column].set_xlim((7e-4, 1.6) if column == 2 else (3e-7, 3e3))
    grid[0, 0].set_ylim(1e-5, 3e4)
    grid[1, 0].set_ylim(1e-5, 3e4)
    return figure


def jumps() -> Figure:
    """Ranked jumps of one process each, and the power laws that small jumps follow."""
    cases = [
        ("GBFRY(0.8, τ=2)", levy.GBFRY(0.8, 2.0), YELLOW, "v"),
        ("Stable(0.5)", levy.Stable(0.5), ORANGE, "s"),
        ("GeneralizedGamma(0.3)", levy.GeneralizedGamma(0.3), GREEN, "^"),
        ("Gamma(1, 1)", levy.Gamma(1.0, 1.0), PINK, "D"),
    ]
    num = 1000
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    rank = np.arange(1, num + 1)
    marked = [int(j) - 1 for j in np.unique(np.geomspace(1, num, 22).astype(int))]
    handles = []
    for place, (label, measure, colour, marker) in enumerate(cases):
        sizes = measure.ranked_jumps(num, key=jax.random.key(place + 1)).sizes
        style: dict[str, Any] = {"marker": marker, "markevery": marked, "markersize": 5}
        handles += axes.plot(rank, sizes, color=colour, linewidth=1.2, label=label, **style)
        alpha = float(measure.index_at_zero)
        if alpha > 0:
            small = 1e-12
            constant = float(measure.tail(small)) * small**alpha  # C of C x^(-α) near 0
            axes.plot(rank, (constant / rank) ** (1 / alpha), "--", color=colour, linewidth=1.2)
        else:
            typical = measure.inverse_tail(jnp.asarray(rank, float))
            axes.plot(rank, typical, ":", color=colour, linewidth=1.6)
    grey: dict[str, Any] = {"color": "0.3", "linewidth": 1.3}
    handles += [
        Line2D([], [], linestyle="--", label="(C / j)^(1/α), for α > 0", **grey),
        Line2D([], [], linestyle=":", label="inverse tail at j, for α = 0", **grey),
    ]
    styled(axes, "rank j", "size of the j-th largest jump")
    axes.set_ylim(1e-12, 1e3)
    axes.legend(handles=handles, frameon=False, loc="lower left", fontsize="small")
    return figure


def residual() -> Figure:
    """What is left out by keeping the largest jumps: mean and standard deviation of its sum."""
    cases = [
        ("Stable(0.5)", levy.Stable(0.5), ORANGE, "s"),
        ("GBFRY(0.8, τ=2)", levy.GBFRY(0.8, 2.0), YELLOW, "v"),
        ("GBFRY(0.5, τ=2)", levy.GBFRY(0.5, 2.0), BLUE, "o"),
        ("GeneralizedGamma(0.3)", levy.GeneralizedGamma(0.3), GREEN, "^"),
        ("Gamma(1, 1)", levy.Gamma(1.0, 1.0), PINK, "D"),
        ("Beta(1, 5)", levy.Beta(1.0, 5.0), SKY, "P"),
    ]
    num = np.unique(np.geomspace(1, 1e4, 41).astype(int))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for label, measure, colour, marker in cases:
        last = measure.inverse_tail(jnp.asarray(num, float))
        mass = np.array(measure.moment(1, last), float)
        sd = np.sqrt(np.array(measure.moment(2, last), float))
        for axes, y in ((left, mass), (right, sd)):
            axes.plot(num, np.where(y > 1e-14, y, np.nan), color=colour, marker=marker,
                      markevery=4, markersize=5, linewidth=1.5, label=label)  # fmt: skip
    kept = "jumps kept, N"
    styled(left, kept, "sum of the other jumps", "expected sum: residual mass")
    styled(right, kept, "", "standard deviation of that sum")
    left.set_ylim(1e-10, 10)
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def main() -> None:
    """Draw all of them."""
    jax.config.update("jax_enable_x64", True)
    for name, figure in {"tails": tails(), "jumps": jumps(), "residual": residual()}.items():
        figure.savefig(IMAGES / f"levy-{name}.png", dpi=110)


if __name__ == "__main__":
    main()
