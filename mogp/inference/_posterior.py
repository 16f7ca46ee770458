"""Posteriors: draws of functions, their predictions, and an ArviZ DataTree about them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.typing import ArrayLike

from mogp import limit
from mogp._checks import check_between, check_inputs
from mogp._files import whole_file
from mogp.inference._likelihoods import Likelihood


class Predictive(eqx.Module):
    """What draws of a posterior say of observations at points: an average of their laws.

    Attributes:
        likelihood: one a draw.
        outputs: of the function, of shape (num_draws, n, num_outputs); given each draw their mean,
            where the weights of the outputs are integrated out.
        variance: theirs given each draw, of shape (num_draws, n); None for 0.
    """

    likelihood: Likelihood
    outputs: Array
    variance: Array | None

    def mean(self) -> Array:
        """Expected observations (n, num_outputs): class probabilities for labels, averaged."""
        return jnp.mean(self._over_draws(lambda law, outputs, _: law.mean(outputs)), 0)

    def sample(self, *, key: Array) -> Array:
        """One set of observations from each draw, of shape (num_draws, n, …)."""
        keys = jax.random.split(key, len(self.outputs))
        return self._over_draws(lambda *law, k: _law(*law).sample(k), k=keys)

    def log_density(self, y: ArrayLike) -> Array:
        """`log p(y_i)` of each observation alone, of shape (n,)."""
        targets = self._targets(y)
        values = self._over_draws(lambda *law: _law(*law).log_prob(targets))
        return jax.nn.logsumexp(values, axis=0) - jnp.log(len(values))

    def interval(self, level: float = 0.9, *, key: Array) -> Array:
        """Central intervals of observations, of shape (2, n, …), from one set of each draw."""
        check_between("level", level, 0, 1)
        tails = jnp.array([(1 - level) / 2, (1 + level) / 2])
        return jnp.quantile(self.sample(key=key), tails, axis=0)

    def evaluate(self, y: ArrayLike, *, key: Array | None = None) -> dict[str, float]:
        """Scores against observations.

        Args:
            y: observations, as for the fit.
            key: for `crps` and `coverage`, which need draws of observations; fixed without.

        Returns:
            `nll`, the mean negative log-density; for labels `accuracy`, `brier` (sum over classes)
            and `ece`, the expected calibration error of the most probable class in 15 bins of equal
            width; otherwise `rmse`, `crps`, the mean continuous ranked probability score (its
            unbiased estimate), and `coverage`, the share within 90 % intervals.
        """
        targets, scores = self._targets(y), {"nll": -float(jnp.mean(self.log_density(y)))}
        if targets.ndim == 1:
            return scores | _of_classes(np.asarray(self.mean()), np.asarray(targets))
        return scores | self._of_numbers(targets, jax.random.key(0) if key is None else key)

    def _of_numbers(self, targets: Array, key: Array) -> dict[str, float]:
        draws = jnp.sort(self.sample(key=key), 0)
        num = len(draws)
        # E|Y - Y'| from ordered draws.
        weights = (2 * jnp.arange(num) - num + 1).reshape(-1, 1, 1) / (num * max(num - 1, 1))
        apart = jnp.sum(draws * weights.astype(draws.dtype), 0)
        crps = jnp.mean(jnp.abs(draws - targets[None]), 0) - apart
        low, high = jnp.quantile(draws, jnp.array([0.05, 0.95]), axis=0)
        inside = (targets >= low) & (targets <= high)
        return {
            "rmse": float(jnp.sqrt(jnp.mean((self.mean() - targets) ** 2))),
            "crps": float(jnp.mean(crps)),
            "coverage": float(jnp.mean(inside)),
        }

    def _targets(self, y: ArrayLike) -> Array:
        targets = self.likelihood.targets(y, self.outputs.shape[1])
        outputs = self.outputs.shape[2]
        if targets.ndim == 1 and int(targets.max()) >= outputs:
            raise ValueError(f"y must lie in [0, {outputs}), got {int(targets.max())}")
        if targets.ndim == 2 and targets.shape[1] != outputs:
            raise ValueError(f"y must have {outputs} columns, got {targets.shape[1]}")
        return targets

    def _over_draws(self, f: Any, **more: Array) -> Array:
        def one(each: tuple[Any, ...]) -> Array:
            arrays, outputs, variance, more = each
            return f(eqx.combine(arrays, static), outputs, variance, **more)

        arrays, static = eqx.partition(self.likelihood, eqx.is_array)
        return jax.jit(partial(jax.lax.map, one))((arrays, self.outputs, self.variance, more))


def _law(likelihood: Likelihood, outputs: Array, variance: Array | None) -> Any:
    more = () if variance is None else (variance,)
    return likelihood.law(outputs, *more)


def _of_classes(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    best, sure = probabilities.argmax(1), probabilities.max(1)
    right = best == labels
    hot = np.eye(probabilities.shape[1])[labels]
    bins = np.minimum((sure * 15).astype(int), 14)
    off = [abs((right[bins == b] - sure[bins == b]).sum()) for b in range(15)]
    return {
        "accuracy": float(right.mean()),
        "brier": float(((probabilities - hot) ** 2).sum(1).mean()),
        "ece": float(sum(off) / len(labels)),
    }


class Observed(eqx.Module):
    """What the functions of a posterior are conditioned on, their last weights integrated out.

    Attributes:
        x: of shape (n, d).
        y: of shape (n, num_outputs).
        method: of `limit.condition`.
    """

    x: Array
    y: Array
    method: str = eqx.field(static=True)


@dataclass(frozen=True)
class Posterior:
    """Draws from the posterior of a model.

    Attributes:
        data: ArviZ's tree: `posterior`, `posterior_predictive`, `log_likelihood`, `sample_stats`,
            `observed_data`, `constant_data` and, from NUTS, `prior`.
        sources: functions of points, a `limit.Path` or an `nn.DependentMLP` whose arrays lead with
            axes of chains and draws.
        likelihood: with the parameters of each draw, likewise.
        observed: the data, where the weights of the outputs are integrated out given each draw.
    """

    data: xr.DataTree
    sources: Any
    likelihood: Likelihood
    observed: Observed | None = None

    def predict(self, x: Array, *, num_draws: int | None = None) -> Predictive:
        """Predictions at new points of shape (n, d), all chains together.

        Args:
            x: points.
            num_draws: use so many draws, evenly spaced; all without.

        Raises:
            ValueError: if `x` does not fit.
        """
        weights = getattr(self.sources, "weights", None)
        check_inputs("x", x, None if weights is None else weights[0].shape[-1])
        flat = flattened((self.sources, self.likelihood))
        total = len(jax.tree.leaves(eqx.filter(flat, eqx.is_array))[0])
        if num_draws is not None and num_draws < total:
            keep = np.linspace(0, total - 1, num_draws).round().astype(int)
            flat = jax.tree.map(lambda a: a[keep] if eqx.is_array(a) else a, flat)
        outputs, variance = _predictions(*flat, self.observed, x)
        return Predictive(flat[1], outputs, variance)

    def evaluate(self, x: Array, y: ArrayLike, *, key: Array | None = None) -> dict[str, float]:
        """Scores of the predictions at `x` against `y`: `Predictive.evaluate`."""
        return self.predict(x).evaluate(y, key=key)

    def save(self, path: str | Path) -> None:
        """Write `data` as netCDF, whole or not at all; `arviz_base.open_datatree` reads it."""
        with whole_file(Path(path)) as part:
            self.data.to_netcdf(part, engine="h5netcdf")


def flattened(tree: Any) -> Any:
    """Arrays with one axis of draws in place of chains and draws."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]) if eqx.is_array(a) else a, tree)


@eqx.filter_jit
def _predictions(
    sources: Any, likelihoods: Likelihood, observed: Observed | None, x: Array
) -> tuple[Array, Array | None]:
    arrays, static = eqx.partition((sources, likelihoods), eqx.is_array)

    def one(arrays: Any) -> tuple[Array, Array | None]:
        source, likelihood = eqx.combine(arrays, static)
        if observed is None:
            return source(x), None
        return tuple(_given(source, likelihood, observed).predict(x))

    return jax.lax.map(one, arrays)


@eqx.filter_jit
def pointwise(
    sources: Any, likelihoods: Likelihood, observed: Observed | None, x: Array, targets: Array
) -> Array:
    """`log p(y_i | draw)`, of shape (num_draws, n); given the other observations if conjugate."""
    arrays, static = eqx.partition((sources, likelihoods), eqx.is_array)

    def one(arrays: Any) -> Array:
        source, likelihood = eqx.combine(arrays, static)
        if observed is None:
            return likelihood.law(source(x)).log_prob(targets)
        return jnp.sum(_given(source, likelihood, observed).leave_one_out().log_density, 1)

    return jax.lax.map(one, arrays)


def _given(source: Any, likelihood: Likelihood, observed: Observed) -> Any:
    return limit.condition(
        source,
        observed.x,
        observed.y,
        noise_scale=likelihood.noise_scale,
        method=observed.method,
    )
