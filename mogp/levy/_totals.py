"""Exact samplers of positive infinitely divisible laws: totals of the jumps of a Lévy measure.

Arguments have one shape and one dtype, float32 or float64; draws have them too. Everything runs
under `jit` and `vmap`. A parameter that is NaN gives NaN.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erf, erfinv

MAX_ROUNDS = 200  # of the rejection sampler; a draw that needs more has probability below 1e-39
BLOCK = 32  # jumps of a compound Poisson sum that are drawn at once


def sample_log_stable(key: Array, alpha: Array) -> Array:
    """`log S`, where `E exp(-t S) = exp(-t^α)`.

    Kanter, Stable densities under change of scale and total variation inequalities (1975). The
    relative error of `S` is a few roundings of `log S`, from `α = 1e-3` to 0.999 and beyond.

    Args:
        key: random key.
        alpha: index `α` in (0, 1).
    """
    angle_key, jump_key = jax.random.split(key)
    u = math.pi * jax.random.uniform(angle_key, alpha.shape, alpha.dtype)
    return _log_kanter(_log_zolotarev(u, alpha), _log_exponential(jump_key, alpha), alpha)


def sample_log_tempered_stable(key: Array, alpha: Array, log_tilt: Array) -> Array:
    """`log X`, where `E exp(-t X) = exp(λ^α - (λ+t)^α)`: a stable law tilted by `exp(-λ x)`.

    The logarithm, because `X` underflows for small `α`. By rejection, with at most `e` expected
    trials for every `α` and `λ`.

    With `γ = λ^α ≤ 1`, a stable draw is accepted with probability `exp(-λ S)`, `e^(-γ)` on
    average. With `γ > 1`, write `b = (1-α)/α`, Zolotarev's function
    `C(u) = (sin αu / α)^α (sin (1-α)u / (1-α))^(1-α) / sin u ≥ 1` and `X = α λ^(α-1) C(u) s^(-b)`.
    Then `(u, s)` in `(0, π) × (0, ∞)` has density

        (1-α) γ / π · C(u) exp(-γ (C(u) φ(s) - 1)),  φ(s) = (1-α) s + α s^(-b) ≥ φ(1) = 1.

    As `C φ - 1 ≥ (C-1) + (φ-1)`, it is below a product of two functions with explicit bounds: in
    `u`, `C exp(-γ(C-1)) ≤ exp(-(γ-1) α (1-α) u²/2)`; in `s`, `exp(-γ(φ-1))` is log-concave with
    maximum 1 at 1, below 1 and below an exponential tangent on either side. A trial then succeeds
    with probability 0.57 or more, and `√π / 2` as `γ` grows (`_acceptance` has the formula).

    The representation is that of Devroye, Random variate generation for exponentially and
    polynomially tilted stable distributions (2009). The bound by a product, in place of his
    two nested rejections, is derived here.

    Args:
        key: random key.
        alpha: index `α` in (0, 1).
        log_tilt: `log λ`, from minus infinity (no tilt) to anything finite.

    Returns:
        `log X`; NaN with a probability below 1e-39, when `MAX_ROUNDS` trials are not enough.
    """
    return _count_tempered_stable(key, alpha, log_tilt)[0]


def sample_inverse_gaussian(key: Array, mean: Array, shape: Array) -> Array:
    """Inverse Gaussian draws, with density `∝ x^(-3/2) exp(-shape (x - mean)² / (2 mean² x))`.

    Michael, Schucany and Haas, Generating random variates using transformations with multiple
    roots (1976); the smaller root is written without a difference.

    Args:
        key: random key.
        mean: positive; infinity gives the stable law of index 1/2.
        shape: positive.
    """
    normal_key, root_key = jax.random.split(key)
    half = jax.random.normal(normal_key, mean.shape, mean.dtype) ** 2 / (2 * shape)
    root = 1 / (1 / mean + half + jnp.sqrt(half) * jnp.sqrt(2 / mean + half))
    u = jax.random.uniform(root_key, mean.shape, mean.dtype)
    return jnp.where(u * (1 + root / mean) <= 1, root, mean * (mean / root))


def sample_compound(
    key: Array, rate: Array, draw: Callable[[Array, tuple[int, ...]], Array]
) -> Array:
    """The sum of a Poisson number of independent jumps.

    Time grows with the largest number of jumps, memory does not.

    Args:
        key: random key, of the threefry kind, as `jax.random.poisson` needs.
        rate: expected number of jumps, nonnegative and finite; anything else gives NaN.
        draw: from a key and a shape, which ends with that of `rate`, to jumps of that shape.
    """
    count_key, jump_key = jax.random.split(key)
    valid = (rate >= 0) & (rate < jnp.inf)  # jax.random.poisson does not come back from infinity
    count = jax.random.poisson(count_key, jnp.where(valid, rate, 0))
    largest = jnp.max(count, initial=0)

    def add_block(state: tuple[Array, Array]) -> tuple[Array, Array]:
        start, total = state
        jumps = draw(jax.random.fold_in(jump_key, start), (BLOCK, *rate.shape))
        place = start + jnp.arange(BLOCK, dtype=start.dtype)
        place = jnp.broadcast_to(place.reshape(-1, *(1,) * rate.ndim), jumps.shape)
        there = place < jnp.broadcast_to(count, jumps.shape)
        return start + BLOCK, total + jnp.sum(jnp.where(there, jumps, 0), 0).astype(rate.dtype)

    start = jnp.zeros((), count.dtype)
    total = jnp.where(valid, jnp.zeros_like(rate), jnp.nan)
    return jax.lax.while_loop(lambda state: state[0] < largest, add_block, (start, total))[1]


# --- the tempered stable law ----------------------------------------------------------------

_State = tuple[Array, Array, Array, Array, Array]  # key, round, log X, whether done, trials


def _count_tempered_stable(key: Array, alpha: Array, log_tilt: Array) -> tuple[Array, Array]:
    """`log X` and the number of trials it took."""
    plain = alpha * log_tilt <= 0
    gamma = _strength(alpha, log_tilt)
    bounds = _bounds_of_angle_and_ratio(alpha, gamma)
    log_scale = jnp.log(alpha) - (1 - alpha) * log_tilt

    def attempt(key: Array) -> tuple[Array, Array]:
        uniform_key, jump_key = jax.random.split(key)
        # One call, because every call of the generator is slow to compile.
        v, w, *rest = jax.random.uniform(uniform_key, (4, *alpha.shape), alpha.dtype)
        tail, patience = (-jnp.log1p(-x) for x in rest)

        narrow, *ratio_bound = bounds
        u = jnp.where(plain, math.pi * v, erfinv(v * erf(math.pi * narrow)) / narrow)
        log_c = _log_zolotarev(u, alpha)
        log_stable = _log_kanter(log_c, _log_exponential(jump_key, alpha), alpha)

        d, log_bound = _propose_ratio(w, tail, *ratio_bound)
        y = jnp.log1p(d)
        excess = jnp.expm1(log_c) + jnp.exp(log_c) * _excess(y, alpha)
        log_tilted = log_scale + log_c - (1 - alpha) / alpha * y
        loss = gamma * excess - log_c - (narrow * u) ** 2 + log_bound

        loss = jnp.where(plain, jnp.exp(log_tilt + log_stable), loss)
        # Outside the domain the loss is NaN, and the comparison fails.
        return jnp.where(plain, log_stable, log_tilted), patience >= loss

    def step(state: _State) -> _State:
        key, round_, log_x, done, trials = state
        key, attempt_key = jax.random.split(key)
        proposal, accepted = attempt(attempt_key)
        log_x = jnp.where(accepted & ~done, proposal, log_x)
        return key, round_ + 1, log_x, done | accepted, trials + ~done

    done = jnp.isnan(alpha) | jnp.isnan(log_tilt)
    trials = jnp.zeros(alpha.shape, int)
    state = key, jnp.zeros((), int), jnp.full_like(alpha, jnp.nan), done, trials
    _, _, log_x, _, trials = jax.lax.while_loop(
        lambda state: (state[1] < MAX_ROUNDS) & ~jnp.all(state[3]), step, state
    )
    return log_x, trials


def _strength(alpha: Array, log_tilt: Array) -> Array:
    """`γ = λ^α`, within the range of the second method.

    Beyond `e^75` the law is a point mass to all digits, and its width need not shrink further.
    """
    return jnp.exp(jnp.clip(alpha * log_tilt, 0, 75))


def _acceptance(alpha: Array, log_tilt: Array) -> Array:
    """Probability that a trial succeeds."""
    gamma = _strength(alpha, log_tilt)
    narrow, left, left_tail, right, right_tail = _bounds_of_angle_and_ratio(alpha, gamma)
    mean_angle_bound = math.sqrt(math.pi) / 2 * erf(math.pi * narrow) / (math.pi * narrow)
    ratio_bound = right - left + left_tail + right_tail
    tilted = 1 / ((1 - alpha) * gamma * mean_angle_bound * ratio_bound)
    return jnp.where(alpha * log_tilt <= 0, jnp.exp(-jnp.exp(alpha * log_tilt)), tilted)


def _bounds_of_angle_and_ratio(alpha: Array, gamma: Array) -> tuple[Array, ...]:
    """What the two bounds are made of.

    Returns:
        `κ`: the bound in `u` is `exp(-κ² u²)`.
        `p, w, q, v`: the bound in `d = s - 1` is 1 from `p < 0` to `q > 0`, and has exponential
            tails of scale `w` below and `v` above.
    """
    rate, b = gamma * (1 - alpha), (1 - alpha) / alpha
    # Not 0, by which it is divided; the bound is wrong by 1e-11.
    narrow = jnp.maximum(jnp.sqrt((gamma - 1) * alpha * (1 - alpha) / 2), 1e-6)

    # The tangents touch near where γ (φ-1) = 1, from approximations to the solution. Any point
    # will do for exactness.
    inner = 1 / (2 * alpha)
    touch = (inner + jnp.sqrt(inner**2 + 2 * gamma * b)) / (gamma * b)
    y = jnp.log1p(touch)
    right_tail = -1 / (rate * jnp.expm1(-y / alpha))
    right = touch - gamma * _excess(y, alpha) * right_tail

    inner = jnp.sqrt(2 * b / gamma)
    y = -jnp.log1p(inner + inner**2 / 2) / b
    left_tail = 1 / (rate * jnp.expm1(-y / alpha))
    left = jnp.expm1(y) + gamma * _excess(y, alpha) * left_tail
    return narrow, left, left_tail, right, right_tail


def _propose_ratio(
    w: Array, tail: Array, left: Array, left_tail: Array, right: Array, right_tail: Array
) -> tuple[Array, Array]:
    """`d` drawn from the bound, and the logarithm of the bound there."""
    place = left - left_tail + w * (right - left + left_tail + right_tail)
    below, above = place < left, place > right
    d = jnp.where(
        below, left - left_tail * tail, jnp.where(above, right + right_tail * tail, place)
    )
    return d, jnp.where(below | above, -tail, 0)


def _excess(y: Array, alpha: Array) -> Array:
    """`φ(e^y) - 1`, without cancellation at 0."""
    return (1 - alpha) * _convex(y) + alpha * _convex(-(1 - alpha) / alpha * y)


def _convex(t: Array) -> Array:
    """`e^t - 1 - t`."""
    series = jnp.ones_like(t)
    for n in range(14, 2, -1):
        series = 1 + t / n * series
    return jnp.where(jnp.abs(t) < 0.5, t**2 / 2 * series, jnp.expm1(t) - t)


# --- the stable law -------------------------------------------------------------------------


def _log_exponential(key: Array, like: Array) -> Array:
    """`log E` of a standard exponential, finite and with many different values near `E = 0`."""
    return -jax.random.gumbel(key, like.shape, like.dtype, mode="high")


def _log_kanter(log_c: Array, log_e: Array, alpha: Array) -> Array:
    """`log S` from `log C(u)`, for `u` uniform on (0, π), and `log E`."""
    rest = jnp.log(alpha) + (1 - alpha) / alpha * (jnp.log1p(-alpha) - log_e)
    return log_c / alpha + rest


def _log_zolotarev(u: Array, alpha: Array) -> Array:
    """`log C(u)`, which is `α (1-α) u² / 2` and more, to its last digits where that is small."""
    low, high = jnp.minimum(alpha, 1 - alpha), jnp.maximum(alpha, 1 - alpha)
    log_sinc = _log_sinc(high * u)
    delta = _log_sinc(low * u) - log_sinc
    # high sin u / sin(high u) - 1, from sin u = sin((low + high) u).
    change = low * (jnp.expm1(delta) * jnp.cos(high * u) - 2 * jnp.sin(high * u / 2) ** 2)
    change = change - 2 * high * jnp.sin(low * u / 2) ** 2
    near_pi = change < -0.5
    log_change = jnp.log1p(jnp.where(near_pi, 0, change))
    return low * delta - jnp.where(near_pi, _log_sinc(u) - log_sinc, log_change)


def _log_sinc(x: Array) -> Array:
    """`log(sin x / x)` on [0, π)."""
    series = jnp.ones_like(x)
    for n in range(18, 3, -2):
        series = 1 - x**2 / (n * (n + 1)) * series
    small = x < 1
    ratio = jnp.sin(x) / jnp.where(small, 1, x)
    return jnp.where(small, jnp.log1p(-(x**2) / 6 * series), jnp.log(ratio))
