"""The one integral behind the GBFRY measure and its finite-width law."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp.levy.incomplete import log_killed


def log_power_integral(log_z: ArrayLike, power: ArrayLike, log_t: ArrayLike) -> Array:
    """`log ∫_0^1 w^(A-1) exp(-z w) (1 - exp(-t z w)) dw` for `A, z, t > 0`, elementwise.

    With `t = inf` it is `log z^(-A) γ(A, z)`, the lower incomplete gamma function. Every term of
    the sum is positive, so nothing cancels at either end; nor does it in the derivatives, in all
    three arguments.

    Args:
        log_z: `log z`, at most 200.
        power: `A`; accurate from 0.2 to 50.
        log_t: `log t`, up to infinity.

    Returns:
        The logarithm. Relative error of the integral in float64: 1e-11 for `A ≥ 0.2`. In float32 a
        few units of the last digit of the logarithm for `A ≥ 0.5`, 2e-3 at `A = 0.2`.
    """
    dtype = jnp.result_type(log_z, power, log_t)
    return _log_integral(
        *jnp.broadcast_arrays(*(jnp.asarray(a, dtype) for a in (log_z, power, log_t)))
    )


@jax.custom_jvp
def _log_integral(log_z: Array, power: Array, log_t: Array) -> Array:
    terms, _, log_step = _log_terms(log_z, power, log_t)
    return jax.nn.logsumexp(terms, axis=0) + log_step


@_log_integral.defjvp
def _log_integral_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    # Derivatives are averages under the integrand; autodiff would keep every term of the sum.
    terms, log_w, log_step = _log_terms(*primals)
    log_sum = jax.nn.logsumexp(terms, axis=0)
    density = jax.nn.softmax(terms, axis=0)
    log_z, log_t = (jnp.broadcast_to(a, terms.shape) for a in (primals[0], primals[2]))
    by_t = _log_killed_slope(log_t + log_z + log_w)
    by_z = by_t - jnp.exp(log_z + log_w)
    tangent = sum(
        jnp.sum(density * by, axis=0) * t
        for by, t in zip((by_z, log_w, by_t), tangents, strict=True)
    )
    return log_sum + log_step, tangent


def _log_terms(log_z: Array, power: Array, log_t: Array) -> tuple[Array, Array, Array]:
    """Logarithms of the summands, of their nodes `w`, and of the step; nodes in front.

    Trapezoidal rule in `v`, where `log w = b - log(1 + exp(v - exp(-v)))`: doubly exponential at
    the upper end, linear in `log w` towards 0. For large `z` the upper end is `b < 0`, beyond which
    the integrand is below the precision.
    """
    digits, num = (38.0, 512) if log_z.dtype == jnp.float64 else (17.0, 64)

    # Where the rule stands does not change the integral: no derivative goes through it.
    z, a, t = jax.lax.stop_gradient((log_z, power, log_t))
    reach = jnp.log(a + digits + 9 * jnp.sqrt(a))
    upper = jnp.minimum(0, reach - z)
    knee = jnp.clip(upper + z + t, 0, digits / a)
    decay = jnp.minimum(digits / a, knee + digits / (1 + a))
    shift = jnp.where(z > jnp.log(a), jnp.maximum(reach - jnp.log(a), 0), 0)
    first, last = -math.log(digits) - 0.1, decay + shift + 1
    step = (last - first) / (num - 1)

    index = jnp.asarray(np.arange(num), log_z.dtype).reshape((num,) + (1,) * log_z.ndim)

    def over(x: Array) -> Array:
        return jnp.broadcast_to(x, (num, *log_z.shape))

    v = first + index * over(step)
    lift = jnp.exp(-v)
    inner = v - lift
    log_w = over(upper) - jax.nn.softplus(inner)
    log_jacobian = inner - jax.nn.softplus(inner) + jnp.log1p(lift)
    killed = log_killed(over(log_t + log_z) + log_w)
    terms = over(power) * log_w - jnp.exp(over(log_z) + log_w) + killed + log_jacobian
    return terms, log_w, jnp.log(step)


def _log_killed_slope(y: Array) -> Array:
    """Derivative of `log_killed`: `x / (exp(x) - 1)` at `x = e^y`."""
    x = jnp.exp(jnp.clip(y, -80, 5))
    return x / jnp.expm1(x)
