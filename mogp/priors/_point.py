"""Laws with a point mass at 0: most nodes are off."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import ndtr
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp._arrays import aligned, as_float


class SpikeAndSlabLaw(Distribution):
    """0 with probability `1 - probability`, otherwise `factor` times a draw from the slab.

    Densities are with respect to `δ_0` plus the slab's own reference measure: Lebesgue's for a
    continuous slab, for which `log_prob(0)` is the logarithm of a probability.

    Args:
        probability: of the slab, in [0, 1].
        slab: a NumPyro law on (0, ∞), of batch shape () or that of `probability`; `Delta` for a
            Bernoulli law.
        factor: positive, a scalar.
        validate_args: whether NumPyro checks the probability.
    """

    support = constraints.nonnegative
    arg_constraints = {  # noqa: RUF012
        "probability": constraints.unit_interval,
        "factor": constraints.positive,
    }
    pytree_data_fields = ("probability", "slab", "factor")

    def __init__(
        self,
        probability: ArrayLike,
        slab: Distribution,
        factor: ArrayLike = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.probability, self.slab, self.factor = probability, slab, factor
        shape = jnp.broadcast_shapes(jnp.shape(probability), slab.batch_shape)
        super().__init__(batch_shape=shape, validate_args=validate_args)

    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density, elementwise; minus infinity below 0."""
        value, probability, factor = self._aligned(value)
        positive = value > 0
        slab = self.slab.log_prob(jnp.where(positive, value / factor, 1))
        slab = slab - (0 if self._is_atomic else jnp.log(factor))
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
        return jnp.where(on, slab * self.factor, 0)

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`, where the slab has one."""
        value, probability, factor = self._aligned(value)
        slab = self._slab_cdf(jnp.maximum(value, 0) / factor)
        return jnp.where(value >= 0, 1 - probability + probability * slab, 0)

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, where the slab has one: 0 up to `1 - probability`."""
        q, probability, factor = self._aligned(q)
        rest = (q - (1 - probability)) / probability
        on = rest > 0
        rest = jnp.where(on, rest, 0.5)
        slab = self.slab.v if self._is_atomic else self.slab.icdf(rest)
        return jnp.where(on, slab * factor, 0)

    def of_normal(self, z: ArrayLike) -> Array:
        """`λ` as a function of a standard normal variable: the quantile at `Φ(z)`.

        A gradient sampler moves `z`, which has a density, and never sees the point mass: `λ` is 0
        below a threshold. It is continuous in `z` where the slab's support begins at 0.
        """
        return self.icdf(ndtr(z))

    def _aligned(self, value: ArrayLike) -> list[Array]:
        return aligned(as_float(value), self.probability, self.factor)

    @property
    def _is_atomic(self) -> bool:
        return isinstance(self.slab, dist.Delta)

    def _slab_cdf(self, value: Array) -> Array:
        if self._is_atomic:
            return jnp.where(value >= self.slab.v, 1.0, 0.0)
        return self.slab.cdf(value)

    @property
    def mean(self) -> Array:
        """`probability · factor · E slab`."""
        return jnp.broadcast_to(self.probability * self.factor * self.slab.mean, self.batch_shape)

    @property
    def variance(self) -> Array:
        """From the moments of the slab; infinite where those are."""
        mean = self.slab.mean * self.factor
        spread = self.probability * self.slab.variance * self.factor**2
        between = self.probability * (1 - self.probability) * mean**2
        infinite = jnp.isinf(spread)
        return jnp.broadcast_to(
            jnp.where(infinite, jnp.inf, spread + jnp.where(infinite, 0, between)), self.batch_shape
        )
