"""Point masses, and distributions made from Lévy measures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive
from oracles import priors as oracles
from oracles.priors import X64, needs_x64
from priors_cases import OTHERS, SLAB, TEMPERED
from scipy import stats

from mogp import levy, priors

log_density_of_log = jax.jit(lambda law, u: law.log_density_of_log(u))


@pytest.fixture(autouse=True)
def _no_validation():
    """NumPyro would warn of values outside the support, of which densities are asked here."""
    with numpyro.validation_enabled(False):
        yield


# --- point masses ---------------------------------------------------------------------------


def spike_and_slab(slab=SLAB, factor=2.0):
    return priors.SpikeAndSlabLaw(0.1, slab).scaled(factor)


@needs_x64
def test_spike_and_slab_density():
    """With respect to a point mass at 0 and Lebesgue measure."""
    law = spike_and_slab()
    x, weights = map(np.ravel, oracles.panels([0.0, 0.1, 0.5, 2.0, 10.0, 40.0]))
    density = np.exp(law.log_prob(x))
    assert float(law.log_prob(0.0)) == pytest.approx(math.log(0.9), rel=1e-12)
    assert 0.9 + np.sum(weights * density) == pytest.approx(1, rel=1e-12)
    mean = np.sum(weights * density * x)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-12)
    second = np.sum(weights * density * x**2)
    np.testing.assert_allclose(law.variance, second - mean**2, rtol=1e-12)
    np.testing.assert_array_equal(law.log_prob(jnp.array([-1.0, -1e-9, math.nan])), -jnp.inf)
    at = np.array([0.3, 2.0])
    slab = stats.gamma(2, scale=2 / 3)
    np.testing.assert_allclose(law.log_prob(at), np.log(0.1 * slab.pdf(at)), rtol=1e-12)
    got = law.cdf(jnp.array([-1.0, 0.0, *at]))
    np.testing.assert_allclose(got, [0, 0.9, *(0.9 + 0.1 * slab.cdf(at))], rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_spike_and_slab_as_a_function_of_a_normal(factor, key):
    """It is the quantile at `Φ(z)`: exact in law, and continuous where the slab begins at 0."""
    law = spike_and_slab(dist.Exponential(1.5), factor)
    threshold = stats.norm.ppf(0.9)
    z = jnp.linspace(-4, 4, 101)
    got = law.of_normal(z)
    np.testing.assert_array_equal(got[z < threshold], 0)
    assert np.all(np.diff(got[z > threshold]) > 0)
    rtol = 1e-9 if X64 else 1e-4
    reached = np.maximum(stats.norm.cdf(z), 0.9)
    np.testing.assert_allclose(law.cdf(got), reached, rtol=rtol)
    q = jnp.array([0.1, 0.9 - 1e-6, 0.95, 0.999])
    np.testing.assert_allclose(law.cdf(law.icdf(q)), np.maximum(q, 0.9), rtol=rtol)
    near = law.of_normal(threshold + jnp.array([-1e-3, 1e-3]))
    assert 0 == near[0] < near[1] < 2e-3 * factor
    draws = law.of_normal(jax.random.normal(key, (20_000,)))
    assert stats.ks_2samp(draws, law.sample(key, (20_000,))).pvalue > 1e-3
    slope = jax.grad(law.of_normal)
    assert float(slope(0.0)) == 0 < float(slope(2.0)) < math.inf


def test_bernoulli(key):
    law = priors.Bernoulli(3.0).at_width(50)
    rtol = 1e-12 if X64 else 1e-6
    got = np.exp(law.log_prob(jnp.array([0.0, 1.0, 0.5, -1.0])))
    np.testing.assert_allclose(got, [0.94, 0.06, 0, 0], rtol=rtol)
    np.testing.assert_allclose((law.mean, law.variance), (0.06, 0.06 * 0.94), rtol=rtol)
    np.testing.assert_allclose(law.cdf(jnp.array([-1, 0, 0.9, 1])), [0, 0.94, 0.94, 1], rtol=rtol)
    np.testing.assert_array_equal(law.icdf(jnp.array([0.1, 0.93, 0.95, 0.99])), [0, 0, 1, 1])
    np.testing.assert_array_equal(law.of_normal(jnp.array([1.5, 1.6])), [0, 1])
    draws = np.asarray(law.sample(key, (20_000,)))
    assert set(draws) == {0.0, 1.0}
    assert abs(draws.mean() - 0.06) < 5 * math.sqrt(0.06 / 20_000)
    assert float(priors.Bernoulli(3.0).at_width(3).mean) == 1
    scaled = priors.Bernoulli(3.0).at_width(50, total_mean=6.0)
    assert set(np.asarray(scaled.sample(key, (1000,)))) == {0.0, 2.0}
    assert float(scaled.log_prob(2.0)) == pytest.approx(math.log(0.06))


@pytest.mark.parametrize("name", ["Bernoulli", "SpikeAndSlab"])
def test_point_masses_in_the_limit(name):
    """`p P(λ > x)` is the tail at every width."""
    prior = OTHERS[name][0]
    x = jnp.array([0.05, 0.3, 1.5])
    for width in (3, 100, 1000):
        above = width * (1 - prior.at_width(width).cdf(x))
        np.testing.assert_allclose(above, prior.limit.levy.tail(x), rtol=1e-9 if X64 else 1e-2)


@pytest.mark.parametrize(
    "prior",
    [
        priors.Bernoulli(3.0),
        priors.SpikeAndSlab(3.0, SLAB),
        priors.from_levy(levy.CompoundPoisson(3.0, SLAB)),
    ],
)
def test_width_below_the_expected_number_of_nodes(prior):
    with pytest.raises(ValueError, match=r"width must be at least the expected number 3.* got 2"):
        prior.at_width(2)


# --- laws from Lévy measures ----------------------------------------------------------------


@pytest.mark.statistical
@needs_x64
@pytest.mark.parametrize("measure", [TEMPERED, levy.Stable(0.5), levy.CompoundPoisson(3.0, SLAB)])
def test_infinitely_divisible(measure, key):
    """`p` copies add up to the limit, at every width."""
    prior, width = priors.InfinitelyDivisible(0.5, measure), 5
    law = prior.at_width(width)
    one, other = jax.random.split(key)
    sums = np.asarray(law.sample(one, (2000, width)).sum(1))
    limit = 0.5 + np.asarray(measure.sample_total(key=other, shape=(2000,), num_jumps=1000))
    assert stats.ks_2samp(sums, limit).pvalue > 1e-3
    assert sums.min() >= 0.5 * (1 - 1e-12)
    np.testing.assert_allclose(width * law.mean, 0.5 + measure.moment(1), rtol=1e-12)
    np.testing.assert_allclose(width * law.variance, measure.moment(2), rtol=1e-12)
    with pytest.raises(NotImplementedError, match=r"priors\.from_levy\(measure\)"):
        law.log_prob(0.3)
    if np.isfinite(law.mean):
        scaled = prior.at_width(width, total_mean=3.0).sample(one, (2000, width)).sum(1)
        np.testing.assert_allclose(scaled, sums * 3 / float(width * law.mean), rtol=1e-9)


def test_infinitely_divisible_gamma():
    """The one with a density."""
    law = priors.InfinitelyDivisible(0.0, levy.Gamma(2.0, 3.0)).at_width(10)
    assert isinstance(law, priors.GammaLaw)
    assert (float(law.concentration), float(law.rate)) == (0.2, 3)
    shifted = priors.InfinitelyDivisible(1.0, levy.Gamma(2.0, 3.0)).at_width(10)
    assert isinstance(shifted, priors.InfinitelyDivisibleLaw)


def measure_quadrature(law, low=-90.0, high=60.0):
    u, weights = map(np.ravel, oracles.panels(np.linspace(low, high, 50)))
    return u, weights * np.exp(np.asarray(log_density_of_log(law, jnp.asarray(u))))


@pytest.mark.statistical
@needs_x64
@pytest.mark.parametrize(
    ("measure", "high"),
    [
        (TEMPERED, 8.0),
        (levy.FromDensity(lambda x: x**-1.5 / (1 + x) ** 3), 30.0),
        (levy.Stable(0.6), 80.0),
    ],
    ids=["GeneralizedGamma", "FromDensity", "Stable"],
)
def test_from_levy(measure, high, key):
    law = priors.from_levy(measure).at_width(100)
    assert isinstance(law, priors.MeasureLaw)
    u, weights = measure_quadrature(law, high=high)
    assert weights.sum() == pytest.approx(1, rel=1e-6)
    if np.isfinite(law.mean):
        np.testing.assert_allclose(law.mean, np.sum(weights * np.exp(u)), rtol=1e-6)
        second = np.sum(weights * np.exp(2 * u))
        np.testing.assert_allclose(law.variance, second - float(law.mean) ** 2, rtol=1e-5)
    x = np.exp(np.linspace(-90, high, 50)[[10, 22, 28, 30, 31]])
    expected = [np.sum(weights[u < math.log(at)]) for at in x]
    np.testing.assert_allclose(law.cdf(x), expected, atol=1e-6)
    q = jnp.array([1e-3, 0.1, 0.5, 0.999])
    np.testing.assert_allclose(law.cdf(law.icdf(q)), q, rtol=1e-6)
    draws = law.sample(key, (5000,))
    assert stats.kstest(np.asarray(law.cdf(draws)), "uniform").pvalue > 1e-3
    at, errors = jnp.array([0.05, 0.3, 1.5]), []
    for width in (100, 1000, 10_000):
        above = width * (1 - priors.from_levy(measure).at_width(width).cdf(at))
        errors.append(np.abs(above / measure.tail(at) - 1))
    assert np.all((np.diff(errors, axis=0) < 0) | (np.array(errors[1:]) < 1e-6))
    assert np.max(errors[-1]) < 1e-2


@needs_x64
def test_from_levy_against_the_closed_form():
    """`ψ(t) = p` for a generalised gamma measure: `(t + b)^α = b^α + α p / η`."""
    law = priors.from_levy(levy.GeneralizedGamma(0.5, 2.0, 3.0)).at_width(100)
    x = np.array([1e-12, 1e-6, 1e-3, 0.3, 5.0])
    t = (math.sqrt(2) + 0.5 * 100 / 3) ** 2 - 2
    exact = 3 / math.gamma(0.5) * x**-1.5 * np.exp(-2 * x) * -np.expm1(-t * x) / 100
    np.testing.assert_allclose(law.log_prob(x), np.log(exact), rtol=1e-10)
    np.testing.assert_array_equal(law.log_prob(jnp.array([-1.0, 0.0, math.inf])), -jnp.inf)


def test_from_levy_of_a_finite_measure(key):
    law = priors.from_levy(levy.CompoundPoisson(3.0, SLAB)).at_width(50)
    assert isinstance(law, priors.SpikeAndSlabLaw)
    same, x = priors.SpikeAndSlab(3.0, SLAB).at_width(50), jnp.array([0.0, 0.05, 0.3, 1.5])
    rtol = 1e-9 if X64 else 1e-5
    np.testing.assert_allclose(law.log_prob(x), same.log_prob(x), rtol=rtol)
    np.testing.assert_allclose(law.cdf(x), same.cdf(x), rtol=rtol)
    np.testing.assert_allclose(law.mean, same.mean, rtol=rtol)
    draws = law.sample(key, (5000,)), same.sample(jax.random.key(1), (5000,))
    assert stats.ks_2samp(*map(np.asarray, draws), method="asymp").pvalue > 1e-3


@needs_x64
def test_from_levy_of_a_gamma_measure():
    """Its `p`-th jump is `e^-10000`, no float; the law has a density there, too."""
    law = priors.from_levy(levy.Gamma(1.0, 2.0)).at_width(10_000)
    assert priors.has_density(law)
    x = jnp.array([0.05, 0.3, 1.5])
    np.testing.assert_allclose(10_000 * (1 - law.cdf(x)), law.measure.tail(x), rtol=1e-9)
    assert float(10_000 * law.mean) == pytest.approx(0.5, rel=1e-9)
    # ψ(t) = log(1 + t/2)
    np.testing.assert_allclose(law.log_rate, 10_000 + math.log(2), rtol=1e-14)
    u = jnp.array([-20_000.0, -10_001.0, -5_000.0, -3.0])
    killed = [u[0] + law.log_rate, math.log(-math.expm1(-math.exp(law.log_rate - 10_001))), 0, 0]
    expected = np.array(killed) - 2 * np.exp(u) - math.log(10_000)
    np.testing.assert_allclose(law.log_density_of_log(u), expected, rtol=1e-10)


def log_density_of_traced(rate):
    measure = levy.FromDensity(lambda x: x**-1.5 * jnp.exp(-rate * x))
    return priors.from_levy(measure).at_width(100).log_prob(1e-3) + math.log(1e-3)


X, ROOT = 1e-3, math.sqrt(2) + 50 / math.sqrt(math.pi)
RATE = ROOT**2 - 2  # of thinning, by the closed form of the test before


@needs_x64
def test_from_levy_of_a_density_with_a_traced_parameter():
    value = jax.jit(log_density_of_traced)(2.0)
    exact = -0.5 * math.log(X) - 2 * X + math.log(-math.expm1(-RATE * X) / 100)
    assert float(value) == pytest.approx(exact, rel=1e-6)


@needs_x64
@pytest.mark.xfail(strict=True, reason="NaN; perhaps d/dx of the density overflows")
def test_slope_of_from_levy_in_a_parameter_of_a_density():
    slope = jax.jit(jax.grad(log_density_of_traced))(2.0)
    exact = -X + (ROOT / math.sqrt(2) - 1) * X / math.expm1(RATE * X)
    assert float(slope) == pytest.approx(exact, rel=1e-5)


FINITE = levy.CompoundPoisson(1.0, SLAB)
# Measures as functions of a number, with a width.
TRACED = {
    "CompoundPoisson": (lambda m: levy.CompoundPoisson(m, SLAB), 5),
    "CompoundPoisson of points": (lambda m: levy.CompoundPoisson(m, dist.Delta(0.3)), 5),
    "Gamma": (levy.Gamma, 3000),
    "sum": (lambda m: m * levy.Beta(1.0, 0.5).scaled(2.0) + levy.Stable(m / 4), 100),
    "finite sum": (lambda m: m * FINITE + FINITE, 5),
}


@pytest.mark.parametrize("name", TRACED)
def test_from_levy_is_the_same_when_traced(name, key):
    """Under `jit`, `vmap` and `grad`: density, distribution function, mean; draws of two kinds."""
    make, width = TRACED[name]
    points = name == "CompoundPoisson of points"
    x, value = jnp.array([0.0, 1e-3, 0.5, 2.0] if not points else [0.0, 0.3]), 2.0

    found = []

    def of(m):
        law = priors.from_levy(make(m)).at_width(width)
        found.append(priors.has_density(law))
        drawn = (law.sample(key, (50,)),) if name in ("CompoundPoisson", "Gamma") else ()
        density = law.log_prob(x)
        return density, (density, law.cdf(x), width * law.mean, *drawn)

    _, eager = of(value)
    slopes, mapped = jax.jit(jax.vmap(jax.jacfwd(of, has_aux=True)))(jnp.array([value, 1.5]))
    assert found[1:] == found[:1] * (len(found) - 1) != []
    rtol = 1e-9 if X64 else 1e-3
    for one, many in zip(eager, mapped, strict=True):
        np.testing.assert_allclose(many[0], one, rtol=rtol, atol=1e-12)
    if X64:
        step, density = 1e-6, lambda m: priors.from_levy(make(m)).at_width(width).log_prob(x)
        difference = (density(value + step) - density(value - step)) / (2 * step)
        finite = np.isfinite(difference)
        np.testing.assert_allclose(slopes[0][finite], difference[finite], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("measure", "width", "high"),
    [
        (levy.Beta(1.0, 0.5) + levy.Stable(0.6), 100, 80.0),
        (3.0 * levy.Beta(1.0, 0.8).scaled(2.0), 2, math.log(2)),
        (levy.BetaPareto(1.0, 0.5, 3.0), 100, 30.0),
        (levy.RegularizedHorseshoe(2.0), 1, -math.log(2)),
    ],
    ids=["sum", "rescaled", "BetaPareto", "RegularizedHorseshoe"],
)
def test_from_levy_of_any_measure(measure, width, high, key):
    """The density integrates to one and to the cdf; draws; what is above 0.05 is of the measure."""
    law = priors.from_levy(measure).at_width(width)
    kinks = [at for at in (math.log(0.25), math.log(0.5), 0.0, math.log(2)) if at <= high]
    # Where nearly all draws are next to 0, the density of the logarithm falls very slowly there.
    far = -np.geomspace(8000, 90, 200)[:-1]
    even, at_end = np.linspace(-90, high, 50), high - np.geomspace(1e-14, 1, 30)
    points = np.unique(np.concatenate([even, kinks, at_end]))  # densities may be infinite there
    u, weights = map(np.ravel, oracles.panels(np.concatenate([far, points])))
    weights = weights * np.exp(np.asarray(log_density_of_log(law, jnp.asarray(u))))
    assert weights.sum() == pytest.approx(1, rel=1e-6 if X64 else 1e-3)
    x = np.exp(even[[12, 25, 40]])
    expected = [np.sum(weights[u < math.log(at)]) for at in x]
    np.testing.assert_allclose(law.cdf(jnp.asarray(x)), expected, atol=1e-6 if X64 else 1e-3)
    draws = np.asarray(law.sample(key, (2000,)))
    # Draws may underflow, in single precision more than half of them: those above are of the law.
    least = float(law.cdf(jnp.asarray(np.finfo(draws.dtype).tiny)))
    shares = (np.asarray(law.cdf(draws[draws >= np.finfo(draws.dtype).tiny])) - least) / (1 - least)
    assert stats.kstest(shares, "uniform").pvalue > 1e-3
    assert stats.binomtest(len(shares), len(draws), 1 - least).pvalue > 1e-3
    if np.isfinite(law.mean) and X64:
        np.testing.assert_allclose(law.mean, np.sum(weights * np.exp(u)), rtol=1e-6)


@needs_x64
def test_from_levy_of_jumps_of_a_fixed_size_beside_others(key):
    """It can be drawn; there is no density."""
    measure = levy.GeneralizedGamma(0.5) + levy.CompoundPoisson(2.0, dist.Delta(0.3))
    law = priors.from_levy(measure).at_width(50)
    assert not priors.has_density(law)
    x = jnp.array([0.1, 0.29, 0.31, 1.0])
    np.testing.assert_allclose(50 * (1 - law.cdf(x)), measure.tail(x), rtol=1e-2)
    draws = np.asarray(law.sample(key, (4000,)))
    assert abs(np.mean(np.abs(draws - 0.3) < 1e-9) - 0.04) < 0.015
    with pytest.raises(NotImplementedError, match="has jumps of a fixed size, and so no density"):
        law.log_prob(0.3)


def test_from_levy_in_numpyro(key):
    """A drawn mass: the share of zeros is that of the mean mass."""

    def model():
        mass = numpyro.sample("mass", dist.Uniform(1.99, 2.01))
        with numpyro.plate("nodes", 50):
            law = priors.from_levy(levy.CompoundPoisson(mass, SLAB)).at_width(50)
            numpyro.sample("variance", law)

    draws = Predictive(model, num_samples=200, parallel=True)(key)["variance"]
    assert abs(float((draws == 0).mean()) - 0.96) < 5 * math.sqrt(0.04 / 10_000)
    assert abs(float(draws.sum(1).mean()) - 4 / 3) < 5 * math.sqrt(4 / 3 / 200)


def test_from_levy_compiles_once_a_kind_of_measure(caplog):
    def everything(mass, rate, width):
        law = priors.from_levy(levy.Gamma(mass, rate)).at_width(width)
        return law.log_prob(0.3), law.cdf(0.3), law.sample(jax.random.key(0), (3,)), law.mean

    everything(1.0, 2.0, 20)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        everything(1.5, 0.5, 30)
    compiled = [record.message for record in caplog.records if "Compiling" in record.message]
    assert not compiled
