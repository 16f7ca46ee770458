"""What a network is before it has a width: depth, activation, scales and priors."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import equinox as eqx
import numpy as np
from numpyro.distributions import Distribution

from mogp._arrays import Real
from mogp._checks import check_between, is_concrete, one_each
from mogp.activations import Activation
from mogp.priors import Deterministic, Prior

# One scale for all layers of weights, or one for each; a NumPyro distribution is an unknown scale.
Scale: TypeAlias = Real | Distribution | Sequence[Real | Distribution]


class AbstractArchitecture(eqx.Module):
    """Depth, activation, scales and priors of a fully connected network ([DW], Section 2).

    What finite networks (`mogp.nn`) and infinitely wide ones (`mogp.limit`) have in common. The
    architecture to use is `mogp.MoGP`, which adds the functions of both rooms as methods; one of
    your own is a subclass with the fields below.

    Attributes:
        priors: the distribution of the node variances, one `Prior` for each hidden layer.
        activation: the activation of all hidden layers.
        weight_scale: `σ_v`, one number or one for each of the `depth + 1` layers of weights.
        bias_scale: `σ_b`, likewise.
        input_prior: the distribution of the variances of the inputs; None, as for `Deterministic`,
            for `1/d` each.
        input_groups: inputs of the same number share one variance, of length d; None if each has
            one of its own.
    """

    priors: eqx.AbstractVar[tuple[Prior, ...]]
    activation: eqx.AbstractVar[Activation]
    weight_scale: eqx.AbstractVar[Scale]
    bias_scale: eqx.AbstractVar[Scale]
    input_prior: eqx.AbstractVar[Prior | None]
    input_groups: eqx.AbstractVar[tuple[int, ...] | None]

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

    @property
    def random_inputs(self) -> Prior | None:
        """The prior of the variances of the inputs, if these are random; else None."""
        return None if isinstance(self.input_prior, Deterministic) else self.input_prior

    def groups_of(self, in_size: int) -> np.ndarray:
        """The number of the group of each input, of shape (in_size,).

        Raises:
            ValueError: if `input_groups` has another length.
        """
        if self.input_groups is None:
            return np.arange(in_size)
        if len(self.input_groups) != in_size:
            raise ValueError(
                f"input_groups must have one number for each of {in_size} inputs, got "
                f"{len(self.input_groups)}"
            )
        return np.asarray(self.input_groups)


def check_inputs(
    input_prior: Prior | None, input_groups: Sequence[int] | None
) -> tuple[int, ...] | None:
    """The groups of the inputs as a tuple.

    Args:
        input_prior: the distribution of the variances of the inputs, or None.
        input_groups: the number of the group of each input, 0, 1, 2, …; or None.

    Returns:
        A number for each input, or None.

    Raises:
        ValueError: if the prior is none, there are groups without a prior, or a number is left out.

    Example:
        >>> from mogp import priors
        >>> from mogp.architecture import check_inputs
        >>> check_inputs(priors.Horseshoe(), [0, 0, 1])
        (0, 0, 1)
    """
    if not isinstance(input_prior, Prior | None):
        raise ValueError(f"input_prior must be a prior of mogp.priors or None, got {input_prior!r}")
    if input_groups is None:
        return None
    if input_prior is None:
        raise ValueError("input_groups needs an input_prior, such as priors.Horseshoe()")
    groups = tuple(map(int, input_groups))
    if not groups or set(groups) != set(range(max(groups) + 1)):
        raise ValueError(f"input_groups must number all groups 0, 1, 2, …, got {input_groups}")
    return groups


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


__all__ = ["AbstractArchitecture", "Scale", "check_inputs", "check_scales", "layer_scales"]
