"""Progression of diabetes from ten measurements: two priors, leave-one-out and test scores.

    python examples/regression_diabetes.py --out .

prints a table and writes `regression-diabetes.png`. 100 of the 442 patients that come with
scikit-learn are fitted, the others tested. Scores are in standard deviations of the target.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes

from mogp import MoGP, inference, plots, priors

PRIORS: dict[str, priors.Prior] = {
    "GP": priors.Deterministic(),
    "Horseshoe": priors.Horseshoe(),
}
QUICK = {"num": 20, "num_samples": 20, "num_warmup": 20, "num_chains": 2, "num_jumps": 2}


def data(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised inputs and target: training, then test."""
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[:num], order[num:]
    x = (x - x[train].mean(0)) / x[train].std(0)
    y = (y - y[train].mean()) / y[train].std()
    return x[train], y[train], x[test], y[test]


def main(
    out: Path = Path(),
    seed: int = 0,
    num: int = 100,
    num_samples: int = 250,
    num_warmup: int = 250,
    num_chains: int = 4,
    num_jumps: int = 5,
) -> None:
    jax.config.update("jax_enable_x64", True)
    unknown = [dist.LogNormal(0.0, 1.0)] * 2
    models = {
        name: MoGP([prior], weight_scale=unknown, bias_scale=unknown)
        for name, prior in PRIORS.items()
    }
    x, y, x_test, y_test = data(num, seed)
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

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (name, posterior) in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), posteriors.items(), strict=True
    ):
        by_draw, by_tie = jax.random.split(jax.random.key(seed + 1))
        draws = posterior.predict(jnp.asarray(x_test)).sample(key=by_draw)[..., 0]
        plots.rank_histogram(draws, y_test, key=by_tie, ax=axes)
        axes.set(xlabel="", ylabel="")
        axes.set_title(f"{name}\ntest nll {table.loc[name, 'nll']:.3f}", fontsize="medium")
    figure.supxlabel("share of draws below the observation: level if calibrated", fontsize="medium")
    figure.supylabel("test patients", fontsize="medium")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "regression-diabetes.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    main(options.out, options.seed, **(QUICK if options.quick else {}))
