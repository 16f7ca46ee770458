"""Node-variance laws: density, sampler and moments by independent routes; limits; the adapters."""

import functools
import inspect
import math
import re

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, init_to_value
from numpyro.infer.util import potential_energy
from oracles import DTYPES, X64, finite_gbfry_log_density, needs_x64, partial
from oracles import _panels as panels
from scipy import stats

from mogp import inference, levy, priors
from mogp.priors import FiniteGBFRY, SquaredHalfCauchy

SIMULATES = True  # see conftest.py

SLAB = priors.GammaLaw(2.0, 3.0)
TEMPERED = levy.GeneralizedGamma(0.5, 1.0, 1.0)

# Every prior with a closed density, and the width it is tested at.
PRIORS = {
    "GroupLasso": (priors.GroupLasso(10), 30),
    "InverseGamma": (priors.InverseGamma(2.5), 50),
    "InverseGamma, light tail": (priors.InverseGamma(4.0, 3.0), 50),
    "InverseGamma, heavy tail": (priors.InverseGamma(0.5, 2.0), 50),
    "Gamma": (priors.Gamma(2.0, 3.0), 100),
    "Gamma, tiny shape": (priors.Gamma(1.0), 1_000_000),
    "Beta": (priors.Beta(1.0, 0.5), 100),
    "Beta, b > 1": (priors.Beta(2.0, 3.0), 10),
    "BetaPareto": (priors.BetaPareto(1.0, 0.5, 3.0), 100),
    "BetaPareto, heavy tail": (priors.BetaPareto(2.0, 1.5, 0.8), 20),
    "Horseshoe": (priors.Horseshoe(), 100),
    "RegularizedHorseshoe": (priors.RegularizedHorseshoe(), 100),
    "RegularizedHorseshoe, narrow": (priors.RegularizedHorseshoe(4.0), 10),
    "Stable": (priors.Stable(0.5), 100),
    "Stable, α near 1": (priors.Stable(0.9, 3.0), 20),
    "GeneralizedGamma": (priors.GeneralizedGamma(0.5), 100),
    "GeneralizedGamma, α near 1": (priors.GeneralizedGamma(0.9, 3.0, 2.0), 1000),
    "GeneralizedGamma, α near 0": (priors.GeneralizedGamma(0.1, 0.5, 3.0), 20),
    "GBFRY": (priors.GBFRY(0.5, 2.0), 100),
    "GBFRY, light tail": (priors.GBFRY(0.8, 5.0, 3.0), 2000),
    "GBFRY, both near 1": (priors.GBFRY(0.9, 1.2), 1000),
    "GBFRY, α near 0": (priors.GBFRY(0.05, 2.5, 0.2), 50),
    "GBFRY, one node": (priors.GBFRY(0.3, 3.0), 1),
}
# The others, with a point mass, or a law by quadrature.
OTHERS = {
    "Deterministic": (priors.Deterministic(), 50),
    "Bernoulli": (priors.Bernoulli(3.0), 50),
    "SpikeAndSlab": (priors.SpikeAndSlab(3.0, SLAB), 50),
    "InfinitelyDivisible": (priors.InfinitelyDivisible(0.5, TEMPERED), 50),
    "FromLevy": (priors.from_levy(TEMPERED), 50),
}
every_prior = pytest.mark.parametrize("name", PRIORS)
every_gbfry = pytest.mark.parametrize("name", [name for name in PRIORS if "GBFRY" in name])
one_of_a_class = pytest.mark.parametrize("name", [name for name in PRIORS if "," not in name])

# Laws are arguments here: their parameters are tracers, and one compilation does for a class.
log_prob = jax.jit(lambda law, x: law.log_prob(x))
log_density_of_log = jax.jit(lambda law, u: law.log_density_of_log(u))
log_prob_slope = jax.jit(jax.vmap(jax.grad(lambda law, x: law.log_prob(x), 1), (None, 0)))
log_prob_slopes = jax.jit(jax.vmap(jax.grad(lambda law, x: law.log_prob(x), (0, 1)), (None, 0)))
log_density_and_slope = jax.jit(
    jax.vmap(jax.value_and_grad(lambda law, u: law.log_density_of_log(u), 1), (None, 0))
)
sample_log = jax.jit(lambda law, key: law.sample_log(key, (100_000,)))
cdf = jax.jit(lambda law, x: law.cdf(x))
icdf = jax.jit(lambda law, q: law.icdf(q))

X = [1e-30, 1e-20, 1e-15, 1e-8, 1e-3, 0.02, 0.3, 1, 30, 1e4]


def in_dtype(law, dtype):
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), law)


@functools.cache
def law_of(name, dtype=None):
    prior, width = PRIORS[name]
    return in_dtype(prior.at_width(width), dtype or jnp.result_type(float))


def parameters(law):
    return [float(getattr(law, name)) for name in law.arg_constraints]


# --- densities in mpmath, of the parameters and λ -------------------------------------------


def gamma_density(shape, rate, x):
    return shape * mp.log(rate) + (shape - 1) * mp.log(x) - rate * x - mp.loggamma(shape)


def inverse_gamma_density(shape, scale, x):
    return shape * mp.log(scale) - (shape + 1) * mp.log(x) - scale / x - mp.loggamma(shape)


def beta_density(a, b, x):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - mp.log(mp.beta(a, b))


def beta_pareto_density(a, b, tau, x):
    """`τ x^(-1-τ) ∫_0^min(x, 1) v^τ f(v) dv`, `f` the beta density; `v^(a+τ)` is the variable."""
    top, power = min(x, mp.mpf(1)), 1 / (a + tau)
    integral = mp.quad(lambda w: (1 - top * w**power) ** (b - 1), [0, 1])
    integral *= top ** (a + tau) * power / mp.beta(a, b)
    return mp.log(tau * x ** (-1 - tau) * integral)


def pareto_density(alpha, scale, x):
    return mp.log(alpha) + alpha * mp.log(scale) - (alpha + 1) * mp.log(x)


def squared_half_cauchy_density(scale, slab, x):
    rest = 1 - slab * x
    s = x / rest
    return mp.log(scale / (mp.pi * mp.sqrt(s) * (s + scale**2) * rest**2))


def tempered_density(alpha, rate, mass, width, x):
    """With 120 digits: `1 - exp(-t x)` cancels."""
    with mp.workdps(120):
        alpha, rate, mass, width, x = map(mp.mpf, (alpha, rate, mass, width, x))
        t = (alpha * width / mass) ** (1 / alpha)
        norm = mp.gamma(1 - alpha) * ((t + rate) ** alpha - rate**alpha)
        return mp.log(alpha * x ** (-1 - alpha) * (1 - mp.exp(-t * x)) / norm) - rate * x


def gbfry_density(alpha, tau, scale, width, x):
    return finite_gbfry_log_density(alpha, tau, scale * (tau - alpha) / (tau - 1), width, x)


EXACT = {
    priors.GammaLaw: gamma_density,
    priors.InverseGammaLaw: inverse_gamma_density,
    priors.BetaLaw: beta_density,
    priors.BetaParetoLaw: beta_pareto_density,
    priors.ParetoLaw: pareto_density,
    SquaredHalfCauchy: squared_half_cauchy_density,
    priors.FiniteGeneralizedGamma: tempered_density,
    FiniteGBFRY: gbfry_density,
}


def exact_log_density(law, x):
    with mp.workdps(40):
        return float(EXACT[type(law)](*map(mp.mpf, (*parameters(law), x))))


# --- the shape of a law, for quadrature -----------------------------------------------------


def ends(law):
    """Bounds of the support of a law."""
    if isinstance(law, SquaredHalfCauchy):
        return 0.0, 1 / float(law.slab) if law.slab else math.inf
    support = law.support
    low, high = getattr(support, "lower_bound", 0.0), getattr(support, "upper_bound", math.inf)
    return float(low), float(high)


def index_below(law):
    """`κ` for a density of `log λ` like `exp(κ u)` far below; None where it stops or falls off."""
    match law:
        case priors.GammaLaw():
            return float(law.concentration)
        case priors.BetaLaw() | priors.BetaParetoLaw():
            return float(law.a)
        case SquaredHalfCauchy():
            return 0.5
        case priors.FiniteGeneralizedGamma() | FiniteGBFRY():
            return 1 - float(law.alpha)


def index_above(law):
    """The tail index."""
    match law:
        case priors.InverseGammaLaw():
            return float(law.concentration)
        case priors.BetaParetoLaw() | FiniteGBFRY():
            return float(law.tau)
        case priors.ParetoLaw():
            return float(law.alpha)
        case SquaredHalfCauchy() if not law.slab:
            return 0.5


def core(law):
    """An interval of `log λ` with all that is not a power law."""
    match law:
        case priors.GammaLaw():
            return -45 - math.log(law.rate), 6 - math.log(law.rate)
        case priors.InverseGammaLaw():
            return math.log(law.scale) - 6, math.log(law.scale) + 45
        case priors.BetaLaw():
            return -45, 0
        case priors.BetaParetoLaw():
            return -45, 0
        case priors.ParetoLaw():
            return math.log(law.scale), math.log(law.scale) + 1
        case SquaredHalfCauchy():
            centre, bound = 2 * math.log(law.scale), float(law.slab)
            return centre - 40.0, -math.log(bound) if bound else centre + 40
        case priors.FiniteGeneralizedGamma():
            log_t = math.log(law.alpha * law.width / law.mass) / law.alpha
            return -log_t - 40, 6 - math.log(law.rate)
        case FiniteGBFRY():
            log_t = math.log(law.alpha * law.width * law.tau / (law.tau - law.alpha)) / law.alpha
            return math.log(law.scale) - log_t - 40, math.log(law.scale) + 40


def panel_ends(law, split=None):
    low, high = map(float, core(law))
    points = set(np.linspace(low, high, 49))
    if (index := index_below(law)) is not None:
        points |= set(low - np.geomspace(2, 46 / index, 12))
    else:
        points |= set(np.linspace(low, low + (high - low) / 48, 14)[1:-1])
    if (index := index_above(law)) is not None:
        slowest = min(abs(index - k) for k in range(3) if k < index)  # of the moments it has
        points |= set(high + np.geomspace(2, 46 / slowest, 12))
    else:
        points |= set(np.linspace(high - (high - low) / 48, high, 14)[1:-1])
    if split is not None:  # keeps the number
        points = {*points} - {min(points, key=lambda point: abs(point - split))} | {split}
    return np.array(sorted(points))


def quadrature(law, split=None):
    """Ends of panels, and for each its nodes in `log λ`, and their weights with the density in."""
    points = panel_ends(law, split)
    u, weights = panels(points, 81)
    weights = weights * np.exp(np.asarray(log_density_of_log(law, jnp.asarray(u)), np.float64))
    return points, u.reshape(-1, 81), weights.reshape(-1, 81)


@functools.cache
def quadrature_of(name):
    return quadrature(law_of(name))


def all_of(table):
    public = {getattr(priors, name) for name in priors.__all__}
    return {value for value in public if inspect.isclass(value) and issubclass(value, table)}


def test_every_public_prior_and_law_is_tested():
    both = PRIORS | OTHERS
    assert all_of(priors.Prior) == {type(prior) for prior, _ in both.values()} | {priors.Prior}
    derived = {priors.MeasureLaw, priors.ScaledLaw, priors.NodeVarianceLaw}
    assert all_of(priors.NodeVarianceLaw) == set(EXACT) | derived
    assert {type(law_of(name)) for name in PRIORS} == set(EXACT)
    with pytest.raises(TypeError, match="abstract"):
        priors.Prior()


# --- density --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_log_prob_against_mpmath(name, dtype):
    law = law_of(name, dtype)
    x = jnp.asarray(X, dtype)
    got = log_prob(law, x)
    assert got.dtype == dtype
    low, high = ends(law)
    for value, at in zip(got, np.asarray(x, float), strict=True):
        if not low <= at < high:
            assert value == -math.inf
        elif dtype == jnp.float64:
            np.testing.assert_allclose(value, exact_log_density(law, at), rtol=1e-10, atol=1e-11)
        elif at > 1e-18:
            np.testing.assert_allclose(value, exact_log_density(law, at), rtol=2e-6, atol=5e-6)


@needs_x64
@one_of_a_class
def test_log_prob_against_scipy(name):
    law = law_of(name)
    x = np.array(X)
    match law:
        case priors.GammaLaw():
            other = stats.gamma(float(law.concentration), scale=1 / float(law.rate))
        case priors.InverseGammaLaw():
            other = stats.invgamma(float(law.concentration), scale=float(law.scale))
        case priors.BetaLaw():
            other = stats.beta(float(law.a), float(law.b))
        case priors.ParetoLaw():
            other = stats.pareto(float(law.alpha), scale=float(law.scale))
        case _:
            pytest.skip("not in SciPy")
    x = x[x != 1]  # the end of the support of a beta law
    np.testing.assert_allclose(log_prob(law, x), other.logpdf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cdf(law, x), other.cdf(x), rtol=1e-9, atol=1e-12)
    moments = other.stats("mv")
    np.testing.assert_allclose((law.mean, law.variance), moments, rtol=1e-9)


COARSE_CDF = ("GBFRY, one node", "GeneralizedGamma, α near 0")  # t < 1: the series is long


@needs_x64
@every_prior
def test_density_integrates_to_one_and_the_cdf_is_its_integral(name):
    law = law_of(name)
    points, _, weights = quadrature_of(name)
    # An end where the density is infinite is a float: 1 - λ is known to 1e-16.
    coarse = "RegularizedHorseshoe" in name or name in COARSE_CDF
    tolerance = 1e-7 if coarse else 1e-9
    np.testing.assert_allclose(weights.sum(), 1, rtol=tolerance)
    expected = np.concatenate([[0], np.cumsum(weights.sum(1))])
    got = np.asarray(cdf(law, jnp.exp(jnp.asarray(points))))
    within = (points > -700) & (points < 700)
    np.testing.assert_allclose(got[within], expected[within], atol=tolerance)
    assert np.all(np.diff(got[within]) > -1e-9)
    np.testing.assert_array_equal(cdf(law, jnp.full(len(points), -1.0)), 0)


@needs_x64
@one_of_a_class
def test_icdf(name):
    law = law_of(name)
    q = jnp.array([1e-6, 0.1, 0.5, 0.9, 0.999])
    if isinstance(law, (priors.ParetoLaw, SquaredHalfCauchy)):
        np.testing.assert_allclose(cdf(law, icdf(law, q)), q, rtol=1e-9)
    else:
        with pytest.raises(NotImplementedError):
            law.icdf(q)


@pytest.mark.parametrize("dtype", DTYPES)
@one_of_a_class
def test_gradients_of_log_prob(name, dtype):
    law = law_of(name, dtype)
    low, high = ends(law)
    x = jnp.asarray([min(max(at, 2 * low), 0.7 * high) for at in (1e-15, 1e-3, 0.02, 4.0)], dtype)
    by_law, by_x = log_prob_slopes(law, x)
    got = [*(getattr(by_law, parameter) for parameter in law.arg_constraints), by_x]
    assert all(value.dtype == dtype for value in got)
    rtol = 1e-6 if dtype == jnp.float64 else 2e-3
    slow = isinstance(law, priors.BetaParetoLaw) and dtype == jnp.float32
    for i, at in enumerate(np.asarray(x, float)):
        if slow and i % 2:
            continue
        point = [*parameters(law), at]
        for place, value in enumerate(got):
            if not point[place]:  # no slab: the derivative is one-sided
                continue
            step = 1e-12 * point[place]
            expected = partial(EXACT[type(law)], place, point, step)
            np.testing.assert_allclose(value[i], expected, rtol=rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_log_density_of_log(name, dtype):
    """The Jacobian is in, and there is no underflow at λ = exp(-120), which float32 has not."""
    law = law_of(name, dtype)
    x = jnp.asarray(X, dtype)
    u = jnp.append(jnp.log(x[2:]), -120)
    got, slopes = log_density_and_slope(law, u)
    assert got.dtype == dtype
    rtol = 1e-10 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(got[:-1], log_prob(law, x)[2:] + u[:-1], rtol=rtol, atol=rtol)
    if (index := index_below(law)) is not None:
        expected = exact_log_density(law, mp.exp(-120)) - 120
        np.testing.assert_allclose(got[-1], expected, rtol=rtol)
        slope_rtol = 1e-5 if dtype == jnp.float64 else 1e-4
        np.testing.assert_allclose(slopes[-1], index, rtol=slope_rtol)  # a power law down there


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_out_of_support(name, dtype):
    info, law = np.finfo(dtype), law_of(name, dtype)
    low, high = ends(law)
    outside = [-1.0, -0.0, 0.0, math.inf, -math.inf, math.nan]
    outside += [0.9 * low, 1.1 * high] if low or high < math.inf else [0.0, math.inf]
    inside = [min(0.3, high / 2), info.tiny, info.max, info.smallest_subnormal]
    x = jnp.asarray([*outside, *inside], dtype)
    got, slopes = log_prob(law, x), log_prob_slope(law, x)
    np.testing.assert_array_equal(got[:8], -jnp.inf)
    np.testing.assert_array_equal(slopes[:6], 0)
    assert np.isfinite(slopes[6:8]).all()
    assert np.isfinite(got[8])
    assert np.isfinite(slopes[8])
    assert not np.isnan(got).any()
    if isinstance(law, FiniteGBFRY) or name == "Horseshoe":
        assert np.isfinite(got[8:11]).all()
        assert not np.isnan(slopes).any()


# --- sampler and moments --------------------------------------------------------------------


@every_prior
def test_sampler_against_the_cdf(name, key):
    """Kolmogorov-Smirnov, 1e5 draws; a false alarm once in a million seeds."""
    law = law_of(name)
    u = sample_log(law, key)
    assert np.isfinite(u).all()
    if name == "Gamma, tiny shape":  # λ underflows; e^(κu) of the power law is uniform
        probability = np.exp(np.asarray(u, np.float64) * index_below(law))
    else:
        probability = np.asarray(cdf(law, jnp.exp(u)), np.float64)
    distance = stats.kstest(probability, "uniform").statistic
    below = float(cdf(law, jnp.finfo(u.dtype).tiny))  # mass where λ underflows
    assert distance < math.sqrt(math.log(2e6) / 2 / len(u)) + (below if below < 0.1 else 0)


@needs_x64
@every_prior
def test_moments_against_quadrature(name):
    law, (_, u, weights) = law_of(name), quadrature_of(name)
    index = index_above(law) or math.inf
    rtol = 1e-7 if "RegularizedHorseshoe" in name else 1e-9
    u = np.minimum(u, 300)
    mean = np.sum(weights * np.exp(u))
    if index > 1:
        np.testing.assert_allclose(law.mean, mean, rtol=rtol)
    else:
        assert float(law.mean) == math.inf
    if index > 2:
        second = np.sum(weights * np.exp(2 * u))
        np.testing.assert_allclose(law.variance, second - mean**2, rtol=rtol)
    else:
        assert float(law.variance) == math.inf


def test_moments_against_samples(key):
    """Five standard errors of the mean and of the variance: false alarm 1e-6. All moments exist."""
    law = in_dtype(priors.GBFRY(0.5, 30.0, 2.0).at_width(3), jnp.result_type(float))
    x = np.asarray(jnp.exp(sample_log(law, key)), np.float64)
    deviation = (x - x.mean()) ** 2
    root_n = math.sqrt(len(x))
    assert abs(x.mean() - float(law.mean)) < 5 * x.std() / root_n
    assert abs(deviation.mean() - float(law.variance)) < 5 * deviation.std() / root_n


def test_infinite_moments():
    horseshoe = priors.Horseshoe().at_width(10)
    assert float(horseshoe.mean) == float(horseshoe.variance) == math.inf
    assert float(priors.GBFRY(0.5, 2.0).at_width(10).variance) == math.inf
    assert math.isfinite(float(priors.GBFRY(0.5, 2.001).at_width(10).variance))
    assert float(FiniteGBFRY(0.5, 0.9, 1.0, 10).mean) == math.inf
    heavy = priors.SpikeAndSlab(1.0, priors.ParetoLaw(1.5)).at_width(10)
    assert float(heavy.mean) == pytest.approx(0.3)
    assert float(heavy.variance) == math.inf
    assert float(priors.SpikeAndSlab(1.0, priors.ParetoLaw(0.5)).at_width(10).mean) == math.inf
    assert float(priors.InfinitelyDivisible(1.0, levy.Stable(0.5)).at_width(2).mean) == math.inf


@pytest.mark.parametrize(
    ("prior", "width", "share"),
    [
        (priors.GBFRY(0.8, 5.0, 3.0), 2000, 0.85),
        (priors.GBFRY(0.9, 5.0, 0.1), 500, 0.50),
        (priors.GBFRY(0.2, 2.5, 1.0), 10_000, 1.00),
    ],
)
def test_expected_sum_at_finite_width(prior, width, share):
    assert float(width * prior.at_width(width).mean) / prior.mean == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("name", PRIORS | OTHERS)
def test_total_mean(name):
    prior, width = (PRIORS | OTHERS)[name]
    if np.isinf(prior.at_width(width).mean):
        with pytest.raises(ValueError, match=r"total_mean cannot be set for .*: its mean is inf"):
            prior.at_width(width, total_mean=3.0)
        return
    law = prior.at_width(width, total_mean=3.0)
    assert float(width * law.mean) == pytest.approx(3, rel=1e-12 if X64 else 1e-5)
    assert law.batch_shape == ()


@pytest.mark.parametrize("name", ["GBFRY, light tail", "Beta, b > 1", "InverseGamma"])
def test_total_mean_scales_the_law(name, key):
    prior, width = PRIORS[name]
    law, plain = prior.at_width(width, total_mean=2.5), law_of(name)
    factor = 2.5 / (width * plain.mean)
    assert isinstance(law, priors.ScaledLaw)
    x = jnp.array([1e-9, 0.01, 0.5])
    rtol = 1e-10 if X64 else 2e-5
    density = log_prob(in_dtype(law, x.dtype), factor * x)
    np.testing.assert_allclose(density, log_prob(plain, x) - jnp.log(factor), rtol=rtol)
    np.testing.assert_allclose(law.cdf(factor * x), plain.cdf(x), rtol=rtol)
    np.testing.assert_allclose(law.variance, plain.variance * factor**2, rtol=rtol)
    draws = law.sample(key, (5,)), plain.sample(key, (5,)) * factor
    np.testing.assert_allclose(*draws, rtol=10 * rtol)
    assert ends(law) == pytest.approx([end * float(factor) for end in ends(plain)])


def test_horseshoe_against_scipy(key):
    law, root = priors.Horseshoe().at_width(100), stats.halfcauchy(scale=math.pi / 200)
    x = np.array([1e-12, 1e-4, 0.3, 40.0])
    rtol = 1e-12 if X64 else 1e-5
    np.testing.assert_allclose(law.cdf(x), root.cdf(np.sqrt(x)), rtol=rtol)
    np.testing.assert_allclose(law.icdf(law.cdf(x[:3])), x[:3], rtol=1e-9 if X64 else 1e-3)
    assert float(law.cdf(-1.0)) == 0


# --- limits ---------------------------------------------------------------------------------


def test_limits():
    assert priors.Deterministic().limit == priors.Limit(1.0, levy.NoJumps())
    assert priors.GroupLasso(10).limit == priors.Limit(1.0, levy.NoJumps())
    assert priors.InverseGamma(2.0, 3.0).limit == priors.Limit(3.0, levy.NoJumps())
    assert priors.Horseshoe().limit == priors.Limit(0.0, levy.Stable(0.5))
    assert priors.GBFRY(0.3, 4.0, 2.0).limit == priors.Limit(0.0, levy.GBFRY(0.3, 4.0, 2.0))
    assert priors.InfinitelyDivisible(0.5, TEMPERED).limit == priors.Limit(0.5, TEMPERED)
    assert priors.from_levy(TEMPERED).limit == priors.Limit(0.0, TEMPERED)
    assert priors.Limit._fields == ("location", "levy")


# Priors without location, and how far the worst one may be from its limit at width 1e5.
JUMPS = {
    "InverseGamma": (priors.InverseGamma(0.5, 2.0), 1e-4),
    "Gamma": (priors.Gamma(2.0, 3.0), 1e-3),
    "Beta": (priors.Beta(1.0, 0.5), 1e-3),
    "BetaPareto": (priors.BetaPareto(1.0, 0.5, 3.0), 1e-3),
    "Horseshoe": (priors.Horseshoe(), 1e-4),
    "RegularizedHorseshoe": (priors.RegularizedHorseshoe(0.5), 1e-4),
    "Stable": (priors.Stable(0.7, 2.0), 1e-4),
    "GeneralizedGamma": (priors.GeneralizedGamma(0.5, 2.0, 3.0), 1e-3),
    "GeneralizedGamma, α near 1": (priors.GeneralizedGamma(0.8), 0.01),
    "GBFRY": (priors.GBFRY(0.5, 2.0), 1e-3),
    "GBFRY, α near 1": (priors.GBFRY(0.7, 4.0), 1e-2),
}
every_limit = pytest.mark.parametrize("name", JUMPS)
WIDTHS = (100, 1000, 10_000, 100_000)


def at_widths(prior):
    return [in_dtype(prior.at_width(width), jnp.result_type(float)) for width in WIDTHS]


@needs_x64
@every_limit
def test_expected_number_of_large_nodes_tends_to_the_tail(name):
    prior, bound = JUMPS[name]
    x = jnp.array([0.05, 0.3, 1.5])
    tail = np.asarray(prior.limit.levy.tail(x))
    errors = []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        above = width * (1 - np.asarray(cdf(law, x)))
        errors.append(np.abs(above - tail) / np.where(tail > 0, tail, 1))
    errors = np.array(errors)
    # Decreasing, but for rounding of `width (1 - cdf)`.
    noise = 1e-4 if name.startswith(("G", "Beta")) else 1e-9
    assert np.all((np.diff(errors, axis=0) < 0) | (errors[1:] < noise))
    assert errors[-1].max() < bound


@needs_x64
@every_limit
def test_laplace_transform_of_the_sum_tends_to_that_of_the_limit(name):
    """`-p log E exp(-s λ) → a s + ψ(s)`, which determines the law; and the same for small nodes."""
    prior, _ = JUMPS[name]
    s, h = np.array([0.1, 1.0, 30.0]), 0.01
    psi = np.asarray(prior.limit.levy.laplace_exponent(jnp.asarray(s)))
    small = float(prior.limit.levy.moment(1, h))
    assert prior.limit.location == 0
    errors = []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        points, u, weights = quadrature(law, math.log(h))
        x = np.exp(np.minimum(u, 600))
        lost = np.array([np.sum(weights * -np.expm1(-at * x)) for at in s])
        below = points[:-1] < math.log(h) - 1e-9
        moment = width * np.sum(weights[below] * x[below])
        errors.append([*(-width * np.log1p(-lost) / psi - 1), moment / small - 1])
    errors = np.abs(errors)
    assert np.all((np.diff(errors, axis=0) < 0) | (errors[1:] < 1e-7))
    slow = "α near 1" in name or name == "Stable"  # p^(1 - 1/α)
    assert errors[-1].max() < (0.2 if slow else 0.02)


@needs_x64
@pytest.mark.parametrize("prior", [priors.GroupLasso(10), priors.InverseGamma(2.5, 3.0)])
def test_all_mass_tends_to_the_location(prior):
    s, errors, above = np.array([0.1, 1.0, 5.0]), [], []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        _, u, weights = quadrature(law)
        lost = np.array([np.sum(weights * -np.expm1(-at * np.exp(u))) for at in s])
        errors.append(np.abs(-width * np.log1p(-lost) / (prior.limit.location * s) - 1))
        above.append(width * (1 - float(law.cdf(0.3))))
        assert float(width * law.mean) == pytest.approx(float(prior.limit.location))
    assert np.all(np.diff(errors, axis=0) < 0)
    assert np.max(errors[-1]) < 1e-2
    assert above[-1] < 1e-3


@needs_x64
@pytest.mark.parametrize(
    "prior",
    [
        priors.Stable(0.7, 2.0),
        priors.InverseGamma(0.5, 2.0),
        priors.Horseshoe(),
        priors.GeneralizedGamma(0.5, 2.0, 3.0),
        priors.Gamma(2.0, 3.0),
        priors.Beta(1.0, 0.5),
        priors.GBFRY(0.5, 2.0),
        priors.Bernoulli(3.0),
        priors.SpikeAndSlab(3.0, SLAB),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_sums_of_draws_against_draws_of_the_limit(prior, key):
    """Two-sample Kolmogorov-Smirnov, 2000 sums of 1000 draws; a false alarm in 1000 seeds."""
    own, other = jax.random.split(key)
    law = in_dtype(prior.at_width(1000), float)
    draw = jax.jit(lambda law, key: law.sample(key, (2000, 1000)).sum(1))
    sums = np.asarray(draw(law, own))
    limit = np.asarray(prior.limit.levy.sample_total(key=other, shape=(2000,), num_jumps=200))
    assert stats.ks_2samp(sums, limit).pvalue > 1e-3


# --- point masses ---------------------------------------------------------------------------


def spike_and_slab(slab=SLAB, factor=2.0):
    return priors.SpikeAndSlabLaw(0.1, slab, factor)


@needs_x64
def test_spike_and_slab_density():
    """With respect to a point mass at 0 and Lebesgue measure."""
    law = spike_and_slab()
    x, weights = panels([0.0, 0.1, 0.5, 2.0, 10.0, 40.0], 81)
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
    u, weights = panels(np.linspace(low, high, 50), 81)
    return u, weights * np.exp(np.asarray(log_density_of_log(law, jnp.asarray(u))))


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
    assert stats.ks_2samp(*map(np.asarray, draws)).pvalue > 1e-3


@needs_x64
def test_from_levy_of_a_gamma_measure():
    """Its `p`-th jump is too small for a float at large width: the nodes below are off."""
    measure = levy.Gamma(1.0, 2.0)
    narrow, wide = (priors.from_levy(measure).at_width(width) for width in (50, 10_000))
    assert isinstance(narrow, priors.MeasureLaw)
    assert isinstance(wide, priors.SpikeAndSlabLaw)
    x = jnp.array([0.05, 0.3, 1.5])
    np.testing.assert_allclose(10_000 * (1 - wide.cdf(x)), measure.tail(x), rtol=1e-6)
    assert float(10_000 * wide.mean) == pytest.approx(0.5, rel=1e-6)
    assert 0 < float(wide.probability) < 0.1


# --- as NumPyro distributions ---------------------------------------------------------------


def test_batches_of_parameters(key):
    alphas, x = jnp.array([0.2, 0.5, 0.7], jnp.float32), jnp.float32(0.3)
    exact = [finite_gbfry_log_density(a, 2, 2 - a, 10, 0.3) for a in (0.2, 0.5, 0.7)]  # scale 1
    exact = np.array(exact, float)
    law, cauchy = FiniteGBFRY(alphas, 2.0, jnp.float32(1.0), 10), SquaredHalfCauchy(alphas)
    np.testing.assert_allclose(log_prob(law, jnp.full((2, 1), x)), [exact, exact], atol=5e-6)
    np.testing.assert_allclose(cauchy.cdf(alphas**2), 0.5, rtol=1e-6)
    np.testing.assert_allclose(cauchy.icdf(jnp.full((2, 1), 0.5))[1], alphas**2, rtol=1e-6)
    for batch in (law, cauchy):
        assert batch.batch_shape == batch.mean.shape == batch.variance.shape == (3,)
        draws = jax.eval_shape(lambda batch=batch: batch.sample(key, (4,)))
        assert (draws.shape, draws.dtype) == ((4, 3), jnp.float32)
    table = FiniteGBFRY(alphas[:, None], jnp.array([2.0, 3.0]), 1.0, 10)
    assert table.batch_shape == table.mean.shape == (3, 2)
    assert jax.eval_shape(table.log_prob, jnp.ones(2)).shape == (3, 2)


def test_potential_energy_is_that_of_log_lambda():
    """NumPyro samples a positive site in its logarithm: the Jacobian is in the target."""
    law = law_of("GeneralizedGamma")
    u = jnp.array([-40.0, -3.0, 0.5])

    def model():
        numpyro.sample("variance", law.expand((3,)).to_event(1))

    energy = potential_energy(model, (), {}, {"variance": u})
    expected = -log_density_of_log(law, u).sum()
    np.testing.assert_allclose(energy, expected, rtol=1e-5)


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


# --- the adapters ---------------------------------------------------------------------------


def test_deterministic(key):
    law = priors.Deterministic().at_width(50)
    assert float(law.mean) == pytest.approx(0.02)
    np.testing.assert_array_equal(law.sample(key, (3,)), jnp.full(3, 0.02))
    assert float(law.log_prob(0.02)) == 0
    assert float(law.log_prob(0.03)) == -math.inf


def test_repr():
    assert repr(priors.GBFRY(alpha=0.5, tau=2.0)) == "GBFRY(alpha=0.5, tau=2.0)"
    assert repr(priors.GBFRY(0.5, 2.0, 3.0)) == "GBFRY(alpha=0.5, tau=2.0, mean=3.0)"
    assert repr(priors.Horseshoe()) == "Horseshoe()"
    assert repr(priors.Beta(2.0)) == "Beta(mass=2.0)"
    assert repr(priors.from_levy(levy.Stable(0.5))) == "FromLevy(levy=Stable(alpha=0.5))"


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("gbfry(alpha=0.5, tau=2)", priors.GBFRY(0.5, 2.0)),
        (" GBFRY(tau=2, alpha=.5, mean=3)", priors.GBFRY(0.5, 2.0, 3.0)),
        ("horseshoe", priors.Horseshoe()),
        ("Horseshoe()\n", priors.Horseshoe()),
        ("iid", priors.Deterministic()),
        ("deterministic", priors.Deterministic()),
        ("grouplasso(fan_out=10)", priors.GroupLasso(10.0)),
        ("inversegamma(shape=2)", priors.InverseGamma(2.0)),
        ("bernoulli(mass=3)", priors.Bernoulli(3.0)),
        ("gamma(mass=2)", priors.Gamma(2.0)),
        ("Beta(mass=1, concentration=0.5)", priors.Beta(1.0, 0.5)),
        ("betapareto(mass=1, concentration=1, tau=3)", priors.BetaPareto(1.0, 1.0, 3.0)),
        ("regularizedhorseshoe", priors.RegularizedHorseshoe()),
        ("stable(alpha=.5, scale=2)", priors.Stable(0.5, 2.0)),
        ("generalizedgamma(alpha=.5, mass=2)", priors.GeneralizedGamma(0.5, mass=2.0)),
    ],
)
def test_parse(text, prior):
    assert priors.parse(text) == prior
    assert priors.parse(repr(prior)) == prior


def test_parse_knows_every_prior_of_numbers():
    with pytest.raises(ValueError, match="one of") as error:
        priors.parse("normal")
    of_numbers = {type(prior).__name__.lower() for prior, _ in PRIORS.values()}
    names = sorted(of_numbers | {"iid", "deterministic", "bernoulli"})
    assert str(error.value) == f"prior must be one of {names}, got 'normal'"


FORM = "prior must be written as name or name(parameter=number, ...), got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, FORM + repr(text)) for text in ("", "gbfry(.5, 2)", "gbfry(alpha=x, tau=2)", "(")),
        *((text, FORM + repr(text)) for text in ("a.b()", "gbfry(**{'alpha': .5})", "1 + 1")),
        *((text, FORM + repr(text)) for text in ("gbfry(alpha=.5, alpha=.6, tau=2)",)),
        ("gbfry(alpha=2, tau=2)", "alpha must be in (0, 1), got 2.0"),
        ("gbfry(alpha=.5, tau=1)", "tau must be above 1, got 1.0"),
        (
            "gbfry(alpha=.5)",
            "prior 'gbfry(alpha=.5)': GBFRY missing 1 required positional argument: 'tau'",
        ),
        (
            "horseshoe(alpha=1)",
            "prior 'horseshoe(alpha=1)': Horseshoe got an unexpected keyword argument 'alpha'",
        ),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        priors.parse(text)


# --- bad arguments --------------------------------------------------------------------------

# A good value of every parameter.
GOOD = {
    priors.GroupLasso: {"fan_out": 10},
    priors.InverseGamma: {"shape": 2.0, "scale": 1.0},
    priors.Bernoulli: {"mass": 1.0},
    priors.SpikeAndSlab: {"mass": 1.0, "slab": SLAB},
    priors.Gamma: {"mass": 1.0, "rate": 1.0},
    priors.Beta: {"mass": 1.0, "concentration": 1.0},
    priors.BetaPareto: {"mass": 1.0, "concentration": 1.0, "tau": 2.0},
    priors.RegularizedHorseshoe: {"slab": 1.0},
    priors.Stable: {"alpha": 0.5, "scale": 1.0},
    priors.GeneralizedGamma: {"alpha": 0.5, "rate": 1.0, "mass": 1.0},
    priors.GBFRY: {"alpha": 0.5, "tau": 2.0, "mean": 1.0},
    priors.InfinitelyDivisible: {"location": 1.0, "levy": TEMPERED},
}


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_every_parameter_has_its_range(kind):
    good = GOOD[kind]
    kind(**good)
    assert set(kind.bounds) == set(good) - {"slab", "location", "levy"} | {*kind.bounds} & {"slab"}
    for name in [name for name in good if isinstance(good[name], int | float)]:
        bad, message = [-1.0, math.nan, "x", jnp.array([0.5, -1.0])], "above 0"
        if name == "tau" and kind is priors.GBFRY:
            bad, message = [*bad, 1.0], "above 1"
        elif name == "alpha":
            bad, message = [*bad, 0.0, 1.0], "in (0, 1)"
        elif name != "location":
            bad.append(0.0)
        for value in bad:
            with pytest.raises(ValueError, match=f"^{name} must be {re.escape(message)}, got "):
                kind(**good | {name: value})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        *(
            (lambda p=p, w=w: p.at_width(w), f"width must be an integer of at least 1, got {w!r}")
            for p, _ in (PRIORS | OTHERS).values()
            for w in (0, -1, 2.5, True, "3")
        ),
        *(
            (lambda p=p: p.at_width(3, total_mean=0.0), "total_mean must be above 0, got 0.0")
            for p in (priors.GBFRY(0.5, 2.0), priors.Deterministic(), priors.Bernoulli(1.0))
        ),
        (
            lambda: priors.Horseshoe().at_width(3, total_mean=1.0),
            "total_mean cannot be set for Horseshoe(): its mean is infinite",
        ),
        (lambda: priors.InverseGamma(1.0), "shape must not be 1, where no scale has a limit"),
        (lambda: priors.SpikeAndSlab(1.0, 2.0), "slab must be a NumPyro law on (0, inf), got 2.0"),
        (
            lambda: priors.InfinitelyDivisible(0.0, 2.0),
            "levy must be a measure of mogp.levy, got 2.0",
        ),
        (lambda: priors.from_levy(2.0), "levy must be a measure of mogp.levy, got 2.0"),
        (lambda: priors.from_levy(levy.NoJumps()), "levy must have jumps, and batch shape (), got"),
        (
            lambda: priors.from_levy(levy.Stable(jnp.array([0.4, 0.5]))),
            "levy must have jumps, and batch shape (), got",
        ),
        (
            lambda: priors.InverseGamma(jnp.array([0.5, 2.0])).limit,
            "shape must be above 1 everywhere, or below 1 everywhere",
        ),
        (
            lambda: jax.eval_shape(lambda shape: priors.InverseGamma(shape).limit, 2.0),
            "shape must be concrete: the regime depends on it",
        ),
        *(
            (
                lambda bad=bad: priors.check_priors(bad),
                "priors must be a list with one Prior a hidden",
            )
            for bad in (priors.Horseshoe(), [], ["horseshoe"])
        ),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build()


def test_check_priors():
    layers = [priors.Horseshoe(), priors.GBFRY(0.5, 2.0)]
    assert priors.check_priors(layers) == tuple(layers)


def test_finite_gbfry_needs_tau_above_alpha():
    with pytest.raises(ValueError, match="tau must be above alpha, got tau"):
        FiniteGBFRY(0.5, 0.4, 1.0, 10)
    assert jnp.isnan(jax.jit(lambda tau: FiniteGBFRY(0.5, tau, 1.0, 10).log_prob(1.0))(0.4))
