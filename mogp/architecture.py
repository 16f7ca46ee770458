"""What a network is, before it has a width: depth, activation, scales and priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
from jax import Array

from mogp import activations
from mogp._arrays import Real
from mogp._checks import check_scales
from mogp.priors import Prior, check_priors

if TYPE_CHECKING:
    from mogp.nn import DependentMLP


class MoGP(eqx.Module):
    """A Bayesian fully connected network with one prior on node variances a hidden layer.

    Finite networks and the infinite-width limit, a mixture of Gaussian processes, are two views of
    this object ([DW]). It has as many hidden layers as priors.

    Args:
        priors: law of the node variances, one `Prior` a hidden layer.
        activation: name, function or `Activation`.
        weight_scale: `σ_v`, positive.
        bias_scale: `σ_b`, at least 0.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> from mogp import MoGP, priors
        >>> MoGP(priors=[priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)]).depth
        2
    """

    priors: tuple[Prior, ...]
    activation: activations.Activation
    weight_scale: Real = 1.0
    bias_scale: Real = 0.0

    def __init__(
        self,
        priors: Sequence[Prior],
        activation: str | activations.Activation = "relu",
        weight_scale: Real = 1.0,
        bias_scale: Real = 0.0,
    ) -> None:
        self.priors = check_priors(priors)
        self.activation = activations.get(activation)
        self.weight_scale, self.bias_scale = check_scales(weight_scale, bias_scale)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.priors)

    def network(
        self,
        in_size: int,
        out_size: int,
        width: int | Sequence[int],
        *,
        init_variances: str = "prior",
        key: Array,
    ) -> DependentMLP:
        """A network of finite width, drawn from the prior.

        Args:
            in_size: size of an input.
            out_size: size of an output.
            width: nodes in every hidden layer, or one number a hidden layer.
            init_variances: `"prior"`, or `"equal"` for node variances `1/p`, the usual start for
                training.
            key: a random key.
        """
        from mogp.nn import DependentMLP  # a view of this object, in a room below

        return DependentMLP(
            in_size,
            out_size,
            width,
            self.priors,
            activation=self.activation,
            weight_scale=self.weight_scale,
            bias_scale=self.bias_scale,
            init_variances=init_variances,
            key=key,
        )
