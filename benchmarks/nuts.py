"""NUTS on a horseshoe network, ours and written directly in NumPyro: effective draws a second.

    python benchmarks/nuts.py

Width 50, 100 points of 5 inputs, ReLU, unknown noise, float64. Written directly: all weights, node
variances `λ_j = τ_j²` with half-Cauchy `τ_j` of scale `1/p`, a normal likelihood. Ours is
`inference.nuts` at its defaults, in which the weights of the outputs are integrated out. Both run
four chains at once, in the same process, one after the other. Effective draws are those of the mean
of the prediction at 20 new points: the smallest over points, by ArviZ.
"""

import argparse
import time

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from numpyro.infer import MCMC, NUTS

from mogp import MoGP, inference, priors

WIDTH, NUM, SIZE = 50, 100, 5


def data(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    by_x, by_y, by_new = jax.random.split(key, 3)
    x = jax.random.normal(by_x, (NUM, SIZE))
    y = jnp.maximum(x[:, 0], 0) - jnp.maximum(x[:, 1] + x[:, 2], 0)
    noise = 0.1 * jax.random.normal(by_y, (NUM,))
    return x, y + noise, jax.random.normal(by_new, (20, SIZE))


def outputs(values: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(x @ values["w"] / SIZE**0.5 + values["b"][None])
    return hidden @ (values["tau"] * values["v"]) + values["c"]


def plain(x: jax.Array, y: jax.Array) -> None:
    normal = dist.Normal(0.0, 1.0)
    values = {
        "w": numpyro.sample("w", normal.expand((SIZE, WIDTH)).to_event(2)),
        "b": numpyro.sample("b", normal.expand((WIDTH,)).to_event(1)),
        "tau": numpyro.sample("tau", dist.HalfCauchy(1 / WIDTH).expand((WIDTH,)).to_event(1)),
        "v": numpyro.sample("v", normal.expand((WIDTH,)).to_event(1)),
        "c": numpyro.sample("c", normal),
    }
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(outputs(values, x), noise), obs=y)


def report(
    name: str, predictions: np.ndarray, seconds: float, steps: np.ndarray, bad: int
) -> float:
    """Print a row; predictions have shape (chains, draws, points)."""
    table = xr.Dataset({"f": (("chain", "draw", "point"), predictions)})
    ess = float(arviz_stats.ess(table)["f"].min())
    rhat = float(arviz_stats.rhat(table)["f"].max())
    print(
        f"{name:28}{seconds:9.1f} s {steps.mean():8.0f} steps a draw {bad:6d} divergences"
        f"{ess:8.0f} effective{rhat:8.3f} R-hat{ess / seconds:9.2f} a second",
        flush=True,
    )
    return ess / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    x, y, new = data(jax.random.key(0))

    began = time.perf_counter()
    posterior = inference.nuts(
        MoGP([priors.Horseshoe()], bias_scale=1.0), x, y, key=jax.random.key(1), width=WIDTH,
        num_warmup=options.warmup, num_samples=options.samples, progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    stats = posterior.data.sample_stats
    predictions = posterior.predict(new).outputs[..., 0].reshape(4, options.samples, -1)
    ours = report(
        "mogp", np.asarray(predictions), seconds, stats["n_steps"].values,
        int(stats["diverging"].sum()),
    )  # fmt: skip

    began = time.perf_counter()
    sampler = MCMC(
        NUTS(plain), num_warmup=options.warmup, num_samples=options.samples, num_chains=4,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    sampler.run(jax.random.PRNGKey(1), x, y, extra_fields=("num_steps", "diverging"))
    jax.block_until_ready(sampler.get_samples())
    seconds = time.perf_counter() - began
    values = sampler.get_samples(group_by_chain=True)
    predictions = jax.vmap(jax.vmap(lambda v: outputs(v, new)))(values)
    extra = sampler.get_extra_fields()
    theirs = report(
        "NumPyro, written directly", np.asarray(predictions), seconds,
        np.asarray(extra["num_steps"]), int(extra["diverging"].sum()),
    )  # fmt: skip
    print(f"mogp gives {ours / theirs:.1f} times the effective draws a second")


if __name__ == "__main__":
    main()
