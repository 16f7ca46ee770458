"""Measures by a density or by the law of their jumps, on top of a table of integrals."""

import abc
import contextlib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Delta, Distribution

from mogp._arrays import Real, aligned
from mogp._checks import check_between, is_concrete
from mogp.levy import _build, _table, _totals
from mogp.levy._abstract import POSITIVE, check_measure, check_scalar, compiled
from mogp.levy._measure import AbstractRescaled, LevyMeasure
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
        dtype, known = jnp.result_type(float), is_concrete(self)
        # Also inside of a compiled function a table of numbers is made at once.
        with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
            return _build.build(self._intensity(), self.limits, dtype, self._hints())

    def _hints(self) -> Array | None:
        """64 points of the line where the density may be a narrow peak."""
        return None

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

    Tail and moments to 1e-7 or better: infinitely many small jumps, heavy tails, power-law
    singularities at the ends of the support, narrow peaks, kinks and steps are fine. Peaks that are
    positive floats on less than 0.4 % of a size may be missed; give them a measure of their own.

    Args:
        density: `ρ(x)` for a scalar `x` inside the support, in JAX. Parameters that it closes over
            may be traced, and are differentiated.
        support: its ends, `0 ≤ low < high`, numbers; `high` may be infinity.

    Raises:
        ValueError: if the support is not as stated; if the density is not a function to one real
            number, nowhere positive, or not integrable; or if it falls to 0 inside the support,
            varies slowly or oscillates at an end, or changes too fast, each by name. Where it is
            traced, all results are NaN then.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import levy
        >>> measure = levy.FromDensity(lambda x: x**-1.5 * jnp.exp(-x))
        >>> round(float(measure.index_at_zero), 3)
        0.5
    """

    function: jax.tree_util.Partial
    density_given: Callable[[Array], Array] = eqx.field(static=True)
    limits: tuple[float, float] = eqx.field(static=True)
    table: _table.Table

    def __init__(
        self, density: Callable[[Array], Array], support: tuple[float, float] = POSITIVE
    ) -> None:
        self.limits = _checked_support(support)
        _check_density(density)
        self.density_given, self.function = density, _converted(density)
        self.table = None  # type: ignore[assignment]
        self.table = self._tabulated()

    def __repr__(self) -> str:
        name = getattr(self.density_given, "__name__", repr(self.density_given))
        return f"FromDensity({name}, support={self.limits})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The converted function cannot be pickled, but be made anew around the same parameters.
        return _unpickled, (self.density_given, self.limits, self.function.args, self.table)

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
        check_measure("measure", measure)
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


class CompoundPoisson(AbstractRescaled):
    """Finitely many jumps: a Poisson number with mean `rate`, iid from a law on (0, ∞).

    Args:
        rate: expected number of jumps, positive.
        jump: a NumPyro law, continuous (by a table of its density, as `FromDensity`) or `Delta`,
            for jumps of one size.

    Raises:
        ValueError: if a concrete rate is not positive, or `jump` is not such a law of batch shape
            ().

    Example:
        >>> import numpyro.distributions as dist
        >>> from mogp import levy
        >>> round(float(levy.CompoundPoisson(3.0, dist.Exponential(1.0)).tail(1.0)), 5)
        1.10364
        >>> round(float(levy.CompoundPoisson(3.0, dist.Delta(2.0)).tail(1.0)), 5)
        3.0
    """

    rate: Real
    law: LevyMeasure
    bounds: ClassVar = {"rate": POSITIVE}

    def __init__(self, rate: Real, jump: Distribution) -> None:
        self.rate, self.law = rate, _law_of(jump)

    @property
    def jump(self) -> Distribution:
        """The law of a jump."""
        return self.law.jump  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        names = [name for name in self.jump.arg_constraints if hasattr(self.jump, name)]
        values = ", ".join(f"{name}={getattr(self.jump, name)}" for name in names)
        return f"CompoundPoisson(rate={self.rate}, jump={type(self.jump).__name__}({values}))"

    @property
    def _inner(self) -> LevyMeasure:
        return self.law

    def _rescaling(self, *values: ArrayLike) -> list[Array]:
        *arrays, rate = self.with_parameters(*values)
        return [*arrays, jnp.ones((), rate.dtype), rate]


class PointLaw(LevyMeasure):
    """One jump of a fixed size on average: the law of `Delta` as a measure, without a density."""

    jump: Delta
    index_at_zero = 0.0
    index_at_infinity = math.inf
    total_mass = 1.0

    def log_density_inside(self, v: Array) -> Array:
        return jnp.full_like(v, -jnp.inf)

    def log_tail_inside(self, v: Array) -> Array:
        return jnp.zeros_like(v)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, size = aligned(k, v, self.jump.v)
        return jnp.where(v >= jnp.log(size), k * jnp.log(size), -jnp.inf)

    @compiled
    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, size = aligned(u, self.jump.v)
        return jnp.where(u >= 0, jnp.where(u < 1, jnp.log(size), -jnp.inf), jnp.nan)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, size = aligned(t, self.jump.v)
        return jnp.where(t >= 0, -jnp.expm1(-t * size), jnp.nan)

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        return _totals.sample_compound(key, jnp.broadcast_to(weight, shape), self.jump.sample)

    @property
    def support(self) -> tuple[Real, Real]:
        return 0.0, self.jump.v


class ContinuousLaw(AbstractTabulated):
    """One jump from a continuous law on average."""

    jump: Distribution
    limits: tuple[float, float] = eqx.field(static=True)
    table: _table.Table
    index_at_zero = 0.0
    total_mass = 1.0

    def __init__(self, jump: Distribution) -> None:
        self.jump = jump
        self.limits, self.table = _support_of(jump), None  # type: ignore[assignment]
        table = self._tabulated()
        mass, tolerance = _table.total_mass(table), 1e-3 if table.edges.itemsize == 4 else 1e-6
        missed = ~(jnp.abs(mass - 1) < tolerance)
        if is_concrete(missed) and missed:
            raise ValueError(f"jump must have a density that adds up to 1, got {mass:.7g}: {jump}")
        self.table = jax.tree.map(lambda x: jnp.where(missed, jnp.nan, x), table)

    def _log_intensity(self, v: Array) -> Array:
        return jax.vmap(self.jump.log_prob)(jnp.exp(v).ravel()).reshape(v.shape) + v

    def _hints(self) -> Array:
        draws = jax.lax.stop_gradient(self.jump.sample(jax.random.key(0), (64,)))
        return _table.place(self.limits, jnp.log(draws))

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        return _totals.sample_compound(key, jnp.broadcast_to(weight, shape), self.jump.sample)


def _check_density(density: Any) -> None:
    if not callable(density):
        raise ValueError(f"density must be a function of a size, got {density!r}")
    try:
        out = eqx.filter_eval_shape(density, jnp.ones((), jnp.result_type(float)))
    except Exception as error:
        raise ValueError(f"density must be written in JAX for one size x: {error}") from error
    dtype = getattr(out, "dtype", None)
    if np.shape(out) or dtype is None or jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"density must give one real number for one size x, got {out}")


def _converted(density: Callable[[Array], Array]) -> jax.tree_util.Partial:
    """The density as a tree of the arrays and tracers that it closes over.

    So measures made under `vmap` can leave it (`jax.closure_convert` would keep tracers inside).
    """
    converted = eqx.filter_closure_convert(density, jnp.ones((), jnp.result_type(float)))
    traced, fixed = eqx.partition(converted, eqx.is_array)
    return jax.tree_util.Partial(  # type: ignore[no-untyped-call]
        lambda traced, x: eqx.combine(traced, fixed)(x), traced
    )


def _unpickled(density: Any, limits: Any, parameters: Any, table: Any) -> FromDensity:
    measure = object.__new__(FromDensity)
    function = jax.tree.unflatten(
        jax.tree.structure(_converted(density)), jax.tree.leaves(parameters)
    )
    for name, value in zip(
        ("density_given", "limits", "function", "table"),
        (density, limits, function, table),
        strict=True,
    ):
        object.__setattr__(measure, name, value)
    return measure


def _law_of(jump: Any) -> LevyMeasure:
    if not isinstance(jump, Distribution) or jump.batch_shape or jump.event_shape:
        raise ValueError(
            f"jump must be a NumPyro law of one positive number, of batch shape (), got {jump!r}"
        )
    if not isinstance(jump, Delta):
        return ContinuousLaw(jump)
    check_between("jump", jump.v, 0)
    return PointLaw(jump)


def _support_of(jump: Distribution) -> tuple[float, float]:
    constraint = jump.support
    low = getattr(constraint, "lower_bound", None)
    high = getattr(constraint, "upper_bound", math.inf)
    if constraint.is_discrete or low is None or not is_concrete(low, high) or low < 0:
        raise ValueError(
            f"jump must be Delta or a continuous law whose support is known and in (0, inf), "
            f"got {jump!r} on {constraint}"
        )
    return float(low), float(high)


def _checked_support(support: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in support)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high:
        raise ValueError(f"support must be two numbers with 0 ≤ low < high, got {support!r}")
    return low, high
