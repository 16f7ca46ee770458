"""The measures whose tail is a power, or nothing at all."""

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned, as_float
from mogp.levy import _totals
from mogp.levy._abstract import POSITIVE
from mogp.levy._inverse import log_of_normal
from mogp.levy._measure import LevyMeasure


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
        >>> float(levy.Stable(0.5).tail(4.0))
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

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, alpha, scale = self.with_parameters(u)
        inside = (u > 0) & (u < jnp.inf)
        log_u = log_of_normal(jnp.where(inside, jnp.maximum(u, float(np.finfo(u.dtype).tiny)), 1))
        edge = jnp.where(u > 0, -jnp.inf, jnp.where(u == 0, jnp.inf, jnp.nan))
        return jnp.where(inside, jnp.log(scale) - log_u / alpha, edge)

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
