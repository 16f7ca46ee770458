"""Gaussian regression given a kernel, against SciPy, GPJax and brute force."""

import equinox as eqx
import gpjax as gpx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, limit, priors
from mogp.limit._linalg import cholesky, definite_cholesky, log_normal

GP = MoGP([priors.Deterministic()] * 2, weight_scale=1.3, bias_scale=0.4)
NOISE = 0.3
NEW = jnp.asarray([[0.3, -0.2], [2.0, 1.0]])
WHICH = pytest.mark.parametrize(
    ("which", "method"),
    [
        ("gp", "dense"),
        ("path", "dense"),
        ("path", "low_rank"),
        ("network", "dense"),
        ("network", "low_rank"),
    ],
)


@pytest.fixture(scope="module")
def data():
    by_x, by_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(by_x, (12, 2))
    return x, jnp.sin(2 * x) + 0.1 * jax.random.normal(by_y, (12, 2))


@pytest.fixture(scope="module")
def sources():
    """All jumps of the path are kept, so that its network has its kernel."""
    return {
        "gp": GP,
        "path": MoGP([priors.Bernoulli(6.0)], bias_scale=0.4).sample_path(
            2, key=jax.random.key(1), num_jumps=30, num_diffuse=2
        ),
        "network": MoGP(
            [priors.Gamma(2.0), priors.Horseshoe()], activation="tanh", bias_scale=(0.5, 0.4, 0.3)
        ).network(2, 3, (8, 7), key=jax.random.key(2)),
    }


def kernel_of(source, x, y=None):
    y = x if y is None else y
    if isinstance(source, MoGP):
        return np.asarray(limit.gp_kernel(source, x, y))
    if isinstance(source, limit.Path):
        return np.asarray(source.kernel(x, y))
    return np.asarray(source.design(x) @ source.design(y).T)


def noisy(kernel, noise=NOISE):
    return kernel + noise**2 * np.eye(len(kernel))


def log_likelihood(source, x, y, noise, method="dense"):
    regression = limit.condition(source, x, y, noise_scale=noise, method=method)
    return regression.log_marginal_likelihood()


# --- against SciPy and refits ---------------------------------------------------------------


def test_design_gives_the_outputs(sources):
    network, path = sources["network"], sources["path"]
    assert network.design(NEW).shape == (2, 8)
    for source in (network, path):
        last = jnp.concatenate([source.biases[-1][:, None], source.weights[-1]], 1)
        assert_close(source.design(NEW) @ last.T, source(NEW), 1e-10, 1e-12)
        assert isinstance(source, limit.Features)
    assert not isinstance(GP, limit.Features)


@WHICH
def test_likelihood_prediction_and_leave_one_out(which, method, data, sources):
    """The formulas, and refits without a point, by NumPy; draws by their moments."""
    source, (x, y) = sources[which], data
    regression = limit.condition(source, x, y, noise_scale=NOISE, method=method)
    assert isinstance(regression, limit.Regression)
    own, cross, new = kernel_of(source, x), kernel_of(source, NEW, x), kernel_of(source, NEW)
    law, columns = stats.multivariate_normal(np.zeros(12), noisy(own)), np.asarray(y)
    expected = sum(law.logpdf(column) for column in columns.T)
    assert_close(regression.log_marginal_likelihood(), expected, 1e-8)

    inverse = np.linalg.inv(noisy(own))
    mean, covariance = cross @ inverse @ columns, new - cross @ inverse @ cross.T
    predicted = regression.predict(NEW)
    assert_close(predicted.mean, mean, 1e-8, 1e-9)
    assert_close(predicted.variance, np.diag(covariance), 1e-8, 1e-9)

    left = regression.leave_one_out()
    for i in range(12):
        rest = np.arange(12) != i
        weights = np.linalg.solve(noisy(own[np.ix_(rest, rest)]), own[rest, i])
        at, variance = weights @ columns[rest], own[i, i] - weights @ own[rest, i] + NOISE**2
        assert_close(left.mean[i], at, 1e-8, 1e-9)
        assert_close(left.variance[i], variance, 1e-8)
        logs = stats.norm.logpdf(columns[i], at, np.sqrt(variance))
        assert_close(left.log_density[i], logs, 1e-7, 1e-9)

    num = 20_000
    draws = np.asarray(regression.sample(NEW, key=jax.random.key(2), num_samples=num))
    assert draws.shape == (num, 2, 2)
    errors = np.sqrt(np.diag(covariance) / num)[:, None]
    assert np.all(np.abs(draws.mean(0) - mean) < 4.5 * errors + 1e-6)
    # Isserlis: the variance of a sample covariance is (c_ii c_jj + c_ij²) / num.
    variances = np.diag(covariance)
    errors = np.sqrt((np.outer(variances, variances) + covariance**2) / num)
    for output in range(2):
        off = np.cov(draws[:, :, output].T) - covariance
        assert np.all(np.abs(off) < 4.5 * errors + 1e-6)


def test_one_observation_and_the_view_of_the_model(data, sources):
    path = sources["path"]
    x, y = data[0][:1], data[1][:1, 0]
    regressions = (
        path.model.condition(x, y, path=path, noise_scale=NOISE),
        path.model.condition(x, y, path=path, noise_scale=NOISE, method="low_rank"),
    )
    variance = kernel_of(path, x)[0, 0] + NOISE**2
    for regression in regressions:
        expected = stats.norm.logpdf(y[0], 0, np.sqrt(variance))
        assert_close(regression.log_marginal_likelihood(), expected, 1e-8)
        left = regression.leave_one_out()
        assert_close(left.mean, [[0.0]], 0, 1e-7)
        assert_close(left.variance, [variance], 1e-8)
    assert_close(
        GP.condition(x, y, noise_scale=NOISE).predict(x).variance,
        [NOISE**2 * (1 - NOISE**2 / (kernel_of(GP, x)[0, 0] + NOISE**2))],
        1e-8,
    )


@needs_x64
def test_gp_regime_equals_gpjax(data):
    x, y = data[0], data[1][:, :1]
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Zero(), kernel=GP.kernel(), jitter=1e-15)
    theirs = (prior * gpx.likelihoods.Gaussian(obs_stddev=NOISE)).condition(gpx.Dataset(X=x, y=y))
    ours = GP.condition(x, y, noise_scale=NOISE)
    assert_close(ours.log_marginal_likelihood(), theirs.log_marginal_likelihood, 1e-9)
    prediction, mine = theirs(NEW), ours.predict(NEW)
    assert_close(mine.mean[:, 0], prediction.mean, 1e-9, 1e-10)
    assert_close(mine.variance, prediction.variance, 1e-9, 1e-10)
    assert_close(jnp.sum(ours.leave_one_out().log_density), jnp.sum(theirs.loo()), 1e-9)


@needs_x64
def test_blocks_of_points(sources):
    """More points than a block: the same as with one block."""
    path = sources["path"]
    x = jax.random.normal(jax.random.key(3), (9000, 2))
    y = jnp.sin(x[:, 0])
    given = limit.condition(path, x, y, noise_scale=NOISE, method="low_rank")
    features = np.concatenate([np.full((9000, 1), 0.4), path.features(x)], 1)
    square = features.T @ features + NOISE**2 * np.eye(features.shape[1])
    weights = np.linalg.solve(square, features.T @ np.asarray(y))
    np.testing.assert_allclose(given.weights[:, 0], weights, rtol=1e-7, atol=1e-9)
    residual = np.asarray(y) - features @ weights
    quadratic = residual @ residual / NOISE**2 + weights @ weights
    log_det = np.linalg.slogdet(square)[1] + (9000 - len(square)) * np.log(NOISE**2)
    expected = -(quadratic + log_det + 9000 * np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(given.log_marginal_likelihood(), expected, rtol=1e-10)
    leverage = np.sum(features * np.linalg.solve(square, features.T).T, 1)
    left = given.leave_one_out()
    np.testing.assert_allclose(left.variance, NOISE**2 / (1 - leverage), rtol=1e-8)
    np.testing.assert_allclose(y - left.mean[:, 0], residual / (1 - leverage), rtol=1e-6, atol=1e-9)


# --- derivatives, transformations, precision ------------------------------------------------


def with_scale(source, scale):
    """The same, with another weight scale of all layers."""
    if isinstance(source, limit.Path):
        return eqx.tree_at(lambda p: p.model.weight_scale, source, scale)
    if isinstance(source, MoGP):
        return eqx.tree_at(lambda m: m.weight_scale, source, scale)
    return eqx.tree_at(
        lambda n: [layer.weight_scale for layer in (n.inputs, *n.layers)],
        source,
        [scale] * (1 + len(source.layers)),
    )


STEP = 1e-5
NOISES = jnp.array([0.2, 0.3, 0.5])


@eqx.filter_jit
def views(source, x, y, method):
    """Values, gradients and differences: all in one, since compiling is what takes time."""

    def f(point):  # noise, scale, and a shift of the points
        moved = with_scale(source, point[1])
        return log_likelihood(moved, x + point[None, 2:], y, point[0], method)

    def of_log(log_noise):
        return log_likelihood(source, x, y, jnp.exp(log_noise), method)

    point, steps = jnp.array([NOISE, 1.1, 0.05, -0.1]), STEP * jnp.eye(4)
    around = jax.vmap(f)(jnp.tile(point, (8, 1)) + jnp.concatenate([steps, -steps]))
    first = jax.grad(f)(point), (around[:4] - around[4:]) / (2 * STEP)
    slopes = jax.vmap(jax.grad(of_log))(jnp.array([-1.0, -1.0 + STEP, -1.0 - STEP]))
    second = jax.hessian(of_log)(-1.0), (slopes[1] - slopes[2]) / (2 * STEP)
    forward = jax.jacfwd(of_log)(-1.0), slopes[0]
    given = limit.condition(source, x, y, noise_scale=NOISE, method=method)
    draws = given.sample(NEW, key=jax.random.key(0), num_samples=2)
    many = jax.vmap(lambda noise: log_likelihood(source, x, y, noise, method))(NOISES)
    return first, second, forward, many, (given.predict(NEW), given.leave_one_out(), draws)


@WHICH
def test_derivatives_jit_and_vmap(which, method, data, sources):
    """The closed form of the gradient is right, and can itself be differentiated both ways."""
    source, (x, y) = sources[which], data
    first, second, forward, many, compiled = views(source, x, y, method)
    if X64:
        assert_close(*first, 1e-5, 1e-6)
        assert_close(first[0][:2], first[1][:2], 1e-6)
        assert_close(*second, 1e-6)
        assert_close(*forward, 1e-9)
    loop = [log_likelihood(source, x, y, noise, method) for noise in NOISES]
    assert_close(many, loop, 1e-10)
    given = limit.condition(source, x, y, noise_scale=NOISE, method=method)
    draws = given.sample(NEW, key=jax.random.key(0), num_samples=2)
    eager = given.predict(NEW), given.leave_one_out(), draws
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-8, 1e-9), compiled, eager)


@needs_x64
def test_derivative_of_the_factor():
    a = jax.random.normal(jax.random.key(0), (6, 6))
    kernel, change = a @ a.T + jnp.eye(6), a + a.T
    for factor in (cholesky, definite_cholesky):
        _, ours = jax.jvp(factor, (kernel,), (change,))
        _, expected = jax.jvp(jnp.linalg.cholesky, (kernel,), (change,))
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10)
    y = a[:, :2]
    law = stats.multivariate_normal(np.zeros(6), kernel)
    value = log_normal(y, kernel, definite_cholesky(kernel))
    np.testing.assert_allclose(value, law.logpdf(np.asarray(y).T).sum(), rtol=1e-12)


def test_gradient_of_a_network(data, sources):
    """Hidden weights and node variances may be learnt with the last layer integrated out."""
    network = sources["network"]
    gradient = eqx.filter_jit(
        eqx.filter_grad(lambda n: log_likelihood(n, *data, NOISE, "low_rank"))
    )(network)
    assert np.all(np.asarray(gradient.weights[-1]) == 0)
    for leaf in (gradient.weights[0], gradient.log_variances[1]):
        assert np.all(np.isfinite(leaf))
        assert np.any(np.asarray(leaf) != 0)


def test_vmap_over_draws_of_the_mixture(data):
    model, (x, y) = MoGP([priors.Horseshoe()], bias_scale=0.4), data

    def of_draw(key):
        path = model.sample_path(2, key=key, num_jumps=5, num_diffuse=1)
        return log_likelihood(path, x, y, NOISE)

    keys = jax.random.split(jax.random.key(4), 3)
    assert_close(jax.vmap(of_draw)(keys), [of_draw(key) for key in keys], 1e-8)


@WHICH
def test_single_precision(which, method, data, sources):
    """Float32 in, float32 out; noise far below the rounding of the kernel is no NaN."""
    source = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, sources[which]
    )
    x, y = (a.astype(jnp.float32) for a in data)
    given = limit.condition(source, x, y, noise_scale=NOISE, method=method)
    double = limit.condition(sources[which], *data, noise_scale=NOISE, method=method)
    value = given.log_marginal_likelihood()
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, double.log_marginal_likelihood(), rtol=1e-4)
    ours, theirs = given.predict(NEW.astype(jnp.float32)), double.predict(NEW)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-3, atol=1e-4)

    twice = jnp.concatenate([x, x]), jnp.concatenate([y, y])

    @jax.jit
    def views(noise):
        regression = limit.condition(source, *twice, noise_scale=noise, method=method)
        slope = jax.grad(lambda noise: log_likelihood(source, *twice, noise, method))(noise)
        return regression.log_marginal_likelihood(), regression.predict(x).mean, slope

    for tiny in (1e-2, 1e-4, 1e-6):
        assert all(np.all(np.isfinite(value)) for value in views(jnp.float32(tiny)))


@pytest.mark.skipif(not X64, reason="mixed precision needs float64")
def test_single_precision_data_and_a_double_precision_draw(data, sources):
    x, y = (a.astype(jnp.float32) for a in data)
    for method in ("dense", "low_rank"):
        given = limit.condition(sources["path"], x, y, noise_scale=NOISE, method=method)
        assert given.predict(x).mean.dtype == jnp.float64


# --- bad input ------------------------------------------------------------------------------


def test_bad_arguments(data, sources):
    x, y = data
    path = sources["path"]
    bad = y.at[3, 0].set(jnp.nan).at[7].set(jnp.inf)
    wide = jnp.zeros((1_000_000, 1))
    given = limit.condition(GP, x, y, noise_scale=1.0)
    for call, message in (
        (lambda: limit.condition(GP, x, y[:5], noise_scale=1.0), r"y must have shape \(12,\)"),
        (lambda: limit.condition(GP, x, bad, noise_scale=1.0), "y must be .* 2 of 12 rows: 3, 7"),
        (lambda: limit.condition(GP, bad, y, noise_scale=1.0), "x must be .* 2 of 12 rows: 3, 7"),
        (lambda: limit.condition(GP, x, y, noise_scale=0.0), "noise_scale must be"),
        (lambda: limit.condition(GP, x, y, noise_scale=jnp.ones(12)), "must be one number"),
        (lambda: limit.condition(GP, x, y, noise_scale=1.0, method="fast"), "method must be"),
        (lambda: limit.condition(GP, x, y, noise_scale=1.0, method="low_rank"), "source must have"),
        (lambda: limit.condition(path.model, x, y, noise_scale=1.0), "is random, and Bernoulli"),
        (lambda: limit.condition(path, x[:, :1], y, noise_scale=1.0), r"x must have shape \(n, 2"),
        (lambda: given.predict(x[:, :1]), r"x must have shape \(n, 2"),
        (lambda: given.sample(x, key=jax.random.key(0), num_samples=0), "num_samples must be"),
        (
            lambda: limit.condition(GP, wide, wide, noise_scale=1.0),
            r'would take (7450.6|14901.2) GiB, .* method="low_rank"',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_network_in_a_user_class(data):
    """Any object with `design` and `in_size` will do."""

    class Polynomial(eqx.Module):
        in_size: int = 2

        def design(self, x):
            return jnp.concatenate([jnp.ones_like(x[:, :1]), x, x**2], 1)

    dense, low = (log_likelihood(Polynomial(), *data, NOISE, m) for m in ("dense", "low_rank"))
    assert_close(low, dense, 1e-9)
    assert isinstance(MoGP([priors.Horseshoe()]).network(1, 1, 2, key=jax.random.key(0)),
                      limit.Features)  # fmt: skip
