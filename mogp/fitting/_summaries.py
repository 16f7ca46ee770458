"""Numbers about a posterior: tables of predictions, scores, calibration, convergence."""

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from jax.typing import ArrayLike

from mogp import inference
from mogp.architecture import MoGP
from mogp.fitting._tables import Encoding
from mogp.inference import Posterior, Predictive


def predictions(predictive: Predictive, encoding: Encoding) -> pd.DataFrame:
    """Predictions as a table: the columns of `Fit.predict`."""
    mean = np.asarray(predictive.mean())
    if encoding.classes is not None:
        shares = class_shares(mean)
        best = np.array(encoding.classes)[shares.argmax(1)]
        columns = {f"p_{name}": shares[:, k] for k, name in enumerate(encoding.classes)}
        return pd.DataFrame({"class": best} | columns)
    draws = np.asarray(predictive.sample(key=jax.random.key(0)))[..., 0]
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    location, scale = encoding.target_mean, encoding.target_scale
    return pd.DataFrame(
        {
            "mean": location + scale * mean[:, 0],
            "sd": scale * draws.std(0),
            "q05": location + scale * low,
            "q50": location + scale * median,
            "q95": location + scale * high,
        }
    )


def class_shares(mean: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of all classes, where `mean` may be those of the second of two."""
    return np.concatenate([1 - mean, mean], axis=1) if mean.shape[1] == 1 else mean


def in_units(scores: dict[str, float], encoding: Encoding) -> dict[str, float]:
    """Scores of standardised observations in the units of the target."""
    scale = encoding.target_scale
    units = {"nll": lambda v: v + math.log(scale), "rmse": lambda v: v * scale}
    units["crps"] = units["rmse"]
    return {name: units.get(name, lambda v: v)(value) for name, value in scores.items()}


def leave_one_out(posterior: Posterior) -> dict[str, float]:
    """Pareto-smoothed importance sampling for `-log p(y_i | other rows)`, averaged over rows.

    The values in `log_likelihood` may be `log p(y_i | draw)` or, where weights were integrated out,
    `log p(y_i | other rows, draw)`. In both, the posterior without row i has the density of the
    posterior over `exp` of the value, up to a factor; so the same importance weights are right.

    Returns:
        `nll` and its standard error `se`; `bad`, the share of rows with a Pareto k above 0.7,
        whose weights cannot be trusted.
    """
    import arviz_stats

    with warnings.catch_warnings():  # it warns of what `bad` says
        warnings.simplefilter("ignore")
        loo = arviz_stats.loo(posterior.data, pointwise=True, var_name="y")
    n = loo.n_data_points
    return {
        "nll": -float(loo.elpd) / n,
        "se": float(loo.se) / n,
        "bad": float(np.mean(~(loo.pareto_k.values <= 0.7))),
    }


def unknowns(group: xr.Dataset) -> xr.Dataset:
    """The scalar unknowns of a posterior or prior: scales, noise, parameters of priors."""
    names = [name for name in group.data_vars if group[name].ndim == 2]
    return group[[name for name in names if not str(name).startswith("diffuse")]]


def convergence(posterior: Posterior, x: Array, rows: int = 20) -> dict[str, Any]:
    """How well the chains agree.

    R̂ and effective sample sizes are those of the scalar unknowns and of the function at up to
    `rows` of the points `x`; the nodes themselves may change places without harm.

    Returns:
        `divergences`, `r_hat` (the largest), `ess` (the smallest of bulk and tail), and a table
        `unknowns` with mean, sd, 5 % and 95 % quantiles, R̂ and ESS.
    """
    import arviz_stats

    places = np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)
    found = unknowns(posterior.data["posterior"].to_dataset())
    outputs = np.asarray(posterior.predict(x[places]).outputs)
    shape = (found.sizes["chain"], found.sizes["draw"])
    f = outputs.reshape(*shape, -1)
    if (varies := np.ptp(f, axis=(0, 1)) > 0).any():
        found = found.assign(_f=(("chain", "draw", "_place"), f[..., varies]))
    r_hat = arviz_stats.rhat(found)
    ess = {kind: arviz_stats.ess(found, method=kind) for kind in ("bulk", "tail")}
    rows_of = {}
    for name in found.data_vars:
        if name == "_f":
            continue
        values = found[name].values
        low, high = np.quantile(values, [0.05, 0.95])
        rows_of[str(name)] = {
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "q05": float(low),
            "q95": float(high),
            "r_hat": float(r_hat[name]),
            "ess": float(min(ess["bulk"][name], ess["tail"][name])),
        }
    return {
        "divergences": int(posterior.data["sample_stats"]["diverging"].sum()),
        "r_hat": max(float(r_hat[name].max()) for name in found.data_vars),
        "ess": min(float(each[name].min()) for each in ess.values() for name in found.data_vars),
        "unknowns": rows_of,
    }


def compare_models(
    models: Mapping[str, MoGP],
    x: Array,
    y: ArrayLike,
    x_test: Array,
    y_test: ArrayLike,
    *,
    key: Array,
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, Posterior]]:
    """Fit models by NUTS to the same data, and tabulate how well they predict.

    Args:
        models: by name.
        x: training inputs, of shape (n, d).
        y: training observations.
        x_test: test inputs.
        y_test: test observations.
        key: a random key, the same for all.
        **options: of `inference.nuts`.

    Returns:
        A table with a row a model: the scores of `Predictive.evaluate` on the test rows, `loo` and
        `bad_k` (see `leave_one_out`), `divergences`, `r_hat`, `ess` (see `convergence`), `seconds`
        of sampling with compilation; and the posteriors by name.
    """
    rows, posteriors = {}, {}
    for name, model in models.items():
        start = time.perf_counter()
        posterior = inference.nuts(model, x, y, key=key, **options)
        seconds = time.perf_counter() - start
        loo, found = leave_one_out(posterior), convergence(posterior, x)
        kept = {k: found[k] for k in ("divergences", "r_hat", "ess")}
        scores = posterior.evaluate(x_test, y_test) | {"loo": loo["nll"], "bad_k": loo["bad"]}
        rows[name], posteriors[name] = scores | kept | {"seconds": seconds}, posterior
    return pd.DataFrame.from_dict(rows, orient="index"), posteriors


def ranks(predictive: Predictive, y: np.ndarray) -> np.ndarray:
    """Where observations lie among draws of the predictions, in (0, 1): uniform if calibrated.

    Ties, which counts have, are broken at random.

    Args:
        predictive: of one output.
        y: observations, of shape (n,).

    Returns:
        Shape (n,).
    """
    draws = np.asarray(predictive.sample(key=jax.random.key(1)))[..., 0]
    y = np.asarray(y, draws.dtype)
    below, ties = (draws < y).sum(0), (draws == y).sum(0)
    shares = np.random.default_rng(0).uniform(size=len(y))
    return (below + shares * (ties + 1)) / (len(draws) + 1)


__all__ = [
    "class_shares",
    "compare_models",
    "convergence",
    "in_units",
    "leave_one_out",
    "predictions",
    "ranks",
    "unknowns",
]
