"""What every Lévy measure offers."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real


def inside_positive(x: Array) -> tuple[Array, Array]:
    """Whether `0 < x < ∞`; and `x` there, 1 elsewhere.

    Subnormal numbers, which XLA may or may not take for 0, are raised to the smallest normal one.
    """
    inside = (x > 0) & (x < jnp.inf)
    tiny = float(np.finfo(x.dtype).tiny)
    return inside, jnp.where(inside, jnp.maximum(x, tiny), 1)


class LevyMeasure(eqx.Module):
    """A Lévy measure `ρ` on (0, ∞): the intensity of the jumps of a node-variance law's limit.

    It satisfies `∫ min(1, x) ρ(dx) < ∞`. Parameters are fields, and may be arrays or tracers.
    """

    @abc.abstractmethod
    def log_density(self, x: ArrayLike) -> Array:
        """`log ρ(x)`, elementwise; minus infinity outside the support."""

    def density(self, x: ArrayLike) -> Array:
        """`ρ(x)`, elementwise; 0 outside the support."""
        return jnp.exp(self.log_density(x))

    @abc.abstractmethod
    def tail(self, x: ArrayLike) -> Array:
        """`ρ̄(x) = ρ((x, ∞))`, the expected number of jumps above `x ≥ 0`, elementwise."""

    @property
    @abc.abstractmethod
    def index_at_zero(self) -> Real:
        """`α` with `ρ̄(x) ~ C x^(-α)` up to slow variation as `x → 0`; 0 without small jumps."""

    @property
    @abc.abstractmethod
    def index_at_infinity(self) -> Real:
        """`τ` with `ρ̄(x) ~ C x^(-τ)` up to slow variation as `x → ∞`; infinity if lighter."""

    @property
    @abc.abstractmethod
    def total_mass(self) -> Real:
        """`ρ((0, ∞))`, the expected number of jumps; infinite where jumps accumulate at 0."""
