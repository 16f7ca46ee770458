"""The inverse of the tail: the size of a jump from its arrival time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import aligned
from mogp.levy._abstract import AbstractMeasure

_MAX_STEPS = 100
_CELLS = 512  # of the table
_TABLE_SIZE = 8 * _CELLS  # arrays at least this large are looked up


def log_inverse_tail(measure: AbstractMeasure, u: ArrayLike) -> Array:
    """`log ρ̄⁻¹(u)`, elementwise.

    Solved for each element; for many elements interpolated, where that is within 1e-10 (1e-5 in
    float32) of `log u` at points between the nodes of the table.
    """
    u, mass = aligned(u, measure.total_mass)
    inside = (u > 0) & (u < mass)
    tiny = float(np.finfo(u.dtype).tiny)
    w = log_of_normal(jnp.maximum(jnp.where(inside, u, jnp.minimum(1, mass / 2)), tiny))
    v = _inverse(measure, w)
    v, high, u, mass = aligned(v, measure.support[1], u, mass)
    edge = jnp.where(u >= mass, -jnp.inf, jnp.where(u == 0, jnp.log(high), jnp.nan))
    return jnp.where(inside, v, edge)


@eqx.filter_custom_jvp
def _inverse(measure: AbstractMeasure, w: Array) -> Array:
    """`v` with `log ρ̄(e^v) = w`."""
    if w.size >= _TABLE_SIZE:
        return _looked_up(measure, w)
    return _solved(measure, w)


@_inverse.def_jvp
def _inverse_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    measure, w = primals
    by_measure, by_w = tangents
    v = _inverse(measure, w)
    slope = -jnp.exp(measure.log_density_inside(v) - w)
    tangent = jnp.zeros_like(v) if by_w is None else by_w
    if any(leaf is not None for leaf in jax.tree.leaves(by_measure)):
        tail_of = lambda m: m.log_tail_inside(v)  # noqa: E731
        tangent = tangent - eqx.filter_jvp(tail_of, (measure,), (by_measure,))[1]
    return v, tangent / slope


def _solved(measure: AbstractMeasure, w: Array) -> Array:
    """Newton's method on the line of the measure, with bisection where it leaves the bracket."""
    tolerance = 4 * float(np.finfo(w.dtype).eps)

    def going(state: Any) -> Array:
        step, q, *_, count = state
        return jnp.any(jnp.abs(step) > tolerance * (1 + jnp.abs(q))) & (count < _MAX_STEPS)

    def advance(state: Any) -> Any:
        last, q, low, high, count = state
        v, rise = jax.jvp(measure.line, (q,), (jnp.ones_like(q),))
        log_tail, log_density = measure.log_tail_and_density_inside(v)
        excess = log_tail - w
        low, high = jnp.where(excess > 0, q, low), jnp.where(excess < 0, q, high)
        step = excess * jnp.exp(log_tail - log_density) / rise

        bracketed = jnp.isfinite(low) & jnp.isfinite(high)
        slow = bracketed & (2 * jnp.abs(step) > jnp.abs(last)) & (count > 12)
        good = (q + step >= low) & (q + step <= high) & ~slow
        # The excess may be computed twice, with two signs where it is all rounding.
        good = good | (jnp.abs(step) <= 64 * tolerance * (1 + jnp.abs(q)))
        far = jnp.where(jnp.isfinite(last), 1 + 2 * jnp.abs(last), 1)
        outward = jnp.where(excess > 0, far, -far)
        other = jnp.where(bracketed, (low + high) / 2 - q, outward)
        step = jnp.where(good | jnp.isnan(excess), step, other)
        return step, q + step, low, high, count + 1

    q = measure.line_start(w)
    infinite = jnp.full_like(q, jnp.inf)
    state = (infinite, q, -infinite, infinite, 0)
    return measure.line(jax.lax.while_loop(going, advance, state)[1])


def _looked_up(measure: AbstractMeasure, w: Array) -> Array:
    """Quintic Hermite interpolation in `log u`, if it is precise enough; solved otherwise."""
    low, high = jnp.min(w), jnp.max(w)
    width = jnp.maximum(high - low, 1e-3) / _CELLS
    points = low + jnp.arange(2 * _CELLS + 1).astype(w.dtype) * width / 2
    tolerance = 1e-10 if w.dtype == jnp.float64 else 1e-5

    def at(x: Array, table: Array) -> Array:
        place = (x - low) / width
        cell = jnp.clip(place.astype(jnp.int32), 0, _CELLS - 1)
        place = place - cell
        value = jnp.zeros_like(x)
        for row in table[::-1]:
            value = value * place + row.at[cell].get(mode="promise_in_bounds")
        return value

    def tabulated(v: Array) -> tuple[Array, Array]:
        """The table for the values at the points, and whether it is precise."""
        nodes, between = v[::2], v[1::2]
        log_density, rise = jax.jvp(measure.log_density_inside, (nodes,), (jnp.ones_like(nodes),))
        slope = -jnp.exp(points[::2] - log_density)
        table = _hermite(nodes, slope * width, slope * (1 - slope * rise) * width**2)
        errors = (at(points[1::2], table) - between) / slope[:-1]
        return table, jnp.max(jnp.abs(errors)) < tolerance

    # One loop, for the solver takes long to compile: first the points of the table; then, should
    # it not be precise, all values, a block at a time.
    size = points.size
    padded = jnp.pad(w.ravel(), (0, -w.size % size), mode="edge")

    def going(state: tuple[Array, Array, Array, Array]) -> Array:
        block, _, precise, _ = state
        return (block == 0) | (~precise & (block <= padded.size // size))

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        block, table, precise, out = state
        first = block == 0
        start = jnp.maximum(block - 1, 0) * size
        target = jnp.where(first, points, jax.lax.dynamic_slice(padded, (start,), (size,)))
        v = _solved(measure, target)
        new_table, new_precise = tabulated(v)
        table, precise = jnp.where(first, new_table, table), jnp.where(first, new_precise, precise)
        return block + 1, table, precise, jax.lax.dynamic_update_slice(out, v, (start,))

    table = jnp.zeros((6, _CELLS), w.dtype)
    state = (jnp.array(0), table, jnp.array(False), jnp.zeros_like(padded))
    _, table, precise, out = jax.lax.while_loop(going, advance, state)
    solved = out[: w.size].reshape(w.shape)
    return jax.lax.cond(precise, lambda: at(w, table), lambda: solved)


def _hermite(value: Array, slope: Array, curvature: Array) -> Array:
    """Coefficients in each unit cell of the quintic through value, slope and curvature."""
    start, end = slice(None, -1), slice(1, None)
    a, b, c = value[start], slope[start], curvature[start] / 2
    gap = value[end] - a - b - c
    tilt = slope[end] - b - 2 * c
    bend = curvature[end] - 2 * c
    d = 10 * gap - 4 * tilt + bend / 2
    e = -15 * gap + 7 * tilt - bend
    return jnp.stack([a, b, c, d, e, gap - d - e])


@jax.custom_jvp
def log_of_normal(x: Array) -> Array:
    """`log x` for normal positive `x`, to the last digit.

    XLA's own logarithm of float64 is not vectorised on CPUs and costs four times as much.
    """
    if x.dtype != jnp.float64:
        return jnp.log(x)
    bits = jax.lax.bitcast_convert_type(x, jnp.int64)
    exponent = (bits - 0x3FE6A09E667F3BCD) >> 52  # mantissa from √½ to √2
    mantissa = jax.lax.bitcast_convert_type(bits - (exponent << 52), x.dtype)
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = jnp.full_like(x, 1 / 21)
    for n in range(19, 2, -2):
        series = series * square + 1 / n
    return exponent.astype(x.dtype) * 0.6931471805599453 + (2 * s + 2 * s * square * series)


@log_of_normal.defjvp
def _log_of_normal_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    # Derivatives do not pass through the bits.
    return log_of_normal(*primals), tangents[0] / primals[0]
