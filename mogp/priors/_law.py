"""What every node-variance law offers, as a NumPyro distribution."""

import abc
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from mogp._arrays import as_float, inside_positive, with_rank


class NodeVarianceLaw(Distribution):
    """A continuous law on (0, ∞), written down in `u = log λ`.

    Node variances of wide networks span hundreds of orders of magnitude, so the log-density and the
    sampler of `u` are the primitives; those of `λ` follow.
    """

    support = constraints.positive

    @abc.abstractmethod
    def log_density_of_log(self, u: ArrayLike) -> Array:
        """Log-density of `u = log λ`: `log p(e^u) + u`, the Jacobian included."""

    @abc.abstractmethod
    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `log λ`, of shape `sample_shape + batch_shape`."""

    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density of `λ`, elementwise; minus infinity outside (0, ∞)."""
        value, _ = self._aligned(value)
        inside, value = inside_positive(value)
        u = jnp.log(value)
        log_density = self.log_density_of_log(u)
        return jnp.where(inside & ~jnp.isneginf(log_density), log_density - u, -jnp.inf)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `λ`, of shape `sample_shape + batch_shape`."""
        return jnp.exp(self.sample_log(key, sample_shape))

    def scaled(self, factor: ArrayLike) -> "NodeVarianceLaw":
        """The law of `factor · λ`, `factor` positive, of the same batch shape or a scalar."""
        return ScaledLaw(self, factor)

    def _finish(self, validate_args: bool | None) -> None:
        """NumPyro's part of the constructor: the batch shape is that of the parameters."""
        shapes = (jnp.shape(getattr(self, name)) for name in self.arg_constraints)
        super().__init__(batch_shape=jnp.broadcast_shapes(*shapes), validate_args=validate_args)

    def _for_draws(self, sample_shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[Array]]:
        """The shape of draws, and the parameters for them."""
        shape = (*sample_shape, *self.batch_shape)
        return shape, self._parameters(self._dtype(), len(shape))

    def _in_batch(self, moment: Callable[..., Array]) -> Array:
        """A function of the parameters, of the batch shape."""
        parameters = self._parameters(self._dtype(), len(self.batch_shape))
        return jnp.broadcast_to(moment(*parameters), self.batch_shape)

    def _aligned(self, value: ArrayLike) -> tuple[Array, list[Array]]:
        """The value and the parameters, all of one rank."""
        value = as_float(value)
        ndim = max(value.ndim, len(self.batch_shape))
        return with_rank(value, ndim), self._parameters(value.dtype, ndim)

    def _parameters(self, dtype: jnp.dtype, ndim: int) -> list[Array]:
        """The parameters in the precision and of the rank of the value they are used with."""
        parameters = (getattr(self, name) for name in self.arg_constraints)
        return [with_rank(jnp.asarray(value, dtype), ndim) for value in parameters]

    def _dtype(self) -> jnp.dtype:
        """The precision of draws and moments: that of the parameters."""
        return jnp.result_type(float, *(getattr(self, name) for name in self.arg_constraints))


class ScaledLaw(NodeVarianceLaw):
    """The law of `factor · λ`.

    Args:
        base: law of `λ`.
        factor: positive; a scalar, or of the batch shape of the law.
        validate_args: whether NumPyro checks the factor.
    """

    arg_constraints = {"factor": constraints.positive}  # noqa: RUF012
    pytree_data_fields = ("base", "factor")

    def __init__(
        self, base: NodeVarianceLaw, factor: ArrayLike, *, validate_args: bool | None = None
    ) -> None:
        self.base, self.factor = base, factor
        Distribution.__init__(self, batch_shape=base.batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        inner = self.base.support
        low = getattr(inner, "lower_bound", 0.0) * self.factor
        high = getattr(inner, "upper_bound", None)
        if high is not None:
            return constraints.interval(low, high * self.factor)
        return (
            constraints.positive if inner is constraints.positive else constraints.greater_than(low)
        )

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (factor,) = self._aligned(u)
        return self.base.log_density_of_log(u - jnp.log(factor))

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        draws = self.base.sample_log(key, sample_shape)
        return draws + jnp.log(with_rank(jnp.asarray(self.factor, draws.dtype), draws.ndim))

    def cdf(self, value: ArrayLike) -> Array:
        """`P(λ ≤ value)`."""
        value, (factor,) = self._aligned(value)
        return self.base.cdf(value / factor)

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile."""
        quantile = self.base.icdf(q)
        return quantile * with_rank(jnp.asarray(self.factor, quantile.dtype), quantile.ndim)

    @property
    def mean(self) -> Array:
        """Exact."""
        return self.base.mean * self.factor

    @property
    def variance(self) -> Array:
        """Exact."""
        return self.base.variance * self.factor**2
