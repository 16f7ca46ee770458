"""Draws of functions from the limit, to be evaluated at any points later."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key, check_numbers
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import named_options, numbers_as_arrays
from mogp.limit._jumps import LayerJumps, NumJumps, draw_jumps, numbers_of_jumps
from mogp.limit._recursion import (
    Pair,
    diffuse_step,
    draw_input_variances,
    layers_of,
    pair_given_inputs,
    precise_matmul,
    weighted,
)

_BLOCK = 512  # rows of a kernel matrix that are held at once


class Path(eqx.Module):
    """A function drawn from the limit, with its kernel.

    The nodes of a hidden layer are the largest jumps, and `num_diffuse` nodes that share the
    diffuse part and the other jumps between them: without these the limit cut at `N` jumps is
    exactly a network of `N` nodes. The kernel takes the diffuse part of each layer in closed form,
    so that for one hidden layer it is exact given the jumps; behind random layers, the nodes that
    jumps belong to are functions of the extra nodes before them.

    All methods are functions of their points: repeated calls agree. `O(n · width²)` time.

    Attributes:
        model: the architecture; its scales may be changed, for the same draw.
        weights: standard normal, one (width, width before) array a layer, the last to the outputs.
        biases: standard normal, one (width,) array a layer.
        jumps: node variances and diffuse parts, one a hidden layer.
        num_diffuse: extra nodes in each hidden layer that has a diffuse part.
        input_variances: of the inputs, of shape (d,); None where each is `1/d`.
    """

    model: AbstractArchitecture
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    jumps: tuple[LayerJumps, ...]
    num_diffuse: int = eqx.field(static=True)
    input_variances: Array | None = None

    @property
    def in_size(self) -> int:
        """Size of a point."""
        return self.weights[0].shape[-1]

    def __call__(self, x: ArrayLike) -> Float[Array, "n num_outputs"]:
        """Values of the function, of shape (n, num_outputs), at points of shape (n, d)."""
        return self._at(x, _values)

    def features(self, x: ArrayLike) -> Float[Array, "n width"]:
        """`√λ_j φ(ζ_j(x))` of the nodes of the last hidden layer, of shape (n, width)."""
        return self._at(x, _features)

    def design(self, x: ArrayLike) -> Float[Array, "n width_and_one"]:
        """What the weights behind the last hidden layer multiply, of shape (n, 1 + width).

        The column `σ_b` for the bias, and `σ_v √λ_j φ(ζ_j(x))`: `design(x) @ w` for standard normal
        `w` is one output of this network.
        """
        return self._at(x, _design)

    def kernel(self, x: ArrayLike, y: ArrayLike | None = None) -> Float[Array, "n m"]:
        """The kernel of this draw on points of shapes (n, d) and (m, d), of shape (n, m).

        None stands for `x` in place of `y`.
        """
        left = as_inputs("x", x, self.in_size)
        right = left if y is None else as_inputs("y", y, self.in_size)
        what = f"the kernel matrix of {len(left)} and {len(right)} points"
        instead = "kernel_product or blocks of points"
        check_numbers(what, len(left) * len(right), instead, left.dtype)
        return pair_of(self, left, right).xy

    def variance(self, x: ArrayLike) -> Float[Array, " n"]:
        """The diagonal of the kernel, of shape (n,), without the matrix."""
        points = as_inputs("x", x, self.in_size)
        return pair_of(self, points, points[:1]).xx

    def kernel_product(self, x: ArrayLike, vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """The kernel matrix times vectors of shape (n, k), without the matrix: `O(n)` memory."""
        points = as_inputs("x", x, self.in_size)
        if vectors.ndim != 2 or len(vectors) != len(points):
            raise ValueError(f"vectors must have shape ({len(points)}, k), got {vectors.shape}")
        return self._at(points, _product, vectors)

    def _at(self, x: ArrayLike, function: Callable[..., Any], *others: Array) -> Any:
        return _compiled(
            function, numbers_as_arrays(self), as_inputs("x", x, self.in_size), *others
        )


@named_options
def sample_path(
    model: AbstractArchitecture,
    in_size: int,
    *,
    key: PRNGKeyArray,
    num_outputs: int = 1,
    num_jumps: NumJumps = None,
    num_diffuse: int = 256,
    tolerance: float = 1e-2,
) -> Path:
    """A function drawn from the limit.

    Args:
        model: an architecture of any depth.
        in_size: the size of a point.
        key: a random key.
        num_outputs: the number of outputs of the function.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.
        num_diffuse: the number of nodes in each layer that carry the diffuse part together.

    Returns:
        The function, which any number of points may be given to, any number of times.

    Raises:
        ValueError: if an argument is out of range, or the nodes are larger than the memory.
        TypeError: as `sample_kernel`.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> model = MoGP([priors.Horseshoe()])
        >>> path = model.sample_path(2, key=jax.random.key(0), num_jumps=50)
        >>> path(jax.numpy.ones((5, 2))).shape
        (5, 1)
    """
    sizes = check_count("in_size", in_size), check_count("num_outputs", num_outputs)
    diffuse = check_count("num_diffuse", num_diffuse)
    check_key(key)
    layers = layers_of(model)
    num = numbers_of_jumps(layers, model.activation, num_jumps, tolerance)
    by_jump, by_weight, by_bias = jax.random.split(key, 3)
    widths = (sizes[0], *(n + diffuse for n in num), sizes[1])
    size = sum(w * (1 + v) for v, w in itertools.pairwise(widths))
    check_numbers(f"a path of widths {widths}", size, "fewer jumps")
    weights, biases = _weights(widths, by_weight, by_bias)
    by_input = jax.random.fold_in(by_jump, 1)
    return Path(
        model,
        weights,
        biases,
        draw_jumps(layers, num, by_jump, ()),
        diffuse,
        draw_input_variances(model, sizes[0], by_input, (), weights[0].dtype),
    )


@eqx.filter_jit
def _weights(
    widths: tuple[int, ...], by_weight: Array, by_bias: Array
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Standard normal weights and biases of all layers."""
    num = len(widths) - 1
    shapes = zip(widths[1:], widths[:-1], strict=True)
    weights = map(jax.random.normal, jax.random.split(by_weight, num), shapes)
    biases = map(jax.random.normal, jax.random.split(by_bias, num), ((w,) for w in widths[1:]))
    return tuple(weights), tuple(biases)


@eqx.filter_jit
def _compiled(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _nodes(path: Path, x: Array) -> list[Array]:
    """Values of the nodes of every layer, the outputs last."""
    scales = path.model.scales
    hidden = weighted(x, path.input_variances) / x.shape[-1] ** 0.5
    values: list[Array] = []
    for i, (weight, bias) in enumerate(zip(path.weights, path.biases, strict=True)):
        if i > 0:
            hidden = _scaled(path, i - 1, values[-1])
        (weight_scale, bias_scale), n = scales[i], len(x)
        values.append(
            weight_scale * precise_matmul(hidden, weight.T)
            + bias_scale * jnp.broadcast_to(bias, (n, len(bias)))
        )
    return values


def _scaled(path: Path, i: int, nodes: Array) -> Array:
    """`√λ φ(ζ)` of all nodes of a hidden layer."""
    jumps = path.jumps[i]
    share = jnp.broadcast_to(jumps.diffuse / path.num_diffuse, (path.num_diffuse,))
    root = jnp.sqrt(jnp.concatenate([jumps.sizes, share]))
    return path.model.activation(nodes) * jnp.broadcast_to(root, nodes.shape)


def _values(path: Path, x: Array) -> Array:
    return _nodes(path, x)[-1]


def _features(path: Path, x: Array) -> Array:
    return _scaled(path, len(path.jumps) - 1, _nodes(path, x)[-2])


def _design(path: Path, x: Array) -> Array:
    weight_scale, bias_scale = path.model.scales[-1]
    features = weight_scale * _features(path, x)
    return jnp.concatenate([jnp.full((len(x), 1), bias_scale, features.dtype), features], 1)


@eqx.filter_jit
def pair_of(path: Path, x: Array, y: Array) -> Pair:
    """The kernel of a draw on points x and y."""
    return _kernel_of_nodes(path, x, y, _jump_features(path, x), _jump_features(path, y))


def _jump_features(path: Path, x: Array) -> list[Array]:
    """`√λ φ(ζ)` of the jumps of every hidden layer, of shape (n, num)."""
    return [
        _scaled(path, i, nodes)[:, : jumps.sizes.shape[-1]]
        for i, (nodes, jumps) in enumerate(zip(_nodes(path, x), path.jumps, strict=False))
    ]


def _kernel_of_nodes(path: Path, x: Array, y: Array, at_x: list[Array], at_y: list[Array]) -> Pair:
    points = (weighted(a, path.input_variances) for a in (x, y))
    pair = pair_given_inputs(path.model, *points)
    for layer, jumps, left, right in zip(
        layers_of(path.model), path.jumps, at_x, at_y, strict=True
    ):
        inner = Pair(jnp.sum(left**2, 1), precise_matmul(left, right.T), jnp.sum(right**2, 1))
        pair = diffuse_step(layer, jumps.diffuse, path.model.activation, pair)
        pair = Pair(*(k + layer.weight_scale**2 * j for k, j in zip(pair, inner, strict=True)))
    return pair


def _product(path: Path, x: Array, vectors: Array) -> Array:
    features = _jump_features(path, x)

    def row(block: tuple[Array, list[Array]]) -> Array:
        point, nodes = jax.tree.map(lambda a: a[None], block)
        kernel = _kernel_of_nodes(path, point, x, nodes, features).xy
        return precise_matmul(kernel, vectors)[0]

    return jax.lax.map(row, (x, features), batch_size=min(_BLOCK, len(x)))
