"""Regression on a surface with cliffs: two priors, leave-one-out and test scores.

    python examples/surface.py --out .

prints a table and writes `surface.png`. The surface is flat but for two cliffs along lines, as one
node of a network makes them, and as the heavy-tailed networks of Loría and Bhadra expect.
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
    """Two cliffs, of inputs (n, 2)."""
    return 1.0 * (x[:, 0] + 0.5 * x[:, 1] > 0.2) - 1.2 * (x[:, 1] - 0.4 * x[:, 0] > 0.6)


def data(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (num, 2) and noisy observations (num,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.7, 1.7, (num, 2))
    return x, truth(x) + NOISE * rng.normal(size=num)


def main(
    out: Path = Path(),
    seed: int = 0,
    num: int = 80,
    num_samples: int = 400,
    num_warmup: int = 400,
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

    size = 60
    side = np.linspace(-1.7, 1.7, size)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    surfaces = {"truth": truth(grid)} | {
        f"{name}\ntest nll {table.loc[name, 'nll']:.2f}": np.asarray(
            posterior.predict(jnp.asarray(grid), num_draws=100).mean()
        )[:, 0]
        for name, posterior in posteriors.items()
    }
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    for axes, (title, values) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), surfaces.items(), strict=True
    ):
        image = axes.imshow(
            values.reshape(size, size),
            origin="lower",
            extent=(-1.7, 1.7, -1.7, 1.7),
            cmap="RdBu_r",
            vmin=-1.4,
            vmax=1.4,
        )
        axes.scatter(*x.T, s=4, color="black", linewidths=0)
        axes.set_title(title, fontsize="medium")
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="mean of the predictions")
    figure.supxlabel("x₁", fontsize="medium")
    figure.supylabel("x₂", fontsize="medium")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "surface.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    main(options.out, options.seed, **(QUICK if options.quick else {}))
