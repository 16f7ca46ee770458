"""The Lévy measures of the priors."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaincc, gammaln
from jax.typing import ArrayLike

from mogp._arrays import Real, as_float
from mogp._checks import check_between
from mogp.levy._measure import LevyMeasure, inside_positive
from mogp.levy._power_integral import log_power_integral


class NoJumps(LevyMeasure):
    """The zero measure: a limit without jumps, the Gaussian-process regime."""

    def log_density(self, x: ArrayLike) -> Array:
        return jnp.full_like(as_float(x), -jnp.inf)

    def tail(self, x: ArrayLike) -> Array:
        return jnp.zeros_like(as_float(x))

    @property
    def index_at_zero(self) -> Real:
        return 0.0

    @property
    def index_at_infinity(self) -> Real:
        return math.inf

    @property
    def total_mass(self) -> Real:
        return 0.0


class Stable(LevyMeasure):
    """The stable measure `ρ̄(x) = (x / scale)^(-α)` ([DW], Section 3).

    Args:
        alpha: index `α` in (0, 1).
        scale: factor of every jump, positive.

    Example:
        >>> from mogp import levy
        >>> float(levy.Stable(0.5).tail(4.0))
        0.5
    """

    alpha: Real
    scale: Real = 1.0

    def __check_init__(self) -> None:
        check_between("alpha", self.alpha, 0, 1)
        check_between("scale", self.scale, 0)

    def log_density(self, x: ArrayLike) -> Array:
        inside, x = inside_positive(as_float(x))
        log_ratio = jnp.log(x) - jnp.log(self.scale)
        log_density = jnp.log(self.alpha / self.scale) - (1 + self.alpha) * log_ratio
        return jnp.where(inside, log_density, -jnp.inf)

    def tail(self, x: ArrayLike) -> Array:
        return jnp.maximum(as_float(x), 0) ** -self.alpha * self.scale**self.alpha

    @property
    def index_at_zero(self) -> Real:
        return self.alpha

    @property
    def index_at_infinity(self) -> Real:
        return self.alpha

    @property
    def total_mass(self) -> Real:
        return math.inf


class GBFRY(LevyMeasure):
    """The GBFRY measure: jumps of a generalised gamma process times Pareto(τ) ([DW], Section 3).

    With `c = mean (τ-1)/(τ-α)` and the lower incomplete gamma function `γ`,
    `ρ(x) = (τ-α) c^τ / Γ(1-α) · x^(-1-τ) γ(τ-α, x/c)`: power laws at both ends, of index `α` at 0
    and `τ` at infinity.

    Args:
        alpha: index at zero, in (0, 1).
        tau: index at infinity, above 1.
        mean: expected sum of all jumps, positive.
    """

    alpha: Real
    tau: Real
    mean: Real = 1.0

    def __check_init__(self) -> None:
        check_between("alpha", self.alpha, 0, 1)
        check_between("tau", self.tau, 1)
        check_between("mean", self.mean, 0)

    @property
    def scale(self) -> Real:
        """`c`, where one power law gives way to the other."""
        return self.mean * (self.tau - 1) / (self.tau - self.alpha)

    def _log_power_part(self, log_z: Array) -> Array:
        """`log ((τ-α)/Γ(1-α) · z^(-α) ∫_0^1 w^(τ-α-1) exp(-z w) dw)`, which is `log x ρ(x)`."""
        # By parts, (τ-α) ∫ w^(τ-α-1) exp(-z w) dw = exp(-z) + z ∫ w^(τ-α) exp(-z w) dw: the first
        # integrand is out of reach of quadrature where τ-α is small.
        power = 1 + self.tau - self.alpha
        inner = log_z + log_power_integral(log_z, power, jnp.full_like(log_z, jnp.inf))
        integral = jnp.logaddexp(-jnp.exp(jnp.minimum(log_z, 80)), inner)
        return integral - self.alpha * log_z - gammaln(1 - self.alpha)

    def log_density(self, x: ArrayLike) -> Array:
        inside, x = inside_positive(as_float(x))
        log_x = jnp.log(x)
        log_density = self._log_power_part(log_x - jnp.log(self.scale)) - log_x
        return jnp.where(inside, log_density, -jnp.inf)

    def tail(self, x: ArrayLike) -> Array:
        x = as_float(x)
        outside = jnp.where(x > 0, 0, jnp.inf)
        inside, x = inside_positive(x)
        log_z = jnp.log(x) - jnp.log(self.scale)
        below = jnp.exp(self._log_power_part(log_z))
        shape = 1 - self.alpha
        z = jnp.minimum(x / self.scale, 800)  # beyond, exp(-z) is 0
        gamma_tail = jnp.exp(-self.alpha * log_z - z - gammaln(shape))
        above = (gamma_tail - gammaincc(shape, z)) / self.alpha
        tail = (below + (self.tau - self.alpha) * above) / self.tau
        return jnp.where(inside, tail, outside)

    @property
    def index_at_zero(self) -> Real:
        return self.alpha

    @property
    def index_at_infinity(self) -> Real:
        return self.tau

    @property
    def total_mass(self) -> Real:
        return math.inf
