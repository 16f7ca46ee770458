"""What is minimised: losses, log priors, and predictive scores."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from mogp._arrays import mean_over_rows

Loss = Callable[[Array, Array], Array]


def categorical(outputs: Array, y: Array) -> Array:
    """Cross-entropy of integer labels `y` (n,) under logits (n, classes); shape (n,), in nats."""
    loss: Array = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
    return loss


def gaussian(outputs: Array, y: Array) -> Array:
    """Half the squared error of targets `y` (n, k) against outputs (n, k), summed; shape (n,)."""
    return jnp.sum((outputs - y) ** 2, axis=-1) / 2


LOSSES: dict[str, Loss] = {"categorical": categorical, "gaussian": gaussian}


def log_prior(model: eqx.Module) -> Array:
    """Sum of the log priors of all modules in `model` that have one, a scalar; 0 without any.

    A module has a prior if it has a method `log_prior()`, as `nn.DependentMLP` does.
    """

    def has_prior(node: object) -> bool:
        return isinstance(node, eqx.Module) and hasattr(node, "log_prior")

    nodes = jax.tree.leaves(model, is_leaf=has_prior)
    return sum((node.log_prior() for node in nodes if has_prior(node)), start=jnp.zeros(()))


class Scores(NamedTuple):
    """How well class probabilities predict labels.

    Attributes:
        accuracy: share of rows whose most probable class is the label.
        nll: mean negative log-likelihood, in nats.
    """

    accuracy: Array
    nll: Array


def evaluate(model: Callable[[Array], Array], x: Array, y: Array, *, block: int = 2000) -> Scores:
    """Accuracy and mean negative log-likelihood of a classifier.

    Args:
        model: from inputs (n, d) to logits (n, classes).
        x: inputs, shape (N, d).
        y: labels, shape (N,), integers.
        block: rows evaluated at once, which bounds the memory.

    Returns:
        Two scalars.
    """

    def score(inputs: Array, labels: Array) -> Scores:
        logits = model(inputs)
        nll = categorical(logits, labels).sum()
        return Scores((jnp.argmax(logits, axis=-1) == labels).sum().astype(nll.dtype), nll)

    scores: Scores = mean_over_rows(score, x, y, block=block)
    return scores
