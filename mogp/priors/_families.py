"""Node-variance laws with closed densities."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammainc, gammaincc, gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from mogp._checks import is_concrete
from mogp.levy._incomplete import log_lower_beta
from mogp.priors._law import NodeVarianceLaw


class GammaLaw(NodeVarianceLaw):
    """The gamma law, for shapes down to 1e-6 and below, whose draws underflow.

    Equivalent to `numpyro.distributions.Gamma`, in `log λ`.

    Args:
        concentration: shape, positive.
        rate: positive.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["concentration", "rate"]  # noqa: RUF012

    def __init__(
        self, concentration: ArrayLike, rate: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self.concentration, self.rate = concentration, rate
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (shape, rate) = self._aligned(u)
        log_z = u + jnp.log(rate)
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        out, (shape, rate) = self._for_draws(sample_shape)
        return jax.random.loggamma(key, shape, out, rate.dtype) - jnp.log(rate)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (shape, rate) = self._aligned(value)
        return gammainc(shape, rate * jnp.maximum(value, 0))

    @property
    def mean(self) -> Array:
        return self._in_batch(lambda shape, rate: shape / rate)

    @property
    def variance(self) -> Array:
        return self._in_batch(lambda shape, rate: shape / rate**2)


class InverseGammaLaw(NodeVarianceLaw):
    """The inverse gamma law. Equivalent to `numpyro.distributions.InverseGamma`, in `log λ`.

    Args:
        concentration: tail index, positive.
        scale: positive.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {"concentration": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["concentration", "scale"]  # noqa: RUF012

    def __init__(
        self, concentration: ArrayLike, scale: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self.concentration, self.scale = concentration, scale
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (shape, scale) = self._aligned(u)
        log_z = jnp.log(scale) - u
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        out, (shape, scale) = self._for_draws(sample_shape)
        return jnp.log(scale) - jax.random.loggamma(key, shape, out, scale.dtype)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (shape, scale) = self._aligned(value)
        positive = value > 0
        return jnp.where(positive, gammaincc(shape, scale / jnp.where(positive, value, 1)), 0)

    @property
    def mean(self) -> Array:
        return self._in_batch(
            lambda a, s: jnp.where(a > 1, s / jnp.where(a > 1, a - 1, 1), jnp.inf)
        )

    @property
    def variance(self) -> Array:
        def variance(a: Array, s: Array) -> Array:
            finite = a > 2
            a = jnp.where(finite, a, 3)
            return jnp.where(finite, s**2 / ((a - 1) ** 2 * (a - 2)), jnp.inf)

        return self._in_batch(variance)


class BetaLaw(NodeVarianceLaw):
    """The beta law on (0, 1), for shapes `a` down to 1e-6 and below, whose draws underflow.

    Equivalent to `numpyro.distributions.Beta`, in `log λ`.

    Args:
        a: first shape, positive.
        b: second shape, positive.
        validate_args: whether NumPyro checks the parameters.
    """

    support = constraints.unit_interval
    arg_constraints = {"a": constraints.positive, "b": constraints.positive}  # noqa: RUF012

    def __init__(self, a: ArrayLike, b: ArrayLike, *, validate_args: bool | None = None) -> None:
        self.a, self.b = a, b
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (a, b) = self._aligned(u)
        inside = u < 0
        v = jnp.where(inside, u, -1)
        density = a * v + (b - 1) * jnp.log(-jnp.expm1(v)) - _log_beta(a, b)
        return jnp.where(inside, density, -jnp.inf)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        out, (a, b) = self._for_draws(sample_shape)
        first, second = jax.random.split(key)
        x = jax.random.loggamma(first, a, out, a.dtype)
        y = jax.random.loggamma(second, b, out, a.dtype)
        return -jax.nn.softplus(y - x)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (a, b) = self._aligned(value)
        inside = (value > 0) & (value < 1)
        log_part = log_lower_beta(a, b, jnp.log(jnp.where(inside, value, 0.5))) - _log_beta(a, b)
        return jnp.where(inside, jnp.exp(log_part), jnp.where(value > 0, 1.0, 0.0))

    @property
    def mean(self) -> Array:
        return self._in_batch(lambda a, b: a / (a + b))

    @property
    def variance(self) -> Array:
        return self._in_batch(lambda a, b: a * b / ((a + b) ** 2 * (a + b + 1)))


class BetaParetoLaw(NodeVarianceLaw):
    """The law of `X Y`, `X ~ Beta(a, b)`, `Y ~ Pareto(τ)` on (1, ∞) ([DW], Section 3).

    Args:
        a: first shape, positive.
        b: second shape, positive.
        tau: tail index, positive.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = dict.fromkeys(("a", "b", "tau"), constraints.positive)
    reparametrized_params = ["tau"]  # noqa: RUF012

    def __init__(
        self, a: ArrayLike, b: ArrayLike, tau: ArrayLike, *, validate_args: bool | None = None
    ) -> None:
        self.a, self.b, self.tau = a, b, tau
        self._finish(validate_args)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (a, b, tau) = self._aligned(u)
        mixed = log_lower_beta(a + tau, b, jnp.minimum(u, 0)) - _log_beta(a, b)
        return jnp.log(tau) - tau * u + mixed

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        out, (a, b, tau) = self._for_draws(sample_shape)
        beta, pareto = jax.random.split(key)
        x = BetaLaw(jnp.broadcast_to(a, out), b).sample_log(beta)
        return x + jax.random.exponential(pareto, out, tau.dtype) / tau

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (a, b, tau) = self._aligned(value)
        positive = value > 0
        u = jnp.log(jnp.where(positive, value, 1))
        below = jnp.exp(log_lower_beta(a, b, jnp.minimum(u, 0)) - _log_beta(a, b))
        return jnp.where(positive, below - jnp.exp(self.log_density_of_log(u)) / tau, 0)

    @property
    def mean(self) -> Array:
        return self._in_batch(lambda a, b, tau: a / (a + b) * _pareto_moment(1, tau))

    @property
    def variance(self) -> Array:
        def variance(a: Array, b: Array, tau: Array) -> Array:
            second = a * (a + 1) / ((a + b) * (a + b + 1)) * _pareto_moment(2, tau)
            first = a / (a + b) * _pareto_moment(1, jnp.maximum(tau, 1.5))
            return second - first**2

        return self._in_batch(variance)


class ParetoLaw(NodeVarianceLaw):
    """`P(λ > x) = (x / scale)^(-α)` for `x ≥ scale`. Equivalent to `numpyro.distributions.Pareto`.

    Args:
        alpha: tail index, positive.
        scale: smallest value, positive.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["alpha", "scale"]  # noqa: RUF012

    def __init__(
        self, alpha: ArrayLike, scale: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self.alpha, self.scale = alpha, scale
        self._finish(validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        return constraints.greater_than(self.scale)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (alpha, scale) = self._aligned(u)
        above = u - jnp.log(scale)
        return jnp.where(above >= 0, jnp.log(alpha) - alpha * above, -jnp.inf)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        out, (alpha, scale) = self._for_draws(sample_shape)
        return jnp.log(scale) + jax.random.exponential(key, out, alpha.dtype) / alpha

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (alpha, scale) = self._aligned(value)
        return -jnp.expm1(-alpha * jnp.log(jnp.maximum(value / scale, 1)))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile."""
        q, (alpha, scale) = self._aligned(q)
        return scale * jnp.exp(-jnp.log1p(-q) / alpha)

    @property
    def mean(self) -> Array:
        return self._in_batch(lambda alpha, scale: scale * _pareto_moment(1, alpha))

    @property
    def variance(self) -> Array:
        def variance(alpha: Array, scale: Array) -> Array:
            first = _pareto_moment(1, jnp.maximum(alpha, 1.5))
            return scale**2 * (_pareto_moment(2, alpha) - first**2)

        return self._in_batch(variance)


class SquaredHalfCauchy(NodeVarianceLaw):
    """The law of `S/(1 + slab S)`, `S = (scale |C|)²` with `C` standard Cauchy.

    With `slab = 0` it is that of `S`; otherwise it is cut off at `1/slab` (Piironen and Vehtari,
    2017).

    Args:
        scale: positive, of any batch shape.
        slab: at least 0.
        validate_args: whether NumPyro checks the parameters.
    """

    arg_constraints = {"scale": constraints.positive, "slab": constraints.nonnegative}  # noqa: RUF012
    reparametrized_params = ["scale", "slab"]  # noqa: RUF012

    def __init__(
        self, scale: ArrayLike = 1.0, slab: ArrayLike = 0.0, *, validate_args: bool | None = None
    ) -> None:
        self.scale, self.slab = scale, slab
        self._finish(validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        if is_concrete(self.slab) and np.all(np.asarray(self.slab) == 0):
            return constraints.positive
        return constraints.interval(0.0, 1 / self.slab)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (scale, slab) = self._aligned(u)
        share = slab * jnp.exp(jnp.minimum(u, 80))
        inside = share < 1
        log_rest = jnp.log1p(-jnp.where(inside, share, 0.5))  # log(1 - slab λ), and S = λ / that
        v = u - log_rest - 2 * jnp.log(scale)
        density = v / 2 - jax.nn.softplus(v) - math.log(math.pi) - log_rest
        return jnp.where(inside, density, -jnp.inf)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        # A ratio of exponentials of normals: tan of a uniform would lose the lower tail.
        out, (scale, slab) = self._for_draws(sample_shape)
        normals = jnp.log(jnp.abs(jax.random.normal(key, (2, *out), scale.dtype)))
        log_s = 2 * (normals[0] - normals[1] + jnp.log(scale))
        some = slab > 0
        cut = jax.nn.softplus(log_s + jnp.log(jnp.where(some, slab, 1)))
        return jnp.where(jnp.broadcast_to(some, out), log_s - cut, log_s)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (scale, slab) = self._aligned(value)
        value = jnp.maximum(value, 0)
        rest = jnp.maximum(1 - slab * value, 0)
        return 2 / math.pi * jnp.arctan2(jnp.sqrt(value), scale * jnp.sqrt(rest))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile."""
        q, (scale, slab) = self._aligned(q)
        s = (scale * jnp.tan(math.pi / 2 * q)) ** 2
        return s / (1 + slab * s)

    @property
    def mean(self) -> Array:
        """Infinite without a slab."""

        def mean(scale: Array, slab: Array) -> Array:  # E S/(1 + c S) = r / (c (1 + r)), r = s √c
            some = slab > 0
            c = jnp.where(some, slab, 1)
            r = scale * jnp.sqrt(c)
            return jnp.where(some, r / (c * (1 + r)), jnp.inf)

        return self._in_batch(mean)

    @property
    def variance(self) -> Array:
        """Infinite without a slab."""

        def variance(scale: Array, slab: Array) -> Array:
            some = slab > 0
            c = jnp.where(some, slab, 1)
            r = scale * jnp.sqrt(c)
            return jnp.where(some, r / (2 * c**2 * (1 + r) ** 2), jnp.inf)

        return self._in_batch(variance)


def _pareto_moment(k: int, tau: Array) -> Array:
    """`E Y^k` for `P(Y > y) = y^(-τ)`."""
    finite = tau > k
    return jnp.where(finite, tau / jnp.where(finite, tau - k, 1), jnp.inf)


def _log_beta(a: Array, b: Array) -> Array:
    """`log B(a, b)`; JAX's `betaln` is wrong by 1e-6 for arguments near 10."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)
