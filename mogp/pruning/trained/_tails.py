"""Tails of the node variances of networks, fitted or drawn."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from mogp import nn
from mogp._checks import check_count
from mogp.limit import Estimate
from mogp.pruning.theory import power_law
from mogp.pruning.trained._importances import importances
from mogp.pruning.trained._network import check_network


def hill(values: ArrayLike, num: int | None = None) -> Estimate:
    """Hill's estimator on the largest values, corrected for its bias.

    For the `k` largest it is `(k - 1) / Σ_(i ≤ k) (log x_(i) - log x_(k+1))`. Hill's own has `k` in
    place of `k - 1`, and is too large by the factor `k / (k - 1)` for an exact power law.

    Args:
        values: positive (0 only among those that are not used), of shape (…, n) with n ≥ 3.
        num: how many of the largest are used, at least 2; None takes a twentieth of all, at least
            3 where there are as many.

    Returns:
        `τ` with `P(X > x) ~ x^(-τ)`, of the shape of the values without the last axis, and its
        standard error `τ/√(num - 2)`, which holds for independent values with an exact power law.
        Infinite are the error from two values, and both where all values used are equal.

    Raises:
        ValueError: if `num` is not in 2 … n - 1, or one of the `num + 1` largest is not positive
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
    if array.dtype.kind not in "iuf" or array.ndim == 0 or array.shape[-1] < 3 or not array.size:
        raise ValueError(
            "values must have at least three entries, real numbers, got "
            f"{array.dtype} of shape {array.shape}"
        )
    size = array.shape[-1]
    num = min(max(3, size // 20), size - 1) if num is None else check_count("num", num)
    if not 2 <= num < size:
        wanted = "at least 2" if num < 2 else f"below the number of values {size}"
        raise ValueError(f"num must be {wanted}, got {num}")
    largest = np.sort(array.astype(float), axis=-1)[..., ::-1][..., : num + 1]
    if not (np.all(largest > 0) and np.all(np.isfinite(largest))):
        raise ValueError(f"values must be positive and finite among the {num + 1} largest")
    above, level = largest[..., :-1], largest[..., -1:]
    near = above < 2 * level  # values that are close to each other, whose logarithms lose digits
    close = np.log1p(np.where(near, above - level, 0) / level)
    total = np.sum(np.where(near, close, np.log(above) - np.log(level)), axis=-1)
    with np.errstate(divide="ignore"):
        index = jnp.asarray((num - 1) / total, jnp.result_type(float))
    return Estimate(index, index / (num - 2) ** 0.5 if num > 2 else jnp.full_like(index, jnp.inf))


class Ranked(NamedTuple):
    """Node variances of a layer in decreasing order, beside what the prior expects of them.

    Attributes:
        sizes: the node variances, of shape (…, width).
        expected: median of the r-th largest jump of the limit, `ρ̄⁻¹(r - 1/3)` nearly, (width,).
        power_law: `(C/r)^(1/α)`, of shape (width,); NaN for `α = 0` or finitely many jumps.
    """

    sizes: Array
    expected: Array
    power_law: Array

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def ranked(network: Any) -> tuple[Ranked, ...]:
    """Ranked node variances of every layer of nodes of a network, fitted or drawn.

    Args:
        network: any Equinox module that holds layers of nodes, or several in a stack. Their priors
            must have a limit.

    Returns:
        For each layer its node variances, and what the prior expects of them in the limit.

    Raises:
        ValueError: for a network without node variances.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Stable(0.5)]).network(3, 2, 100, key=jax.random.key(0))
        >>> pruning.ranked(network)[0].power_law[:2].round(4).tolist()
        [1.0, 0.25]
    """
    check_network(network)
    result = []
    for layer in nn.nodes(network):
        u, levy = layer.log_variances, layer.prior.limit.levy
        place = jnp.arange(1, u.shape[-1] + 1, dtype=u.dtype)
        sizes = -jnp.sort(-jnp.exp(u), axis=-1)
        result.append(Ranked(sizes, levy.inverse_tail(place - 1 / 3), power_law(levy, place)))
    return tuple(result)


class WeightTail(NamedTuple):
    """Tail indices of a layer of weights.

    Attributes:
        variances: of the node variances: `τ`.
        norms: of the norms `√λ_j ‖V_j‖` of the nodes' outgoing weights: `2τ` under the prior. One
            number a node, since weights that share a variance are not independent.
    """

    variances: Estimate
    norms: Estimate


def weight_tails(network: Any, num: int | None = None) -> tuple[WeightTail, ...]:
    """Hill's estimates for every layer of nodes of a network, fitted or drawn.

    Args:
        network: any Equinox module that holds layers of nodes, or several in a stack.
        num: how many of the largest values are used, see `hill`.

    Returns:
        For each layer the tail indices of its node variances and of its outgoing weights.

    Raises:
        ValueError: for a network without node variances, or as `hill` does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Stable(0.5)]).network(3, 2, 5000, key=jax.random.key(0))
        >>> tail = pruning.weight_tails(network)[0].variances
        >>> bool(abs(tail.value - 0.5) < 3 * tail.error)
        True
    """
    norms = importances(network, "norm")
    result = []
    for layer, squares in zip(nn.nodes(network), norms, strict=True):
        variances = hill(jnp.exp(layer.log_variances), num)
        result.append(WeightTail(variances, hill(jnp.sqrt(squares), num)))
    return tuple(result)
