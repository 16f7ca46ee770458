"""Handwritten digits from 150 examples: two priors, leave-one-out and test scores.

    python examples/classification_digits.py --out .

prints a table and writes `classification-digits.png`. The images are those of
`datasets.load("digits")`, in their 16 principal components; 359 are tested. A likelihood of classes
does not integrate to a closed form, so the diffuse part of each prior is carried by 24 nodes: the
Gaussian process, too, is approximated by a network of as many.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from mogp import MoGP, datasets, inference, plots, priors

PRIORS: dict[str, priors.Prior] = {
    "GP": priors.Deterministic(),
    "Horseshoe": priors.Horseshoe(),
}
QUICK = {
    "num": 30,
    "num_samples": 15,
    "num_warmup": 20,
    "num_chains": 2,
    "num_jumps": 2,
    "num_diffuse": 4,
}


def data(num: int, components: int, seed: int) -> list[np.ndarray]:
    """Principal components, of unit mean square in all, and labels: training, then test."""
    digits = datasets.load("digits")
    x, labels = np.asarray(digits.x_train, float), np.asarray(digits.y_train)
    few = np.random.default_rng(seed).choice(len(x), num, replace=False)
    centre = x[few].mean(0)
    axes = np.linalg.svd(x[few] - centre, full_matrices=False)[2][:components]
    reduced = [(np.asarray(a, float) - centre) @ axes.T for a in (x[few], digits.x_test)]
    scale = np.sqrt(np.mean(reduced[0] ** 2))
    return [reduced[0] / scale, labels[few], reduced[1] / scale, np.asarray(digits.y_test)]


def main(
    out: Path = Path(),
    seed: int = 0,
    num: int = 150,
    num_samples: int = 250,
    num_warmup: int = 250,
    num_chains: int = 4,
    num_jumps: int = 8,
    num_diffuse: int = 24,
) -> None:
    jax.config.update("jax_enable_x64", True)
    unknown = [dist.LogNormal(0.0, 1.0)] * 2
    models = {
        name: MoGP([prior], weight_scale=unknown, bias_scale=unknown)
        for name, prior in PRIORS.items()
    }
    x, y, x_test, y_test = data(num, 16, seed)
    table, posteriors = inference.compare_models(
        models,
        jnp.asarray(x),
        y,
        jnp.asarray(x_test),
        y_test,
        key=jax.random.key(seed),
        likelihood=inference.Categorical(10),
        num_samples=num_samples,
        num_warmup=num_warmup,
        num_chains=num_chains,
        num_jumps=num_jumps,
        num_diffuse=num_diffuse,
        progress=False,
    )
    print(table.round(3).to_string())
    best = table["nll"].idxmin()
    shares = np.asarray(posteriors[best].predict(jnp.asarray(x_test)).mean())
    axes = plots.reliability(shares, y_test)
    axes.set_title(f"{best}: {len(y_test)} test digits")
    out.mkdir(parents=True, exist_ok=True)
    axes.figure.savefig(out / "classification-digits.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    main(options.out, options.seed, **(QUICK if options.quick else {}))
