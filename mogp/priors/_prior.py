"""What a prior on node variances is, at every width and at infinite width."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from mogp import levy
from mogp._arrays import Real
from mogp._checks import check_between, check_count, is_concrete
from mogp.priors._any_law import check_law
from mogp.priors._law import scaled
from mogp.priors._show import show


class Limit(NamedTuple):
    """What is left of a prior at infinite width: the limit in law of the sum `Σ_j λ_j`.

    The limit is infinitely divisible, and given by two things.

    Attributes:
        location: `a ≥ 0`, the part of the sum that infinitely many negligible nodes share.
        levy: the Lévy measure `ρ` of the nodes that stay: `ρ̄(x)` of them are expected above `x`.

    Example:
        >>> from mogp import priors
        >>> priors.Horseshoe().limit
        Limit(location=0.0, levy=Stable(alpha=0.5))
    """

    location: Real
    levy: levy.LevyMeasure


class Prior(eqx.Module):
    """A distribution of the node variances of one hidden layer.

    The `p` node variances of a layer are independent draws from `at_width(p)`, scaled so that their
    sum converges in law as `p` grows.

    Parameters are numbers, tracers, or NumPyro distributions. With a distribution in place of a
    number the prior is hierarchical: `inference.sample_parameters` draws the number in a NumPyro
    model. Arrays of numbers give `at_width` the batch shape that NumPyro's conventions say.

    A prior of your own has its parameters as fields and defines `law`, which may return any NumPyro
    distribution on [0, ∞). It is then trained, sampled and pruned like those here. `limit` is
    needed only for what is done at infinite width, and `bounds` only to check parameters, or to
    infer them.

    Attributes:
        bounds: the open range of every parameter that is a number, by the name of its field.
            `inference` gives these fields, and only these, numbers in place of distributions, by
            `dataclasses.replace`.

    Raises:
        ValueError: if a concrete parameter is outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpyro.distributions as dist
        >>> from mogp import levy, priors
        >>> class LogNormal(priors.Prior):
        ...     spread: float
        ...     bounds = {"spread": (0.0, jnp.inf)}
        ...
        ...     def law(self, width):  # of mean 1 / width
        ...         return dist.LogNormal(-jnp.log(width) - self.spread**2 / 2, self.spread)
        ...
        ...     @property
        ...     def limit(self):  # the law of large numbers: nothing but a location
        ...         return priors.Limit(1.0, levy.NoJumps())
        >>> prior = LogNormal(spread=2.0)
        >>> print(round(float(prior.at_width(50, total_mean=3.0).mean), 4))
        0.06
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {}

    def __check_init__(self) -> None:
        for name, (low, high) in self.bounds.items():
            check_parameter(name, getattr(self, name), low, high)

    @abc.abstractmethod
    def law(self, width: int) -> Distribution:
        """The distribution of one node variance: what a prior of your own must define.

        Users call `at_width`, which checks its argument and the result.

        Args:
            width: number of nodes `p`, at least 1.

        Returns:
            A NumPyro distribution of numbers in [0, ∞), of the batch shape of the parameters.
        """

    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        """The distribution of one node variance in a layer of `width` nodes.

        Args:
            width: number of nodes `p`, at least 1.
            total_mean: positive; the distribution is rescaled so that the expected sum of the
                layer's node variances is exactly this. None leaves it as the prior defines it.

        Returns:
            A NumPyro distribution of the batch shape of the parameters.

        Raises:
            ValueError: if `width` is not an integer of at least 1, `total_mean` is given and there
                is no mean, a parameter is a distribution, or `law` returns something else than a
                distribution on [0, ∞).

        Example:
            >>> from mogp import priors
            >>> print(priors.Deterministic().at_width(50).mean)
            0.02
        """
        width = check_count("width", width)
        self._check_numbers()
        law = self.law(width)
        check_law(f"what {type(self).__name__}.law returns", law)
        if total_mean is None:
            return law
        check_between("total_mean", total_mean, 0)
        try:
            mean = law.mean
        except NotImplementedError:
            raise ValueError(
                f"total_mean cannot be set for {self}: its distribution {law} does not tell its "
                "mean; define the property `mean` on it"
            ) from None
        if is_concrete(mean) and not (np.all(np.isfinite(mean)) and np.all(np.asarray(mean) > 0)):
            found = "infinite" if np.any(np.isinf(mean)) else mean
            raise ValueError(f"total_mean cannot be set for {self}: its mean is {found}")
        return scaled(law, total_mean / (width * mean))

    @property
    def limit(self) -> Limit:
        """Location and Lévy measure at infinite width.

        Raises:
            NotImplementedError: if the prior, one of your own, does not define it.
            ValueError: if a parameter is an array with axes: measures have scalar parameters.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no limit: define its property `limit`, which returns "
            "priors.Limit(location, levy), what the sum of its node variances converges to"
        )

    def __repr__(self) -> str:
        fields = [(f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self)]
        return show(self, tuple(name for name, value, default in fields if not _is(value, default)))

    def _check_numbers(self) -> None:
        laws = [name for name in self.bounds if isinstance(getattr(self, name), Distribution)]
        if laws:
            raise ValueError(
                f"{', '.join(laws)} of {type(self).__name__} is a law, not a number: draw it in a "
                "NumPyro model with inference.sample_parameters"
            )


def _is(value: object, default: object) -> bool:
    return value is default or (isinstance(value, float | int) and value == default)


def check_parameter(name: str, value: Any, low: float, high: float = np.inf) -> None:
    """Raise unless `value` is a distribution, or numbers or an array of them between two ends."""
    if isinstance(value, Distribution):
        return
    if isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a number or an array, got {value!r}: use jnp.array")
    check_between(name, value, low, high, jnp.result_type(float))


def share_of(mass: Real, width: int) -> Real:
    """The probability `mass / width` that a node is on; NaN if a traced mass is too large.

    Raises:
        ValueError: if a concrete mass is above the width.
    """
    if not is_concrete(mass):
        return jnp.where(mass <= width, mass / width, jnp.nan)
    if np.any(np.asarray(mass) > width):
        raise ValueError(f"width must be at least the expected number {mass} of nodes, got {width}")
    return mass / width


def check_scalars(prior: Prior) -> None:
    """Raise unless the parameters are single numbers, as the limit needs them."""
    for name in prior.bounds:
        if shape := np.shape(getattr(prior, name)):
            raise ValueError(
                f"{name} must be one number, got an array of shape {shape}: use jax.vmap over "
                "priors for their limits"
            )


def check_priors(priors: Sequence[Prior]) -> tuple[Prior, ...]:
    """The priors as a tuple, one for each hidden layer.

    Args:
        priors: a list or tuple of priors, of at least one.

    Returns:
        A tuple of the same priors.

    Raises:
        ValueError: if it is a single prior, empty, or holds something that is not a `Prior`.

    Example:
        >>> from mogp import priors
        >>> priors.check_priors([priors.Horseshoe()])
        (Horseshoe(),)
    """
    found = tuple(priors) if isinstance(priors, Sequence) else ()
    if not found or not all(isinstance(prior, Prior) for prior in found):
        raise ValueError(f"priors must be a list with one Prior a hidden layer, got {priors!r}")
    return found
