"""Shares of node variance that pruning loses, power laws, and tails of networks."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from scipy import integrate, special, stats
from simulated import HORSESHOE, standard_error

from mogp import MoGP, levy, priors, pruning
from mogp.pruning.theory._compressibility import diffuse_lost


def test_equal_nodes_lose_what_is_dropped(key):
    lost = pruning.compressibility(
        priors.Deterministic(), [0.1, 0.5, 1.0], 500, num_samples=3, key=key
    )
    assert_close(lost.mean, [0.9, 0.5, 0], 1e-12, atol=1e-12)
    assert_close(lost.quantiles, np.outer([0.9, 0.5, 0], np.ones(3)), 1e-12, atol=1e-12)
    assert list(lost.nodes) == [50, 250, 500]
    limit = pruning.compressibility(priors.Deterministic(), [0.1, 0.5, 1.0])
    assert_close(limit.mean, lost.mean, 1e-12, atol=1e-12)


@pytest.mark.parametrize("prior", [HORSESHOE, priors.Stable(0.3), priors.Bernoulli(2.0)])
def test_compressible_priors_lose_nothing_in_the_limit(prior, key):
    assert float(pruning.compressibility(prior, 0.01).mean) == 0
    wide, wider = (
        pruning.compressibility(prior, 0.1, p, num_samples=200, key=key) for p in (100, 3000)
    )
    assert wide.mean > wider.mean or wide.mean == 0
    assert np.all(np.diff(wide.quantiles) >= 0)


def test_shares_are_those_of_sorted_draws(key):
    found = pruning.compressibility(HORSESHOE, 0.1, 200, num_samples=1000, key=key)
    rng = np.random.default_rng(0)
    lam = np.sort((math.pi * np.abs(rng.standard_cauchy((4000, 200))) / 400) ** 2, axis=1)
    lost = lam[:, :180].sum(1) / lam.sum(1)
    error = math.hypot(float(found.mean_error), standard_error(lost))
    assert abs(found.mean - lost.mean()) < 4 * error
    assert_close(found.quantiles[1], np.median(lost), 0.15)


@pytest.mark.parametrize("prior", [priors.GroupLasso(3.0), priors.InverseGamma(3.0)])
def test_diffuse_nodes_that_differ_lose_less(prior, key):
    """A layer of 20 000 nodes is close to its limit: sampled, against incomplete gammas."""
    limit = pruning.compressibility(prior, 0.2)
    finite = pruning.compressibility(prior, 0.2, 20_000, num_samples=10, key=key)
    assert 0 < limit.mean < 0.8
    assert abs(limit.mean - finite.mean) < 4 * finite.mean_error + 2e-3


class Drawn(dist.Gamma):
    """A distribution of nodes that differ, without a cdf."""

    def cdf(self, value):
        raise NotImplementedError


class Diffuse(priors.Prior):
    """A user's prior: any distribution with its mean divided by the width, and no jumps."""

    kind: str
    spread: float = 1.5

    def law(self, width):
        if self.kind == "lognormal":
            return dist.LogNormal(-jnp.log(width) - self.spread**2 / 2, self.spread)
        if self.kind == "weibull":
            return dist.Weibull(1 / (width * math.gamma(1.5)), 2.0)
        return Drawn(2.0, 2.0 * width)

    @property
    def limit(self):
        return priors.Limit(1.0, levy.NoJumps())


def _lorenz(law, keep):
    """What the smallest of nodes with a distribution of SciPy carry, by quadrature of quantiles."""
    return integrate.quad(law.ppf, 0, 1 - keep, epsabs=0, epsrel=1e-10, limit=200)[0] / law.mean()


@pytest.mark.parametrize(
    ("prior", "law"),
    [
        (priors.GroupLasso(3.0), stats.gamma(2.0)),
        (priors.GroupLasso(40.0), stats.gamma(20.5)),
        (priors.InverseGamma(3.0), stats.invgamma(3.0)),
        (priors.InverseGamma(1.2), stats.invgamma(1.2)),
        (Diffuse("lognormal"), stats.lognorm(1.5)),
        (Diffuse("weibull"), stats.weibull_min(2.0)),
        (priors.Deterministic(), None),
        (priors.InfinitelyDivisible(2.0, levy.Stable(0.5)), None),
    ],
    ids=lambda value: str(value) if isinstance(value, priors.Prior) else "",
)
def test_what_the_smallest_nodes_carry_is_the_lorenz_curve_of_any_prior(prior, law):
    """Whatever its class: from its distribution at a width."""
    for keep in (0.003, 0.2, 0.65, 0.99):
        expected = 1 - keep if law is None else _lorenz(law, keep)
        assert_close(diffuse_lost(prior, keep), expected, 1e-8)
    assert diffuse_lost(prior, 1.0) == 0


def test_what_the_smallest_nodes_carry_of_traced_and_unknown_priors():
    lost = jax.jit(lambda fan_out: diffuse_lost(priors.GroupLasso(fan_out), 0.2))(3.0)
    assert_close(lost, special.gammainc(3, special.gammainccinv(2, 0.2)), 1e-9)
    with pytest.raises(ValueError, match="needs a method cdf; or give a width"):
        pruning.compressibility(Diffuse("drawn"), 0.2)


def test_a_diffuse_part_and_jumps(key):
    """`E 1/(1 + Λ)` for `Λ ~ Gamma(2, 1)`, by quadrature; a fraction `κ` keeps `κ a`."""
    prior = priors.InfinitelyDivisible(1.0, levy.Gamma(2.0, 1.0))
    exact = 0.9 * integrate.quad(lambda t: math.exp(-t) / (1 + t) ** 2, 0, np.inf)[0]
    limit = pruning.compressibility(prior, 0.1, key=key)
    assert_close(limit.mean, exact, 1e-8)
    assert limit.mean_error == 0
    alone = pruning.compressibility(prior, 0.1)
    assert alone.quantiles is None
    assert_close(alone.mean, limit.mean, 1e-12)
    finite = pruning.compressibility(prior.limit, 0.1, 500, num_samples=300, key=key)
    assert abs(finite.mean - exact) < 4 * finite.mean_error + 5e-3


def test_mistakes(key):
    for keep in (0.0, 1.5, math.nan, 5, True, "a", 1j, [0.5, 2]):
        with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
            pruning.compressibility(HORSESHOE, keep)
    with pytest.raises(ValueError, match="keep must have at least one fraction"):
        pruning.compressibility(HORSESHOE, [])
    for levels in ([], [2.0], ["a"]):
        with pytest.raises(ValueError, match=r"levels must be in \(0, 1\), got"):
            pruning.compressibility(HORSESHOE, 0.1, levels=levels)
    with pytest.raises(ValueError, match=r"key must be a random key, got 0: use jax.random.key\(0"):
        pruning.compressibility(HORSESHOE, 0.1, 100, key=0)
    with pytest.raises(ValueError, match=r"the node variances would take .* GiB, more than the m"):
        pruning.compressibility(HORSESHOE, 0.1, 10**12, key=key)
    for arguments in ((0.5, 0), (0.5, 2.5), ("a", 3), (True, 3), (None, 3), (2.0, 3), (0.5, "a")):
        with pytest.raises(ValueError, match=r"keep must be in|width must be an integer"):
            pruning.num_kept(*arguments)
    with pytest.raises(ValueError, match="key must be given at a width"):
        pruning.compressibility(HORSESHOE, 0.1, 100)
    with pytest.raises(ValueError, match="prior_or_limit must be"):
        pruning.compressibility(levy.Gamma(1.0, 1.0), 0.1)
    with pytest.warns(UserWarning, match="keep=0.001 of 100 nodes is less than one: one is kept"):
        lost = pruning.compressibility(HORSESHOE, 1e-3, 100, num_samples=5, key=key)
    assert lost.nodes == 1


# --- power laws ----------------------------------------------------------------------------------


def test_slopes():
    assert pruning.slopes(priors.Gamma(1.0)) == (1.0, -math.inf)
    assert pruning.slopes(priors.Deterministic()) == (0.0, 0.0)
    assert math.isnan(pruning.slopes(priors.Bernoulli(2.0)).threshold)
    assert_close(pruning.slopes(priors.Stable(0.8).limit).nodes, -0.25, 1e-9)


def test_hill_estimates_power_laws():
    rng = np.random.default_rng(0)
    tail = pruning.hill(rng.pareto(1.5, (2, 100_000)) + 1, 2000)
    assert tail.value.shape == (2,)
    assert np.all(np.abs(tail.value - 1.5) < 4 * tail.error)


def test_hill_has_no_bias():
    """`E (k - 1) / Σ` for the sum of k exponential numbers: 4 standard errors of 40,000 samples."""
    values = np.random.default_rng(1).pareto(0.7, (40_000, 12)) + 1
    for num in (3, 11):
        found = np.asarray(pruning.hill(values, num).value)
        assert abs(found.mean() - 0.7) < 4 * standard_error(found)
    found = pruning.hill(values, 11)
    assert abs(np.std(found.value) / np.sqrt(np.mean(found.error**2)) - 1) < 0.05
    assert np.all(np.isinf(pruning.hill(values[:3], 2).error))


def test_hill_of_values_that_are_nearly_or_quite_equal():
    steps = np.arange(8) * 1e-13
    exact = 6 / np.sum(np.log1p(steps[1:]))
    assert_close(pruning.hill(np.array(1 + steps), 7).value, exact, 2e-3)
    equal = pruning.hill(np.ones(9))
    assert equal.value == equal.error == np.inf
    far = pruning.hill([1e300, 1e-300, 1e-300, 1e-300], 2)
    assert_close(far.value, 1 / (600 * math.log(10)), 1e-12)


def test_tails_of_a_network(key):
    network = MoGP([priors.Stable(0.5)]).network(3, 20, 5000, key=key)
    tails = pruning.weight_tails(network, 200)[0]
    assert abs(tails.variances.value - 0.5) < 4 * tails.variances.error
    assert abs(tails.norms.value - 1.0) < 4 * tails.norms.error
    layer = pruning.ranked(network)[0]
    rank = np.arange(1, 5001)
    assert_close(layer.power_law, 1.0 / rank**2, 1e-6)
    assert_close(layer.expected, 1 / (rank - 1 / 3) ** 2, 1e-6)
    assert np.all(np.diff(layer.sizes) <= 0)
    assert abs(np.mean(np.log(layer.sizes[50:500] / layer.expected[50:500]))) < 0.5
    assert np.all(np.isnan(pruning.power_law(levy.Gamma(1.0, 1.0), [1.0, 2.0])))


def test_mistakes_with_tails():
    with pytest.raises(ValueError, match="num must be below the number of values 3"):
        pruning.hill(np.ones(3), 3)
    with pytest.raises(ValueError, match="values must be positive and finite"):
        pruning.hill(np.zeros(30))
    for values in (1.0, [1.0, 2.0], np.ones((0, 9)), 1j * np.ones(9), ["a", "b", "c"]):
        with pytest.raises(ValueError, match="values must have at least three entries, real numb"):
            pruning.hill(values)
    with pytest.raises(ValueError, match="num must be at least 2, got 1"):
        pruning.hill(np.arange(1.0, 9.0), 1)
    with pytest.raises(ValueError, match=r"prior_or_limit must be a mogp\.priors\.Prior or Lim"):
        pruning.slopes("stable")
    with pytest.raises(ValueError, match="place must be above 0, got -1"):
        pruning.power_law(levy.Stable(0.5), -1.0)
    with pytest.raises(ValueError, match=r"measure must be a measure of mogp\.levy, got Ho"):
        pruning.power_law(HORSESHOE, 1.0)


def test_results_print_shapes(key):
    lost = pruning.compressibility(HORSESHOE, [0.1, 0.5])
    assert re.fullmatch(r"Compressibility\(\s*mean=f\d\d\[2\],.*\)", repr(lost), re.DOTALL)
    assert "array" not in repr(lost).lower()
