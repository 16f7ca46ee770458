"""Functions drawn from the limit: they agree with themselves, with draws, and with networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from scipy import stats

from mogp import MoGP, priors

X = np.array([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])
ONE = jnp.ones((1, 3))


def standard_error(draws):
    return np.std(draws, axis=0) / math.sqrt(len(draws))


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


@pytest.mark.statistical
def test_kernels_of_paths_have_the_law_of_dense_draws(key):
    model = MoGP([priors.Gamma(2.0), priors.Gamma(2.0)], bias_scale=0.5)
    x = jnp.asarray(X)
    draw = jax.jit(jax.vmap(lambda k: model.sample_path(2, key=k, num_jumps=20).kernel(x)))
    kernels = draw(jax.random.split(key, 500))
    exact = model.moments(x, key=jax.random.key(0), num_jumps=20)
    error = np.hypot(standard_error(kernels), exact.mean_error)
    assert np.all(np.abs(kernels.mean(0) - exact.mean) < 4 * error)
    dense = model.sample_kernel(x, key=key, num_samples=1000, num_jumps=20)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        assert stats.ks_2samp(kernels[:, i, j], dense[:, i, j]).pvalue > 1e-3


@pytest.mark.statistical
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


def test_a_path_refuses_points_of_another_size(path):
    for call in (path, path.kernel, path.variance, path.features):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
            call(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="vectors must have shape"):
        path.kernel_product(jnp.asarray(X), jnp.ones((2, 1)))
