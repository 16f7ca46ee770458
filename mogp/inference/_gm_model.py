"""Bayesian GM layers, as a NumPyro model."""

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from mogp._checks import check_between, check_choice, check_last_axis
from mogp.nn import GMLayer


def gm_model(
    layer: GMLayer,
    x: Array,
    y: Array | None = None,
    *,
    loss: str = "categorical",
    noise: float = 1.0,
) -> None:
    """The NumPyro model whose log-density is `layer.log_prior()` and the log-likelihood.

    Sites: one for each array of the layer under its own name, normal as `GMLayer.log_prior` says;
    `node_variances`, the `λ` of the components, from the layer's prior; `y`. Components that the
    data do not need get small `λ_k`: they prune themselves. NUTS moves `log λ` and adds the
    Jacobian by itself. Under a prior without a density of `log λ` they stay as they are in `layer`.

    Args:
        layer: one made with a `prior`; it gives sizes, activation and the scales of the prior, not
            the values of what is inferred.
        x: inputs, shape (n, d).
        y: labels (n,) or targets (n, L); None draws them.
        loss: `"categorical"` for labels, `"gaussian"` for targets.
        noise: standard deviation of targets about the outputs, positive.

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
    if layer.prior is None or layer.prior_scales is None:
        raise ValueError("layer must have a prior: GMLayer(…, prior=…)")
    check_last_axis("x", x, layer.in_size)
    check_choice("loss", loss, ("categorical", "gaussian"))
    check_between("noise", noise, 0)
    drawn = {}
    for name, scale in layer.prior_scales:
        shape = getattr(layer, name).shape
        law = dist.Normal(0.0, scale).expand(shape).to_event(len(shape))
        drawn[name] = numpyro.sample(name, law)
    if layer.free_variances:
        law = layer.prior.at_width(layer.prior_components)
        size = layer.components
        variances = numpyro.sample("node_variances", law.expand((size,)).to_event(1))
        drawn["log_variances"] = jnp.log(variances)
    model = eqx.tree_at(lambda m: [getattr(m, name) for name in drawn], layer, list(drawn.values()))
    outputs = model(x)
    with numpyro.plate("rows", len(x)):
        if loss == "categorical":
            numpyro.sample("y", dist.Categorical(logits=outputs), obs=y)
        else:
            numpyro.sample("y", dist.Normal(outputs, noise).to_event(1), obs=y)
