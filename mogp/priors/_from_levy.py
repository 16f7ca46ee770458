"""Priors made from Lévy measures, and their distributions of the node variance."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp import levy
from mogp._arrays import Real, as_float
from mogp._checks import check_between, is_concrete
from mogp.priors._law import NodeVarianceLaw
from mogp.priors._laws import GammaLaw
from mogp.priors._point import SpikeAndSlabLaw
from mogp.priors._prior import Limit, Prior, share_of
from mogp.priors._show import show


class MeasureLaw(NodeVarianceLaw):
    """The distribution of one jump: a Lévy measure of finite mass, divided by its mass.

    Args:
        measure: of finite mass.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import levy, priors
        >>> law = priors.MeasureLaw(levy.CompoundPoisson(3.0, dist.Exponential(1.0)))
        >>> print(round(float(law.cdf(0.5)), 4))  # 1 - e^-0.5
        0.3935
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
        return self.measure.log_density_of_log(as_float(u)) - jnp.log(self.measure.total_mass)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        q = jax.random.uniform(key, sample_shape)
        return self.measure.log_inverse_tail((1 - q) * self.measure.total_mass)

    def cdf(self, value: ArrayLike) -> Array:
        """The probability `P(λ ≤ value)`, elementwise."""
        value = as_float(value)
        below = 1 - self.measure.tail(value) / self.measure.total_mass
        return jnp.where(value > self.measure.support[0], below, 0)

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, elementwise for `q` in [0, 1]."""
        return self.measure.inverse_tail((1 - as_float(q)) * self.measure.total_mass)

    @property
    def mean(self) -> Array:
        """The mean; infinite where the tail is that heavy."""
        return self.measure.moment(1) / self.measure.total_mass

    @property
    def variance(self) -> Array:
        """The variance; infinite where the tail is that heavy."""
        second = self.measure.moment(2) / self.measure.total_mass
        infinite = jnp.isinf(second)
        return jnp.where(infinite, jnp.inf, second - jnp.where(infinite, 0, self.mean) ** 2)


class InfinitelyDivisibleLaw(Distribution):
    """The distribution of `location` plus the sum of the jumps of a Poisson process.

    It has no density in closed form in general, so that it can only be drawn.

    Args:
        location: at least 0.
        measure: intensity of the jumps.
        num_jumps: number of jumps drawn where the distribution of their sum is not known exactly.

    Example:
        >>> from mogp import levy, priors
        >>> round(priors.InfinitelyDivisibleLaw(0.5, levy.Gamma(2.0)).mean.item(), 3)
        2.5
    """

    support = constraints.nonnegative
    arg_constraints = {"location": constraints.nonnegative}  # noqa: RUF012
    pytree_data_fields = ("location", "measure")
    pytree_aux_fields = ("num_jumps",)
    has_density = False

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

    def scaled(self, factor: Real) -> "InfinitelyDivisibleLaw":
        """The distribution of `factor · λ`, of the same kind."""
        location, measure = self.location * factor, self.measure.scaled(factor)
        return InfinitelyDivisibleLaw(location, measure, num_jumps=self.num_jumps)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, exact where `LevyMeasure.sample_total` is."""
        total = self.measure.sample_total(key=key, shape=sample_shape, num_jumps=self.num_jumps)
        return total + self.location

    def log_prob(self, value: ArrayLike) -> Array:
        """Not available: always an error."""
        raise NotImplementedError(
            "an infinitely divisible law has no density in closed form; priors.from_levy(measure) "
            "has the same limit and a density"
        )

    @property
    def mean(self) -> Array:
        """The mean: `location` plus the first moment of the measure."""
        return self.measure.moment(1) + self.location

    @property
    def variance(self) -> Array:
        """The variance: the second moment of the measure."""
        return self.measure.moment(2)

    def __repr__(self) -> str:
        return show(self)


class InfinitelyDivisible(Prior):
    """The exact distribution `ID(a/p, ρ/p)`, of which `p` copies add up to the limit.

    They do so at every width. Node variances can be drawn, exactly where `levy` knows the total of
    the measure; only `Gamma` jumps without location give them a density.

    Args:
        location: `a`, a number of at least 0.
        levy: the Lévy measure `ρ`.

    Raises:
        ValueError: if `location` is negative, or `levy` is not a measure.

    Example:
        >>> from mogp import levy, priors
        >>> prior = priors.InfinitelyDivisible(0.5, levy.Gamma(2.0))
        >>> print(round(float(prior.at_width(10).mean), 4))  # (0.5 + 2) / 10
        0.25
    """

    location: Real
    levy: levy.LevyMeasure

    def __check_init__(self) -> None:
        if is_concrete(self.location) and np.any(np.asarray(self.location) != 0):
            check_between("location", self.location, 0)
        _check_measure(self.levy)

    def law(self, width: int) -> Distribution:
        if isinstance(self.levy, levy.Gamma) and is_concrete(self.location) and not self.location:
            return GammaLaw(self.levy.mass / width, self.levy.rate)
        return InfinitelyDivisibleLaw(self.location / width, self.levy * (1.0 / width))

    @property
    def limit(self) -> Limit:
        if shape := np.shape(self.location):
            raise ValueError(f"location must be one number, got shape {shape}: use jax.vmap")
        return Limit(self.location, self.levy)


class FromLevy(Prior):
    """The prior with a given limit, also called `from_levy`: for any Lévy measure.

    The node variances are independent. Infinitely many jumps are thinned: `λ` then has the density
    `ρ(x) (1 - e^(-t x)) / p`, with `t` such that it integrates to 1. Finitely many jumps are a
    spike and slab, with `ρ` divided by its mass as the slab. Where the `p`-th jump is too small for
    a float, as for a gamma measure at large `p`, it is both: the nodes below are off.

    Args:
        levy: the Lévy measure `ρ`.

    Raises:
        ValueError: if `levy` is not a measure, or has no jumps.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import levy, priors
        >>> law = priors.FromLevy(levy.CompoundPoisson(3.0, dist.Exponential(1.0))).at_width(100)
        >>> print(round(float(law.cdf(0.0)), 4))  # nodes that are off
        0.97
    """

    levy: levy.LevyMeasure

    def __check_init__(self) -> None:
        _check_measure(self.levy)
        if isinstance(self.levy, levy.NoJumps):
            raise ValueError(f"levy must have jumps, got {self.levy}")

    def law(self, width: int) -> Distribution:
        if is_concrete(self.levy):  # once, and not in every step of a compiled loop
            with jax.ensure_compile_time_eval():
                return self._thinned(width)
        return self._thinned(width)

    def _thinned(self, width: int) -> Distribution:
        mass = self.levy.total_mass
        if is_concrete(mass) and float(mass) < math.inf:
            return SpikeAndSlabLaw(share_of(mass, width), MeasureLaw(self.levy))
        thinned = levy.Thinned(self.levy, _tilt_for(self.levy, width))
        mass = thinned.total_mass
        if is_concrete(mass) and float(mass) < (1 - 1e-3) * width:
            return SpikeAndSlabLaw(mass / width, MeasureLaw(thinned))
        return MeasureLaw(thinned)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, self.levy)


from_levy = FromLevy


def _check_measure(value: object) -> None:
    if not isinstance(value, levy.LevyMeasure):
        raise ValueError(f"levy must be a measure of mogp.levy, got {value!r}")


def _tilt_for(measure: levy.LevyMeasure, width: int) -> Array:
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
