"""Distributions with a point mass at 0: most nodes are off."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import ndtr
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from mogp._arrays import aligned, as_float
from mogp.priors._any_law import check_law
from mogp.priors._law import numbers, scaled
from mogp.priors._show import show


class SpikeAndSlabLaw(Distribution):
    """0 with probability `1 - probability`, otherwise a draw from the slab.

    Densities are with respect to `δ_0` plus the slab's own reference measure: Lebesgue's for a
    continuous slab, for which `log_prob(0)` is the logarithm of a probability.

    Args:
        probability: of the slab, in [0, 1].
        slab: a NumPyro distribution on (0, ∞), of batch shape () or that of `probability`; `Delta`
            for Bernoulli node variances.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> law = priors.SpikeAndSlabLaw(0.25, dist.Exponential(2.0))
        >>> print(law.mean, law.cdf(0.0))
        0.125 0.75
    """

    support = constraints.nonnegative
    arg_constraints = {"probability": constraints.unit_interval}  # noqa: RUF012
    pytree_data_fields = ("probability", "slab")
    has_density = False

    def __init__(
        self, probability: ArrayLike, slab: Distribution, *, validate_args: bool | None = None
    ) -> None:
        check_law("slab", slab)
        self.probability, self.slab = numbers("probability", probability), slab
        shape = jnp.broadcast_shapes(jnp.shape(probability), slab.batch_shape)
        super().__init__(batch_shape=shape, validate_args=validate_args)

    def scaled(self, factor: ArrayLike) -> "SpikeAndSlabLaw":
        """The distribution of `factor · λ`, of the same kind."""
        return SpikeAndSlabLaw(self.probability, scaled(self.slab, factor))

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density, elementwise; minus infinity below 0."""
        value, probability = aligned(as_float(value), self.probability)
        positive = value > 0
        # Any other number that the slab may be: NumPyro would warn.
        feasible = jax.lax.stop_gradient(jnp.asarray(self.slab.support.feasible_like(value)))
        slab = self.slab.log_prob(jnp.where(positive, value, feasible.astype(value.dtype)))
        off = jnp.where(value == 0, jnp.log1p(-probability), -jnp.inf)
        slab, positive = jnp.broadcast_arrays(slab, positive)
        return jnp.where(positive, jnp.log(probability) + slab, off)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, of shape `sample_shape + batch_shape`."""
        by_spike, by_slab = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        lead = shape[: len(shape) - len(self.slab.batch_shape)]
        slab = jnp.broadcast_to(self.slab.sample(by_slab, lead), shape)
        on = jax.random.uniform(by_spike, shape) < jnp.broadcast_to(self.probability, shape)
        return jnp.where(on, slab, 0)

    def cdf(self, value: ArrayLike) -> Array:
        """The probability `P(λ ≤ value)`, where the slab tells it."""
        value, probability = aligned(as_float(value), self.probability)
        if isinstance(self.slab, dist.Delta):
            slab = jnp.where(value >= self.slab.v, 1.0, 0.0)
        else:
            slab = self.slab.cdf(jnp.maximum(value, 0))
        return jnp.where(value >= 0, 1 - probability + probability * slab, 0)

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, where the slab tells it: 0 up to `1 - probability`."""
        q, probability = aligned(as_float(q), self.probability)
        rest = (q - (1 - probability)) / probability
        on = rest > 0
        atomic = isinstance(self.slab, dist.Delta)
        slab = self.slab.v if atomic else self.slab.icdf(jnp.where(on, rest, 0.5))
        return jnp.where(on, slab, 0)

    def of_normal(self, z: ArrayLike) -> Array:
        """`λ` as a function of a standard normal variable: the quantile at `Φ(z)`.

        A gradient sampler moves `z`, which has a density, and never sees the point mass: `λ` is 0
        below a threshold. It is continuous in `z` where the slab's support begins at 0.

        Args:
            z: of any shape that broadcasts against the batch shape.

        Returns:
            Node variances of the common shape.
        """
        return self.icdf(ndtr(z))

    @property
    def mean(self) -> Array:
        """The mean, `probability` times that of the slab."""
        return jnp.broadcast_to(self.probability * self.slab.mean, self.batch_shape)

    @property
    def variance(self) -> Array:
        """The variance, from the moments of the slab; infinite where those are."""
        spread = self.probability * self.slab.variance
        between = self.probability * (1 - self.probability) * self.slab.mean**2
        infinite = jnp.isinf(spread)
        variance = jnp.where(infinite, jnp.inf, spread + jnp.where(infinite, 0, between))
        return jnp.broadcast_to(variance, self.batch_shape)

    def __repr__(self) -> str:
        return show(self)
