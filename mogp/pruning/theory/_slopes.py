"""Power laws: how fast the error of pruning falls, and the sizes of the largest jumps."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mogp._arrays import Real
from mogp._checks import check_between
from mogp.levy import LevyMeasure
from mogp.priors import Limit, Prior

_FAR = 1e6  # a number of jumps at which the inverse tail of all our measures is a power law


class Slopes(NamedTuple):
    """Slopes of the lost mass, and so of the error of pruning, between logarithms.

    Attributes:
        threshold: the slope against a small threshold, `1 - α`; 0 with a diffuse part, which always
            goes.
        nodes: the slope against a large number of nodes kept, `1 - 1/α`; 0 with a diffuse part, and
            minus infinity where the loss falls faster than any power.
    """

    threshold: Real
    nodes: Real


def slopes(prior_or_limit: Prior | Limit) -> Slopes:
    """How fast the error of pruning falls, from the index `α` of the Lévy measure at zero.

    With `ρ̄(x) ~ C x^(-α)` at 0 and no diffuse part, ε-pruning loses `Cα/(1-α) ε^(1-α)`, and keeping
    the `N` largest nodes loses `α/(1-α) C^(1/α) N^(1-1/α)`. Errors at any depth are sums of such
    terms, of all layers, to first order: the slowest layer decides.

    Args:
        prior_or_limit: a prior, or the location and Lévy measure of its limit.

    Returns:
        Both slopes. With finitely many jumps the slope against the threshold depends on the
        distribution of their sizes; it is NaN.

    Raises:
        ValueError: if it is neither.

    Example:
        >>> from mogp import priors, pruning
        >>> pruning.slopes(priors.Horseshoe())
        Slopes(threshold=0.5, nodes=-1.0)
    """
    if not isinstance(prior_or_limit, Prior | Limit):
        raise ValueError(
            f"prior_or_limit must be a mogp.priors.Prior or Limit, got {prior_or_limit!r}"
        )
    location, levy = prior_or_limit.limit if isinstance(prior_or_limit, Prior) else prior_or_limit
    if float(location) > 0:
        return Slopes(0.0, 0.0)
    if float(levy.total_mass) < math.inf:
        return Slopes(math.nan, -math.inf)
    alpha = float(levy.index_at_zero)
    return Slopes(1 - alpha, 1 - 1 / alpha if alpha > 0 else -math.inf)


def power_law(measure: LevyMeasure, place: ArrayLike) -> Float[Array, "..."]:
    """The size that the `r`-th largest jump tends to for large `r`: `(C/r)^(1/α)`.

    Args:
        measure: a Lévy measure with `ρ̄(x) ~ C x^(-α)` at 0.
        place: `r`, positive, of any shape.

    Returns:
        Array of the shape of `place`; NaN for a measure without such a law, which has `α = 0` or
        finitely many jumps.

    Raises:
        ValueError: if `measure` is none, or a place is not positive.

    Example:
        >>> from mogp import levy, pruning
        >>> pruning.power_law(levy.Stable(0.5), [1.0, 2.0]).round(4).tolist()
        [1.0, 0.25]
    """
    if not isinstance(measure, LevyMeasure):
        raise ValueError(f"measure must be a measure of mogp.levy, got {measure!r}")
    check_between("place", place, 0)
    place, alpha = jnp.asarray(place, float), float(measure.index_at_zero)
    if alpha == 0 or float(measure.total_mass) < math.inf:
        return jnp.full(place.shape, jnp.nan)
    return jnp.exp(measure.log_inverse_tail(_FAR) + jnp.log(_FAR / place) / alpha)
