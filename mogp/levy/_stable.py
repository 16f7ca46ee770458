"""No jumps, the stable measure, and the tempered stable measures: generalised gamma and kin."""

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned, as_float
from mogp.levy import _totals
from mogp.levy._abstract import POSITIVE, compiled
from mogp.levy._inverse import log_of_normal
from mogp.levy._measure import LevyMeasure
from mogp.levy.incomplete import log_lower_gamma, log_upper_gamma, relative_expm1


class NoJumps(LevyMeasure):
    """The zero measure: a limit without jumps, the GP regime.

    Example:
        >>> from mogp import levy
        >>> float(levy.NoJumps().tail(0.1))
        0.0
    """

    index_at_zero = 0.0
    index_at_infinity = math.inf
    total_mass = 0.0

    def log_density_inside(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf)

    def log_tail_inside(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        return jnp.full_like(sum(aligned(k, v)), -jnp.inf)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        return jnp.where(as_float(t) >= 0, 0, jnp.nan)

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        del key
        return jnp.zeros(shape, weight.dtype)


class Stable(LevyMeasure):
    """The stable measure `ρ̄(x) = (x / scale)^(-α)` ([DW], Section 3).

    Args:
        alpha: index `α` in (0, 1).
        scale: factor of every jump, positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.Stable(0.5).tail(4.0)), 5)
        0.5
    """

    alpha: Real
    scale: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "scale": POSITIVE}

    def log_density_inside(self, v: Array) -> Array:
        v, alpha, scale = self.with_parameters(v)
        return jnp.log(alpha) - alpha * (v - jnp.log(scale))

    def log_tail_inside(self, v: Array) -> Array:
        v, alpha, scale = self.with_parameters(v)
        return -alpha * (v - jnp.log(scale))

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, alpha, scale = self.with_parameters(k, v)
        return jnp.log(alpha / (k - alpha)) + alpha * jnp.log(scale) + (k - alpha) * v

    @compiled
    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, alpha, scale = self.with_parameters(u)
        inside = (u > 0) & (u < jnp.inf)
        log_u = log_of_normal(jnp.where(inside, jnp.maximum(u, float(np.finfo(u.dtype).tiny)), 1))
        edge = jnp.where(u > 0, -jnp.inf, jnp.where(u == 0, jnp.inf, jnp.nan))
        return jnp.where(inside, jnp.log(scale) - log_u / alpha, edge)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, alpha, scale = self.with_parameters(t)
        return jnp.exp(gammaln(1 - alpha)) * (scale * jnp.where(t >= 0, t, jnp.nan)) ** alpha

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        weight, alpha, scale = self.with_parameters(weight)
        log_factor = (gammaln(1 - alpha) + jnp.log(weight)) / alpha
        log_stable = _totals.sample_log_stable(key, jnp.broadcast_to(alpha, shape))
        return jnp.exp(log_stable + log_factor) * scale

    @property
    def index_at_zero(self) -> Real:
        return self.alpha

    @property
    def index_at_infinity(self) -> Real:
        return self.alpha


class AbstractTempered(LevyMeasure):
    """`ρ(x) = η/Γ(1-α) x^(-1-α) e^(-b x)`, with `α` in [0, 1)."""

    index_at_infinity = math.inf

    @abc.abstractmethod
    def _triple(self, *values: ArrayLike) -> list[Array]:
        """The values, then `α`, `b` and `log η`."""

    def log_density_inside(self, v: Array) -> Array:
        v, alpha, rate, log_mass = self._triple(v)
        return log_mass - gammaln(1 - alpha) - alpha * v - rate * jnp.exp(v)

    def log_tail_inside(self, v: Array) -> Array:
        v, alpha, rate, log_mass = self._triple(v)
        log_rate = jnp.log(rate)
        constant = log_mass - gammaln(1 - alpha) + alpha * log_rate
        return constant + log_upper_gamma(alpha, v + log_rate)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, alpha, rate, log_mass = self._triple(k, v)
        log_rate = jnp.log(rate)
        constant = log_mass - gammaln(1 - alpha) + (alpha - k) * log_rate
        return constant + log_lower_gamma(k - alpha, v + log_rate)

    def line(self, q: Array) -> Array:
        q, _, rate, _ = self._triple(q)
        return _log_softplus(q) - jnp.log(rate)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, alpha, rate, log_mass = self._triple(t)
        inside = (t >= 0) & (t < jnp.inf)
        rise = jnp.log1p(jnp.where(inside, t, 1) / rate)
        exponent = jnp.exp(log_mass + alpha * jnp.log(rate)) * rise * relative_expm1(alpha * rise)
        return jnp.where(inside, exponent, jnp.where(t > 0, jnp.inf, jnp.nan))


class GeneralizedGamma(AbstractTempered):
    """The generalised gamma (tempered stable) measure `η/Γ(1-α) x^(-1-α) e^(-b x)`.

    Its total has the Laplace exponent `(η/α) ((t+b)^α - b^α)` (Brix, 1999).

    Args:
        alpha: index at zero `α`, in (0, 1).
        rate: `b`, positive.
        mass: `η`, positive; the expected sum of all jumps is `η b^(α-1)`.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.GeneralizedGamma(0.5, 1.0, 1.0).tail(0.3)), 5)
        0.64903
    """

    alpha: Real
    rate: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "rate": POSITIVE, "mass": POSITIVE}

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, alpha, rate, mass = self.with_parameters(*values)
        return [*arrays, alpha, rate, jnp.log(mass)]

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        weight, alpha, rate, mass = self.with_parameters(weight)
        log_scale = (jnp.log(weight * mass) - jnp.log(alpha)) / alpha
        arguments = (jnp.broadcast_to(a, shape) for a in (alpha, jnp.log(rate) + log_scale))
        return jnp.exp(_totals.sample_log_tempered_stable(key, *arguments) + log_scale)

    @property
    def index_at_zero(self) -> Real:
        return self.alpha


class Gamma(AbstractTempered):
    """The gamma measure `η x^(-1) e^(-b x)`, whose total has the law `Gamma(η, b)`.

    Args:
        mass: `η`, positive; the expected sum of all jumps is `η/b`.
        rate: `b`, positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.Gamma(2.0, 3.0).tail(0.3)), 5)  # 2 scipy.special.exp1(0.9)
        0.52037
    """

    mass: Real
    rate: Real = 1.0
    bounds: ClassVar = {"mass": POSITIVE, "rate": POSITIVE}
    index_at_zero = 0.0

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mass, rate = self.with_parameters(*values)
        return [*arrays, jnp.zeros((), rate.dtype), rate, jnp.log(mass)]

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        weight, mass, rate = self.with_parameters(weight)
        log_total = jax.random.loggamma(key, jnp.broadcast_to(weight * mass, shape))
        return jnp.exp(log_total - jnp.log(rate))


class InverseGaussian(AbstractTempered):
    """The measure `√(s/2π) x^(-3/2) e^(-s x / (2 m²))`, whose total is inverse Gaussian.

    It is the generalised gamma measure of index 1/2.

    Args:
        mean: expected sum of all jumps `m`, positive.
        shape: `s`, positive; the variance of that sum is `m³/s`.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.InverseGaussian(2.0, 3.0).moment(2)), 5)
        2.66667
    """

    mean: Real = 1.0
    shape: Real = 1.0
    bounds: ClassVar = {"mean": POSITIVE, "shape": POSITIVE}
    index_at_zero = 0.5

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mean, shape = self.with_parameters(*values)
        half = jnp.full((), 0.5, shape.dtype)
        return [*arrays, half, shape / (2 * mean**2), (jnp.log(shape) - math.log(2)) / 2]

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        weight, mean, sharpness = self.with_parameters(weight)
        arguments = (jnp.broadcast_to(a, shape) for a in (weight * mean, weight**2 * sharpness))
        return _totals.sample_inverse_gaussian(key, *arguments)


def _log_softplus(q: Array) -> Array:
    """`log log(1 + e^q)`, which tends to `q` at minus infinity and to `log q` at infinity."""
    small = q < -15
    x = jax.nn.softplus(jnp.where(small, 0, q))
    return jnp.where(small, q - jnp.exp(jnp.minimum(q, 0)) / 2, jnp.log(x))
