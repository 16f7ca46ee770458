"""Regression on one input with two jumps: two priors, leave-one-out and test scores.

    python examples/regression_jump.py --out .

prints a table and writes `regression-jump.png`. One hidden layer of infinite width, with scales and
noise unknown. Under the Gaussian process a jump takes all of the many nodes, which then are steep
everywhere; under the horseshoe it takes one.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from matplotlib.figure import Figure

from mogp import MoGP, inference, priors

PRIORS: dict[str, priors.Prior] = {
    "GP": priors.Deterministic(),
    "Horseshoe": priors.Horseshoe(),
}
NOISE = 0.1
QUICK = {"num": 20, "num_samples": 20, "num_warmup": 20, "num_chains": 2, "num_jumps": 2}


def truth(x: np.ndarray) -> np.ndarray:
    """A slope and two jumps."""
    return 0.3 * x + np.where(x > -0.5, 1.5, 0.0) - np.where(x > 1.0, 1.0, 0.0)


def data(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (num, 1) and noisy observations (num,)."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, num))
    return x[:, None], truth(x) + NOISE * rng.normal(size=num) - 0.5


def main(
    out: Path = Path(),
    seed: int = 0,
    num: int = 40,
    num_samples: int = 1000,
    num_warmup: int = 500,
    num_chains: int = 4,
    num_jumps: int = 10,
) -> None:
    jax.config.update("jax_enable_x64", True)
    unknown = [dist.LogNormal(0.0, 1.0)] * 2
    models = {
        name: MoGP([prior], "erf", weight_scale=unknown, bias_scale=unknown)
        for name, prior in PRIORS.items()
    }
    (x, y), (x_test, y_test) = data(num, seed), data(1000, seed + 1)
    table, posteriors = inference.compare_models(
        models,
        jnp.asarray(x),
        y,
        jnp.asarray(x_test),
        y_test,
        key=jax.random.key(seed),
        num_samples=num_samples,
        num_warmup=num_warmup,
        num_chains=num_chains,
        num_jumps=num_jumps,
        progress=False,
    )
    print(table.round(3).to_string())

    grid = np.linspace(-2.3, 2.3, 400)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, (name, posterior) in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), posteriors.items(), strict=True
    ):
        predictive = posterior.predict(jnp.asarray(grid[:, None]))
        low, high = np.asarray(predictive.interval(0.9, key=jax.random.key(0)))[..., 0]
        axes.fill_between(grid, low, high, color="#0072B2", alpha=0.18, linewidth=0)
        axes.plot(grid, predictive.mean()[:, 0], color="#0072B2", linewidth=1.4)
        axes.plot(grid, truth(grid) - 0.5, color="0.4", linewidth=0.9, linestyle="--")
        axes.scatter(x[:, 0], y, s=9, color="black", zorder=3, linewidths=0)
        axes.set_title(f"{name}\ntest nll {table.loc[name, 'nll']:.2f}", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
    figure.supxlabel("x", fontsize="medium")
    figure.supylabel("y, predicted mean and 90 % interval", fontsize="medium")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "regression-jump.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    main(options.out, options.seed, **(QUICK if options.quick else {}))
