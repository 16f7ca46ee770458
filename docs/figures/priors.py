"""The pictures and the table of `docs/priors.md`.

    python docs/figures/priors.py

writes `priors-weights.png` and `priors-ranked.png` to `docs/images`, and prints the table of
convergence as Markdown.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import erf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpyro.distributions import Delta, Distribution

from mogp import levy, priors

IMAGES = Path(__file__).parents[1] / "images"

# Okabe and Ito's colours, as in `mogp.plots`.
ORANGE, BLUE, GREEN, PINK = "#D55E00", "#0072B2", "#009E73", "#CC79A7"

STABLE_ID = priors.InfinitelyDivisible(0.5, levy.Stable(0.5))
CASES: dict[str, priors.Prior] = {
    "Deterministic()": priors.Deterministic(),
    "GroupLasso(10)": priors.GroupLasso(10.0),
    "InverseGamma(2)": priors.InverseGamma(2.0),
    "InfinitelyDivisible(0.5, Stable(0.5))": STABLE_ID,
    "Bernoulli(5)": priors.Bernoulli(5.0),
    "SpikeAndSlab(5, Exponential(1))": priors.SpikeAndSlab(5.0, dist.Exponential(1.0)),
    "Gamma(1)": priors.Gamma(1.0),
    "Beta(1, 0.5)": priors.Beta(1.0, 0.5),
    "BetaPareto(1, 1, 1.5)": priors.BetaPareto(1.0, 1.0, 1.5),
    "InverseGamma(0.5)": priors.InverseGamma(0.5),
    "Stable(0.5)": priors.Stable(0.5),
    "Horseshoe()": priors.Horseshoe(),
    "RegularizedHorseshoe(1)": priors.RegularizedHorseshoe(1.0),
    "GeneralizedGamma(0.5)": priors.GeneralizedGamma(0.5),
    "GBFRY(0.5, 2)": priors.GBFRY(0.5, 2.0),
    "GBFRY(0.8, 5)": priors.GBFRY(0.8, 5.0),
}
FROM_LEVY = {"from_levy(levy.GBFRY(0.5, 2))": priors.from_levy(levy.GBFRY(0.5, 2.0))}

WIDTHS = (100, 1000, 10_000, 100_000)
LARGE, SMALL = 0.3, 1e-3  # the sizes above which nodes, and below which mass, are counted


# The table.


def mass_below(law: Distribution, h: float) -> float:
    """`E[λ 1(λ ≤ h)]`: Gauss and Legendre's rule in `log λ`, 60 panels of length 1."""
    if isinstance(law, Delta):
        return float(law.v) if law.v <= h else 0.0
    if isinstance(law, priors.SpikeAndSlabLaw):
        return float(law.probability) * mass_below(law.slab, h)

    nodes, weights = np.polynomial.legendre.leggauss(20)
    ends = np.log(h) - np.arange(60)
    u = (ends[:, None] + (nodes - 1) / 2).ravel()
    values = np.exp(np.asarray(priors.log_density_of_log(law, jnp.asarray(u))) + u)
    return float(values @ np.tile(weights / 2, 60))


def measured(prior: priors.Prior, width: int) -> tuple[float, float]:
    """`p P(λ > 0.3)` and `p E[λ 1(λ ≤ 0.001)]` at a width."""
    law = prior.at_width(width)
    if prior is STABLE_ID:
        # λ = a/p + c/ξ² with ξ normal and c = π/(2p²), an inverse gamma law of shape 1/2.
        scale = np.pi / (2 * width**2)
        start = 0.5 / width
        above = float(erf(np.sqrt(scale / (2 * (LARGE - start)))))
        if start >= SMALL:
            return width * above, 0.0
        rest = priors.InverseGammaLaw(0.5, scale / 2)
        room = SMALL - start
        return width * above, 0.5 * float(rest.cdf(room)) + width * mass_below(rest, room)
    above = float(law.v > LARGE) if isinstance(law, Delta) else 1 - float(law.cdf(LARGE))
    return width * above, width * mass_below(law, SMALL)


def table() -> str:
    """Both quantities of every prior, as two Markdown tables."""
    heads = " | ".join(f"$10^{round(np.log10(p))}$" for p in WIDTHS)
    first = [f"| prior | {heads} | limit |", "|---|" + "--:|" * 5]
    second = [f"| prior | {heads} | limit itself |", "|---|" + "--:|" * 5]
    for name, prior in (CASES | FROM_LEVY).items():
        pairs = [measured(prior, width) for width in WIDTHS]
        location, measure = prior.limit
        tail = float(measure.tail(LARGE))
        mass = float(location + measure.moment(1, SMALL))
        above = " | ".join(_number(value, 5) for value, _ in pairs)
        below = " | ".join(_number(value - mass, 2) for _, value in pairs)
        first.append(f"| `{name}` | {above} | {_number(tail, 5)} |")
        second.append(f"| `{name}` | {below} | {_number(mass, 4)} |")
    return "\n".join([*first, "", *second])


def _number(value: float, digits: int) -> str:
    if abs(value) < 1e-10:  # rounding
        return "0"
    if abs(value) >= 1e-3:
        text = f"{value:.{digits}g}" if digits < 4 else f"{value:.{digits - 1}f}"
    else:
        text = f"{value:.1e}".replace("e-0", "e-")
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else text


# The pictures.


def layer(prior: priors.Prior, seed: int, width: int = 1000) -> np.ndarray:
    """One layer's node variances; 0 where they are too small for a float."""
    law = prior.at_width(width)
    return np.asarray(law.sample(jax.random.key(seed), (width,)), float)


def weights(layers: dict[str, np.ndarray]) -> Figure:
    """One weight of every node of a layer, `√λ V`."""
    figure = Figure(figsize=(10, 9.2), layout="constrained")
    grid = figure.subplots(4, 4, sharex=True, sharey=True)
    for seed, (axes, (name, variances)) in enumerate(zip(grid.flat, layers.items(), strict=True)):
        normals = np.asarray(jax.random.normal(jax.random.key(100 + seed), variances.shape))
        values = np.sqrt(variances) * normals
        node = np.arange(1, len(values) + 1)
        axes.vlines(node, 0, values, color=BLUE, linewidth=0.5)
        axes.plot(node, values, ".", color=BLUE, markersize=3)
        largest = np.argsort(variances)[-10:]
        largest = largest[variances[largest] > 1e-4]
        if variances.max() > variances.min():
            axes.plot(node[largest], values[largest], "o", color=ORANGE, markersize=4)
        share = np.sort(variances)[-10:].sum() / variances.sum()
        title = name.replace("InfinitelyDivisible", "ID").replace("Exponential", "Exp")
        axes.set_title(f"{title}\nten largest: {100 * share:.0f} %", fontsize="small")
        axes.set_yscale("symlog", linthresh=0.1, linscale=1.0)
        axes.set_ylim(-30, 30)
        axes.set_yticks(
            [-10, -1, -0.1, 0, 0.1, 1, 10], ["-10", "-1", "-0.1", "0", "0.1", "1", "10"]
        )
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xticks([1, 500, 1000])
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("node")
    figure.supylabel("weight √λ V")
    return figure


GROUPS: dict[str, tuple[str, ...]] = {
    "with a diffuse part (a > 0)": (
        "Deterministic()", "GroupLasso(10)", "InverseGamma(2)",
        "InfinitelyDivisible(0.5, Stable(0.5))",
    ),
    "index at zero 0": (
        "SpikeAndSlab(5, Exponential(1))", "Gamma(1)", "Beta(1, 0.5)", "BetaPareto(1, 1, 1.5)",
    ),
    "index at zero 1/2": (
        "InverseGamma(0.5)", "Stable(0.5)", "Horseshoe()", "RegularizedHorseshoe(1)",
    ),
    "tempered, or two power laws": ("GeneralizedGamma(0.5)", "GBFRY(0.5, 2)", "GBFRY(0.8, 5)"),
}  # fmt: skip


def ranked(layers: dict[str, np.ndarray]) -> Figure:
    """The same node variances from the largest to the smallest, and typical jumps of the limit."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (title, names) in zip(grid.flat, GROUPS.items(), strict=True):
        styles = zip((ORANGE, BLUE, GREEN, PINK), "so^D", names, strict=False)
        handles = []
        for place, (colour, marker, name) in enumerate(styles):
            sizes = np.sort(layers[name])[::-1]
            rank = np.arange(1, len(sizes) + 1)
            marked = np.unique(np.geomspace(1, len(sizes), 14).astype(int))
            marked = [int(j) - 1 for j in marked if sizes[j - 1] > 0]
            y = np.where(sizes > 0, sizes, np.nan)
            handles += axes.plot(rank, y, color=colour, marker=marker, markevery=marked,
                                 markersize=5, linewidth=1.2, label=name)  # fmt: skip
            measure = CASES[name].limit.levy
            if isinstance(measure, levy.NoJumps):
                continue
            typical = np.asarray(measure.inverse_tail(jnp.asarray(rank, float)), float)
            typical = np.where(typical > 0, typical, np.nan)
            dashes = (3 * place, (3, 3))
            axes.plot(rank, typical, linestyle=dashes, color=colour, linewidth=1.6, alpha=0.8)
        if axes is grid.flat[0]:
            handles.append(
                Line2D([], [], color="0.3", linestyle=(0, (3, 3)), label="inverse tail at j, limit")
            )
        axes.set_title(title, fontsize="medium")
        place_of = "upper right" if axes is grid.flat[1] else "lower left"
        axes.legend(handles=handles, frameon=False, fontsize="small", loc=place_of)
        _logarithmic(axes)
    for axes in grid[1]:
        axes.set_xlabel("rank j")
    for axes in grid[:, 0]:
        axes.set_ylabel("j-th largest node variance")
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-12, 1e4)
    axes.set_xlim(0.8, 1300)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())


def main() -> None:
    """Draw both pictures and print the table."""
    jax.config.update("jax_enable_x64", True)
    layers = {name: layer(prior, 1 + seed) for seed, (name, prior) in enumerate(CASES.items())}
    weights(layers).savefig(IMAGES / "priors-weights.png", dpi=110)
    ranked(layers).savefig(IMAGES / "priors-ranked.png", dpi=110)
    print(table())  # noqa: T201


if __name__ == "__main__":
    main()
