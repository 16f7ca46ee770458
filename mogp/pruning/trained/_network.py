"""What pruning asks of a network: layers with node variances, in one network or in a stack."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike

from mogp import nn
from mogp._checks import check_inputs, check_labels


def check_network(network: Any) -> None:
    """Raise unless an Equinox module holds layers with node variances."""
    if not nn.nodes(network):
        raise ValueError(
            "network must hold layers whose nodes have variances, got "
            f"{type(network).__name__}, which has none: use an nn.DependentMLP, an "
            "nn.GMLayer(…, prior=…), or a layer of your own, a subclass of nn.AbstractNodes"
        )


def check_one(network: Any) -> None:
    """Raise unless the network has node variances and is one network, not a stack."""
    check_network(network)
    if nn.is_stack(network):
        raise ValueError("network must be one network, got a stack; take one of its seeds first")


def widths(network: Any) -> tuple[int, ...]:
    """The number of nodes in each layer of nodes."""
    return tuple(layer.number for layer in nn.nodes(network))


def check_rows(name: str, x: ArrayLike, network: Any) -> None:
    """Raise unless `x` is a batch of finite floating inputs, of the size that the network takes."""
    rows = np.asarray(x)
    size = getattr(network, "in_size", None)
    if size is None and rows.ndim > 2:  # images, for example
        rows = rows.reshape(len(rows), -1)
    check_inputs(name, rows, size)


def check_classes(name: str, y: ArrayLike, network: Any, x: ArrayLike) -> None:
    """Raise unless `y` has a label for each row of `x`, below the network's number of outputs."""
    outputs = eqx.filter_eval_shape(over_stack(network, _apply), network, x[:1])  # type: ignore[index]
    check_labels(name, y, np.shape(x)[0], outputs.shape[-1])


def _apply(network: Any, x: Any) -> Any:
    return network(x)


def over_stack(network: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one network and other arguments, mapped over a stack if it is one."""
    if not nn.is_stack(network):
        return function

    def mapped(network: Any, *arguments: Any) -> Any:
        return eqx.filter_vmap(lambda one: function(one, *arguments))(network)

    return mapped


def each_of(stack: Any, num: int) -> list[Any]:
    """The entries of a stack, as a list: arrays lose their leading axis, of length `num`."""
    arrays, static = eqx.partition(stack, eqx.is_array)
    return [eqx.combine(jax.tree.map(lambda a: a[i], arrays), static) for i in range(num)]  # noqa: B023
