"""The error of pruning, predicted: its expectation, its law and bounds, before any training."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import Real, as_inputs, times
from mogp._checks import check_count, check_key, check_numbers
from mogp.architecture import AbstractArchitecture
from mogp.limit.layers import NumJumps, gaussian_prefix, layers_of, skeleton
from mogp.priors import Prior
from mogp.pruning.theory._cut import (
    Cut,
    Masses,
    draw_cuts,
    draw_finite_cuts,
    drawn_masses,
    expected_masses,
    expected_nodes,
    jumps_needed,
    rule_for,
)
from mogp.pruning.theory._joint import (
    Outcome,
    check_model,
    mean_error,
    simulate,
    start,
    step,
)


class PruningError(NamedTuple):
    """What pruning changes at points, under the prior.

    Attributes:
        mean: `E (Z(x) - Z*(x))²`, of shape (n,); infinite where it is.
        mean_error: its Monte Carlo standard error, of shape (n,); 0 where `mean` is exact, infinite
            where the draws have no variance.
        lower: a number that `mean` is not below, of shape (n,).
        upper: a number that `mean` is not above, of shape (n,).
        draws: of the squared error given everything but the outgoing weights of the last hidden
            layer; or its average over outputs. Of shape (num_samples, n); None without a key.
        variances: `Σ(x, x)`, or the average square of outputs, in the same draws; None without.
        nodes: expected number of nodes kept of each hidden layer, of shape (depth,); infinite where
            some of a diffuse part stays. At a width it is a mean over draws.
    """

    mean: Array
    mean_error: Array
    lower: Array
    upper: Array
    draws: Array | None
    variances: Array | None
    nodes: Array

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)

    @property
    def relative(self) -> Float[Array, " num_samples"]:
        """`Σ_x error / Σ_x variance` of each draw, of shape (num_samples,): always finite."""
        if self.draws is None or self.variances is None:
            raise ValueError("relative is of draws, and there are none: give pruning.error a key")
        total = jnp.sum(self.variances, -1)
        return jnp.where(total > 0, jnp.sum(self.draws, -1) / jnp.where(total > 0, total, 1), 0)


def error(
    model: AbstractArchitecture,
    threshold: float | Sequence[float] | None = None,
    x: ArrayLike | None = None,
    *,
    keep: float | Sequence[float] | None = None,
    nodes: int | Sequence[int] | None = None,
    width: int | None = None,
    key: PRNGKeyArray | None = None,
    num_samples: int = 1000,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
    num_outputs: int | None = None,
) -> PruningError:
    """The error `(Z - Z*)²` of a pruned network `Z*`, without training any.

    Three rules: ε-pruning drops nodes with `λ ≤ threshold`, κ-pruning keeps the fraction `keep` of
    nodes with the largest `λ`, and `nodes` keeps that many. In the limit a positive threshold and a
    number of nodes drop the diffuse part `a`; `keep` keeps all jumps and a part of it, as
    `compressibility` has it. The pruned network is one more input of the same random network, so
    that with `m_j` 1 or 0, and biases that cancel,

    ```
    E (Z - Z*)² = σ_v² E[a φ(ζ)² + Σ_j λ̃_j (φ(ζ_j) - m_j φ(ζ*_j))²]
    ```

    With one hidden layer this is `σ_v² (a + ∫_0^ε x ρ(dx)) E φ(ζ)²`. In general `mean` is exact
    where only the last hidden layer has jumps; else an average over draws of the layers before,
    given which it is exact. The bounds are those of the recursion
    `D' = σ_v² [lost E φ² + kept E (φ(ζ) - φ(ζ*))²]` with `c₀ D ≤ E (φ(ζ) - φ(ζ*))² ≤ c₁ D`: for
    ReLU `1/4` and `1/2`; else `0` and the square of the largest slope.

    Args:
        model: of any depth.
        threshold: `ε ≥ 0`, one or one a hidden layer; 0 leaves a layer whole.
        x: points, of shape (n, d).
        keep: fraction of nodes kept, in (0, 1].
        nodes: number of nodes kept, at least 1.
        width: of the network; None is the limit. A width is simulated exactly, too: given its node
            variances, a layer passes on Gaussian values as a layer of the limit does. Of the priors
            it needs `at_width` only, not `limit`.
        key: a random key. Without one, nothing is drawn: `draws` and `variances` are None, and the
            mean must be exact, as it is in the limit where only the last hidden layer has jumps.
        num_samples: number of networks drawn.
        num_jumps: jumps drawn in each layer of the limit, one number or one a layer; smaller ones
            enter by their expected sum. None takes enough for the kernel and around the cut.
        tolerance: wanted relative error of the kernel, as in `limit.sample_kernel`.
        num_outputs: average `draws` over so many outputs of a network; None is their expectation.

    Returns:
        Mean, bounds and draws of the error at each point.

    Raises:
        ValueError: if not exactly one rule is given, an argument is out of range, a key is missing
            where the mean takes draws, the draws are more than the memory holds, or a model without
            jumps is to be pruned by size, where in the limit all its nodes are negligible.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors, pruning
        >>> found = pruning.error(MoGP([priors.Horseshoe()]), 1e-4, jnp.ones((1, 3)))
        >>> round(found.mean.item(), 6)  # ½ ∫_0^ε x ρ(dx) = ½ √ε
        0.005
    """
    check_model(model)
    if x is None:
        raise ValueError("x must be given: the points at which the error is wanted")
    x = as_inputs("x", x)
    width = None if width is None else check_count("width", width)
    rule = rule_for(model.depth, threshold, keep, nodes, width)
    # At a width the values of one layer make the variances of the next random, whatever the priors.
    layers = layers_of(model if width is None else skeleton(model))
    known = gaussian_prefix(layers) if width is None else 0
    if width is None and rule.kind != "keep" and all(layer.is_gaussian for layer in layers):
        raise ValueError(
            f"{rule.kind} prunes by the size of nodes, and the model is in the GP regime: its "
            "limit has no jumps, all nodes are negligible and would go; use keep, or give a width"
        )
    num = check_count("num_samples", num_samples)
    outputs = None if num_outputs is None else check_count("num_outputs", num_outputs)
    exact = width is None and known >= model.depth - 1
    if key is None and not exact:
        raise ValueError(
            "key must be given: the error is known without draws only in the limit, where no "
            "hidden layer before the last has jumps"
        )
    size = 6 * len(x) ** 2 * (1 if key is None else num)
    instead = "fewer points or a smaller num_samples"
    check_numbers("the covariances at the points", size, instead, x.dtype)
    cuts: tuple[Cut, ...] = ()
    if key is not None:
        check_key(key)
        by_size, by_node = jax.random.split(key)
        if width is None:
            drawn = jumps_needed(model, layers, rule, num_jumps, tolerance)
            instead = "a smaller num_samples, num_jumps or nodes"
            check_numbers("the jumps", 4 * num * sum(drawn), instead, x.dtype)
            cuts = draw_cuts(model.priors, layers, rule, drawn, by_size, num)
        else:
            cuts = draw_finite_cuts(model.priors, rule, width, by_size, num)
    if width is None:
        each = list(zip(model.priors, layers, rule.values, strict=True))
        masses = [expected_masses(prior, layer, rule.kind, v) for prior, layer, v in each]
        kept, last = [expected_nodes(layer, rule.kind, v) for _, layer, v in each], masses[-1]
        heavy = [layer.levy.index_at_infinity for layer in layers[:-1]]
    else:
        masses = [drawn_masses(p, width, cut) for p, cut in zip(model.priors, cuts, strict=True)]
        kept = [jnp.mean(jnp.sum(cut.stays & (cut.sizes > 0), -1)) for cut in cuts]
        sums = (jnp.where(stay, cuts[-1].sizes, 0) for stay in (~cuts[-1].stays, cuts[-1].stays))
        last = Masses(*(jnp.sum(each, -1) for each in sums))
        heavy = [_index_at(prior, width) for prior in model.priors[:-1]]
    outcome = None if key is None else simulate(model, x, cuts, last, by_node, outputs)
    activation, plain = model.activation, skeleton(model)
    steepest = None if activation.positively_homogeneous() else activation.largest_slope()
    lower, upper = bounds(plain, masses, x, steepest, known)
    if exact:
        mean = _exact(plain, masses, x)
        spread = jnp.zeros_like(mean)
    else:
        assert outcome is not None
        mean = jnp.where(jnp.isinf(lower), jnp.inf, jnp.mean(outcome.mean, 0))
        spread = _spread(heavy, outcome, activation.growth())
    draws, variances = (None, None) if outcome is None else (outcome.error, outcome.square)
    return PruningError(mean, spread, lower, upper, draws, variances, jnp.stack(kept))


def _index_at(prior: Prior, width: int) -> Real:
    """A tail index: 2 where there is no second moment, else infinity."""
    try:
        variance = prior.at_width(width).variance
    except NotImplementedError:  # a law that does not tell it: that of the limit, if there is one
        try:
            return prior.limit.levy.index_at_infinity
        except NotImplementedError:
            return jnp.inf
    return jnp.where(jnp.isfinite(jnp.asarray(variance)), jnp.inf, 2.0)


def _spread(indices: Sequence[ArrayLike], outcome: Outcome, growth: float) -> Array:
    """Standard error of the mean; infinite where the draws have no variance.

    The variance that the layers before the last make, of these tail indices, has to have a second
    moment if an unbounded activation passes it on.
    """
    finite = jnp.isfinite(outcome.mean)
    spread = jnp.std(jnp.where(finite, outcome.mean, 0), 0) / len(outcome.mean) ** 0.5
    spread = jnp.where(jnp.all(finite, 0), spread, jnp.inf)
    if not growth:
        return spread
    heavy = jnp.any(jnp.stack([jnp.asarray(i, float) for i in (*indices, jnp.inf)]) <= 2)
    return jnp.where(heavy, jnp.inf, spread)


@eqx.filter_jit
def _exact(model: AbstractArchitecture, masses: Sequence[Masses], x: Array) -> Array:
    """The mean, where the layers before the last have no jumps."""
    joint, layers, nothing = start(model, x), layers_of(model), jnp.zeros((0,))
    for layer, (gone, kept) in zip(layers[:-1], masses, strict=False):
        no_jumps = Cut(nothing, nothing > 0, gone, kept)
        joint = step(layer, model.activation, joint, no_jumps, jax.random.key(0))
    return mean_error(layers[-1], model.activation, joint, masses[-1])


@eqx.filter_jit
def bounds(
    model: AbstractArchitecture,
    masses: Sequence[Masses],
    x: Array,
    steepest: float | None,
    known: int,
) -> tuple[Array, Array]:
    """Bounds of the mean error at points, each of shape (n,).

    `steepest` is the largest slope of the activation, None for a positively homogeneous one;
    `known` says how many layers come before the first whose variances are random.
    """
    layers, activation, one = layers_of(model), model.activation, jnp.ones(())
    if steepest is None:
        most = activation.second_moment(one)
        least = jnp.sum(jnp.abs(activation(jnp.asarray([1.0, -1.0])) * jnp.asarray([1, -1]))) ** 2
        least = jnp.where(activation(one) * -activation(-one) >= 0, least / 4, 0)
    else:
        most, least = jnp.asarray(steepest**2), jnp.zeros(())
    variance = jnp.diagonal(start(model, x).kernel)
    lower = upper = jnp.zeros_like(variance)
    for i, (layer, (gone, kept)) in enumerate(zip(layers, masses, strict=True)):
        gain, total = layer.weight_scale**2, gone + kept
        if steepest is None or i <= known:
            square = floor = activation.second_moment(variance)
        else:  # of a Gaussian with a random variance, of which the mean is bounded
            square = (steepest * jnp.sqrt(variance) + jnp.abs(activation(jnp.zeros(())))) ** 2
            floor = jnp.zeros_like(square)
        lower = gain * (times(floor, gone) + times(least * lower, kept))
        upper = gain * (times(square, gone) + times(most * upper, kept))
        variance = layer.bias_scale**2 + gain * times(square, total)
    return lower, upper
