"""Posteriors of the variances of the inputs: found, stored, sampled by every sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import X64

from mogp import MoGP, inference, priors

MODEL = MoGP(
    [priors.Horseshoe()],
    bias_scale=1.0,
    input_prior=priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=2.0),
    input_groups=[0, 1, 1],
)
X = np.random.default_rng(0).normal(size=(40, 3)).astype(jnp.result_type(float))
Y = np.abs(X[:, 0])


@pytest.fixture(scope="module", params=[None, 6], ids=["limit", "network"])
def posterior(request):
    return inference.nuts(
        MODEL, X, Y, key=jax.random.key(0), likelihood=inference.Gaussian(0.1), width=request.param,
        num_jumps=4, num_diffuse=4, num_warmup=60, num_samples=40, num_chains=2, progress=False,
    )  # fmt: skip


def test_the_relevant_input_has_the_larger_variance(posterior):
    variances = np.asarray(posterior.parameters["input_variances"])
    assert variances.shape == (2, 40, 2)
    assert (np.log(variances[..., 0] / variances[..., 1]).mean(1) > 1).all()
    assert "input_prior.alpha" in posterior.parameters
    assert posterior.data["posterior"]["input_variances"].dims == ("chain", "draw", "input_group")


def test_functions_use_the_drawn_variances(posterior):
    """Moving the irrelevant inputs moves predictions less than moving the relevant one."""
    mean = np.asarray(posterior.predict(X).mean())
    moved = [np.array(X), np.array(X)]
    moved[0][:, 0] += 1.0
    moved[1][:, 1:] += 1.0
    by = [np.std(np.asarray(posterior.predict(x).mean()) - mean) for x in moved]
    assert by[0] > 5 * by[1]


def test_saved_and_loaded_is_the_same(posterior, tmp_path):
    posterior.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(
        tmp_path / "posterior.nc", MODEL, likelihood=inference.Gaussian(0.1)
    )
    np.testing.assert_array_equal(again.predict(X).mean(), posterior.predict(X).mean())


def test_sghmc_samples_input_variances(key):
    found = inference.sghmc(
        MODEL_OF_NUMBERS, X, Y, key=key, likelihood=inference.Gaussian(0.3), width=6,
        step_size=0.03, num_epochs=60, samples_per_cycle=20, num_chains=2, progress=False,
    )  # fmt: skip
    variances = np.asarray(found.data["posterior"]["input_variances"])
    assert variances.shape == (2, 20, 2)
    assert np.isfinite(np.log(variances)).all()
    assert np.log(variances).std() > 0.1
    assert found.attrs["lost_chains"] == []


@pytest.mark.skipif(not X64, reason="which chain is lost is chance")
def test_chains_that_are_lost_are_told(key):
    with pytest.warns(UserWarning, match=r"chains \[0\] of 2 became NaN or infinite"):
        found = inference.sghmc(
            MoGP([priors.Horseshoe()], bias_scale=1.0, input_prior=priors.Horseshoe()), X, Y,
            key=jax.random.key(3), likelihood=inference.Gaussian(0.1), width=6, num_epochs=60,
            samples_per_cycle=20, num_chains=2, progress=False,
        )  # fmt: skip
    assert found.attrs["lost_chains"] == [0]


MODEL_OF_NUMBERS = MoGP(
    [priors.Horseshoe()], bias_scale=1.0, input_prior=priors.Horseshoe(), input_groups=[0, 1, 1]
)
