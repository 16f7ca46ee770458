"""Compressibility: the share of the sum of node variances that pruning loses."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from mogp._arrays import Real
from mogp._checks import check_between, check_count, check_key, check_numbers, is_concrete
from mogp.levy import LevyMeasure, NoJumps
from mogp.priors import InfinitelyDivisible, Limit, Prior
from mogp.pruning._sizes import fractions, num_kept

_ENTRIES = 2**23  # node variances that are sorted at once: 64 MiB in double precision
_WIDE = 2**30  # a width at which a law is that of the limit; its square fits in single precision
_RULE = np.polynomial.legendre.leggauss(16)


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

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def compressibility(
    prior_or_limit: Prior | Limit,
    keep: float | Sequence[float],
    width: int | None = None,
    *,
    levels: Sequence[float] = (0.05, 0.5, 0.95),
    num_samples: int = 1000,
    key: PRNGKeyArray | None = None,
) -> Compressibility:
    """The share of the sum of node variances that κ-pruning loses, at a width or in the limit.

    At a width `p` it comes from the order statistics of draws: the sum of the `p - ⌈κp⌉` smallest
    over the sum of all, 0 where all are 0. In the limit all jumps are kept, and a part `s(κ)` of
    the diffuse mass `a`:

    ```
    R(κ) = (1 - s(κ)) a / (a + Σ_j λ̃_j),    E 1/(a + Σ_j λ̃_j) = ∫_0^∞ exp(-a t - ψ(t)) dt
    ```

    The nodes that carry the diffuse part have the distribution `F` of `p λ` at large `p`, from the
    `cdf` of the prior's distribution at a width, and `s` is its Lorenz curve,
    `1 - s(κ) = ∫_0^q (1 - κ - F(y)) dy / a` with `F(q) = 1 - κ`. Where they are alike, as those of
    `Deterministic`, `InfinitelyDivisible` and of a bare `Limit`, `s(κ) = κ`. Compressible priors,
    `a = 0`, lose nothing in the limit.

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
        ValueError: if an argument is out of range, a width is given and no key, a layer is larger
            than the memory, or, in the limit, if a diffuse part of nodes that are not alike has a
            distribution without `cdf`.

    Example:
        >>> import jax
        >>> from mogp import priors, pruning
        >>> lost = pruning.compressibility(priors.Deterministic(), 0.1, 500, key=jax.random.key(0))
        >>> round(lost.mean.item(), 4)
        0.9
        >>> pruning.compressibility(priors.Horseshoe(), 0.1).mean.item()
        0.0
    """
    prior = prior_or_limit
    if not isinstance(prior, Prior | Limit):
        raise ValueError(f"prior_or_limit must be a mogp.priors.Prior or Limit, got {prior!r}")
    wanted = np.asarray(keep)
    kept = fractions(wanted.astype(float) if wanted.dtype.kind in "iu" else wanted)
    check_between("levels", np.asarray(levels), 0, 1)
    num, quantile = check_count("num_samples", num_samples), jnp.asarray(levels, float)
    if key is not None:
        check_key(key)
    if width is None:
        limit = prior.limit if isinstance(prior, Prior) else prior
        lost = jnp.stack([jnp.asarray(diffuse_lost(prior, k), float) for k in kept.ravel()])
        lost, (mean, draws) = lost.reshape(kept.shape), _diffuse_part(*limit, key, num)
        quantiles = None
        if draws is not None:
            spread = jnp.quantile(draws, quantile).reshape((1,) * lost.ndim + (-1,))
            quantiles = lost[..., None] * spread
        nodes = jnp.full(lost.shape, jnp.inf)
        return Compressibility(lost * mean, jnp.zeros(lost.shape), quantiles, nodes)
    if key is None:
        raise ValueError("key must be given at a width: node variances are drawn")
    width = check_count("width", width)
    counts = np.array([nodes_of(k, width) for k in kept.ravel()])
    finite = prior if isinstance(prior, Prior) else InfinitelyDivisible(*prior)
    shares = _shares(finite, width, key, num, jnp.asarray(counts))
    return Compressibility(
        jnp.mean(shares, 0).reshape(kept.shape),
        (jnp.std(shares, 0) / num**0.5).reshape(kept.shape),
        jnp.quantile(shares, quantile, axis=0).T.reshape(*kept.shape, -1),
        jnp.asarray(counts.reshape(kept.shape)),
    )


def diffuse_lost(prior: Prior | Limit, keep: float) -> Real:
    """The part `1 - s(keep)` of the diffuse mass that the smallest nodes carry."""
    if isinstance(prior, Limit) or keep == 1:
        return 1 - keep
    location, levy = prior.limit
    if is_concrete(location) and float(location) == 0:
        return 1 - keep  # of nothing
    law = prior.at_width(_WIDE)
    try:
        law.cdf(jnp.ones(()))
    except NotImplementedError:
        if isinstance(levy, NoJumps) and not _is_constant(law, location):
            raise ValueError(
                f"keep: in the limit of {prior}, which nodes carry the diffuse part cannot be "
                f"told: its distribution {law} needs a method cdf; or give a width"
            ) from None
        return 1 - keep  # each has its part of the location, besides jumps
    # By Markov's inequality the quantile is below a/κ; what lies 26 powers of ten below is nothing.
    high = jnp.log(location / keep) + jnp.zeros(())

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        above = law.cdf(jnp.exp(middle) / _WIDE) > 1 - keep
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    top = jax.lax.fori_loop(0, 60, halve, (high - 60, high))[1]
    panels = np.arange(30)[:, None] * 2.0  # of s, with y = q exp(-s)
    s = jnp.asarray((panels + _RULE[0] + 1).ravel(), high.dtype)
    y = jnp.exp(top - s)
    below = jnp.maximum(1 - keep - law.cdf(y / _WIDE), 0)
    return jnp.sum(jnp.asarray(np.tile(_RULE[1], 30), high.dtype) * y * below) / location


def _is_constant(law: Any, location: Real) -> bool:
    """Whether all nodes of the limit have the same part of its location."""
    try:
        spread = float(_WIDE) ** 2 * law.variance
    except NotImplementedError:
        return False
    return is_concrete(spread, location) and float(spread) < 1e-6 * float(location) ** 2


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
    check_numbers("the node variances", 3 * num * width, "a smaller num_samples or width")
    draws = _draw(prior, width, key, num)
    if is_concrete(draws):  # NumPy sorts fifty times as fast as XLA on a CPU
        return jnp.asarray(np.sort(np.asarray(draws), axis=-1)[:, ::-1])
    return jnp.sort(draws, axis=-1)[:, ::-1]


@eqx.filter_jit
def _draw(prior: Prior, width: int, key: Array, num: int) -> Array:
    return prior.at_width(width).sample(key, (num, width))


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

    Node variances `sizes` of shape (…, num) decrease; `rest` is the sum of all that follow.
    """
    rest = jnp.broadcast_to(jnp.asarray(rest, sizes.dtype), (*sizes.shape[:-1], 1))
    after = jnp.cumsum(jnp.concatenate([sizes, rest], -1)[..., ::-1], -1)[..., ::-1]
    total = after[..., :1]
    return jnp.where(total > 0, after / jnp.where(total > 0, total, 1), 0)
