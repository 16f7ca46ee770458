"""How much each hidden node matters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import mean_over_rows
from mogp._checks import check_choice, check_inputs, is_concrete
from mogp.nn import DependentMLP

RANKS = ("contribution", "norm", "variance")


def scores(
    network: DependentMLP, rank: str = "contribution", inputs: Array | None = None
) -> tuple[Array, ...]:
    """A score for every hidden node; nodes with the smallest are pruned first.

    With `W_·j = √λ_j V_·j` the outgoing weights of node `j`:

    - `"variance"`: `λ_j`, the ranking of [DW];
    - `"norm"`: `‖W_·j‖²`, magnitude pruning of nodes;
    - `"contribution"`: `‖W_·j‖² E φ(Z_j)²`, the mean square of what the node adds to the next
      layer, over the given inputs.

    Args:
        network: a network, or several stacked along a leading axis.
        rank: one of the names above.
        inputs: training inputs, shape (n, in_size), for `"contribution"`.

    Returns:
        One array a hidden layer, shape (width,), with the leading axis of stacked networks.

    Raises:
        ValueError: for an unknown name, a network without node variances, missing inputs, or a
            ranking by variance where all variances are equal.
    """
    check_choice("rank", rank, RANKS)
    check_network(network)
    if rank == "contribution":
        if inputs is None:
            raise ValueError(
                'rank="contribution" needs inputs, the training inputs it averages over'
            )
        if is_concrete(inputs):
            check_inputs("inputs", inputs, network.in_size)
    if rank == "variance":
        _check_ties(network)
    return over_stack(network, _scores)(network, rank, inputs)


def check_network(network: Any) -> None:
    """Raise unless the network has node variances."""
    if not isinstance(network, DependentMLP):
        raise ValueError(
            f"network must be an nn.DependentMLP, whose nodes have variances; "
            f"got {type(network).__name__}"
        )


def is_stack(network: DependentMLP) -> bool:
    """Whether the arrays have a leading axis of networks."""
    return network.weights[0].ndim == 3


def over_stack(network: DependentMLP, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one network and other arguments, mapped over a stack if it is one."""
    if not is_stack(network):
        return function

    def mapped(network: DependentMLP, *arguments: Any) -> Any:
        return eqx.filter_vmap(lambda one: function(one, *arguments))(network)

    return mapped


def _check_ties(network: DependentMLP) -> None:
    for layer, u in enumerate(network.log_variances):
        if is_concrete(u) and u.shape[-1] > 1 and np.any(np.ptp(np.asarray(u), axis=-1) == 0):
            raise ValueError(
                f'rank="variance" cannot order hidden layer {layer + 1}: its node variances are '
                f'all equal (prior {network.priors[layer]}); use "contribution" or "norm"'
            )


@eqx.filter_jit
def _scores(network: DependentMLP, rank: str, inputs: Array | None) -> tuple[Array, ...]:
    if rank == "variance":
        return tuple(jnp.exp(u) for u in network.log_variances)
    norms = tuple(
        jnp.exp(u) * jnp.sum(weight**2, axis=0)
        for u, weight in zip(network.log_variances, network.weights[1:], strict=True)
    )
    if rank == "norm":
        return norms

    def squares(x: Array) -> tuple[Array, ...]:
        return tuple(
            jnp.sum(network.activation(z) ** 2, axis=0) for z in network.pre_activations(x)[:-1]
        )

    means: tuple[Array, ...] = mean_over_rows(squares, jnp.asarray(inputs))
    return tuple(n * m for n, m in zip(norms, means, strict=True))
