"""The model: an architecture with the functions of the rooms `nn` and `limit` as its methods."""

from collections.abc import Sequence

import equinox as eqx

from mogp import activations, limit, nn
from mogp.architecture import AbstractArchitecture, Scale, check_inputs, check_scales
from mogp.priors import Prior, check_priors


class MoGP(AbstractArchitecture):
    """A Bayesian fully connected network with one prior on node variances for each hidden layer.

    Finite networks (`network`) and the infinite-width limit, a mixture of Gaussian processes (the
    other methods), are two views of this object ([DW]). Its methods are the functions of the same
    name in `mogp.nn` and `mogp.limit`, with the model as their first argument.

    Args:
        priors: the distribution of the node variances, one `Prior` for each hidden layer.
        activation: name, function or `Activation`.
        weight_scale: `σ_v`, positive; one number, or one for each of the `depth + 1` layers of
            weights. A NumPyro distribution is an unknown scale, which `inference.nuts` learns.
        bias_scale: `σ_b`, at least 0; likewise.
        input_prior: the distribution of the variances of the inputs, which tells relevant inputs
            from others; None, as `Deterministic`, gives each `1/d`.
        input_groups: one number 0, 1, 2, … for each input; those of the same number, such as the
            levels of one category, share a variance. None gives each one of its own.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> MoGP(priors=[priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)]).depth
        2
        >>> relevant = MoGP([priors.Horseshoe()], input_prior=priors.Horseshoe())
        >>> relevant.sample_prior([[1.0, 2.0]], key=jax.random.key(0), num_jumps=10).shape
        (1, 1, 1)
    """

    priors: tuple[Prior, ...]
    activation: activations.Activation
    weight_scale: Scale = 1.0
    bias_scale: Scale = 0.0
    input_prior: Prior | None = None
    input_groups: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        priors: Sequence[Prior],
        activation: str | activations.Activation = "relu",
        weight_scale: Scale = 1.0,
        bias_scale: Scale = 0.0,
        input_prior: Prior | None = None,
        input_groups: Sequence[int] | None = None,
    ) -> None:
        self.priors = check_priors(priors)
        self.activation = activations.get(activation)
        self.weight_scale, self.bias_scale = weight_scale, bias_scale
        check_scales(weight_scale, bias_scale, self.depth + 1)
        self.input_prior = input_prior
        self.input_groups = check_inputs(input_prior, input_groups)

    network = nn.network
    sample_kernel = limit.sample_kernel
    kernel_draws = limit.kernel_draws
    sample_prior = limit.sample_prior
    sample_path = limit.sample_path
    moments = limit.moments
    tail_index = limit.tail_index
    characteristic_function = limit.characteristic_function
    log_marginal_density = limit.log_marginal_density
    condition = limit.condition
    kernel = limit.kernel


__all__ = ["MoGP"]
