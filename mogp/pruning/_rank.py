"""How much each hidden node matters."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import mean_over_rows
from mogp._checks import check_choice, check_inputs, check_labels, is_concrete
from mogp.inference import categorical
from mogp.nn import DependentMLP, GMLayer
from mogp.pruning._nodes import Network, check_network, components, log_variances, over_stack

RANKS = ("contribution", "fisher", "norm", "random", "taylor", "variance")
_BY_DATA = ("contribution", "fisher", "taylor")


def scores(
    network: Network,
    rank: str = "contribution",
    inputs: Array | None = None,
    *,
    targets: Array | None = None,
    key: Array | None = None,
) -> tuple[Array, ...]:
    """A score for every hidden node; nodes with the smallest are pruned first.

    With `W_·j = √λ_j V_·j` the outgoing weights of node `j`, and `g_j = φ(Z_j) ∂ℓ/∂φ(Z_j)` the
    derivative of the loss of one row by the size of the node:

    - `"variance"`: `λ_j`, the ranking of [DW];
    - `"norm"`: `‖W_·j‖²`, magnitude pruning of nodes;
    - `"contribution"`: `‖W_·j‖² E φ(Z_j)²`, the mean square of what the node adds to the next
      layer, over the given inputs;
    - `"taylor"`: `E |g_j|`, what the loss changes without the node, to first order (Molchanov et
      al., 2017);
    - `"fisher"`: `E g_j² / 2`, the same to second order where the gradient vanishes (Theis et al.,
      2018);
    - `"random"`: uniform numbers, the ranking to beat.

    For a `GMLayer`, nodes are components, `W_·k` is `√λ_k` times the mean of `ω`, and what a
    component adds is its whole term.

    Args:
        network: an `nn.DependentMLP`, an `nn.GMLayer` with a prior, or several stacked along a
            leading axis.
        rank: one of the names above.
        inputs: training inputs, shape (n, in_size), for the rankings that average over them.
        targets: their labels, shape (n,), for `"taylor"` and `"fisher"`.
        key: a random key, for `"random"`.

    Returns:
        One array a hidden layer, shape (width,), with the leading axis of stacked networks.

    Raises:
        ValueError: for an unknown name, a network without node variances, missing inputs, labels or
            key, or a ranking by variance where all variances are equal.
    """
    check_choice("rank", rank, RANKS)
    check_network(network)
    if rank == "variance":
        _check_ties(network)
    if rank == "random":
        if key is None:
            raise ValueError('rank="random" needs a key')
        keys = jax.random.split(key, len(log_variances(network)))
        return tuple(
            jax.random.uniform(k, u.shape, u.dtype)
            for k, u in zip(keys, log_variances(network), strict=True)
        )
    if rank not in _BY_DATA:
        return over_stack(network, _of_weights)(network, rank)
    if inputs is None:
        raise ValueError(f'rank="{rank}" needs inputs, the training inputs it averages over')
    if is_concrete(inputs):
        check_inputs("inputs", inputs, network.in_size)
    x = jnp.asarray(inputs)
    if rank == "contribution":
        return over_stack(network, _contributions)(network, x)
    if targets is None:
        raise ValueError(f'rank="{rank}" needs targets, the labels of the training inputs')
    if is_concrete(targets):
        check_labels("targets", targets, len(x), network.out_size)
    power = 1 if rank == "taylor" else 2
    return over_stack(network, _sensitivities)(network, power, x, jnp.asarray(targets))


def _check_ties(network: Network) -> None:
    priors = network.priors if isinstance(network, DependentMLP) else [network.prior]
    for layer, u in enumerate(log_variances(network)):
        if is_concrete(u) and u.shape[-1] > 1 and np.any(np.ptp(np.asarray(u), axis=-1) == 0):
            raise ValueError(
                f'rank="variance" cannot order hidden layer {layer + 1}: its node variances are '
                f'all equal (prior {priors[layer]}); use "contribution" or "norm"'
            )


@eqx.filter_jit
def _of_weights(network: Network, rank: str) -> tuple[Array, ...]:
    variances = tuple(jnp.exp(u) for u in log_variances(network))
    if rank == "variance":
        return variances
    if isinstance(network, GMLayer):
        outgoing = [network.output_means().T]
    else:
        outgoing = list(network.weights[1:])
    return tuple(v * jnp.sum(w**2, axis=0) for v, w in zip(variances, outgoing, strict=True))


@eqx.filter_jit
def _contributions(network: Network, x: Array) -> tuple[Array, ...]:
    def squares(x: Array) -> tuple[Array, ...]:
        if isinstance(network, GMLayer):
            return (jnp.sum(components(network, x) ** 2, axis=(1, 2)),)
        return tuple(
            jnp.sum(network.activation(z) ** 2, axis=0) for z in network.pre_activations(x)[:-1]
        )

    means: tuple[Array, ...] = mean_over_rows(squares, x)
    if isinstance(network, GMLayer):
        return means
    return tuple(n * m for n, m in zip(_of_weights(network, "norm"), means, strict=True))


@eqx.filter_jit
def _sensitivities(network: Network, power: int, x: Array, y: Array) -> tuple[Array, ...]:
    """`E |g|` or `E g² / 2`. Rows do not share gates, so that one gradient is that of every row."""

    def gated(rows: Array) -> tuple[Callable[[tuple[Array, ...]], Array], tuple[Array, ...]]:
        if isinstance(network, GMLayer):
            added = components(network, rows)
            ones = jnp.ones((len(rows), network.components), added.dtype)
            return lambda g: jnp.einsum("nk,knl->nl", g[0], added), (ones,)
        return lambda g: network.pre_activations(rows, g)[-1], tuple(
            jnp.ones((len(rows), width), rows.dtype) for width in network.widths
        )

    def moments(rows: Array, labels: Array) -> tuple[Array, ...]:
        outputs, ones = gated(rows)
        gradients = jax.grad(lambda g: categorical(outputs(g), labels).sum())(ones)
        return tuple(jnp.sum(jnp.abs(g) ** power, axis=0) / power for g in gradients)

    means: tuple[Array, ...] = mean_over_rows(moments, x, y)
    return means
