"""The jumps of every layer of a model: how many, and draws of them."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp import levy
from mogp._checks import check_count, is_concrete, one_each
from mogp.activations import Activation
from mogp.limit._recursion import Layer

NumJumps = int | Sequence[int] | None


class LayerJumps(NamedTuple):
    """Draws of the jumps of a layer, with the rest compensated.

    Attributes:
        sizes: node variances of the largest nodes, of shape (…, num).
        diffuse: `a` plus the expected sum of the other jumps, of shape (…,).
        spread: standard deviation of that sum, of shape (…,).
    """

    sizes: Array
    diffuse: Array
    spread: Array

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def numbers_of_jumps(
    layers: Sequence[Layer], activation: Activation, num_jumps: NumJumps, tolerance: float
) -> tuple[int, ...]:
    """The number of jumps to keep in each layer; 0 in layers without jumps.

    Args:
        layers: the hidden layers, from `layers_of`.
        activation: that of the model.
        num_jumps: one number, or one for each layer; None asks for what meets the tolerance.
        tolerance: the wanted relative error of the variances in each layer, for `levy.num_jumps`.

    Raises:
        ValueError: if a number is below 1, their number is not that of the layers, or parameters
            are traced and no number is given.
    """
    if num_jumps is None:
        return tuple(
            0 if layer.is_gaussian else _number(layer, activation, tolerance) for layer in layers
        )
    given = one_each("num_jumps", num_jumps, len(layers))
    return tuple(
        0 if layer.is_gaussian else check_count("num_jumps", num)
        for layer, num in zip(layers, given, strict=True)
    )


def _number(layer: Layer, activation: Activation, tolerance: float) -> int:
    if not is_concrete(layer):
        raise ValueError("num_jumps must be given where the parameters of a prior are traced")
    # The largest of `E φ⁴ / (E φ²)²` over variances; for ReLU it is the same at all.
    k = jnp.asarray(np.logspace(-4, 4, 17))
    k = k[activation.quadrature_error(k) < 0.01]  # a quadrature may not resolve it at all
    kurtosis = jnp.maximum(activation.square_kernel(k, k, k) / activation.second_moment(k) ** 2, 1)
    return levy.num_jumps(
        layer.levy,
        tolerance,
        location=float(layer.location),
        kurtosis=float(jnp.max(kurtosis)),
    )


def draw_jumps(
    layers: Sequence[Layer],
    nums: Sequence[int],
    key: Array,
    shape: tuple[int, ...],
    dtype: jnp.dtype | None = None,
) -> tuple[LayerJumps, ...]:
    """Draws of the jumps of layers.

    Not to be compiled as a part of something larger: what `levy` compiles serves every layer and
    every prior of the same family.

    Args:
        layers: the layers.
        nums: the number of jumps of each, from `numbers_of_jumps`.
        key: a random key.
        shape: the shape of the sample, which leads all axes of the result.
        dtype: the precision of the result; None leaves that of the measure.
    """
    drawn = (
        _draw(layer, num, k, shape)
        for layer, num, k in zip(layers, nums, jax.random.split(key, len(layers)), strict=True)
    )
    return tuple(jax.tree.map(lambda a: a.astype(dtype or a.dtype), jumps) for jumps in drawn)


def _draw(layer: Layer, num: int, key: Array, shape: tuple[int, ...]) -> LayerJumps:
    if layer.is_gaussian:
        zero = jnp.zeros(shape)
        return LayerJumps(jnp.zeros((*shape, 0)), zero + layer.location, zero)
    jumps = layer.levy.ranked_jumps(num, key=key, shape=shape)
    return LayerJumps(
        jumps.sizes, jumps.residual_mass + layer.location, jnp.sqrt(jumps.residual_variance)
    )
