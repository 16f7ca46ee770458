"""Pruning of the draws of a posterior."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from mogp import nn
from mogp._arrays import as_inputs
from mogp.inference import Posterior, categorical, flattened
from mogp.pruning.trained._compact import select
from mogp.pruning.trained._curve import KEEP
from mogp.pruning.trained._importances import Importance
from mogp.pruning.trained._network import as_classes, check_network, widths
from mogp.pruning.trained._options import RIDGE, Options, counts_kept, counts_of_fractions
from mogp.pruning.trained._repair import repaired


class PosteriorCurve(NamedTuple):
    """Scores of a pruned posterior of classifiers.

    Attributes:
        keep: fractions of nodes kept, of shape (k,).
        nodes: nodes kept in each hidden layer, of shape (k, layers).
        accuracy: of the posterior predictive, whose probabilities are averaged over all chains and
            draws, of shape (k,).
        nll: its mean negative log-likelihood in nats, of shape (k,).
        draw_accuracy: the accuracy of each draw alone, of shape (k, chains, draws).
        draw_nll: the mean negative log-likelihood of each draw alone, of the same shape.
    """

    keep: np.ndarray
    nodes: np.ndarray
    accuracy: np.ndarray
    nll: np.ndarray
    draw_accuracy: np.ndarray
    draw_nll: np.ndarray

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def compact_posterior(
    posterior: Posterior,
    keep: float | None = None,
    *,
    nodes: int | Sequence[int] | None = None,
    importance: Importance = "contribution",
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> Posterior:
    """The posterior with only the best nodes of every hidden layer in each draw.

    Nodes are ranked in each chain by the mean of their importances over its draws, and all its
    draws keep the same: within a chain a node is followed from draw to draw, while the nodes of
    different chains have nothing to do with each other.

    Args:
        posterior: of `inference.sghmc` or `inference.nuts`, of networks with layers of nodes.
        keep: as for `compact`.
        nodes: as for `compact`.
        importance: how nodes are ranked, see `Options`, as for all that follow:
        budget: how many of which layer stay. The layers compete by the importances at each place,
            averaged over chains, so that all chains keep as many of a layer.
        repair: whether each draw is refitted to what it says itself with all its nodes. Where the
            weights of the outputs are integrated out given each draw, these adapt by themselves and
            are left alone.
        ridge: of this fit.
        x_train: training inputs, of shape (n, in_size).
        y_train: their labels.
        key: a random key.

    Returns:
        A posterior whose `sources` are smaller; its predictions and its `data` are theirs.

    Raises:
        ValueError: as `compact` does.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors, pruning
        >>> model, x, y = MoGP([priors.Horseshoe()]), jnp.ones((5, 3)), jnp.zeros(5, int)
        >>> keys = jax.random.split(jax.random.key(0), (2, 4))  # two chains of four draws
        >>> draw = lambda key: model.network(3, 2, 20, key=key)
        >>> posterior = inference.Posterior(
        ...     eqx.filter_vmap(eqx.filter_vmap(draw))(keys), inference.Categorical(2), x, y,
        ...     key=jax.random.key(1),
        ... )
        >>> pruning.compact_posterior(posterior, 0.1, importance="norm").sources.widths
        (2,)
    """
    options = Options(importance, budget, repair, ridge, x_train, y_train, key)
    _check(posterior, options)
    counts = counts_kept(keep, nodes, widths(posterior.sources))
    return _cut(posterior, _mean_importances(posterior, options, None), counts, options)


def posterior_curve(
    posterior: Posterior,
    x: ArrayLike,
    y: ArrayLike,
    keep: Sequence[float] = KEEP,
    *,
    importance: Importance = "contribution",
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> PosteriorCurve:
    """Scores of a posterior of classifiers at each size, and of each of its draws.

    Args:
        posterior: as for `compact_posterior`, with `likelihood="categorical"`.
        x: test inputs, of shape (n, in_size).
        y: test labels, of shape (n,), integers.
        keep: fractions of nodes to keep, in (0, 1].
        importance: how nodes are ranked, see `compact_posterior`, as for all that follow:
        budget: how many of which layer stay.
        repair: whether each draw is refitted.
        ridge: of this fit.
        x_train: training inputs; None takes `x` for importances, but not for the repair.
        y_train: their labels.
        key: a random key.

    Returns:
        Accuracy and log-likelihood at each fraction, of the posterior predictive and of each draw.

    Raises:
        ValueError: as `compact` does, or if `keep` is empty.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors, pruning
        >>> model, x, y = MoGP([priors.Horseshoe()]), jnp.ones((5, 3)), jnp.zeros(5, int)
        >>> keys = jax.random.split(jax.random.key(0), (2, 4))  # two chains of four draws
        >>> draw = lambda key: model.network(3, 2, 20, key=key)
        >>> posterior = inference.Posterior(
        ...     eqx.filter_vmap(eqx.filter_vmap(draw))(keys), inference.Categorical(2), x, y,
        ...     key=jax.random.key(1),
        ... )
        >>> pruning.posterior_curve(posterior, x, y, [1.0, 0.1]).draw_nll.shape
        (2, 2, 4)
    """
    options = Options(importance, budget, repair, ridge, x_train, y_train, key)
    sources = _check(posterior, options)
    nodes = counts_of_fractions(keep, widths(sources))
    x = as_inputs("x", x, model=sources, images=True)
    labels = as_classes("y", y, flattened(sources), x)
    found = _mean_importances(posterior, options, x)
    rows: list[tuple[Any, ...]] = []
    for fraction, counts in zip(keep, nodes, strict=True):
        small = _cut(posterior, found, counts, options)
        predicted = small.predict(x)
        logits = predicted.outputs
        accuracy = jnp.mean(jnp.argmax(logits, -1) == labels[None], axis=-1)
        nll = jnp.mean(jax.vmap(lambda z: categorical(z, labels))(logits), axis=-1)
        whole = predicted.evaluate(labels)
        each = (np.asarray(a).reshape(len(found[0]), -1) for a in (accuracy, nll))
        rows.append((fraction, widths(small.sources), whole["accuracy"], whole["nll"], *each))
    return PosteriorCurve(*(np.array(column) for column in zip(*rows, strict=True)))


def _check(posterior: Any, options: Options) -> Any:
    """The networks of a posterior that can be cut in this way."""
    if not isinstance(posterior, Posterior):
        raise ValueError(
            f"posterior must be an inference.Posterior, got {type(posterior).__name__}"
        )
    sources = posterior.sources
    check_network(sources)
    if nn.nodes(sources)[0].log_variances.ndim != 3:
        raise ValueError("posterior must have sources with axes of chains and draws")
    options.check(sources)
    return sources


def _mean_importances(
    posterior: Posterior, options: Options, default: Array | None
) -> tuple[Array, ...]:
    """Means of the importances over the draws of each chain, of shapes (chains, width)."""
    draws, chains = flattened(posterior.sources), len(nn.nodes(posterior.sources)[0].log_variances)
    if posterior.observed is not None:
        draws = eqx.filter_vmap(_alike)(draws)
    found = options.importances(draws, default)
    return tuple(jnp.mean(s.reshape(chains, -1, s.shape[-1]), axis=1) for s in found)


def _alike(network: Any) -> Any:
    """The network with all outgoing weights of the last layer alike.

    They are integrated out given a draw, so that by their prior all nodes have the same.
    """
    *before, last = nn.nodes(network)
    return nn.with_nodes(network, [*before, last.with_outgoing(jnp.ones_like(last.outgoing()))])


def _cut(
    posterior: Posterior, found: tuple[Array, ...], counts: Sequence[int], options: Options
) -> Posterior:
    if options.budget != "equal":
        at_places = [jnp.mean(-jnp.sort(-s, axis=-1), axis=0) for s in found]
        counts = [int(jnp.sum(stays)) for stays in select(at_places, counts, options.budget)]
    x = options.rows(posterior.sources) if options.repair and posterior.observed is None else None
    sources = _cut_draws(posterior.sources, found, tuple(counts), x, options.ridge)
    return replace(posterior, sources=sources)


@eqx.filter_jit
def _cut_draws(
    sources: Any, found: tuple[Array, ...], counts: tuple[int, ...], x: Array | None, ridge: float
) -> Any:
    """The draws without all but the best nodes of each chain."""
    numbers = tuple(
        jax.vmap(lambda stays, n=count: jnp.flatnonzero(stays, size=n))(stays)
        for stays, count in zip(select(found, counts, "equal"), counts, strict=True)
    )
    arrays, static = eqx.partition(sources, eqx.is_array)

    def one(arrays: Any, numbers: Any) -> Any:
        network = eqx.combine(arrays, static)
        small = nn.take(network, numbers)
        small = small if x is None else repaired(small, network, numbers, x, ridge)
        return eqx.filter(small, eqx.is_array)

    def chain(arguments: Any) -> Any:
        arrays, numbers = arguments
        return jax.lax.map(lambda draw: one(draw, numbers), arrays)

    return eqx.combine(jax.lax.map(chain, (arrays, numbers)), static)
