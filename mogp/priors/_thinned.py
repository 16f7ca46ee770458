"""A Lévy measure whose small jumps are thinned out: `ρ(x) (1 - e^(-t x))`, in logarithms.

Sizes and the rate `t` are given by their logarithms, because those of wide networks are no floats:
for a gamma measure of mass 1 and 1000 nodes `t` is about `e^1000`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Delta

from mogp import levy
from mogp._arrays import Real, aligned
from mogp.levy.incomplete import log_killed

# Cells of `y = log t x`: up to `t x = 0.3` the density is integrated, in cells that double their
# length downwards, where it falls like a power; from there on the tail is, by parts, which has no
# singularities. Beyond 45 nothing is thinned. With 24 nodes a cell the masses are right to 1e-12.
_MIDDLE, _FAR = math.log(0.3), math.log(45.0)
_CELLS = np.append(_MIDDLE - 2.0 ** np.arange(14, -1, -1), np.linspace(_MIDDLE, _FAR, 7))
# Gauss-Legendre nodes and weights on (0, 1), drawn to the ends by a polynomial that is flat there:
# a density or tail may end like a power of the distance to the end.
_X, _W = ((np.polynomial.legendre.leggauss(24)[0] + 1) / 2, np.polynomial.legendre.leggauss(24)[1])
_NODES = _X**4 * (35 - 84 * _X + 70 * _X**2 - 20 * _X**3)
_WEIGHTS = _W / 2 * 140 * _X**3 * (1 - _X) ** 3


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under `jit`, compiled once a kind of measure: its numbers are traced."""
    jitted = eqx.filter_jit(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        traced = lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf  # noqa: E731
        return jitted(*jax.tree.map(traced, args))

    return call


class Odds(levy.LevyMeasure):
    """The odds of a jump of the thinned measure to be larger than `x`, as a tail.

    The inverse of this tail at a ratio of two exponential variables is a draw of a jump, in which
    neither end loses digits.

    Args:
        measure: the measure `ρ`.
        log_rate: `log t`; None for `ρ` itself, which must then be of finite mass.
    """

    measure: levy.LevyMeasure
    log_rate: Array | None
    index_at_zero = index_at_infinity = math.nan  # not needed

    def log_tail_and_density_inside(self, v: Array) -> tuple[Array, Array]:
        below, above, density = log_masses(self.measure, self.log_rate, v)
        return above - below, density + jnp.logaddexp(below, above) - 2 * below

    def log_tail_inside(self, v: Array) -> Array:
        return self.log_tail_and_density_inside(v)[0]

    def log_density_inside(self, v: Array) -> Array:
        return self.log_tail_and_density_inside(v)[1]

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        raise NotImplementedError

    def line(self, q: Array) -> Array:
        return self.measure.line(q)

    @property
    def support(self) -> tuple[Real, Real]:
        return self.measure.support


@_compiled
def log_masses(
    measure: levy.LevyMeasure, log_rate: Array | None, v: Array
) -> tuple[Array, Array, Array]:
    """Logarithms of the thinned mass below and above `x = e^v`, and of `x ρ(x) (1 - e^(-t x))`.

    Elementwise, inside the support.
    """
    if log_rate is None:
        below = measure.log_moment_of_log(jnp.zeros((), v.dtype), v)
        return below, *_rest_and_density(measure, v, 0)
    log_rate = log_rate.astype(v.dtype)
    edges = _edges(measure, log_rate)
    y = v.ravel() + log_rate
    # Cells from edge to edge; then for every element that from the edge below or above it.
    inside = jnp.clip(y, edges[0], _FAR)
    place = jnp.searchsorted(edges, inside, side="right")
    low = y < _MIDDLE
    start = jnp.where(low, edges[jnp.maximum(place - 1, 0)], inside)
    end = jnp.where(low, inside, edges[jnp.minimum(place, len(edges) - 1)])
    cells, head, (tail, density) = _integrals(
        measure, log_rate, 0, jnp.append(edges[:-1], start), jnp.append(edges[1:], end), y
    )
    whole, parts = cells[: len(edges) - 1], cells[len(edges) - 1 :]
    lower = edges[:-1] < _MIDDLE
    none = jnp.full((1,), -jnp.inf, v.dtype)
    below = jax.lax.cumlogsumexp(jnp.append(none, jnp.where(lower, whole, -jnp.inf)))
    above = jax.lax.cumlogsumexp(jnp.append(jnp.where(lower, -jnp.inf, whole), none), reverse=True)
    total = jnp.logaddexp(below[-1], jnp.logaddexp(head, above[0]))
    below = jnp.logaddexp(below[jnp.maximum(place - 1, 0)], parts)
    below = jnp.logaddexp(below, _log_of_atoms(measure, log_rate, v.ravel(), 0))
    upper = jnp.logaddexp(above[jnp.minimum(place, len(edges) - 1)], parts)
    upper = jnp.logaddexp(upper, tail + log_killed(y))

    known = jnp.where(low, below, upper)
    share = jnp.where(known < total, known - total, 0) - float(np.finfo(v.dtype).eps)
    other = total + jnp.log(-jnp.expm1(share))
    result = jnp.where(low, below, other), jnp.where(low, other, upper), density + log_killed(y)
    return tuple(x.reshape(v.shape) for x in result)  # type: ignore[return-value]


@_compiled
def moment(measure: levy.LevyMeasure, log_rate: Array | None, k: int) -> Array:
    """`∫ x^k ρ(x) (1 - e^(-t x)) dx` for `k` of 0, 1 or 2; may be infinite."""
    if log_rate is None:
        return jnp.asarray(measure.total_mass) if k == 0 else measure.moment(k)
    return jnp.exp(_log_moment(measure, log_rate, k))


@_compiled
def log_rate_for(measure: levy.LevyMeasure, width: Array) -> Array:
    """`log t` for which the thinned measure has the mass `width`; differentiable.

    If the mass of the measure is smaller than `width`, `t` is so large that nothing is thinned.
    """
    return _log_rate(measure, width)


@eqx.filter_custom_jvp
def _log_rate(measure: levy.LevyMeasure, width: Array) -> Array:
    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        above = _log_moment(measure, jnp.sinh(middle), 0) > jnp.log(width)
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    # `log t` grows like `width` itself where the index at zero is 0: what is halved is its arsinh.
    ends = jnp.full((), -35, width.dtype), jnp.full((), 35, width.dtype)
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    return jnp.sinh((low + high) / 2)


@_log_rate.def_jvp
def _log_rate_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    measure, width = primals
    by_measure, by_width = tangents
    log_rate = _log_rate(measure, width)
    one = jnp.ones_like(log_rate)
    slope = jax.jvp(lambda log_rate: _log_moment(measure, log_rate, 0), (log_rate,), (one,))[1]
    tangent = jnp.zeros_like(log_rate) if by_width is None else by_width / width
    if any(leaf is not None for leaf in jax.tree.leaves(by_measure)):
        mass_of = lambda measure: _log_moment(measure, log_rate, 0)  # noqa: E731
        tangent = tangent - eqx.filter_jvp(mass_of, (measure,), (by_measure,))[1]
    solved = slope > 0  # it is 0 where nothing is thinned
    return log_rate, jnp.where(solved, tangent / jnp.where(solved, slope, 1), 0)


def _log_moment(measure: levy.LevyMeasure, log_rate: Array, k: int) -> Array:
    """The logarithm of the thinned moment of order `k`."""
    edges = _edges(measure, log_rate)
    cells, head, _ = _integrals(measure, log_rate, k, edges[:-1], edges[1:], edges[:0])
    return jnp.logaddexp(_log_sum(cells, jnp.ones_like(cells)), head)


def _edges(measure: levy.LevyMeasure, log_rate: Array) -> Array:
    """The cells of `log t x`, also cut where the tail is not smooth."""
    cells = jnp.asarray(_CELLS, log_rate.dtype)
    kinks = aligned(log_rate, *_kinks(measure))[1:]
    proper = [(kink > 0) & (kink < jnp.inf) for kink in kinks]
    places = [
        jnp.clip(jnp.where(some, jnp.log(jnp.where(some, kink, 1)) + log_rate, 0), cells[0], _FAR)
        for kink, some in zip(kinks, proper, strict=True)
    ]
    return jnp.sort(jnp.append(cells, jnp.stack(places))) if places else cells


def _integrals(
    measure: levy.LevyMeasure, log_rate: Array, k: int, start: Array, end: Array, y: Array
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Logarithms of the integrals over cells, what is left at their seam, and the values at `y`.

    Below the seam the integrals are those of the density; above, with `R` the moment of order `k`
    of the larger jumps, `∫ e^(y - e^y) R dy`. The seam has `(1 - e^(-t x)) R`, and the atoms below.
    All points are looked at in one call, for the functions of a measure take long to compile.
    """
    nodes, weights = (jnp.asarray(x, start.dtype)[:, None] for x in (_NODES, _WEIGHTS))
    points = start[None] + (end - start)[None] * nodes
    seam = jnp.full((1,), _MIDDLE, start.dtype)
    every = jnp.concatenate([points.ravel(), seam, y])
    rest, density = _rest_and_density(measure, every - log_rate, k)
    size, shape = points.size, points.shape
    by_density = density[:size].reshape(shape) + log_killed(points)
    by_parts = points - jnp.exp(points) + rest[:size].reshape(shape)
    heights = jnp.where((start + end)[None] / 2 < _MIDDLE, by_density, by_parts)
    cells = _log_sum(heights, weights * (end - start)[None])
    head = rest[size] + log_killed(seam[0])
    head = jnp.logaddexp(head, _log_of_atoms(measure, log_rate, seam[0] - log_rate, k))
    return cells, head, (rest[size + 1 :], density[size + 1 :])


def _log_sum(heights: Array, weights: Array) -> Array:
    """`log Σ weights exp(heights)` over the first axis, also where it is 0."""
    top = jax.lax.stop_gradient(jnp.max(heights, axis=0))
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.sum(weights * jnp.exp(heights - jnp.broadcast_to(top, heights.shape)), axis=0)
    some = total > 0
    return jnp.where(some, top + jnp.log(jnp.where(some, total, 1)), -jnp.inf)


def _rest_and_density(measure: levy.LevyMeasure, v: Array, k: int) -> tuple[Array, Array]:
    """`log ∫_x^∞ z^k ρ(dz)` and `log x^(1+k) ρ(x)` at `x = e^v`; `v` has one axis if `k > 0`."""
    v, low, high, mass = aligned(v, *measure.support, measure.total_mass)
    below, above = v <= jnp.log(low), v >= jnp.log(high)
    inside = jnp.where(below | above, measure.line(jnp.zeros((), v.dtype)), v)
    if k:
        order = jnp.full((), k, v.dtype)
        moments = measure.log_moment_of_log(order, jnp.append(inside, jnp.inf))
        whole = moments[-1]
        share = moments[:-1] - whole
        some = share < 0
        rest = whole + jnp.log(-jnp.expm1(jnp.where(some, share, -1)))
        rest, density = jnp.where(some, rest, -jnp.inf), measure.log_density_inside(inside) + k * v
    else:
        whole = jnp.log(mass)
        rest, density = measure.log_tail_and_density_inside(inside)
    rest = jnp.where(above, -jnp.inf, jnp.where(below, whole, rest))
    return rest, jnp.where(below | above, -jnp.inf, density)


def _log_of_atoms(measure: levy.LevyMeasure, log_rate: Array, v: Array, k: int) -> Array:
    """The logarithm of the moment of order `k` of thinned jumps of fixed sizes up to `e^v`."""
    total = jnp.full_like(v, -jnp.inf)
    for size, number in atoms(measure):
        _, log_size, log_number = aligned(v, jnp.log(size), jnp.log(number))
        mass = log_number + k * log_size + log_killed(log_size + log_rate)
        total = jnp.logaddexp(total, jnp.where(v >= log_size, mass, -jnp.inf))
    return total


def atoms(measure: levy.LevyMeasure) -> list[tuple[Real, Real]]:
    """Sizes that several jumps have, and the expected numbers of these jumps."""
    if isinstance(measure, levy.Sum):
        return [atom for part in measure.parts for atom in atoms(part)]
    if isinstance(measure, levy.Rescaled):
        inner = atoms(measure.measure)
        return [(size * measure.factor, number * measure.weight) for size, number in inner]
    if isinstance(measure, levy.CompoundPoisson) and isinstance(measure.jump, Delta):
        return [(measure.jump.v, measure.rate)]
    return []


def _kinks(measure: levy.LevyMeasure) -> list[Real]:
    """Sizes where the tail is not smooth, the ends of the support among them."""
    if isinstance(measure, levy.Sum):
        return [kink for part in measure.parts for kink in _kinks(part)]
    if isinstance(measure, levy.Rescaled):
        return [kink * measure.factor for kink in _kinks(measure.measure)]
    inner = measure.law if isinstance(measure, levy.CompoundPoisson) else measure
    return [*inner.kinks, *inner.support, *(size for size, _ in atoms(measure))]
