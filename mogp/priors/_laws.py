"""Distributions of the node variance with densities in closed form."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammainc, gammaincc, gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from mogp._checks import is_concrete
from mogp.levy.incomplete import log_beta, log_lower_beta
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

    concentration: ArrayLike
    rate: ArrayLike = 1.0
    reparametrized_params = ["concentration", "rate"]  # noqa: RUF012

    @staticmethod
    def _log_density(u: Array, shape: Array, rate: Array) -> Array:
        log_z = u + jnp.log(rate)
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], shape: Array, rate: Array) -> Array:
        return jax.random.loggamma(key, shape, out, rate.dtype) - jnp.log(rate)

    @staticmethod
    def _below(x: Array, shape: Array, rate: Array) -> Array:
        return lower_gamma(shape, jnp.log(x) + jnp.log(rate))

    @staticmethod
    def _moments(shape: Array, rate: Array) -> tuple[Array, Array]:
        return shape / rate, shape / rate**2


class InverseGammaLaw(FamilyLaw):
    """The inverse gamma distribution of scale `scale · width^(-1/concentration)`.

    With `width = 1` it is equivalent to `numpyro.distributions.InverseGamma`, in `log λ`. The width
    is a parameter of its own because the scale is no float for a small shape.

    Args:
        concentration: tail index, positive.
        scale: positive.
        width: positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.InverseGammaLaw(3.0, 4.0).mean)
        2.0
    """

    concentration: ArrayLike
    scale: ArrayLike = 1.0
    width: ArrayLike = 1.0
    reparametrized_params = ["concentration", "scale", "width"]  # noqa: RUF012

    @staticmethod
    def _log_density(u: Array, shape: Array, *scale: Array) -> Array:
        log_z = _log_scale(shape, *scale) - u
        return shape * log_z - jnp.exp(log_z) - gammaln(shape)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], shape: Array, *scale: Array) -> Array:
        return _log_scale(shape, *scale) - jax.random.loggamma(key, shape, out, shape.dtype)

    @staticmethod
    def _below(x: Array, shape: Array, *scale: Array) -> Array:
        return upper_gamma(shape, _log_scale(shape, *scale) - jnp.log(x))

    @staticmethod
    def _moments(shape: Array, scale: Array, width: Array) -> tuple[Array, Array]:
        a, b = jnp.where(shape > 1, shape, 2), jnp.where(shape > 2, shape, 3)
        scale = jnp.exp(_log_scale(a, scale, width))
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

    a: ArrayLike
    b: ArrayLike
    support = constraints.unit_interval

    @staticmethod
    def _log_density(u: Array, a: Array, b: Array) -> Array:
        inside = u < 0
        v = jnp.where(inside, u, -1)
        density = a * v + (b - 1) * jnp.log(-jnp.expm1(v)) - log_beta(a, b)
        return jnp.where(inside, density, -jnp.inf)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], a: Array, b: Array) -> Array:
        first, second = jax.random.split(key)
        x = jax.random.loggamma(first, a, out, a.dtype)
        log_odds = x - jax.random.loggamma(second, b, out, a.dtype)
        # Beyond 1/tiny the odds are those of a draw that rounds to 1.
        largest = -1 - math.log(np.finfo(a.dtype).tiny)
        return -jax.nn.softplus(-jnp.minimum(log_odds, largest))

    @staticmethod
    def _below(x: Array, a: Array, b: Array) -> Array:
        inside = x < 1
        log_part = log_lower_beta(a, b, jnp.log(jnp.where(inside, x, 0.5))) - log_beta(a, b)
        return jnp.where(inside, jnp.exp(log_part), 1)

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

    a: ArrayLike
    b: ArrayLike
    tau: ArrayLike
    reparametrized_params = ["tau"]  # noqa: RUF012

    @staticmethod
    def _log_density(u: Array, a: Array, b: Array, tau: Array) -> Array:
        mixed = log_lower_beta(a + tau, b, jnp.where(u < 0, u, 0)) - log_beta(a, b)
        return jnp.log(tau) - tau * u + mixed

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], a: Array, b: Array, tau: Array) -> Array:
        beta, pareto = jax.random.split(key)
        x = BetaLaw._draw_log(beta, out, a, b)
        return x + jax.random.exponential(pareto, out, tau.dtype) / tau

    @staticmethod
    def _below(x: Array, a: Array, b: Array, tau: Array) -> Array:
        # The Pareto factor moves this much past `x`.
        moved = jnp.exp(BetaParetoLaw._log_density(jnp.log(x), a, b, tau)) / tau
        return BetaLaw._below(x, a, b) - moved

    @staticmethod
    def _moments(a: Array, b: Array, tau: Array) -> tuple[Array, Array]:
        first = a / (a + b)
        beta = {1: first, 2: first * (a + 1) / (a + b + 1)}
        return moments_with_tail(tau, lambda k, tau: beta[k] * tau / (tau - k))


class ParetoLaw(FamilyLaw):
    """The Pareto distribution on (`s`, ∞), `P(λ > x) = (x / s)^(-α)`, `s = scale · width^(-1/α)`.

    With `width = 1` it is equivalent to `numpyro.distributions.Pareto`. The width is a parameter of
    its own because `s` is no float for a small `α`.

    Args:
        alpha: tail index, positive.
        scale: positive.
        width: positive.

    Example:
        >>> from mogp import priors
        >>> print(priors.ParetoLaw(1.0, 2.0).cdf(4.0))
        0.5
    """

    alpha: ArrayLike
    scale: ArrayLike = 1.0
    width: ArrayLike = 1.0
    reparametrized_params = ["alpha", "scale", "width"]  # noqa: RUF012

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        parameters = self._parameters(self._dtype(), len(self.batch_shape))
        return constraints.greater_than(jnp.exp(_log_scale(*parameters)))

    @staticmethod
    def _log_density(u: Array, alpha: Array, *scale: Array) -> Array:
        start = _log_scale(alpha, *scale)
        inside, above = u >= start - _rounding(start), u - start
        density = jnp.log(alpha) - alpha * jnp.where(above > 0, above, 0)
        return jnp.where(inside, density, -jnp.inf)

    @staticmethod
    def _draw_log(key: Array, out: tuple[int, ...], alpha: Array, *scale: Array) -> Array:
        return _log_scale(alpha, *scale) + jax.random.exponential(key, out, alpha.dtype) / alpha

    @staticmethod
    def _below(x: Array, alpha: Array, *scale: Array) -> Array:
        above = jnp.log(x) - _log_scale(alpha, *scale)
        return -jnp.expm1(-alpha * jnp.where(above > 0, above, 0))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, elementwise for `q` in [0, 1]."""
        q, (alpha, scale, width) = self._aligned(q)
        return jnp.exp(_log_scale(alpha, scale, width) - jnp.log1p(-q) / alpha)

    @staticmethod
    def _moments(alpha: Array, scale: Array, width: Array) -> tuple[Array, Array]:
        def moment(k: int, index: Array) -> Array:
            return jnp.exp(k * _log_scale(index, scale, width)) * index / (index - k)

        return moments_with_tail(alpha, moment)


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

    scale: ArrayLike = 1.0
    slab: ArrayLike = 0.0
    arg_constraints = {"slab": constraints.nonnegative}  # noqa: RUF012
    reparametrized_params = ["scale", "slab"]  # noqa: RUF012

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        if is_concrete(self.slab) and np.all(np.asarray(self.slab) == 0):
            return constraints.positive
        return constraints.interval(0.0, 1 / jnp.asarray(self.slab))

    @staticmethod
    def _log_density(u: Array, scale: Array, slab: Array) -> Array:
        share, rounding = slab * jnp.exp(jnp.where(u < 80, u, 80)), _rounding(u)
        inside = share < 1 + rounding
        rest = jnp.where(inside, 1 - share, 0.5)
        log_rest = jnp.log(jnp.where(rest > rounding, rest, rounding))
        # log(1 - slab λ), and S = λ / that
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
    def _below(x: Array, scale: Array, slab: Array) -> Array:
        rest = 1 - slab * x
        inside = rest > 0
        ratio = jnp.sqrt(x) / (scale * jnp.sqrt(jnp.where(inside, rest, 1)))
        return jnp.where(inside, 2 / math.pi * jnp.arctan(ratio), 1)

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


def lower_gamma(shape: Array, log_z: Array) -> Array:
    """`P(shape, z)`, the regularised lower incomplete gamma function, of the logarithm of `z`."""
    small, z, log_first = _ends_of_gamma(shape, log_z)
    return jnp.where(small, jnp.exp(log_first), gammainc(shape, z))


def upper_gamma(shape: Array, log_z: Array) -> Array:
    """`Q(shape, z) = 1 - P(shape, z)`, of the logarithm of `z`."""
    small, z, log_first = _ends_of_gamma(shape, log_z)
    return jnp.where(small, -jnp.expm1(log_first), gammaincc(shape, z))


def _ends_of_gamma(shape: Array, log_z: Array) -> tuple[Array, Array, Array]:
    """Whether `P` is its first term `z^shape / Γ(1+shape)`; `z` where not; and the log of it."""
    border = math.log(np.finfo(log_z.dtype).eps)
    small = log_z < border
    # Where not small, and at large z, any other values: derivatives of both sides are taken.
    z = jnp.exp(jnp.where(small, 0, jnp.where(log_z < 80, log_z, 80)))
    first = shape * jnp.where(small, log_z, border) - gammaln(1 + shape)
    return small, z, first


def _log_scale(index: Array, scale: Array, width: Array) -> Array:
    """`log(scale · width^(-1/index))`."""
    return jnp.log(scale) - jnp.log(width) / index


def _rounding(u: Array) -> Array:
    """How far from `λ` the exponential of its logarithm `u` may be, relatively."""
    return 4 * float(np.finfo(u.dtype).eps) * (1 + jnp.abs(jax.lax.stop_gradient(u)))


def moments_with_tail(index: Array, moment: Callable[[int, Array], Array]) -> tuple[Array, Array]:
    """Mean and variance, infinite where the tail index is 1 or 2 at most.

    Args:
        index: of the tail.
        moment: from an order `k` and tail indices above `k` to the moment `E λ^k`.
    """
    some, light = jnp.where(index > 1, index, 2), jnp.where(index > 2, index, 3)
    variance = moment(2, light) - moment(1, light) ** 2
    return jnp.where(index > 1, moment(1, some), jnp.inf), jnp.where(index > 2, variance, jnp.inf)
