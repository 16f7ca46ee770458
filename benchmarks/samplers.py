"""Gibbs sampling and NUTS on one posterior of the limit: effective draws a second.

    python benchmarks/samplers.py --rows 60 --columns 4 --out benchmarks/samplers.jsonl

`y = sin(2 x_0) + 0.2 ε`, all other columns irrelevant; ReLU, GBFRY(0.5, 2) with 30 jumps, a
horseshoe on the variances of the inputs, unknown scales of weights, biases and noise, float64: the
model of the estimators. Both samplers run in the same process, one after the other, four chains
each; times include compilation. Effective draws are the smallest (bulk, by ArviZ) over all unknown
scales and variances and the mean of the prediction at six new points. One line of JSON is appended
to the file.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import xarray as xr

from mogp import MoGP, inference, priors

jax.config.update("jax_enable_x64", True)


def model() -> MoGP:
    scale = dist.LogNormal(0.0, 1.0)
    return MoGP(
        [priors.GBFRY(alpha=0.5, tau=2.0)],
        "relu",
        weight_scale=[1.0, scale],
        bias_scale=[scale, scale],
        input_prior=priors.Horseshoe(),
    )


def measured(posterior: inference.Posterior, new: np.ndarray, seconds: float) -> dict[str, float]:
    shape = posterior.shape
    values = {
        name: np.log(np.asarray(value)).reshape(*shape, -1)
        for name, value in posterior.parameters.items()
    }
    values["mean"] = np.asarray(posterior.predict(new).outputs).reshape(*shape, -1)
    data = xr.Dataset(
        {name: (("chain", "draw", f"{name}_axis"), value) for name, value in values.items()}
    )
    ess = min(float(arviz_stats.ess(data)[name].min()) for name in values)
    r_hat = max(float(arviz_stats.rhat(data)[name].max()) for name in values)
    return {
        "seconds": round(seconds, 1),
        "steps_a_draw": round(float(np.mean(posterior.statistics["n_steps"])), 1),
        "effective_draws": round(ess, 1),
        "r_hat": round(r_hat, 3),
        "effective_a_second": round(ess / seconds, 3),
        "mean_log_noise": round(float(np.mean(values["noise_scale"])), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument(
        "--gibbs", type=int, nargs=2, default=[100, 400], metavar=("WARMUP", "DRAWS")
    )
    parser.add_argument(
        "--nuts", type=int, nargs=2, default=[150, 100], metavar=("WARMUP", "DRAWS")
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(given.rows, given.columns))
    y = np.sin(2 * x[:, 0]) + 0.2 * rng.normal(size=given.rows)
    new = rng.normal(size=(6, given.columns))
    line: dict[str, object] = {
        "rows": given.rows,
        "columns": given.columns,
        "jax": jax.__version__,
        "machine": f"{platform.machine()}, {jax.default_backend()}",
    }
    for name, sample in (("gibbs", inference.gibbs), ("nuts", inference.nuts)):
        warmup, draws = getattr(given, name)
        start = time.perf_counter()
        posterior = sample(
            model(), x, y, key=jax.random.key(0), num_warmup=warmup, num_samples=draws,
            num_chains=4, progress=False,
        )  # fmt: skip
        line[name] = measured(posterior, jnp.asarray(new), time.perf_counter() - start)
        print(name, line[name], flush=True)
    if given.out:
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
