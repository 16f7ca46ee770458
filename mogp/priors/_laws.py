"""Distributions of the node variance with densities in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammainc, gammaincc, gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from mogp._checks import is_concrete
from mogp.levy.incomplete import log_lower_beta
from mogp.priors._law import FamilyLaw


class GammaLaw(FamilyLaw):
    """The gamma distribution, for shapes down to 1e-6 and below, whose draws underflow.

    Equivalent to `numpyro.distributions.Gamma`, in `log λ`.

    Args:
        concentration: shape, positive.
        rate: positive.

    Example:
        >>> from mogp import priors
        >>> priors.GammaLaw(2.0, 4.0)
        GammaLaw(concentration=2.0, rate=4.0)
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["concentration", "rate"]  # noqa: RUF012

    def __init__(
        self, concentration: ArrayLike, rate: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(concentration, rate, validate_args=validate_args)

    @staticmethod
    def _log_density(u: Array, shape: Array, rate: Array) -> Array:
        log_z = u + jnp.log(rate)
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], shape: Array, rate: Array) -> Array:
        return jax.random.loggamma(key, shape, out, rate.dtype) - jnp.log(rate)

    @staticmethod
    def _below(value: Array, shape: Array, rate: Array) -> Array:
        return gammainc(shape, rate * jnp.maximum(value, 0))

    @staticmethod
    def _moments(shape: Array, rate: Array) -> tuple[Array, Array]:
        return shape / rate, shape / rate**2


class InverseGammaLaw(FamilyLaw):
    """The inverse gamma distribution.

    Equivalent to `numpyro.distributions.InverseGamma`, in `log λ`.

    Args:
        concentration: tail index, positive.
        scale: positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.InverseGammaLaw(3.0, 4.0).mean)
        2.0
    """

    arg_constraints = {"concentration": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["concentration", "scale"]  # noqa: RUF012

    def __init__(
        self, concentration: ArrayLike, scale: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(concentration, scale, validate_args=validate_args)

    @staticmethod
    def _log_density(u: Array, shape: Array, scale: Array) -> Array:
        log_z = jnp.log(scale) - u
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], shape: Array, scale: Array) -> Array:
        return jnp.log(scale) - jax.random.loggamma(key, shape, out, scale.dtype)

    @staticmethod
    def _below(value: Array, shape: Array, scale: Array) -> Array:
        positive = value > 0
        return jnp.where(positive, gammaincc(shape, scale / jnp.where(positive, value, 1)), 0)

    @staticmethod
    def _moments(shape: Array, scale: Array) -> tuple[Array, Array]:
        a, b = jnp.where(shape > 1, shape, 2), jnp.where(shape > 2, shape, 3)
        mean = jnp.where(shape > 1, scale / (a - 1), jnp.inf)
        return mean, jnp.where(shape > 2, scale**2 / ((b - 1) ** 2 * (b - 2)), jnp.inf)


class BetaLaw(FamilyLaw):
    """The beta distribution on (0, 1), for shapes `a` down to 1e-6 and below.

    Equivalent to `numpyro.distributions.Beta`, in `log λ`.

    Args:
        a: first shape, positive.
        b: second shape, positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.BetaLaw(1.0, 3.0).mean)
        0.25
    """

    support = constraints.unit_interval
    arg_constraints = {"a": constraints.positive, "b": constraints.positive}  # noqa: RUF012

    def __init__(self, a: ArrayLike, b: ArrayLike, *, validate_args: bool | None = None) -> None:
        super().__init__(a, b, validate_args=validate_args)

    @staticmethod
    def _log_density(u: Array, a: Array, b: Array) -> Array:
        inside = u < 0
        v = jnp.where(inside, u, -1)
        density = a * v + (b - 1) * jnp.log(-jnp.expm1(v)) - _log_beta(a, b)
        return jnp.where(inside, density, -jnp.inf)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], a: Array, b: Array) -> Array:
        first, second = jax.random.split(key)
        x = jax.random.loggamma(first, a, out, a.dtype)
        return -jax.nn.softplus(jax.random.loggamma(second, b, out, a.dtype) - x)

    @staticmethod
    def _below(value: Array, a: Array, b: Array) -> Array:
        inside = (value > 0) & (value < 1)
        log_part = log_lower_beta(a, b, jnp.log(jnp.where(inside, value, 0.5))) - _log_beta(a, b)
        return jnp.where(inside, jnp.exp(log_part), jnp.where(value > 0, 1.0, 0.0))

    @staticmethod
    def _moments(a: Array, b: Array) -> tuple[Array, Array]:
        return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))


class BetaParetoLaw(FamilyLaw):
    """The distribution of `X Y`, `X ~ Beta(a, b)`, `Y ~ Pareto(τ)` on (1, ∞) ([DW], Section 3).

    Args:
        a: first shape, positive.
        b: second shape, positive.
        tau: tail index, positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.BetaParetoLaw(1.0, 3.0, 2.0).mean)  # a/(a + b) τ/(τ - 1)
        0.5
    """

    arg_constraints = dict.fromkeys(("a", "b", "tau"), constraints.positive)
    reparametrized_params = ["tau"]  # noqa: RUF012

    def __init__(
        self, a: ArrayLike, b: ArrayLike, tau: ArrayLike, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(a, b, tau, validate_args=validate_args)

    @staticmethod
    def _log_density(u: Array, a: Array, b: Array, tau: Array) -> Array:
        mixed = log_lower_beta(a + tau, b, jnp.minimum(u, 0)) - _log_beta(a, b)
        return jnp.log(tau) - tau * u + mixed

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], a: Array, b: Array, tau: Array) -> Array:
        beta, pareto = jax.random.split(key)
        x = BetaLaw._draw_log(beta, out, a, b)
        return x + jax.random.exponential(pareto, out, tau.dtype) / tau

    @staticmethod
    def _below(value: Array, a: Array, b: Array, tau: Array) -> Array:
        positive = value > 0
        u = jnp.log(jnp.where(positive, value, 1))
        below = jnp.exp(log_lower_beta(a, b, jnp.minimum(u, 0)) - _log_beta(a, b))
        moved = jnp.exp(BetaParetoLaw._log_density(u, a, b, tau)) / tau  # past it, by Y
        return jnp.where(positive, below - moved, 0)

    @staticmethod
    def _moments(a: Array, b: Array, tau: Array) -> tuple[Array, Array]:
        mean = a / (a + b)
        second = mean * (a + 1) / (a + b + 1) * _pareto_moment(2, tau)
        first = mean * _pareto_moment(1, jnp.maximum(tau, 1.5))
        return mean * _pareto_moment(1, tau), second - first**2


class ParetoLaw(FamilyLaw):
    """The Pareto distribution, `P(λ > x) = (x / scale)^(-α)` for `x ≥ scale`.

    Equivalent to `numpyro.distributions.Pareto`.

    Args:
        alpha: tail index, positive.
        scale: smallest value, positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.ParetoLaw(1.0, 2.0).cdf(4.0))
        0.5
    """

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    reparametrized_params = ["alpha", "scale"]  # noqa: RUF012

    def __init__(
        self, alpha: ArrayLike, scale: ArrayLike = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(alpha, scale, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        return constraints.greater_than(self.scale)

    @staticmethod
    def _log_density(u: Array, alpha: Array, scale: Array) -> Array:
        above = u - jnp.log(scale)
        return jnp.where(above >= 0, jnp.log(alpha) - alpha * above, -jnp.inf)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], alpha: Array, scale: Array) -> Array:
        return jnp.log(scale) + jax.random.exponential(key, out, alpha.dtype) / alpha

    @staticmethod
    def _below(value: Array, alpha: Array, scale: Array) -> Array:
        return -jnp.expm1(-alpha * jnp.log(jnp.maximum(value / scale, 1)))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, elementwise for `q` in [0, 1]."""
        q, (alpha, scale) = self._aligned(q)
        return scale * jnp.exp(-jnp.log1p(-q) / alpha)

    @staticmethod
    def _moments(alpha: Array, scale: Array) -> tuple[Array, Array]:
        first = _pareto_moment(1, jnp.maximum(alpha, 1.5))
        variance = scale**2 * (_pareto_moment(2, alpha) - first**2)
        return scale * _pareto_moment(1, alpha), variance


class SquaredHalfCauchy(FamilyLaw):
    """The distribution of `S/(1 + slab S)`, `S = (scale |C|)²` with `C` standard Cauchy.

    With `slab = 0` it is that of `S`, without moments; otherwise it is cut off at `1/slab`
    (Piironen and Vehtari, 2017).

    Args:
        scale: positive.
        slab: at least 0.

    Example:
        >>> from mogp import priors
        >>> print(round(float(priors.SquaredHalfCauchy(3.0).icdf(0.5)), 3))
        9.0
    """

    arg_constraints = {"scale": constraints.positive, "slab": constraints.nonnegative}  # noqa: RUF012
    reparametrized_params = ["scale", "slab"]  # noqa: RUF012

    def __init__(
        self, scale: ArrayLike = 1.0, slab: ArrayLike = 0.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(scale, slab, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        if is_concrete(self.slab) and np.all(np.asarray(self.slab) == 0):
            return constraints.positive
        return constraints.interval(0.0, 1 / self.slab)

    @staticmethod
    def _log_density(u: Array, scale: Array, slab: Array) -> Array:
        share = slab * jnp.exp(jnp.minimum(u, 80))
        inside = share < 1
        log_rest = jnp.log1p(-jnp.where(inside, share, 0.5))  # log(1 - slab λ), and S = λ / that
        v = u - log_rest - 2 * jnp.log(scale)
        density = v / 2 - jax.nn.softplus(v) - math.log(math.pi) - log_rest
        return jnp.where(inside, density, -jnp.inf)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], scale: Array, slab: Array) -> Array:
        # A ratio of exponentials of normals: tan of a uniform would lose the lower tail.
        normals = jnp.log(jnp.abs(jax.random.normal(key, (2, *out), scale.dtype)))
        log_s = 2 * (normals[0] - normals[1] + jnp.log(scale))
        some = slab > 0
        cut = jax.nn.softplus(log_s + jnp.log(jnp.where(some, slab, 1)))
        return jnp.where(jnp.broadcast_to(some, out), log_s - cut, log_s)

    @staticmethod
    def _below(value: Array, scale: Array, slab: Array) -> Array:
        value = jnp.maximum(value, 0)
        rest = jnp.maximum(1 - slab * value, 0)
        return 2 / math.pi * jnp.arctan2(jnp.sqrt(value), scale * jnp.sqrt(rest))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, elementwise for `q` in [0, 1]."""
        q, (scale, slab) = self._aligned(q)
        s = (scale * jnp.tan(math.pi / 2 * q)) ** 2
        return s / (1 + slab * s)

    @staticmethod
    def _moments(scale: Array, slab: Array) -> tuple[Array, Array]:
        some = slab > 0
        c = jnp.where(some, slab, 1)
        r = scale * jnp.sqrt(c)  # E S/(1 + c S) = r / (c (1 + r))
        mean, variance = r / (c * (1 + r)), r / (2 * c**2 * (1 + r) ** 2)
        return jnp.where(some, mean, jnp.inf), jnp.where(some, variance, jnp.inf)


def _pareto_moment(k: int, tau: Array) -> Array:
    """`E Y^k` for `P(Y > y) = y^(-τ)`."""
    finite = tau > k
    return jnp.where(finite, tau / jnp.where(finite, tau - k, 1), jnp.inf)


def _log_beta(a: Array, b: Array) -> Array:
    """`log B(a, b)`; JAX's `betaln` is wrong by 1e-6 for arguments near 10."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)
