"""Finite networks and their limit: how fast the law of an output converges in the width.

    python examples/convergence.py --out .

writes `convergence.png` and prints its table. One hidden layer, ReLU, one input with `‖x‖² = d`,
`σ_v = 1`, `σ_b = 0`. Given node variances and hidden nodes an output is `N(0, Σ)` with
`Σ = Σ_j λ_j φ(ζ_j)²`, and the nodes are independent: its characteristic function at width p is
`(1 - E G(λ))^p`, an integral over one node variance, with
`G(λ) = E[1 - exp(-½ t² λ φ(ζ)²)] = ½ (1 - 1/√(1 + t² λ))`.
That of the limit is `model.characteristic_function`. The distance is the energy distance
`(1/π) ∫ |difference|² / t² dt`, without its square root. Nothing is sampled.
"""

import argparse
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mogp import MoGP, priors

PRIORS: dict[str, priors.Prior] = {
    "Deterministic": priors.Deterministic(),
    "GroupLasso(10)": priors.GroupLasso(10.0),
    "InverseGamma(2)": priors.InverseGamma(2.0),
    "Bernoulli(2)": priors.Bernoulli(2.0),
    "Beta(1, 1)": priors.Beta(1.0, 1.0),
    "BetaPareto(1, 1, 2)": priors.BetaPareto(1.0, 1.0, 2.0),
    "Gamma(2)": priors.Gamma(2.0),
    "GeneralizedGamma(1/2)": priors.GeneralizedGamma(0.5),
    "GBFRY(1/2, τ=2)": priors.GBFRY(0.5, 2.0),
    "Horseshoe": priors.Horseshoe(),
}
WIDTHS = (10, 100, 1000, 10_000)
LOG_T = np.linspace(math.log(1e-3), math.log(1e3), 121)
U = np.linspace(math.log(1e-30), math.log(1e16), 20_001)  # log λ


def one_node(prior: priors.Prior, width: int) -> np.ndarray:
    """`E G(λ)` for every t."""
    squares = np.exp(2 * LOG_T)
    if isinstance(prior, priors.Deterministic):
        return (1 - 1 / np.sqrt(1 + squares / width)) / 2
    if isinstance(prior, priors.Bernoulli):
        return prior.mass / width * (1 - 1 / np.sqrt(1 + squares)) / 2
    law = prior.at_width(width)
    below = jax.jit(lambda x: jax.lax.map(law.cdf, x, batch_size=500))(jnp.exp(U))
    above = 1 - np.asarray(below)
    grown = squares[:, None] * np.exp(U)[None]
    slopes = grown / (1 + grown) ** 1.5 / 4  # of G in log λ
    return np.trapezoid(slopes * above[None], U, axis=1)


def at_infinity(prior: priors.Prior) -> np.ndarray:
    """The characteristic function of the limit, a few points at a time: some need much memory."""
    model, x = MoGP([prior]), jnp.ones((1, 1))
    parts = np.split(np.exp(LOG_T), len(LOG_T) // 11)
    return np.concatenate([model.characteristic_function(x, jnp.asarray(t)) for t in parts])


def distance(prior: priors.Prior, width: int, limit: np.ndarray) -> float:
    """Energy distance of an output at a width to the limit."""
    finite = np.exp(width * np.log1p(-one_node(prior, width)))
    square = (finite - limit) ** 2
    return float(np.trapezoid(2 / math.pi * square * np.exp(-LOG_T), LOG_T))  # both signs of t


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--quick", action="store_true", help="three priors, to see that it runs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    print(f"{'energy distance':24}" + "".join(f"{f'p = {w}':>12}" for w in WIDTHS))
    chosen = list(PRIORS.items())[:: 4 if options.quick else 1]
    for i, (name, prior) in enumerate(chosen):
        limit = at_infinity(prior)
        row = [distance(prior, width, limit) for width in WIDTHS]
        print(f"{name:24}" + "".join(f"{value:12.1e}" for value in row), flush=True)
        axes.plot(WIDTHS, row, "o^sDvPX*<>"[i] + "-", label=name, markersize=5)
    axes.plot(WIDTHS, 0.02 / np.square(np.divide(WIDTHS, 10)), "k--", label="∝ p⁻²", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="width p", ylabel="energy distance to the limit")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(options.out / "convergence.png", dpi=150)


if __name__ == "__main__":
    main()
