"""Draws of random kernels and outputs against closed forms, moments and brute force."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from oracles import DTYPES
from scipy import stats

from mogp import MoGP, limit, priors
from mogp.limit._dense import error_behind
from mogp.limit._moments import _is_infinite as is_infinite
from mogp.limit.layers import LayerJumps, layers_of

GP = priors.Deterministic()
X = np.array([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])
ONE = jnp.ones((1, 3))


def standard_error(draws):
    return np.std(draws, axis=0) / math.sqrt(len(draws))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "prior", [GP, priors.Gamma(1.0), priors.Bernoulli(5.0), priors.Horseshoe()], ids=repr
)
def test_draws_on_many_points_of_few_kinds(prior, dtype, key):
    """Singular kernels: points that repeat, and lines; equal points have equal values."""
    line = jnp.linspace(-1, 1, 60, dtype=dtype)[:, None]
    x = jnp.concatenate([line, line, jnp.full_like(line, 0.25)])
    model = MoGP([prior, prior], bias_scale=1.0)
    draws = model.sample_prior(x, key=key, num_samples=2, num_jumps=20)[..., 0]
    tolerance = 1e-4 if dtype == jnp.float64 else 0.1
    scale = jnp.max(jnp.abs(draws), 1)
    assert jnp.all(jnp.abs(draws[:, :60] - draws[:, 60:120]) < tolerance * scale[:, None])
    assert jnp.all(jnp.ptp(draws[:, 120:], 1) < tolerance * scale)


@pytest.mark.statistical
def test_horseshoe_output_is_cauchy(key):
    """MATH of the limit: with `‖x‖²/d = 1` the output is Cauchy with scale 1/2."""
    model = MoGP([priors.Horseshoe()])
    outputs = model.sample_prior(ONE, key=key, num_samples=20_000, num_jumps=100)
    assert stats.kstest(np.ravel(outputs), "cauchy", args=(0, 0.5)).pvalue > 1e-3


@pytest.mark.statistical
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


def moment_models(name):
    """The model of each depth, with what its recursion needs.

    A deterministic part, added at depths above 1, keeps the fourth moment small enough for the mean
    of 10⁵ squares to mean something.
    """
    prior, first, second = MOMENT_PRIORS[name]
    measure = prior.limit.levy
    deep = priors.InfinitelyDivisible(3.0, measure)
    second = float(measure.moment(2.0)) if second is None else second
    return [
        (
            MoGP([prior if depth == 1 else deep] * depth, weight_scale=0.9, bias_scale=0.4),
            recursion(0.0 if depth == 1 else 3.0, first, second, depth, 0.9, 0.4),
        )
        for depth in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("name", MOMENT_PRIORS)
def test_exact_moments_of_the_kernel(name, key):
    prior, first, second = MOMENT_PRIORS[name]
    measure = prior.limit.levy
    assert_close(measure.moment(1.0), first, 1e-12)
    if second is not None:
        assert_close(measure.moment(2.0), second, 1e-12)
    for model, (q, s) in moment_models(name)[::3]:  # depths 1 and 4
        exact = model.moments(ONE, key=key, num_samples=1, num_jumps=1)
        assert_close(exact.mean.item(), q, 1e-12)
        assert_close(exact.variance.item(), s - q**2, 1e-11)
        assert_close(exact.kurtosis.item(), 3 * s / q**2, 1e-11)
        assert exact.mean_error.item() == exact.variance_error.item() == 0


@pytest.mark.statistical
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("name", MOMENT_PRIORS)
def test_moments_of_drawn_kernels(name, depth, key):
    """10⁵ draws, and the reported error, which explains what draws lack."""
    model, (q, s) = moment_models(name)[depth - 1]
    draws = limit.kernel_draws(model, ONE, key=key, num_samples=100_000, num_jumps=8)
    kernels, error = np.ravel(draws.kernels), np.ravel(draws.error)
    assert abs(kernels.mean() - q) < 4 * standard_error(kernels)
    squares = kernels**2 + error**2  # what is left out is orthogonal to what is kept
    assert abs(squares.mean() - s) < 4 * standard_error(squares)


@pytest.mark.statistical
def test_moments_of_off_diagonal_entries_and_outputs(key):
    """Two layers of jumps: Monte Carlo moments with errors that are right."""
    jumpy = priors.GeneralizedGamma(0.4, 1.0, 2.0)
    model = MoGP([priors.Gamma(2.0), GP, jumpy], "erf", bias_scale=0.5)
    x = jnp.asarray(X)
    given = model.moments(x, key=jax.random.key(0), num_jumps=20, num_samples=1000)
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


@pytest.mark.statistical
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


@pytest.mark.statistical
@pytest.mark.parametrize("num_jumps", [10, 100, 1000])
@pytest.mark.parametrize("prior", [priors.Gamma(20.0), priors.GBFRY(0.5, 2.0)], ids=repr)
def test_compensation_is_unbiased(prior, num_jumps, key):
    model = MoGP([prior], bias_scale=0.3)
    x = jnp.asarray(X)
    kernels = model.sample_kernel(x, key=key, num_samples=2000, num_jumps=num_jumps)
    mean = model.moments(x).mean
    assert np.all(np.abs(kernels.mean(0) - mean) < 4 * standard_error(kernels))


@pytest.mark.statistical
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
        draws = limit.kernel_draws(model, ONE, key=key, num_samples=100, tolerance=tolerance)
        relative = np.ravel(draws.error) / np.maximum(np.ravel(draws.kernels), 0.1)
        assert 0 < np.mean(relative) < tolerance


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
        lambda: model.moments(x, key=key),
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
        bad(
            lambda k: MODEL.sample_kernel(ONE, key=k, num_jumps=(3, 4)), "one for each hidden layer"
        ),
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
        bad(
            lambda _: MoGP([priors.Horseshoe()] * 2).moments(jnp.ones((2, 3))), "key must be given"
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


def test_moments_of_one_point_need_no_key_and_those_of_two_say_that_they_do():
    model = MoGP([priors.Gamma(2.0), priors.Gamma(1.0)], bias_scale=0.3)
    two = jnp.array([[1.0, 0.5], [2.0, -1.0]])
    alone, both = (
        model.moments(two[:1]),
        model.moments(two, key=jax.random.key(0), num_samples=2, num_jumps=2),
    )
    for name in ("mean", "variance", "square_covariance"):
        assert_close(getattr(alone, name)[0, 0], getattr(both, name)[0, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="key must be given"):
        model.moments(two)


HEAVY = priors.GBFRY(0.5, 1.5)  # a finite mean, an infinite variance
LIGHT = priors.Gamma(1.0)


@pytest.mark.parametrize(
    ("activation", "first", "orders"),
    [
        ("relu", priors.Horseshoe(), (1, 2)),
        ("gelu", priors.Horseshoe(), (1, 2)),
        ("gelu", HEAVY, (2,)),
        (jax.nn.softplus, priors.Horseshoe(), (1, 2)),
        (jax.nn.softplus, HEAVY, (2,)),
        (jax.nn.silu, HEAVY, (2,)),
        ("leaky_relu", HEAVY, (2,)),
        (lambda z: z**3, HEAVY, (1, 2)),
        (lambda z: z**3, LIGHT, ()),
        (lambda z: z / (1 + z**2) ** 0.25, priors.Horseshoe(), (1, 2)),
        (lambda z: z / (1 + z**2) ** 0.25, HEAVY, ()),
        ("tanh", priors.Horseshoe(), ()),
        ("gelu", LIGHT, ()),
        (jnp.exp, LIGHT, (1, 2)),
        (jnp.exp, GP, ()),
    ],
)
def test_which_moments_are_infinite(activation, first, orders):
    """By growth `g` and tails: order `r` behind a layer needs order `g r` before it."""
    model, k = MoGP([first, LIGHT], activation), jnp.ones(1)
    for order in (1, 2):
        assert bool(is_infinite(model, layers_of(model), k, order)[0]) == (order in orders)
    last = MoGP([LIGHT, HEAVY], activation)
    assert bool(is_infinite(last, layers_of(last), k, 2)[0])


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_infinite_moments(activation, key):
    x, settings = jnp.asarray([[1.0], [0.0]]), {"key": key, "num_samples": 3, "num_jumps": 3}
    for first, mean in ((priors.Horseshoe(), True), (HEAVY, False)):
        found = MoGP([first, LIGHT], activation).moments(x, **settings)
        assert np.isinf(found.mean[0, 0]) == mean
        assert np.isinf([found.variance[0, 0], found.square_covariance[0, 0]]).all()
        assert np.isinf(found.kurtosis[0])
        assert found.square_correlation[0] == pytest.approx(1 / 3)
        assert not mean or found.mean_error[0, 0] == 0
        # Nothing comes from a point at 0.
        assert found.mean[1, 1] == found.mean[0, 1] == found.variance[1, 1] == 0
        assert found.kurtosis[1] == 3


@pytest.mark.parametrize("activation", ["erf", "tanh", "gelu", "relu"])
def test_moments_and_errors_at_small_variances(activation, key):
    """Where `φ` is a line the kurtosis is 3 (1 + 3/2); where it is ReLU or half a line, twice."""
    for scale in jnp.asarray([1e-3, 1e-5, 1e-7]):
        model = MoGP([priors.Gamma(2.0)], activation, weight_scale=[scale, 1.0])
        found = model.moments(ONE)
        expected = 12.0 if activation == "relu" else 7.5
        assert_close(found.kurtosis, [expected], 1e-2)
        error = model.kernel_draws(ONE, key=key, num_jumps=5).error
        assert np.all(np.isfinite(error) & (error > 0))


def test_variance_of_a_kernel_that_hardly_varies():
    """A large bias and small jumps: mean squares differ in the last digits alone."""
    model = MoGP([priors.Gamma(2.0)] * 2, weight_scale=1e-3, bias_scale=100.0)
    found = model.moments(ONE[:, :1])
    gain, by_two, by_four = 1e-6, 0.5, 1.5  # Gamma(2): total mass 2, second moment 2
    k, variance = 1e4 + 1e-6, 0.0
    for _ in range(2):
        variance = gain**2 * (2 * by_four * (variance + k**2) + (2 * by_two) ** 2 * variance)
        k = 1e4 + gain * 2 * by_two * k
    assert_close(found.variance[0, 0], variance, 1e-10)
