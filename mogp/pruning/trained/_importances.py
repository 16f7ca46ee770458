"""How much each node of a network matters."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp import nn
from mogp._arrays import as_inputs, mean_over_rows
from mogp._checks import check_choice, check_key, is_concrete
from mogp.inference import categorical
from mogp.pruning.trained._network import (
    as_classes,
    check_network,
    each_of,
    over_stack,
)

IMPORTANCES = ("contribution", "fisher", "norm", "random", "taylor", "variance")
_BY_LOSS = {"taylor": 1, "fisher": 2}  # powers of the derivative

Importance: TypeAlias = str | Callable[[Any, Any, Any], Sequence[ArrayLike]]


def importances(
    network: Any,
    importance: Importance = "contribution",
    *,
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, "..."], ...]:
    """How much each node matters: nodes with the smallest importance are pruned first.

    With the outgoing weights `W_·j = √λ_j V_·j` of node `j`, its value `h_j`, and the derivative
    `g_j = 2 ∂ℓ/∂log λ_j` of the loss of one row by a factor on this value:

    - `"variance"`: `λ_j`, the ranking of [DW];
    - `"norm"`: `‖W_·j‖²`, magnitude pruning of nodes;
    - `"contribution"`: `‖W_·j‖² E h_j²`, the mean square of what the node adds to the next
      layer, over the training inputs;
    - `"taylor"`: `E |g_j|`, what the loss changes without the node, to first order (Molchanov et
      al., 2017);
    - `"fisher"`: `E g_j² / 2`, what it changes to second order where the gradient vanishes (Theis
      et al., 2018);
    - `"random"`: uniform numbers, the ranking to beat.

    The nodes of an `nn.GMLayer` are its components: `W_·k` is `√λ_k` times the mean of `ω`, and
    what a component adds is its whole term.

    Args:
        network: any Equinox module that holds layers of nodes (`nn.AbstractNodes`), or several of
            one form stacked along a leading axis.
        importance: one of the names above; or a function of one network, `x_train` and `y_train`
            that gives an array of shape (width,) for each layer of nodes.
        x_train: training inputs, of shape (n, in_size), for the names that average over data.
        y_train: their labels, integers of shape (n,), for `"taylor"` and `"fisher"`.
        key: a random key, for `"random"`.

    Returns:
        One array for each layer of nodes, of shape (width,), with the leading axis of a stack.

    Raises:
        ValueError: for an unknown name, a network without node variances, missing inputs, labels or
            key, a ranking by variance where all variances are equal, a function whose results have
            other shapes, or importances that are NaN.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> found, = pruning.importances(network, x_train=jax.numpy.ones((5, 3)))
        >>> found.shape
        (100,)
    """
    check_network(network)
    if callable(importance):
        return _of_function(network, importance, x_train, y_train)
    check_choice("importance", importance, IMPORTANCES)
    found = _of_name(network, importance, x_train, y_train, key)
    if is_concrete(found) and any(np.any(np.isnan(values)) for values in found):
        raise ValueError(f'importance="{importance}" is NaN: network holds numbers that are not')
    return found


def _of_name(
    network: Any, importance: str, x_train: Any, y_train: Any, key: Any
) -> tuple[Array, ...]:
    layers = nn.nodes(network)
    if importance == "variance":
        _check_ties(layers)
        return tuple(jnp.exp(layer.log_variances) for layer in layers)
    if importance == "random":
        if key is None:
            raise ValueError('importance="random" needs a key')
        check_key(key)
        pairs = zip(jax.random.split(key, len(layers)), layers, strict=True)
        logs = [(k, layer.log_variances) for k, layer in pairs]
        return tuple(jax.random.uniform(k, u.shape, u.dtype) for k, u in logs)
    if importance == "norm":
        return over_stack(network, _norms)(network)
    if x_train is None:
        raise ValueError(
            f'importance="{importance}" needs x_train, the training inputs it averages over'
        )
    x = as_inputs("x_train", x_train, model=network, images=True)
    if importance == "contribution":
        return over_stack(network, _contributions)(network, x)
    if y_train is None:
        raise ValueError(
            f'importance="{importance}" needs y_train, the labels of the training inputs'
        )
    y = as_classes("y_train", y_train, network, x)
    return over_stack(network, _sensitivities)(network, _BY_LOSS[importance], x, y)


def _check_ties(layers: Sequence[nn.AbstractNodes]) -> None:
    for number, layer in enumerate(layers, start=1):
        u = layer.log_variances
        if is_concrete(u) and u.shape[-1] > 1 and np.any(np.all(u[..., 1:] == u[..., :1], -1)):
            raise ValueError(
                f'importance="variance" cannot order hidden layer {number}: its node variances are '
                f'all equal (prior {layer.prior}); use "contribution" or "norm"'
            )


def _of_function(
    network: Any, function: Callable[..., Sequence[ArrayLike]], x: Any, y: Any
) -> tuple[Array, ...]:
    layers = nn.nodes(network)
    if nn.is_stack(network):
        each = [
            _of_function(n, function, x, y) for n in each_of(network, len(layers[0].log_variances))
        ]
        return tuple(jnp.stack(parts) for parts in zip(*each, strict=True))
    given = function(network, x, y)
    found = tuple(map(jnp.asarray, given)) if isinstance(given, Sequence) else ()
    shapes = [(layer.number,) for layer in layers]
    if [values.shape for values in found] != shapes:
        raise ValueError(
            "importance must give one array for each layer of nodes, of shapes "
            f"{shapes}, got {[values.shape for values in found] or given}"
        )
    if any(jnp.iscomplexobj(values) or np.any(np.isnan(values)) for values in found):
        raise ValueError("importance must give numbers, got NaN or complex ones")
    return found


@eqx.filter_jit
def _norms(network: Any) -> tuple[Array, ...]:
    return tuple(layer.norms() for layer in nn.nodes(network))


@eqx.filter_jit
def _contributions(network: Any, x: Array) -> tuple[Array, ...]:
    def squares(rows: Array) -> tuple[Array, ...]:
        through = zip(nn.nodes(network), nn.flow(network, rows), strict=True)
        return tuple(layer.contributions(inputs) for layer, (inputs, _) in through)

    return mean_over_rows(squares, x)


@eqx.filter_jit
def _sensitivities(network: Any, power: int, x: Array, y: Array) -> tuple[Array, ...]:
    """`E |g|` or `E g² / 2`, with a gradient for each row: no block keeps more than its rows."""
    start = tuple(layer.log_variances for layer in nn.nodes(network))

    def loss(values: tuple[Array, ...], row: Array, label: Array) -> Array:
        outputs = nn.with_log_variances(network, values)(row[None])
        return categorical(outputs, label[None])[0]

    def moments(rows: Array, labels: Array) -> tuple[Array, ...]:
        gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(start, rows, labels)
        return tuple(jnp.sum(jnp.abs(2 * g) ** power, axis=0) / power for g in gradients)

    return mean_over_rows(moments, x, y)
