"""The fully connected layer as an empirical measure over neurons."""

import equinox as eqx
import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp import activations
from mogp._checks import check_count, check_key, check_number, check_numbers
from mogp.nn._inputs import as_inputs


class MeanFieldLayer(eqx.Module):
    """`h(x) = (1/m) Σ_j ω_j φ(⟨β_j, x⟩)`: two layers of weights in mean-field scaling ([GM]).

    The baseline of Gaussian-mixture layers: an empirical measure of `m` neurons.

    Args:
        in_size: size `d` of an input.
        out_size: size `L` of an output.
        width: number `m` of neurons.
        activation: name, function or `Activation`.
        init_scale: entries of `β` and `ω` start as `N(0, init_scale²)`.
        key: a random key.

    Attributes:
        directions: `β`, shape (m, d).
        amplitudes: `ω`, shape (L, m).

    Raises:
        ValueError: if an argument is outside its range, or the layer is larger than the memory.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.MeanFieldLayer(3, 2, width=100, key=jax.random.key(0))
        >>> layer(jax.numpy.ones((5, 3))).shape
        (5, 2)
    """

    directions: Array
    amplitudes: Array
    activation: activations.Activation

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int,
        *,
        activation: str | activations.Activation = "relu",
        init_scale: float = 1.0,
        key: PRNGKeyArray,
    ) -> None:
        d, size = check_count("in_size", in_size), check_count("out_size", out_size)
        m = check_count("width", width)
        check_number("init_scale", init_scale, 0)
        check_key(key)
        check_numbers("the layer", m * (d + size), "a smaller width")
        self.activation = activations.get(activation)
        first, second = jax.random.split(key)
        self.directions = init_scale * jax.random.normal(first, (m, d))
        self.amplitudes = init_scale * jax.random.normal(second, (size, m))

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... L"]:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is unused."""
        hidden = self.activation(as_inputs(x, self.directions) @ self.directions.T)
        return hidden @ self.amplitudes.T / len(self.directions)
