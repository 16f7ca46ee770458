"""What a network is before it has a width: depth, activation, scales and priors."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import equinox as eqx
import numpy as np
from numpyro.distributions import Distribution

from mogp._arrays import Real
from mogp._checks import check_between, is_concrete, one_each
from mogp.activations import Activation
from mogp.priors import Prior

# One scale for all layers of weights, or one for each; a NumPyro distribution is an unknown scale.
Scale: TypeAlias = Real | Distribution | Sequence[Real | Distribution]


class AbstractArchitecture(eqx.Module):
    """Depth, activation, scales and priors of a fully connected network ([DW], Section 2).

    What finite networks (`mogp.nn`) and infinitely wide ones (`mogp.limit`) have in common. The
    architecture to use is `mogp.MoGP`, which adds the functions of both rooms as methods; one of
    your own is a subclass with the four fields below.

    Attributes:
        priors: the distribution of the node variances, one `Prior` for each hidden layer.
        activation: the activation of all hidden layers.
        weight_scale: `σ_v`, one number or one for each of the `depth + 1` layers of weights.
        bias_scale: `σ_b`, likewise.
    """

    priors: eqx.AbstractVar[tuple[Prior, ...]]
    activation: eqx.AbstractVar[Activation]
    weight_scale: eqx.AbstractVar[Scale]
    bias_scale: eqx.AbstractVar[Scale]

    @property
    def depth(self) -> int:
        """The number of hidden layers."""
        return len(self.priors)

    @property
    def scales(self) -> list[tuple[Real, Real]]:
        """`(σ_v, σ_b)` of each of the `depth + 1` layers of weights.

        Raises:
            ValueError: if a scale is a distribution, which is an unknown scale.
        """
        return layer_scales(self.weight_scale, self.bias_scale, self.depth + 1)


def layer_scales(weight_scale: Scale, bias_scale: Scale, layers: int) -> list[tuple[Real, Real]]:
    """The scales `(σ_v, σ_b)` of each layer of weights.

    Args:
        weight_scale: `σ_v > 0`, one number or one for each layer of weights.
        bias_scale: `σ_b ≥ 0`, likewise.
        layers: the number of layers of weights.

    Returns:
        A list of `layers` pairs.

    Raises:
        ValueError: if a scale is out of range, is a distribution, or if the number of scales is not
            the number of layers.

    Example:
        >>> from mogp.architecture import layer_scales
        >>> layer_scales(1.5, (0.1, 0.0), layers=2)
        [(1.5, 0.1), (1.5, 0.0)]
    """
    check_scales(weight_scale, bias_scale, layers)
    weights = _one_a_layer("weight_scale", weight_scale, layers)
    biases = _one_a_layer("bias_scale", bias_scale, layers)
    unknown = [scale for scale in (*weights, *biases) if isinstance(scale, Distribution)]
    if unknown:
        raise ValueError(
            f"a scale of the model is a distribution, {unknown[0]}, where numbers are needed; "
            "inference.sample_parameters draws it"
        )
    return list(zip(weights, biases, strict=True))


def check_scales(weight_scale: Scale, bias_scale: Scale, layers: int) -> None:
    """Check scales of which some may be unknown.

    Args:
        weight_scale: `σ_v > 0`, one number or NumPyro distribution, or one for each layer.
        bias_scale: `σ_b ≥ 0`, likewise.
        layers: the number of layers of weights.

    Raises:
        ValueError: if a number is out of range, or there are not as many scales as layers.

    Example:
        >>> from mogp.architecture import check_scales
        >>> check_scales([1.0, 2.0], 0.0, layers=2)
    """
    for scale in _one_a_layer("weight_scale", weight_scale, layers):
        if not isinstance(scale, Distribution):
            check_between("weight_scale", scale, 0)
    for scale in _one_a_layer("bias_scale", bias_scale, layers):
        known = not isinstance(scale, Distribution) and is_concrete(scale)
        if known and np.any(np.asarray(scale) != 0):
            check_between("bias_scale", scale, 0)


def _one_a_layer(name: str, value: Scale, layers: int) -> tuple[Any, ...]:
    values = one_each(name, value, layers, "layer of weights")
    if any(getattr(each, "ndim", 0) for each in values):
        raise ValueError(f"{name} must be numbers, one for each layer of weights, got {value}")
    return values


__all__ = ["AbstractArchitecture", "Scale", "check_scales", "layer_scales"]
