"""What pruning asks of a network and of data, and what a network costs."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp import nn
from mogp._arrays import as_inputs
from mogp._checks import check_count, check_labels, is_concrete


class Cost(NamedTuple):
    """What a network takes.

    Attributes:
        parameters: how many numbers its arrays hold.
        seconds: the median time of a call.
    """

    parameters: int
    seconds: float


def cost(network: eqx.Module, x: ArrayLike, *, repeats: int = 20) -> Cost:
    """The number of parameters of a network, and the median time of `network(x)`, compiled.

    Args:
        network: any Equinox module, with or without node variances.
        x: a batch of inputs, of shape (n, in_size).
        repeats: how many calls are timed, after one that compiles.

    Returns:
        Parameters and seconds.

    Raises:
        ValueError: if `x` does not fit, or `repeats` is below 1.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> pruning.cost(network, jax.numpy.ones((5, 3)), repeats=2).parameters
        702
    """
    check_count("repeats", repeats)
    x = as_inputs("x", x, model=network, images=True)
    arrays, static = eqx.partition(network, eqx.is_array)
    call = jax.jit(lambda arrays, x: eqx.combine(arrays, static)(x))
    call(arrays, x).block_until_ready()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call(arrays, x).block_until_ready()
        times.append(time.perf_counter() - began)
    return Cost(sum(a.size for a in jax.tree.leaves(arrays)), float(np.median(times)))


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


def as_classes(name: str, y: ArrayLike, network: Any, x: Array) -> Array:
    """Labels as an array: one for each row of `x`, below the network's number of outputs."""
    outputs = eqx.filter_eval_shape(over_stack(network, lambda n, x: n(x)), network, x[:1])
    if is_concrete(y):
        y = np.asarray(y)
        y = y.astype(int) if y.dtype == bool else y
        check_labels(name, y, len(x), outputs.shape[-1])
    return jnp.asarray(y)


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
