"""Random kernels on a set of points: exact given the jumps, of the order of n³ a layer."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp._checks import check_count, check_inputs
from mogp.activations import Activation, positively_homogeneous
from mogp.limit._jumps import (
    LayerJumps,
    NumJumps,
    at_precision,
    draw_jumps,
    numbers_of_jumps,
)
from mogp.limit._linalg import cholesky
from mogp.limit._recursion import (
    Layer,
    Pair,
    diffuse_step,
    input_pair,
    layers_of,
    precise_matmul,
)

if TYPE_CHECKING:
    from mogp.architecture import MoGP

_ENTRIES = 2**25  # numbers held by the draws that are made at once


class KernelDraws(NamedTuple):
    """Draws of the random kernel of a model.

    Attributes:
        kernels: `Σ^(L+1)` on the points, of shape (num_samples, n, n).
        error: bound on the root mean square error of the variances `Σ^(L+1)(x, x)` that comes from
            keeping finitely many jumps, given the kept ones, of shape (num_samples, n).
    """

    kernels: Array
    error: Array


def sample_kernel(
    model: "MoGP",
    x: Array,
    *,
    key: Array,
    num_samples: int = 1,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> KernelDraws:
    """Draws of the random kernel `Σ^(L+1)` on a set of points, with the error of truncation.

    In each layer the largest jumps are kept, and the sum of the others is replaced by its
    expectation given those, which leaves the mean of the kernel exact. The error reported is exact
    for one hidden layer, and for positively homogeneous activations (ReLU); for others it is a
    bound that holds for activations with `φ(0) = 0` and the slope that they have at most.

    Args:
        model: of any depth.
        x: points, of shape (n, d).
        key: random key.
        num_samples: number of kernels.
        num_jumps: jumps kept, one number or one a hidden layer; None keeps as many as `tolerance`
            asks for.
        tolerance: wanted relative error of the variances in each layer, for `levy.num_jumps`.

    Returns:
        Kernels of shape (num_samples, n, n), and the errors.

    Raises:
        ValueError: if an argument is out of range, or the points are not a finite (n, d) array.
    """
    check_inputs("x", x)
    num = numbers_of_jumps(layers_of(model), model.activation, num_jumps, tolerance)
    return KernelDraws(
        *_draw(model, x, key, check_count("num_samples", num_samples), num, None)[:2]
    )


def sample_prior(
    model: "MoGP",
    x: Array,
    *,
    key: Array,
    num_samples: int = 1,
    num_outputs: int = 1,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Array:
    """Draws of the outputs at a set of points; the outputs of one draw share its kernel.

    Args:
        model: of any depth.
        x: points, of shape (n, d).
        key: random key.
        num_samples: number of draws.
        num_outputs: outputs of the network.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.

    Returns:
        Array of shape (num_samples, n, num_outputs).
    """
    check_inputs("x", x)
    num = numbers_of_jumps(layers_of(model), model.activation, num_jumps, tolerance)
    outputs = check_count("num_outputs", num_outputs)
    return _draw(model, x, key, check_count("num_samples", num_samples), num, outputs)[2]


@eqx.filter_jit
def _draw(
    model: "MoGP",
    x: Array,
    key: Array,
    num_samples: int,
    num_jumps: tuple[int, ...],
    num_outputs: int | None,
) -> tuple[Array, Array, Array]:
    by_jump, by_draw = jax.random.split(key)
    layers = layers_of(model)
    jumps = [
        at_precision(draw_jumps(layer, num, k, (num_samples,)), x.dtype)
        for layer, num, k in zip(
            layers, num_jumps, jax.random.split(by_jump, len(layers)), strict=True
        )
    ]
    first = input_pair(model, x, x)
    factor = input_factor(model, x, first)

    def one(draw: tuple[list[LayerJumps], Array]) -> tuple[Array, Array, Array]:
        drawn, key = draw
        by_node, by_output = jax.random.split(key)
        kernel, error = propagate(model, first, factor, drawn, by_node)
        if num_outputs is None:
            return kernel, error, jnp.zeros(())
        noise = jax.random.normal(by_output, (num_outputs, len(x)), x.dtype)
        return jnp.zeros(()), error, cholesky(kernel) @ noise.T

    n = len(x)
    size = n * (3 * n + 2 * max(num_jumps, default=0) + factor.shape[1])
    batch = max(1, min(num_samples, _ENTRIES // size))
    keys = jax.random.split(by_draw, num_samples)
    return jax.lax.map(one, (jumps, keys), batch_size=batch)


def input_factor(model: "MoGP", x: Array, first: Pair) -> Array:
    """`F` with `F Fᵀ = Σ¹` on the points: the inputs themselves where there are fewer."""
    weight_scale, bias_scale = model.scales[0]
    if x.shape[1] >= len(x):
        return cholesky(first.xy)
    return jnp.concatenate(
        [jnp.full((len(x), 1), bias_scale, x.dtype), weight_scale / x.shape[1] ** 0.5 * x], 1
    )


def propagate(
    model: "MoGP", first: Pair, factor: Array, jumps: list[LayerJumps], key: Array
) -> tuple[Array, Array]:
    """One draw of the kernel behind the last of the given layers, and the error of its diagonal."""
    pair, error = first, jnp.zeros_like(first.xx)
    for i, (layer, drawn) in enumerate(zip(layers_of(model), jumps, strict=False)):
        after = diffuse_step(layer, drawn.diffuse, model.activation, pair)
        num = drawn.sizes.shape[-1]
        nodes = jnp.zeros((0, len(error)), error.dtype)
        if num > 0:
            if i > 0:
                factor = cholesky(pair.xy)
            shape = (num, factor.shape[1])
            nodes = jax.random.normal(jax.random.fold_in(key, i), shape, error.dtype) @ factor.T
            scale = layer.weight_scale * jnp.sqrt(drawn.sizes)
            features = scale[:, None] * model.activation(nodes)
            square = jnp.sum(features**2, 0)
            after = Pair(
                after.xx + square,
                after.xy + precise_matmul(features.T, features),
                after.yy + square,
            )
        error = _error_behind(layer, drawn, model.activation, pair, nodes, error)
        pair = after
    return pair.xy, error


def _error_behind(
    layer: Layer,
    jumps: LayerJumps,
    activation: Activation,
    pair: Pair,
    nodes: Array,
    error: Array,
) -> Array:
    """Root mean square error of the variances behind a layer, given that before it.

    The sum of the jumps that are not kept adds its standard deviation times `√E φ⁴`. What was wrong
    before the layer is multiplied by the layer, whose own error is independent of it.
    """
    k = pair.xx
    gain = layer.weight_scale**2
    own = gain * jumps.spread * jnp.sqrt(activation.square_kernel(k, k, k))
    divisor = jnp.where(k > 0, k, 1)
    sizes = jumps.sizes[:, None]
    if positively_homogeneous(activation):
        kept = jnp.sum(sizes * activation(nodes) ** 2, 0) + jumps.diffuse * (
            activation.second_moment(k)
        )
        passed, unsure = gain * kept / divisor, own / divisor
        return jnp.sqrt(error**2 * (passed**2 + unsure**2) + own**2)
    # |d φ(√k ε)² / dk| ≤ c² ε² for φ(0) = 0 and slopes of at most c.
    steep = activation.largest_slope() ** 2
    kept = jnp.sum(sizes * nodes**2, 0) / divisor + jumps.diffuse
    unsure = 3**0.5 * jumps.spread
    return error * gain * steep * jnp.sqrt(kept**2 + unsure**2) + own
