"""Laws of outputs: tails, characteristic functions and densities, and networks close to them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, activations, levy, limit, priors
from mogp.limit._dense import error_behind
from mogp.limit.layers import Layer

GP = priors.Deterministic()
X = np.array([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])
ONE = jnp.ones((1, 3))


def standard_error(draws):
    return np.std(draws, axis=0) / math.sqrt(len(draws))


def test_characteristic_function_of_the_horseshoe():
    """With `‖x‖²/d = 1` the output is Cauchy with scale 1/2."""
    t = jnp.array([0.01, 0.5, 3.0, 40.0])
    model = MoGP([priors.Horseshoe()])
    assert_close(model.characteristic_function(ONE, t), np.exp(-t / 2), 1e-10)


@needs_x64
@pytest.mark.parametrize("scale", [0.5, 5.0, 20.0])
def test_characteristic_function_of_waves(scale):
    """`E |sin(s ε)| = 2/π - 4/π Σ_k exp(-2 k² s²) / (4 k² - 1)`, with the nodes that it takes."""
    model = MoGP([priors.Horseshoe()], jnp.sin, weight_scale=(scale, 1.0))
    k = np.arange(1, 50)
    mean = (2 - 4 * np.sum(np.exp(-2 * (k * scale) ** 2) / (4 * k**2 - 1))) / math.pi
    exact = math.exp(-math.sqrt(math.pi / 2) * mean)
    assert abs(model.characteristic_function(ONE, 1.0) - exact) < 1e-5
    traced = jax.jit(lambda x: model.characteristic_function(x, 1.0))(ONE)
    assert jnp.isnan(traced) if scale == 20 else abs(traced - exact) < 1e-5 or jnp.isnan(traced)


def test_what_a_quadrature_does_not_resolve_is_refused():
    """Under jit nothing can be refused; so the functions ask before what they compile."""
    wave, flat = (MoGP([p], jnp.sin, weight_scale=40.0) for p in (priors.Gamma(1.0), GP))
    for call in (
        lambda: limit.gp_kernel(flat, ONE),
        lambda: limit.gp_kernel(flat, ONE / 100, ONE),
        lambda: limit.gp_variance(flat, ONE),
        lambda: flat.condition(ONE, [1.0], noise_scale=1.0),
        lambda: flat.characteristic_function(ONE, 1.0),
        lambda: wave.moments(ONE),
    ):
        with pytest.raises(ValueError, match=r"num_nodes must be above 64 .* does not resolve"):
            call()
    fast = MoGP([priors.Horseshoe()], jnp.sin, weight_scale=(1000.0, 1.0))
    with pytest.raises(ValueError, match=r"varies too fast at x, is off by .* with 25600 nodes"):
        fast.characteristic_function(ONE, 1.0)


@needs_x64
def test_errors_of_draws_have_that_of_the_quadrature():
    """A layer with a diffuse part alone, against `E sin² = (1 - exp(-2 k)) / 2`."""
    wave, k = activations.Quadrature(jnp.sin), jnp.array([0.1, 4.0, 30.0, 144.0, 400.0, 3e3])
    layer = Layer(0.0, levy.NoJumps(), 1.0, 0.0)
    diffuse = limit.LayerJumps(jnp.zeros(0), jnp.ones(()), jnp.zeros(()))

    @jax.jit
    def values(k):
        error = error_behind(layer, diffuse, wave, k, jnp.zeros((0, len(k))), jnp.zeros(len(k)))
        return wave.second_moment(k), error

    second, error = values(k)
    assert np.all(np.abs(second - (1 - np.exp(-2 * k)) / 2) <= error + 1e-12)
    assert error[0] < 1e-12
    assert error[-1] > 0.01


@pytest.mark.parametrize(
    ("models", "index"),
    [
        ([priors.GBFRY(0.5, 1.5), priors.Gamma(2.0)], 1.5),
        ([priors.Horseshoe()] * 2, 0.5),
        ([priors.Deterministic()] * 2, math.inf),
    ],
)
def test_tail_index(models, index):
    assert MoGP(models).tail_index() == pytest.approx(index)
    assert MoGP([*models, priors.Gamma(1.0)], "erf").tail_index() == math.inf


@pytest.mark.parametrize("activation", [jnp.exp, jnp.sinh, lambda z: jnp.exp(z**2 / 9)])
def test_tail_index_of_exponentials(activation):
    """Behind random kernels they have no moments at all; behind the inputs, those of the jumps."""
    with np.errstate(all="raise"):
        for first in (priors.Horseshoe(), priors.Gamma(1.0)):
            assert MoGP([first, priors.Gamma(1.0)], activation).tail_index() == 0
        assert MoGP([priors.Gamma(1.0)], activation).tail_index() == math.inf
        assert MoGP([GP, priors.GBFRY(0.5, 1.5)], activation).tail_index() == pytest.approx(1.5)


@pytest.mark.statistical
def test_tail_index_of_draws(key):
    """Hill's estimator on the largest 1000 of 10⁵ kernels, with its standard error τ/√k."""
    model = MoGP([priors.GBFRY(alpha=0.5, tau=1.5)])
    kernels = model.sample_kernel(ONE, key=key, num_samples=100_000, num_jumps=5)
    largest = np.sort(np.log(np.ravel(kernels)))[::-1]
    num = 1000
    hill = 1 / np.mean(largest[:num] - largest[num])
    assert abs(hill - 1.5) < 4 * 1.5 / math.sqrt(num)


FINITE = {
    "Deterministic": priors.Deterministic(),
    "Bernoulli": priors.Bernoulli(2.0),
    "Beta": priors.Beta(1.0, 0.5),
    "Gamma": priors.Gamma(2.0),
    "GroupLasso": priors.GroupLasso(2.0),
    "InverseGamma": priors.InverseGamma(2.0),
    "Horseshoe": priors.Horseshoe(),
    "BetaPareto": priors.BetaPareto(1.0, 1.0, 2.0),
    "GeneralizedGamma": priors.GeneralizedGamma(0.5, 1.0, 1.0),
    "GBFRY": priors.GBFRY(0.5, 2.0),
    "Stable": priors.Stable(0.5),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_approach_the_limit(name, key):
    """`E exp(i ⟨t, Z⟩)` of two outputs at widths 100, 1000 and 10000 against the limit.

    Outputs of a network are `N(0, Σ I)` given `Σ = σ_b² + Σ_j λ_j φ(ζ_j)²`, so that the mean over
    networks of `exp(-½ |t|² Σ)` is the joint characteristic function: law and dependence at once.
    """
    prior = FINITE[name]
    t = jnp.array([[0.5, 0.0], [1.0, -1.0], [4.0, 3.0]])
    size = jnp.sqrt(jnp.sum(t**2, 1))
    exact = MoGP([prior], bias_scale=0.2).characteristic_function(ONE, size)
    off = []
    for width, draws in ((100, 1000), (1000, 400), (10_000, 80)):
        by_law, by_node = jax.random.split(jax.random.fold_in(key, width))
        variances = prior.at_width(width).sample(by_law, (draws, width))
        nodes = jnp.maximum(jax.random.normal(by_node, (draws, width)), 0) * math.sqrt(1.04)
        kernels = 0.04 + jnp.sum(variances * nodes**2, 1)
        values = np.exp(-np.outer(kernels, size**2) / 2)
        off.append((np.abs(values.mean(0) - exact), standard_error(values)))
    for allowed, (difference, error) in zip((0.1, 0.01, 0.001), off, strict=True):
        assert np.all(difference < 4 * error + allowed)


@pytest.mark.statistical
def test_characteristic_function_of_several_points_and_outputs(key):
    """Against the mean of `exp(-½ tᵀ Σ t)` over drawn kernels."""
    model = MoGP([GP, priors.GBFRY(0.5, 2.0)], "erf", bias_scale=0.4)
    x, t = jnp.asarray(X), jnp.asarray([[1.0, -0.5, 0.3], [0.0, 2.0, 0.0]])
    kernels = model.sample_kernel(x, key=key, num_samples=2000, num_jumps=30)
    values = np.exp(-np.einsum("ti,sij,tj->st", t, kernels, t) / 2)
    given = model.characteristic_function(x, t, key=key, num_samples=1000)
    error = standard_error(values) + 0.3 / math.sqrt(1000)
    assert np.all(np.abs(values.mean(0) - given) < 4 * error)


@pytest.mark.statistical
def test_log_marginal_density(key):
    """Horseshoe at one input: the Cauchy density; several outputs: a multivariate Cauchy one."""
    model = MoGP([priors.Horseshoe()])
    for y in (jnp.array([0.8]), jnp.array([[0.8, -0.2]])):
        estimate = model.log_marginal_density(ONE, y, key=key, num_samples=20_000, num_jumps=100)
        size = y.size
        expected = stats.multivariate_t(np.zeros(size), np.eye(size) / 4, df=1).logpdf(np.ravel(y))
        assert 0 < estimate.error < 0.02
        assert abs(estimate.value - expected) < 4 * estimate.error


@needs_x64
def test_log_marginal_density_in_the_gp_regime(key):
    model = MoGP([GP], bias_scale=0.5)
    x, y = jnp.asarray(X), jnp.array([0.3, -1.0, 0.7])
    estimate = model.log_marginal_density(x, y, key=key, noise_scale=0.2, num_samples=3)
    kernel = np.asarray(limit.gp_kernel(model, x)) + 0.04 * np.eye(3)
    expected = stats.multivariate_normal(np.zeros(3), kernel).logpdf(y)
    np.testing.assert_allclose(estimate.value, expected, rtol=1e-12)
    assert estimate.error < 1e-12
