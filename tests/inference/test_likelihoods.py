"""Likelihoods: densities by SciPy, what observations are possible, parameters, one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from scipy import stats

from mogp import MoGP, inference, priors
from mogp.inference import _likelihoods

Y = jnp.array([0.9, 0.4, 0.1, 0.6, 1.2])
LABELS = jnp.array([0, 1, 2, 1, 0])
OUTPUTS = jnp.array([[0.3], [-1.0], [0.0], [2.0], [1.5]])


def of_half(y, f):
    return stats.bernoulli.logpmf(np.asarray(y, int), 1 / (1 + np.exp(-f)))


@pytest.mark.parametrize(
    ("likelihood", "y", "logpdf"),
    [
        (inference.Gaussian(0.5), Y, lambda y, f: stats.norm.logpdf(y, f, 0.5)),
        (inference.StudentT(0.5, 3.0), Y, lambda y, f: stats.t.logpdf(y, 3, f, 0.5)),
        (inference.Bernoulli(), jnp.array([0, 1, 1, 0, 1]), of_half),
        (inference.Bernoulli(), np.array([False, True, True, False, True]), of_half),
        (
            inference.Poisson(),
            jnp.array([0, 3, 1, 0, 12]),
            lambda y, f: stats.poisson.logpmf(y, np.exp(f)),
        ),
    ],
    ids=["gaussian", "student_t", "bernoulli", "booleans", "poisson"],
)
def test_densities(likelihood, y, logpdf):
    targets = likelihood.targets(y, 5)
    expected = logpdf(np.asarray(y), np.asarray(OUTPUTS[:, 0]))
    found = jax.jit(likelihood.log_density)(OUTPUTS, targets)
    assert_close(found, expected, 1e-6, 1e-6)


def test_labels():
    """Also booleans; the density is that of `law`, though computed by another function."""
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    law = inference.Categorical()
    targets = law.targets(LABELS, 5)
    assert law.num_outputs(targets) == 3
    expected = jax.nn.log_softmax(logits)[jnp.arange(5), LABELS]
    assert_close(law.law(logits).log_prob(targets), expected, 1e-6)
    assert_close(law.log_density(logits, targets), expected, 1e-6)
    np.testing.assert_array_equal(law.targets(np.array([True, False]), 2), [1, 0])
    assert law.for_outputs(4).classes == 4
    assert inference.Categorical(5).for_outputs(4).classes == 5


def test_unknown_parameters_in_real_numbers():
    """Their density has the Jacobian: against SciPy's change of variables."""
    law = inference.StudentT(dist.HalfNormal(2.0), dist.Uniform(1.0, 9.0))
    values = {"noise_scale": jnp.array(-0.4), "df": jnp.array(0.7)}
    found = _likelihoods.log_density_of(law.unknown, values)
    share = 1 / (1 + np.exp(-0.7))
    expected = stats.halfnorm.logpdf(np.exp(-0.4), scale=2) - 0.4
    expected += np.log(share * (1 - share))  # a uniform law in logistic coordinates
    assert_close(found, expected, 1e-8)
    drawn = _likelihoods.constrained(law.unknown, values)
    assert_close(drawn["df"], 1 + 8 * share, 1e-8)
    back = _likelihoods.unconstrained(law.unknown, drawn)
    assert_close(back["df"], 0.7, 1e-8)
    many = _likelihoods.stacked(inference.StudentT(df=3.0), {"noise_scale": jnp.ones(4)}, (4,))
    np.testing.assert_array_equal(many.df, np.full(4, 3.0))


class Laplace(inference.Likelihood):
    """A likelihood of the user's own."""

    spread: inference.Parameter = dist.HalfNormal(1.0)

    def law(self, outputs):
        return dist.Laplace(outputs, jnp.ones_like(outputs) * self.spread).to_event(1)


def test_a_likelihood_of_ones_own():
    """A number or a distribution; drawn in NumPyro; scores of real numbers."""
    assert list(Laplace().unknown) == ["spread"]
    assert Laplace(0.5).unknown == {}
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        drawn = Laplace().drawn()
    assert drawn.spread == trace["spread"]["value"]
    targets = Laplace(0.5).targets(Y, 5)
    expected = stats.laplace.logpdf(Y, OUTPUTS[:, 0], 0.5)
    assert_close(Laplace(0.5).log_density(OUTPUTS, targets), expected, 1e-6)
    predictive = inference.Predictive(Laplace(jnp.ones(4)), jnp.zeros((4, 5, 1)), None)
    assert set(predictive.evaluate(Y, key=jax.random.key(0))) == {"nll", "rmse", "crps", "coverage"}


@pytest.mark.parametrize(
    ("likelihood", "y", "message"),
    [
        ("gaussian", Y[:4], r"y must have shape \(5,\) or \(5, outputs\), got \(4,\)"),
        ("gaussian", Y.at[2].set(jnp.nan), r"y must be finite.*rows \[2\]"),
        ("gaussian", jnp.ones(5), "y must vary, got 5 times 1"),
        ("gaussian", jnp.ones((5, 2, 2)), "y must have shape"),
        ("bernoulli", Y, r"y must be 0 or 1.*rows \[0, 1"),
        ("poisson", LABELS - 1, "y must be counts"),
        ("categorical", 2 * LABELS, r"no rows of classes \[1, 3\]"),
        ("categorical", LABELS + 0.5, r"labels in 0, 1, 2, …, got others in rows \[0, 1"),
        ("categorical", jnp.ones((5, 2)), "y must hold one label a row"),
        (inference.Categorical(2), LABELS, r"labels in \[0, 2\)"),
    ],
)
def test_impossible_observations(likelihood, y, message):
    with pytest.raises(ValueError, match=message):
        _likelihoods.likelihood_of(likelihood).targets(y, 5)


def test_bad_parameters():
    with pytest.raises(ValueError, match="noise_scale must be above 0, got -1"):
        inference.Gaussian(-1.0)
    with pytest.raises(ValueError, match="noise_scale must have the distribution of one number"):
        _ = inference.Gaussian(dist.HalfNormal(jnp.ones(3))).unknown
    with pytest.raises(ValueError, match="likelihood must be one of"):
        _likelihoods.likelihood_of("normal")
    with pytest.raises(NotImplementedError, match="has no closed form"):
        inference.Poisson().condition(None, OUTPUTS, Y, "dense")


def test_unknown_parameters_are_sites():
    prior = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=dist.Uniform(1.5, 3.0))
    model = MoGP(
        [prior, priors.Horseshoe()],
        activation="tanh",
        weight_scale=dist.LogNormal(0.0, 1.0),
        bias_scale=(dist.HalfNormal(1.0), 0.0, 1.0),
    )
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        drawn = inference.sample_parameters(model)
    assert sorted(trace) == ["bias_scale0", "prior0.alpha", "prior0.tau", "weight_scale"]
    assert drawn.scales[0] == (trace["weight_scale"]["value"], trace["bias_scale0"]["value"])
    assert drawn.activation == model.activation
    with pytest.raises(ValueError, match=r"is a distribution.*sample_parameters draws it"):
        _ = model.scales
