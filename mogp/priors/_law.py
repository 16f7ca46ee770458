"""Distributions of the node variance, written down in its logarithm."""

import abc
import contextlib
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import find_stack_level

from mogp._arrays import as_float, inside_positive, with_rank
from mogp._checks import is_concrete
from mogp.priors._any_law import check_law, has_density, log_density_of_log, sample_log
from mogp.priors._show import show


class NodeVarianceLaw(Distribution):
    """A NumPyro distribution on (0, ∞) that is exact in `u = log λ`.

    Node variances of wide networks span hundreds of orders of magnitude, so that the log-density
    and the draws of `u` come first; those of `λ` follow. A distribution of your own that derives
    from this class defines these two methods, and is then as exact as those here.

    Example:
        >>> from mogp import priors
        >>> law = priors.Gamma(1.0).at_width(1000)
        >>> isinstance(law, priors.NodeVarianceLaw)
        True
        >>> print(round(float(law.log_density_of_log(-2000.0)), 2))  # e^-2000 is 0 as a float
        -8.91
    """

    support = constraints.positive

    @property
    def has_density(self) -> bool:
        """Whether `log λ` has a density; see `priors.has_density`."""
        return True

    @abc.abstractmethod
    def log_density_of_log(self, u: ArrayLike) -> Array:
        """Log-density of `u = log λ`, which is `log p(e^u) + u`, the Jacobian included.

        Args:
            u: logarithms, of any shape that broadcasts against the batch shape.

        Returns:
            An array of the common shape; minus infinity outside the support.
        """

    @abc.abstractmethod
    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `log λ`, of shape `sample_shape + batch_shape`."""

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density of `λ`, elementwise; minus infinity outside the support.

        With `validate_args=True` NumPyro warns of values outside the support.
        """
        value = as_float(value)
        value = with_rank(value, max(value.ndim, len(self.batch_shape)))
        low, high = self._ends(value)
        inside, x = inside_positive(value)
        inside &= (value >= low) & (value < high)
        u = jnp.log(x)
        log_density = self.log_density_of_log(u)
        return jnp.where(inside & ~jnp.isneginf(log_density), log_density - u, -jnp.inf)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of `λ`, of shape `sample_shape + batch_shape`."""
        draws = jnp.exp(self.sample_log(key, sample_shape))
        # What rounds to an end of the support, where the density may be 0, becomes its neighbour.
        eps = float(np.finfo(draws.dtype).eps)
        low, high = self._ends(draws)
        draws = jnp.where(draws < low * (1 + eps), low * (1 + eps), draws)
        return jnp.where(draws > high * (1 - eps), high * (1 - eps), draws)

    def _validate_sample(self, value: ArrayLike) -> Array | np.ndarray:
        # NumPyro's own adds ranks, and does not know the numbers of a law in a compiled function.
        known = is_concrete(self, value)
        with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
            value = as_float(value)
            value = with_rank(value, max(value.ndim, len(self.batch_shape)))
            ends = self._ends(value)
        x, low, high = map(np.asarray, (value, *ends)) if known else (value, *ends)
        inside = (x > low) & (x <= high)
        if known and not np.all(inside):
            warnings.warn(
                "Out-of-support values provided to log prob method. "
                "The value argument should be within the support.",
                stacklevel=find_stack_level(),
            )
        return inside

    def _ends(self, like: Array) -> tuple[Array, Array]:
        """The ends of the support."""
        ends = (getattr(self.support, end, math.inf) for end in ("lower_bound", "upper_bound"))
        low, high = (with_rank(jnp.asarray(end, like.dtype), like.ndim) for end in ends)
        return low, high

    def __repr__(self) -> str:
        return show(self)

    # The parameters are those named in `arg_constraints`.

    def _aligned(self, value: ArrayLike) -> tuple[Array, list[Array]]:
        """The value and the parameters, all of one rank, in the precision of the value."""
        value = as_float(value)
        ndim = max(value.ndim, len(self.batch_shape))
        return with_rank(value, ndim), self._parameters(value.dtype, ndim)

    def _parameters(self, dtype: jnp.dtype, ndim: int) -> list[Array]:
        parameters = (getattr(self, name) for name in self.arg_constraints)
        return [with_rank(jnp.asarray(value, dtype), ndim) for value in parameters]


class FamilyLaw(NodeVarianceLaw):
    """A distribution of a parametric family: its parameters, and four functions of arrays.

    The annotations of a subclass are its parameters, in the order of the constructor, which is
    made from them. They are positive, unless its `arg_constraints` say otherwise. The functions
    take the parameters last, of the rank of the first argument or as scalars.
    """

    _log_density: ClassVar[Callable[..., Array]]  # of u
    _draw_log: ClassVar[Callable[..., Array]]  # of a key and a shape, that of the result
    _below: ClassVar[Callable[..., Array]]  # P(λ ≤ x), of a positive and finite x
    _moments: ClassVar[Callable[..., tuple[Array, Array]]]  # mean and variance

    def __init_subclass__(cls, **kwargs: Any) -> None:
        names = tuple(inspect.get_annotations(cls))
        own = cls.__dict__.get("arg_constraints", {})
        cls.arg_constraints = dict.fromkeys(names, constraints.positive) | own

        a_parameter, both = inspect.Parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD
        defaults = [cls.__dict__.get(name, a_parameter.empty) for name in names]
        signature = inspect.Signature(
            [
                a_parameter("self", both),
                *(a_parameter(n, both, default=d) for n, d in zip(names, defaults, strict=True)),
                a_parameter("validate_args", a_parameter.KEYWORD_ONLY, default=None),
            ]
        )

        def construct(self: FamilyLaw, *args: ArrayLike, **kwargs: ArrayLike) -> None:
            values = signature.bind(self, *args, **kwargs)
            values.apply_defaults()
            parameters = [numbers(name, values.arguments[name]) for name in names]
            for name, value in zip(names, parameters, strict=True):
                setattr(self, name, value)
            shape = jnp.broadcast_shapes(*map(jnp.shape, parameters))
            Distribution.__init__(
                self, batch_shape=shape, validate_args=values.arguments["validate_args"]
            )

        construct.__name__, construct.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
        construct.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = construct  # type: ignore[method-assign, assignment]
        super().__init_subclass__(**kwargs)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, parameters = self._aligned(u)
        return self._log_density(u, *parameters)

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        shape = (*sample_shape, *self.batch_shape)
        return self._draw_log(key, shape, *self._parameters(self._dtype(), len(shape)))

    def cdf(self, value: ArrayLike) -> Array:
        """The probability `P(λ ≤ value)`, elementwise."""
        value, parameters = self._aligned(value)
        inside, x = inside_positive(value)
        outside = jnp.where(value > 0, 1, jnp.where(jnp.isnan(value), value, 0))
        return jnp.where(inside, self._below(x, *parameters), outside)

    @property
    def mean(self) -> Array:
        """The mean, of the batch shape; infinite where the tail is that heavy."""
        return self._in_batch(0)

    @property
    def variance(self) -> Array:
        """The variance, of the batch shape; infinite where the tail is that heavy."""
        return self._in_batch(1)

    def _in_batch(self, place: int) -> Array:
        parameters = self._parameters(self._dtype(), len(self.batch_shape))
        return jnp.broadcast_to(self._moments(*parameters)[place], self.batch_shape)

    def _dtype(self) -> jnp.dtype:
        """The precision of draws and moments: that of the parameters."""
        return jnp.result_type(float, *(getattr(self, name) for name in self.arg_constraints))


class ScaledLaw(NodeVarianceLaw):
    """The distribution of `factor · λ`.

    Args:
        base: any NumPyro distribution of `λ` on [0, ∞).
        factor: positive; a scalar, or of the batch shape of the base.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> print(priors.ScaledLaw(dist.Exponential(1.0), 3.0).mean)
        3.0
    """

    arg_constraints = {"factor": constraints.positive}  # noqa: RUF012
    pytree_data_fields = ("base", "factor")

    def __init__(
        self, base: Distribution, factor: ArrayLike, *, validate_args: bool | None = None
    ) -> None:
        check_law("base", base)
        self.base, self.factor = base, numbers("factor", factor)
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

    @property
    def has_density(self) -> bool:
        return has_density(self.base)

    def log_density_of_log(self, u: ArrayLike) -> Array:
        u, (factor,) = self._aligned(u)
        return log_density_of_log(self.base, u - jnp.log(factor))

    def sample_log(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        draws = sample_log(self.base, key, sample_shape)
        return draws + jnp.log(with_rank(jnp.asarray(self.factor, draws.dtype), draws.ndim))

    def cdf(self, value: ArrayLike) -> Array:
        """The probability `P(λ ≤ value)`, where the base tells it."""
        value, (factor,) = self._aligned(value)
        return self.base.cdf(jnp.maximum(value / factor, 0))

    def icdf(self, q: ArrayLike) -> Array:
        """The `q`-quantile, where the base tells it."""
        quantile = self.base.icdf(q)
        return quantile * with_rank(jnp.asarray(self.factor, quantile.dtype), quantile.ndim)

    @property
    def mean(self) -> Array:
        """The mean of the base times the factor."""
        return self.base.mean * self.factor

    @property
    def variance(self) -> Array:
        """The variance of the base times the square of the factor."""
        return self.base.variance * self.factor**2


def scaled(law: Distribution, factor: ArrayLike) -> Distribution:
    """The distribution of `factor · λ`.

    A distribution with a method `scaled` is asked for it: one of your own with a point mass should
    have it, as a `ScaledLaw` of it can be drawn, but has no `log_prob`.

    Args:
        law: a NumPyro distribution on [0, ∞).
        factor: positive; a scalar, or of the batch shape of the distribution.

    Returns:
        A distribution of the same batch shape: a `ScaledLaw` of one with a density.

    Example:
        >>> from mogp import priors
        >>> print(priors.scaled(priors.GammaLaw(2.0, 4.0), 3.0).mean)
        1.5
    """
    own = getattr(law, "scaled", None)
    if own is not None:
        return own(factor)
    if isinstance(law, dist.Delta):
        return dist.Delta(law.v * factor)
    return ScaledLaw(law, factor)


def numbers(name: str, value: Any) -> Any:
    """The value, or the array in place of a list; `ValueError` for what is no real number."""
    array = value if hasattr(value, "dtype") else np.asarray(value)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.issubdtype(
        array.dtype, np.complexfloating
    ):
        raise ValueError(f"{name} must be a real number or an array of them, got {value!r}")
    return array if isinstance(value, list | tuple) else value
