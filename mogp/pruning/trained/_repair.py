"""What is left of a network learns to do the work of the nodes that left, in closed form."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from mogp import nn
from mogp._arrays import sum_over_rows


def repaired(small: Any, network: Any, kept: Sequence[Array], x: Array, ridge: float) -> Any:
    """The smaller network with weights refitted so that it says what the whole one says.

    From the first layer of nodes to the last, the weights behind it are changed by `Δ`,

    ```
    min_Δ  Σ_i ‖z(x_i) - z°(x_i) - Δ f(x_i)‖² + ridge Σ_j (Δ_j s_j)²,    s_j² = Σ_i f_j(x_i)²
    ```

    with `z` the outputs of the layer in the whole network, at the nodes of the next layer that
    stay, and `z°`, `f` its outputs and its `design` in the smaller one as it is by then. Sums run
    over blocks of rows, so that the memory is that of the matrices, not of the data. Directions the
    data do not see keep their weights. `kept` has the numbers of the nodes that stayed.
    """
    order = list(range(len(kept)))
    if isinstance(nn.nodes(network)[-1], nn.InputLayer):  # which comes first
        order = [order[-1], *order[:-1]]
    for layer, after in zip(order, (*order[1:], None), strict=True):
        following = None if after is None else kept[after]
        small = _layer_refitted(small, network, layer, following, x, ridge)
    return small


@eqx.filter_jit
def _layer_refitted(
    small: Any, network: Any, layer: int, following: Array | None, x: Array, ridge: float
) -> Any:
    layers = list(nn.nodes(small))

    def pair(rows: Array) -> tuple[Array, Array]:
        wanted = nn.flow(network, rows)[layer][1]
        inputs, found = nn.flow(small, rows)[layer]
        if wanted.shape != found.shape:  # the layer feeds the next one, which was cut
            assert following is not None
            wanted = wanted[..., following]
        features = layers[layer].design(inputs)
        residual = wanted - found
        return features.reshape(-1, features.shape[-1]), residual.reshape(-1, residual.shape[-1])

    change = _least_squares(pair, x, ridge)
    layers[layer] = layers[layer].refitted(change)
    return nn.with_nodes(small, layers)


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
