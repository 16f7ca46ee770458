"""Iid approximations at finite width of laws that have no closed form there ([DW], Section 3)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from mogp._checks import is_concrete
from mogp.levy._incomplete import log_killed, log_upper_gamma
from mogp.priors._law import NodeVarianceLaw
from mogp.priors._power_integral import log_power_integral


class FiniteGeneralizedGamma(NodeVarianceLaw):
    """The law of `G [s b^α + (1-s) (t+b)^α]^(-1/α)`, `t = (α width / mass)^(1/α)`.

    `G ~ Gamma(1-α, 1)` and `s` uniform are independent. The density is
    `α x^(-1-α) e^(-b x) (1 - e^(-t x)) / (Γ(1-α) [(t+b)^α - b^α])`.

    Args:
        alpha: index at zero of the limit, in (0, 1).
        rate: `b`, positive.
        mass: `η` of the limit, positive.
        width: number of nodes `p`, at least 1.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {  # noqa: RUF012
        "alpha": constraints.open_interval(0.0, 1.0),
        "rate": constraints.positive,
        "mass": constraints.positive,
        "width": constraints.positive,
    }
    reparametrized_params = ["rate", "mass"]  # noqa: RUF012

    def __init__(
        self,
        alpha: ArrayLike,
        rate: ArrayLike,
        mass: ArrayLike,
        width: ArrayLike,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.alpha, self.rate, self.mass, self.width = alpha, rate, mass, width
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (alpha, rate, mass, width) = self._aligned(u)
        log_z, log_t = u + jnp.log(rate), self._log_t(alpha, rate, mass, width)
        killed = log_killed(log_t + log_z)
        return jnp.log(alpha) - alpha * log_z - jnp.exp(log_z) + killed - _log_norm(alpha, log_t)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        shape, (alpha, rate, mass, width) = self._for_draws(sample_shape)
        log_t = self._log_t(alpha, rate, mass, width)
        return _sample_tempered(key, shape, alpha, log_t) - jnp.log(rate)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`, to 1e-9."""
        value, (alpha, rate, mass, width) = self._aligned(value)
        positive = value > 0
        log_z = jnp.log(jnp.where(positive, value, 1)) + jnp.log(rate)
        return jnp.where(
            positive, _tempered_cdf(log_z, alpha, self._log_t(alpha, rate, mass, width)), 0
        )

    @property
    def mean(self) -> Array:
        """Exact at this width."""
        return self._in_batch(lambda *p: self._moment(1, *p))

    @property
    def variance(self) -> Array:
        """Exact at this width."""
        return self._in_batch(lambda *p: self._moment(2, *p) - self._moment(1, *p) ** 2)

    def _moment(self, k: int, alpha: Array, rate: Array, mass: Array, width: Array) -> Array:
        return _tempered_moment(k, alpha, self._log_t(alpha, rate, mass, width)) / rate**k

    @staticmethod
    def _log_t(alpha: Array, rate: Array, mass: Array, width: Array) -> Array:
        """`log t/b`."""
        return _not_tiny(jnp.log(alpha * width / mass) / alpha - jnp.log(rate))


class FiniteGBFRY(NodeVarianceLaw):
    """The law of `scale · Y G [s + (1-s) (1+t)^α]^(-1/α)`, `t = (α width τ / (τ-α))^(1/α)`.

    `Y ~ Pareto(τ)`, `G ~ Gamma(1-α, 1)` and `s` uniform are independent. With `z = λ / scale` its
    density is `τ α / (scale Γ(1-α) [(1+t)^α - 1]) · z^(-1-α) J(z)`, where
    `J(z) = ∫_0^1 w^(τ-α-1) exp(-z w) (1 - exp(-t z w)) dw` is computed without cancellation.

    Args:
        alpha: index at zero of the limit, in (0, 1).
        tau: tail index, above `alpha`.
        scale: positive.
        width: number of nodes `p`, at least 1.
        validate_args: whether NumPyro checks the parameters.

    Raises:
        ValueError: if a concrete parameter is outside its range.
    """

    arg_constraints = {  # noqa: RUF012
        "alpha": constraints.open_interval(0.0, 1.0),
        "tau": constraints.positive,
        "scale": constraints.positive,
        "width": constraints.positive,
    }
    reparametrized_params = ["tau", "scale"]  # noqa: RUF012

    def __init__(
        self,
        alpha: ArrayLike,
        tau: ArrayLike,
        scale: ArrayLike,
        width: ArrayLike,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if is_concrete(alpha, tau) and not np.all(np.asarray(tau) > np.asarray(alpha)):
            raise ValueError(f"tau must be above alpha, got tau={tau} and alpha={alpha}")
        self.alpha, self.tau, self.scale, self.width = alpha, tau, scale, width
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (alpha, tau, scale, width) = self._aligned(u)
        log_t = self._log_t(alpha, tau, width)
        log_z = u - jnp.log(scale)
        integral = log_power_integral(log_z, tau - alpha, log_t)
        return jnp.log(tau * alpha) - alpha * log_z + integral - _log_norm(alpha, log_t)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        shape, (alpha, tau, scale, width) = self._for_draws(sample_shape)
        pareto, tempered = jax.random.split(key)
        log_y = jax.random.exponential(pareto, shape, alpha.dtype) / tau
        log_x = _sample_tempered(tempered, shape, alpha, self._log_t(alpha, tau, width))
        return jnp.log(scale) + log_x + log_y

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`, to 1e-9."""
        value, (alpha, tau, scale, width) = self._aligned(value)
        positive = value > 0
        u = jnp.log(jnp.where(positive, value, 1))
        below = _tempered_cdf(u - jnp.log(scale), alpha, self._log_t(alpha, tau, width))
        moved = jnp.exp(self.log_density_of_log(u)) / tau  # past `value` by the Pareto factor
        return jnp.where(positive, jnp.clip(below - moved, 0, 1), 0)

    @property
    def mean(self) -> Array:
        """Exact at this width; infinite for `τ ≤ 1`."""
        return self._in_batch(lambda *p: self._moment(1, *p))

    @property
    def variance(self) -> Array:
        """Exact at this width; infinite for `τ ≤ 2`."""

        def variance(*parameters: Array) -> Array:
            second = self._moment(2, *parameters)
            infinite = jnp.isinf(second)
            return jnp.where(infinite, jnp.inf, second - self._moment(1, *parameters) ** 2)

        return self._in_batch(variance)

    def _moment(self, k: int, alpha: Array, tau: Array, scale: Array, width: Array) -> Array:
        pareto = tau / jnp.where(tau > k, tau - k, 1)
        moment = scale**k * pareto * _tempered_moment(k, alpha, self._log_t(alpha, tau, width))
        return jnp.where(tau > k, moment, jnp.inf)

    @staticmethod
    def _log_t(alpha: Array, tau: Array, width: Array) -> Array:
        return _not_tiny(jnp.log(alpha * width * tau / (tau - alpha)) / alpha)


# The law of G [s + (1-s) (1+t)^α]^(-1/α), with density ∝ z^(-1-α) e^(-z) (1 - e^(-tz)).


def _not_tiny(log_t: Array) -> Array:
    """With `α < 1/p` it is below the smallest float; the law is the same from here on."""
    return jnp.maximum(log_t, -34)


def _log_norm(alpha: Array, log_t: Array) -> Array:
    """`log(Γ(1-α) [(1+t)^α - 1])`."""
    return gammaln(1 - alpha) + _log_expm1(alpha * jax.nn.softplus(log_t))


def _sample_tempered(key: Array, shape: tuple[int, ...], alpha: Array, log_t: Array) -> Array:
    """Draws of the logarithm."""
    gamma, uniform = jax.random.split(key)
    log_s = -jax.random.exponential(uniform, shape, alpha.dtype)
    log_complement = jnp.log(-jnp.expm1(log_s))
    mixed = jnp.logaddexp(log_s, log_complement + alpha * jax.nn.softplus(log_t))
    return jax.random.loggamma(gamma, 1 - alpha, shape, alpha.dtype) - mixed / alpha


def _tempered_cdf(log_z: Array, alpha: Array, log_t: Array) -> Array:
    log_lift = jax.nn.softplus(log_t)
    norm = jnp.log(alpha) - _log_norm(alpha, log_t)
    # Above `z`: a difference of two powers, whose first terms cancel far below 1/t.
    near = log_lift + log_z < -9
    log_w = jnp.where(near, -log_lift, log_z)
    above = jnp.exp(norm + log_upper_gamma(alpha, log_w))
    above = above - jnp.exp(norm + alpha * log_lift + log_upper_gamma(alpha, log_w + log_lift))
    first = jnp.exp(norm + log_t + (1 - alpha) * log_z) / (1 - alpha)
    ratio = (1 - alpha) / (2 - alpha) * (1 + jnp.exp(jnp.minimum(log_t, 80)) / 2)
    small = first * (1 - ratio * jnp.exp(log_z))
    return jnp.where(near, small, jnp.clip(1 - above, 0, 1))


def _tempered_moment(k: int, alpha: Array, log_t: Array) -> Array:
    log_lift = jax.nn.softplus(log_t)
    rising = jnp.exp(gammaln(k + 1 - alpha) - gammaln(1 - alpha))
    mixing = alpha / (k - alpha) * -jnp.expm1((alpha - k) * log_lift)
    return rising * mixing * jnp.exp(-_log_expm1(alpha * log_lift))


def _log_expm1(y: Array) -> Array:
    """`log(exp(y) - 1)` for `y > 0`."""
    return y + jnp.log(-jnp.expm1(-y))
