"""Measures known by their density only: any density, and compound Poisson measures."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Delta, Distribution

from mogp._arrays import Real
from mogp._checks import check_between, is_concrete
from mogp.levy import _totals
from mogp.levy.incomplete import log_killed, relative_expm1
from mogp.levy._measure import LevyMeasure

_NODES = 20  # of Gauss-Legendre quadrature in a cell
_STEEP = 24.0  # fall of the log-density after which the rest of a cell is left out
_LENGTHS = (1 / 2, 1 / 16, 1 / 128)  # of the cells; the first that resolves the density
_RESOLVED = {8: 1e-5, 4: 1e-3}  # largest change of `log ρ̄` with half the nodes, by itemsize


class Table(NamedTuple):
    """Integrals of a density over cells of the line of its measure.

    Attributes:
        edges: ends of the cells, of shape (cells + 1,).
        log_above: logarithms of the integrals from the edges on, of the same shape.
        ends: the first and the last edge with a positive and finite density.
        log_heights: logarithm of the density on the line at these two.
        slopes: its slopes there; the density goes on with them on either side.
        power: whether that is a power law at the upper end, which may be the end of floats only.
    """

    edges: Array
    log_above: Array
    ends: Array
    log_heights: Array
    slopes: Array
    power: Array


class _Tabulated(LevyMeasure):
    """A measure whose tail is a table of integrals of its density.

    The tail is what the table holds from the next edge on, and the integral from `x` to that edge:
    nothing is interpolated. Where the density leaves the range of floats it goes on as a power law.
    """

    limits: eqx.AbstractVar[tuple[float, float]]
    table: eqx.AbstractVar[Table]

    @abc.abstractmethod
    def _log_intensity(self, v: Array) -> Array:
        """`log x ρ(x)` at `x = e^v`, where that is a float."""

    # --- the line ---------------------------------------------------------------------------

    def _line(self, q: Array) -> Array:
        low, high = self.limits
        if low == 0:
            return q if high == math.inf else math.log(high) + jax.nn.log_sigmoid(q)
        if high == math.inf:
            return math.log(low) + jax.nn.softplus(q)
        return math.log(low) + math.log(high / low) * jax.nn.sigmoid(q)

    def _place(self, v: Array) -> Array:
        """The inverse of the line."""
        low, high = self.limits
        if low == 0:
            if high == math.inf:
                return v
            below = jnp.minimum(v - math.log(high), -float(np.finfo(v.dtype).tiny))
            return below - jnp.log(-jnp.expm1(below))
        above = jnp.maximum(v - math.log(low), float(np.finfo(v.dtype).tiny))
        if high == math.inf:
            return above + jnp.log(-jnp.expm1(-above))
        share = above / math.log(high / low)
        return jnp.log(share) - jnp.log(jnp.maximum(1 - share, float(np.finfo(v.dtype).tiny)))

    def _start(self, w: Array) -> Array:
        table = self._table(w.dtype)
        return jnp.interp(-w, -table.log_above, table.edges)

    def _log_height(self, q: Array, k: Array | float = 0.0) -> Array:
        """Log-density on the line of `x^k ρ(dx)`."""
        v, rise = jax.jvp(self._line, (q,), (jnp.ones_like(q),))
        return self._log_intensity(v) + k * v + jnp.log(rise)

    def _table(self, dtype: jnp.dtype) -> Table:
        table = jax.tree.map(lambda x: x.astype(dtype), self.table)
        return table._replace(power=self.table.power)

    # --- integrals --------------------------------------------------------------------------

    def _log_integral(self, start: Array, end: Array, k: Array, num: int = _NODES) -> Array:
        """`log ∫ x^k ρ(dx)` from one point of the line to another, not more than a cell away."""
        fall = self._log_height(start, k) - self._log_height(end, k)
        # Where a steep cell is cut does not matter: no derivative goes through it.
        fall = jax.lax.stop_gradient(jnp.clip(jnp.where(jnp.isnan(fall), 0, fall), _STEEP, 1e3))
        nodes, weights = np.polynomial.legendre.leggauss(num)
        places, shares = (
            jnp.asarray(x, start.dtype).reshape(-1, *(1,) * start.ndim)
            for x in ((nodes + 1) / 2, weights / 2)
        )
        length = (end - start) * _STEEP / fall
        inside = start[None] + places * length[None]
        heights = self._log_height(inside, k[None])
        heights = jnp.where(jnp.isnan(heights), -jnp.inf, heights)
        some = length > 0
        log_mean = jax.nn.logsumexp(heights, axis=0, b=jnp.broadcast_to(shares, heights.shape))
        return jnp.where(some, log_mean + jnp.log(jnp.where(some, length, 1)), -jnp.inf)

    def _tabulate(self, dtype: jnp.dtype) -> Table:
        """The table with the longest cells that resolve the density, if that can be seen."""
        for length in _LENGTHS:
            table, error = self._tabulate_with(length, dtype)
            if not is_concrete(table) or float(error) < _RESOLVED[dtype.itemsize]:
                break
            self._check_ends(*np.asarray(table.slopes))
        else:
            raise ValueError(
                f"density changes too fast, its tail is uncertain by {float(error):.0e}: write a "
                "density with jumps or kinks as a sum of measures with supports of their own"
            )
        if is_concrete(table):
            self._check_ends(*np.asarray(table.slopes))
        return table

    def _check_ends(self, bottom: float, top: float) -> None:
        if not np.isfinite(bottom + top):
            raise ValueError("density must be positive and finite somewhere inside the support")
        if self.limits[0] == 0 and bottom <= -1:
            raise ValueError(
                f"density must be integrable times x at 0, but it grows like x^({bottom - 1:.4g})"
            )
        if top > -1e-6:
            raise ValueError(
                f"density must be integrable at the upper end of the support {self.limits[1]:g}"
            )

    def _tabulate_with(self, length: float, dtype: jnp.dtype) -> tuple[Table, Array]:
        low, high = self.limits
        info = np.finfo(dtype)
        # How near a bounded end the distance to it still has half of its digits.
        close = -math.log(info.eps) / 2
        first = -close if low > 0 else math.log(info.tiny) + 1 - max(0, math.log(min(high, 1)))
        last = math.log(info.max) - 1 if high == math.inf else close
        first, last = math.ceil(first / length), math.floor(last / length)
        edges = jnp.asarray(np.arange(first, last + 1) * length, dtype)
        return _filled(self, edges)

    def _log_density(self, v: Array) -> Array:
        table = self._table(v.dtype)
        q = self._place(v)
        rise = jax.jvp(self._line, (q,), (jnp.ones_like(q),))[1]
        low, high = table.ends
        beyond = jnp.where(q > high, 1, 0)
        continued = table.log_heights[beyond] + table.slopes[beyond] * (q - table.ends[beyond])
        inside = (q >= low) & (q <= high)
        value = self._log_intensity(jnp.where(inside, v, self._line(low)))
        return jnp.where(inside, value, continued - jnp.log(rise))

    def _log_tail(self, v: Array) -> Array:
        table = self._table(v.dtype)
        q = self._place(v)
        low, high = table.ends
        inside = jnp.clip(q, low, high)
        cell = self._cell(table, inside)
        next_edge = jnp.clip(table.edges[cell + 1], low, high)
        part = self._log_integral(inside, next_edge, jnp.zeros_like(q))
        between = jnp.logaddexp(table.log_above[cell + 1], part)
        below = table.log_heights[0] + _log_exponential_integral(-table.slopes[0], low - q)
        between = jnp.where(q < low, jnp.logaddexp(between, below), between)
        fall = table.slopes[1]
        above = table.log_heights[1] + fall * jnp.maximum(q - high, 0) - jnp.log(-fall)
        return jnp.where(q > high, above, between)

    def _log_moment(self, k: Array, v: Array) -> Array:
        """With a table for each order: orders should not be broadcast beforehand."""
        table = self._table(v.dtype)
        low, high = table.ends
        top = self.limits[1]
        orders = k.reshape(1, -1)
        tilts = jnp.array([[self.limits[0] == 0], [top == math.inf]], v.dtype)
        slopes = table.slopes[:, None] + tilts * orders
        heights = table.log_heights[:, None] + self._line(table.ends)[:, None] * orders
        lowest, highest = heights[0] - jnp.log(slopes[0]), heights[1] - jnp.log(-slopes[1])

        edges = jnp.clip(table.edges, low, high)
        over = (k.size, edges.size - 1)
        starts, ends = jnp.broadcast_to(edges[:-1], over), jnp.broadcast_to(edges[1:], over)
        cells = self._log_integral(starts, ends, jnp.broadcast_to(k.reshape(-1, 1), over))
        below = _log_running_sum(jnp.concatenate([lowest[:, None], cells], axis=1))

        shape = jnp.broadcast_shapes(k.shape, v.shape)
        row = jnp.broadcast_to(jnp.arange(k.size).reshape(k.shape), shape)
        k, v = jnp.broadcast_to(k, shape), jnp.broadcast_to(v, shape)
        at_end = v >= (math.inf if top == math.inf else math.log(top))
        q = self._place(jnp.where(at_end, self._line(high), v))
        inside = jnp.clip(q, low, high)
        cell = self._cell(table, inside)
        part = self._log_integral(jnp.clip(table.edges[cell], low, high), inside, k)
        between = jnp.logaddexp(below[row, cell], part)
        beyond = heights[1][row] + _log_exponential_integral(slopes[1][row], q - high)
        between = jnp.where(q > high, jnp.logaddexp(between, beyond), between)
        under = lowest[row] + slopes[0][row] * jnp.minimum(q - low, 0)
        whole = jnp.logaddexp(below[row, -1], highest[row])
        return jnp.where(at_end, whole, jnp.where(q < low, under, between))

    def _cell(self, table: Table, q: Array) -> Array:
        step = table.edges[1] - table.edges[0]
        place = jnp.floor((q - table.edges[0]) / step).astype(jnp.int32)
        return jnp.clip(place, 0, len(table.edges) - 2)

    # --- what the table tells ---------------------------------------------------------------

    def _with_axis(self) -> Self:
        return self

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def support(self) -> tuple[Real, Real]:
        return self.limits

    @property
    def index_at_zero(self) -> Real:
        slope = self.table.slopes[0]
        return jnp.where(slope < -_flat(slope), -slope, 0)

    @property
    def index_at_infinity(self) -> Real:
        return jnp.where(self.table.power, -self.table.slopes[1], jnp.inf)

    @property
    def total_mass(self) -> Real:
        table = self.table
        slope = table.slopes[0]
        finite = slope > _flat(slope)
        below = jnp.exp(table.log_heights[0]) / jnp.where(finite, slope, 1)
        return jnp.where(finite, jnp.exp(table.log_above[0]) + below, jnp.inf)


def _flat(slope: Array) -> float:
    """Slopes this small are those of a logarithmic singularity."""
    return 1e-6 if slope.dtype == jnp.float64 else 1e-3


@eqx.filter_jit
def _filled(measure: _Tabulated, edges: Array) -> tuple[Table, Array]:
    """The table on given edges, and the largest change of `log ρ̄` with half the nodes."""
    # Where the density is a positive float, and not subnormal.
    v = measure._line(edges)
    log_density = jax.lax.stop_gradient(measure._log_intensity(v) - v)
    good = jnp.isfinite(log_density) & (log_density > math.log(np.finfo(edges.dtype).tiny) + 1)
    first = jnp.argmax(good)
    last = len(edges) - 1 - jnp.argmax(good[::-1])
    step = edges[1] - edges[0]
    back = jnp.minimum((last - first) // 8, jnp.round(2 / step).astype(int))

    around = jnp.array([first, first + 1, last, last - 1, last - back, last - back - 1])
    heights = measure._log_height(edges[jnp.clip(around, 0, len(edges) - 1)])
    bottom, top, earlier = (
        (heights[1] - heights[0]),
        (heights[2] - heights[3]),
        (heights[4] - heights[5]),
    )
    straight = jnp.abs(top - earlier) < 1e-3 * (step + jnp.abs(earlier))
    power = straight & (measure.limits[1] == math.inf)

    inside = jnp.clip(edges, edges[first], edges[last])
    tails = []
    for num in (_NODES, _NODES // 2):
        cells = measure._log_integral(inside[:-1], inside[1:], jnp.zeros_like(edges[1:]), num)
        cells = jnp.append(cells, heights[2] - jnp.log(-top / step))
        tails.append(_log_running_sum(cells[None, ::-1])[0, ::-1])
    seen = tails[0] > math.log(np.finfo(edges.dtype).tiny)
    error = jnp.max(jnp.where(seen, jnp.abs(tails[0] - tails[1]), 0))
    return Table(
        edges,
        tails[0],
        edges[jnp.array([first, last])],
        heights[jnp.array([0, 2])],
        jnp.stack([bottom, top]) / step,
        power,
    ), error


def _log_exponential_integral(slope: Array, span: Array) -> Array:
    """`log ∫_0^span exp(slope t) dt`, for spans above 0."""
    some = span > 0
    span = jnp.where(some, span, 1)
    return jnp.where(some, jnp.log(span * relative_expm1(slope * span)), -jnp.inf)


def _log_running_sum(x: Array) -> Array:
    """`log cumsum exp x` along the last axis of a matrix.

    One by one: JAX's own compiles for minutes where there are many.
    """

    def add(total: Array, column: Array) -> tuple[Array, Array]:
        total = jnp.logaddexp(total, column)
        return total, total

    return jax.lax.scan(add, jnp.full_like(x[:, 0], -jnp.inf), x.T)[1].T


class FromDensity(_Tabulated):
    """The measure with a given density, by a table of its integrals that is built once.

    Tail and moments to 1e-7 or better where the density is smooth in `log x`: infinitely many small
    jumps, heavy tails, and power-law singularities at the ends of the support are fine.

    Args:
        density: `ρ(x)` for a scalar `x` inside the support, in JAX. Parameters that it closes over
            may be traced, and are differentiated.
        support: its ends, `0 ≤ low < high`, numbers; `high` may be infinity.

    Raises:
        ValueError: if the support is not as stated, or the density is nowhere positive, not
            integrable at infinity, or changes too fast for the finest table.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import levy
        >>> measure = levy.FromDensity(lambda x: x**-1.5 * jnp.exp(-x))
        >>> round(float(measure.index_at_zero), 6)
        0.5
    """

    function: jax.tree_util.Partial
    label: str = eqx.field(static=True)
    limits: tuple[float, float] = eqx.field(static=True)
    table: Table

    def __init__(
        self, density: Callable[[Array], Array], support: tuple[float, float] = (0.0, math.inf)
    ) -> None:
        self.limits = _checked_support(support)
        self.label = getattr(density, "__name__", repr(density))
        dtype = jnp.result_type(float)
        # Tracers that the function closes over become part of the tree, the rest is static.
        function, traced = jax.closure_convert(density, jnp.ones((), dtype))
        self.function = jax.tree_util.Partial(  # type: ignore[no-untyped-call]
            lambda traced, x: function(x, *traced), traced
        )
        self.table = None  # type: ignore[assignment]
        self.table = self._tabulate(dtype)

    def __repr__(self) -> str:
        return f"FromDensity({self.label}, support={self.limits})"

    def _log_intensity(self, v: Array) -> Array:
        x = jnp.exp(v).astype(jnp.result_type(float))
        density = jax.vmap(self.function)(x.ravel()).reshape(v.shape)
        # Else XLA cancels log and exp in some places and not in others, where it underflows.
        density = jax.lax.optimization_barrier(density)  # type: ignore[no-untyped-call]
        return jnp.log(density).astype(v.dtype) + v


class CompoundPoisson(_Tabulated):
    """Finitely many jumps: a Poisson number with mean `rate`, iid from a law on (0, ∞).

    Args:
        rate: expected number of jumps, positive.
        jump: a NumPyro law, continuous (by a table of its density, as `FromDensity`) or `Delta`.

    Raises:
        ValueError: if `rate` is not positive, or `jump` is not such a law of batch shape ().

    Example:
        >>> import numpyro.distributions as dist
        >>> from mogp import levy
        >>> round(float(levy.CompoundPoisson(3.0, dist.Exponential(1.0)).tail(1.0)), 6)
        1.103638
    """

    rate: Real
    jump: Distribution
    limits: tuple[float, float] = eqx.field(static=True)
    table: Table
    bounds: ClassVar = {"rate": (0.0, math.inf)}

    def __init__(self, rate: Real, jump: Distribution) -> None:
        check_between("rate", rate, 0)
        self.rate, self.jump = rate, jump
        self.limits, self.table = _support_of(jump), None  # type: ignore[assignment]
        if not isinstance(jump, Delta):
            self.table = self._tabulate(jnp.result_type(float))

    def _log_intensity(self, v: Array) -> Array:
        v, rate = self._with(v)
        return jnp.log(rate) + self.jump.log_prob(jnp.exp(v)) + v

    def __repr__(self) -> str:
        names = [name for name in self.jump.arg_constraints if hasattr(self.jump, name)]
        values = ", ".join(f"{name}={getattr(self.jump, name)}" for name in names)
        return f"CompoundPoisson(rate={self.rate}, jump={type(self.jump).__name__}({values}))"

    def _exact_total(self, key: Array, weight: Array) -> Array:
        weight, rate = self._with(weight)
        return _totals.sample_compound(key, weight * rate, self.jump.sample)

    @property
    def total_mass(self) -> Real:
        return self.rate

    # The measure of `Delta` is a point mass, without a density.

    def _log_density(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf) if self._is_point else super()._log_density(v)

    def _log_tail(self, v: Array) -> Array:
        if not self._is_point:
            return super()._log_tail(v)
        v, rate = self._with(v)
        return jnp.log(rate) + jnp.zeros_like(v)

    def _log_moment(self, k: Array, v: Array) -> Array:
        if not self._is_point:
            return super()._log_moment(k, v)
        k, v, rate = self._with(k, v)
        log_size = jnp.log(self.jump.v)
        return jnp.where(v >= log_size, jnp.log(rate) + k * log_size, -jnp.inf)

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        if not self._is_point:
            return super().log_inverse_tail(u)
        u, rate = self._with(u)
        size = jnp.where(u < rate, jnp.log(self.jump.v), -jnp.inf)
        return jnp.where(u >= 0, size, jnp.nan)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        if not self._is_point:
            return super().laplace_exponent(t)
        t, rate = self._with(t)
        return jnp.where(t >= 0, -rate * jnp.expm1(-t * self.jump.v), jnp.nan)

    def _line(self, q: Array) -> Array:
        return LevyMeasure._line(self, q) if self._is_point else super()._line(q)

    @property
    def _is_point(self) -> bool:
        return isinstance(self.jump, Delta)

    @property
    def support(self) -> tuple[Real, Real]:
        return (0.0, self.jump.v) if self._is_point else self.limits

    @property
    def index_at_zero(self) -> Real:
        return 0.0

    @property
    def index_at_infinity(self) -> Real:
        return math.inf if self._is_point else super().index_at_infinity


class Thinned(_Tabulated):
    """The jumps of a measure, each kept with probability `1 - e^(-t x)`: finitely many.

    The density is `ρ(x) (1 - e^(-t x))`, the expected number of jumps the Laplace exponent `ψ(t)`.

    Args:
        measure: of batch shape (), with a concrete support.
        rate: `t`, positive.
    """

    measure: LevyMeasure
    rate: Real
    limits: tuple[float, float] = eqx.field(static=True)
    table: Table
    bounds: ClassVar = {"rate": (0.0, math.inf)}

    def __init__(self, measure: LevyMeasure, rate: Real) -> None:
        check_between("rate", rate, 0)
        self.measure, self.rate = measure, rate
        self.limits, self.table = _checked_support(measure.support), None  # type: ignore[assignment]
        self.table = self._tabulate(jnp.result_type(float))

    def __repr__(self) -> str:
        return f"Thinned({self.measure}, rate={self.rate})"

    def _log_intensity(self, v: Array) -> Array:
        v, rate = self._with(v)
        return self.measure.log_density_of_log(v) + log_killed(v + jnp.log(rate))

    @property
    def total_mass(self) -> Real:
        return self.measure.laplace_exponent(self.rate)

    @property
    def index_at_zero(self) -> Real:
        return 0.0


def _checked_support(support: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in support)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high:
        raise ValueError(f"support must be two numbers with 0 ≤ low < high, got {support!r}")
    return low, high


def _support_of(jump: Any) -> tuple[float, float]:
    if not isinstance(jump, Distribution) or jump.batch_shape or jump.event_shape:
        raise ValueError(
            f"jump must be a NumPyro law of one positive number, of batch shape (), got {jump!r}"
        )
    if isinstance(jump, Delta):
        check_between("jump", jump.v, 0)
        return 0.0, math.inf
    constraint = jump.support
    low = getattr(constraint, "lower_bound", None)
    high = getattr(constraint, "upper_bound", math.inf)
    if constraint.is_discrete or low is None or not is_concrete(low, high) or low < 0:
        raise ValueError(
            f"jump must be Delta or a continuous law whose support is known and in (0, inf), "
            f"got {jump!r} on {constraint}"
        )
    return float(low), float(high)
