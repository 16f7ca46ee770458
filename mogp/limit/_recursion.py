"""One step of the kernel recursion, on arrays: what a layer does to a kernel."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mogp._arrays import Real
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.levy import LevyMeasure, NoJumps
from mogp.limit._arguments import numbers_as_arrays
from mogp.priors import Deterministic


class Layer(NamedTuple):
    """A hidden layer at infinite width, and the weights behind it.

    Attributes:
        location: `a`.
        levy: `ρ`.
        weight_scale: `σ_v` of the weights that leave the layer.
        bias_scale: `σ_b` behind them.
    """

    location: Real
    levy: LevyMeasure
    weight_scale: Real
    bias_scale: Real

    @property
    def is_gaussian(self) -> bool:
        """Whether the layer has no jumps."""
        return isinstance(self.levy, NoJumps)


class Pair(NamedTuple):
    """A kernel on points x and y.

    Attributes:
        xx: variances at x, of shape (n,).
        xy: covariances, of shape (n, m).
        yy: variances at y, of shape (m,).
    """

    xx: Array
    xy: Array
    yy: Array

    def through(self, kernel: Callable[[Array, Array, Array], Array]) -> Array:
        """An elementwise expectation over both points, of shape (n, m)."""
        return kernel(self.xx[:, None], self.xy, self.yy[None, :])

    def map(self, f: Callable[[Array], Array]) -> "Pair":
        """A function of each of the three."""
        return Pair(f(self.xx), f(self.xy), f(self.yy))


def layers_of(model: AbstractArchitecture) -> list[Layer]:
    """The hidden layers at infinite width, with the weights behind them."""
    pairs = zip(model.priors, model.scales[1:], strict=True)
    return [Layer(*prior.limit, *scales) for prior, scales in pairs]


def skeleton(model: AbstractArchitecture) -> AbstractArchitecture:
    """The model without priors, for computations to which jumps and input variances are given.

    All models with the same activation and depth then share what is compiled.
    """
    priors = (Deterministic(),) * model.depth
    bare = dataclasses.replace(model, priors=priors, input_prior=None, input_groups=None)
    return numbers_as_arrays(bare)


def draw_input_variances(
    model: AbstractArchitecture, in_size: int, key: Array, shape: tuple[int, ...], dtype: Any
) -> Array | None:
    """`λ⁰` of every input, of shape (*shape, in_size); None where each is `1/d`.

    Raises:
        ValueError: if the groups of the inputs are not those of `in_size` inputs.
    """
    groups = model.groups_of(in_size)
    if (prior := model.random_inputs) is None:
        return None
    drawn: Array = prior.at_width(in_size).sample(key, (*shape, groups.max() + 1))
    return drawn[..., groups].astype(dtype)


def weighted(x: Array, variances: Array | None) -> Array:
    """Points whose inputs of variance `1/d` are like inputs of the given variances at `x`."""
    if variances is None:
        return x
    return x * jnp.broadcast_to(jnp.sqrt(x.shape[-1] * variances), x.shape)


def input_pair(model: AbstractArchitecture, x: Array, y: Array) -> Pair:
    """The kernel `Σ¹ = σ_b² + σ_v² ⟨x, x'⟩ / d` before the first hidden layer.

    Args:
        model: an architecture.
        x: points, of shape (n, d).
        y: points, of shape (m, d).

    Raises:
        ValueError: if the inputs have variances, which make this kernel random.
    """
    if model.random_inputs is not None:
        raise ValueError(
            f"the inputs have random variances ({model.input_prior}), and no closed form here: "
            "draw kernels with sample_kernel, functions with sample_path, or moments with a key"
        )
    return pair_given_inputs(model, x, y)


def pair_given_inputs(model: AbstractArchitecture, x: Array, y: Array) -> Pair:
    """`input_pair` of points that are `weighted` by the variances of the inputs already."""
    weight_scale, bias_scale = model.scales[0]
    inner = Pair(jnp.sum(x**2, -1), precise_matmul(x, y.T), jnp.sum(y**2, -1))
    return inner.map(lambda k: bias_scale**2 + weight_scale**2 / x.shape[-1] * k)


def precise_matmul(a: Array, b: Array) -> Array:
    """The matrix product of `a` (n, k) and `b` (k, m) in full precision, on accelerators too."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def diffuse_step(layer: Layer, mass: Real, activation: Activation, pair: Pair) -> Pair:
    """The kernel `σ_b² + σ_v² m E φ φ'` behind infinitely many nodes, none of which matters.

    Args:
        layer: the layer, of which only the scales are used.
        mass: `m`, the sum of all node variances.
        activation: `φ`.
        pair: the kernel before the layer.
    """
    after = Pair(
        activation.second_moment(pair.xx),
        pair.through(activation.kernel),
        activation.second_moment(pair.yy),
    )
    return after.map(lambda k: layer.bias_scale**2 + layer.weight_scale**2 * mass * k)


def gaussian_prefix(layers: Sequence[Layer]) -> int:
    """The number of layers before the first with jumps; all, if none has jumps."""
    return next((i for i, layer in enumerate(layers) if not layer.is_gaussian), len(layers))
