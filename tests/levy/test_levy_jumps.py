"""Poisson processes of jumps: laws of the ranked sizes, what is left out, totals, inference.

Kolmogorov-Smirnov tests have level 1e-4, means are within 4 standard errors (6e-5); fixed keys.
"""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from oracles import levy as oracles
from oracles import needs_x64
from oracles.levy import Combined
from scipy import stats

from mogp import levy

NUM = 2000  # processes
statistical = pytest.mark.statistical


class CompoundGamma(oracles.Measure):
    """`rate` jumps of law Gamma(shape, scale 1) on average."""

    def __init__(self, rate, shape):
        self.rate, self.shape = rate, shape

    def _tail(self, x, _y):
        return self.rate * mp.gammainc(self.shape, x, regularized=True)

    def _moment(self, k, upper, _y):
        return self.rate * mp.gammainc(self.shape + k, 0, upper) / mp.gamma(self.shape)

    def _laplace(self, t):
        return self.rate * (1 - (1 + t) ** -self.shape)


def case(kind, *parameters):
    return kind(*map(float, parameters)), getattr(oracles, kind.__name__)(*parameters)


CASES = {
    "Stable": case(levy.Stable, 0.5),
    "GeneralizedGamma": case(levy.GeneralizedGamma, 0.5, 1, 1),
    "Gamma": case(levy.Gamma, 2, 3),
    "InverseGaussian": case(levy.InverseGaussian, 2, 0.75),
    "Beta": case(levy.Beta, 1, 0.5),
    "StableBeta": case(levy.StableBeta, 0.375, 0.5, 2),
    "RegularizedHorseshoe": case(levy.RegularizedHorseshoe, 0.125),
    "GBFRY": case(levy.GBFRY, 0.5, 3, 1),
    "BetaPareto": case(levy.BetaPareto, 1.5, 0.5, 3),
    "CompoundPoisson": (levy.CompoundPoisson(5.0, dist.Gamma(2.5, 1.0)), CompoundGamma(5, 2.5)),
}
(GAMMA, GAMMA_), (HORSESHOE, HORSESHOE_) = CASES["Gamma"], CASES["RegularizedHorseshoe"]
CASES |= {
    "Rescaled": (3.0 * GAMMA, Combined((3, 1, GAMMA_))),
    "Rescaled, bounded": (HORSESHOE.scaled(2.0), Combined((1, 2, HORSESHOE_))),
    "Sum": (GAMMA + HORSESHOE, Combined((1, 1, GAMMA_), (1, 1, HORSESHOE_))),
}
HEAVY = {"Stable"}  # no mean
every_case = pytest.mark.parametrize("name", CASES)
few_cases = pytest.mark.parametrize("name", ["Gamma", "RegularizedHorseshoe", "CompoundPoisson"])


def assert_mean(draws, mean, slack=0.0):
    draws = np.asarray(draws, float)
    assert abs(draws.mean() - float(mean)) <= 4 * draws.std() / math.sqrt(draws.size) + slack


@functools.cache
def drawn(name):
    """100 jumps of each of 2000 processes: enough for the internal table of inverses."""
    return CASES[name][0].ranked_jumps(100, key=jax.random.key(7), shape=(NUM,))


@functools.cache
def few(name):
    """12 jumps of each of 3 processes, and those above the size 2 or 0.02."""
    measure, key = CASES[name][0], jax.random.key(7)
    threshold = 2.0 if name == "CompoundPoisson" else 0.02
    jumps = measure.ranked_jumps(12, key=key, shape=(3,))
    return jumps, measure.jumps_above(threshold, 12, key=key, shape=(3,)), threshold


def tabulated(f, x, cut=0):
    """A positive monotone function interpolated, on a support that ends at 1 / cut: to 1e-3."""
    x, cut = np.asarray(x, float), float(cut)

    def place(x):
        return np.log(x) - np.log1p(-np.minimum(cut * x, 1 - 1e-15))

    nodes = np.linspace(place(x).min() - 1e-9, place(x).max() + 1e-9, 300)
    sizes = 1 / (np.exp(-nodes) + cut)
    values = np.array([float(f(size)) for size in sizes])
    return np.exp(np.interp(place(x), nodes, np.log(np.maximum(values, 1e-300))))


# --- ranked jumps ---------------------------------------------------------------------------


def check_ranked(name, jumps, places):
    """Sizes are the inverse tail of their arrivals; the residuals are incomplete moments."""
    measure, oracle = CASES[name]
    sizes, arrivals = np.asarray(jumps.sizes), np.asarray(jumps.arrivals)
    assert sizes.shape == arrivals.shape
    assert np.all(np.diff(sizes) <= 0)
    assert np.all(np.diff(arrivals) > 0)
    real = arrivals < float(measure.total_mass)
    np.testing.assert_array_equal(sizes[~real], 0)
    np.testing.assert_array_equal(jumps.num_real, real.sum(-1))
    eps = float(np.finfo(sizes.dtype).eps)
    for i, j in places:
        if real[i, j]:
            tail = float(oracle.tail(float(sizes[i, j])))
            # Near the end of a support the rounding of a size moves its tail.
            near = 1 - float(oracle.cut) * float(sizes[i, j])
            rtol = max(1e-9, 1e3 * eps) + 45 * eps / near
            assert tail == pytest.approx(float(arrivals[i, j]), rel=rtol), (i, j)
    check_residual(oracle, jumps, sizes[:5, -1])


def check_residual(oracle, jumps, last, rtol=1e-8):
    shape = jumps.sizes.shape[:-1]
    assert jumps.residual_mass.shape == jumps.residual_variance.shape == shape
    for i, size in enumerate(map(float, last)):
        exact = [float(oracle.moment(k, size)) if size > 0 else 0.0 for k in (1, 2)]
        found = [jumps.residual_mass[i], jumps.residual_variance[i]]
        assert_close(found, exact, rtol=rtol)


@few_cases
def test_few_jumps(name):
    jumps, above, threshold = few(name)
    check_ranked(name, jumps, [(0, 0), (1, 2), (2, 11)])
    sizes, ranked = np.asarray(above.sizes), np.asarray(jumps.sizes)  # with one key
    np.testing.assert_array_equal(sizes, np.where(ranked > threshold, ranked, 0))
    np.testing.assert_array_equal(above.num_real, np.sum(sizes > 0, -1))
    check_residual(CASES[name][1], above, np.maximum(threshold, ranked[:, -1]), rtol=1e-7)


@statistical
@needs_x64
@every_case
def test_ranked_jumps_are_the_inverse_of_their_arrivals(name):
    jumps = drawn(name)
    assert jumps.sizes.shape == (NUM, 100)
    check_ranked(name, jumps, [(0, 0), (1, 0), (3, 1), (7, 3), (11, 9), (5, 20), (9, 50), (2, 99)])


@statistical
@needs_x64
@every_case
def test_law_of_the_ranked_jumps(name):
    """`P(λ_j ≤ x) = P(Γ_j ≥ ρ̄(x))`."""
    measure, oracle = CASES[name]
    for j in (1, 10, 100):
        sizes = np.asarray(drawn(name).sizes)[:, j - 1]
        some = sizes > 0
        whole = stats.gamma.cdf(float(measure.total_mass), j)  # P(there is a j-th jump)
        assert_mean(some, whole, slack=1e-9)
        if some.sum() > 20:
            shares = stats.gamma.cdf(tabulated(oracle.tail, sizes[some], oracle.cut), j) / whole
            p = stats.kstest(shares, "uniform").pvalue
            assert p > 1e-4, j


@statistical
@needs_x64
@pytest.mark.parametrize("name", sorted(set(CASES) - HEAVY))
def test_compensation_has_the_right_mean(name):
    _, oracle = CASES[name]
    sizes = np.asarray(drawn(name).sizes)
    for num in (10, 100):
        last = sizes[:, num - 1]
        rest = np.zeros(NUM)
        if np.any(last > 0):
            rest[last > 0] = tabulated(lambda x: oracle.moment(1, x), last[last > 0], oracle.cut)
        kept = sizes[:, :num].sum(-1)
        assert_mean(kept + rest, oracle.moment(1), slack=2e-3 * rest.mean())
        if num == 100:
            assert_mean(kept + drawn(name).residual_mass, oracle.moment(1))


def test_shapes_and_vmap_over_measures(key):
    """One sample of processes for each of two measures: the axis of the measures comes first."""

    @jax.jit
    @jax.vmap
    def draw(mass, key):
        measure = levy.Gamma(mass, 0.5)
        jumps = measure.ranked_jumps(4, key=key, shape=(5, 2))
        return jumps, measure.sample_total(key=key, shape=(5, 2))

    keys = jax.random.split(key, 2)
    jumps, totals = draw(jnp.array([1.0, 2.0]), keys)
    assert jumps.sizes.shape == jumps.arrivals.shape == (2, 5, 2, 4)
    assert jumps.residual_mass.shape == jumps.residual_variance.shape == (2, 5, 2)
    assert jumps.num_real.shape == (2, 5, 2)
    assert totals.shape == (2, 5, 2)
    one = levy.Gamma(2.0, 0.5).ranked_jumps(4, key=keys[1], shape=(5, 2))
    for many, single in zip(jumps, one, strict=True):
        assert_close(many[1], single, rtol=1e-9)
    assert GAMMA.ranked_jumps(4, key=key).sizes.shape == (4,)


def test_no_jumps(key):
    nothing = levy.NoJumps()
    jumps = nothing.ranked_jumps(3, key=key, shape=(2,))
    for value in (jumps.sizes, jumps.residual_mass, jumps.residual_variance, jumps.num_real):
        np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(nothing.sample_total(key=key, shape=(2,)), [0, 0])
    assert levy.num_jumps(nothing, 1e-2) == 1


@needs_x64
def test_random_jumps_have_derivatives_and_transform(key):
    """Pathwise in the parameters, under `jit` and under `vmap` over keys and parameters."""

    @jax.jit
    def total(alpha, key):
        jumps = levy.GeneralizedGamma(alpha).ranked_jumps(5, key=key)
        return jnp.sum(jumps.sizes) + jumps.residual_mass

    alphas, keys = jnp.array([0.3, 0.3 + 1e-5, 0.3 - 1e-5]), jnp.stack([key] * 3)
    mapped = jax.vmap(total)(alphas, keys)
    value, slope = jax.jit(jax.value_and_grad(total))(0.3, key)
    np.testing.assert_allclose(mapped[0], value, rtol=1e-12)
    np.testing.assert_allclose(slope, (mapped[1] - mapped[2]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "many"])
def test_bad_counts_are_named(bad, key):
    for method in (GAMMA.ranked_jumps, functools.partial(GAMMA.jumps_above, 0.1)):
        with pytest.raises(ValueError, match=r"^num must be an integer of at least 1"):
            method(bad, key=key)
    with pytest.raises(ValueError, match=r"^num_jumps must be an integer of at least 1"):
        GAMMA.sample_total(key=key, num_jumps=bad)


# --- jumps above a threshold ----------------------------------------------------------------


@statistical
@needs_x64
@pytest.mark.parametrize("name", ["Stable", "Gamma", "RegularizedHorseshoe", "CompoundPoisson"])
def test_jumps_above(name):
    measure, oracle = CASES[name]
    threshold = {"Stable": 0.05, "Gamma": 0.01, "RegularizedHorseshoe": 0.02}.get(name, 2.0)
    jumps = measure.jumps_above(threshold, 64, key=jax.random.key(3), shape=(NUM,))
    sizes, mean = np.asarray(jumps.sizes), float(oracle.tail(threshold))
    assert 1 < mean < 20
    assert np.all(np.diff(sizes) <= 0)
    counts = np.sum(sizes > threshold, -1)
    np.testing.assert_array_equal(counts, jumps.num_real)
    np.testing.assert_array_equal(sizes[sizes <= threshold], 0)
    expected = NUM * stats.poisson(mean).pmf(np.arange(counts.max() + 1))
    usual = expected > 5
    observed = np.bincount(counts)[usual]
    observed, expected = (np.append(a, NUM - a.sum()) for a in (observed, expected[usual]))
    assert stats.chisquare(observed, expected * NUM / expected.sum()).pvalue > 1e-4
    jumps_in = sizes[sizes > 0]
    tails = tabulated(oracle.tail, jumps_in, oracle.cut)
    assert stats.kstest(tails / mean, "uniform").pvalue > 1e-4
    for k, values in ((1, jumps.residual_mass), (2, jumps.residual_variance)):
        np.testing.assert_allclose(values, float(oracle.moment(k, threshold)), rtol=1e-7)


def test_jumps_above_with_more_than_kept(key):
    """The smaller ones of a process with more are part of its residual mass."""
    jumps = GAMMA.jumps_above(1e-6, 4, key=key, shape=(6,))
    assert np.all(jumps.num_real == 4)
    last = np.asarray(jumps.sizes)[:, -1]
    expected = [float(GAMMA_.moment(1, float(x))) for x in last]
    assert_close(jumps.residual_mass, expected, rtol=1e-8)


# --- totals ---------------------------------------------------------------------------------


@statistical
@needs_x64
@every_case
def test_totals(name):
    """`E e^(-tΛ) = e^(-ψ(t))`; by the largest 30 jumps where the law of the total is not known."""
    measure, oracle = CASES[name]
    totals = measure.sample_total(key=jax.random.key(5), shape=(4000,), num_jumps=30)
    assert totals.shape == (4000,)
    grid = np.geomspace(1e-4, 90, 60)
    psi = np.asarray(measure.laplace_exponent(grid))
    for exponent in (0.1, 0.5, 1.0, 2.0):
        t = float(np.exp(np.interp(math.log(exponent), np.log(psi), np.log(grid))))
        assert_mean(np.exp(-t * totals), mp.exp(-oracle.laplace(t)))
    if name not in HEAVY:
        assert_mean(totals, oracle.moment(1))
    if name not in HEAVY | {"GBFRY", "BetaPareto"}:
        mean, variance = (float(oracle.moment(k)) for k in (1, 2))
        assert_mean((totals - mean) ** 2, variance)


@statistical
@needs_x64
def test_totals_of_combinations_are_exact(key):
    """`3 * m`, `m.scaled(2)` and sums, of measures whose totals have known laws."""
    total = functools.partial(levy.LevyMeasure.sample_total, key=key, shape=(4000,))
    gamma, stable = levy.Gamma(2.0, 3.0), levy.Stable(0.5)
    assert stats.kstest(total(3.0 * gamma), stats.gamma(6, scale=1 / 3).cdf).pvalue > 1e-4
    assert stats.kstest(total(gamma.scaled(2.0)), stats.gamma(2, scale=2 / 3).cdf).pvalue > 1e-4
    # The total of Stable(1/2) has the exponent √π √t, that is Lévy's law of scale π/2.
    law = stats.levy(scale=math.pi / 2 * 9 * 2)
    assert stats.kstest(total(3.0 * stable.scaled(2.0)), law.cdf).pvalue > 1e-4
    both = total(gamma + levy.Gamma(1.0, 3.0))
    assert stats.kstest(both, stats.gamma(3, scale=1 / 3).cdf).pvalue > 1e-4
    inverse_gaussian = levy.InverseGaussian(2.0, 0.75)
    law = stats.invgauss(mu=2 / 0.75, scale=0.75)
    assert stats.kstest(total(inverse_gaussian), law.cdf).pvalue > 1e-4


# --- how many jumps -------------------------------------------------------------------------


@statistical
@needs_x64
@pytest.mark.parametrize(
    ("name", "location"),
    [
        *(
            ("Stable", 0.0),
            ("Gamma", 0.0),
            ("GeneralizedGamma", 0.0),
            ("RegularizedHorseshoe", 0.0),
        ),
        *(("Gamma", 1.0), ("Rescaled", 0.0)),
    ],
)
def test_number_of_jumps_is_enough(name, location, key):
    """In 99 % of the processes the neglected variance is as small as it should be."""
    measure, tolerance, shape = CASES[name][0], 1e-2, 500
    num = levy.num_jumps(measure, tolerance, location=location)
    jumps = measure.ranked_jumps(num, key=key, shape=(shape,))
    total = np.sum(jumps.sizes, -1) + jumps.residual_mass + location
    good = np.sqrt(6 * np.asarray(jumps.residual_variance)) <= tolerance * total
    assert good.mean() >= 0.99 - 4 * math.sqrt(0.99 * 0.01 / shape)
    # Not by far too many: with a quarter of them it is not so.
    fewer = np.asarray(jumps.sizes)[:, max(num // 4, 1) - 1]
    variance = tabulated(lambda x: CASES[name][1].moment(2, x), fewer)
    assert np.mean(np.sqrt(6 * variance) <= tolerance * total) < 0.99


def test_number_of_jumps_is_monotone():
    for measure in (GAMMA, levy.Stable(0.5)):
        counts = [levy.num_jumps(measure, tolerance) for tolerance in (0.1, 0.01, 1e-3)]
        assert counts == sorted(counts)
        assert counts[0] < counts[2]
        assert levy.num_jumps(measure, 0.01, location=5.0) <= counts[1]
        assert levy.num_jumps(measure, 0.01, kurtosis=3.0) <= counts[1]
        assert levy.num_jumps(measure, 0.01, confidence=0.9) <= counts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"measure": levy.Stable(0.99), "tolerance": 1e-6},
            "tolerance 1e-06 needs more than 10000",
            marks=needs_x64,  # in single precision the bound of the total is another
        ),
        ({"tolerance": 0.0}, r"tolerance must be in \(0, 1\), got 0.0"),
        ({"tolerance": 1.0}, r"tolerance must be in \(0, 1\), got 1.0"),
        ({"location": -1.0}, "location must be"),
        ({"kurtosis": 0.0}, "kurtosis must be above 0, got 0.0"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
    ],
)
def test_number_of_jumps_out_of_reach(arguments, message):
    arguments = {"measure": GAMMA, "tolerance": 0.1} | arguments
    with pytest.raises(ValueError, match=f"^{message}"):
        levy.num_jumps(**arguments)


# --- inference ------------------------------------------------------------------------------


@statistical
@needs_x64
def test_nuts_through_the_inverse_tail(key):
    """The index of a generalised gamma measure from 400 jumps seen with noise.

    Its posterior is Gaussian with Fisher's information, the squared derivatives of `log ρ̄⁻¹`.
    """
    truth, noise = 0.4, 1.0
    by_data, by_chain = jax.random.split(key)
    arrivals = jnp.cumsum(jax.random.exponential(by_data, (400,)))
    clean = jax.jit(lambda alpha: levy.GeneralizedGamma(alpha, 2.0).log_inverse_tail(arrivals))
    y = clean(truth) + noise * jax.random.normal(by_data, (400,))

    def model(y):
        alpha = numpyro.sample("alpha", dist.Uniform(0.05, 0.95))
        mean = levy.GeneralizedGamma(alpha, 2.0).log_inverse_tail(arrivals)
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)

    kernel = numpyro.infer.NUTS(model, init_strategy=numpyro.infer.init_to_median)
    chain = numpyro.infer.MCMC(kernel, num_warmup=200, num_samples=200, progress_bar=False)
    chain.run(by_chain, y, extra_fields=("diverging",))
    alpha = np.asarray(chain.get_samples()["alpha"])
    slopes = (clean(truth + 1e-6) - clean(truth - 1e-6)) / 2e-6
    spread = noise / math.sqrt(np.sum(slopes**2))
    assert np.mean(chain.get_extra_fields()["diverging"]) < 0.02
    assert abs(alpha.mean() - truth) < 4 * spread
    assert 0.6 < alpha.std() / spread < 1.6
