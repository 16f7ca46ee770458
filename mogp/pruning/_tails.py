"""Power laws of node variances: slopes of what pruning loses, and diagnostics of networks."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real
from mogp._checks import check_count
from mogp.levy import LevyMeasure
from mogp.limit import Estimate
from mogp.nn import DependentMLP
from mogp.priors import Limit, Prior
from mogp.pruning._rank import check_network


class Slopes(NamedTuple):
    """Slopes of the lost mass, hence of the error, between logarithms.

    Attributes:
        threshold: against a small threshold, `1 - α`; 0 with a diffuse part, which always goes.
        nodes: against a large number of nodes kept, `1 - 1/α`; 0 with a diffuse part, minus
            infinity where the loss falls faster than any power.
    """

    threshold: Real
    nodes: Real


def slopes(prior_or_limit: Prior | Limit) -> Slopes:
    """How fast the error of pruning falls, from the index `α` of the Lévy measure at zero.

    With `ρ̄(x) ~ C x^(-α)` at 0 and no diffuse part, ε-pruning loses `Cα/(1-α) ε^(1-α)`, and keeping
    the `N` largest nodes loses `α/(1-α) C^(1/α) N^(1-1/α)`. Errors at any depth are sums of such
    terms, of all layers, to first order: the slowest layer decides.

    With finitely many jumps the threshold's slope depends on the law of their sizes; it is NaN.

    Example:
        >>> from mogp import priors, pruning
        >>> pruning.slopes(priors.Horseshoe())
        Slopes(threshold=0.5, nodes=-1.0)
    """
    location, levy = prior_or_limit.limit if isinstance(prior_or_limit, Prior) else prior_or_limit
    if float(location) > 0:
        return Slopes(0.0, 0.0)
    if float(levy.total_mass) < math.inf:
        return Slopes(math.nan, -math.inf)
    alpha = float(levy.index_at_zero)
    return Slopes(1 - alpha, 1 - 1 / alpha if alpha > 0 else -math.inf)


def hill(values: ArrayLike, num: int | None = None) -> Estimate:
    """Hill's estimator on the largest values: one over the mean of `log x_(i) - log x_(num+1)`.

    Args:
        values: positive (0 only among those that are not used), of shape (…, n).
        num: how many of the largest; a twentieth of all without, at least 2.

    Returns:
        `τ` with `P(X > x) ~ x^(-τ)`, of the shape of the values without the last axis, and its
        standard error `τ/√num`, which holds for independent values with an exact power law.

    Raises:
        ValueError: if `num` is not in 1 … n - 1, or one of the `num + 1` largest is not positive
            and finite.

    Example:
        >>> import jax
        >>> from mogp import priors, pruning
        >>> values = priors.Stable(0.5).at_width(1).sample(jax.random.key(0), (10_000,))
        >>> tail = pruning.hill(values)
        >>> bool(abs(tail.value - 0.5) < 3 * tail.error)
        True
    """
    array = np.asarray(values)
    if array.ndim == 0 or array.shape[-1] < 2:
        raise ValueError(f"values must have at least two entries, got shape {array.shape}")
    size = array.shape[-1]
    num = max(2, size // 20) if num is None else check_count("num", num)
    num = min(num, size - 1) if size == 2 else num
    if num >= size:
        raise ValueError(f"num must be below the number of values {size}, got {num}")
    largest = np.sort(array, axis=-1)[..., ::-1][..., : num + 1]
    if not (np.all(largest > 0) and np.all(np.isfinite(largest))):
        raise ValueError(f"values must be positive and finite among the {num + 1} largest")
    logs = np.log(largest)
    mean = np.mean(logs[..., :-1] - logs[..., -1:], axis=-1)
    index = jnp.asarray(1 / np.where(mean > 0, mean, np.nan))
    return Estimate(index, index / num**0.5)


class Ranked(NamedTuple):
    """Node variances of a layer in decreasing order, beside what the prior expects of them.

    Attributes:
        sizes: of shape (…, width).
        expected: median of the r-th largest jump of the limit, `ρ̄⁻¹(r - 1/3)` nearly, (width,).
        power_law: `(C/r)^(1/α)`, of shape (width,); NaN for `α = 0` or finitely many jumps.
    """

    sizes: Array
    expected: Array
    power_law: Array


def ranked(network: DependentMLP) -> tuple[Ranked, ...]:
    """Ranked node variances of every hidden layer of a network, fitted or drawn.

    Raises:
        ValueError: for a network without node variances.
    """
    check_network(network)
    result = []
    for prior, u in zip(network.priors, network.log_variances, strict=True):
        levy, rank = prior.limit.levy, jnp.arange(1, u.shape[-1] + 1, dtype=u.dtype)
        sizes = -jnp.sort(-jnp.exp(u), axis=-1)
        result.append(Ranked(sizes, levy.inverse_tail(rank - 1 / 3), power_law(levy, rank)))
    return tuple(result)


def power_law(measure: LevyMeasure, rank: ArrayLike) -> Array:
    """`(C/r)^(1/α)`, which the r-th largest jump tends to for large `r`; NaN without such a law."""
    rank, alpha = jnp.asarray(rank, float), float(measure.index_at_zero)
    if alpha == 0 or float(measure.total_mass) < math.inf:
        return jnp.full(rank.shape, jnp.nan)
    far = 1e6  # a rank at which the law holds
    return jnp.exp(measure.log_inverse_tail(far) + jnp.log(far / rank) / alpha)


class WeightTail(NamedTuple):
    """Tail indices of a layer of weights.

    Attributes:
        variances: of the node variances: `τ`.
        norms: of the norms `√λ_j ‖V_j‖` of the nodes' outgoing weights: `2τ` under the prior. One
            number a node, since weights that share a variance are not independent.
    """

    variances: Estimate
    norms: Estimate


def weight_tails(network: DependentMLP, num: int | None = None) -> tuple[WeightTail, ...]:
    """Hill's estimates for every hidden layer of a network, fitted or drawn.

    Args:
        network: one network, or several stacked along a leading axis.
        num: as in `hill`.

    Raises:
        ValueError: for a network without node variances, or as `hill` does.
    """
    check_network(network)
    result = []
    for u, weight in zip(network.log_variances, network.weights[1:], strict=True):
        norms = jnp.exp(u / 2) * jnp.sqrt(jnp.sum(weight**2, axis=-2))
        result.append(WeightTail(hill(jnp.exp(u), num), hill(norms, num)))
    return tuple(result)
