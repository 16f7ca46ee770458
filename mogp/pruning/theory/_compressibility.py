"""Compressibility: the share of the sum of node variances that pruning loses."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from mogp._arrays import Real
from mogp._checks import check_between, check_count, is_concrete
from mogp.levy import LevyMeasure, NoJumps
from mogp.priors import GroupLasso, InfinitelyDivisible, InverseGamma, Limit, Prior
from mogp.pruning._keep import check_keep, num_kept

_ENTRIES = 2**23  # node variances that are sorted at once: 64 MiB in double precision


class Compressibility(NamedTuple):
    """The share `R(κ)` of `Σ_j λ_j` that is lost when only the largest nodes are kept.

    Attributes:
        mean: `E R(κ)`, of the shape of `keep`.
        mean_error: its standard error, of the same shape; 0 where the mean is exact.
        quantiles: of `R(κ)`, from draws, of that shape with an axis for the levels at the end; None
            where they would have to be drawn and no key is given.
        nodes: the number of nodes kept, of the shape of `keep`; infinity in the limit.
    """

    mean: Array
    mean_error: Array
    quantiles: Array | None
    nodes: Array


def compressibility(
    prior_or_limit: Prior | Limit,
    keep: float | Sequence[float],
    width: int | None = None,
    *,
    levels: Sequence[float] = (0.05, 0.5, 0.95),
    num_samples: int = 1000,
    key: Array | None = None,
) -> Compressibility:
    """The share of the sum of node variances that κ-pruning loses, at a width or in the limit.

    At a width `p` it comes from the order statistics of draws: the sum of the `p - ⌈κp⌉` smallest
    over the sum of all, 0 where all are 0. In the limit all jumps are kept, and a part `s(κ)` of
    the diffuse mass `a`:

    ```
    R(κ) = (1 - s(κ)) a / (a + Σ_j λ̃_j),    E 1/(a + Σ_j λ̃_j) = ∫_0^∞ exp(-a t - ψ(t)) dt
    ```

    where `s(κ) = κ` if the nodes that carry the diffuse part are alike, as those of
    `Deterministic`, `InfinitelyDivisible` and of a bare `Limit` are. Under `GroupLasso` and
    `InverseGamma` they are not, and `s` is the Lorenz curve of their distribution. Compressible
    priors, `a = 0`, lose nothing in the limit.

    Args:
        prior_or_limit: a prior, or location and Lévy measure; at a width the latter stand for
            `priors.InfinitelyDivisible`.
        keep: fraction of nodes kept, in (0, 1], or several.
        width: number of nodes; None is the limit. `⌈keep · width⌉` nodes are kept; a
            warning says so where the fraction is less than one node.
        levels: of the quantiles, in (0, 1).
        num_samples: number of layers drawn.
        key: a random key. It is needed at a width; in the limit the mean is exact without.

    Returns:
        Mean and quantiles of the share, for each fraction.

    Raises:
        ValueError: if an argument is out of range, or a width is given and no key.

    Example:
        >>> import jax
        >>> from mogp import priors, pruning
        >>> lost = pruning.compressibility(priors.Deterministic(), 0.1, 500, key=jax.random.key(0))
        >>> round(lost.mean.item(), 4)
        0.9
        >>> pruning.compressibility(priors.Horseshoe(), 0.1).mean.item()
        0.0
    """
    if not isinstance(prior_or_limit, Prior | Limit):
        raise ValueError(
            f"prior_or_limit must be a mogp.priors.Prior or Limit, got {prior_or_limit!r}"
        )
    prior = prior_or_limit
    fractions = np.asarray(keep, float)
    for fraction in fractions.ravel():
        check_keep(float(fraction))
    check_between("levels", np.asarray(levels), 0, 1)
    num, quantile = check_count("num_samples", num_samples), jnp.asarray(levels, float)
    if width is None:
        limit = prior.limit if isinstance(prior, Prior) else prior
        share = np.vectorize(lambda k: 1 - diffuse_share(prior, k), otypes=[float])(fractions)
        mean, draws = _diffuse_part(*limit, key, num)
        quantiles = None
        if draws is not None:
            spread = jnp.quantile(draws, quantile).reshape((1,) * share.ndim + (-1,))
            quantiles = jnp.asarray(share)[..., None] * spread
        nodes = jnp.full(share.shape, jnp.inf)
        return Compressibility(share * mean, jnp.zeros(share.shape), quantiles, nodes)
    if key is None:
        raise ValueError("key must be given at a width: node variances are drawn")
    width = check_count("width", width)
    counts = np.vectorize(lambda k: nodes_of(k, width), otypes=[int])(fractions)
    finite = prior if isinstance(prior, Prior) else InfinitelyDivisible(*prior)
    lost = _shares(finite, width, key, num, jnp.asarray(counts).ravel())
    back = (*counts.shape, -1)
    return Compressibility(
        jnp.mean(lost, 0).reshape(counts.shape),
        (jnp.std(lost, 0) / num**0.5).reshape(counts.shape),
        jnp.quantile(lost, quantile, axis=0).T.reshape(back),
        jnp.asarray(counts),
    )


def diffuse_share(prior: Prior | Limit, keep: float) -> float:
    """The part of the diffuse mass that the largest nodes, a fraction of all, carry."""
    if isinstance(prior, GroupLasso):
        shape = (float(prior.fan_out) + 1) / 2
        return float(special.gammaincc(shape + 1, special.gammainccinv(shape, keep)))
    if isinstance(prior, InverseGamma):  # with a diffuse part: of a shape above 1
        shape = float(prior.shape)
        return float(special.gammainc(shape - 1, special.gammaincinv(shape, keep)))
    return keep


def nodes_of(keep: float, width: int) -> int:
    """Nodes that a fraction keeps of a layer; one, with a warning, if it is less than one."""
    if keep * width < 1 - 1e-9:
        warnings.warn(f"keep={keep:g} of {width} nodes is less than one: one is kept", stacklevel=3)
    return num_kept(keep, width)


def _diffuse_part(
    location: Real, levy: LevyMeasure, key: Array | None, num: int
) -> tuple[Array, Array | None]:
    """`E a/(a + Λ)` for the sum `Λ` of all jumps, exactly, and draws of the ratio if possible."""
    if isinstance(levy, NoJumps) or float(location) == 0:
        value = jnp.where(jnp.asarray(location) > 0, 1.0, 0.0)
        return value, jnp.full((num,), value)
    # ∫ e^(-s - ψ(s/a)) ds by the trapezoidal rule in w, s = exp(w - e^(-w)): doubly exponential.
    w = jnp.linspace(-4.0, 4.5, 400)
    s = jnp.exp(w - jnp.exp(-w))
    weights = s * (1 + jnp.exp(-w)) * (w[1] - w[0])
    mean = jnp.sum(weights * jnp.exp(-s - levy.laplace_exponent(s / location)))
    if key is None:
        return mean, None
    return mean, location / (location + levy.sample_total(key=key, shape=(num,)))


def draw_sorted(prior: Prior, width: int, key: Array, num: int) -> Array:
    """Node variances of layers, of shape (num, width), in decreasing order."""
    draws = _draw(prior, width, key, num)
    if is_concrete(draws):  # NumPy sorts fifty times as fast as XLA on a CPU
        return jnp.asarray(np.sort(np.asarray(draws), axis=-1)[:, ::-1])
    return jnp.sort(draws, axis=-1)[:, ::-1]


@eqx.filter_jit
def _draw(prior: Prior, width: int, key: Array, num: int) -> Array:
    draws: Array = prior.at_width(width).sample(key, (num, width))
    return draws


def _shares(prior: Prior, width: int, key: Array, num: int, counts: Array) -> Array:
    """Shares lost in `num` layers for each number of nodes kept, of shape (num, counts)."""
    block = max(1, _ENTRIES // width)
    starts = range(0, num, block)
    parts = [
        share_after(draw_sorted(prior, width, k, min(block, num - start)))[:, counts]
        for start, k in zip(starts, jax.random.split(key, len(starts)), strict=True)
    ]
    return jnp.concatenate(parts)


def share_after(sizes: Array, rest: Array | float = 0.0) -> Array:
    """Share of the sum beyond the first 0, 1, … nodes, of shape (…, num + 1); 0 of nothing.

    Args:
        sizes: node variances, of shape (…, num), in decreasing order.
        rest: what comes after them, of shape (…, 1) or a number.
    """
    rest = jnp.broadcast_to(jnp.asarray(rest, sizes.dtype), (*sizes.shape[:-1], 1))
    after = jnp.cumsum(jnp.concatenate([sizes, rest], -1)[..., ::-1], -1)[..., ::-1]
    total = after[..., :1]
    return jnp.where(total > 0, after / jnp.where(total > 0, total, 1), 0)
