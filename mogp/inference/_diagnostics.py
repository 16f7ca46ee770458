"""Numbers about a posterior: leave-one-out scores, convergence, and tables of models."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp.architecture import AbstractArchitecture
from mogp.inference._posterior import Posterior
from mogp.inference.chains import nuts

if TYPE_CHECKING:
    import pandas as pd


def leave_one_out(posterior: Posterior, *, pointwise: bool = False) -> dict[str, Any]:
    """Pareto-smoothed importance sampling for `-log p(y_i | other rows)`, averaged over rows.

    The values of `Posterior.log_likelihood` may be `log p(y_i | draw)` or, where weights were
    integrated out, `log p(y_i | other rows, draw)`. In both, the posterior without row i has the
    density of the posterior over `exp` of the value, up to a factor; so the same importance weights
    are right.

    Args:
        posterior: of any sampler, with at least 25 draws in all.
        pointwise: whether to return the value of each row, too.

    Returns:
        `nll` and its standard error `se`, in nats; `bad`, the share of rows with a Pareto k above
        0.7, whose weights cannot be trusted; and only if there are such, `statement`, which says
        so. Rows whose density is not finite, and all rows of draws that do not differ, are among
        them; `nll` is NaN with the first. With `pointwise` also `elpd`, `log p(y_i | other rows)`
        of shape (n,), to compare posteriors of the same rows by their differences.

    Raises:
        ValueError: if draws times rows are too many, see `Posterior.data`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x, model = jnp.linspace(-2, 2, 10)[:, None], MoGP([priors.Deterministic()])
        >>> draw = eqx.filter_vmap(lambda key: model.network(1, 1, 3, key=key))
        >>> sources = eqx.filter_vmap(draw)(jax.random.split(jax.random.key(0), (1, 50)))
        >>> posterior = inference.Posterior(
        ...     sources, inference.Gaussian(jnp.ones((1, 50))), x, jnp.sin(x), key=jax.random.key(1)
        ... )
        >>> sorted(inference.leave_one_out(posterior))
        ['bad', 'nll', 'se', 'statement']
    """
    if "log_likelihood" not in posterior.data.children:
        raise ValueError(
            "posterior must have fewer draws or rows: its tree has no group log_likelihood, "
            "which would be too large"
        )
    elpd, k = _left_out(posterior)
    share = float(np.mean(~(k <= 0.7)))
    nll, se = -float(elpd.mean()), float(elpd.std() / len(elpd) ** 0.5)
    scores: dict[str, Any] = {"nll": nll, "se": se, "bad": share}
    if pointwise:
        scores["elpd"] = elpd
    if not share:
        return scores
    statement = (
        f"leave-one-out by importance sampling fails in {share:.2g} of the rows, whose Pareto k is "
        "above 0.7: fit again without these rows, or by K-fold cross-validation"
    )
    return scores | {"statement": statement}


def _left_out(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """`log p(y_i | other rows)` and the Pareto k of each row; infinite k where nothing helps."""
    import arviz_stats
    import xarray as xr

    data = np.asarray(posterior.data["log_likelihood"]["y"], float)
    num = data.shape[0] * data.shape[1]
    flat = data.reshape(num, -1)
    elpd, k = np.full(data.shape[2], np.nan), np.full(data.shape[2], np.inf)
    groups = {"posterior": posterior.data["posterior"].to_dataset()}

    def smooth(rows: np.ndarray) -> None:
        group = xr.Dataset({"y": (("chain", "draw", "row"), data[..., rows])})
        tree = xr.DataTree.from_dict(groups | {"log_likelihood": group})
        with warnings.catch_warnings():  # it warns of what `bad` says
            warnings.simplefilter("ignore")
            loo = arviz_stats.loo(tree, pointwise=True, var_name="y")
        elpd[rows], k[rows] = loo.elpd_i.values, loo.pareto_k.values

    def average(rows: np.ndarray) -> None:
        elpd[rows] = math.log(num) - np.logaddexp.reduce(-flat[:, rows], 0)

    finite = np.isfinite(data).all((0, 1))
    same = finite & (np.ptp(np.where(finite, data, 0), 1) == 0).all(0)
    average(np.flatnonzero(same))
    k[same & (data == 0).all((0, 1))] = (
        0  # sure classes; other draws that do not differ say nothing
    )
    rows = np.flatnonzero(finite & ~same)
    if not len(rows):
        return elpd, k
    try:
        smooth(rows)
    except ValueError:  # "All tail values are the same"
        for row in np.split(rows, len(rows)):
            try:
                smooth(row)
            except ValueError:
                average(row)  # the largest weights are equal, and so bounded
                k[row] = 0
    return elpd, k


def convergence(posterior: Posterior, x: Array, rows: int = 20) -> dict[str, Any]:
    """How well the chains agree.

    R̂ and effective sample sizes are those of the scalar unknowns and of the function at up to
    `rows` of the points; the nodes themselves may change places without harm.

    Args:
        posterior: of any sampler.
        x: points, of shape (n, d).
        rows: the number of points to look at, evenly spaced.

    Returns:
        `divergences` of NUTS; `r_hat`, the largest; `ess`, the smallest of bulk and tail; and
        `stuck_chains`, the numbers of those that do not move; and
        `unknowns`, for each of them `mean`, `sd`, `q05`, `q95`, `r_hat` and `ess`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x, model = jnp.linspace(-2, 2, 10)[:, None], MoGP([priors.Deterministic()])
        >>> draw = eqx.filter_vmap(lambda key: model.network(1, 1, 3, key=key))
        >>> sources = eqx.filter_vmap(draw)(jax.random.split(jax.random.key(0), (4, 50)))
        >>> posterior = inference.Posterior(
        ...     sources, inference.Gaussian(jnp.ones((4, 50))), x, jnp.sin(x), key=jax.random.key(1)
        ... )
        >>> inference.convergence(posterior, x)["r_hat"] < 1.1
        True
    """
    import arviz_base
    import arviz_stats

    places = np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)
    scalars = {n: np.asarray(v) for n, v in posterior.parameters.items() if v.ndim == 2}
    f = np.asarray(posterior.predict(x[places]).outputs).reshape(*posterior.shape, -1)
    values = dict(scalars)
    if (varies := np.ptp(f, axis=(0, 1)) > 0).any():
        values["f(x)"] = f[..., varies]
    found = arviz_base.dict_to_dataset(values)
    r_hat = arviz_stats.rhat(found)
    ess = {kind: arviz_stats.ess(found, method=kind) for kind in ("bulk", "tail")}
    unknowns = {}
    for name, value in scalars.items():
        low, high = np.quantile(value, [0.05, 0.95])
        unknowns[name] = {
            "mean": float(value.mean()),
            "sd": float(value.std()),
            "q05": float(low),
            "q95": float(high),
            "r_hat": float(r_hat[name]),
            "ess": float(min(ess["bulk"][name], ess["tail"][name])),
        }
    return {
        "divergences": int(np.sum(posterior.statistics.get("diverging", 0))),
        "r_hat": _extreme(max, [float(r_hat[name].max()) for name in values]),
        "ess": _extreme(min, [float(e[name].min()) for e in ess.values() for name in values]),
        "stuck_chains": list(posterior.attrs.get("stuck_chains", [])),
        "unknowns": unknowns,
    }


def _extreme(which: Callable[..., float], values: list[float]) -> float:
    """Of the numbers that are not NaN, which values that never change have; NaN without others."""
    return which((v for v in values if not math.isnan(v)), default=math.nan)


def compare_models(
    models: Mapping[str, AbstractArchitecture],
    x: Array,
    y: ArrayLike,
    x_test: Array,
    y_test: ArrayLike,
    *,
    key: Array,
    **options: Any,
) -> "tuple[pd.DataFrame, dict[str, Posterior]]":
    """Fit models by NUTS to the same data, and tabulate how well they predict.

    Args:
        models: the models by name.
        x: training inputs, of shape (n, d).
        y: training observations, as for `nuts`.
        x_test: test inputs.
        y_test: test observations.
        key: a random key, the same for all.
        **options: options of `inference.nuts`.

    Returns:
        A table with a row a model: the scores of `Predictive.evaluate` on the test rows, `loo` and
        `bad_k` (see `leave_one_out`), `divergences`, `r_hat`, `ess` (see `convergence`), `seconds`
        of sampling with compilation; and the posteriors by name.

    Raises:
        ValueError: if data do not fit, as `nuts` does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x = jnp.linspace(-1.0, 1.0, 8)[:, None]
        >>> table, posteriors = inference.compare_models(
        ...     {"GP": MoGP([priors.Deterministic()])}, x, x[:, 0], x, x[:, 0],
        ...     key=jax.random.key(0), num_warmup=5, num_samples=15, num_chains=2, progress=False,
        ... )
        >>> table.index.tolist()
        ['GP']
    """
    import pandas as pd

    rows, posteriors = {}, {}
    for name, model in models.items():
        start = time.perf_counter()
        posterior = nuts(model, x, y, key=key, **options)
        seconds = time.perf_counter() - start
        loo, found = leave_one_out(posterior), convergence(posterior, x)
        kept = {k: found[k] for k in ("divergences", "r_hat", "ess")}
        scores = posterior.evaluate(x_test, y_test, key=jax.random.fold_in(key, 1))
        scores |= {"loo": loo["nll"], "bad_k": loo["bad"]}
        rows[name], posteriors[name] = scores | kept | {"seconds": seconds}, posterior
    return pd.DataFrame.from_dict(rows, orient="index"), posteriors
