"""A user's own prior, which may return any NumPyro distribution on [0, ∞); public names only."""

import contextlib
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from mogp import levy, priors

X64 = bool(jax.config.jax_enable_x64)
RTOL = 1e-10 if X64 else 2e-5

# With a density: each with SciPy's, where it has one.
OTHERS = {
    "Gamma": (dist.Gamma(0.5, 2.0), stats.gamma(0.5, scale=0.5)),
    "LogNormal": (dist.LogNormal(0.5, 2.0), stats.lognorm(2.0, scale=math.exp(0.5))),
    "HalfCauchy": (dist.HalfCauchy(2.0), stats.halfcauchy(scale=2.0)),
    "HalfNormal": (dist.HalfNormal(2.0), stats.halfnorm(scale=2.0)),
    "InverseGamma": (dist.InverseGamma(2.0, 3.0), stats.invgamma(2.0, scale=3.0)),
    "Beta": (dist.Beta(0.5, 3.0), stats.beta(0.5, 3.0)),
    "Uniform": (dist.Uniform(0.0, 2.0), stats.uniform(0.0, 2.0)),
    "Pareto": (dist.Pareto(0.5, 1.5), stats.pareto(1.5, scale=0.5)),
    "Weibull": (dist.Weibull(2.0, 0.5), stats.weibull_min(0.5, scale=2.0)),
    "Mixture": (
        dist.MixtureGeneral(
            dist.Categorical(jnp.array([0.25, 0.75])),
            [dist.Gamma(1.0, 1.0), dist.LogNormal(0.0, 1.0)],
            support=dist.constraints.positive,
        ),
        None,
    ),
}
NO_DENSITY = {
    "Delta": dist.Delta(1.0),
    "Poisson": dist.Poisson(1.0),
    "Expanded": dist.Delta(1.0).expand((3,)),
    "SpikeAndSlabLaw": priors.SpikeAndSlabLaw(0.1, dist.Exponential(1.0)),
    "InfinitelyDivisibleLaw": priors.InfinitelyDivisibleLaw(0.0, levy.Stable(0.5)),
    "ScaledLaw": priors.ScaledLaw(dist.Poisson(1.0), 2.0),
    "Mixture": dist.MixtureGeneral(
        dist.Categorical(jnp.array([0.5, 0.5])),
        [dist.Delta(0.0), dist.LogNormal(0.0, 1.0)],
        support=dist.constraints.nonnegative,
    ),
}
density = jax.jit(
    jax.vmap(jax.value_and_grad(priors.log_density_of_log, argnums=1), in_axes=(None, 0))
)


@pytest.fixture(autouse=True)
def _validation():
    """NumPyro's checks are on: they would warn, and warnings are errors here."""
    with numpyro.validation_enabled():
        yield


class LogNormal(priors.Prior):
    """`log λ` is normal, and the mean of `λ` is `1 / width`."""

    spread: float
    bounds = {"spread": (0.0, math.inf)}  # noqa: RUF012

    def law(self, width):
        return dist.LogNormal(-jnp.log(width) - self.spread**2 / 2, self.spread)

    @property
    def limit(self):
        return priors.Limit(1.0, levy.NoJumps())


class Returns(priors.Prior):
    """A prior of whatever distribution."""

    kind: object

    def law(self, width):  # noqa: ARG002
        return self.kind


# --- own priors -----------------------------------------------------------------------------


def test_own_prior():
    prior = LogNormal(2.0)
    law = prior.at_width(50)
    assert isinstance(law, dist.LogNormal)
    np.testing.assert_allclose(law.mean, 0.02, rtol=1e-6)
    assert prior.limit == priors.Limit(1.0, levy.NoJumps())
    assert repr(prior) == "LogNormal(spread=2.0)"
    assert priors.check_priors([prior]) == (prior,)
    with pytest.raises(ValueError, match=r"^spread must be above 0, got -1.0"):
        LogNormal(-1.0)
    with pytest.raises(ValueError, match=r"^spread of LogNormal is a law, not a number"):
        LogNormal(dist.HalfNormal(1.0)).at_width(10)
    with pytest.raises(TypeError, match="abstract"):
        priors.Prior()


def test_own_prior_scaled_to_a_total_mean(key):
    prior, u = LogNormal(2.0), jnp.array([-9.0, 0.5])
    plain, law = prior.at_width(50), prior.at_width(50, total_mean=3.0)
    np.testing.assert_allclose(50 * law.mean, 3, rtol=1e-6)
    np.testing.assert_allclose(law.variance, 9 * plain.variance, rtol=1e-5)
    np.testing.assert_allclose(law.cdf(0.06), plain.cdf(0.02), rtol=1e-5)
    np.testing.assert_allclose(law.icdf(0.25), 3 * plain.icdf(0.25), rtol=1e-5)
    scaled = jax.jit(priors.log_density_of_log)
    got = scaled(law, u), scaled(plain, u - math.log(3))
    np.testing.assert_allclose(*got, rtol=1e-5)
    draws = priors.sample_log(law, key, (5,)), priors.sample_log(plain, key, (5,)) + math.log(3)
    np.testing.assert_allclose(*draws, rtol=1e-5)


def test_own_prior_without_limit():
    with pytest.raises(NotImplementedError, match=r"Returns has no limit: define its property `l"):
        _ = Returns(dist.Exponential(1.0)).limit


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (dist.HalfCauchy(1.0), "total_mean cannot be set for .*: its mean is infinite"),
        (dist.Delta(0.0), "total_mean cannot be set for .*: its mean is 0"),
        (dist.Weibull(1.0, 1.0).mask(True), None),
    ],
)
def test_own_prior_of_no_mean(kind, message):
    prior = Returns(kind)
    if message is None:
        np.testing.assert_allclose(prior.at_width(10, total_mean=3.0).mean, 0.3, rtol=1e-6)
        return
    with pytest.raises(ValueError, match=message):
        prior.at_width(10, total_mean=1.0)


def test_own_distribution_that_does_not_tell_its_mean():
    class Silent(dist.Distribution):
        support = dist.constraints.positive

        def sample(self, key, sample_shape=()):  # noqa: ARG002
            return jnp.ones(sample_shape)

        def log_prob(self, value):
            return -value

    with pytest.raises(ValueError, match=r"does not tell its mean; define the property `mean`"):
        Returns(Silent()).at_width(10, total_mean=1.0)


@pytest.mark.parametrize(
    "kind",
    [
        3.0,
        dist.Normal(0.0, 1.0),
        dist.Uniform(-0.5, 1.0),
        dist.Dirichlet(jnp.ones(3)),
        dist.Exponential(1.0).expand((3,)).to_event(1),
    ],
    ids=lambda kind: type(kind).__name__,
)
def test_a_law_of_something_else_is_refused(kind):
    message = r"^what Returns.law returns must be a NumPyro distribution of numbers in \[0, inf\), "
    with pytest.raises(ValueError, match=message):
        Returns(kind).at_width(10)


# --- the distributions ------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_other_distributions_have_a_density_of_log(name, key):
    """Against SciPy; the slope against a difference; shapes, precision and a sample."""
    law, scipy = OTHERS[name]
    assert priors.has_density(law)
    u = jnp.array([-9.0, -3.0, -0.8, -0.5, 0.25, 2.0])
    got, slope = density(law, u)
    assert got.dtype == u.dtype
    x = np.exp(np.asarray(u, np.float64))
    if scipy is not None:
        np.testing.assert_allclose(got, scipy.logpdf(x) + np.log(x), rtol=RTOL, atol=RTOL)
    inside = np.isfinite(got)
    step = 1e-5 if X64 else 1e-2
    up, down = density(law, u + step)[0], density(law, u - step)[0]
    difference = np.asarray((up - down) / (2 * step))[inside]
    np.testing.assert_allclose(slope[inside], difference, rtol=1e-5 if X64 else 2e-2, atol=2e-2)
    assert np.isneginf(got[~inside]).all()
    if name != "Mixture":  # NumPyro promotes ranks there, which is an error in these tests
        draws = jax.eval_shape(lambda key: priors.sample_log(law, key, (4, 2)), key)
        assert draws.shape == (4, 2)


@pytest.mark.parametrize("name", OTHERS)
def test_other_distributions_far_out(name):
    """Neither NaN nor plus infinity anywhere, slopes included; precision follows `u`."""
    law, _ = OTHERS[name]
    u = jnp.array([-math.inf, -1e30, -2000, -700, -80, 80, 700, 1e5, 1e30, math.inf, math.nan])
    got, slope = density(law, u)
    assert not np.isnan(got).any()
    assert not np.isposinf(got).any()
    assert not np.isnan(slope[:-1]).any()
    assert np.isneginf(got[np.array([0, 9, 10])]).all()
    assert density(law, u.astype(jnp.float32))[0].dtype == jnp.float32


@pytest.mark.parametrize(
    ("law", "index"), [(dist.Gamma(0.5, 2.0), 0.5), (dist.Beta(0.25, 3.0), 0.25)]
)
def test_power_laws_go_on_where_the_float_ends(law, index):
    u = jnp.array([-60.0, -600.0, -6000.0])
    got, slope = density(law, u)
    np.testing.assert_allclose(np.diff(got), index * np.diff(u), rtol=1e-5)
    np.testing.assert_allclose(slope, index, rtol=1e-5)


def test_ours_are_exact():
    law, u = priors.GammaLaw(1e-3, 2.0), jnp.array([-5000.0, -3.0])
    np.testing.assert_array_equal(priors.log_density_of_log(law, u), law.log_density_of_log(u))
    ours, theirs = priors.GammaLaw(0.5, 2.0), dist.Gamma(0.5, 2.0)
    got = priors.log_density_of_log(ours, u), priors.log_density_of_log(theirs, u)
    np.testing.assert_allclose(*got, rtol=RTOL)


def test_batches_and_transformations():
    """`vmap` over laws is the batch of laws; `jit` takes their parameters as tracers."""
    rates, u = jnp.array([0.5, 1.0, 2.0]), jnp.linspace(-2.0, 1.0, 5)[:, None]
    law = dist.Gamma(rates, 1.0)
    expected = stats.gamma(np.asarray(rates)).logpdf(np.exp(u)) + np.asarray(u)
    batch = jax.jit(priors.log_density_of_log)
    np.testing.assert_allclose(batch(law, u), expected, rtol=RTOL)
    assert jax.eval_shape(priors.log_density_of_log, law, 0.5).shape == (3,)

    def one(rate):
        law = dist.Gamma(rate, 1.0)
        assert priors.has_density(law) is True
        return priors.log_density_of_log(law, u[:, 0])

    mapped = jax.jit(jax.vmap(one, out_axes=1))(rates)
    np.testing.assert_allclose(mapped, expected, rtol=RTOL)
    slope = jax.jit(jax.grad(lambda rate: one(rate).sum()))(1.0)
    np.testing.assert_allclose(slope, np.sum(u - special.digamma(1.0)), rtol=1e-5)


# --- without a density ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NO_DENSITY)
def test_without_a_density(name):
    law = NO_DENSITY[name]
    assert priors.has_density(law) is False
    with pytest.raises(ValueError, match="law must have a density of log λ, got"):
        priors.log_density_of_log(law, 0.0)


def test_has_density_of_every_prior_and_of_tracers():
    constant = (
        priors.Deterministic(),
        priors.Bernoulli(3.0),
        priors.SpikeAndSlab(3.0, dist.Exponential(1.0)),
        priors.InfinitelyDivisible(0.5, levy.Stable(0.5)),
    )
    free = (
        LogNormal(2.0),
        priors.GroupLasso(10.0),
        priors.GBFRY(0.5, 2.0),
        priors.RegularizedHorseshoe(2.0),
        priors.Beta(1.0),
    )
    found = []

    def ask(prior):
        for total_mean in (None, 1.0):
            with contextlib.suppress(ValueError):  # no mean
                found.append(priors.has_density(prior.at_width(10, total_mean=total_mean)))
        return jnp.zeros(())

    for expected, group in ((False, constant), (True, free)):
        for prior in group:
            found.clear()
            eqx.filter_eval_shape(ask, jax.tree.map(jnp.asarray, prior))
            ask(prior)
            assert set(found) == {expected}, prior


def test_own_spike_and_slab_says_so_and_is_scaled(key):
    class Spike(dist.Distribution):
        """0 or a size, each with probability 1/2."""

        support = dist.constraints.nonnegative
        arg_constraints = {"size": dist.constraints.positive}  # noqa: RUF012
        has_density = False

        def __init__(self, size):
            self.size = size
            super().__init__(batch_shape=jnp.shape(size))

        def sample(self, key, sample_shape=()):
            return self.size * jax.random.bernoulli(key, shape=sample_shape)

        @property
        def mean(self):
            return self.size / 2

        def scaled(self, factor):
            return Spike(self.size * factor)

    prior = Returns(Spike(4.0))
    law = prior.at_width(10, total_mean=10.0)
    assert isinstance(law, Spike)
    assert not priors.has_density(law)
    logs = priors.sample_log(law, key, (50,))
    np.testing.assert_allclose(np.unique(np.exp(logs)), [0, 2], rtol=1e-6)


def test_draws_that_underflow(key):
    """With a density they are raised to the smallest normal float; without one they are off."""
    draw = jax.jit(priors.sample_log, static_argnums=2)
    tiny = draw(dist.Gamma(1e-4, 1.0), key, (200,))
    smallest = math.log(float(np.finfo(tiny.dtype).tiny))
    assert np.isfinite(tiny).all()
    np.testing.assert_allclose(tiny.min(), smallest, rtol=1e-6)
    off = draw(priors.SpikeAndSlabLaw(0.25, dist.Exponential(1.0)), key, (200,))
    assert 0.6 < np.isneginf(off).mean() < 0.9
    exact = draw(priors.GammaLaw(1e-4, 1.0), key, (200,))
    assert exact.min() < smallest


def test_scaled():
    assert isinstance(priors.scaled(dist.Exponential(1.0), 2.0), priors.ScaledLaw)
    assert float(priors.scaled(dist.Delta(3.0), 2.0).v) == 6
    spike = priors.scaled(priors.SpikeAndSlabLaw(0.5, dist.Delta(1.0)), 2.0)
    assert float(spike.mean) == 1
    twice = priors.scaled(priors.InfinitelyDivisibleLaw(0.5, levy.Gamma(2.0)), 2.0)
    np.testing.assert_allclose(twice.mean, 5, rtol=1e-6)


def test_nothing_warns_of_values_outside_the_support():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law = dist.Uniform(0.5, 2.0)
        got = priors.log_density_of_log(law, jnp.array([-900.0, -3.0, 0.0, 3.0, 900.0]))
    np.testing.assert_array_equal(np.isfinite(got), [False, False, True, False, False])
