"""Compound Poisson measures: finitely many jumps, independent draws from one law."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Delta, Distribution

from mogp._arrays import Real, aligned
from mogp._checks import check_between, is_concrete
from mogp.levy import _table, _totals
from mogp.levy._abstract import POSITIVE, check_scalar
from mogp.levy._measure import AbstractRescaled, LevyMeasure
from mogp.levy._tabulated import AbstractTabulated


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
        >>> float(levy.CompoundPoisson(3.0, dist.Delta(2.0)).tail(1.0))
        3.0
    """

    rate: Real
    law: LevyMeasure
    bounds: ClassVar = {"rate": POSITIVE}

    def __init__(self, rate: Real, jump: Distribution) -> None:
        check_scalar("rate", rate)
        check_between("rate", rate, 0)
        self.rate = rate
        self.law = _law_of(jump)

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

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, size = aligned(u, self.jump.v)
        return jnp.where(u >= 0, jnp.where(u < 1, jnp.log(size), -jnp.inf), jnp.nan)

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
        self.table = self._tabulated()

    def _log_intensity(self, v: Array) -> Array:
        return self.jump.log_prob(jnp.exp(v)) + v

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array:
        return _totals.sample_compound(key, jnp.broadcast_to(weight, shape), self.jump.sample)


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
