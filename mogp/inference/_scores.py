"""How well classifiers predict."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import as_numbers, mean_over_rows
from mogp._checks import check_labels, is_concrete
from mogp.inference._data import check_outputs


def categorical(outputs: Array, y: Array) -> Array:
    """The cross-entropy of integer labels under logits, in nats.

    Equivalent to `optax.softmax_cross_entropy_with_integer_labels`.

    Args:
        outputs: logits, of shape (n, classes).
        y: labels in [0, classes), of shape (n,).

    Returns:
        Array of shape (n,).

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import inference
        >>> round(inference.categorical(jnp.zeros((1, 4)), jnp.array([2])).item(), 3)
        1.386
    """
    loss: Array = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
    return loss


class Scores(NamedTuple):
    """How well class probabilities predict labels.

    Attributes:
        accuracy: the share of rows whose most probable class is the label.
        nll: the mean negative log-likelihood, in nats.
    """

    accuracy: Array
    nll: Array


def evaluate(
    model: Callable[[Array], Array], x: ArrayLike, y: ArrayLike, *, block: int = 2000
) -> Scores:
    """Accuracy and mean negative log-likelihood of a classifier.

    Args:
        model: a function from inputs (n, …) to logits (n, classes).
        x: inputs, of shape (N, …).
        y: labels in [0, classes), of shape (N,), integers.
        block: the number of rows evaluated at once, which bounds the memory.

    Returns:
        Two scalars.

    Raises:
        ValueError: if there is not one label a row, or labels are outside their range.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import inference
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> round(float(inference.evaluate(lambda x: x, logits, jnp.array([0, 1, 1])).accuracy), 3)
        0.667
    """
    x, y = as_numbers("x", x), as_numbers("y", y)
    outputs = eqx.filter_eval_shape(model, x[:1]).shape
    check_outputs(outputs, 1, 1, at_least=True)
    if is_concrete(y):
        check_labels("y", y, len(x), outputs[1])

    def score(inputs: Array, labels: Array) -> Scores:
        logits = model(inputs)
        nll = categorical(logits, labels).sum()
        return Scores((jnp.argmax(logits, axis=-1) == labels).sum().astype(nll.dtype), nll)

    scores: Scores = mean_over_rows(score, x, y, block=block)
    return scores


def class_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`accuracy`, `brier` and `ece`, see `Predictive.evaluate`, of probabilities (n, classes)."""
    best, sure = probabilities.argmax(1), probabilities.max(1)
    right = best == labels
    hot = np.eye(probabilities.shape[1])[labels]
    bins = np.minimum((sure * 15).astype(int), 14)
    off = [abs((right[bins == b] - sure[bins == b]).sum()) for b in range(15)]
    return {
        "accuracy": float(right.mean()),
        "brier": float(((probabilities - hot) ** 2).sum(1).mean()),
        "ece": float(sum(off) / len(labels)),
    }
