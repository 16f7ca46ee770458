"""The Laplace exponent of a measure from its tail and moments, where no closed form is at hand."""

import functools
import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import aligned

if TYPE_CHECKING:
    from mogp.levy._measure import LevyMeasure

_NEAR, _FAR = 0.05, 40.0  # t x below which 1 - e^(-t x) is expanded, above which it is 1
_ORDER = 9


def laplace_exponent(measure: "LevyMeasure", t: Array) -> Array:
    """`∫ (1 - e^(-t x)) ρ(dx)`, elementwise.

    By moments up to `x = 0.05 / t`, and by parts from there: every term of the integral is
    positive, and the tail is bounded at the ends of the support.
    """
    t, low, high, mass = aligned(t, *measure.support, measure.total_mass)
    inside = (t > 0) & (t < jnp.inf)
    t_in = jnp.where(inside, t, 1)

    log_t = jnp.log(t_in)
    start = jnp.maximum(math.log(_NEAR) - log_t, jnp.log(low))
    end = jnp.minimum(math.log(_FAR) - log_t, jnp.log(high))
    orders = jnp.arange(1, _ORDER + 1).astype(t.dtype).reshape(-1, *(1,) * t.ndim)
    signs = np.array([(-1) ** (j + 1) / math.factorial(j) for j in range(1, _ORDER + 1)])
    log_moments = measure.log_moment_of_log(orders, (math.log(_NEAR) - log_t)[None])
    near = jnp.exp(log_moments + orders * log_t[None])
    series = jnp.tensordot(jnp.asarray(signs, t.dtype), near, axes=1)

    end = jnp.maximum(start, end)
    kinks = [jnp.clip(jnp.log(aligned(kink, t)[0]), start, end) for kink in measure.kinks]
    first, last = jnp.stack([start, *kinks]), jnp.stack([*kinks, end])
    nodes, weights = (
        jnp.asarray(part, t.dtype).reshape(-1, *(1,) * first.ndim) for part in _rule()
    )
    span = (last - first)[None]
    v = last[None] - nodes * span
    # The tail in one call, for each takes long to compile.
    tails = jnp.exp(measure.log_tail_of_log(jnp.concatenate([v, first[None]])))
    x = jnp.exp(log_t[None, None] + v)
    body = jnp.sum(weights * span * x * jnp.exp(-x) * tails[:-1], axis=(0, 1))
    total = series - jnp.expm1(-jnp.exp(log_t + start)) * tails[-1, 0] + body

    edge = jnp.where(t == 0, 0, jnp.where(t == jnp.inf, mass, jnp.nan))
    return jnp.where(inside, total, edge)


@functools.cache
def _rule(num: int = 129, reach: float = 3.4) -> tuple[np.ndarray, np.ndarray]:
    """Tanh-sinh rule on (0, 1): distances of the nodes from the upper end, and weights."""
    t, step = np.linspace(-reach, reach, num, retstep=True)
    y = math.pi / 2 * np.sinh(t)
    right, left = 1 / (1 + np.exp(2 * y)), 1 / (1 + np.exp(-2 * y))
    return right, step * math.pi * np.cosh(t) * left * right
