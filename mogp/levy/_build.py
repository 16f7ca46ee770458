"""The table of a density: cells that resolve it, and reasons to refuse a density that has none.

Cells of half a unit of the line are cut where the density changes fast, until the quadrature in
every cell agrees with that in its halves. So narrow peaks, kinks and steps are found; what falls to
zero, varies slowly or oscillates at an end of the support is refused by name.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import is_concrete
from mogp.levy._abstract import traced_numbers
from mogp.levy._table import (
    Limits,
    LogIntensity,
    Table,
    flat,
    line,
    log_height,
    log_integral,
    log_running_sum,
)

_LENGTH = 1 / 2  # of cells where the density is smooth: 1e-11 with 20 nodes
_SHARE = {8: 1e-8, 4: 1e-4}  # largest error of a cell by the mass around it, by itemsize
_SHORTEST = {8: 2.0**-33, 4: 2.0**-14}  # cells, about the rounding of the line where it is long
_SPACING = 1 / 256  # of the points where peaks are looked for
_PEAKS = 64
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
        places: logarithms of the sizes where it begins and ceases to be a positive float.
        oscillates: whether its slope goes up and down at an end.
        divergent: whether it is not integrable (times x at 0).
        slow: whether a tail or the total is off because the density varies slowly.
        error: the largest error of a cell by what is allowed.
        error_place: the logarithm of the size where that is.
    """

    nowhere: Array
    drops: Array
    places: Array
    oscillates: Array
    divergent: Array
    slow: Array
    error: Array
    error_place: Array


def build(f: LogIntensity, limits: Limits, dtype: jnp.dtype, hints: Array | None = None) -> Table:
    """The table of a density; if that is traced and has no table, all of it is NaN.

    Args:
        f: the density, a pytree of its parameters.
        limits: of the support.
        dtype: floating dtype of the table.
        hints: logarithms of sizes where there may be a narrow peak, of shape (num,).

    Raises:
        ValueError: if a concrete density is nowhere positive and finite, not integrable, falls to
            0 inside the support, varies slowly or oscillates at an end, or changes too fast.
    """
    hints = jnp.zeros(0, dtype) if hints is None else hints
    table, report = _filled(traced_numbers(f), limits, _edges(limits, dtype), hints)
    if is_concrete(table):
        _check(limits, jax.tree.map(np.asarray, report), table)
        num = int(jnp.sum(table.edges < table.edges[-1])) + 1
        num = min(-(-num // 256) * 256, len(table.edges))  # few shapes, so that code is used again
        return table._replace(edges=table.edges[:num], log_above=table.log_above[:num])
    ends = report.drops | report.oscillates | report.divergent | report.slow
    wrong = jnp.any(ends) | report.nowhere | ~(report.error <= 1)
    return jax.tree.map(lambda x: jnp.where(wrong, jnp.nan, x), table)


def _check(limits: Limits, report: Report, table: Table) -> None:
    if report.nowhere:
        raise ValueError("density must be positive and finite somewhere inside the support")
    for i, end in enumerate(("lower", "upper")):
        power, x = f"x^({table.indices[i] - 1:.4g})", float(f"{math.exp(report.places[i]):.6g}")
        where = "infinity" if limits[i] == math.inf else f"{limits[i]:g}"
        if report.drops[i]:
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
            f"density changes too fast near {math.exp(report.error_place):.7g}: write it as a sum "
            "of measures with supports of their own"
        )


def _edges(limits: Limits, dtype: jnp.dtype) -> Array:
    low, high = limits
    info = np.finfo(dtype)
    # How near a bounded end the distance to it still has half of its digits.
    close = -math.log(info.eps) / 2
    first = -close if low > 0 else math.log(info.tiny) + 1 - max(0, math.log(min(high, 1)))
    last = math.log(info.max) - 1 if high == math.inf else close
    places = np.arange(math.ceil(first / _LENGTH), math.floor(last / _LENGTH) + 1)
    return jnp.asarray(places * _LENGTH, dtype)


@eqx.filter_jit
def _filled(f: LogIntensity, limits: Limits, base: Array, hints: Array) -> tuple[Table, Report]:
    size, tiny = base.dtype.itemsize, math.log(np.finfo(base.dtype).tiny) + 1
    fixed = jax.lax.stop_gradient(f)

    def log_density(q: Array) -> Array:
        v = line(limits, q)
        return fixed(v) - v

    points, values = _candidates(log_density, base, hints)
    good = jnp.isfinite(values) & (values > tiny)  # a positive float, and not subnormal
    some = jnp.array([jnp.argmax(good), len(points) - 1 - jnp.argmax(good[::-1])])
    ends, drops = _range(log_density, points, values, some, tiny)
    # The density far out, and next to the ends, all in one call: each takes time to compile.
    ways = jnp.array([-1, 1], base.dtype)
    steps = jnp.arange(2 * _SPAN[size] + 1).astype(base.dtype) * _LENGTH
    steps = jnp.stack([steps, steps]).at[:, -1].set(jnp.minimum(_LENGTH, (ends[1] - ends[0]) / 16))
    far = jnp.clip(ends[:, None] - ways[:, None] * steps, base[0], base[-1])
    far_heights = log_height(f, limits, far)
    heights = far_heights[:, 0]
    slopes = (heights - far_heights[:, -1]) * ways / steps[0, -1]
    outside = jnp.array([limits[0] == 0, limits[1] == math.inf]) & (ends * ways > _FAR[size])
    indices, drift, oscillates, power = _far_out(far, far_heights, slopes, outside)

    edges, error, place = _cut(fixed, limits, base, jnp.clip(points, *ends))
    cells = log_integral(f, limits, edges[:-1], edges[1:], jnp.zeros_like(edges[1:]))
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
    at_bottom = indices[0] <= -1 if limits[0] == 0 else slopes[0] < limit
    at_top = jnp.where(power[1], indices[1], slopes[1]) > jnp.where(varies[1], 0.01, -limit)
    report = Report(
        ~jnp.any(good) | ~jnp.all(jnp.isfinite(jnp.concatenate([heights, slopes]))),
        drops,
        line(limits, ends),
        oscillates,
        jnp.stack([at_bottom, at_top]),
        jnp.where(counted, shares, 0) > _SHARE[size],
        error,
        line(limits, place),
    )
    return table, report


def _candidates(log_density: LogIntensity, base: Array, hints: Array) -> tuple[Array, Array]:
    """Edges to begin with, and the density there: also where its logarithm bends most."""
    each = round(_LENGTH / _SPACING)
    q = base[0] + jnp.arange(each * (len(base) - 1) + 1).astype(base.dtype) * _SPACING
    values = log_density(jnp.append(q, hints))
    floor = math.log(np.finfo(base.dtype).tiny)
    raised = jnp.where(values > floor, values, floor)[: len(q)]
    bend = jnp.abs(raised[2:] - 2 * raised[1:-1] + raised[:-2])
    sharp, where = jax.lax.top_k(jnp.where(bend < jnp.inf, bend, 0), _PEAKS)
    where = jnp.where(sharp > 0.02, 1 + where, 0)
    points = jnp.concatenate([q[::each], q[where], hints])
    order = jnp.argsort(points)
    found = jnp.concatenate([values[: len(q) : each], values[where], values[len(q) :]])
    return points[order], found[order]


def _range(
    log_density: LogIntensity, points: Array, values: Array, places: Array, tiny: float
) -> tuple[Array, Array]:
    """Where the density begins and ceases to be a float, and whether it falls to 0 at once there.

    By bisection between the first and last of the points where it is one, and their neighbours.
    """

    def closer(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        inside, outside = state
        middle = (inside[0] + outside[0]) / 2
        new = jnp.stack([middle, log_density(middle)])
        good = (jnp.isfinite(new[1]) & (new[1] > tiny))[None]
        return jnp.where(good, new, inside), jnp.where(good, outside, new)

    outer = jnp.clip(places + jnp.array([-1, 1]), 0, len(points) - 1)
    both = jnp.stack([points, values])
    inside, outside = jax.lax.fori_loop(0, 60, closer, (both[:, places], both[:, outer]))
    steep = (inside[1] > tiny + 20) & (outside[1] < tiny)
    return inside[0], steep & (inside[0] != outside[0])


def _cut(f: LogIntensity, limits: Limits, base: Array, start: Array) -> tuple[Array, Array, Array]:
    """Edges of cells that resolve the density; the largest error by what is allowed, and where."""
    size = base.dtype.itemsize
    spare = jnp.full(_CUTS * _ROUNDS, jnp.max(start))
    edges = jnp.sort(jnp.concatenate([start, spare]))

    def errors(edges: Array) -> tuple[Array, Array]:
        """`log(error / allowed)` of each cell, and its middle."""
        left, right = edges[:-1], edges[1:]
        middle = (left + right) / 2
        starts, stops = jnp.stack([left, left, middle]), jnp.stack([right, middle, right])
        whole, *halves = log_integral(f, limits, starts, stops, jnp.zeros_like(starts))
        cells = jnp.logaddexp(*halves)
        change = -jnp.expm1(-jnp.abs(jnp.where(cells > -jnp.inf, whole - cells, 0)))
        above = log_running_sum(cells[None, ::-1])[0, ::-1]
        home = jnp.floor((middle - base[0]) / _LENGTH).astype(jnp.int32)
        around = jax.ops.segment_max(cells, home, len(base))[home]
        long = right - left > _SHORTEST[size]
        allowed = jnp.where(long, jnp.minimum(above, around), around) + math.log(_SHARE[size])
        seen = jnp.maximum(whole, cells) > math.log(np.finfo(base.dtype).tiny) + 20
        larger = jnp.where(change > 0, jnp.log(jnp.where(change > 0, change, 1)), -jnp.inf)
        score = jnp.where(seen, larger + jnp.maximum(whole, cells) - allowed, -jnp.inf)
        return score, middle

    def going(state: tuple[Array, Array, Array, Array]) -> Array:
        return (state[1] > 0) & (state[3] < _ROUNDS)

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        edges, _, _, count = state
        score, middle = errors(edges)
        worst, where = jax.lax.top_k(score, _CUTS)
        new = jnp.where(worst > 0, middle[where], edges[-1])
        cut = jnp.sort(jnp.concatenate([edges, new]))[: len(edges)]
        return cut, worst[0], middle[where[0]], count + 1

    one = jnp.ones((), base.dtype)
    state = (edges, one, one, jnp.zeros((), jnp.int32))
    edges, worst, place, _ = jax.lax.while_loop(going, advance, state)
    return edges, jnp.exp(worst), place


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
