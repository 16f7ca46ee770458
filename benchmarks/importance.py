"""NUTS against importance sampling from the prior, on data sets of five points.

    python benchmarks/importance.py --case "network, GBFRY"

Draws of the prior, weighted by their marginal likelihoods, give the mean of each unknown parameter
(in logarithms, but for indices) without any chain. Printed are both means, their difference in
standard errors, and R̂ of the chains. Weights of few effective draws make a comparison worthless.
"""

import argparse
import time

import arviz_stats
import jax
import numpy as np
from calibration import CASES
from numpyro.infer import Predictive

from mogp import inference
from mogp.inference._likelihoods import likelihood_of
from mogp.inference.chains._setup import setup_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, default="network, GBFRY")
    parser.add_argument("--data-sets", type=int, default=7)
    parser.add_argument("--draws", type=int, default=1_000_000, help="of the prior")
    parser.add_argument("--samples", type=int, default=1000, help="of each of four chains")
    parser.add_argument("--single", action="store_true", help="in single precision")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", not options.single)
    model, width = CASES[options.case]
    x = jax.random.normal(jax.random.key(5), (5, 2))
    setup = setup_of(model, x, likelihood_of("gaussian"), 1, width, 4, 3, None)
    from_prior = Predictive(setup.numpyro_model, num_samples=options.data_sets)
    ys = from_prior(jax.random.key(77), x)["y"]

    def weighted(key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        drawn = Predictive(setup.numpyro_model, num_samples=1)(key, x)
        drawn = {n: v[0] for n, v in drawn.items() if n not in ("y", "outputs")}
        source, likelihood = setup.draw(drawn)
        log_p = jax.vmap(
            lambda y: likelihood.condition(source, x, y, setup.method).log_marginal_likelihood()
        )(ys)
        return log_p, {n: v for n, v in drawn.items() if v.ndim == 0 and "diffuse" not in n}

    keys = jax.random.split(jax.random.key(1), options.draws)
    log_p, prior = jax.jit(lambda k: jax.lax.map(weighted, k, batch_size=1000))(keys)
    log_p = np.asarray(log_p, float)
    for i, y in enumerate(ys):
        weights = np.exp(log_p[:, i] - log_p[:, i].max())
        weights /= weights.sum()
        began = time.perf_counter()
        posterior = inference.nuts(
            model, x, y, key=jax.random.key(i), width=width, num_jumps=4, num_diffuse=3,
            num_samples=options.samples, max_tree_depth=6, progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        found = [f"{i:2d}: {1 / np.sum(weights**2):.0f} effective draws of the prior"]
        for name, values in prior.items():
            plain = "alpha" in name
            value = np.asarray(values, float) if plain else np.log(np.asarray(values, float))
            mean = weights @ value
            drawn = posterior.data["posterior"][name].values
            drawn = drawn if plain else np.log(drawn)
            ess, r_hat = float(arviz_stats.ess(drawn)), float(arviz_stats.rhat(drawn))
            errors = np.sqrt(np.sum((weights * (value - mean)) ** 2) + drawn.var() / ess)
            difference = (drawn.mean() - mean) / errors
            found.append(f"{name} {mean:.3f} {drawn.mean():.3f} ({difference:+.1f}, R̂ {r_hat:.2f})")
        divergences = int(posterior.data["sample_stats"]["diverging"].sum())
        print("; ".join(found) + f"; {divergences} divergences; {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
