"""Bayesian GM layers, as a NumPyro model."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike

from mogp import nn
from mogp._checks import check_last_axis
from mogp.inference._likelihoods import Likelihood, likelihood_of


def gm_model(
    layer: nn.GMLayer,
    x: Array,
    y: ArrayLike | None = None,
    *,
    likelihood: str | Likelihood = "categorical",
) -> None:
    """The NumPyro model whose log-density is `layer.log_prior()` and the log-likelihood.

    Sites: one for each array of the layer under its own name, normal as `GMLayer.log_prior` says;
    `node_variances`, the `λ` of the components, from the layer's prior; the unknown parameters of
    the likelihood; `y`. Components that the data do not need get small `λ_k`: they prune
    themselves. NUTS moves `log λ` and adds the Jacobian by itself. Under a prior without a density
    of `log λ` they stay as they are in `layer`.

    Args:
        layer: a layer made with a `prior`; it gives sizes, activation and the scales of the prior,
            not the values of what is inferred.
        x: inputs, of shape (n, d).
        y: observations, as the likelihood takes them; None draws them.
        likelihood: a name or an `inference.Likelihood`, see `nuts`.

    Raises:
        ValueError: if the layer has no prior or an argument is outside its range.

    Example:
        >>> import jax, numpyro
        >>> from mogp import inference, nn, priors
        >>> layer = nn.GMLayer(
        ...     3, 2, components=4, init_scale="unit", prior=priors.Horseshoe(),
        ...     key=jax.random.key(0),
        ... )
        >>> with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        ...     inference.gm_model(layer, jax.numpy.ones((5, 3)))
        >>> trace["node_variances"]["value"].shape, trace["y"]["value"].shape
        ((4,), (5,))
    """
    if layer.prior is None:
        raise ValueError("layer must have a prior: GMLayer(…, prior=…)")
    check_last_axis("x", x, layer.in_size)
    law = likelihood_of(likelihood).for_outputs(layer.out_size)
    targets = None if y is None else law.targets(y, len(x))
    arrays, drawn = layer.arrays(), {}
    for name, scale in layer.prior_scales:
        shape = arrays[name].shape
        drawn[name] = numpyro.sample(
            name, dist.Normal(0.0, scale).expand(shape).to_event(len(shape))
        )
    model = layer.with_arrays(drawn)
    if layer.is_free:
        variances = numpyro.sample(
            "node_variances", layer.law().expand((layer.components,)).to_event(1)
        )
        model = nn.with_log_variances(model, [jnp.log(variances)])
    outputs, law = model(x), law.drawn()
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", law.law(outputs), obs=targets)
