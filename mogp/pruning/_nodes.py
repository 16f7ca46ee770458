"""What pruning needs to know of a network: its nodes, and how to take some of them away."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp.nn import DependentMLP, GMLayer

# Nodes of a GM layer are its components; it has one layer of them.
Network: TypeAlias = DependentMLP | GMLayer
_OF_COMPONENTS = ("means", "scales", "slopes", "offsets", "factors", "output_factors")


def check_network(network: Any) -> None:
    """Raise unless the network has node variances."""
    if isinstance(network, GMLayer) and network.log_variances is None:
        raise ValueError(
            "network must be one whose nodes have variances; got GMLayer without a prior on its "
            "components: nn.GMLayer(…, prior=…) has them"
        )
    if not isinstance(network, DependentMLP | GMLayer):
        raise ValueError(
            "network must be an nn.DependentMLP or an nn.GMLayer with a prior, whose nodes have "
            f"variances; got {type(network).__name__}, which has none: no log_variances"
        )


def log_variances(network: Network) -> tuple[Array, ...]:
    """`log λ` of the nodes, one array a layer of nodes."""
    if isinstance(network, DependentMLP):
        return network.log_variances
    assert network.log_variances is not None
    return (network.log_variances,)


def widths(network: Network) -> tuple[int, ...]:
    """Nodes in each layer of nodes."""
    return tuple(u.shape[-1] for u in log_variances(network))


def with_log_variances(network: Network, values: Sequence[Array]) -> Network:
    """The network with other `log λ`."""
    new: Any = tuple(values) if isinstance(network, DependentMLP) else values[0]
    changed: Network = eqx.tree_at(lambda n: n.log_variances, network, new)
    return changed


def take(network: Network, kept: Sequence[Array]) -> Network:
    """The smaller network with the nodes of these numbers, one array of them a layer of nodes."""
    logs = [u[i] for u, i in zip(log_variances(network), kept, strict=True)]
    small = with_log_variances(network, logs)
    new: dict[str, Any]
    if isinstance(small, GMLayer):
        found = {name: getattr(small, name) for name in _OF_COMPONENTS}
        new = {name: array[kept[0]] for name, array in found.items() if array is not None}
    else:
        weights, biases = list(small.weights), list(small.biases)
        for layer, index in enumerate(kept):
            weights[layer], biases[layer] = weights[layer][index], biases[layer][index]
            weights[layer + 1] = weights[layer + 1][:, index]
        new = {"weights": tuple(weights), "biases": tuple(biases)}
    result: Network = eqx.tree_at(
        lambda n: [getattr(n, name) for name in new], small, list(new.values())
    )
    return result


def components(layer: GMLayer, x: Array) -> Array:
    """What each component adds to the outputs, shape (K, n, L)."""

    def alone(k: Array) -> Array:
        outputs: Array = take(layer, [k[None]])(x)
        return outputs

    return jax.vmap(alone)(jnp.arange(layer.components))


def is_stack(network: Network) -> bool:
    """Whether the arrays have a leading axis of networks."""
    return log_variances(network)[0].ndim == 2


def over_stack(network: Network, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one network and other arguments, mapped over a stack if it is one."""
    if not is_stack(network):
        return function

    def mapped(network: Network, *arguments: Any) -> Any:
        return eqx.filter_vmap(lambda one: function(one, *arguments))(network)

    return mapped
