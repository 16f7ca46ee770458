"""Finite networks and their limit: how fast the law of an output converges in the width.

    python examples/convergence.py --out .

writes `convergence.png` and prints its table. One hidden layer, ReLU, one input with `‖x‖² = d`,
`σ_v = 1`, `σ_b = 0`. Given node variances and hidden nodes an output is `N(0, Σ)` with
`Σ = Σ_j λ_j φ(ζ_j)²`, so its characteristic function at width p is `E exp(-t² Σ / 2)`, a mean over
networks drawn; that of the limit is `model.characteristic_function`. The distance is the energy
distance `(1/π) ∫ |difference|² / t² dt`, without its square root. Its part from Monte Carlo is
subtracted: values at or below the dotted line are noise.
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
    "Beta(1, 1/2)": priors.Beta(1.0, 0.5),
    "BetaPareto(1, 1, 2)": priors.BetaPareto(1.0, 1.0, 2.0),
    "Gamma(2)": priors.Gamma(2.0),
    "GeneralizedGamma(1/2)": priors.GeneralizedGamma(0.5),
    "GBFRY(1/2, τ=2)": priors.GBFRY(0.5, 2.0),
    "Horseshoe": priors.Horseshoe(),
}
WIDTHS = (10, 100, 1000, 10_000)
LOG_T = np.linspace(math.log(1e-3), math.log(1e3), 121)
MOST = 20_000  # networks of one width
AT_ONCE = 2**21  # node variances held at a time


def transforms(prior: priors.Prior, width: int, num: int, key: jax.Array) -> np.ndarray:
    """`exp(-t² Σ / 2)` summed over networks, and its squares, at every t."""
    law, half_squares = prior.at_width(width), jnp.exp(2 * LOG_T) / 2
    batch = min(num, max(1, AT_ONCE // width))

    @jax.jit
    def sums(key: jax.Array) -> jax.Array:
        by_law, by_node = jax.random.split(key)
        nodes = jax.nn.relu(jax.random.normal(by_node, (batch, width)))
        kernels = jnp.sum(law.sample(by_law, (batch, width)) * nodes**2, 1)
        values = jnp.exp(-kernels[:, None] * half_squares[None])
        return jnp.stack([values.sum(0), (values**2).sum(0)])

    keys = jax.random.split(key, -(-num // batch))
    return sum(np.asarray(sums(k), float) for k in keys) / (len(keys) * batch)


def distance(prior: priors.Prior, width: int, num: int, key: jax.Array) -> tuple[float, float]:
    """Energy distance to the limit, and the part of it that Monte Carlo adds."""
    exact = MoGP([prior]).characteristic_function(jnp.ones((1, 1)), jnp.exp(LOG_T))
    mean, square = transforms(prior, width, num, key)
    weights = 2 / math.pi * np.exp(-LOG_T) * (LOG_T[1] - LOG_T[0])  # dt / t², both signs of t
    noise = float(np.sum(weights * np.maximum(square - mean**2, 0)) / num)
    return float(np.sum(weights * (mean - np.asarray(exact)) ** 2)) - noise, noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument(
        "--num", type=int, default=10_000_000, help="node variances drawn at each width"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(options.seed)

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    floor = 0.0
    print(f"{'energy distance':24}" + "".join(f"{f'p = {w}':>12}" for w in WIDTHS))
    for i, (name, prior) in enumerate(PRIORS.items()):
        rows = np.array(
            [distance(prior, width, min(options.num // width, MOST), key) for width in WIDTHS]
        )
        floor = max(floor, rows[:, 1].max())
        print(f"{name:24}" + "".join(f"{value:12.1e}" for value in rows[:, 0]), flush=True)
        shown = np.maximum(rows[:, 0], rows[:, 1] / 10)
        axes.plot(WIDTHS, shown, "-o^sDvPX*<>"[1 + i % 10] + "-", label=name, markersize=5)
    axes.plot(WIDTHS, 0.02 / np.square(np.divide(WIDTHS, 10)), "k--", label="∝ p⁻²", linewidth=1)
    axes.axhline(floor, color="k", linestyle=":", label="largest noise of Monte Carlo")
    axes.set(xscale="log", yscale="log", xlabel="width p", ylabel="energy distance to the limit")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(options.out / "convergence.png", dpi=150)


if __name__ == "__main__":
    main()
