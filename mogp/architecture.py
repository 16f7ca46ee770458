"""What a network is, before it has a width: depth, activation, scales and priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
from jax import Array

from mogp import activations
from mogp._arrays import Real
from mogp._checks import Scale, check_scales, layer_scales
from mogp.priors import Prior, check_priors

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from mogp.limit import DenseRegression, Estimate, LowRankRegression, Moments, Path
    from mogp.limit._gpjax import MoGPKernel
    from mogp.nn import DependentMLP


class MoGP(eqx.Module):
    """A Bayesian fully connected network with one prior on node variances a hidden layer.

    Finite networks and the infinite-width limit, a mixture of Gaussian processes, are two views of
    this object ([DW]). It has as many hidden layers as priors.

    Args:
        priors: law of the node variances, one `Prior` a hidden layer.
        activation: name, function or `Activation`.
        weight_scale: `σ_v`, positive; one number, or one for each of the `depth + 1` layers of
            weights. NumPyro laws are unknown scales, which `inference.nuts` learns.
        bias_scale: `σ_b`, at least 0; likewise.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> from mogp import MoGP, priors
        >>> MoGP(priors=[priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)]).depth
        2
    """

    priors: tuple[Prior, ...]
    activation: activations.Activation
    weight_scale: Scale = 1.0
    bias_scale: Scale = 0.0

    def __init__(
        self,
        priors: Sequence[Prior],
        activation: str | activations.Activation = "relu",
        weight_scale: Scale = 1.0,
        bias_scale: Scale = 0.0,
    ) -> None:
        self.priors = check_priors(priors)
        self.activation = activations.get(activation)
        self.weight_scale, self.bias_scale = weight_scale, bias_scale
        check_scales(weight_scale, bias_scale, self.depth + 1)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.priors)

    @property
    def scales(self) -> list[tuple[Real, Real]]:
        """`(σ_v, σ_b)` of the `depth + 1` layers of weights; a `ValueError` if they are laws."""
        return layer_scales(self.weight_scale, self.bias_scale, self.depth + 1)

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

    # --- infinite width: views in a room below --------------------------------------------------

    def sample_kernel(self, x: Array, *, key: Array, num_samples: int = 1, **options: Any) -> Array:
        """Draws of the random kernel, of shape (num_samples, n, n).

        The options are those of `limit.sample_kernel`, which also tells the error of truncation.
        """
        from mogp import limit

        return limit.sample_kernel(self, x, key=key, num_samples=num_samples, **options).kernels

    def sample_prior(
        self, x: Array, *, key: Array, num_samples: int = 1, num_outputs: int = 1, **options: Any
    ) -> Array:
        """Draws of the outputs, of shape (num_samples, n, num_outputs): `limit.sample_prior`."""
        from mogp import limit

        return limit.sample_prior(
            self, x, key=key, num_samples=num_samples, num_outputs=num_outputs, **options
        )

    def sample_path(self, in_size: int, *, key: Array, **options: Any) -> Path:
        """A function drawn from the limit, to be evaluated anywhere: `limit.sample_path`."""
        from mogp import limit

        return limit.sample_path(self, in_size, key=key, **options)

    def moments(self, x: Array, **options: Any) -> Moments:
        """Means, variances and dependence of kernel and outputs: `limit.moments`."""
        from mogp import limit

        return limit.moments(self, x, **options)

    def tail_index(self) -> Real:
        """Tail index of the kernel, half that of the outputs: `limit.tail_index`."""
        from mogp import limit

        return limit.tail_index(self)

    def characteristic_function(self, x: Array, t: ArrayLike, **options: Any) -> Array:
        """`E exp(i ⟨t, Z(x)⟩)` of an output: `limit.characteristic_function`."""
        from mogp import limit

        return limit.characteristic_function(self, x, t, **options)

    def log_marginal_density(self, x: Array, y: Array, *, key: Array, **options: Any) -> Estimate:
        """Estimate of `log p(y)` under the prior: `limit.log_marginal_density`."""
        from mogp import limit

        return limit.log_marginal_density(self, x, y, key=key, **options)

    def condition(
        self,
        x: Array,
        y: Array,
        *,
        path: Path | None = None,
        noise_scale: Real,
        method: str = "dense",
    ) -> DenseRegression | LowRankRegression:
        """The posterior given observations `y = f(x) + noise_scale ε`: `limit.condition`.

        In the GP regime, or with `path` a draw of `sample_path`.
        """
        from mogp import limit

        source = self if path is None else path
        return limit.condition(source, x, y, noise_scale=noise_scale, method=method)

    def kernel(
        self,
        path: Path | None = None,
        *,
        active_dims: list[int] | slice | None = None,
        n_dims: int | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> MoGPKernel:
        """A GPJax kernel: that of the GP regime, or of one draw of the mixture.

        Args:
            path: a draw of `sample_path`; unnecessary in the GP regime.
            active_dims: the inputs that the kernel sees, as GPJax has it.
            n_dims: their number.
            key: draws a path of `n_dims` inputs where there is none.
            **options: of `limit.sample_path`.

        Raises:
            ValueError: if the model has jumps and neither `path` nor `key` with `n_dims` is given.
            ImportError: without GPJax, which `pip install 'bayesian-mogp[gpjax]'` brings.
        """
        from mogp.limit._gaussian import check_regime

        try:
            from mogp.limit._gpjax import MoGPKernel
        except ModuleNotFoundError as error:
            raise ImportError("GPJax is missing: pip install 'bayesian-mogp[gpjax]'") from error

        if path is None and key is not None:
            if n_dims is None:
                raise ValueError("n_dims must be given to draw a path")
            path = self.sample_path(n_dims, key=key, **options)
        if path is None:
            check_regime(self)
        return MoGPKernel(self if path is None else path, active_dims=active_dims, n_dims=n_dims)
