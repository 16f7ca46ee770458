"""Gaussian regression given a kernel, against SciPy and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, limit, priors

GP = MoGP([priors.Deterministic()] * 2, weight_scale=1.3, bias_scale=0.4)
NOISE = 0.3


@pytest.fixture(scope="module")
def data():
    by_x, by_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(by_x, (12, 2))
    return x, jnp.sin(2 * x) + 0.1 * jax.random.normal(by_y, (12, 2))


@pytest.fixture(scope="module")
def path():
    """All jumps are kept, so that the network of the path has the kernel of the path."""
    return MoGP([priors.Bernoulli(6.0)], bias_scale=0.4).sample_path(
        2, key=jax.random.key(1), num_jumps=30, num_diffuse=2
    )


def given(which, data, path):
    x, y = data
    if which == "gp":
        return limit.condition(GP, x, y, noise_scale=NOISE), limit.gp_kernel(GP, x)
    regression = limit.condition(path.model, x, y, noise_scale=NOISE, path=path, method=which)
    return regression, path.kernel(x)


WHICH = pytest.mark.parametrize("which", ["gp", "dense", "low_rank"])


@WHICH
def test_log_marginal_likelihood(which, data, path):
    regression, kernel = given(which, data, path)
    law = stats.multivariate_normal(np.zeros(12), np.asarray(kernel) + NOISE**2 * np.eye(12))
    expected = sum(law.logpdf(column) for column in np.asarray(data[1]).T)
    assert_close(regression.log_marginal_likelihood(), expected, 1e-8)


@WHICH
def test_prediction(which, data, path):
    regression, kernel = given(which, data, path)
    new = jnp.asarray([[0.3, -0.2], [2.0, 1.0]])
    if which == "gp":
        cross, own = limit.gp_kernel(GP, new, data[0]), limit.gp_kernel(GP, new)
    else:
        cross, own = path.kernel(new, data[0]), path.kernel(new)
    inverse = np.linalg.inv(np.asarray(kernel) + NOISE**2 * np.eye(12))
    mean = np.asarray(cross) @ inverse @ np.asarray(data[1])
    covariance = np.asarray(own) - np.asarray(cross) @ inverse @ np.asarray(cross).T
    predicted = regression.predict(new)
    assert_close(predicted.mean, mean, 1e-8, 1e-9)
    assert_close(predicted.variance, np.diag(covariance), 1e-8, 1e-9)
    draws = regression.sample(new, key=jax.random.key(2), num_samples=20_000)
    assert draws.shape == (20_000, 2, 2)
    spread = np.sqrt(np.diag(covariance))[:, None]
    assert np.all(np.abs(draws.mean(0) - mean) < 4 * spread / np.sqrt(20_000) + 1e-6)
    for output in range(2):
        assert_close(np.cov(draws[:, :, output].T), covariance, 0.05, 3e-3)


@WHICH
def test_leave_one_out_equals_refits(which, data, path):
    regression, _ = given(which, data, path)
    left = regression.leave_one_out()
    for i in (0, 5, 11):
        rest = jax.tree.map(lambda a, i=i: jnp.delete(a, i, axis=0), data)
        refit = given(which, rest, path)[0].predict(data[0][i : i + 1])
        variance = refit.variance[0] + NOISE**2
        assert_close(left.mean[i], refit.mean[0], 1e-7, 1e-8)
        assert_close(left.variance[i], variance, 1e-7)
        expected = stats.norm.logpdf(data[1][i], refit.mean[0], np.sqrt(variance))
        assert_close(left.log_density[i], expected, 1e-6)


@needs_x64
def test_blocks_of_points(path):
    """More points than a block: the same as with one block, in any order."""
    x = jax.random.normal(jax.random.key(3), (9000, 2))
    y = jnp.sin(x[:, 0])
    whole = limit.condition(path.model, x, y, noise_scale=NOISE, path=path, method="low_rank")
    features = np.concatenate([np.full((9000, 1), 0.4), path.features(x)], 1)
    square = features.T @ features + NOISE**2 * np.eye(features.shape[1])
    weights = np.linalg.solve(square, features.T @ np.asarray(y))
    np.testing.assert_allclose(whole.weights[:, 0], weights, rtol=1e-7, atol=1e-9)
    residual = np.asarray(y) - features @ weights
    quadratic = residual @ residual / NOISE**2 + weights @ weights
    log_det = np.linalg.slogdet(square)[1] + (9000 - len(square)) * np.log(NOISE**2)
    expected = -(quadratic + log_det + 9000 * np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(whole.log_marginal_likelihood(), expected, rtol=1e-10)


def test_bad_arguments(data, path):
    x, y = data
    bad = y.at[3, 0].set(jnp.nan)
    for call, message in (
        (lambda: limit.condition(GP, x, y[:5], noise_scale=1.0), "y must have shape"),
        (lambda: limit.condition(GP, x, bad, noise_scale=1.0), r"rows \[3\]"),
        (lambda: limit.condition(GP, x, y, noise_scale=0.0), "noise_scale must be"),
        (lambda: limit.condition(GP, x, y, noise_scale=1.0, method="fast"), "method must be"),
        (lambda: limit.condition(GP, x, y, noise_scale=1.0, method="low_rank"), "path must be"),
        (lambda: limit.condition(path.model, x, y, noise_scale=1.0), "is random, and Bernoulli"),
        (
            lambda: limit.condition(path.model, x[:, :1], y, noise_scale=1.0, path=path),
            r"x must have shape \(n, 2\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
