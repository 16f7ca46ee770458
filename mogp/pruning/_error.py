"""The error of pruning, predicted: its expectation, its law and bounds, before any training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp._arrays import times
from mogp._checks import check_count, check_inputs
from mogp.architecture import MoGP
from mogp.limit._jumps import NumJumps
from mogp.limit._recursion import Layer, gaussian_prefix, layers_of, skeleton
from mogp.pruning._cut import (
    Cut,
    Masses,
    Rule,
    check_width,
    draw_cuts,
    draw_finite_cuts,
    drawn_masses,
    expected_masses,
    jumps_needed,
    rule_for,
)
from mogp.pruning._joint import mean_error, simulate, start, step


class PruningError(NamedTuple):
    """What pruning changes at points, under the prior.

    Attributes:
        mean: `E (Z(x) - Z*(x))²`, of shape (n,); infinite where it is.
        mean_error: its Monte Carlo standard error, of shape (n,); 0 where `mean` is exact, infinite
            where the draws have no variance.
        lower: a number that `mean` is not below, of shape (n,).
        upper: a number that `mean` is not above, of shape (n,).
        draws: of the squared error given everything but the outgoing weights of the last hidden
            layer; or its average over outputs. Of shape (num_samples, n).
        variances: `Σ(x, x)`, or the average square of outputs, in the same draws.
        nodes: nodes kept of each hidden layer, on average, of shape (depth,); infinite where some
            of a diffuse part stays.
    """

    mean: Array
    mean_error: Array
    lower: Array
    upper: Array
    draws: Array
    variances: Array
    nodes: Array

    @property
    def relative(self) -> Array:
        """`Σ_x error / Σ_x variance` of each draw, of shape (num_samples,): finite for all laws."""
        total = jnp.sum(self.variances, -1)
        return jnp.where(total > 0, jnp.sum(self.draws, -1) / jnp.where(total > 0, total, 1), 0)


def error(
    model: MoGP,
    threshold: float | Sequence[float] | None = None,
    x: Array | None = None,
    *,
    keep: float | Sequence[float] | None = None,
    nodes: int | Sequence[int] | None = None,
    width: int | None = None,
    key: Array | None = None,
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
            variances, a layer passes on Gaussian values as a layer of the limit does.
        key: random key; `jax.random.key(0)` without.
        num_samples: networks drawn.
        num_jumps: jumps drawn in each layer of the limit, one number or one a layer; smaller ones
            enter by their expected sum. None takes enough for the kernel and around the cut.
        tolerance: wanted relative error of the kernel, as in `limit.sample_kernel`.
        num_outputs: average `draws` over so many outputs of a network; None is their expectation.

    Raises:
        ValueError: if not exactly one rule is given, an argument is out of range, or a model
            without jumps is to be pruned by size, where in the limit all its nodes are negligible.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors, pruning
        >>> found = pruning.error(MoGP([priors.Horseshoe()]), 1e-4, jnp.ones((1, 3)))
        >>> round(found.mean.item(), 6)  # ½ ∫_0^ε x ρ(dx) = ½ √ε
        0.005
    """
    if x is None:
        raise ValueError("x must be given: the points at which the error is wanted")
    check_inputs("x", x)
    rule, width = rule_for(model.depth, threshold, keep, nodes), check_width(width)
    layers = layers_of(model)
    check_regime(layers, rule, width)
    num = check_count("num_samples", num_samples)
    outputs = None if num_outputs is None else check_count("num_outputs", num_outputs)
    by_size, by_node = jax.random.split(jax.random.key(0) if key is None else key)
    if width is None:
        drawn = jumps_needed(model, layers, rule, num_jumps, tolerance)
        cuts = draw_cuts(model, layers, rule, drawn, by_size, num)
        masses = [
            expected_masses(prior, layer, rule.kind, value)
            for prior, layer, value in zip(model.priors, layers, rule.values, strict=True)
        ]
        last = masses[-1]
    else:
        cuts = draw_finite_cuts(model.priors, rule, width, by_size, num)
        masses = [drawn_masses(p, width, cut) for p, cut in zip(model.priors, cuts, strict=True)]
        sums = (jnp.where(stay, cuts[-1].sizes, 0) for stay in (~cuts[-1].stays, cuts[-1].stays))
        last = Masses(*(jnp.sum(each, -1) for each in sums))
    outcome = simulate(model, x, cuts, last, by_node, outputs)
    activation, known = model.activation, gaussian_prefix(layers)
    steepest = None if activation.positively_homogeneous() else activation.largest_slope()
    lower, upper = bounds(skeleton(model), masses, x, steepest, known)
    if width is None and known >= model.depth - 1:
        mean = _exact(skeleton(model), masses, x)
        spread = jnp.zeros_like(mean)
    else:
        mean = jnp.where(jnp.isinf(lower), jnp.inf, jnp.mean(outcome.mean, 0))
        spread = jnp.std(outcome.mean, 0) / num**0.5
        if activation.growth():  # the variance before the last layer has no second moment
            indices = [jnp.asarray(layer.levy.index_at_infinity) for layer in layers[:-1]]
            heavy = jnp.any(jnp.stack([*indices, jnp.asarray(jnp.inf)]) <= 2)
            spread = jnp.where(heavy, jnp.inf, spread)
    return PruningError(
        mean, spread, lower, upper, outcome.error, outcome.square, _kept_nodes(layers, rule, cuts)
    )


def check_regime(layers: Sequence[Layer], rule: Rule, width: int | None) -> None:
    """Raise for a Gaussian process that is to be pruned by size."""
    if width is None and rule.kind != "keep" and all(layer.is_gaussian for layer in layers):
        raise ValueError(
            f"{rule.kind} prunes by the size of nodes, and the model is in the GP regime: its "
            "limit has no jumps, all nodes are negligible and would go; use keep, or give a width"
        )


@eqx.filter_jit
def _exact(model: MoGP, masses: Sequence[Masses], x: Array) -> Array:
    """The mean, where the layers before the last have no jumps."""
    joint, layers = start(model, x), layers_of(model)
    for layer, (gone, kept) in zip(layers[:-1], masses, strict=False):
        joint = step(layer, model.activation, joint, _nothing(gone, kept), jax.random.key(0))
    return mean_error(layers[-1], model.activation, joint, masses[-1])


def _nothing(gone: Array, kept: Array) -> Cut:
    """A layer without jumps."""
    return Cut(jnp.zeros((0,)), jnp.zeros((0,), bool), gone, kept)


@eqx.filter_jit
def bounds(
    model: MoGP, masses: Sequence[Masses], x: Array, steepest: float | None, known: int
) -> tuple[Array, Array]:
    """Bounds of the mean error at points, each of shape (n,).

    Args:
        model: of any depth.
        masses: one a hidden layer.
        x: points, of shape (n, d).
        steepest: largest slope of the activation; None for a positively homogeneous one.
        known: how many layers come before the first with jumps.
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


def _kept_nodes(layers: Sequence[Layer], rule: Rule, cuts: Sequence[Cut]) -> Array:
    counts: list[Any] = []
    for layer, value, cut in zip(layers, rule.values, cuts, strict=True):
        number, endless = jnp.mean(jnp.sum(cut.stays & (cut.sizes > 0), -1)), jnp.any(cut.kept > 0)
        if rule.kind == "threshold":  # above a positive one there are finitely many, drawn or not
            above = layer.levy.tail(value)
            number = jnp.where(endless, above, number)
            endless = endless & (jnp.asarray(value) == 0)
        counts.append(jnp.where(endless, jnp.inf, number))
    return jnp.stack(counts)
