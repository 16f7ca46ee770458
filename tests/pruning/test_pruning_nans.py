"""No NaN in the making of finite results: everything runs with `JAX_DEBUG_NANS=1`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from pruning_cases import X, Y, fast_key

from mogp import MoGP, inference, levy, nn, priors, pruning

PRIORS = [
    priors.Horseshoe(),
    priors.Deterministic(),
    priors.RegularizedHorseshoe(1.0),
    priors.InverseGamma(0.5),
    priors.InverseGamma(3.0),
    priors.Bernoulli(2.0),
    priors.SpikeAndSlab(2.0, priors.Gamma(1.0).at_width(1)),
    priors.Gamma(2.0),
    priors.Beta(2.0, 1.0),
    priors.BetaPareto(1.0, 1.0, 2.0),
    priors.GeneralizedGamma(0.5),
    priors.GBFRY(0.5, 2.0),
    priors.Stable(0.5),
    priors.GroupLasso(3.0),
    priors.InfinitelyDivisible(0.5, levy.Gamma(1.0)),
    priors.from_levy(levy.Stable(0.5)),
]


@pytest.mark.parametrize(
    "prior",
    [pytest.param(p, marks=[pytest.mark.statistical] if i else []) for i, p in enumerate(PRIORS)],
    ids=lambda prior: type(prior).__name__,
)
def test_networks_their_gradients_and_what_pruning_says_of_them(prior):
    """Of every prior; the horseshoe in the default tier."""

    @eqx.filter_jit
    def descend(network):
        parameters, rest = eqx.partition(network, nn.trainable(network))

        def loss(parameters):
            whole = eqx.combine(parameters, rest)
            return jnp.sum(inference.categorical(whole(X), Y)) - nn.log_prior(whole)

        return jax.grad(loss)(parameters)

    model = MoGP([prior] * 2, bias_scale=0.5)
    with jax.debug_nans(True):
        network = eqx.filter_jit(lambda key: model.network(6, 4, (5, 4), key=key))(fast_key(0))
        assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(descend(network)))
        pruning.mask(network, 0.5, importance="norm")(X)
        for importance in ("contribution", "fisher", "taylor"):
            pruning.importances(network, importance, x_train=X, y_train=Y)
        pruning.curve(network, X, Y, [1.0, 0.4], budget="greedy")
        pruning.compact(network, 0.4, x_train=X, repair=True)
        rule = {"threshold": 1e-2}
        if isinstance(prior.limit.levy, levy.NoJumps):
            rule = {"keep": 0.5}
        options = {"x": X[:2], "key": fast_key(1), "num_samples": 5}
        pruning.error(model, num_jumps=5, **options, **rule)
        pruning.error(MoGP([prior] * 2, "erf"), keep=0.5, width=9, **options)
        pruning.compressibility(prior, 0.5, key=fast_key(1), num_samples=5)
