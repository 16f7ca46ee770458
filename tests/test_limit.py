"""Infinite width: kernels, draws, moments and laws against closed forms and brute force."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from closeness import X64, assert_close
from oracles import DTYPES, needs_x64
from scipy import stats

from mogp import MoGP, limit, priors
from mogp.limit._dense import error_behind
from mogp.limit._jumps import LayerJumps
from mogp.limit._recursion import layers_of

SIMULATES = True  # see conftest.py

GP = priors.Deterministic()
X = np.array([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])
ONE = jnp.ones((1, 3))


def standard_error(draws):
    return np.std(draws, axis=0) / math.sqrt(len(draws))


# --- the GP regime ------------------------------------------------------------------------------


def relu_mean(k11, k12, k22):
    root = mp.sqrt(max(k11 * k22 - k12**2, 0))
    return (root + (mp.pi - mp.atan2(root, k12)) * k12) / (2 * mp.pi)


def leaky_mean(k11, k12, k22):
    slope = mp.mpf("0.01")
    mixed = slope**2 * k12 + slope * (1 - slope) * k12
    return (1 - slope) ** 2 * relu_mean(k11, k12, k22) + mixed


def erf_mean(k11, k12, k22):
    return 2 / mp.pi * mp.asin(2 * k12 / mp.sqrt((1 + 2 * k11) * (1 + 2 * k22)))


def nngp(mean, points, depth, weight_scale, bias_scale):
    with mp.workdps(40):
        gain, bias = mp.mpf(weight_scale) ** 2, mp.mpf(bias_scale) ** 2
        x = [[mp.mpf(float(v)) for v in row] for row in points]
        k = [[bias + gain * mp.fdot(a, b) / len(a) for b in x] for a in x]
        for _ in range(depth):
            n = range(len(x))
            k = [[bias + gain * mean(k[i][i], k[i][j], k[j][j]) for j in n] for i in n]
        return np.array(k, dtype=float)


@needs_x64
def test_golden_kernel_of_neural_tangents():
    """neural-tangents 0.6.5 in float64: Dense(1.5, .1), ReLU, Dense(1.5, .1), ReLU, Dense(1, 0)."""
    model = MoGP([GP, GP], weight_scale=(1.5, 1.5, 1.0), bias_scale=(0.1, 0.1, 0.0))
    golden = [
        [3.1746875, 0.5750863, 1.69472243],
        [0.5750863, 0.80164062, 0.8049868],
        [1.69472243, 0.8049868, 5.73125],
    ]
    np.testing.assert_allclose(limit.gp_kernel(model, jnp.asarray(X)), golden, atol=5e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [1, 3, 10])
@pytest.mark.parametrize(
    ("activation", "mean"),
    [("relu", relu_mean), ("erf", erf_mean), ("leaky_relu", leaky_mean)],
    ids=["relu", "erf", "leaky_relu"],
)
def test_gp_kernel(activation, mean, depth, dtype):
    """Equal, opposite and nearly equal points among the others."""
    points = np.array([[1, 2], [1, 2], [-1, -2], [0.5, -1], [1, 2.001]], np.float32)
    model = MoGP([GP] * depth, activation, weight_scale=1.4, bias_scale=0.3)
    kernel = limit.gp_kernel(model, jnp.asarray(points, dtype))
    expected = nngp(mean, points, depth, 1.4, 0.3)
    tolerance = 1e-12 if dtype == jnp.float64 else 1e-5
    assert kernel.dtype == dtype
    np.testing.assert_allclose(kernel, expected, rtol=tolerance)
    np.testing.assert_allclose(
        limit.gp_variance(model, jnp.asarray(points, dtype)), np.diag(expected), rtol=tolerance
    )
    np.testing.assert_array_equal(kernel, kernel.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "erf", "leaky_relu", "tanh"])
def test_gradients_at_equal_inputs(activation, dtype):
    """By symmetry `∂K(x, y)/∂x` at `y = x` is half the gradient of the variance."""
    model = MoGP([GP, GP, GP], activation, weight_scale=1.4, bias_scale=0.3)
    x = jnp.asarray([[1.0, -0.7, 2.0]], dtype)
    by_pair = jax.grad(lambda a: limit.gp_kernel(model, a, x)[0, 0])(x)
    by_variance = jax.grad(lambda a: limit.gp_variance(model, a)[0])(x)
    tolerance = 1e-10 if dtype == jnp.float64 else 1e-3
    np.testing.assert_allclose(by_pair, by_variance / 2, rtol=tolerance)
    rows = jax.grad(lambda a: jnp.sum(limit.gp_kernel(model, a)))(jnp.concatenate([x, x]))
    np.testing.assert_allclose(rows, jnp.concatenate([2 * by_variance] * 2) * 1.0, rtol=tolerance)


def test_large_symmetric_matrices_by_strips():
    """Above 1024 rows: the same numbers as for pairs, and symmetric to the bit."""
    x = jax.random.normal(jax.random.key(1), (1100, 2), jnp.float32)
    model = MoGP([GP], bias_scale=0.5)
    kernel = limit.gp_kernel(model, x)
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_allclose(kernel, limit.gp_kernel(model, x, x), rtol=1e-5, atol=1e-6)


def test_draws_in_the_gp_regime_are_the_kernel(key):
    model = MoGP([GP, GP], bias_scale=0.5)
    x = jnp.asarray(X)
    draws = limit.sample_kernel(model, x, key=key, num_samples=2)
    assert_close(draws.kernels, np.broadcast_to(limit.gp_kernel(model, x), (2, 3, 3)), 1e-12)
    np.testing.assert_array_equal(draws.error, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "prior", [GP, priors.Gamma(1.0), priors.Bernoulli(5.0), priors.Horseshoe()], ids=repr
)
def test_draws_on_many_points_of_few_kinds(prior, dtype, key):
    """Singular kernels: points that repeat, and lines; equal points have equal values."""
    line = jnp.linspace(-1, 1, 150, dtype=dtype)[:, None]
    x = jnp.concatenate([line, line, jnp.full_like(line, 0.25)])
    model = MoGP([prior, prior], bias_scale=1.0)
    draws = model.sample_prior(x, key=key, num_samples=2, num_jumps=20)[..., 0]
    tolerance = 1e-4 if dtype == jnp.float64 else 0.1
    scale = jnp.max(jnp.abs(draws), 1)
    assert jnp.all(jnp.abs(draws[:, :150] - draws[:, 150:300]) < tolerance * scale[:, None])
    assert jnp.all(jnp.ptp(draws[:, 300:], 1) < tolerance * scale)


# --- one random layer and more ------------------------------------------------------------------


def test_horseshoe_output_is_cauchy(key):
    """MATH of the limit: with `‖x‖²/d = 1` the output is Cauchy with scale 1/2."""
    model = MoGP([priors.Horseshoe()])
    t = jnp.array([0.01, 0.5, 3.0, 40.0])
    assert_close(model.characteristic_function(ONE, t), np.exp(-t / 2), 1e-10)
    outputs = model.sample_prior(ONE, key=key, num_samples=20_000, num_jumps=100)
    assert stats.kstest(np.ravel(outputs), "cauchy", args=(0, 0.5)).pvalue > 1e-3


@pytest.mark.parametrize("depth", [1, 3])
def test_horseshoe_kernels_are_products(depth, key):
    """`Σ` is a product of independent `1/(4 N²)`, so that `E log Σ = L (γ - log 2)`."""
    model = MoGP([priors.Horseshoe()] * depth)
    logs = np.log(model.sample_kernel(ONE, key=key, num_samples=20_000, num_jumps=200)).ravel()
    expected = depth * (np.euler_gamma - math.log(2))
    assert abs(logs.mean() - expected) < 4 * standard_error(logs)
    variance = depth * math.pi**2 / 2  # of log N² it is π²/2
    assert abs(logs.var() / variance - 1) < 0.06
    if depth == 1:
        assert (
            stats.kstest(np.exp(logs), lambda s: 2 * stats.norm.sf(0.5 / np.sqrt(s))).pvalue > 1e-3
        )


MOMENT_PRIORS = {
    "Gamma": (priors.Gamma(2.0), 2.0, 2.0),
    "Beta": (priors.Beta(1.0, 0.5), 1.0, 2 / 3),
    "GBFRY": (priors.GBFRY(alpha=0.5, tau=5.0), 1.0, None),
    "GeneralizedGamma": (priors.GeneralizedGamma(0.4, 1.0, 1.0), 1.0, 0.6),
}


def recursion(a, first, second, depth, weight, bias):
    """`E Σ` and `E Σ²` at an input with `‖x‖² = d`, from the paper's recursion for ReLU."""
    gain, shift = weight**2, bias**2
    q, s = shift + gain, (shift + gain) ** 2
    for _ in range(depth):
        half = gain * (a + first) / 2
        s = shift**2 + 2 * shift * half * q + half**2 * s + 1.5 * gain**2 * second * s
        q = shift + half * q
    return q, s


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("name", MOMENT_PRIORS)
def test_moments_of_the_kernel(name, depth, key):
    """The exact moments, 10⁵ draws, and the reported error, which explains what draws lack.

    A deterministic part, added at depths above 1, keeps the fourth moment small enough for the mean
    of 10⁵ squares to mean something.
    """
    prior, first, second = MOMENT_PRIORS[name]
    location = 0.0 if depth == 1 else 3.0
    measure = prior.limit.levy
    assert_close(measure.moment(1.0), first, 1e-12)
    second = float(measure.moment(2.0)) if second is None else second
    assert_close(measure.moment(2.0), second, 1e-12)
    if location:
        prior = priors.InfinitelyDivisible(location, measure)
    model = MoGP([prior] * depth, weight_scale=0.9, bias_scale=0.4)
    q, s = recursion(location, first, second, depth, 0.9, 0.4)
    exact = model.moments(ONE)
    assert_close(exact.mean.item(), q, 1e-12)
    assert_close(exact.variance.item(), s - q**2, 1e-11)
    assert_close(exact.kurtosis.item(), 3 * s / q**2, 1e-11)

    draws = limit.sample_kernel(model, ONE, key=key, num_samples=100_000, num_jumps=8)
    kernels, error = np.ravel(draws.kernels), np.ravel(draws.error)
    assert abs(kernels.mean() - q) < 4 * standard_error(kernels)
    squares = kernels**2 + error**2  # what is left out is orthogonal to what is kept
    assert abs(squares.mean() - s) < 4 * standard_error(squares)


def test_moments_of_off_diagonal_entries_and_outputs(key):
    """Two layers of jumps: Monte Carlo moments with errors that are right."""
    jumpy = priors.GeneralizedGamma(0.4, 1.0, 2.0)
    model = MoGP([priors.Gamma(2.0), GP, jumpy], "erf", bias_scale=0.5)
    x = jnp.asarray(X)
    given = model.moments(x, num_jumps=20, num_samples=1000)
    kernels = model.sample_kernel(x, key=key, num_samples=2000, num_jumps=20)
    off = kernels - given.mean[None]
    error = np.hypot(given.mean_error, standard_error(kernels))
    assert np.all(np.abs(kernels.mean(0) - given.mean) < 4 * error)
    for estimate, products in (
        (given.variance, off**2),
        (given.square_covariance, jnp.einsum("sii,sjj->sij", off, off)),
    ):
        error = np.hypot(given.variance_error, standard_error(products))
        assert np.all(np.abs(products.mean(0) - estimate) < 4 * error)


def test_outputs_share_the_kernel(key):
    """Uncorrelated outputs with correlated squares, as `moments` says, and its kurtosis."""
    model = MoGP([priors.Gamma(mass=4.0)], bias_scale=0.5)
    x = jnp.asarray(X[:2])
    given = model.moments(x)
    outputs = model.sample_prior(x, key=key, num_samples=100_000, num_outputs=2, num_jumps=60)
    assert outputs.shape == (100_000, 2, 2)
    across = outputs[:, 0, 0] * outputs[:, 1, 1]
    assert abs(across.mean()) < 4 * standard_error(across)
    squares = outputs**2 - jnp.diagonal(given.mean)[None, :, None]
    for i in range(2):
        for j in range(2):
            product = squares[:, i, 0] * squares[:, j, 1]
            expected = given.square_covariance[i, j]
            assert abs(product.mean() - expected) < 4 * standard_error(product)
    one = outputs[:, 0, 0] ** 2
    second, fourth = one.mean(), one**2
    ratio = fourth / second**2 - 2 * given.kurtosis[0] * (one / second - 1)  # delta method
    assert abs(fourth.mean() / second**2 - given.kurtosis[0]) < 4 * standard_error(ratio)
    correlation = np.corrcoef(one, outputs[:, 0, 1] ** 2)[0, 1]
    assert abs(correlation - given.square_correlation[0]) < 0.05


@pytest.mark.parametrize("num_jumps", [10, 100, 1000])
@pytest.mark.parametrize("prior", [priors.Gamma(20.0), priors.GBFRY(0.5, 2.0)], ids=repr)
def test_compensation_is_unbiased(prior, num_jumps, key):
    model = MoGP([prior], bias_scale=0.3)
    x = jnp.asarray(X)
    kernels = model.sample_kernel(x, key=key, num_samples=2000, num_jumps=num_jumps)
    mean = model.moments(x).mean
    assert np.all(np.abs(kernels.mean(0) - mean) < 4 * standard_error(kernels))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "erf", "gelu"])
def test_error_of_truncation_is_honest(activation, depth, key):
    """The same nodes with 5 jumps a layer, and with 200: the mean squared difference."""
    prior = priors.GeneralizedGamma(0.5, 1.0, 1.0)
    model = MoGP([prior] * depth, activation, weight_scale=1.3, bias_scale=0.4)
    layers = layers_of(model)
    short, long = [], []
    for layer, k in zip(layers, jax.random.split(key, depth), strict=True):
        jumps = layer.levy.ranked_jumps(200, key=k, shape=(10_000,))
        fifth = jumps.sizes[:, 4]
        mass, variance = (layer.levy.moment(m, fifth) for m in (1.0, 2.0))
        short.append(LayerJumps(jumps.sizes[:, :5], mass, jnp.sqrt(variance)))
        rest = jumps.residual_mass, jnp.sqrt(jumps.residual_variance)
        long.append(LayerJumps(jumps.sizes, *rest))

    def step(layer, jumps, noise, k, error):
        nodes = jnp.sqrt(k)[None] * noise[: len(jumps.sizes), None]
        error = error_behind(layer, jumps, model.activation, k, nodes, error)
        kept = jnp.sum(jumps.sizes[:, None] * model.activation(nodes) ** 2, 0)
        diffuse = jumps.diffuse * model.activation.second_moment(k)
        return layer.bias_scale**2 + layer.weight_scale**2 * (kept + diffuse), error

    @jax.jit
    @jax.vmap
    def compare(short, long, key):
        few = many = (jnp.array([0.16 + 1.69]), jnp.zeros(1))
        for i, layer in enumerate(layers):
            noise = jax.random.normal(jax.random.fold_in(key, i), (200,))
            few, many = step(layer, short[i], noise, *few), step(layer, long[i], noise, *many)
        return few[0][0] - many[0][0], few[1][0], many[1][0]

    difference, error, left = compare(short, long, jax.random.split(key, 10_000))
    assert np.mean(left**2) < 1e-3 * np.mean(error**2)  # 200 jumps are as good as all
    ratios = (difference / error) ** 2
    assert ratios.mean() < 1 + 4 * standard_error(ratios)
    if depth == 1 or "relu" in activation:
        assert abs(ratios.mean() - 1) < 4 * standard_error(ratios) + 2e-3  # no bound: exact
    else:
        assert ratios.mean() > 0.01  # nor uselessly large


def test_number_of_jumps_meets_the_tolerance(key):
    model = MoGP([priors.GeneralizedGamma(0.5, 1.0, 1.0)])
    for tolerance in (0.3, 0.05):
        draws = limit.sample_kernel(model, ONE, key=key, num_samples=100, tolerance=tolerance)
        relative = np.ravel(draws.error) / np.maximum(np.ravel(draws.kernels), 0.1)
        assert 0 < np.mean(relative) < tolerance


# --- laws -----------------------------------------------------------------------------------------


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


def test_characteristic_function_of_several_points_and_outputs(key):
    """Against the mean of `exp(-½ tᵀ Σ t)` over drawn kernels."""
    model = MoGP([GP, priors.GBFRY(0.5, 2.0)], "erf", bias_scale=0.4)
    x, t = jnp.asarray(X), jnp.asarray([[1.0, -0.5, 0.3], [0.0, 2.0, 0.0]])
    kernels = model.sample_kernel(x, key=key, num_samples=2000, num_jumps=30)
    values = np.exp(-np.einsum("ti,sij,tj->st", t, kernels, t) / 2)
    given = model.characteristic_function(x, t, key=key, num_samples=1000)
    error = standard_error(values) + 0.3 / math.sqrt(1000)
    assert np.all(np.abs(values.mean(0) - given) < 4 * error)


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


# --- drawn functions ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path():
    model = MoGP([priors.Gamma(2.0), priors.Gamma(1.0)], bias_scale=0.5)
    return model.sample_path(2, key=jax.random.key(5), num_jumps=20, num_outputs=2, num_diffuse=64)


def test_paths_are_functions(path):
    """Values at points do not depend on the other points asked for, nor does the kernel."""
    x = jnp.asarray(X)
    values, kernel = path(x), path.kernel(x)
    assert values.shape == (3, 2)
    for i in range(3):
        assert_close(path(x[i : i + 1])[0], values[i], 1e-9)
    assert_close(path.kernel(x[:1], x), kernel[:1], 1e-9)
    assert_close(path.variance(x), np.diagonal(kernel), 1e-9)
    vectors = jnp.asarray([[1.0, 0.0], [2.0, -1.0], [0.5, 3.0]])
    assert_close(path.kernel_product(x, vectors), kernel @ vectors, 1e-9)
    assert np.linalg.eigvalsh(kernel).min() > -1e-6


def test_features_of_a_path_are_its_hidden_nodes(path):
    x = jnp.asarray(X)
    features = path.features(x)
    assert features.shape == (3, 84)
    weights, bias = path.weights[-1], path.biases[-1]
    assert_close(features @ weights.T + 0.5 * bias[None], path(x), 1e-9)


def test_kernels_of_paths_have_the_law_of_dense_draws(key):
    model = MoGP([priors.Gamma(2.0), priors.Gamma(2.0)], bias_scale=0.5)
    x = jnp.asarray(X)
    draw = jax.jit(jax.vmap(lambda k: model.sample_path(2, key=k, num_jumps=20).kernel(x)))
    kernels = draw(jax.random.split(key, 500))
    exact = model.moments(x, num_jumps=20)
    error = np.hypot(standard_error(kernels), exact.mean_error)
    assert np.all(np.abs(kernels.mean(0) - exact.mean) < 4 * error)
    dense = model.sample_kernel(x, key=key, num_samples=1000, num_jumps=20)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        assert stats.ks_2samp(kernels[:, i, j], dense[:, i, j]).pvalue > 1e-3


def test_values_of_paths_have_the_law_of_outputs(key):
    model = MoGP([priors.Horseshoe()])
    draw = jax.jit(jax.vmap(lambda k: model.sample_path(3, key=k, num_jumps=50)(ONE)[0, 0]))
    assert stats.kstest(draw(jax.random.split(key, 1000)), "cauchy", args=(0, 0.5)).pvalue > 1e-3


def test_without_diffuse_part_a_path_is_a_network():
    """As many jumps as there are, none left over: the width is theirs and the extra nodes are 0."""
    model = MoGP([priors.Bernoulli(3.0)])
    path = model.sample_path(2, key=jax.random.key(0), num_jumps=30)
    assert path.jumps[0].diffuse < 1e-12
    x = jnp.asarray(X)
    np.testing.assert_allclose(path.features(x)[:, 30:], 0, atol=1e-6)
    assert_close(path.features(x) @ path.features(x).T, path.kernel(x), 1e-9)


# --- precision, transformations, arguments ------------------------------------------------------


def test_precision_is_that_of_the_points(key):
    model = MoGP([priors.Gamma(2.0)] * 2, bias_scale=0.5)
    single, double = (
        model.sample_kernel(jnp.asarray(X, dtype), key=key, num_samples=3, num_jumps=20)
        for dtype in (jnp.float32, float)
    )
    assert single.dtype == jnp.float32
    assert np.all(np.isfinite(single))
    assert single.shape == double.shape


def test_kernels_can_be_differentiated_in_hyper_parameters(key):
    """The index of generalised gamma jumps and `σ_v`, against central differences."""
    x = jnp.asarray(X)

    @jax.jit
    def kernel(alpha, scale):
        model = MoGP([priors.GeneralizedGamma(alpha), GP], "erf", weight_scale=scale)
        return jnp.sum(model.sample_kernel(x, key=key, num_jumps=20))

    gradient = jax.grad(kernel, (0, 1))(0.4, 1.2)
    step = 1e-5 if X64 else 1e-2
    expected = (
        (kernel(0.4 + step, 1.2) - kernel(0.4 - step, 1.2)) / (2 * step),
        (kernel(0.4, 1.2 + step) - kernel(0.4, 1.2 - step)) / (2 * step),
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-5 if X64 else 3e-2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(3), r"x must have shape \(n, d\)"),
        (np.ones((0, 3)), r"x must have shape \(n, d\)"),
        (np.ones((2, 0)), r"x must have shape \(n, d\)"),
        (np.array([[1.0, np.nan]]), "x must be finite, got NaN or infinity in 1 of 1 rows"),
        (np.array([[1.0], [np.inf]]), "x must be finite"),
        (np.ones((2, 3), int), "x must be floating point"),
    ],
)
def test_bad_points(x, message, key):
    model, gp = MoGP([priors.Horseshoe()]), MoGP([GP])
    for call in (
        lambda: model.sample_kernel(x, key=key),
        lambda: model.sample_prior(x, key=key),
        lambda: model.moments(x),
        lambda: model.characteristic_function(x, 1.0),
        lambda: limit.gp_kernel(gp, x),
        lambda: limit.gp_variance(gp, x),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def bad(call, message, error=ValueError):
    return pytest.param(call, message, error, id=message)


MODEL = MoGP([priors.Horseshoe()])


@pytest.mark.parametrize(
    ("call", "message", "error"),
    [
        bad(lambda k: MODEL.sample_kernel(ONE, key=k, num_jumps=0), "num_jumps must be"),
        bad(lambda k: MODEL.sample_kernel(ONE, key=k, num_jumps=2.5), "num_jumps must be"),
        bad(lambda k: MODEL.sample_kernel(ONE, key=k, num_jumps=(3, 4)), "one a hidden layer"),
        bad(lambda k: MODEL.sample_kernel(ONE, key=k, num_samples=0), "num_samples must be"),
        bad(lambda k: MODEL.sample_kernel(ONE, key=k, tolerance=0.0), "tolerance must be"),
        bad(lambda k: MODEL.sample_prior(ONE, key=k, num_outputs=0), "num_outputs must be"),
        bad(lambda k: MODEL.sample_path(0, key=k), "in_size must be"),
        bad(lambda k: MODEL.sample_path(2, key=k, num_diffuse=0), "num_diffuse must be"),
        bad(lambda k: MODEL.log_marginal_density(ONE, jnp.ones(2), key=k), "y must have shape"),
        bad(lambda k: MODEL.log_marginal_density(ONE, jnp.array([jnp.nan]), key=k), "y must be f"),
        bad(
            lambda k: MODEL.log_marginal_density(ONE, jnp.ones(1), key=k, noise_scale=-1.0),
            "noise_scale must be",
        ),
        bad(lambda _: MODEL.characteristic_function(jnp.ones((2, 1)), 1.0), "t must have shape"),
        bad(
            lambda _: MODEL.characteristic_function(jnp.ones((2, 1)), jnp.ones(2)),
            "key must be given",
        ),
        bad(
            lambda _: MoGP([priors.Horseshoe()] * 2).characteristic_function(ONE, 1.0),
            "no jumps, got",
        ),
        bad(lambda _: limit.gp_kernel(MODEL, ONE), "is random, and Horseshoe"),
        bad(
            lambda _: limit.gp_kernel(MoGP([GP]), ONE, jnp.ones((2, 2))),
            r"y must have shape \(n, 3\)",
        ),
        bad(lambda _: MoGP([]), "priors must"),
        bad(lambda _: MoGP([GP], "swish-glu"), "activation must"),
        bad(lambda _: MoGP([GP], weight_scale=(1.0, 2.0, 3.0)), "weight_scale must be one number"),
        bad(lambda _: MoGP([GP], bias_scale=-0.1), "bias_scale must be"),
    ],
)
def test_bad_arguments(call, message, error, key):
    with pytest.raises(error, match=message):
        call(key)


def test_a_path_refuses_points_of_another_size(path):
    for call in (path, path.kernel, path.variance, path.features):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
            call(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="vectors must have shape"):
        path.kernel_product(jnp.asarray(X), jnp.ones((2, 1)))
