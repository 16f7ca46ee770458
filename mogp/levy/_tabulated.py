"""Measures known by their density only, on top of a table of its integrals."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp._arrays import Real
from mogp._checks import check_between
from mogp.levy import _table
from mogp.levy._abstract import POSITIVE, check_scalar
from mogp.levy._measure import LevyMeasure
from mogp.levy.incomplete import log_killed


class AbstractTabulated(LevyMeasure):
    """A measure that defines the logarithm of its density, and the limits of its support.

    A subclass sets `table` to None, and then to `self._tabulated()`, when all else is there.
    """

    limits: eqx.AbstractVar[tuple[float, float]]
    table: eqx.AbstractVar[_table.Table]

    @abc.abstractmethod
    def _log_intensity(self, v: Array) -> Array:
        """`log x ρ(x)` at `x = e^v`, where that is a float."""

    def _tabulated(self) -> _table.Table:
        return _table.build(self._intensity(), self.limits, jnp.result_type(float))

    def _intensity(self) -> _table.LogIntensity:
        """The density as a pytree of its parameters."""
        return jax.tree_util.Partial(type(self)._log_intensity, self)  # type: ignore[no-untyped-call]

    def log_density_inside(self, v: Array) -> Array:
        return _table.log_density(self.table.astype(v.dtype), self._log_intensity, self.limits, v)

    def log_tail_inside(self, v: Array) -> Array:
        return _table.log_tail(self.table.astype(v.dtype), self._log_intensity, self.limits, v)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        table = self.table.astype(v.dtype)
        return _table.log_moment(table, self._log_intensity, self.limits, k, v)

    def line(self, q: Array) -> Array:
        return _table.line(self.limits, q)

    def line_start(self, w: Array) -> Array:
        table = self.table.astype(w.dtype)
        return jnp.interp(-w, -table.log_above, table.edges)

    @property
    def support(self) -> tuple[Real, Real]:
        return self.limits

    @property
    def index_at_zero(self) -> Real:
        return _table.index_at_zero(self.table)

    @property
    def index_at_infinity(self) -> Real:
        return _table.index_at_infinity(self.table)

    @property
    def total_mass(self) -> Real:
        return _table.total_mass(self.table)


class FromDensity(AbstractTabulated):
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
        >>> round(float(measure.index_at_zero), 3)
        0.5
    """

    function: jax.tree_util.Partial
    label: str = eqx.field(static=True)
    limits: tuple[float, float] = eqx.field(static=True)
    table: _table.Table

    def __init__(
        self, density: Callable[[Array], Array], support: tuple[float, float] = POSITIVE
    ) -> None:
        self.limits = _checked_support(support)
        self.label = getattr(density, "__name__", repr(density))
        # Tracers that the function closes over become part of the tree, the rest is static.
        function, traced = jax.closure_convert(density, jnp.ones((), jnp.result_type(float)))
        self.function = jax.tree_util.Partial(  # type: ignore[no-untyped-call]
            lambda traced, x: function(x, *traced), traced
        )
        self.table = None  # type: ignore[assignment]
        self.table = self._tabulated()

    def __repr__(self) -> str:
        return f"FromDensity({self.label}, support={self.limits})"

    def _log_intensity(self, v: Array) -> Array:
        x = jnp.exp(v).astype(jnp.result_type(float))
        density = jax.vmap(self.function)(x.ravel()).reshape(v.shape)
        # Else XLA cancels log and exp in some places and not in others, where it underflows.
        density = jax.lax.optimization_barrier(density)  # type: ignore[no-untyped-call]
        return jnp.log(density).astype(v.dtype) + v


class Thinned(AbstractTabulated):
    """The jumps of a measure, each kept with probability `1 - e^(-t x)`: finitely many.

    The density is `ρ(x) (1 - e^(-t x))`, the expected number of jumps the Laplace exponent `ψ(t)`.

    Args:
        measure: with a concrete support.
        rate: `t`, positive.

    Raises:
        ValueError: if a concrete rate is not positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.Thinned(levy.Gamma(2.0), rate=1.0).total_mass), 5)  # 2 log 2
        1.38629
    """

    measure: LevyMeasure
    rate: Real
    limits: tuple[float, float] = eqx.field(static=True)
    table: _table.Table
    bounds: ClassVar = {"rate": POSITIVE}
    index_at_zero = 0.0

    def __init__(self, measure: LevyMeasure, rate: Real) -> None:
        check_scalar("rate", rate)
        check_between("rate", rate, 0)
        self.measure, self.rate = measure, rate
        self.limits, self.table = _checked_support(measure.support), None  # type: ignore[assignment]
        self.table = self._tabulated()

    def __repr__(self) -> str:
        return f"Thinned({self.measure}, rate={self.rate})"

    def _log_intensity(self, v: Array) -> Array:
        v, rate = self.with_parameters(v)
        return self.measure.log_density_of_log(v) + log_killed(v + jnp.log(rate))

    @property
    def total_mass(self) -> Real:
        return self.measure.laplace_exponent(self.rate)


def _checked_support(support: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in support)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high:
        raise ValueError(f"support must be two numbers with 0 ≤ low < high, got {support!r}")
    return low, high
