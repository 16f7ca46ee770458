"""Priors made from Lévy measures, and their distributions of the node variance."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp import levy
from mogp._arrays import Real, as_float
from mogp._checks import check_between, check_count, is_concrete
from mogp.levy.incomplete import log_killed
from mogp.priors import _thinned
from mogp.priors._law import NodeVarianceLaw, numbers
from mogp.priors._laws import GammaLaw
from mogp.priors._point import SpikeAndSlabLaw
from mogp.priors._prior import Limit, Prior, share_of
from mogp.priors._show import show


class MeasureLaw(NodeVarianceLaw):
    """The distribution of one jump: a Lévy measure of finite mass, divided by its mass.

    With a rate `t` the measure is thinned first, to `ρ(x) (1 - e^(-t x))`, whose mass is finite.

    Args:
        measure: the measure `ρ`.
        log_rate: `log t`; by default nothing is thinned, and `measure` must be of finite mass.
        mass: of the measure after thinning, where it is known.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import levy, priors
        >>> law = priors.MeasureLaw(levy.CompoundPoisson(3.0, dist.Exponential(1.0)))
        >>> print(round(float(law.cdf(0.5)), 4))  # 1 - e^-0.5
        0.3935
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    pytree_data_fields = ("measure", "log_rate", "mass")

    def __init__(
        self,
        measure: levy.LevyMeasure,
        log_rate: Array | None = None,
        mass: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        _check_measure("measure", measure)
        self.measure, self.log_rate = measure, log_rate
        self.mass = _thinned.moment(measure, log_rate, 0) if mass is None else mass
        super().__init__(validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        low, high = self.measure.support
        if is_concrete(high) and high == math.inf:
            return constraints.greater_than(low)
        return constraints.interval(low, high)

    @property
    def has_density(self) -> bool:
        return not _thinned.atoms(self.measure)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        if not self.has_density:
            raise NotImplementedError(f"{self} has jumps of a fixed size, and so no density")
        u = as_float(u)
        density = self.measure.log_density_of_log(u) - jnp.log(self.mass)
        return density if self.log_rate is None else density + log_killed(u + self.log_rate)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        above, below = jax.random.exponential(key, (2, *sample_shape))
        return self._at_odds(above / below)

    def cdf(self, value: ArrayLike) -> Array:
        """The probability `P(λ ≤ value)`, elementwise."""
        value = as_float(value)
        low, high = self.measure.support
        inside = (value > low) & (value < high)
        within = jnp.exp(self.measure.line(jnp.zeros((), value.dtype)))
        v = jnp.log(jnp.where(inside, value, within))
        below, above, _ = _thinned.log_masses(self.measure, self.log_rate, v)
        mass = jnp.exp(jnp.where(below < above, below, above)) / self.mass
        return jnp.where(
            inside, jnp.where(below < above, mass, 1 - mass), jnp.where(value >= high, 1, 0)
        )

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, elementwise for `q` in [0, 1]."""
        q = as_float(q)
        return jnp.exp(self._at_odds((1 - q) / q))

    def _at_odds(self, odds: Array) -> Array:
        return _thinned.Odds(self.measure, self.log_rate).log_inverse_tail(odds)

    @property
    def mean(self) -> Array:
        """The mean; infinite where the tail is that heavy."""
        return _thinned.moment(self.measure, self.log_rate, 1) / self.mass

    @property
    def variance(self) -> Array:
        """The variance; infinite where the tail is that heavy."""
        second = _thinned.moment(self.measure, self.log_rate, 2) / self.mass
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
        _check_measure("measure", measure)
        self.location, self.measure = numbers("location", location), measure
        self.num_jumps = check_count("num_jumps", num_jumps)
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
        if shape := np.shape(self.location):
            raise ValueError(f"location must be one number, got shape {shape}: use jax.vmap")
        if is_concrete(self.location) and (self.location != 0 or np.iscomplexobj(self.location)):
            check_between("location", self.location, 0, dtype=jnp.result_type(float))
        _check_measure("levy", self.levy)

    def law(self, width: int) -> Distribution:
        if isinstance(self.levy, levy.Gamma) and is_concrete(self.location) and not self.location:
            return GammaLaw(self.levy.mass / width, self.levy.rate)
        return InfinitelyDivisibleLaw(self.location / width, self.levy * (1.0 / width))

    @property
    def limit(self) -> Limit:
        return Limit(self.location, self.levy)


class FromLevy(Prior):
    """The prior with a given limit, also called `from_levy`: for any Lévy measure.

    The node variances are independent. Infinitely many jumps are thinned: `λ` then has the density
    `ρ(x) (1 - e^(-t x)) / p`, with `t` such that it integrates to 1. Finitely many jumps are a
    spike and slab, with `ρ` divided by its mass as the slab.

    Which of the two it is does not depend on whether parameters are traced. Only of a traced
    `FromDensity` it is not known beforehand: its distribution is the same, but `has_density` is
    False, as if it had a point mass, and derivatives in its parameters may be NaN.

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
        _check_measure("levy", self.levy)
        if isinstance(self.levy, levy.NoJumps):
            raise ValueError(f"levy must have jumps, got {self.levy}")

    def law(self, width: int) -> Distribution:
        if is_concrete(self.levy):  # once, and not in every step of a compiled loop
            with jax.ensure_compile_time_eval():
                return self._law(width)
        return self._law(width)

    def _law(self, width: int) -> Distribution:
        finite = _is_finite(self.levy)
        if finite:
            of_points = isinstance(self.levy, levy.CompoundPoisson) and _thinned.atoms(self.levy)
            slab = dist.Delta(of_points[0][0]) if of_points else MeasureLaw(self.levy)
            return SpikeAndSlabLaw(share_of(self.levy.total_mass, width), slab)
        size = jnp.asarray(width, jnp.result_type(float, *jax.tree.leaves(self.levy)))
        log_rate = _thinned.log_rate_for(self.levy, size)
        if finite is False:
            return MeasureLaw(self.levy, log_rate, size)
        slab = MeasureLaw(self.levy, log_rate)
        return SpikeAndSlabLaw(jnp.minimum(slab.mass / width, 1), slab)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, self.levy)


from_levy = FromLevy


def _is_finite(measure: levy.LevyMeasure) -> bool | None:
    """Whether the jumps are finitely many; None if that is not known of a traced measure."""
    if isinstance(measure, levy.Sum):
        parts = [_is_finite(part) for part in measure.parts]
        return False if False in parts else None if None in parts else True
    if isinstance(measure, levy.Rescaled):
        return _is_finite(measure.measure)
    if isinstance(measure, levy.CompoundPoisson):
        return True
    mass = measure.total_mass
    return bool(np.isfinite(mass)) if is_concrete(mass) else None


def _check_measure(name: str, value: object) -> None:
    if not isinstance(value, levy.LevyMeasure):
        raise ValueError(f"{name} must be a measure of mogp.levy, got {value!r}")
