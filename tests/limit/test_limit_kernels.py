"""The GP regime: kernels against neural-tangents, mpmath and their own symmetries."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from closeness import X64, assert_close
from oracles import needs_x64

from mogp import MoGP, limit, priors

GP = priors.Deterministic()
X = np.array([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])


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


@pytest.mark.parametrize(
    ("activation", "mean"),
    [("relu", relu_mean), ("erf", erf_mean), ("leaky_relu", leaky_mean)],
    ids=["relu", "erf", "leaky_relu"],
)
def test_gp_kernel(activation, mean):
    """Equal, opposite and nearly equal points among the others; depths 1, 3 and 10; each dtype."""
    points = np.array([[1, 2], [1, 2], [-1, -2], [0.5, -1], [1, 2.001]], np.float32)
    depths, dtypes = (1, 3, 10), (jnp.float32, jnp.float64)[: 1 + X64]

    @jax.jit
    def values(inputs):
        models = [
            MoGP([GP] * depth, activation, weight_scale=1.4, bias_scale=0.3) for depth in depths
        ]
        return [[(limit.gp_kernel(m, x), limit.gp_variance(m, x)) for x in inputs] for m in models]

    found = values([jnp.asarray(points, dtype) for dtype in dtypes])
    for depth, of_depth in zip(depths, found, strict=True):
        expected = nngp(mean, points, depth, 1.4, 0.3)
        for dtype, (kernel, variance) in zip(dtypes, of_depth, strict=True):
            tolerance = 1e-12 if dtype == jnp.float64 else 1e-5
            assert kernel.dtype == dtype
            np.testing.assert_allclose(kernel, expected, rtol=tolerance)
            np.testing.assert_allclose(variance, np.diag(expected), rtol=tolerance)
            np.testing.assert_array_equal(kernel, kernel.T)


@pytest.mark.parametrize("activation", ["relu", "erf", "leaky_relu", "tanh"])
def test_gradients_at_equal_inputs(activation):
    """By symmetry `∂K(x, y)/∂x` at `y = x` is half the gradient of the variance."""
    model = MoGP([GP, GP], activation, weight_scale=1.4, bias_scale=0.3)

    @jax.jit
    def slopes(x):
        by_pair = jax.grad(lambda a: limit.gp_kernel(model, a, x)[0, 0])(x)
        by_variance = jax.grad(lambda a: limit.gp_variance(model, a)[0])(x)
        twice = jnp.concatenate([x, x])
        return by_pair, by_variance, jax.grad(lambda a: jnp.sum(limit.gp_kernel(model, a)))(twice)

    for dtype in (jnp.float32, jnp.float64)[: 1 + X64]:
        by_pair, by_variance, rows = slopes(jnp.asarray([[1.0, -0.7, 2.0]], dtype))
        tolerance = 1e-10 if dtype == jnp.float64 else 1e-3
        np.testing.assert_allclose(by_pair, by_variance / 2, rtol=tolerance)
        np.testing.assert_allclose(rows, np.tile(2 * by_variance, (2, 1)), rtol=tolerance)


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
    draws = limit.kernel_draws(model, x, key=key, num_samples=2)
    assert_close(draws.kernels, np.broadcast_to(limit.gp_kernel(model, x), (2, 3, 3)), 1e-12)
    np.testing.assert_array_equal(draws.error, 0)
