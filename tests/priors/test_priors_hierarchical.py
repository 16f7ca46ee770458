"""Hierarchical priors: a parameter is a distribution."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, init_to_value
from oracles.priors import needs_x64
from priors_cases import SLAB

from mogp import inference, priors

# --- hierarchical priors --------------------------------------------------------------------


def hierarchical():
    return priors.GeneralizedGamma(alpha=dist.Uniform(0.05, 0.95), mass=dist.Gamma(2.0, 2.0))


def test_at_width_needs_numbers():
    message = "alpha, mass of GeneralizedGamma is a law, not a number: draw it in a NumPyro model "
    with pytest.raises(ValueError, match=f"^{message}with inference.sample_parameters$"):
        hierarchical().at_width(10)
    with pytest.raises(ValueError, match=r"^mass of SpikeAndSlab is a law"):
        priors.SpikeAndSlab(dist.Uniform(0, 1), SLAB).at_width(10)


def test_sample_parameters():
    with numpyro.handlers.trace() as trace, numpyro.handlers.seed(rng_seed=0):
        first = inference.sample_parameters(hierarchical())
        second = inference.sample_parameters(hierarchical(), "layer")
        third = inference.sample_parameters(priors.SpikeAndSlab(dist.Uniform(0, 1), SLAB), "spike")
        same = inference.sample_parameters(priors.Horseshoe(), "none")
    sites = ["prior.alpha", "prior.mass", "layer.alpha", "layer.mass", "spike.mass"]
    assert list(trace) == sites
    assert float(first.alpha) == float(trace["prior.alpha"]["value"]) != float(second.alpha)
    assert first.rate == 1.0
    assert first.at_width(10).batch_shape == ()
    assert third.slab is SLAB
    assert 0 < float(third.mass) < 1
    assert same == priors.Horseshoe()


@pytest.mark.statistical
@needs_x64
def test_nuts_recovers_alpha(key):
    """Four posterior standard deviations: false alarm 1e-4, were they normal."""
    variances = priors.GeneralizedGamma(0.6).at_width(1000).sample(key, (1000,))

    def model():
        prior = priors.GeneralizedGamma(alpha=dist.Uniform(0.05, 0.95))
        law = inference.sample_parameters(prior).at_width(1000)
        numpyro.sample("variances", law.expand((1000,)), obs=variances)
        numpyro.sample("new", law)

    start = init_to_value(values={"prior.alpha": 0.4, "new": 1e-3})
    kernel = NUTS(model, max_tree_depth=4, init_strategy=start)
    mcmc = MCMC(kernel, num_warmup=200, num_samples=200, progress_bar=False)
    mcmc.run(key)
    draws = mcmc.get_samples()
    assert np.isfinite(np.log(draws["new"])).all()
    alpha = draws["prior.alpha"]
    assert abs(alpha.mean() - 0.6) < 4 * alpha.std()
    assert 0.001 < alpha.std() < 0.05  # Uniform has 0.26
