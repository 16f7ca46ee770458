"""Functions drawn from six priors, of one input and of two.

    python examples/prior_draws.py --out .

writes `prior-draws-1d.png` and `prior-draws-2d.png`. One hidden layer of infinite width with ReLU,
`σ_v = σ_b = 1`. The kernels of the functions are drawn first, one a function; heavy-tailed node
variances make few kinks carry most of it.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mogp import MoGP, priors

PRIORS: dict[str, priors.Prior] = {
    "Deterministic: a Gaussian process": priors.Deterministic(),
    "Gamma(1)": priors.Gamma(1.0),
    "Bernoulli(5)": priors.Bernoulli(5.0),
    "GBFRY(0.5, τ=2)": priors.GBFRY(0.5, 2.0),
    "Horseshoe": priors.Horseshoe(),
    "Stable(0.2)": priors.Stable(0.2),
}


def standardised(values: np.ndarray) -> np.ndarray:
    """Each function with mean 0 and standard deviation 1 over the points, to share axes."""
    points = tuple(range(1, values.ndim))
    centred = values - values.mean(points, keepdims=True)
    return centred / centred.std(points, keepdims=True)


def model_of(prior: priors.Prior) -> MoGP:
    return MoGP([prior], bias_scale=1.0)


def one_input(key: jax.Array, num: int = 4) -> Figure:
    """Draws on a grid: the random kernel on all of its points, then the function."""
    x = jnp.linspace(-3, 3, 301)[:, None]
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, prior) in zip(
        figure.subplots(2, 3, sharex=True, sharey=True).flat, PRIORS.items(), strict=True
    ):
        draws = model_of(prior).sample_prior(x, key=key, num_samples=num, num_jumps=300)
        for values in standardised(np.asarray(draws[..., 0])):
            axes.plot(x[:, 0], values, linewidth=1.4)
        axes.set_title(name, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
    figure.supxlabel("x", fontsize="medium")
    figure.supylabel("f(x), standardised", fontsize="medium")
    return figure


def two_inputs(key: jax.Array, size: int = 120) -> Figure:
    """One draw each as a `Path`, which is evaluated on a fine grid afterwards."""
    grid = jnp.linspace(-3, 3, size)
    x = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    for axes, (name, prior) in zip(
        figure.subplots(2, 3, sharex=True, sharey=True).flat, PRIORS.items(), strict=True
    ):
        path = model_of(prior).sample_path(2, key=key, num_jumps=300, num_diffuse=2000)
        values = standardised(np.asarray(path(x)).reshape(1, size, size))[0]
        sizes, rest = np.asarray(path.jumps[0].sizes), float(path.jumps[0].diffuse)
        share = sizes.max(initial=0) / (sizes.sum() + rest)
        print(f"{name:32} its largest node variance is {share:.1%} of the sum of all")
        image = axes.imshow(
            values, origin="lower", extent=(-3, 3, -3, 3), cmap="RdBu_r", vmin=-3, vmax=3
        )
        axes.contour(grid, grid, values, levels=np.arange(-3, 3.5, 0.5), colors="k", linewidths=0.3)
        axes.set_title(name, fontsize="medium")
    figure.colorbar(image, ax=figure.axes, shrink=0.7, label="f(x), standardised")
    figure.supxlabel("x₁", fontsize="medium")
    figure.supylabel("x₂", fontsize="medium")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="coarse grids, to see that it runs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(options.seed)
    one_input(key).savefig(options.out / "prior-draws-1d.png", dpi=150)
    two_inputs(key, 30 if options.quick else 120).savefig(
        options.out / "prior-draws-2d.png", dpi=150
    )


if __name__ == "__main__":
    main()
