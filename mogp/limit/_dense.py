"""Random kernels on a set of points: exact given the jumps, of the order of n³ a layer."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key, check_numbers
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import named_options
from mogp.limit._jumps import LayerJumps, NumJumps, draw_jumps, numbers_of_jumps
from mogp.limit._linalg import cholesky
from mogp.limit._recursion import (
    Layer,
    Pair,
    diffuse_step,
    draw_input_variances,
    layers_of,
    pair_given_inputs,
    precise_matmul,
    skeleton,
    weighted,
)

_ENTRIES = 2**25  # numbers held by the draws that are made at once


class KernelDraws(NamedTuple):
    """Draws of the random kernel of a model.

    Attributes:
        kernels: `Σ^(L+1)` on the points, of shape (num_samples, n, n).
        error: bound on the root mean square error of the variances `Σ^(L+1)(x, x)` that comes from
            keeping finitely many jumps, given the kept ones, of shape (num_samples, n).
    """

    kernels: Float[Array, "num_samples n n"]
    error: Float[Array, "num_samples n"]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


@named_options
def sample_kernel(
    model: AbstractArchitecture,
    x: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_samples: int = 1,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Float[Array, "num_samples n n"]:
    """Draws of the random kernel `Σ^(L+1)` on a set of points.

    In each layer the largest jumps are kept, and the sum of the others is replaced by its
    expectation given those, which leaves the mean of the kernel exact.

    Args:
        model: an architecture of any depth.
        x: points, of shape (n, d): an array, a list of rows or a data frame.
        key: a random key.
        num_samples: the number of kernels.
        num_jumps: jumps kept, one number or one for each hidden layer; None keeps as many as
            `tolerance` asks for. `kernel_draws` tells the error that comes from it.
        tolerance: the wanted relative error of the variances in each layer; see `levy.num_jumps`.

    Returns:
        Array of shape (num_samples, n, n).

    Raises:
        ValueError: if an argument is out of range, the points are not a finite (n, d) array, or the
            draws are larger than the memory.
        TypeError: if options are given by position.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> model, x = MoGP([priors.Horseshoe()]), jax.numpy.ones((3, 2))
        >>> model.sample_kernel(x, key=jax.random.key(0), num_samples=4, num_jumps=20).shape
        (4, 3, 3)
    """
    return _draws(model, x, key, num_samples, None, num_jumps, tolerance)[0]


@named_options
def kernel_draws(
    model: AbstractArchitecture,
    x: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_samples: int = 1,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> KernelDraws:
    """The draws of `sample_kernel`, with the error of leaving out small jumps.

    It is exact for one hidden layer, and for positively homogeneous activations (ReLU); for others
    it is a bound that holds for activations with `φ(0) = 0` and the slope that they have at most,
    and an estimate of the error of the quadrature of those without closed forms is in it.

    Args:
        model: as in `sample_kernel`.
        x: as in `sample_kernel`.
        key: as in `sample_kernel`.
        num_samples: as in `sample_kernel`.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.

    Returns:
        Kernels of shape (num_samples, n, n), and errors of shape (num_samples, n).

    Raises:
        ValueError: as `sample_kernel`.
        TypeError: as `sample_kernel`.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> model, x = MoGP([priors.Horseshoe()]), jax.numpy.ones((3, 2))
        >>> model.kernel_draws(x, key=jax.random.key(0), num_samples=4, num_jumps=20).error.shape
        (4, 3)
    """
    return KernelDraws(*_draws(model, x, key, num_samples, None, num_jumps, tolerance)[:2])


@named_options
def sample_prior(
    model: AbstractArchitecture,
    x: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_samples: int = 1,
    num_outputs: int = 1,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Float[Array, "num_samples n num_outputs"]:
    """Draws of the outputs at a set of points; the outputs of one draw share its kernel.

    Args:
        model: as in `sample_kernel`.
        x: as in `sample_kernel`.
        key: as in `sample_kernel`.
        num_samples: as in `sample_kernel`.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.
        num_outputs: the number of outputs of the network.

    Returns:
        Array of shape (num_samples, n, num_outputs).

    Raises:
        ValueError: as `sample_kernel`.
        TypeError: as `sample_kernel`.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> model, x = MoGP([priors.Horseshoe()]), jax.numpy.ones((3, 2))
        >>> model.sample_prior(x, key=jax.random.key(0), num_samples=4, num_jumps=20).shape
        (4, 3, 1)
    """
    outputs = check_count("num_outputs", num_outputs)
    return _draws(model, x, key, num_samples, outputs, num_jumps, tolerance)[2]


def _draws(
    model: AbstractArchitecture,
    x: ArrayLike,
    key: Array,
    num_samples: int,
    num_outputs: int | None,
    num_jumps: NumJumps,
    tolerance: float,
) -> tuple[Array, Array, Array]:
    points, samples = as_inputs("x", x), check_count("num_samples", num_samples)
    check_key(key)
    layers, n = layers_of(model), len(points)
    num = numbers_of_jumps(layers, model.activation, num_jumps, tolerance)
    drawn = n * (n if num_outputs is None else num_outputs) + sum(num)
    check_numbers(
        f"{samples} draws on {n} points",
        samples * drawn + 3 * n**2,
        "fewer draws or points, or a draw of sample_path",
        points.dtype,
    )
    by_jump, by_draw = jax.random.split(key)
    jumps = draw_jumps(layers, num, by_jump, (samples,), points.dtype)
    by_input = jax.random.fold_in(by_jump, 1)
    inputs = draw_input_variances(model, points.shape[1], by_input, (samples,), points.dtype)
    return _compiled(skeleton(model), points, inputs, jumps, by_draw, num_outputs)


@eqx.filter_jit
def _compiled(
    model: AbstractArchitecture,
    x: Array,
    inputs: Array | None,
    jumps: tuple[LayerJumps, ...],
    key: Array,
    num_outputs: int | None,
) -> tuple[Array, Array, Array]:
    same = None if inputs is not None else before(model, x)

    def one(draw: tuple[Array | None, tuple[LayerJumps, ...], Array]) -> tuple[Array, Array, Array]:
        variances, drawn, key = draw
        by_node, by_output = jax.random.split(key)
        first = before(model, weighted(x, variances)) if same is None else same
        behind = propagate(model, *first, drawn, by_node)
        if num_outputs is None:
            return behind.kernel, behind.error, jnp.zeros(())
        outputs = gaussian_draws(behind.factor(), by_output, num_outputs)
        return jnp.zeros(()), behind.error, outputs.T

    n, num_samples = len(x), len(jumps[0].diffuse)
    widest = max(each.sizes.shape[-1] for each in jumps)
    size = n * (4 * n + 2 * widest + x.shape[1])
    batch = max(1, min(num_samples, _ENTRIES // size))
    return jax.lax.map(one, (inputs, jumps, jax.random.split(key, num_samples)), batch_size=batch)


def before(model: AbstractArchitecture, x: Array) -> tuple[Pair, Array]:
    """The kernel before the first hidden layer on points, and a factor of it."""
    first = pair_given_inputs(model, x, x)
    return first, input_factor(model, x, first)


def input_factor(model: AbstractArchitecture, x: Array, first: Pair) -> Array:
    """`F` with `F Fᵀ = Σ¹` on the points: the inputs themselves where there are fewer."""
    weight_scale, bias_scale = model.scales[0]
    if x.shape[1] >= len(x):
        return cholesky(first.xy)
    return jnp.concatenate(
        [jnp.full((len(x), 1), bias_scale, x.dtype), weight_scale / x.shape[1] ** 0.5 * x], 1
    )


class Behind(NamedTuple):
    """One draw of the kernel behind a layer.

    Attributes:
        kernel: of shape (n, n).
        error: root mean square error of its diagonal, of shape (n,).
        smooth: the diffuse part of the kernel, of shape (n, n).
        features: the factor of the rest: the bias, and `σ_v √λ_j φ(ζ_j)`; of shape (1 + num, n).
    """

    kernel: Array
    error: Array
    smooth: Array
    features: Array

    def factor(self) -> Array:
        """`F` with `F Fᵀ` the kernel: no jitter but in the smooth part, which jumps may dwarf.

        With few points the kernel itself is factored, which takes less and loses little.
        """
        if len(self.features) > 8 * len(self.kernel):
            return cholesky(self.kernel)
        return jnp.concatenate([cholesky(self.smooth), self.features.T], 1)


def gaussian_draws(factor: Array, key: Array, num: int) -> Array:
    """Draws of `N(0, F Fᵀ)` for `F` of shape (n, m), as an array of shape (num, n)."""
    return jax.random.normal(key, (num, factor.shape[1]), factor.dtype) @ factor.T


def propagate(
    model: AbstractArchitecture, first: Pair, factor: Array, jumps: Sequence[LayerJumps], key: Array
) -> Behind:
    """One draw of the kernel behind the last of the given layers; `factor` is that of `first`."""
    pair, nothing = first, jnp.zeros((0, len(first.xx)), first.xx.dtype)
    behind = Behind(first.xy, jnp.zeros_like(first.xx), first.xy, nothing)
    for i, (layer, drawn) in enumerate(zip(layers_of(model), jumps, strict=False)):
        smooth = diffuse_step(layer._replace(bias_scale=0.0), drawn.diffuse, model.activation, pair)
        num, nodes = drawn.sizes.shape[-1], nothing
        features = jnp.full_like(smooth.xx, layer.bias_scale)[None]
        if num > 0:
            nodes = gaussian_draws(
                behind.factor() if i > 0 else factor, jax.random.fold_in(key, i), num
            )
            scale = layer.weight_scale * jnp.sqrt(drawn.sizes)
            features = jnp.concatenate([features, scale[:, None] * model.activation(nodes)])
        kernel = smooth.xy + precise_matmul(features.T, features)
        error = error_behind(layer, drawn, model.activation, pair.xx, nodes, behind.error)
        behind = Behind(kernel, error, smooth.xy, features)
        square = jnp.sum(features**2, 0)
        pair = Pair(smooth.xx + square, kernel, smooth.yy + square)
    return behind


def error_behind(
    layer: Layer, jumps: LayerJumps, activation: Activation, k: Array, nodes: Array, error: Array
) -> Array:
    """Root mean square error of the variances behind a layer, given that before it.

    The sum of the jumps that are not kept adds its standard deviation times `√E φ⁴`, and the
    diffuse part what a quadrature of the activation may be off. What was wrong before the layer is
    multiplied by the layer, whose own error is independent of it.

    Args:
        layer: the layer.
        jumps: the jumps kept, (num,) of them.
        activation: of the layer.
        k: variances before the layer, of shape (n,).
        nodes: `ζ_j` of the jumps, of shape (num, n).
        error: of `k`, of shape (n,).
    """
    gain, second = layer.weight_scale**2, activation.second_moment(k)
    # At least the square of `E φ²`, which rounding must not take it below.
    fourth = jnp.maximum(activation.square_kernel(k, k, k), second**2)
    quadrature = jumps.diffuse * activation.quadrature_error(k) * second
    own = gain * (jumps.spread * jnp.sqrt(fourth) + quadrature)
    divisor = jnp.where(k > 0, k, 1)
    sizes = jumps.sizes[:, None]
    if activation.positively_homogeneous():
        kept = jnp.sum(sizes * activation(nodes) ** 2, 0) + jumps.diffuse * second
        passed, unsure = gain * kept / divisor, own / divisor
        return jnp.sqrt(error**2 * (passed**2 + unsure**2) + own**2)
    # |d φ(√k ε)² / dk| ≤ c² ε² for φ(0) = 0 and slopes of at most c.
    steep = activation.largest_slope() ** 2
    kept = jnp.sum(sizes * nodes**2, 0) / divisor + jumps.diffuse
    unsure = 3**0.5 * jumps.spread
    return error * gain * steep * jnp.sqrt(kept**2 + unsure**2) + own
