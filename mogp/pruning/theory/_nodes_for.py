"""How many nodes a layer needs for a wanted error."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray
from scipy.special import bdtr

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key, check_number, check_numbers
from mogp.architecture import AbstractArchitecture
from mogp.limit.layers import draw_jumps, layers_of
from mogp.pruning.theory._compressibility import draw_sorted, share_after
from mogp.pruning.theory._cut import Cut, Masses
from mogp.pruning.theory._joint import check_model, simulate

_CONFIDENCE = 0.9  # that the share of networks that miss is at most half of what was asked
_RESOLVED = 4  # jumps drawn for each node that may be kept
_GRID = 240  # losses a layer that are tried, six to a factor of two


class NodesFor(NamedTuple):
    """Numbers of nodes for a wanted error.

    Attributes:
        nodes: nodes to keep of each hidden layer, those with the largest variances.
        share: share of the networks drawn whose error is at most the tolerance.
        error: the quantile of the relative error that was asked for, at most the tolerance.
    """

    nodes: tuple[int, ...]
    share: float
    error: float


def nodes_for(
    model: AbstractArchitecture,
    tolerance: float,
    x: ArrayLike | None = None,
    *,
    key: PRNGKeyArray,
    probability: float = 0.95,
    width: int | None = None,
    num_outputs: int | None = None,
    num_samples: int = 1000,
    max_nodes: int = 500,
) -> NodesFor:
    """How many nodes each hidden layer needs to keep the error of a random network small.

    The error is relative: `Σ_x (Z - Z*)² / Σ_x Z²` over the points, numerator and denominator each
    in expectation over the last weights, or summed over `num_outputs` outputs. The answer is such
    that it is at most `tolerance` with the stated probability over networks of the prior.

    All layers lose the same share of their node variances (the same quantile of it), as small a
    share as is needed. Numbers are chosen from `num_samples` networks so cautiously that, with
    confidence 90 %, not more than half of `1 - probability` of all networks miss the tolerance: 200
    trials with new networks are then expected to bear it out.

    Args:
        model: of any depth.
        tolerance: relative error, in (0, 1).
        x: points, of shape (n, d); None is one point with `‖x‖² = d`.
        key: a random key.
        probability: with which the error is to be that small, in (0, 1).
        width: of the network to be pruned; None is the limit.
        num_outputs: number of outputs of the network; None takes the expectation over outputs.
        num_samples: number of networks drawn.
        max_nodes: in the limit, the most nodes of a layer to consider.

    Returns:
        The number of nodes of each hidden layer, and what was seen in the networks drawn.

    Raises:
        ValueError: if an argument is out of range, more than `max_nodes` nodes are needed, there
            are too few draws for the probability, they are more than the memory holds, or a layer
            has no jumps in the limit: it would need infinitely many nodes.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> found = pruning.nodes_for(
        ...     MoGP([priors.Gamma(1.0)]), 0.1, key=jax.random.key(0), width=100, num_samples=200
        ... )
        >>> found.nodes[0] < 15
        True
    """
    check_model(model)
    for name, value in (("tolerance", tolerance), ("probability", probability)):
        check_number(name, value, 0, 1)
    x = as_inputs("x", jnp.ones((1, 1)) if x is None else x)
    check_key(key)
    outputs = None if num_outputs is None else check_count("num_outputs", num_outputs)
    num = check_count("num_samples", num_samples)
    misses = _misses_allowed(num, probability)
    by_size, by_node = jax.random.split(key)
    width = None if width is None else check_count("width", width)
    cuts = _layers(model, width, check_count("max_nodes", max_nodes), by_size, num)
    curves = [
        np.quantile(np.asarray(share_after(cut.sizes, cut.gone[:, None])), probability, axis=0)
        for cut in cuts
    ]
    most = [min(max_nodes, len(c) - 1) if width is None else width for c in curves]
    zero = Masses(jnp.zeros(()), jnp.zeros(()))

    def relative(nodes: Sequence[int]) -> np.ndarray:
        pruned = [
            cut._replace(
                stays=jnp.broadcast_to(jnp.arange(cut.sizes.shape[-1]) < kept, cut.sizes.shape)
            )
            for cut, kept in zip(cuts, nodes, strict=True)
        ]
        outcome = simulate(model, x, pruned, zero, by_node, outputs)
        error, square = (np.sum(np.asarray(a), -1) for a in (outcome.error, outcome.square))
        return error / np.where(square > 0, square, 1)

    def nodes_at(loss: float) -> tuple[int, ...]:
        counts = (int(np.argmax(np.append(curve, 0) <= loss)) for curve in curves)
        return tuple(max(1, min(n, cap)) for n, cap in zip(counts, most, strict=True))

    losses = np.append(4 * tolerance * 2 ** (-np.arange(_GRID) / 6), 0)
    low, high = 0, len(losses) - 1  # the first loss that is small enough, by bisection
    while low < high:
        middle = (low + high) // 2
        enough = np.sum(relative(nodes_at(losses[middle])) > tolerance) <= misses
        low, high = (low, middle) if enough else (middle + 1, high)
    nodes = nodes_at(losses[high])
    errors = relative(nodes)
    missed = int(np.sum(errors > tolerance))
    if missed > misses:
        raise ValueError(
            f"tolerance {tolerance:g} needs more than max_nodes = {max_nodes} nodes in a layer; "
            f"with {nodes} the error is above it in {missed / num:.1%} of the networks"
        )
    return NodesFor(nodes, 1 - missed / num, float(np.quantile(errors, probability)))


def _misses_allowed(num: int, probability: float) -> int:
    """The most misses in `num` draws that still bear out half of `1 - probability`."""
    below = bdtr(np.arange(num + 1), num, (1 - probability) / 2)  # the binomial distribution
    allowed = int(np.argmax(below >= 1 - _CONFIDENCE)) - 1
    if allowed < 0:
        need = int(np.ceil(2 * np.log(1 / (1 - _CONFIDENCE)) / (1 - probability)))
        raise ValueError(
            f"num_samples must be at least about {need} for probability {probability:g}, got {num}"
        )
    return allowed


def _layers(
    model: AbstractArchitecture, width: int | None, max_nodes: int, key: Array, num: int
) -> tuple[Cut, ...]:
    """Draws of the ranked node variances of every layer; the rest of them goes in any case."""
    size = 4 * num * model.depth * (_RESOLVED * max_nodes if width is None else width)
    check_numbers("the node variances", size, "a smaller num_samples, max_nodes or width")
    if width is not None:
        keys, zero = jax.random.split(key, model.depth), jnp.zeros((num,))
        drawn = [draw_sorted(p, width, k, num) for p, k in zip(model.priors, keys, strict=True)]
        return tuple(Cut(sizes, sizes > 0, zero, zero) for sizes in drawn)
    layers = layers_of(model)
    for i, layer in enumerate(layers):
        if layer.is_gaussian or float(layer.location) > 0:
            raise ValueError(
                f"model: the prior {model.priors[i]} of hidden layer {i + 1} has a diffuse part "
                "(GP regime or a > 0): in the limit no finite number of nodes carries it; give a "
                "width"
            )
    jumps = draw_jumps(layers, [_RESOLVED * max_nodes] * model.depth, key, (num,))
    return tuple(Cut(j.sizes, j.sizes > 0, j.diffuse, jnp.zeros_like(j.diffuse)) for j in jumps)
