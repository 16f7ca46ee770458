"""Pruning of the draws of a posterior."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_inputs, check_labels
from mogp.inference import Posterior, categorical
from mogp.inference._posterior import flattened
from mogp.nn import DependentMLP
from mogp.pruning._budget import nodes_kept, select, warn_of_empty_layers
from mogp.pruning._compact import RIDGE, check_options
from mogp.pruning._curve import KEEP
from mogp.pruning._nodes import check_network, log_variances, take
from mogp.pruning._rank import scores
from mogp.pruning._repair import repair as repaired


class PosteriorCurve(NamedTuple):
    """Scores of a pruned posterior of classifiers.

    Attributes:
        keep: fractions of nodes kept, shape (k,).
        nodes: nodes kept in each hidden layer, shape (k, layers).
        accuracy: of the posterior predictive, whose probabilities are averaged over all chains and
            draws, shape (k,).
        nll: its mean negative log-likelihood in nats, shape (k,).
        draw_accuracy: of each draw alone, shape (k, chains, draws).
        draw_nll: likewise.
    """

    keep: np.ndarray
    nodes: np.ndarray
    accuracy: np.ndarray
    nll: np.ndarray
    draw_accuracy: np.ndarray
    draw_nll: np.ndarray


def compact_posterior(
    posterior: Posterior,
    keep: float,
    *,
    rank: str = "contribution",
    repair: bool = False,
    ridge: float = RIDGE,
    inputs: Array | None = None,
    targets: Array | None = None,
    key: Array | None = None,
) -> Posterior:
    """The posterior with only the `⌈keep · width⌉` best nodes of every hidden layer in each draw.

    Nodes are ranked in each chain by the mean of their scores over its draws, and all its draws
    keep the same: within a chain a node is followed from draw to draw, while the nodes of different
    chains have nothing to do with each other.

    Args:
        posterior: of `inference.sghmc` or `inference.nuts`, of a `DependentMLP` or of a `GMLayer`
            with a prior.
        keep: fraction of nodes to keep, in (0, 1].
        rank: see `scores`.
        repair: refit each draw by least squares to what it says itself with all its nodes, see
            `compact`. Where the weights of the outputs are integrated out given each draw, these
            adapt by themselves and are left alone.
        ridge: of this fit.
        inputs: training inputs, for rankings by data and for the repair.
        targets: their labels, for rankings by loss.
        key: for `"random"`.

    Returns:
        A posterior whose `sources` are smaller, with predictions of its own; `data` is that of the
        whole one.

    Raises:
        ValueError: as `compact` does.
    """
    sources = _checked(posterior, repair, ridge, inputs)
    options = {"inputs": inputs, "targets": targets, "key": key}
    node_scores = _mean_scores(posterior, rank, **options)
    widths = [s.shape[-1] for s in node_scores]
    counts = nodes_kept(keep, widths)
    warn_of_empty_layers(keep, widths)
    return _cut(posterior, sources, node_scores, counts, inputs if repair else None, ridge)


def posterior_curve(
    posterior: Posterior,
    x: Array,
    y: ArrayLike,
    keep: Sequence[float] = KEEP,
    rank: str = "contribution",
    *,
    repair: bool = False,
    ridge: float = RIDGE,
    inputs: Array | None = None,
    targets: Array | None = None,
    key: Array | None = None,
) -> PosteriorCurve:
    """Scores of a posterior of classifiers at each size, and of each of its draws.

    Args:
        posterior: as for `compact_posterior`, with `likelihood="categorical"`.
        x: test inputs, shape (n, in_size).
        y: test labels, shape (n,), integers.
        keep: fractions of nodes to keep, in (0, 1].
        rank: see `scores`.
        repair: see `compact_posterior`.
        ridge: of this fit.
        inputs: training inputs that rankings average over; `x` if not given, but for the repair.
        targets: their labels, for rankings by loss.
        key: for `"random"`.

    Raises:
        ValueError: as `compact` does, or if `keep` is empty.
    """
    sources = _checked(posterior, repair, ridge, inputs)
    if not len(keep):
        raise ValueError("keep must have at least one fraction")
    check_inputs("x", x, sources.in_size)
    check_labels("y", y, len(x), sources.out_size)
    labels = jnp.asarray(y)
    options = {"inputs": x if inputs is None else inputs, "targets": targets, "key": key}
    node_scores = _mean_scores(posterior, rank, **options)
    chains = node_scores[0].shape[0]
    rows: list[tuple[Any, ...]] = []
    for fraction in keep:
        counts = nodes_kept(fraction, [s.shape[-1] for s in node_scores])
        small = _cut(posterior, sources, node_scores, counts, inputs if repair else None, ridge)
        predicted = small.predict(x)
        logits = predicted.outputs
        accuracy = jnp.mean(jnp.argmax(logits, -1) == labels[None], axis=-1)
        nll = jnp.mean(jax.vmap(lambda z: categorical(z, labels))(logits), axis=-1)
        whole = predicted.evaluate(labels)
        shape = (chains, -1)
        each = np.asarray(accuracy).reshape(shape), np.asarray(nll).reshape(shape)
        rows.append((fraction, counts, whole["accuracy"], whole["nll"], *each))
    return PosteriorCurve(*(np.array(column) for column in zip(*rows, strict=True)))


def _checked(posterior: Posterior, repair: bool, ridge: float, inputs: Array | None) -> Any:
    if not isinstance(posterior, Posterior):
        raise ValueError(
            f"posterior must be an inference.Posterior, got {type(posterior).__name__}"
        )
    check_network(posterior.sources)
    if log_variances(posterior.sources)[0].ndim != 3:
        raise ValueError("posterior must have sources with axes of chains and draws")
    check_options(posterior.sources, "equal", repair, ridge, inputs)
    return posterior.sources


def _mean_scores(posterior: Posterior, rank: str, **options: Any) -> tuple[Array, ...]:
    """Means of the scores over the draws of each chain, (chains, width) a hidden layer."""
    sources = posterior.sources
    if posterior.observed is not None and isinstance(sources, DependentMLP):
        # The weights of the outputs are integrated out: all nodes have the same by their prior.
        last = jnp.ones_like(sources.weights[-1])
        sources = eqx.tree_at(lambda n: n.weights[-1], sources, last)
    chains = len(log_variances(sources)[0])
    flat = scores(flattened(sources), rank, **options)
    return tuple(jnp.mean(s.reshape(chains, -1, s.shape[-1]), axis=1) for s in flat)


def _cut(
    posterior: Posterior,
    sources: Any,
    node_scores: tuple[Array, ...],
    counts: Sequence[int],
    inputs: Array | None,
    ridge: float,
) -> Posterior:
    kept = select(node_scores, jnp.asarray(counts), "equal")
    numbers = tuple(
        jax.vmap(lambda stays, n=count: jnp.flatnonzero(stays, size=n))(stays)
        for stays, count in zip(kept, counts, strict=True)
    )
    fit = inputs if posterior.observed is None else None
    return replace(posterior, sources=_cut_draws(sources, numbers, fit, ridge))


@eqx.filter_jit
def _cut_draws(sources: Any, numbers: Any, inputs: Array | None, ridge: float) -> Any:
    arrays, static = eqx.partition(sources, eqx.is_array)

    def one(arrays: Any, numbers: Any) -> Any:
        network = eqx.combine(arrays, static)
        small = take(network, numbers)
        small = small if inputs is None else repaired(small, network, numbers, inputs, ridge)
        return eqx.filter(small, eqx.is_array)

    def chain(arguments: Any) -> Any:
        arrays, numbers = arguments
        return jax.lax.map(lambda draw: one(draw, numbers), arrays)

    return eqx.combine(jax.lax.map(chain, (arrays, numbers)), static)
