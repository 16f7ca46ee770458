"""The GP regime: the deterministic kernel of infinitely wide networks."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mogp._arrays import as_inputs
from mogp._checks import check_numbers, is_concrete
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import numbers_as_arrays
from mogp.limit._recursion import Layer, Pair, diffuse_step, input_pair, layers_of

_STRIP = 512  # rows of a symmetric matrix computed at once, at least
_MOST_STRIPS = 6  # each is compiled by itself


def gp_kernel(
    model: AbstractArchitecture, x: ArrayLike, y: ArrayLike | None = None
) -> Float[Array, "n m"]:
    """The NNGP kernel `Σ^(L+1)` of a model whose layers have no jumps.

    Args:
        model: an architecture whose priors have no jumps.
        x: points, of shape (n, d).
        y: points, of shape (m, d); None stands for `x`, and each pair is computed once then.

    Returns:
        Array of shape (n, m).

    Raises:
        ValueError: if the model has jumps, the points are not finite floating (n, d) arrays, the
            quadrature of the activation does not resolve it at these points (see
            `Activation.quadrature_error`), or the matrix is larger than the memory.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, limit, priors
        >>> limit.gp_kernel(MoGP([priors.Deterministic()]), jnp.ones((1, 4))).item()
        0.5
    """
    check_regime(model)
    left = as_inputs("x", x)
    right = left if y is None else as_inputs("y", y, left.shape[1])
    shape = f"the kernel matrix of {len(left)} and {len(right)} points"
    check_numbers(shape, len(left) * len(right), "smaller blocks of points", left.dtype)
    check_resolved(model, left, layers_of(model))
    check_resolved(model, right, layers_of(model))
    source = numbers_as_arrays(model)
    return _symmetric(source, left) if y is None else _rectangle(source, left, right)


def gp_variance(model: AbstractArchitecture, x: ArrayLike) -> Float[Array, " n"]:
    """The diagonal of `gp_kernel(model, x)`, in time and memory of order n.

    Args:
        model: an architecture whose priors have no jumps.
        x: points, of shape (n, d).

    Returns:
        Array of shape (n,).

    Raises:
        ValueError: as `gp_kernel`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, limit, priors
        >>> limit.gp_variance(MoGP([priors.Deterministic()]), jnp.ones((1, 4))).item()
        0.5
    """
    check_regime(model)
    points = as_inputs("x", x)
    check_resolved(model, points, layers_of(model))
    return _variance(numbers_as_arrays(model), points)


def check_regime(
    model: AbstractArchitecture,
    instead: str = "draw kernels with sample_kernel, or functions with sample_path",
) -> None:
    """Raise a `ValueError` that says what to do instead, unless no layer has jumps."""
    jumpy = [prior for prior, layer in zip(model.priors, layers_of(model), strict=True)
             if not layer.is_gaussian]  # fmt: skip
    if jumpy:
        raise ValueError(
            f"the kernel of a model with jumps is random, and {jumpy[0]} has jumps: {instead}"
        )


def check_resolved(model: AbstractArchitecture, x: Array, layers: Sequence[Layer]) -> None:
    """Raise where an activation without closed forms varies too fast for its quadrature.

    What is compiled cannot say so: `layers`, the first ones, are followed at the variances of the
    points `x`. Those without diffuse part need no expectation.
    """
    if type(model.activation).kernel is not Activation.kernel or not is_concrete(model, x):
        return
    variance = input_pair(model, x, x[:1]).xx
    for layer in layers:
        if layer.location != 0:
            second = model.activation.second_moment(variance)
            variance = layer.bias_scale**2 + layer.weight_scale**2 * layer.location * second


def gp_pair(model: AbstractArchitecture, pair: Pair, num_layers: int | None = None) -> Pair:
    """The kernel after the first hidden layers, all without jumps."""
    for layer in layers_of(model)[:num_layers]:
        pair = diffuse_step(layer, layer.location, model.activation, pair)
    return pair


@eqx.filter_jit
def _rectangle(model: AbstractArchitecture, x: Array, y: Array) -> Array:
    return gp_pair(model, input_pair(model, x, y)).xy


@eqx.filter_jit
def _variance(model: AbstractArchitecture, x: Array) -> Array:
    return gp_pair(model, input_pair(model, x, x[:1])).xx


def _symmetric(model: AbstractArchitecture, x: Array) -> Array:
    """Strips on and above the diagonal are computed, then mirrored.

    In two compiled parts: as one, XLA would compute every strip twice, for each of its places.
    """
    size = -(-len(x) // min(max(len(x) // _STRIP, 1), _MOST_STRIPS))
    return _mirrored(size, _upper(model, x, size))


@eqx.filter_jit
def _upper(model: AbstractArchitecture, x: Array, size: int) -> Array:
    kernel = jnp.zeros((len(x), len(x)), x.dtype)
    for start in range(0, len(x), size):
        strip = gp_pair(model, input_pair(model, x[start : start + size], x[start:])).xy
        kernel = jax.lax.dynamic_update_slice(kernel, strip, (start, start))
    return kernel


@eqx.filter_jit(donate="all-except-first")
def _mirrored(size: int, kernel: Array) -> Array:
    for start in range(0, len(kernel), size):
        strip, column = kernel[start : start + size, start:], kernel[start:, start : start + size]
        below = jnp.tril(jnp.ones(column.shape, bool), -1)
        mirrored = jnp.where(below, strip.T, column)
        kernel = jax.lax.dynamic_update_slice(kernel, mirrored, (start, start))
    return kernel
