"""Node-variance laws made from Lévy measures."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp import levy
from mogp._arrays import Real, aligned, as_float
from mogp.priors._law import NodeVarianceLaw


class MeasureLaw(NodeVarianceLaw):
    """The law of one jump: a measure of finite mass, divided by its mass.

    Args:
        measure: finite, of batch shape ().
        validate_args: unused; the measure has checked its parameters.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    pytree_data_fields = ("measure",)

    def __init__(self, measure: levy.LevyMeasure, *, validate_args: bool | None = None) -> None:
        self.measure = measure
        super().__init__(validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        low, high = self.measure.support
        return constraints.interval(low, high) if high < jnp.inf else constraints.greater_than(low)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, mass = aligned(as_float(u), self.measure.total_mass)
        return self.measure.log_density_of_log(u) - jnp.log(mass)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        q = jax.random.uniform(key, sample_shape)
        return self.measure.log_inverse_tail((1 - q) * self.measure.total_mass)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        return 1 - self.measure.tail(value) / self.measure.total_mass

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile."""
        return self.measure.inverse_tail((1 - as_float(q)) * self.measure.total_mass)

    @property
    def mean(self) -> Array:
        """Infinite where the tail is that heavy."""
        return self.measure.moment(1) / self.measure.total_mass

    @property
    def variance(self) -> Array:
        """Infinite where the tail is that heavy."""
        second = self.measure.moment(2) / self.measure.total_mass
        infinite = jnp.isinf(second)
        return jnp.where(infinite, jnp.inf, second - jnp.where(infinite, 0, self.mean) ** 2)


class InfinitelyDivisibleLaw(Distribution):
    """The law of `location` plus the sum of the jumps of a Poisson process.

    It has no density in closed form in general, so it can be sampled only.

    Args:
        location: at least 0.
        measure: intensity of the jumps, of batch shape ().
        num_jumps: jumps drawn where the law of their sum is not known exactly.
        validate_args: whether NumPyro checks the location.
    """

    support = constraints.nonnegative
    arg_constraints = {"location": constraints.nonnegative}  # noqa: RUF012
    pytree_data_fields = ("location", "measure")
    pytree_aux_fields = ("num_jumps",)

    def __init__(
        self,
        location: Real,
        measure: levy.LevyMeasure,
        *,
        num_jumps: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        self.location, self.measure, self.num_jumps = location, measure, num_jumps
        super().__init__(validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, exact where `levy` knows the total; see `LevyMeasure.sample_total`."""
        total = self.measure.sample_total(key=key, shape=sample_shape, num_jumps=self.num_jumps)
        return total + self.location

    def log_prob(self, value: ArrayLike) -> Array:
        """Not available."""
        raise NotImplementedError(
            "an infinitely divisible law has no density in closed form; priors.from_levy(measure) "
            "has the same limit and a density"
        )

    @property
    def mean(self) -> Array:
        """`location` plus the first moment of the measure."""
        return self.measure.moment(1) + self.location

    @property
    def variance(self) -> Array:
        """The second moment of the measure."""
        return self.measure.moment(2)


def tilt_for(measure: levy.LevyMeasure, width: int) -> Array:
    """`t` with `ψ(t) = width`, for a measure of infinite mass; differentiable in its parameters."""

    def psi(log_t: Array) -> Array:
        return measure.laplace_exponent(jnp.exp(log_t))

    dtype = jnp.result_type(float)
    reach = 0.95 * float(np.log(np.finfo(dtype).max))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        above = jax.lax.stop_gradient(psi(middle)) > width
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    ends = jnp.asarray(-reach, dtype), jnp.asarray(reach, dtype)
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    middle = jax.lax.stop_gradient((low + high) / 2)
    value, slope = jax.jvp(psi, (middle,), (jnp.ones_like(middle),))
    # A Newton step, for the derivatives; it is long where there is no solution among floats.
    return jnp.exp(middle - jnp.clip((value - width) / slope, -1e-3, 1e-3))
