"""What is left of a network learns to do the work of the nodes that left, in closed form."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from mogp._arrays import sum_over_rows
from mogp.nn import DependentMLP, GMLayer
from mogp.pruning._nodes import Network


def repair(
    small: Network, network: Network, kept: Sequence[Array], inputs: Array, ridge: float
) -> Network:
    """The smaller network with weights refitted so that it says what the whole one says.

    From the first hidden layer to the last, the weights and biases behind it are changed by `Δ`,

    ```
    min_Δ  Σ_i ‖z(x_i) - z°(x_i) - Δ f(x_i)‖² + ridge Σ_j (Δ_j s_j)²,    s_j² = Σ_i f_j(x_i)²
    ```

    with `z` the next layer's pre-activations in the whole network, at the nodes that stay, and
    `z°`, `f` those and what the weights multiply in the smaller one as it is by then. Sums run over
    blocks of rows, so that the memory is that of the matrices, not of the data. Directions the data
    do not see keep their weights. Of a `GMLayer` the offsets `v` are refitted.

    Args:
        small: the network after the cut.
        network: the network before it.
        kept: numbers of the nodes that stayed, one array a layer of nodes.
        inputs: training inputs, shape (n, in_size).
        ridge: positive, relative to the sum of squares of each column.
    """
    if isinstance(small, GMLayer) or isinstance(network, GMLayer):
        assert isinstance(small, GMLayer)
        assert isinstance(network, GMLayer)
        return _offsets_refitted(small, network, inputs, ridge)
    for layer in range(len(kept)):
        targets = kept[layer + 1] if layer + 1 < len(kept) else None
        small = _layer_refitted(small, network, layer, targets, inputs, ridge)
    return small


@eqx.filter_jit
def _layer_refitted(
    small: DependentMLP,
    network: DependentMLP,
    layer: int,
    kept: Array | None,
    x: Array,
    ridge: float,
) -> DependentMLP:
    def pair(rows: Array) -> tuple[Array, Array]:
        wanted, found = (n.pre_activations(rows)[layer + 1] for n in (network, small))
        return small.design(rows, layer + 1), (wanted if kept is None else wanted[:, kept]) - found

    change = _least_squares(pair, x, ridge)
    return eqx.tree_at(
        lambda n: (n.biases[layer + 1], n.weights[layer + 1]),
        small,
        (small.biases[layer + 1] + change[0], small.weights[layer + 1] + change[1:].T),
    )


@eqx.filter_jit
def _offsets_refitted(small: GMLayer, network: GMLayer, x: Array, ridge: float) -> GMLayer:
    """The outputs are linear in `v`, so that their derivatives by it are what it multiplies."""

    def zeros(like: Array) -> Array:
        return jnp.zeros_like(like, shape=(small.components, *like.shape))

    probe = eqx.tree_at(
        lambda n: (n.slopes, n.offsets, n.output_factors),
        small,
        (
            None if small.slopes is None else zeros(small.means),
            jnp.eye(small.components, dtype=small.offsets.dtype),
            None if small.factors is None else zeros(small.factors[:, 0]),
        ),
        is_leaf=lambda a: a is None,
    )

    def pair(rows: Array) -> tuple[Array, Array]:
        return probe(rows), network(rows) - small(rows)

    change = _least_squares(pair, x, ridge)
    return eqx.tree_at(lambda n: n.offsets, small, small.offsets + change)


def _least_squares(pair: Callable[[Array], tuple[Array, Array]], x: Array, ridge: float) -> Array:
    """Coefficients of shape (columns, outputs) from features and residuals of blocks of rows."""

    def products(rows: Array) -> tuple[Array, Array]:
        features, residuals = pair(rows)
        return features.T @ features, features.T @ residuals

    gram, cross = sum_over_rows(products, x)
    root = jnp.sqrt(jnp.diagonal(gram))
    scale = jnp.where(root > 0, root, 1)
    unit = gram / jnp.outer(scale, scale) + ridge * jnp.eye(len(gram), dtype=gram.dtype)
    scaled = cross / jnp.broadcast_to(scale[:, None], cross.shape)
    solution: Array = cho_solve(cho_factor(unit), scaled)
    return solution / jnp.broadcast_to(scale[:, None], cross.shape)
