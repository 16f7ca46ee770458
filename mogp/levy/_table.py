"""Tail and moments of a measure of which only the density is known, by a table of integrals.

Sizes `x` lie between two limits, numbers. Their logarithms `v` are mapped to a line of points `q`,
which is cut into cells. The table, which `_build` makes, holds the integrals of the density from
the edges of the cells on; what is between a point and the next edge is integrated anew each time,
so that nothing is interpolated. Where the density leaves the range of floats it goes on as a power
law.

The density is given as a function from `v` to `log x ρ(x)`, elementwise, where that is a float.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp.levy.incomplete import relative_expm1

LogIntensity: TypeAlias = Callable[[Array], Array]
Height: TypeAlias = Callable[[Array], Array]
Limits: TypeAlias = tuple[float, float]

# Gauss-Legendre quadrature in a cell, on (0, 1)
_SHARES, _WEIGHTS = (np.polynomial.legendre.leggauss(20)[i] / 2 + (1 - i) / 2 for i in (0, 1))
_STEEP = 24.0  # fall of the log-density after which the rest of a cell is left out: e^-24 = 4e-11


class Table(NamedTuple):
    """Integrals of a density over cells of a line.

    Attributes:
        edges: ends of the cells in increasing order, of shape (cells + 1,); cells may be empty.
        log_above: logarithms of the integrals from the edges on, of the same shape.
        ends: the first and the last edge with a positive and finite density.
        log_heights: logarithm of the density on the line at these two.
        slopes: its slopes there; the density goes on with them on either side.
        indices: slopes of the density on the line in the limit of either end, without what varies
            slowly: at the upper end minus infinity, unless that is at the end of floats only.
    """

    edges: Array
    log_above: Array
    ends: Array
    log_heights: Array
    slopes: Array
    indices: Array

    def astype(self, dtype: jnp.dtype) -> "Table":
        """The table in a precision."""
        return jax.tree.map(lambda x: x.astype(dtype), self)


# --- the line -------------------------------------------------------------------------------


def line(limits: Limits, q: Array) -> Array:
    """The logarithms of sizes at points of the line, elementwise."""
    low, high = limits
    if low == 0:
        return q if high == math.inf else math.log(high) + jax.nn.log_sigmoid(q)
    if high == math.inf:
        return math.log(low) + jax.nn.softplus(q)
    return math.log(low) + math.log(high / low) * jax.nn.sigmoid(q)


def place(limits: Limits, v: Array) -> Array:
    """The points of the line at logarithms of sizes: the inverse of `line`."""
    low, high = limits
    tiny = float(np.finfo(v.dtype).tiny)
    if low == 0:
        if high == math.inf:
            return v
        below = jnp.minimum(v - math.log(high), -tiny)
        return below - jnp.log(-jnp.expm1(below))
    above = jnp.maximum(v - math.log(low), tiny)
    if high == math.inf:
        return above + jnp.log(-jnp.expm1(-above))
    share = above / math.log(high / low)
    return jnp.log(share) - jnp.log(jnp.maximum(1 - share, tiny))


def line_and_log_rise(limits: Limits, q: Array) -> tuple[Array, Array]:
    """The logarithms of sizes at points of the line, and the logarithm of their slope there."""
    v, rise = jax.jvp(lambda q: line(limits, q), (q,), (jnp.ones_like(q),))
    return v, jnp.log(rise)


def log_height(f: LogIntensity, limits: Limits, q: Array, k: Array | float = 0.0) -> Array:
    """Log-density on the line of `x^k ρ(dx)`."""
    v, log_rise = line_and_log_rise(limits, q)
    return f(v) + k * v + log_rise


def log_integral(height: Height, start: Array, end: Array) -> Array:
    """The logarithm of an integral from one point of the line to another, at most a cell away.

    Args:
        height: log-density on the line; called twice, with points along a new first axis.
        start: lower ends.
        end: upper ends.
    """
    places, length = _nodes_between(start, end, height(jnp.stack([start, end])))
    return _log_of_sum(height(places), length)


@jax.jit
def _nodes_between(start: Array, end: Array, heights: Array) -> tuple[Array, Array]:
    """Nodes of the quadrature, and the length over which it goes."""
    fall = heights[0] - heights[1]
    # Where a steep cell is cut does not matter: no derivative goes through it.
    fall = jax.lax.stop_gradient(jnp.clip(jnp.where(jnp.isnan(fall), 0, fall), _STEEP, 1e3))
    length = (end - start) * _STEEP / fall
    shares = jnp.asarray(_SHARES, start.dtype).reshape(-1, *(1,) * start.ndim)
    return start[None] + shares * length[None], length


@jax.jit
def _log_of_sum(heights: Array, length: Array) -> Array:
    heights = jnp.where(jnp.isnan(heights), -jnp.inf, heights)
    weights = jnp.asarray(_WEIGHTS, heights.dtype).reshape(-1, *(1,) * length.ndim)
    some = length > 0
    log_mean = jax.nn.logsumexp(heights, axis=0, b=jnp.broadcast_to(weights, heights.shape))
    return jnp.where(some, log_mean + jnp.log(jnp.where(some, length, 1)), -jnp.inf)


# --- what the table tells -------------------------------------------------------------------


def log_density(table: Table, f: LogIntensity, limits: Limits, v: Array) -> Array:
    """`log x ρ(x)` at `x = e^v`, also where `f` is not a float."""
    q = place(limits, v)
    log_rise = line_and_log_rise(limits, q)[1]
    low, high = table.ends
    beyond = jnp.where(q > high, 1, 0)
    continued = table.log_heights[beyond] + table.slopes[beyond] * (q - table.ends[beyond])
    inside = (q >= low) & (q <= high)
    value = f(jnp.where(inside, v, line(limits, low)))
    return jnp.where(inside, value, continued - log_rise)


def log_tail(table: Table, f: LogIntensity, limits: Limits, v: Array) -> Array:
    """`log ρ̄(e^v)`, elementwise."""
    q = place(limits, v)
    low, high = table.ends
    inside = jnp.clip(q, low, high)
    cell = _cell(table, inside)
    next_edge = jnp.clip(table.edges[cell + 1], low, high)
    part = log_integral(lambda q: log_height(f, limits, q), inside, next_edge)
    between = jnp.logaddexp(table.log_above[cell + 1], part)
    below = table.log_heights[0] + _log_exponential_integral(-table.slopes[0], low - q)
    between = jnp.where(q < low, jnp.logaddexp(between, below), between)
    fall = table.slopes[1]
    above = table.log_heights[1] + fall * jnp.maximum(q - high, 0) - jnp.log(-fall)
    return jnp.where(q > high, above, between)


def log_moment(table: Table, f: LogIntensity, limits: Limits, k: Array, v: Array) -> Array:
    """`log ∫_0^x z^k ρ(dz)` at `x = e^v`, with a table for each order `k`.

    Args:
        table: of the density.
        f: the density.
        limits: of the support.
        k: orders, not broadcast beforehand.
        v: logarithms of sizes, of the rank of `k` or a scalar, the upper end included.
    """
    low, high = table.ends
    top = limits[1]
    orders = k.reshape(1, -1)
    tilts = jnp.array([[limits[0] == 0], [top == math.inf]], v.dtype)
    slopes = table.slopes[:, None] + tilts * orders
    heights = table.log_heights[:, None] + line(limits, table.ends)[:, None] * orders
    finite = slopes * jnp.array([[1], [-1]], v.dtype) > flat(slopes)
    rest = heights - jnp.log(jnp.where(finite, jnp.abs(slopes), 1))
    lowest, highest = jnp.where(finite, rest, jnp.inf)

    edges = jnp.clip(table.edges, low, high)
    over = (k.size, edges.size - 1)
    starts, ends = jnp.broadcast_to(edges[:-1], over), jnp.broadcast_to(edges[1:], over)
    cells = log_integral(lambda q: log_height(f, limits, q, k.reshape(1, -1, 1)), starts, ends)
    below = log_running_sum(jnp.concatenate([lowest[:, None], cells], axis=1))

    shape = jnp.broadcast_shapes(k.shape, v.shape)
    row = jnp.broadcast_to(jnp.arange(k.size).reshape(k.shape), shape)
    k, v = jnp.broadcast_to(k, shape), jnp.broadcast_to(v, shape)
    at_end = v >= (math.inf if top == math.inf else math.log(top))
    q = place(limits, jnp.where(at_end, line(limits, high), v))
    inside = jnp.clip(q, low, high)
    cell = _cell(table, inside)
    edge = jnp.clip(table.edges[cell], low, high)
    part = log_integral(lambda q: log_height(f, limits, q, k[None]), edge, inside)
    between = jnp.logaddexp(below[row, cell], part)
    beyond = heights[1][row] + _log_exponential_integral(slopes[1][row], q - high)
    between = jnp.where(q > high, jnp.logaddexp(between, beyond), between)
    under = lowest[row] + slopes[0][row] * jnp.minimum(q - low, 0)
    whole = jnp.logaddexp(below[row, -1], highest[row])
    return jnp.where(at_end, whole, jnp.where(q < low, under, between))


def index_at_zero(table: Table) -> Array:
    """`α` with `ρ̄(x) ~ C x^(-α)` at 0, or 0."""
    slope = table.indices[0]
    return jnp.where(slope < -flat(slope), -slope, 0)


def index_at_infinity(table: Table) -> Array:
    """`τ` with `ρ̄(x) ~ C x^(-τ)` at infinity, or infinity."""
    return -table.indices[1]


def total_mass(table: Table) -> Array:
    """The integral of the density over the support, or infinity."""
    slope = table.slopes[0]
    finite = slope > flat(slope)
    below = jnp.exp(table.log_heights[0]) / jnp.where(finite, slope, 1)
    return jnp.where(finite, jnp.exp(table.log_above[0]) + below, jnp.inf)


def flat(slope: Array) -> float:
    """Slopes this small are those of a logarithmic singularity."""
    return 1e-6 if slope.dtype == jnp.float64 else 1e-3


def _cell(table: Table, q: Array) -> Array:
    cell = jnp.searchsorted(table.edges, q, side="right").astype(jnp.int32) - 1
    return jnp.clip(cell, 0, len(table.edges) - 2)


def _log_exponential_integral(slope: Array, span: Array) -> Array:
    """`log ∫_0^span exp(slope t) dt`, for spans above 0."""
    some = span > 0
    span = jnp.where(some, span, 1)
    rise = slope * span
    log_mean = jnp.maximum(rise, 0) + jnp.log(relative_expm1(-jnp.abs(rise)))  # no overflow
    return jnp.where(some, jnp.log(span) + log_mean, -jnp.inf)


def log_running_sum(x: Array) -> Array:
    """`log cumsum exp x` along the last axis of a matrix.

    One by one: JAX's own compiles for minutes where there are many.
    """

    def add(total: Array, column: Array) -> tuple[Array, Array]:
        total = jnp.logaddexp(total, column)
        return total, total

    return jax.lax.scan(add, jnp.full_like(x[:, 0], -jnp.inf), x.T)[1].T
