"""What a network costs."""

import time
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax import Array

from mogp._checks import check_count
from mogp.pruning.trained._network import check_rows


class Cost(NamedTuple):
    """What a network takes.

    Attributes:
        parameters: how many numbers its arrays hold.
        seconds: the median time of a call.
    """

    parameters: int
    seconds: float


def cost(network: eqx.Module, x: Array, *, repeats: int = 20) -> Cost:
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
    check_rows("x", x, network)
    arrays, static = eqx.partition(network, eqx.is_array)
    call = jax.jit(lambda arrays, x: eqx.combine(arrays, static)(x))
    call(arrays, x).block_until_ready()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call(arrays, x).block_until_ready()
        times.append(time.perf_counter() - began)
    return Cost(sum(a.size for a in jax.tree.leaves(arrays)), float(np.median(times)))
