"""Incomplete gamma and beta integrals, down to negative orders, as fixed numbers of terms.

Every function takes and returns logarithms, so that nothing overflows, and is a finite sum or
fraction, so that derivatives of every order exist in every argument, the order of the integral
included. Arguments are floating arrays of one dtype that broadcast, scalars or of one rank; results
have their dtype and common shape. Relative errors of the integrals are below 1e-11 in float64 and
5e-6 in float32, and the rounding of the logarithms of argument and result.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

__all__ = [
    "log_killed",
    "log_lower_beta",
    "log_lower_gamma",
    "log_upper_beta",
    "log_upper_gamma",
    "relative_expm1",
]

# Terms of the fractions and of the positive series: a fixed number, so that derivatives of any
# order exist in forward and reverse mode; enough for all digits of float64 in the ranges stated.
_DEPTH = 80
_SPLIT = math.log(2.0)  # above, the fraction of Γ(-α, z) converges in `_DEPTH` terms


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
    beyond = _log_upper_fraction(-alpha, jnp.maximum(log_z, _SPLIT))
    span = jnp.where(small, _SPLIT - log_z, 1)
    n = np.arange(1, 28)
    terms = _column(np.append(1, np.cumprod(-2.0 / n)), alpha, span)
    between = alpha * (span - _SPLIT) + jnp.log(_between(alpha, span, terms))
    return jnp.where(small, jnp.logaddexp(beyond, between), beyond)


def log_lower_gamma(s: Array, log_z: Array) -> Array:
    """`log γ(s, z) = log ∫_0^z t^(s-1) e^(-t) dt` for `s` in (0, 60) and any `z > 0`.

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
    border = jnp.log(s + 1)
    small = log_z < border
    log_low = jnp.where(small, log_z, border)
    z = jnp.exp(log_low)
    series = _loop(lambda n, f: 1 + z / (s + n) * f, jnp.ones_like(z + s))
    below = s * log_low - z - jnp.log(s) + jnp.log(series)
    complete = gammaln(s)
    log_high = jnp.clip(log_z, border, 7)  # beyond, the rest is 0
    above = complete + jnp.log1p(-jnp.exp(_log_upper_fraction(s, log_high) - complete))
    return jnp.where(small, below, above)


def _log_upper_fraction(s: Array, log_z: Array) -> Array:
    """`log Γ(s, z)` by Legendre's continued fraction, for `z ≥ max(2, s + 1)` (DLMF 8.9.2)."""
    z = jnp.exp(log_z)
    tail = _loop(lambda m, f: m * (m - s) / (z + 2 * m + 1 - s - f), jnp.zeros_like(z + s))
    return s * log_z - z - jnp.log(z + 1 - s - tail)


def log_upper_beta(alpha: Array, d: Array, log_x: Array) -> Array:
    """`log ∫_x^1 t^(-1-α) (1-t)^(d-1) dt` for `α` in [0, 1), `d` in (0, 1000), `x` in (0, 1).

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
    # Below 1/(d+3) the integral up to there is added term by term of the series of `(1-t)^(d-1)`,
    # which converges fast there for every `d`; beyond, the fraction in `1-x` does.
    split = -jnp.log(d + 3)
    small = log_x < split
    log_y = jnp.log(-jnp.expm1(jnp.maximum(log_x, split)))
    beyond = _log_beta_fraction(d, -alpha, log_y)
    span = jnp.where(small, split - log_x, 1)
    terms = _binomial(d, 1 / (d + 3), alpha, span)
    between = alpha * (span - split) + jnp.log(_between(alpha, span, terms))
    return jnp.where(small, jnp.logaddexp(beyond, between), beyond)


def log_lower_beta(s: Array, d: Array, log_x: Array) -> Array:
    """`log ∫_0^x t^(s-1) (1-t)^(d-1) dt` for `s` in (0, 10), `d` in (0, 1000), `x` in (0, 1].

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
    # For `d ≤ 1` the integral from the border is added term by term of the series at 1; for larger
    # `d` what is above `x` is taken from the complete integral.
    border = jnp.where(d > 1, jnp.log(s + 1) - jnp.log(s + d + 2), math.log(2 / 3))
    small, whole = log_x < border, log_x >= 0
    below = _log_beta_fraction(s, d, jnp.where(small, log_x, border))
    log_y = jnp.log(-jnp.expm1(jnp.where(small | whole, border, log_x)))

    complete = gammaln(s) + gammaln(d) - gammaln(s + d)
    rest = _log_beta_fraction(jnp.maximum(d, 1), s, log_y) - complete
    mostly = complete + jnp.where(whole, 0, jnp.log1p(-jnp.exp(jnp.where(whole, -1, rest))))

    flat = jnp.minimum(d, 1)
    span = jnp.where(small | whole | (d > 1), 1, math.log(1 / 3) - log_y)
    terms = _binomial(s, jnp.full_like(s, 1 / 3), d, span)
    up_to = flat * (math.log(1 / 3) - span) + jnp.log(_between(-flat, span, terms))
    above = jnp.where(d > 1, mostly, jnp.where(whole, complete, jnp.logaddexp(below, up_to)))
    return jnp.where(small, below, above)


def _log_beta_fraction(a: Array, b: Array, log_x: Array) -> Array:
    """`log ∫_0^x t^(a-1) (1-t)^(b-1) dt`, `a > 0`, by a continued fraction (DLMF 8.17.22).

    It converges fast for `x < (a+1)/(a+b+2)`.
    """
    x = jnp.exp(log_x)

    def pair(m: Array, f: Array) -> Array:
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        return 1 + even / (1 + odd / f)

    fraction = _loop(pair, jnp.ones_like(x + a + b))
    first = -(a + b) * x / (a + 1)
    return a * log_x + b * jnp.log1p(-x) - jnp.log(a) - jnp.log(1 + first / fraction)


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


def _loop(step: Callable[[Array, Array], Array], start: Array) -> Array:
    """`step(1, step(2, ... step(_DEPTH, start)))`."""

    def body(i: Array, f: Array) -> Array:
        return step((_DEPTH - i).astype(f.dtype), f)

    return jax.lax.fori_loop(0, _DEPTH, body, start, unroll=4)
