"""Measures with closed forms: stable, tempered stable and beta."""

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
from mogp._checks import is_concrete
from mogp.levy import _totals
from mogp.levy.incomplete import (
    log_lower_beta,
    log_lower_gamma,
    log_upper_beta,
    log_upper_gamma,
    relative_expm1,
)
from mogp.levy._inverse import log_of_normal
from mogp.levy._measure import LevyMeasure

_POSITIVE = (0.0, math.inf)


class NoJumps(LevyMeasure):
    """The zero measure: a limit without jumps, the Gaussian-process regime."""

    def _log_density(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf)

    def _log_tail(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf)

    def _log_moment(self, k: Array, v: Array) -> Array:
        return jnp.full_like(sum(aligned(k, v)), -jnp.inf)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        return jnp.where(as_float(t) >= 0, 0, jnp.nan)

    def _exact_total(self, key: Array, weight: Array) -> Array:
        del key
        return jnp.zeros_like(weight)

    @property
    def index_at_zero(self) -> Real:
        return 0.0

    @property
    def index_at_infinity(self) -> Real:
        return math.inf

    @property
    def total_mass(self) -> Real:
        return 0.0


class Stable(LevyMeasure):
    """The stable measure `ρ̄(x) = (x / scale)^(-α)` ([DW], Section 3).

    Args:
        alpha: index `α` in (0, 1).
        scale: factor of every jump, positive.

    Example:
        >>> from mogp import levy
        >>> float(levy.Stable(0.5).tail(4.0))
        0.5
    """

    alpha: Real
    scale: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "scale": _POSITIVE}

    def _log_density(self, v: Array) -> Array:
        v, alpha, scale = self._with(v)
        return jnp.log(alpha) - alpha * (v - jnp.log(scale))

    def _log_tail(self, v: Array) -> Array:
        v, alpha, scale = self._with(v)
        return -alpha * (v - jnp.log(scale))

    def _log_moment(self, k: Array, v: Array) -> Array:
        k, v, alpha, scale = self._with(k, v)
        return jnp.log(alpha / (k - alpha)) + alpha * jnp.log(scale) + (k - alpha) * v

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, alpha, scale = self._with(u)
        inside = (u > 0) & (u < jnp.inf)
        log_u = log_of_normal(jnp.where(inside, jnp.maximum(u, float(np.finfo(u.dtype).tiny)), 1))
        edge = jnp.where(u > 0, -jnp.inf, jnp.where(u == 0, jnp.inf, jnp.nan))
        return jnp.where(inside, jnp.log(scale) - log_u / alpha, edge)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, alpha, scale = self._with(t)
        return jnp.exp(gammaln(1 - alpha)) * (scale * jnp.where(t >= 0, t, jnp.nan)) ** alpha

    def _exact_total(self, key: Array, weight: Array) -> Array:
        alpha, scale = (jnp.broadcast_to(a, weight.shape) for a in self._with())
        log_factor = (gammaln(1 - alpha) + jnp.log(weight)) / alpha
        return jnp.exp(_totals.sample_log_stable(key, alpha) + log_factor) * scale

    @property
    def index_at_zero(self) -> Real:
        return self.alpha

    @property
    def index_at_infinity(self) -> Real:
        return self.alpha


class _Tempered(LevyMeasure):
    """`ρ(x) = η/Γ(1-α) x^(-1-α) e^(-b x)`, with `α` in [0, 1)."""

    @abc.abstractmethod
    def _triple(self, *values: ArrayLike) -> list[Array]:
        """The values, then `α`, `b` and `log η`."""

    def _log_density(self, v: Array) -> Array:
        v, alpha, rate, log_mass = self._triple(v)
        return log_mass - gammaln(1 - alpha) - alpha * v - rate * jnp.exp(v)

    def _log_tail(self, v: Array) -> Array:
        v, alpha, rate, log_mass = self._triple(v)
        log_rate = jnp.log(rate)
        constant = log_mass - gammaln(1 - alpha) + alpha * log_rate
        return constant + log_upper_gamma(alpha, v + log_rate)

    def _log_moment(self, k: Array, v: Array) -> Array:
        k, v, alpha, rate, log_mass = self._triple(k, v)
        log_rate = jnp.log(rate)
        constant = log_mass - gammaln(1 - alpha) + (alpha - k) * log_rate
        return constant + log_lower_gamma(k - alpha, v + log_rate)

    def _line(self, q: Array) -> Array:
        q, _, rate, _ = self._triple(q)
        return log_softplus(q) - jnp.log(rate)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, alpha, rate, log_mass = self._triple(t)
        inside = (t >= 0) & (t < jnp.inf)
        rise = jnp.log1p(jnp.where(inside, t, 1) / rate)
        exponent = jnp.exp(log_mass + alpha * jnp.log(rate)) * rise * relative_expm1(alpha * rise)
        return jnp.where(inside, exponent, jnp.where(t > 0, jnp.inf, jnp.nan))

    @property
    def index_at_infinity(self) -> Real:
        return math.inf


class GeneralizedGamma(_Tempered):
    """The generalised gamma (tempered stable) measure `η/Γ(1-α) x^(-1-α) e^(-b x)`.

    Its total has the Laplace exponent `(η/α) ((t+b)^α - b^α)` (Brix, 1999).

    Args:
        alpha: index at zero `α`, in (0, 1).
        rate: `b`, positive.
        mass: `η`, positive; the expected sum of all jumps is `η b^(α-1)`.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.GeneralizedGamma(0.5, 1.0, 1.0).tail(0.3)), 9)
        0.649025105
    """

    alpha: Real
    rate: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "rate": _POSITIVE, "mass": _POSITIVE}

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, alpha, rate, mass = self._with(*values)
        return [*arrays, alpha, rate, jnp.log(mass)]

    def _exact_total(self, key: Array, weight: Array) -> Array:
        alpha, rate, mass = (jnp.broadcast_to(a, weight.shape) for a in self._with())
        log_scale = (jnp.log(weight * mass) - jnp.log(alpha)) / alpha
        tempered = _totals.sample_log_tempered_stable(key, alpha, jnp.log(rate) + log_scale)
        return jnp.exp(tempered + log_scale)

    @property
    def index_at_zero(self) -> Real:
        return self.alpha


class Gamma(_Tempered):
    """The gamma measure `η x^(-1) e^(-b x)`, whose total is `Gamma(η, b)`.

    Args:
        mass: `η`, positive.
        rate: `b`, positive.
    """

    mass: Real
    rate: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "rate": _POSITIVE}

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mass, rate = self._with(*values)
        return [*arrays, jnp.zeros((), rate.dtype), rate, jnp.log(mass)]

    def _exact_total(self, key: Array, weight: Array) -> Array:
        mass, rate = (jnp.broadcast_to(a, weight.shape) for a in self._with())
        return jnp.exp(jax.random.loggamma(key, weight * mass) - jnp.log(rate))

    @property
    def index_at_zero(self) -> Real:
        return 0.0


class InverseGaussian(_Tempered):
    """The measure `√(s/2π) x^(-3/2) e^(-s x / (2 m²))`, whose total is inverse Gaussian.

    The generalised gamma measure of index 1/2.

    Args:
        mean: expected total `m`, positive.
        shape: `s`, positive; the variance of the total is `m³/s`.
    """

    mean: Real = 1.0
    shape: Real = 1.0
    bounds: ClassVar = {"mean": _POSITIVE, "shape": _POSITIVE}

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mean, shape = self._with(*values)
        half = jnp.full((), 0.5, shape.dtype)
        return [*arrays, half, shape / (2 * mean**2), (jnp.log(shape) - math.log(2)) / 2]

    def _exact_total(self, key: Array, weight: Array) -> Array:
        mean, sharpness = (jnp.broadcast_to(a, weight.shape) for a in self._with())
        return _totals.sample_inverse_gaussian(key, weight * mean, weight**2 * sharpness)

    @property
    def index_at_zero(self) -> Real:
        return 0.5


class _BetaLike(LevyMeasure):
    """`ρ(x) = C x^(-1-α) (1-x)^(d-1)` on (0, 1), with `α` in [0, 1) and `d > 0`."""

    @abc.abstractmethod
    def _triple(self, *values: ArrayLike) -> list[Array]:
        """The values, then `α`, `d` and `log C`."""

    def _log_density(self, v: Array) -> Array:
        v, alpha, d, constant = self._triple(v)
        return constant - alpha * v + (d - 1) * jnp.log(-jnp.expm1(v))

    def _log_tail(self, v: Array) -> Array:
        v, alpha, d, constant = self._triple(v)
        return constant + log_upper_beta(alpha, d, v)

    def _log_moment(self, k: Array, v: Array) -> Array:
        k, v, alpha, d, constant = self._triple(k, v)
        return constant + log_lower_beta(k - alpha, d, v)

    def _line(self, q: Array) -> Array:
        q, _, d, _ = self._triple(q)
        return jax.nn.log_sigmoid(q - jnp.log1p(d))

    @property
    def index_at_infinity(self) -> Real:
        return math.inf

    @property
    def support(self) -> tuple[Real, Real]:
        return 0.0, 1.0


class Beta(_BetaLike):
    """The beta measure `η b x^(-1) (1-x)^(b-1)` on (0, 1) (Hjort, 1990).

    Args:
        mass: `η`, positive: the expected sum of all jumps.
        concentration: `b`, positive.
    """

    mass: Real
    concentration: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "concentration": _POSITIVE}

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mass, b = self._with(*values)
        return [*arrays, jnp.zeros((), b.dtype), b, jnp.log(mass) + jnp.log(b)]

    @property
    def index_at_zero(self) -> Real:
        return 0.0


class StableBeta(_BetaLike):
    """`η Γ(1+b) / (Γ(1-α) Γ(b+α)) x^(-1-α) (1-x)^(b+α-1)` on (0, 1) (Teh and Görür, 2009).

    Args:
        alpha: index at zero `α`, in (0, 1).
        concentration: `b`, above `-alpha`.
        mass: `η`, positive: the expected sum of all jumps.
    """

    alpha: Real
    concentration: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "concentration": (-1.0, math.inf), "mass": _POSITIVE}

    def __check_init__(self) -> None:
        both = self.alpha, self.concentration
        if is_concrete(*both) and not np.all(np.add(*both) > 0):
            raise ValueError(
                f"concentration must be above -alpha, got concentration={both[1]}, alpha={both[0]}"
            )

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, alpha, b, mass = self._with(*values)
        d = jnp.where(b + alpha > 0, b + alpha, jnp.nan)
        constant = jnp.log(mass) + gammaln(1 + b) - gammaln(1 - alpha) - gammaln(d)
        return [*arrays, alpha, d, constant]

    @property
    def index_at_zero(self) -> Real:
        return self.alpha


class RegularizedHorseshoe(LevyMeasure):
    """`ρ̄(x) = (2/π) √((1 - c x) / x)` on (0, 1/c), the horseshoe cut off by a slab.

    Limit of the law of `S/(1 + c S)`, `S = (|C|/p)²` with `C` standard Cauchy (Piironen and
    Vehtari, 2017; [DW], Section 3).

    Args:
        slab: `c`, positive; no jump is larger than `1/c`.
    """

    slab: Real = 1.0
    bounds: ClassVar = {"slab": _POSITIVE}

    def _log_density(self, v: Array) -> Array:
        v, slab = self._with(v)
        return -math.log(math.pi) - (v + jnp.log(-jnp.expm1(v + jnp.log(slab)))) / 2

    def _log_tail(self, v: Array) -> Array:
        v, slab = self._with(v)
        return math.log(2 / math.pi) + (jnp.log(-jnp.expm1(v + jnp.log(slab))) - v) / 2

    def _log_moment(self, k: Array, v: Array) -> Array:
        k, v, slab = self._with(k, v)
        half = jnp.full((), 0.5, v.dtype)
        log_slab = jnp.log(slab)
        scaled = log_lower_beta(k - 0.5, half, jnp.minimum(v + log_slab, 0))
        return (0.5 - k) * log_slab - math.log(math.pi) + scaled

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, slab = self._with(u)
        square = (math.pi / 2 * jnp.where(u >= 0, u, jnp.nan)) ** 2
        return -jnp.log(slab) - jnp.log1p(square / slab)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, slab = self._with(t)  # of the measure with slab 1, for the end of the support is 1
        return jnp.sqrt(slab) * StableBeta(0.5, 0.0).laplace_exponent(t / slab)

    def _line(self, q: Array) -> Array:
        q, slab = self._with(q)
        return jax.nn.log_sigmoid(q) - jnp.log(slab)

    @property
    def index_at_zero(self) -> Real:
        return 0.5

    @property
    def index_at_infinity(self) -> Real:
        return math.inf

    @property
    def support(self) -> tuple[Real, Real]:
        return 0.0, 1 / self._with()[0]


def log_softplus(q: Array) -> Array:
    """`log log(1 + e^q)`, which tends to `q` at minus infinity and to `log q` at infinity."""
    small = q < -15
    x = jax.nn.softplus(jnp.where(small, 0, q))
    return jnp.where(small, q - jnp.exp(jnp.minimum(q, 0)) / 2, jnp.log(x))
