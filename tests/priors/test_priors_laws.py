"""Distributions of the node variance by independent routes, and their limits."""

import inspect
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro
import pytest
from numpyro.infer.util import potential_energy
from oracles import priors as oracles
from oracles.priors import DTYPES, X64, needs_x64, partial
from priors_cases import (
    DTYPE,
    EXACT,
    OTHERS,
    PRIORS,
    SLAB,
    TEMPERED,
    cdf,
    ends,
    exact_log_density,
    icdf,
    in_dtype,
    index_above,
    index_below,
    law_of,
    log_density_and_slope,
    log_density_of_log,
    log_prob,
    log_prob_and_slopes,
    log_scale,
    parameters,
    quadrature,
    quadrature_of,
    sample_log,
)
from scipy import stats

from mogp import levy, priors
from mogp.priors import FiniteGBFRY, SquaredHalfCauchy

every_prior = pytest.mark.parametrize("name", PRIORS)
one_of_a_class = pytest.mark.parametrize("name", [name for name in PRIORS if "," not in name])

X = [1e-30, 1e-20, 1e-15, 1e-8, 1e-3, 0.02, 0.3, 1, 30, 1e4]


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


@every_prior
def test_log_prob_against_mpmath(name):
    law, x = law_of(name), jnp.asarray(X, DTYPE)
    got = log_prob(law, x)
    low, high = ends(law)
    for value, at in zip(got, np.asarray(x, float), strict=True):
        if not low <= at < high:
            assert value == -math.inf
        elif X64:
            np.testing.assert_allclose(value, exact_log_density(law, at), rtol=1e-10, atol=1e-11)
        elif at > 1e-18:
            np.testing.assert_allclose(value, exact_log_density(law, at), rtol=2e-6, atol=5e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@one_of_a_class
def test_precision_follows_the_value(name, dtype):
    x = jax.ShapeDtypeStruct((3,), dtype)
    for law in (PRIORS[name][0].at_width(PRIORS[name][1]), law_of(name, dtype)):
        for function in (law.log_prob, law.log_density_of_log, law.cdf):
            assert jax.eval_shape(function, x).dtype == dtype


@needs_x64
@one_of_a_class
def test_log_prob_against_scipy(name):
    law = law_of(name)
    x = np.array(X)
    match law:
        case priors.GammaLaw():
            other = stats.gamma(float(law.concentration), scale=1 / float(law.rate))
        case priors.InverseGammaLaw():
            other = stats.invgamma(float(law.concentration), scale=math.exp(log_scale(law)))
        case priors.BetaLaw():
            other = stats.beta(float(law.a), float(law.b))
        case priors.ParetoLaw():
            other = stats.pareto(float(law.alpha), scale=math.exp(log_scale(law)))
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


@one_of_a_class
def test_gradients_of_log_prob(name):
    dtype = DTYPE
    law = law_of(name, dtype)
    low, high = ends(law)
    x = jnp.asarray([min(max(at, 2 * low), 0.7 * high) for at in (1e-15, 1e-3, 0.02, 4.0)], dtype)
    _, (by_law, by_x) = log_prob_and_slopes(law, x)
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


@every_prior
def test_log_density_of_log(name):
    """The Jacobian is in, and there is no underflow at λ = exp(-120), which float32 has not."""
    dtype = DTYPE
    law = law_of(name, dtype)
    x = jnp.asarray(X, dtype)
    u = jnp.append(jnp.log(x[2:]), -120)
    got, slopes = log_density_and_slope(law, u)
    assert got.dtype == dtype
    rtol = 1e-10 if dtype == jnp.float64 else 1e-5
    inner = np.asarray(x[2:]) != ends(law)[1]  # the end itself is inside for log λ, by rounding
    expected = (log_prob(law, x)[2:] + u[:-1])[inner]
    np.testing.assert_allclose(got[:-1][inner], expected, rtol=rtol, atol=rtol)
    if (index := index_below(law)) is not None:
        expected = exact_log_density(law, mp.exp(-120)) - 120
        np.testing.assert_allclose(got[-1], expected, rtol=rtol)
        slope_rtol = 1e-5 if dtype == jnp.float64 else 1e-4
        np.testing.assert_allclose(slopes[-1], index, rtol=slope_rtol)  # a power law down there


@every_prior
def test_out_of_support(name):
    dtype = DTYPE
    info, law = np.finfo(dtype), law_of(name, dtype)
    low, high = ends(law)
    outside = [-1.0, -0.0, 0.0, math.inf, -math.inf, math.nan]
    outside += [0.9 * low, 1.1 * high] if low or high < math.inf else [0.0, math.inf]
    inside = [min(0.3, high / 2), info.tiny, info.max, info.smallest_subnormal]
    x = jnp.asarray([*outside, *inside], dtype)
    got, (_, slopes) = log_prob_and_slopes(law, x)
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


@pytest.mark.statistical
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


@pytest.mark.statistical
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


# --- as NumPyro distributions ---------------------------------------------------------------


def test_batches_of_parameters(key):
    alphas, x = jnp.array([0.2, 0.5, 0.7], jnp.float32), jnp.float32(0.3)
    exact = [oracles.gbfry_density(a, 2, 1, 10, 0.3) for a in (0.2, 0.5, 0.7)]
    exact = np.array(exact, float)
    law, cauchy = FiniteGBFRY(alphas, 2.0, jnp.float32(1.0), 10), SquaredHalfCauchy(alphas)
    got = jax.jit(law.log_prob)(jnp.full((2, 1), x))
    np.testing.assert_allclose(got, [exact, exact], atol=5e-6)
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
    return [in_dtype(prior.at_width(width), DTYPE) for width in WIDTHS]


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


@pytest.mark.statistical
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
    law = in_dtype(prior.at_width(1000), DTYPE)
    draw = jax.jit(lambda law, key: law.sample(key, (2000, 1000)).sum(1))
    sums = np.asarray(draw(law, own))
    limit = np.asarray(prior.limit.levy.sample_total(key=other, shape=(2000,), num_jumps=200))
    assert stats.ks_2samp(sums, limit).pvalue > 1e-3
