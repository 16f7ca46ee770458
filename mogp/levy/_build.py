"""The table of a density: cells that resolve it, and reasons to refuse a density that has none.

Cells of half a unit of the line are cut where the density changes fast, until the quadrature in
every cell agrees with that in its halves. So narrow peaks, kinks and steps are found; what falls to
zero, varies slowly or oscillates at an end of the support is refused by name.

A density may take seconds to compile and is asked for in many places. A concrete one is therefore
compiled alone, for one shape, and the steps between are small compiled functions of arrays; a
traced one goes through the same steps under `jit`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import is_concrete
from mogp.levy._abstract import traced_numbers
from mogp.levy._table import (
    Height,
    Limits,
    LogIntensity,
    Table,
    flat,
    line,
    line_and_log_rise,
    log_integral,
    log_running_sum,
)

_BATCH = 8192  # points at which a concrete density is computed at a time
_LENGTH = 1 / 2  # of cells where the density is smooth: 1e-11 with 20 nodes
_SHARE = {8: 1e-8, 4: 1e-4}  # largest error of a cell by the mass around it, by itemsize
_SHORTEST = {8: 2.0**-33, 4: 2.0**-14}  # cells, about the rounding of the line where it is long
_SPACING = 1 / 256  # of the points where peaks are looked for
_PEAKS = 64
_SECTIONS = 1024  # into which the place of an end is narrowed at a time
_CUTS = 64  # cells that are cut at a time
_ROUNDS = 40  # of cutting: a step takes one for each factor of 2 to the shortest cells
_FAR = {8: 100.0, 4: 30.0}  # on the line: beyond, what is seen is the behaviour at an end
_SPAN = {8: 64, 4: 20}  # cells over which a slope is measured there
_NOISE = {8: 1e-9, 4: 2e-3}  # of these slopes
_USABLE = {8: math.log(1e30), 4: math.log(1e10)}  # where tails shall have all digits


class Report(NamedTuple):
    """What may be wrong with a density; pairs are of the lower and the upper end.

    Attributes:
        nowhere: whether it is nowhere positive and finite.
        drops: whether it falls to 0 at once, in front of an end of the support.
        places: points of the line where it begins and ceases to be a positive float.
        oscillates: whether its slope goes up and down at an end.
        divergent: whether it is not integrable (times x at 0).
        slow: whether a tail or the total is off because the density varies slowly.
        error: the largest error of a cell by what is allowed.
        error_place: the point of the line where that is.
    """

    nowhere: Array
    drops: Array
    places: Array
    oscillates: Array
    divergent: Array
    slow: Array
    error: Array
    error_place: Array


def build(f: LogIntensity, limits: Limits, dtype: jnp.dtype, hints: Array | None) -> Table:
    """The table of a density; if that is traced and has no table, all of it is NaN.

    Args:
        f: the density, a pytree of its parameters.
        limits: of the support.
        dtype: floating dtype of the table.
        hints: points of the line where there may be a narrow peak, of shape (64,); or None.

    Raises:
        ValueError: if a concrete density is nowhere positive and finite, not integrable, falls to
            0 inside the support, varies slowly or oscillates at an end, or changes too fast.
    """
    base = _edges(limits, dtype)
    hints = jnp.resize(base, (64,)) if hints is None else hints.astype(dtype)
    arguments = traced_numbers(f), limits, base, hints
    if is_concrete(arguments):
        table, report = _filled(*arguments)
        _check(limits, jax.tree.map(np.asarray, report), table)
        num = int(jnp.sum(table.edges < table.edges[-1])) + 1
        num = min(-(-num // 256) * 256, len(table.edges))  # few shapes, so that code is used again
        return table._replace(edges=table.edges[:num], log_above=table.log_above[:num])
    table, report = eqx.filter_jit(_filled)(*arguments)
    ends = report.drops | report.oscillates | report.divergent | report.slow
    wrong = jnp.any(ends) | report.nowhere | ~(report.error <= 1)
    return jax.tree.map(lambda x: jnp.where(wrong, jnp.nan, x), table)


def _check(limits: Limits, report: Report, table: Table) -> None:
    if report.nowhere:
        raise ValueError("density must be positive and finite somewhere inside the support")
    for i, end in enumerate(("lower", "upper")):
        power = f"x^({table.indices[i] - 1:.4g})"
        where = "infinity" if limits[i] == math.inf else f"{limits[i]:g}"
        if report.drops[i]:
            x = float(f"{_size(limits, report.places[i]):.6g}")
            inner = (limits[0], x) if i else (x, limits[1])
            raise ValueError(
                f"density must be positive inside the support, but falls to 0 at {x}: give the "
                f"support as {inner}"
            )
        if report.oscillates[i]:
            raise ValueError(
                f"density must be a power law at {where} up to slow variation, but it oscillates "
                "there (is log-periodic): the measure has no index"
            )
        if report.slow[i]:
            raise ValueError(
                f"density varies slowly at {where}, like {power} times a power of log x: a part "
                "of its mass lies where x is no float; cut the support"
            )
        if report.divergent[i]:
            if limits[i] == 0:
                raise ValueError(
                    f"density must be integrable times x at 0, but it grows like {power}"
                )
            raise ValueError(
                f"density must be integrable at the {end} end of the support, at {where}"
            )
    if not report.error <= 1:
        raise ValueError(
            f"density changes too fast near {_size(limits, report.error_place):.7g}: write it as a "
            "sum of measures with supports of their own"
        )


def _size(limits: Limits, q: ArrayLike) -> float:
    return math.exp(line(limits, jnp.asarray(q)))


def _edges(limits: Limits, dtype: jnp.dtype) -> Array:
    low, high = limits
    info = np.finfo(dtype)
    # How near a bounded end the distance to it still has half of its digits.
    close = -math.log(info.eps) / 2
    first = -close if low > 0 else math.log(info.tiny) + 1 - max(0, math.log(min(high, 1)))
    last = math.log(info.max) - 1 if high == math.inf else close
    places = np.arange(math.ceil(first / _LENGTH), math.floor(last / _LENGTH) + 1)
    return jnp.asarray(places * _LENGTH, dtype)


def _filled(f: LogIntensity, limits: Limits, base: Array, hints: Array) -> tuple[Table, Report]:
    fixed, moving = (_densities(g, limits) for g in (jax.lax.stop_gradient(f), f))
    fine = _fine(base, hints)
    points, brackets, found = _candidates(base, fine, fixed(fine)[1])
    brackets = _range(fixed, brackets)
    points, ends, far = _places(base, points, brackets)
    edges, worst = _cut(lambda q: fixed(q)[0], base, points)
    cells = log_integral(lambda q: moving(q)[0], edges[:-1], edges[1:])
    unbounded = np.array([limits[0] == 0, limits[1] == math.inf])
    return _completed(unbounded, edges, cells, ends, far, moving(far)[0], (found, brackets, worst))


@eqx.filter_jit
def _log_densities(f: LogIntensity, limits: Limits, q: Array) -> Array:
    v, log_rise = line_and_log_rise(limits, q)
    value = f(v)
    return jnp.stack([value + log_rise, value - v])


def _densities(f: LogIntensity, limits: Limits) -> Height:
    """Log-densities on the line and of sizes at points of the line, along a new first axis.

    Of a concrete density, they are computed in batches of one shape.
    """
    if not is_concrete(f):
        return lambda q: _log_densities(f, limits, q)

    def densities(q: Array) -> Any:
        rows: Any = np.pad(np.ravel(q), (0, -q.size % _BATCH), mode="edge").reshape(-1, _BATCH)
        values = [_log_densities(f, limits, row) for row in rows]
        return np.concatenate(values, axis=1)[:, : q.size].reshape(2, *q.shape)

    return densities


def _repeated(advance: Callable[[Any], Any], going: Callable[[Any], Any], state: Any) -> Any:
    """`jax.lax.while_loop`; of concrete values Python's own, in which `_densities` works."""
    if not is_concrete(state):
        return jax.lax.while_loop(going, advance, state)
    while going(state):
        state = advance(state)
    return state


# --- where the density is a float -----------------------------------------------------------


@jax.jit
def _fine(base: Array, hints: Array) -> Array:
    """Points where peaks are looked for."""
    num = round(_LENGTH / _SPACING) * (len(base) - 1) + 1
    return jnp.append(base[0] + jnp.arange(num).astype(base.dtype) * _SPACING, hints)


@jax.jit
def _candidates(base: Array, q: Array, values: Array) -> tuple[Array, Array, Array]:
    """Edges to begin with, also where the logarithm of the density bends most.

    Then the first and last of them where the density is a float and their outer neighbours, as
    places and logarithms of the density, of shape (2, 2, 2): the axes are place and logarithm,
    inside and outside, lower and upper. And whether there are such points.
    """
    each = round(_LENGTH / _SPACING)
    num = each * (len(base) - 1) + 1
    floor = math.log(np.finfo(base.dtype).tiny)
    raised = jnp.where(values > floor, values, floor)[:num]
    bend = jnp.abs(raised[2:] - 2 * raised[1:-1] + raised[:-2])
    sharp, where = jax.lax.top_k(jnp.where(bend < jnp.inf, bend, 0), _PEAKS)
    where = jnp.where(sharp > 0.02, 1 + where, 0)
    chosen = jnp.concatenate([jnp.arange(0, num, each), where, jnp.arange(num, len(q))])
    chosen = chosen[jnp.argsort(q[chosen])]
    points, values = q[chosen], values[chosen]
    good = _is_float(values)
    inside = jnp.array([jnp.argmax(good), len(good) - 1 - jnp.argmax(good[::-1])])
    outside = jnp.clip(inside + jnp.array([-1, 1]), 0, len(good) - 1)
    brackets = jnp.stack([points, values])[:, jnp.stack([inside, outside])]
    return points, brackets, jnp.any(good)


def _is_float(values: Array) -> Array:
    """Whether `ρ` is a positive float, and not subnormal."""
    return jnp.isfinite(values) & (values > math.log(np.finfo(values.dtype).tiny) + 1)


def _range(densities: Height, brackets: Array) -> Array:
    """The brackets around the places where the density begins and ceases to be a float."""
    shares = (np.arange(1, _SECTIONS) / _SECTIONS).astype(brackets.dtype)[:, None]

    def advance(state: tuple[Array, Array]) -> tuple[Array, Array]:
        brackets, count = state
        inside, outside = brackets[0, :, None]
        places = inside + shares * (outside - inside)
        return _narrowed(brackets, places, densities(places)[1]), count + 1

    start = brackets, jnp.zeros((), jnp.int32)
    return _repeated(advance, lambda state: state[1] < 6, start)[0]


@jax.jit
def _narrowed(brackets: Array, places: Array, values: Array) -> Array:
    ladder = jnp.stack([places, values], axis=1)
    ladder = jnp.concatenate([brackets[None, :, 0], ladder, brackets[None, :, 1]])
    last = jnp.sum(jnp.cumprod(_is_float(values), axis=0), axis=0)  # of those still inside
    end = jnp.arange(2)
    return jnp.stack([ladder[last, :, end], ladder[last + 1, :, end]]).transpose(2, 0, 1)


@jax.jit
def _places(base: Array, points: Array, brackets: Array) -> tuple[Array, Array, Array]:
    """Edges to begin with, the ends of the range, and where the density is looked at far out.

    That is, of shape (2, num), from each end inwards, with a last point next to the end.
    """
    ends = brackets[0, 0]
    steps = jnp.arange(2 * _SPAN[base.dtype.itemsize]).astype(base.dtype) * _LENGTH
    steps = jnp.append(steps, _step(ends))[None] * jnp.array([1, -1], base.dtype)[:, None]
    return jnp.clip(points, *ends), ends, jnp.clip(ends[:, None] + steps, base[0], base[-1])


def _step(ends: Array) -> Array:
    return jnp.minimum(_LENGTH, (ends[1] - ends[0]) / 16)


# --- cells that resolve it ------------------------------------------------------------------

# Cells are columns of an array, in any order: their lower and upper ends, and the logarithms of the
# integrals over the cell, its lower and its upper half. Empty ones at the end are there to be used.


def _cut(height: Height, base: Array, points: Array) -> tuple[Array, Array]:
    """Edges of cells that resolve the density; `log(error / allowed)` and place of the worst."""

    def cells_between(ends: Array) -> Array:
        return jnp.concatenate([ends, log_integral(height, *_with_halves(ends))])

    def advance(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, ...]:
        cells, _, where, halves, count = state
        cells = _replaced(cells, where, cells_between(halves), count)
        return cells, *_worst(base, cells), count + 1

    def going(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[1][0] > 0) & (state[4] < _ROUNDS)

    spare = jnp.full((5, _CUTS * _ROUNDS), -jnp.inf, base.dtype).at[:2].set(points[-1])
    cells = cells_between(jnp.stack([points[:-1], points[1:]]))
    cells = jnp.concatenate([cells, spare], axis=1)
    start = cells, *_worst(base, cells), jnp.zeros((), jnp.int32)
    cells, worst, *_ = _repeated(advance, going, start)
    return jnp.append(jnp.sort(cells[0]), jnp.max(cells[1])), worst


@jax.jit
def _with_halves(ends: Array) -> tuple[Array, Array]:
    """Lower and upper ends of cells, of their lower and their upper halves, of shape (3, num)."""
    (left, right), middle = ends, jnp.sum(ends, axis=0) / 2
    return jnp.stack([left, left, middle]), jnp.stack([right, middle, right])


@jax.jit
def _worst(base: Array, cells: Array) -> tuple[Array, Array, Array]:
    """`log(error / allowed)` and middle of the worst cell; the worst cells, and halves for them.

    The lower halves, and then the upper; cells that are good enough stay as they are.
    """
    size, tiny = base.dtype.itemsize, math.log(np.finfo(base.dtype).tiny)
    left, right, whole, *halves = cells
    middle, cut = (left + right) / 2, jnp.logaddexp(*halves)
    change = -jnp.expm1(-jnp.abs(jnp.where(cut > -jnp.inf, whole - cut, 0)))
    order = jnp.argsort(left)
    above = log_running_sum(cut[order][None, ::-1])[0, ::-1]
    above = jnp.zeros_like(above).at[order].set(above)
    home = jnp.floor((middle - base[0]) / _LENGTH).astype(jnp.int32)
    around = jax.ops.segment_max(cut, home, len(base))[home]
    long = right - left > _SHORTEST[size]
    allowed = jnp.where(long, jnp.minimum(above, around), around) + math.log(_SHARE[size])
    log_change = jnp.where(change > 0, jnp.log(jnp.where(change > 0, change, 1)), -jnp.inf)
    mass = jnp.maximum(whole, cut)
    score = jnp.where(mass > tiny + 20, log_change + mass - allowed, -jnp.inf)

    worst, where = jax.lax.top_k(score, _CUTS)
    bad, end, (low, mid, high) = (
        worst > 0,
        jnp.max(right),
        (x[where] for x in (left, middle, right)),
    )
    lower = jnp.stack([low, jnp.where(bad, mid, high)])
    upper = jnp.where(bad, jnp.stack([mid, high]), end)
    return jnp.stack([worst[0], mid[0]]), where, jnp.concatenate([lower, upper], axis=1)


@jax.jit
def _replaced(cells: Array, where: Array, halves: Array, count: Array) -> Array:
    """The lower halves in place of the cells, and the upper ones in that of spare cells."""
    cells = cells.at[:, where].set(halves[:, :_CUTS])
    spare = cells.shape[1] - _CUTS * (_ROUNDS - count)
    return jax.lax.dynamic_update_slice_in_dim(cells, halves[:, _CUTS:], spare, axis=1)


# --- its ends -------------------------------------------------------------------------------


@jax.jit
def _completed(
    unbounded: Array,
    edges: Array,
    cells: Array,
    ends: Array,
    far: Array,
    far_heights: Array,
    seen: tuple[Array, Array, Array],
) -> tuple[Table, Report]:
    """The table, and what is wrong with it, from the integrals over cells and the far density.

    The last argument is whether the density is somewhere a float; the brackets of its ends; the
    worst cell.
    """
    size, tiny = edges.dtype.itemsize, math.log(np.finfo(edges.dtype).tiny) + 1
    found, brackets, worst = seen
    apart = brackets[0, 0] != brackets[0, 1]
    drops = apart & (brackets[1, 0] > tiny + 20) & (brackets[1, 1] < tiny)
    ways = jnp.array([-1, 1], edges.dtype)
    heights = far_heights[:, 0]
    slopes = (heights - far_heights[:, -1]) * ways / _step(ends)
    far_out = unbounded & (ends * ways > _FAR[size])
    indices, drift, oscillates, power = _far_out(far, far_heights, slopes, far_out)

    falls = slopes[1] < 0
    rest = jnp.where(falls, heights[1] - jnp.log(jnp.where(falls, -slopes[1], 1)), jnp.inf)
    log_above = log_running_sum(jnp.append(cells, rest)[None, ::-1])[0, ::-1]
    table = Table(edges, log_above, ends, heights, slopes, indices)

    # Beyond the ends the slope drifts: what is put there is off by the drift over its square.
    limit, varies = flat(slopes), drift != 0
    usable = log_above[jnp.argmin(jnp.abs(edges - _USABLE[size]))]
    beyond = heights - jnp.log(jnp.maximum(jnp.abs(slopes), limit))
    shares = jnp.exp(beyond - jnp.stack([log_above[0], usable]))
    shares = shares * jnp.abs(drift) / jnp.maximum(slopes**2, limit**2)
    counted = varies & jnp.stack([(slopes[0] > limit) & (indices[0] < 0.01), power[1]])
    at_bottom = jnp.where(unbounded[0], indices[0] <= -1, slopes[0] < limit)
    at_top = jnp.where(power[1], indices[1], slopes[1]) > jnp.where(varies[1], 0.01, -limit)
    report = Report(
        ~found | ~jnp.all(jnp.isfinite(jnp.stack([heights, slopes]))),
        drops,
        ends,
        oscillates,
        jnp.stack([at_bottom, at_top]),
        jnp.where(counted, shares, 0) > _SHARE[size],
        jnp.exp(worst[0]),
        worst[1],
    )
    return table, report


def _far_out(
    q: Array, heights: Array, slopes: Array, outside: Array
) -> tuple[Array, Array, Array, Array]:
    """What the density is like at its ends, from its logarithm on the line there.

    Where it is a float far out, it is taken for a power law times what varies slowly: on the line
    its logarithm is `s q + p log |q|` up to a constant, of which `s` is the index.

    Returns:
        The indices; the drift of the slopes, 0 for plain power laws; whether the slopes oscillate;
        and at which ends the density is so far out. Four arrays of shape (2,).
    """
    num, noise = _SPAN[q.dtype.itemsize], _NOISE[q.dtype.itemsize]
    upper = jnp.array([False, True])
    ways = jnp.where(upper, 1, -1).astype(q.dtype)
    rises = (heights[:, :-2] - heights[:, 1:-1]) / _LENGTH
    bends = (rises[:, :-1] - rises[:, 1:]) / (1 + jnp.abs(rises[:, 1:]))
    near, far = (heights[:, i * num] - heights[:, (i + 1) * num - i] for i in (0, 1))
    logs = jnp.log(jnp.maximum(jnp.abs(q), 1))
    near_log, far_log = (logs[:, i * num] - logs[:, (i + 1) * num - i] for i in (0, 1))
    # The last of the points is another one, so the second span is one step shorter.
    spans = num * _LENGTH, (num - 1) * _LENGTH
    apart = jnp.abs(near / spans[0] - far / spans[1]) > noise * (1 + jnp.abs(far) / spans[1])
    limit = near * far_log - far * near_log
    limit = limit / jnp.where(apart, spans[0] * far_log - spans[1] * near_log, 1)
    near, far = near / spans[0], far / spans[1]
    power = outside & (jnp.abs(near - far) < 0.05 + 0.1 * jnp.abs(far))
    indices = jnp.where(power, ways * jnp.where(apart, limit, near), slopes)
    indices = jnp.where(upper & ~power, -jnp.inf, indices)
    drift = jnp.where(power & apart, (near - far) / spans[0], 0)
    many = num // 8
    up, down = jnp.sum(bends > noise, axis=1) > many, jnp.sum(bends < -noise, axis=1) > many
    return indices, drift, outside & up & down, power
