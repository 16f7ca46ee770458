"""Sums of measures, and measures with larger or with more jumps."""

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned
from mogp.levy._measure import LevyMeasure, with_last_axis


class Sum(LevyMeasure):
    """`m1 + m2 + …`: the jumps of independent processes, taken together.

    Args:
        parts: the measures.
    """

    parts: tuple[LevyMeasure, ...]

    def _log_density(self, v: Array) -> Array:
        return _log_sum([part.log_density_of_log(v) for part in self.parts])

    def _log_tail(self, v: Array) -> Array:
        return _log_sum([part.log_tail_of_log(v) for part in self.parts])

    def _log_moment(self, k: Array, v: Array) -> Array:
        return _log_sum([part.log_moment_of_log(k, v) for part in self.parts])

    def laplace_exponent(self, t: ArrayLike) -> Array:
        return _total([part.laplace_exponent(t) for part in self.parts])

    def _sample_total(self, key: Array, weight: Array, num_jumps: int) -> Array:
        keys = jax.random.split(key, len(self.parts))
        pairs = zip(self.parts, keys, strict=True)
        return _total([part._sample_total(k, weight, num_jumps) for part, k in pairs])

    def _with_axis(self) -> Self:
        return type(self)(tuple(part._with_axis() for part in self.parts))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(*(part.batch_shape for part in self.parts))

    @property
    def index_at_zero(self) -> Real:
        return _fold(jnp.maximum, [part.index_at_zero for part in self.parts])

    @property
    def index_at_infinity(self) -> Real:
        return _fold(jnp.minimum, [part.index_at_infinity for part in self.parts])

    @property
    def total_mass(self) -> Real:
        return _total([part.total_mass for part in self.parts])

    @property
    def support(self) -> tuple[Real, Real]:
        lows, highs = zip(*(part.support for part in self.parts), strict=True)
        return _fold(jnp.minimum, lows), _fold(jnp.maximum, highs)


class Scaled(LevyMeasure):
    """`measure.scaled(factor)`: every jump of a measure times a factor.

    Args:
        measure: the measure.
        factor: positive.
    """

    measure: LevyMeasure
    factor: Real
    bounds: ClassVar = {"factor": (0.0, float("inf"))}

    def _shift(self, *values: ArrayLike) -> list[Array]:
        *arrays, factor = self._with(*values)
        return [*arrays, jnp.log(factor)]

    def _log_density(self, v: Array) -> Array:
        v, shift = self._shift(v)
        return self.measure.log_density_of_log(v - shift)

    def _log_tail(self, v: Array) -> Array:
        v, shift = self._shift(v)
        return self.measure.log_tail_of_log(v - shift)

    def _log_moment(self, k: Array, v: Array) -> Array:
        k, v, shift = self._shift(k, v)
        moment, k, shift = aligned(self.measure.log_moment_of_log(k, v - shift), k, shift)
        return moment + k * shift

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        v, shift = self._shift(self.measure.log_inverse_tail(u))
        return v + shift

    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, factor = self._with(t)
        return self.measure.laplace_exponent(t * factor)

    def _sample_total(self, key: Array, weight: Array, num_jumps: int) -> Array:
        total, factor = self._with(self.measure._sample_total(key, weight, num_jumps))
        return total * factor

    def _line(self, q: Array) -> Array:
        v, shift = self._shift(self.measure._line(q))
        return v + shift

    def _with_axis(self) -> Self:
        return type(self)(self.measure._with_axis(), with_last_axis(self.factor))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(self.measure.batch_shape, jnp.shape(self.factor))

    @property
    def index_at_zero(self) -> Real:
        return self.measure.index_at_zero

    @property
    def index_at_infinity(self) -> Real:
        return self.measure.index_at_infinity

    @property
    def total_mass(self) -> Real:
        return self.measure.total_mass

    @property
    def support(self) -> tuple[Real, Real]:
        low, high, factor = aligned(*self.measure.support, self.factor)
        return low * factor, high * factor


class Weighted(LevyMeasure):
    """`weight * measure`: as many jumps as `weight` independent processes have together.

    Args:
        measure: the measure.
        weight: positive.
    """

    measure: LevyMeasure
    weight: Real
    bounds: ClassVar = {"weight": (0.0, float("inf"))}

    def _raised(self, log_value: Array) -> Array:
        log_value, weight = self._with(log_value)
        return log_value + jnp.log(weight)

    def _log_density(self, v: Array) -> Array:
        return self._raised(self.measure._log_density(v))

    def _log_tail(self, v: Array) -> Array:
        return self._raised(self.measure._log_tail(v))

    def _log_moment(self, k: Array, v: Array) -> Array:
        return self._raised(self.measure._log_moment(k, v))

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, weight = self._with(u)
        return self.measure.log_inverse_tail(u / weight)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        psi, weight = self._with(self.measure.laplace_exponent(t))
        return psi * weight

    def _sample_total(self, key: Array, weight: Array, num_jumps: int) -> Array:
        weight, own = self._with(weight)
        return self.measure._sample_total(key, weight * own, num_jumps)

    def _line(self, q: Array) -> Array:
        return self.measure._line(q)

    def _with_axis(self) -> Self:
        return type(self)(self.measure._with_axis(), with_last_axis(self.weight))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(self.measure.batch_shape, jnp.shape(self.weight))

    @property
    def index_at_zero(self) -> Real:
        return self.measure.index_at_zero

    @property
    def index_at_infinity(self) -> Real:
        return self.measure.index_at_infinity

    @property
    def total_mass(self) -> Real:
        mass, weight = aligned(self.measure.total_mass, self.weight)
        return mass * weight

    @property
    def support(self) -> tuple[Real, Real]:
        return self.measure.support


def _total(terms: Sequence[Real]) -> Array:
    return functools.reduce(jnp.add, aligned(*terms))


def _log_sum(terms: list[Array]) -> Array:
    return functools.reduce(jnp.logaddexp, aligned(*terms))


def _fold(f: Callable[[Array, Array], Array], values: Sequence[Real]) -> Array:
    return functools.reduce(f, aligned(*values))
