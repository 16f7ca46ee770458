"""How the outputs of a network depend on each other at infinite width.

    python examples/dependence.py --out .

writes `dependence.png`. Two outputs at one input are uncorrelated. They share a random kernel, so
that they are large together: on the left pairs under a Gaussian process and under a mixture, on the
right how often the second output is extreme given that the first one is. A Gaussian process lies
on the diagonal. ReLU, two hidden layers, `σ_v = 1`, `σ_b = 0`.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mogp import MoGP, priors

PRIORS: dict[str, priors.Prior] = {
    "Deterministic": priors.Deterministic(),
    "Gamma(5)": priors.Gamma(5.0),
    "Gamma(1)": priors.Gamma(1.0),
    "GBFRY(0.5, τ=5)": priors.GBFRY(0.5, 5.0),
    "GBFRY(0.5, τ=2)": priors.GBFRY(0.5, 2.0),
    "Horseshoe": priors.Horseshoe(),
}
COLORS = ("0.4", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73")
DASHES = ("-", "--", "-", "--", "-", "-.")
SHOWN = 3000


def draw(prior: priors.Prior, key: jax.Array, num: int) -> np.ndarray:
    """Pairs of outputs at an input with `‖x‖² = d`."""
    x = jnp.ones((1, 3))
    model = MoGP([prior] * 2)
    return np.asarray(
        model.sample_prior(x, key=key, num_samples=num, num_outputs=2, num_jumps=50)[:, 0]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--num", type=int, default=200_000, help="draws of each prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    num = 2000 if options.quick else options.num
    options.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(options.seed)
    pairs = {name: draw(prior, key, num) for name, prior in PRIORS.items()}

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    for axes, name in ((left, "Deterministic"), (middle, "GBFRY(0.5, τ=2)")):
        shown = pairs[name][:SHOWN]
        # A Gaussian process has outputs of variance 1/4, as both have on the average.
        axes.scatter(*shown.T, s=3, alpha=0.4, color="#0072B2", linewidths=0)
        axes.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="first output", ylabel="second output")
        outside = np.mean(np.any(np.abs(shown) > 3, 1))
        axes.set_title(f"{name}, {outside:.1%} outside", fontsize="medium")
        axes.set_aspect("equal")
    share = np.logspace(-3, 0, 40)
    for (name, z), color, dash in zip(pairs.items(), COLORS, DASHES, strict=True):
        first, second = np.abs(z).T
        levels = np.quantile(np.abs(z), 1 - share)
        both = [np.mean(second[first > s] > s) if np.any(first > s) else np.nan for s in levels]
        right.plot(share, both, dash, color=color, label=name)
        print(f"{name:18} P(|Z₂| > s given |Z₁| > s) where P(|Z₁| > s) = 1 %: {both[13]:.3f}")
    right.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1))
    right.set_xlabel("P(|Z₁| > s)")
    right.set_ylabel("P(|Z₂| > s given |Z₁| > s)")
    right.legend(fontsize="x-small", frameon=False, labelspacing=0.2)
    right.grid(color="0.9", linewidth=0.6)
    figure.savefig(options.out / "dependence.png", dpi=150)


if __name__ == "__main__":
    main()
