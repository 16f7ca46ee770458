"""Incomplete gamma and beta integrals, down to negative orders, as fixed numbers of terms.

Every function takes and returns logarithms, so that nothing overflows, and is a finite sum or
fraction, so that derivatives of every order exist in every argument, the order of the integral
included. Arguments are floating arrays of one dtype that broadcast, scalars or of one rank; results
have their dtype and common shape. Orders from 1e-3 to 1e6 were compared with 50-digit arithmetic.
Relative errors of the integrals are below 1e-11 in float64 and 5e-6 in float32, and a few roundings
of the logarithms of arguments and result: these are of order 1e6 for orders of 1e6.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

__all__ = [
    "log_beta",
    "log_killed",
    "log_lower_beta",
    "log_lower_gamma",
    "log_upper_beta",
    "log_upper_gamma",
    "relative_expm1",
]

# Steps of the fractions, half the terms of the series: a fixed number, so that derivatives of any
# order exist in forward and reverse mode; enough for all digits of float64 in the ranges stated.
_DEPTH = 40
_SPLIT = math.log(2.0)  # above, the fraction of Γ(-α, z) converges in `_DEPTH` steps
# The fractions and series take a number of steps of the order of the root of the order; from here
# on the integrand is so narrow a peak that quadrature on one side of it has all digits.
_WIDE = 45.0


def log_upper_gamma(alpha: Array, log_z: Array) -> Array:
    """`log Γ(-α, z) = log ∫_z^∞ t^(-1-α) e^(-t) dt` for `α` in [0, 1) and any `z > 0`.

    Equivalent to `log(scipy.special.exp1(z))` at `α = 0`.

    Args:
        alpha: minus the order.
        log_z: logarithm of the lower end.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> round(float(jnp.exp(incomplete.log_upper_gamma(jnp.array(0.0), jnp.array(0.0)))), 5)
        0.21938
    """
    # Below 2 the integral from `z` to 2 is added term by term of the series of `e^(-t)`, which
    # needs no special case at `α = 0` or 1.
    small = log_z < _SPLIT
    beyond = _log_upper_fraction(-alpha, jnp.where(small, _SPLIT, log_z))
    span = jnp.where(small, _SPLIT - log_z, 1)
    n = np.arange(1, 28)
    terms = _column(np.append(1, np.cumprod(-2.0 / n)), alpha, span)
    between = alpha * (span - _SPLIT) + jnp.log(_between(alpha, span, terms))
    return jnp.where(small, jnp.logaddexp(beyond, between), beyond)


def log_lower_gamma(s: Array, log_z: Array) -> Array:
    """`log γ(s, z) = log ∫_0^z t^(s-1) e^(-t) dt` for any `s > 0` and `z > 0`.

    Equivalent to `log(scipy.special.gammainc(s, z) * scipy.special.gamma(s))`.

    Args:
        s: the order.
        log_z: logarithm of the upper end.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> round(float(jnp.exp(incomplete.log_lower_gamma(jnp.array(1.0), jnp.array(0.0)))), 5)
        0.63212
    """
    order, s = s, jnp.where(s > _WIDE, 1, s)
    border = jnp.log(s + 1)
    small = log_z < border
    log_low = jnp.where(small, log_z, border)
    z = jnp.exp(log_low)
    series = _loop(lambda n, f: 1 + z / (s + n) * f, jnp.ones_like(z + s), 2 * _DEPTH)
    below = s * log_low - z - jnp.log(s) + jnp.log(series)
    log_high = jnp.where(small, border, jnp.where(log_z < 7, log_z, 7))  # beyond, the rest is 0
    above = _without(gammaln(s), _log_upper_fraction(s, log_high))
    plain = jnp.where(small, below, above)
    return _where_wide(order, plain, _wide_lower_gamma, order, log_z, gammaln(order))


def _wide_lower_gamma(s: Array, log_z: Array, complete: Array) -> Array:
    far = log_z > jnp.log(s) + 3  # where the rest is below e^(-16 s)
    log_z = jnp.where(far, jnp.log(s) + 3, log_z)
    z = jnp.exp(log_z)
    below = z <= s
    slope, way = jnp.where(below, s - z, z - s), jnp.where(below, -1.0, 1.0).astype(z.dtype)
    half = s * log_z - z + _log_half_peak(slope, z, jnp.zeros_like(z), way)
    return jnp.where(below, half, jnp.where(far, complete, _without(complete, half)))


def _log_upper_fraction(s: Array, log_z: Array) -> Array:
    """`log Γ(s, z)` by Legendre's continued fraction, for `z ≥ max(2, s + 1)` (DLMF 8.9.2)."""
    z = jnp.exp(log_z)
    tail = _loop(
        lambda m, f: m * (m - s) / (z + 2 * m + 1 - s - f), jnp.zeros_like(z + s), 2 * _DEPTH
    )
    return s * log_z - z - jnp.log(z + 1 - s - tail)


def log_upper_beta(alpha: Array, d: Array, log_x: Array) -> Array:
    """`log ∫_x^1 t^(-1-α) (1-t)^(d-1) dt` for `α` in [0, 1), any `d > 0`, and `x` in (0, 1).

    Args:
        alpha: minus the first order.
        d: the second order.
        log_x: logarithm of the lower end.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> zero, one = jnp.array(0.0), jnp.array(1.0)
        >>> round(float(jnp.exp(incomplete.log_upper_beta(zero, one, -one))), 5)  # -log x
        1.0
    """
    return _upper_beta(alpha, d, log_x, _log1mexp(log_x))


def _upper_beta(alpha: Array, d: Array, log_x: Array, log_y: Array) -> Array:
    """`log_upper_beta`, also for `α` in [-1, 0]; with `log_y = log(1 - x)`."""
    # Below 2/(d+6) the integral up to there is added term by term of the series of `(1-t)^(d-1)`,
    # which converges fast there for every `d`; beyond, the fraction in `1-x` does.
    split = -jnp.log(d / 2 + 3)
    small = log_x < split
    log_x_in, log_y_in = (
        jnp.where(small, split, log_x),
        jnp.where(small, jnp.log1p(-2 / (d + 6)), log_y),
    )
    beyond = _log_beta_fraction(d, -alpha, log_y_in, log_x_in)
    span = jnp.where(small, split - log_x, 1)
    terms = _binomial(d, 2 / (d + 6), alpha, span)
    between = alpha * (span - split) + jnp.log(_between(alpha, span, terms))
    return jnp.where(small, jnp.logaddexp(beyond, between), beyond)


def log_lower_beta(s: Array, d: Array, log_x: Array) -> Array:
    """`log ∫_0^x t^(s-1) (1-t)^(d-1) dt` for any `s > 0` and `d > 0`, and `x` in (0, 1].

    Equivalent to `log(scipy.special.betainc(s, d, x) * scipy.special.beta(s, d))`.

    Args:
        s: the first order.
        d: the second order.
        log_x: logarithm of the upper end.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> half, zero = jnp.array(0.5), jnp.array(0.0)
        >>> round(float(jnp.exp(incomplete.log_lower_beta(half, half, zero))), 5)  # π
        3.14159
    """
    # For `d ≤ 1` what is above the border is added, by the series of `log_upper_beta` from the
    # other end; for larger `d` what is above `x` is taken from the complete integral.
    whole = log_x >= 0
    log_x = jnp.where(whole, -1, log_x)
    log_y, complete = _log1mexp(log_x), log_beta(s, d)
    flat = d <= 1
    log_border = jnp.where(flat, jnp.log1p(-2 / (s + 6)), -jnp.log1p((d + 1) / (s + 1)))
    log_rest = jnp.where(flat, -jnp.log(s / 2 + 3), -jnp.log1p((s + 1) / (d + 1)))
    below = log_x <= log_border
    from_top, near_x, near_y = ~below & ~flat, log_x, log_y
    near_x, near_y = (
        jnp.where(~below & flat, edge, v) for edge, v in ((log_border, log_x), (log_rest, log_y))
    )
    first, second = jnp.where(from_top, d, s), jnp.where(from_top, s, d)
    up_to, rest_of = jnp.where(from_top, near_y, near_x), jnp.where(from_top, near_x, near_y)
    fraction = _log_beta_fraction(first, second, up_to, rest_of)
    order, span = jnp.where(flat, d, 1), jnp.where(below | ~flat, 1, log_rest - log_y)
    terms = _binomial(s, 2 / (s + 6), order, span)
    added = order * (log_rest - span) + jnp.log(_between(-order, span, terms))
    taken = _without(complete, jnp.where(from_top, fraction, complete - 1))
    part = jnp.where(from_top, taken, jnp.logaddexp(fraction, added))
    part = jnp.where(below, fraction, part)
    part = _where_wide(s / (1 + s / d), part, _wide_lower_beta, s, d, log_x, log_y, complete)
    return jnp.where(whole, complete, part)


def _wide_lower_beta(s: Array, d: Array, log_x: Array, log_y: Array, complete: Array) -> Array:
    x, y = jnp.exp(log_x), jnp.exp(log_y)
    left = x < 0.5
    size, c = s + d, jnp.where(left, x, y)
    slope = jnp.where(left, s - size * x, size * y - d)
    below = slope >= 0
    way = jnp.where(left == below, -1.0, 1.0).astype(x.dtype)
    half = _log_half_peak(jnp.where(below, slope, -slope), size * c, c, way)
    half = half + s * log_x + d * log_y
    return jnp.where(below, half, _without(complete, half))


def _log_half_peak(slope: Array, size: Array, c: Array, way: Array) -> Array:
    """The logarithm of the integral of a log-concave function from a point on, off its peak.

    The function is `t^s (1-t)^d`, in the log-odds of `t`, or `t^s e^(-t)`, in `log t`. It falls
    like `e^(-φ(u))` with `φ(u) = slope u + size (P(c e)/c - P(e))`, `e = expm1(way u)` and
    `P(e) = log(1+e) - e`, which is written without a difference of large numbers. By Gauss and
    Legendre's rule up to where it is negligible.
    """
    slope, size, c, way = jnp.broadcast_arrays(slope, size, jnp.where(c > 1e-12, c, 0), way)
    # A parabola under the fall of 60 is above one of 37 of the function, for sizes from 45 on.
    enough = 60.0 if slope.dtype == jnp.float64 else 30.0
    end = 2 * enough / (slope + jnp.sqrt(slope**2 + 2 * size * (1 - c) * enough))
    end = jax.lax.stop_gradient(end)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    u = _column((nodes + 1) / 2, end) * end[None]
    e = jnp.expm1(way[None] * u)
    curved = _log1p_rest(c[None] * e) / jnp.where(c > 0, c, 1)[None] - _log1p_rest(e)
    values = jnp.exp(-slope[None] * u - size[None] * curved)
    return jnp.log(end * jnp.sum(_column(weights / 2, end) * values, axis=0))


def _log_beta_fraction(a: Array, b: Array, log_x: Array, log_y: Array) -> Array:
    """`log ∫_0^x t^(a-1) (1-t)^(b-1) dt`, `a > 0`, by the even part of DLMF 8.17.22.

    It converges fast for `x < (a+1)/(a+b+2)`. Didonato and Morris, Algorithm 708 (1992), write it
    so that nothing cancels for `x` near 1, with `y = 1 - x`.
    """
    x, y = jnp.exp(log_x), jnp.exp(log_y)
    excess = 1 + jnp.where(x < 0.5, a - (a + b) * x, (a + b) * y - b)

    def numerator(m: Array) -> Array:
        share = x / (a + 2 * m + 1)
        return (a + m) * share * ((a + b + m) * share) * ((m + 1) * (b - m - 1))

    def step(m: Array, f: Array) -> Array:
        own = m + m * (b - m) * x / (a + 2 * m - 1)
        own = own + (a + m) / (a + 2 * m + 1) * (excess + m * (1 + y))
        return own + numerator(m) / f

    deepest = jnp.full_like(x + y + a + b, 1.0) * (2 * _DEPTH)
    fraction = _loop(step, deepest, _DEPTH)
    zero = jnp.zeros((), x.dtype)
    return a * log_x + b * log_y - jnp.log(a / (a + 1) * excess + numerator(zero) / fraction)


def log_beta(a: Array, b: Array) -> Array:
    """`log B(a, b)` of the complete beta integral, without a difference of large numbers.

    Equivalent to `scipy.special.betaln(a, b)`.

    Args:
        a: the first order, positive.
        b: the second order, positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> round(float(incomplete.log_beta(jnp.array(2.0), jnp.array(3.0))), 5)  # -log 12
        -2.48491
    """
    # By Stirling's series for the larger one and the sum, raised by 8 below 8, and for the smaller.
    swapped = a > b
    a, b = jnp.where(swapped, b, a), jnp.where(swapped, a, b)
    low, raised = a < 8, b < 8
    near_a, near_b = jnp.where(raised, a, 1), jnp.where(raised, b, 1)
    product = jnp.ones_like(near_a / near_b)
    for i in range(8):
        product = product * (1 + near_a / (near_b + i))
    b = jnp.where(raised, b + 8, b)
    common = jnp.where(raised, jnp.log(product), 0) + _stirling(b) - _stirling(a + b)
    common = common - (a + b - 0.5) * jnp.log1p(a / b)
    small_a, large_a = jnp.where(low, a, 1), jnp.where(low, 8, a)
    of_small = gammaln(small_a) - small_a * (jnp.log(b) - 1)
    of_large = large_a * jnp.log(large_a / b) + _stirling(large_a)
    of_large = of_large + (math.log(2 * math.pi) - jnp.log(large_a)) / 2
    return common + jnp.where(low, of_small, of_large)


def _stirling(z: Array) -> Array:
    """`log Γ(z) - (z - 1/2) log z + z - log √(2π)` for `z ≥ 8`."""
    coefficients = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
    inverse = 1 / z
    series = jnp.full_like(z, -3617 / 122400)
    for coefficient in coefficients[::-1]:
        series = series * inverse**2 + coefficient
    return series * inverse


def _where_wide(size: Array, plain: Array, wide: Callable[..., Array], *orders: Array) -> Array:
    """`plain`, or `wide` where the size of the orders says so: computed only if there is such."""
    size, plain, *same = jnp.broadcast_arrays(size, plain, *orders)
    there = size > _WIDE
    # Where it is not, any orders will do; all but the first are the same for them.
    first = jnp.where(there, same[0], 2 * _WIDE)
    found = jax.lax.cond(
        jnp.any(there), lambda: wide(first, *same[1:]), lambda: jnp.zeros_like(plain)
    )
    return jnp.where(there, found, plain)


def _without(log_whole: Array, log_part: Array) -> Array:
    """`log(whole - part)`, where the part is not nearly all."""
    return log_whole + jnp.log1p(-jnp.exp(jnp.minimum(log_part - log_whole, -1e-3)))


def _log1mexp(v: Array) -> Array:
    """`log(1 - e^v)` for `v < 0`."""
    near = v > -_SPLIT
    at_zero = jnp.log(-jnp.expm1(jnp.where(near, v, -1)))
    return jnp.where(near, at_zero, jnp.log1p(-jnp.exp(jnp.where(near, -1, v))))


def _log1p_rest(e: Array) -> Array:
    """`log(1+e) - e`, to its last digits at 0."""
    small = jnp.abs(e) < 0.25
    near = jnp.where(small, e, 0)
    r = near / (2 + near)  # log(1+e) = 2 artanh r
    series = jnp.zeros_like(r)
    for n in range(21, 1, -2):
        series = (series * r**2) + 2 / n
    return jnp.where(small, r * (r**2 * series - near), jnp.log1p(jnp.where(small, 1, e)) - e)


def _between(alpha: Array, span: Array, terms: Array) -> Array:
    """`Σ_n terms[n] (e^(-αL) - e^(-nL)) / (n-α)` for the span `L`.

    The integrals of `t^(n-1-α)` from `e^(-L)` to 1, times `e^(-αL)`.
    """
    factor = jnp.exp(-alpha * span)
    first = terms[0] * span * relative_expm1(-alpha * span)
    second = terms[1] * span * factor * relative_expm1(-(1 - alpha) * span)
    n = _column(np.arange(2, len(terms)), alpha, span)
    alpha, span, factor = (x[None] if x.ndim else x for x in (alpha, span, factor))
    rest = jnp.sum(terms[2:] / (n - alpha) * (factor - jnp.exp(-n * span)), axis=0)
    # Positive, but for roundings where the span is next to nothing.
    return jnp.maximum(first + second + rest, float(np.finfo(rest.dtype).tiny))


def _binomial(a: Array, x: Array, *like: Array) -> Array:
    """`(1-a)_n x^n / n!`, the series of `(1-x)^(a-1)`, along a new first axis."""
    n = _column(np.arange(1, 36), a, x, *like)
    a, x = (value[None] if value.ndim else value for value in (a, x))
    ratios = (n - a) / n * x
    return jnp.concatenate([jnp.ones_like(ratios[:1]), jnp.cumprod(ratios, axis=0)])


def _column(values: np.ndarray, *like: Array) -> Array:
    """The values along a first axis, in front of those of other arrays."""
    ndim = max(x.ndim for x in like)
    return jnp.asarray(values, like[0].dtype).reshape(-1, *(1,) * ndim)


def relative_expm1(y: Array) -> Array:
    """`(e^y - 1) / y`, smooth at 0.

    Equivalent to `scipy.special.exprel(y)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> float(incomplete.relative_expm1(jnp.array(0.0)))
        1.0
    """
    # Below 0.3 the quotient would lose digits, and its derivatives all of them.
    small = jnp.abs(y) < 0.3
    near = jnp.where(small, y, 0)
    series = jnp.ones_like(near)
    for n in range(13, 1, -1):
        series = 1 + near / n * series
    far = jnp.where(small, 1, y)
    return jnp.where(small, series, jnp.expm1(far) / far)


def log_killed(y: Array) -> Array:
    """`log(1 - exp(-e^y))`, which tends to `y` at minus infinity.

    The logarithm of the probability that a jump `x` is noticed by thinning at the rate `t`, where
    `y = log(t x)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp.levy import incomplete
        >>> round(float(incomplete.log_killed(jnp.array(0.0))), 5)
        -0.45868
    """
    # Below -12 two terms of the series are right to 2e-12, and nothing underflows; above 5 the
    # value is 0 but for e^-148.
    small = y < -12
    x = jnp.exp(jnp.where(small, 0, jnp.minimum(y, 5)))
    return jnp.where(small, y - jnp.exp(jnp.minimum(y, 0)) / 2, jnp.log(-jnp.expm1(-x)))


def _loop(step: Callable[[Array, Array], Array], start: Array, depth: int) -> Array:
    """`step(1, step(2, ... step(depth, start)))`."""

    def body(i: Array, f: Array) -> Array:
        return step((depth - i).astype(f.dtype), f)

    return jax.lax.fori_loop(0, depth, body, start, unroll=4)
