"""Node-variance laws at finite width, as NumPyro distributions."""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp._arrays import as_float
from mogp._checks import is_concrete
from mogp.levy._measure import inside_positive
from mogp.levy._power_integral import log_power_integral


class NodeVarianceLaw(Distribution):
    """A continuous law on (0, ∞), written down in `u = log λ`.

    Node variances of wide networks span hundreds of orders of magnitude, so the log-density and the
    sampler of `u` are the primitives; those of `λ` follow.
    """

    support = constraints.positive

    @abc.abstractmethod
    def log_density_of_log(self, u: ArrayLike) -> Array:
        """Log-density of `u = log λ`: `log p(e^u) + u`, the Jacobian included."""

    @abc.abstractmethod
    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `log λ`, of shape `sample_shape + batch_shape`."""

    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density of `λ`, elementwise; minus infinity outside (0, ∞)."""
        value, _ = self._aligned(value)
        inside, value = inside_positive(value)
        u = jnp.log(value)
        return jnp.where(inside, self.log_density_of_log(u) - u, -jnp.inf)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `λ`, of shape `sample_shape + batch_shape`."""
        return jnp.exp(self.sample_log(key, sample_shape))

    def _aligned(self, value: ArrayLike) -> tuple[Array, list[Array]]:
        """The value and the parameters, all of one rank."""
        value = as_float(value)
        ndim = max(value.ndim, len(self.batch_shape))
        return _with_rank(value, ndim), self._parameters(value.dtype, ndim)

    def _parameters(self, dtype: jnp.dtype, ndim: int) -> list[Array]:
        """The parameters in the precision and of the rank of the value they are used with."""
        parameters = (getattr(self, name) for name in self.arg_constraints)
        return [_with_rank(jnp.asarray(value, dtype), ndim) for value in parameters]

    def _dtype(self) -> jnp.dtype:
        """The precision of draws and moments: that of the parameters."""
        return jnp.result_type(float, *(getattr(self, name) for name in self.arg_constraints))


def _with_rank(x: Array, ndim: int) -> Array:
    """Leading axes of length 1, but none for scalars: JAX can be set to add none by itself."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape) if x.ndim else x


class SquaredHalfCauchy(NodeVarianceLaw):
    """The law of `(scale |C|)²`, `C` standard Cauchy.

    Args:
        scale: positive, of any batch shape.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["scale"]  # noqa: RUF012

    def __init__(self, scale: ArrayLike = 1.0, *, validate_args: bool | None = None) -> None:
        self.scale = scale
        super().__init__(batch_shape=jnp.shape(scale), validate_args=validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (scale,) = self._aligned(u)
        v = u - 2 * jnp.log(scale)
        return v / 2 - jax.nn.softplus(v) - math.log(math.pi)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        # A ratio of exponentials of normals: tan of a uniform would lose the lower tail.
        shape = sample_shape + self.batch_shape
        (scale,) = self._parameters(self._dtype(), len(shape))
        normals = jnp.log(jnp.abs(jax.random.normal(key, (2, *shape), scale.dtype)))
        return 2 * (normals[0] - normals[1] + jnp.log(scale))

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (scale,) = self._aligned(value)
        return 2 / math.pi * jnp.arctan2(jnp.sqrt(jnp.maximum(value, 0)), scale)

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile."""
        q, (scale,) = self._aligned(q)
        return (scale * jnp.tan(math.pi / 2 * q)) ** 2

    @property
    def mean(self) -> Array:
        """Infinite."""
        return jnp.full(self.batch_shape, jnp.inf)

    @property
    def variance(self) -> Array:
        """Infinite."""
        return jnp.full(self.batch_shape, jnp.inf)


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
        shape = jnp.broadcast_shapes(*map(jnp.shape, (alpha, tau, scale, width)))
        super().__init__(batch_shape=shape, validate_args=validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (alpha, tau, scale, width) = self._aligned(u)
        log_t, log_b = _tempering(alpha, tau, width)
        log_z = u - jnp.log(scale)
        log_constant = jnp.log(tau * alpha) - gammaln(1 - alpha) - _log_expm1(log_b)
        return log_constant - alpha * log_z + log_power_integral(log_z, tau - alpha, log_t)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        shape = sample_shape + self.batch_shape
        pareto, gamma, uniform = jax.random.split(key, 3)
        dtype = self._dtype()
        alpha, tau, scale, width = self._parameters(dtype, len(shape))
        log_b = _tempering(alpha, tau, width)[1]
        log_s = -jax.random.exponential(uniform, shape, dtype)
        log_complement = jnp.log(-jnp.expm1(log_s))
        mixed = jnp.logaddexp(log_s, log_complement + log_b)
        log_pareto = jax.random.exponential(pareto, shape, dtype) / tau
        log_gamma = jax.random.loggamma(gamma, 1 - alpha, shape, dtype)
        return jnp.log(scale) + log_pareto + log_gamma - mixed / alpha

    @property
    def mean(self) -> Array:
        """Exact at this width; infinite for `τ ≤ 1`."""
        return self._moment(1)

    @property
    def variance(self) -> Array:
        """Exact at this width; infinite for `τ ≤ 2`."""
        return jnp.where(jnp.isinf(self._moment(2)), jnp.inf, self._moment(2) - self.mean**2)

    def _moment(self, k: int) -> Array:
        """`E λ^k = scale^k · τ/(τ-k) · (1-α)_k · E [s + (1-s)(1+t)^α]^(-k/α)`."""
        alpha, tau, scale, width = self._parameters(self._dtype(), len(self.batch_shape))
        log_t, log_b = _tempering(alpha, tau, width)
        rising = jnp.exp(gammaln(k + 1 - alpha) - gammaln(1 - alpha))
        mixing = alpha / (k - alpha) * -jnp.expm1((alpha - k) * jax.nn.softplus(log_t))
        moment = scale**k * tau / (tau - k) * rising * mixing * jnp.exp(-_log_expm1(log_b))
        return jnp.broadcast_to(jnp.where(tau > k, moment, jnp.inf), self.batch_shape)


def _tempering(alpha: Array, tau: Array, width: Array) -> tuple[Array, Array]:
    """`log t` and `log (1+t)^α`, for `t = (α width τ / (τ-α))^(1/α)`, which may overflow."""
    log_t = jnp.log(alpha * width * tau / (tau - alpha)) / alpha
    return log_t, alpha * jax.nn.softplus(log_t)


def _log_expm1(y: Array) -> Array:
    """`log(exp(y) - 1)` for `y > 0`."""
    return y + jnp.log(-jnp.expm1(-y))
