"""The error of pruning, predicted: against formulas, simulated networks, and for honesty."""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import X64, assert_close
from scipy import stats
from simulated import HORSESHOE, ONE, largest, standard_error, trials

from mogp import MoGP, activations, priors, pruning
from mogp.pruning.theory._joint import Joint, changes

POINTS = jnp.asarray(np.random.default_rng(5).normal(size=(3, 2)))
STATISTICAL = [pytest.mark.statistical]

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
def test_one_layer_is_an_integral_of_the_measure(name):
    """Known without draws, and without a key."""
    prior, threshold = SIX[name]
    found = pruning.error(MoGP([prior]), threshold, ONE)
    mass = prior.limit.levy.moment(1.0, threshold)
    for value in (found.mean, found.lower, found.upper):
        assert_close(value, [float(mass) / 2], 1e-6)
    assert found.mean_error == 0
    assert_close(found.nodes, [float(prior.limit.levy.tail(threshold))], 1e-9)
    assert found.draws is None
    assert found.variances is None


@pytest.mark.statistical
@pytest.mark.parametrize("name", SIX)
def test_one_layer_against_simulated_networks_of_width_2000(name):
    """The error has all moments, however heavy the law: only small nodes are dropped."""
    prior, threshold = SIX[name]
    found = pruning.error(MoGP([prior]), threshold, ONE)
    _, errors = trials(prior, 1, 2000, 300, lambda lam: lam > threshold)
    assert abs(errors.mean() - found.mean.item()) < 4 * standard_error(errors)


@pytest.mark.statistical
def test_two_layers_against_simulated_networks(key):
    """Means of logarithms, since the horseshoe has no moments; at the width itself."""
    relative, _ = trials(HORSESHOE, 2, 500, 100, lambda lam: lam > 1e-2)
    found = pruning.error(
        MoGP([HORSESHOE] * 2), 1e-2, ONE, key=key, width=500, num_samples=400, num_outputs=10
    )
    predicted, measured = np.log(np.asarray(found.relative)), np.log(relative)
    error = math.hypot(standard_error(predicted), standard_error(measured))
    assert abs(predicted.mean() - measured.mean()) < 4 * error
    assert np.all(np.isinf(found.mean))
    limit = pruning.error(
        MoGP([HORSESHOE] * 2), 1e-2, ONE, key=key, num_samples=400, num_outputs=10
    )
    predicted = np.log(np.asarray(limit.relative))
    error = math.hypot(standard_error(predicted), standard_error(measured))
    assert abs(predicted.mean() - measured.mean()) < 4 * error
    assert_close(limit.nodes, [10, 10], 1e-9)


def arc_cosine(a, c, b):
    """`E φ(u) φ(v)` for ReLU."""
    theta = math.acos(min(1, c / math.sqrt(a * b)))
    root = math.sqrt(a * b) / (2 * math.pi)
    return root * (math.sin(theta) + (math.pi - theta) * math.cos(theta))


def test_gaussian_processes_lose_a_fraction_by_hand(key):
    """Two layers of equal nodes, `keep = 0.6`: the recursion of both networks, written down."""
    found = pruning.error(
        MoGP([priors.Deterministic()] * 2), x=ONE, keep=0.6, num_samples=2, key=key
    )
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
    found = pruning.error(
        MoGP([HORSESHOE]), x=np.ones((1, 3)).tolist(), nodes=20, key=key, num_samples=2000
    )
    assert_close(found.mean, [1 / 19 / 2], 1e-6)
    draws = np.ravel(found.draws)
    assert abs(draws.mean() - 1 / 38) < 4 * standard_error(draws)
    assert list(found.nodes) == [20]
    # Of 2 jumps on average there are rarely three: Σ_(n < 3) P(J > n) are kept.
    for nodes in (1, 3, 10**9):
        few = pruning.error(MoGP([priors.Bernoulli(2.0)]), x=ONE, nodes=nodes)
        assert_close(few.nodes, [stats.poisson(2.0).sf(np.arange(min(nodes, 40))).sum()], 1e-9)
    one = pruning.error(MoGP([HORSESHOE]), x=ONE, nodes=1)
    assert np.isinf(one.mean[0])


def test_nothing_pruned_changes_nothing(key):
    for rule in ({"threshold": 0.0}, {"keep": 1.0}):
        model = MoGP([priors.Stable(0.5), priors.Deterministic()])
        found = pruning.error(model, x=POINTS, key=key, num_samples=5, num_jumps=10, **rule)
        assert np.all(found.mean == 0)
        assert np.all(np.asarray(found.draws) == 0)


class Half(priors.Prior):
    """A user's prior without a limit."""

    def law(self, width):
        return dist.HalfNormal(1.0 / width)


@pytest.mark.parametrize("prior", [Half(), priors.GroupLasso(3.0)])
def test_a_width_needs_the_prior_at_the_width_only(prior, key):
    """Against simulated networks; bounds of a bounded activation stay honest where kernels vary."""
    model = MoGP([prior] * 2, "erf")
    found = pruning.error(model, 0.02, POINTS, width=20, key=key, num_samples=300)
    draws = np.asarray(found.draws)
    spread = draws.std(0) / math.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - found.mean) < 4 * spread)
    assert np.all(found.lower <= found.mean - 4 * found.mean_error)
    assert np.all(found.mean + 4 * found.mean_error < found.upper)
    assert np.all(np.isfinite(found.mean_error))
    if isinstance(prior, Half):
        with pytest.raises(NotImplementedError, match="Half has no limit"):
            pruning.error(model, 0.02, POINTS, key=key)


@pytest.mark.skipif(not X64, reason="shares of the output far below single precision")
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_errors_far_below_rounding_keep_their_digits(activation, key):
    """Slope one half between thresholds from 1e-12 to 1e-28, at all of 3 points and in the mean."""
    model = MoGP([priors.Stable(0.5)] * 2, activation)
    options = {"num_samples": 20, "num_jumps": 5, "key": key}
    found = [pruning.error(model, e, POINTS, **options) for e in (1e-12, 1e-20, 1e-28)]
    for far, near in itertools.pairwise(found):
        ratio = np.asarray(far.draws) / np.asarray(near.draws)
        assert_close(np.median(ratio, 0), 1e4, 2e-3)
        assert np.all(np.asarray(near.draws) > 0)


@pytest.mark.skipif(not X64, reason="an oracle of 50 digits")
def test_how_far_a_homogeneous_activation_moves():
    """`E (φ(ζ) - φ(ζ*))²` by the arc-cosine kernel at 50 digits, to the last ones."""
    with mpmath.workdps(50):
        for slope, e, share in itertools.product((0.0, 0.3), (1e-30, 1e-9, 1e-4, 0.5), (0.6, 1.0)):
            k, moved, cross = mpmath.mpf(1.3), mpmath.mpf(e), mpmath.mpf(e) * share
            other, mixed = k - 2 * cross + moved, k - cross
            theta = mpmath.acos(mixed / mpmath.sqrt(k * other))
            product = mpmath.sin(theta) + (mpmath.pi - theta) * mpmath.cos(theta)
            relu = (k + other) / 2 - mpmath.sqrt(k * other) * product / mpmath.pi
            exact = slope * moved + (1 - slope) ** 2 * relu
            kind = activations.get("relu") if slope == 0 else activations.LeakyReLU(slope)
            joint = Joint(*(jnp.array([[float(a)]]) for a in (k, cross, moved)))
            assert_close(changes(kind, joint).error[0, 0], float(exact), 1e-12)


# --- slopes ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not X64, reason="errors of a ten-thousandth of the output")
@pytest.mark.parametrize(
    ("alpha", "depth"),
    [
        pytest.param(alpha, depth, marks=[] if (alpha, depth) == (0.5, 2) else STATISTICAL)
        for alpha in (0.1, 0.3, 0.5, 0.8)
        for depth in (1, 2, 3, 4)
    ],
)
def test_errors_fall_with_the_power_one_minus_alpha(alpha, depth):
    """Two thresholds at which the shares `s = 1e-5` and `t = 1e-6` of the mass are lost.

    The same draws at both, of three jumps that stay, so that the slope has little noise. The error
    is `c s (1 + b √s)`, with `b` below the depth, so that the slope is `1 - α` times
    `1 + b (√s - √t) / log(s / t)`.
    """
    model, shares = MoGP([priors.GeneralizedGamma(alpha)] * depth), (1e-5, 1e-6)
    small = [share ** (1 / (1 - alpha)) for share in shares]
    tolerance = depth * (math.sqrt(shares[0]) - math.sqrt(shares[1])) / math.log(10)
    options = {"num_samples": 200, "num_jumps": 3, "key": jax.random.key(1, impl="rbg")}
    far, near = (pruning.error(model, e, ONE, **options) for e in small)
    distance = math.log(small[0] / small[1])
    wanted = pruning.slopes(model.priors[0]).threshold
    assert wanted == 1 - alpha
    for name in ("mean", "lower", "upper"):
        slope = math.log(getattr(far, name)[0] / getattr(near, name)[0]) / distance
        assert abs(slope - wanted) < tolerance, name
    slope = np.mean(np.log(far.relative / near.relative)) / distance
    assert abs(slope - wanted) < tolerance


# --- how many nodes -------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("depth", "width", "tolerance"), [(1, None, 0.1), (2, None, 0.3), (2, 300, 0.1)]
)
def test_nodes_for_is_honest(depth, width, tolerance, key):
    """200 networks with ten outputs, as measured; at most 10 % may miss."""
    model, probability = MoGP([HORSESHOE] * depth), 0.9
    found = pruning.nodes_for(
        model, tolerance, key=key, probability=probability, width=width, num_outputs=10,
        num_samples=600,
    )  # fmt: skip
    assert probability < found.share <= 1
    assert found.error <= tolerance
    keep = largest(found.nodes)
    relative, _ = trials(HORSESHOE, depth, width or (2000 if depth == 1 else 700), 200, keep)
    assert np.mean(relative <= tolerance) >= probability
    fewer = largest([n // 5 for n in found.nodes])  # nor far too many
    relative, _ = trials(HORSESHOE, depth, width or (2000 if depth == 1 else 700), 200, fewer)
    assert np.mean(relative <= tolerance) < probability


def test_nodes_for_equal_nodes(key):
    """Some nodes are off: to lose a fifth of the output at most, drop less than a fifth of them."""
    found = pruning.nodes_for(
        MoGP([priors.Deterministic()]), 0.2, key=key, width=100, num_samples=300
    )
    assert 80 < found.nodes[0] < 100


def test_nodes_for_variances_that_fall_exponentially():
    """A dozen of 100 nodes suffice, though now and then the largest of them are off."""
    for seed in range(3):
        found = pruning.nodes_for(
            MoGP([priors.Gamma(1.0)]), 0.1, width=100, num_samples=200, key=jax.random.key(seed)
        )
        assert 6 < found.nodes[0] < 25


# --- compiled, differentiated, and mistakes -------------------------------------------------------


def test_under_jit_and_grad(key):
    def mean(scale, depth):
        model = MoGP([priors.Stable(0.5, scale)] * depth)
        return pruning.error(model, 1e-3, ONE, num_samples=3, num_jumps=5, key=key).mean[0]

    slope = jax.jit(jax.grad(lambda scale: mean(scale, 1)))(2.0)
    assert_close(slope, 0.5 * 0.5 * math.sqrt(1e-3 / 2.0), 1e-6)  # of ½ √(scale · ε)
    assert_close(jax.jit(lambda s: mean(s, 1))(2.0), mean(2.0, 1), 1e-9)


@pytest.mark.parametrize(
    "threshold", [-1e-3, math.nan, math.inf, [0.1, -1.0], "ab", 1j, True, [[0.1], [0.1]]]
)
def test_bad_thresholds(threshold):
    with pytest.raises(ValueError, match="threshold must be at least 0 and finite"):
        pruning.error(MoGP([HORSESHOE] * 2), threshold, ONE)


def test_mistakes(key):
    model = MoGP([HORSESHOE])
    with pytest.raises(ValueError, match="give one of threshold, keep and nodes, got none"):
        pruning.error(model, x=ONE)
    with pytest.raises(ValueError, match="got threshold, keep"):
        pruning.error(model, 0.1, ONE, keep=0.1)
    with pytest.raises(ValueError, match="x must be given"):
        pruning.error(model, 0.1)
    with pytest.raises(ValueError, match=r"x must have shape \(n, d\)"):
        pruning.error(model, 0.1, jnp.ones(3))
    with pytest.raises(
        ValueError, match=r"threshold must be one number, or one for each hidden layer"
    ):
        pruning.error(model, [0.1, 0.1], ONE)
    for options in ({"width": 10}, {}):
        with pytest.raises(ValueError, match="key must be given: the error is known without draws"):
            pruning.error(MoGP([HORSESHOE] * 2), 0.1, ONE, **options)
    with pytest.raises(ValueError, match=r"there are none: give pruning\.error a key"):
        _ = pruning.error(model, 0.1, ONE).relative
    with pytest.raises(ValueError, match="model must be a MoGP, got Horseshoe"):
        pruning.error(HORSESHOE, 0.1, ONE)
    with pytest.raises(ValueError, match="nodes must be at most the width 10, got 11"):
        pruning.error(model, x=ONE, nodes=11, width=10, key=key)
    with pytest.raises(ValueError, match=r"got 0: use jax\.random\.key\(0\)"):
        pruning.error(model, 0.1, ONE, key=0)
    for options, what in (
        ({"threshold": 0.1, "width": 10**9}, "the node variances"),
        ({"nodes": 10**9}, "the jumps"),
        ({"threshold": 0.1, "num_samples": 10**12}, "the covariances at the points"),
    ):
        with pytest.raises(ValueError, match=rf"{what} would take .* GiB, more than the memory"):
            pruning.error(model, x=ONE, key=key, **options)
    with pytest.raises(ValueError, match=r"the node variances would take .* GiB"):
        pruning.nodes_for(model, 0.1, key=key, max_nodes=10**10)
    with pytest.raises(ValueError, match="num_jumps must be at least nodes = 9"):
        pruning.error(model, x=ONE, nodes=9, num_jumps=5, key=key)
    for keep in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
            pruning.error(model, x=ONE, keep=keep)
    gaussian = MoGP([priors.Deterministic()])
    for rule in ({"threshold": 0.1}, {"nodes": 3}):
        with pytest.raises(ValueError, match="the model is in the GP regime"):
            pruning.error(gaussian, x=ONE, **rule)
    with pytest.raises(ValueError, match="no finite number of nodes carries it; give a width"):
        pruning.nodes_for(gaussian, 0.1, key=key)
    with pytest.raises(ValueError, match="needs more than max_nodes = 3 nodes"):
        pruning.nodes_for(model, 0.01, key=key, max_nodes=3, num_samples=200)
    with pytest.raises(ValueError, match="num_samples must be at least about 93"):
        pruning.nodes_for(model, 0.1, key=key, num_samples=20)
    with pytest.raises(ValueError, match=r"tolerance must be in \(0, 1\)"):
        pruning.nodes_for(model, 2.0, key=key)
