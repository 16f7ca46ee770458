"""What pruning loses, predicted: against formulas, against simulated networks, and for honesty.

Networks are simulated in NumPy here, by none of the code that predicts.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from scipy import integrate

from mogp import MoGP, levy, priors, pruning

SIMULATES = True  # see conftest.py

ONE = jnp.ones((1, 3))  # an input with ‖x‖² = d
POINTS = jnp.asarray(np.random.default_rng(5).normal(size=(3, 2)))
HORSESHOE = priors.Horseshoe()


def standard_error(values):
    return values.std() / math.sqrt(len(values))


def outputs(variances, stays, rng, num_outputs, scale=1.0):
    """Squares of outputs, and of what pruning changes in them, of a network at `‖x‖² = d`, σ_b=0.

    `variances` and `stays` hold one (width,) array a hidden layer.
    """
    nodes = copies = scale * rng.normal(size=len(variances[0]))
    for i, (lam, kept) in enumerate(zip(variances, stays, strict=True)):
        size = num_outputs if i == len(variances) - 1 else len(variances[i + 1])
        weights = rng.normal(size=(size, len(lam)))
        nodes, copies = (
            scale * weights @ (np.sqrt(lam) * np.maximum(nodes, 0)),
            scale * weights @ (np.sqrt(lam) * kept * np.maximum(copies, 0)),
        )
    return np.mean(nodes**2), np.mean((nodes - copies) ** 2)


def trials(prior, depth, width, num, keep, num_outputs=10, seed=0):
    """Relative errors, and errors, of networks drawn from the prior; `keep` is a function of λ."""
    rng = np.random.default_rng(seed)
    law = prior.at_width(width)
    drawn = np.asarray(jax.jit(lambda k: law.sample(k, (num, depth, width)))(jax.random.key(seed)))
    found = np.array([outputs(lam, keep(lam), rng, num_outputs) for lam in drawn])
    return found[:, 1] / found[:, 0], found[:, 1]


def largest(num):
    """Keeps that many nodes of a layer."""

    def keep(lam):
        places = np.argsort(np.argsort(-lam, axis=-1, kind="stable"), axis=-1, kind="stable")
        return places < np.reshape(num, (-1, 1))

    return keep


# --- compressibility ------------------------------------------------------------------------------


def test_equal_nodes_lose_what_is_dropped():
    lost = pruning.compressibility(priors.Deterministic(), [0.1, 0.5, 1.0], 500, num_samples=3)
    assert_close(lost.mean, [0.9, 0.5, 0], 1e-12, atol=1e-12)
    assert_close(lost.quantiles, np.outer([0.9, 0.5, 0], np.ones(3)), 1e-12, atol=1e-12)
    assert list(lost.nodes) == [50, 250, 500]
    limit = pruning.compressibility(priors.Deterministic(), [0.1, 0.5, 1.0])
    assert_close(limit.mean, lost.mean, 1e-12, atol=1e-12)


@pytest.mark.parametrize("prior", [HORSESHOE, priors.Stable(0.3), priors.Bernoulli(2.0)])
def test_compressible_priors_lose_nothing_in_the_limit(prior):
    assert float(pruning.compressibility(prior, 0.01).mean) == 0
    wide, wider = (pruning.compressibility(prior, 0.1, p, num_samples=200) for p in (100, 3000))
    assert wide.mean > wider.mean or wide.mean == 0
    assert np.all(np.diff(wide.quantiles) >= 0)


def test_shares_are_those_of_sorted_draws():
    found = pruning.compressibility(HORSESHOE, 0.1, 200, num_samples=1000)
    rng = np.random.default_rng(0)
    lam = np.sort((math.pi * np.abs(rng.standard_cauchy((4000, 200))) / 400) ** 2, axis=1)
    lost = lam[:, :180].sum(1) / lam.sum(1)
    error = math.hypot(float(found.mean_error), standard_error(lost))
    assert abs(found.mean - lost.mean()) < 4 * error
    assert_close(found.quantiles[1], np.median(lost), 0.15)


@pytest.mark.parametrize("prior", [priors.GroupLasso(3.0), priors.InverseGamma(3.0)])
def test_diffuse_nodes_that_differ_lose_less(prior):
    """A layer of 20 000 nodes is close to its limit: sampled, against incomplete gammas."""
    limit = pruning.compressibility(prior, 0.2)
    finite = pruning.compressibility(prior, 0.2, 20_000, num_samples=10)
    assert 0 < limit.mean < 0.8
    assert abs(limit.mean - finite.mean) < 4 * finite.mean_error + 2e-3


def test_a_diffuse_part_and_jumps(key):
    """`E 1/(1 + Λ)` for `Λ ~ Gamma(2, 1)`, by quadrature; a fraction `κ` keeps `κ a`."""
    prior = priors.InfinitelyDivisible(1.0, levy.Gamma(2.0, 1.0))
    exact = 0.9 * integrate.quad(lambda t: math.exp(-t) / (1 + t) ** 2, 0, np.inf)[0]
    limit = pruning.compressibility(prior, 0.1, key=key)
    assert_close(limit.mean, exact, 1e-8)
    assert limit.mean_error == 0
    finite = pruning.compressibility(prior.limit, 0.1, 500, num_samples=300, key=key)
    assert abs(finite.mean - exact) < 4 * finite.mean_error + 5e-3


# --- the error of pruning -------------------------------------------------------------------------

SIX = {
    "horseshoe": (HORSESHOE, 1e-2),
    "regularized": (priors.RegularizedHorseshoe(1.0), 1e-2),
    "stable": (priors.Stable(0.3), 1e-3),
    "inverse gamma": (priors.InverseGamma(0.5), 1e-2),
    "beta-pareto": (priors.BetaPareto(1.0, 1.0, 2.0), 0.05),
    "gbfry": (priors.GBFRY(0.5, 5.0), 1e-2),
}


@pytest.mark.parametrize("name", SIX)
def test_one_layer_against_simulated_networks_of_width_2000(name):
    """The error has all moments, however heavy the law: only small nodes are dropped."""
    prior, threshold = SIX[name]
    found = pruning.error(MoGP([prior]), threshold, ONE, num_samples=2, num_jumps=3)
    mass = prior.limit.levy.moment(1.0, threshold)
    for value in (found.mean, found.lower, found.upper):
        assert_close(value, [float(mass) / 2], 1e-6)
    assert found.mean_error == 0
    _, errors = trials(prior, 1, 2000, 300, lambda lam: lam > threshold)
    assert abs(errors.mean() - found.mean.item()) < 4 * standard_error(errors)


def test_two_layers_against_simulated_networks():
    """Means of logarithms, since the horseshoe has no moments; at the width itself."""
    relative, _ = trials(HORSESHOE, 2, 500, 100, lambda lam: lam > 1e-2)
    found = pruning.error(
        MoGP([HORSESHOE] * 2), 1e-2, ONE, width=500, num_samples=400, num_outputs=10
    )
    predicted, measured = np.log(np.asarray(found.relative)), np.log(relative)
    error = math.hypot(standard_error(predicted), standard_error(measured))
    assert abs(predicted.mean() - measured.mean()) < 4 * error
    assert np.all(np.isinf(found.mean))
    limit = pruning.error(MoGP([HORSESHOE] * 2), 1e-2, ONE, num_samples=400, num_outputs=10)
    predicted = np.log(np.asarray(limit.relative))
    error = math.hypot(standard_error(predicted), standard_error(measured))
    assert abs(predicted.mean() - measured.mean()) < 4 * error
    assert_close(limit.nodes, [10, 10], 0.1)


def arc_cosine(a, c, b):
    """`E φ(u) φ(v)` for ReLU."""
    theta = math.acos(min(1, c / math.sqrt(a * b)))
    root = math.sqrt(a * b) / (2 * math.pi)
    return root * (math.sin(theta) + (math.pi - theta) * math.cos(theta))


def test_gaussian_processes_lose_a_fraction_by_hand():
    """Two layers of equal nodes, `keep = 0.6`: the recursion of both networks, written down."""
    found = pruning.error(MoGP([priors.Deterministic()] * 2), x=ONE, keep=0.6, num_samples=2)
    s, c, d = 1 / 2, 0.4 / 2, 0.4 / 2  # behind the first layer: Var ζ, Cov(ζ, δ), Var δ
    copy = s - 2 * c + d
    moved = s / 2 + copy / 2 - 2 * arc_cosine(s, s - c, copy)
    assert_close(found.mean, [0.4 * s / 2 + 0.6 * moved], 1e-9)
    assert_close(found.draws, np.full((2, 1), found.mean[0]), 1e-9)
    assert found.lower[0] < found.mean[0] < found.upper[0]
    assert np.all(np.isinf(found.nodes))


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_mean_law_and_bounds_agree(activation, key):
    """At depth 3 the mean given the first layers, and that of the draws; between the bounds."""
    model = MoGP([priors.Gamma(3.0)] * 3, activation, 1.3, 0.4)
    found = pruning.error(model, 0.2, POINTS, key=key, num_samples=600, num_jumps=30)
    draws = np.asarray(found.draws)
    spread = draws.std(0) / math.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - found.mean) < 4 * spread)
    assert np.all(found.mean_error < 2 * spread)
    assert np.all(found.lower < found.mean + 4 * found.mean_error)
    assert np.all(found.mean - 4 * found.mean_error < found.upper)
    assert np.all((found.relative >= 0) & (found.relative < 100))


def test_numbers_of_nodes(key):
    """The 20 largest of a horseshoe leave `E Σ_(j>20) Γ_j^(-2) = Σ 1/((j-1)(j-2)) = 1/19`."""
    found = pruning.error(MoGP([HORSESHOE]), x=ONE, nodes=20, key=key, num_samples=2000)
    assert_close(found.mean, [1 / 19 / 2], 1e-6)
    draws = np.ravel(found.draws)
    assert abs(draws.mean() - 1 / 38) < 4 * standard_error(draws)
    assert list(found.nodes) == [20]
    one = pruning.error(MoGP([HORSESHOE]), x=ONE, nodes=1, num_samples=2, num_jumps=4)
    assert np.isinf(one.mean[0])


def test_nothing_pruned_changes_nothing():
    for rule in ({"threshold": 0.0}, {"keep": 1.0}):
        model = MoGP([priors.Gamma(3.0), priors.Deterministic()])
        found = pruning.error(model, x=POINTS, num_samples=5, num_jumps=10, **rule)
        assert np.all(found.mean == 0)
        assert np.all(np.asarray(found.draws) == 0)


# --- slopes ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not X64, reason="errors of a ten-thousandth of the output")
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.8])
def test_errors_fall_with_the_power_one_minus_alpha(depth, alpha):
    """Two thresholds at which a thousandth and a ten-thousandth of the mass is lost.

    The same draws at both, of three jumps that stay, so that the slope has little noise; it differs
    from its limit by terms of the order of the root of the share lost.
    """
    model = MoGP([priors.GeneralizedGamma(alpha)] * depth)
    small = [share ** (1 / (1 - alpha)) for share in (1e-3, 1e-4)]
    options = {"num_samples": 200, "num_jumps": 3, "key": jax.random.key(1)}
    far, near = (pruning.error(model, e, ONE, **options) for e in small)
    distance = math.log(small[0] / small[1])
    wanted = pruning.slopes(model.priors[0]).threshold
    assert wanted == 1 - alpha
    for name in ("mean", "lower", "upper"):
        slope = math.log(getattr(far, name)[0] / getattr(near, name)[0]) / distance
        assert abs(slope - wanted) < 0.01, name
    slope = np.mean(np.log(far.relative / near.relative)) / distance
    assert abs(slope - wanted) < 0.02


def test_slopes():
    assert pruning.slopes(priors.Gamma(1.0)) == (1.0, -math.inf)
    assert pruning.slopes(priors.Deterministic()) == (0.0, 0.0)
    assert math.isnan(pruning.slopes(priors.Bernoulli(2.0)).threshold)
    assert_close(pruning.slopes(priors.Stable(0.8).limit).nodes, -0.25, 1e-9)


# --- how many nodes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "width", "tolerance"), [(1, None, 0.1), (2, None, 0.3), (2, 300, 0.1)]
)
def test_nodes_for_is_honest(depth, width, tolerance):
    """200 networks with ten outputs, as measured; at most 10 % may miss."""
    model, probability = MoGP([HORSESHOE] * depth), 0.9
    found = pruning.nodes_for(
        model, tolerance, probability=probability, width=width, num_outputs=10, num_samples=600
    )
    assert probability < found.share <= 1
    assert found.error <= tolerance
    keep = largest(found.nodes)
    relative, _ = trials(HORSESHOE, depth, width or (2000 if depth == 1 else 700), 200, keep)
    assert np.mean(relative <= tolerance) >= probability
    fewer = largest([n // 5 for n in found.nodes])  # nor far too many
    relative, _ = trials(HORSESHOE, depth, width or (2000 if depth == 1 else 700), 200, fewer)
    assert np.mean(relative <= tolerance) < probability


def test_nodes_for_equal_nodes():
    """Some nodes are off: to lose a fifth of the output at most, drop less than a fifth of them."""
    found = pruning.nodes_for(MoGP([priors.Deterministic()]), 0.2, width=100, num_samples=300)
    assert 80 < found.nodes[0] < 100


def test_nodes_for_variances_that_fall_exponentially():
    """A dozen of 100 nodes suffice, though now and then the largest of them are off."""
    for seed in range(3):
        found = pruning.nodes_for(
            MoGP([priors.Gamma(1.0)]), 0.1, width=100, num_samples=200, key=jax.random.key(seed)
        )
        assert 6 < found.nodes[0] < 25


# --- tails ----------------------------------------------------------------------------------------


def test_hill_estimates_power_laws():
    rng = np.random.default_rng(0)
    tail = pruning.hill(rng.pareto(1.5, (2, 100_000)) + 1, 2000)
    assert tail.value.shape == (2,)
    assert np.all(np.abs(tail.value - 1.5) < 4 * tail.error)


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


# --- compiled, differentiated, and mistakes -------------------------------------------------------


def test_under_jit_and_grad():
    def mean(scale, depth):
        model = MoGP([priors.Stable(0.5, scale)] * depth)
        return pruning.error(model, 1e-3, ONE, num_samples=3, num_jumps=5).mean[0]

    slope = jax.jit(jax.grad(lambda scale: mean(scale, 1)))(2.0)
    assert_close(slope, 0.5 * 0.5 * math.sqrt(1e-3 / 2.0), 1e-6)  # of ½ √(scale · ε)
    assert_close(jax.jit(lambda s: mean(s, 1))(2.0), mean(2.0, 1), 1e-9)


@pytest.mark.parametrize("threshold", [-1e-3, math.nan, math.inf, [0.1, -1.0]])
def test_bad_thresholds(threshold):
    with pytest.raises(ValueError, match="threshold must be at least 0 and finite"):
        pruning.error(MoGP([HORSESHOE] * 2), threshold, ONE)


def test_mistakes():
    model = MoGP([HORSESHOE])
    with pytest.raises(ValueError, match="give one of threshold, keep and nodes, got none"):
        pruning.error(model, x=ONE)
    with pytest.raises(ValueError, match="got threshold, keep"):
        pruning.error(model, 0.1, ONE, keep=0.1)
    with pytest.raises(ValueError, match="x must be given"):
        pruning.error(model, 0.1)
    with pytest.raises(ValueError, match=r"x must have shape \(n, d\)"):
        pruning.error(model, 0.1, jnp.ones(3))
    with pytest.raises(ValueError, match=r"threshold must be one number, or one a hidden layer"):
        pruning.error(model, [0.1, 0.1], ONE)
    with pytest.raises(ValueError, match="num_jumps must be at least nodes = 9"):
        pruning.error(model, x=ONE, nodes=9, num_jumps=5)
    for keep in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
            pruning.error(model, x=ONE, keep=keep)
        with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
            pruning.compressibility(HORSESHOE, keep)
    gaussian = MoGP([priors.Deterministic()])
    for rule in ({"threshold": 0.1}, {"nodes": 3}):
        with pytest.raises(ValueError, match="the model is in the GP regime"):
            pruning.error(gaussian, x=ONE, **rule)
    with pytest.raises(ValueError, match="no finite number of nodes carries it; give a width"):
        pruning.nodes_for(gaussian, 0.1)
    with pytest.raises(ValueError, match="needs more than max_nodes = 3 nodes"):
        pruning.nodes_for(model, 0.01, max_nodes=3, num_samples=200)
    with pytest.raises(ValueError, match="num_samples must be at least about 93"):
        pruning.nodes_for(model, 0.1, num_samples=20)
    with pytest.raises(ValueError, match=r"tolerance must be in \(0, 1\)"):
        pruning.nodes_for(model, 2.0)
    with pytest.raises(ValueError, match="prior_or_limit must be"):
        pruning.compressibility(levy.Gamma(1.0, 1.0), 0.1)
    with pytest.raises(ValueError, match="num must be below the number of values 3"):
        pruning.hill(np.ones(3), 3)
    with pytest.raises(ValueError, match="values must be positive and finite"):
        pruning.hill(np.zeros(30))
    with pytest.raises(ValueError, match=r"network must be an nn\.DependentMLP"):
        pruning.weight_tails(None)


def test_a_fraction_of_less_than_a_node_keeps_one_and_says_so():
    with pytest.warns(UserWarning, match="keep=0.001 of 100 nodes is less than one: one is kept"):
        lost = pruning.compressibility(HORSESHOE, 1e-3, 100, num_samples=5)
    assert lost.nodes == 1
