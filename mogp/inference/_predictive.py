"""Predictions: an average of the distributions of observations over draws of a posterior."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_between, is_concrete
from mogp.inference._likelihoods import Likelihood
from mogp.inference._scores import class_scores


class Predictive(eqx.Module):
    """What draws of a posterior say of observations at points: an average of their distributions.

    Attributes:
        likelihood: its parameters of each draw, of shape (num_draws,).
        outputs: the values of the function, of shape (num_draws, n, num_outputs). Where the weights
            of the outputs are integrated out, these are their means given each draw.
        variance: the variances of the outputs given each draw, of shape (num_draws, n); None for 0.
    """

    likelihood: Likelihood
    outputs: Array
    variance: Array | None

    def mean(self) -> Array:
        """Expected observations (n, num_outputs): class probabilities for labels, averaged."""
        return jnp.mean(self.means(), 0)

    def means(self) -> Array:
        """Expected observations given each draw, of shape (num_draws, n, num_outputs)."""
        return self._over_draws(_mean)

    def sample(self, *, key: Array) -> Array:
        """One set of observations from each draw, of shape (num_draws, n, …)."""
        keys = jax.random.split(key, len(self.outputs))
        return self._over_draws(_sample, key=keys)

    def log_density(self, y: ArrayLike) -> Array:
        """`log p(y_i)` of each observation alone, of shape (n,)."""
        values = self._over_draws(_density, self._targets(y))
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
            key: a random key for `crps` and `coverage`, which need draws of observations; labels,
                and observations that are 0 or 1, need none.

        Returns:
            `nll`, the mean negative log-density; for labels, and for 0 and 1, `accuracy`, `brier`
            (sum over classes) and `ece`, the expected calibration error of the most probable class
            in 15 bins of equal width; otherwise `rmse`, `crps`, the mean continuous ranked
            probability score (its unbiased estimate), and `coverage`, the share within 90 %
            intervals.

        Raises:
            ValueError: if the key is missing, or observations do not fit.
        """
        targets, scores = self._targets(y), {"nll": -float(jnp.mean(self.log_density(y)))}
        if targets.ndim == 1:
            return scores | class_scores(np.asarray(self.mean()), np.asarray(targets))
        if self.likelihood.is_binary:
            of_1 = np.asarray(self.mean()).ravel()
            labels = np.asarray(targets).ravel().astype(int)
            return scores | class_scores(np.stack([1 - of_1, of_1], 1), labels)
        if key is None:
            raise ValueError(
                "key must be given: the scores crps and coverage need draws of observations"
            )
        return scores | self._of_numbers(targets, key)

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
        outputs = self.outputs.shape[2]
        targets = self.likelihood.for_outputs(outputs).targets(y, self.outputs.shape[1])
        if targets.ndim == 1 and is_concrete(targets) and int(targets.max()) >= outputs:
            raise ValueError(f"y must lie in [0, {outputs}), got {int(targets.max())}")
        if targets.ndim == 2 and targets.shape[1] != outputs:
            raise ValueError(f"y must have {outputs} columns, got {targets.shape[1]}")
        return targets

    def _over_draws(self, f: Any, *arrays: Any, **more: Array) -> Array:
        values: Array = _mapped(f, (self.likelihood, self.outputs, self.variance), arrays, more)
        return values


@eqx.filter_jit
def _mapped(f: Any, draws: Any, same: tuple[Any, ...], more: dict[str, Array]) -> Any:
    """`f(likelihood, outputs, variance, *same, **more)` of each draw; `more` leads with draws."""
    arrays, static = eqx.partition((draws, more), eqx.is_array)

    def one(arrays: Any) -> Array:
        draw, more = eqx.combine(arrays, static)
        value: Array = f(*draw, *same, **more)
        return value

    return jax.lax.map(one, arrays)


def _mean(likelihood: Likelihood, outputs: Array, _: Array | None) -> Array:
    return likelihood.mean(outputs)


def _sample(likelihood: Likelihood, outputs: Array, variance: Array | None, key: Array) -> Array:
    drawn: Array = _law(likelihood, outputs, variance).sample(key)
    return drawn


def _density(likelihood: Likelihood, outputs: Array, variance: Array | None, y: Array) -> Array:
    values: Array = _law(likelihood, outputs, variance).log_prob(y)
    return values


def _law(likelihood: Likelihood, outputs: Array, variance: Array | None) -> Any:
    more = () if variance is None else (variance,)
    return likelihood.law(outputs, *more)
