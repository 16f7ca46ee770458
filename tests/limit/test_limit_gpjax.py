"""The kernels of the limit inside GPJax, which the tests need: it asks for jax below 0.11."""

import subprocess
import sys

import equinox as eqx
import gpjax as gpx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closeness import X64, assert_close
from oracles import needs_x64

from mogp import MoGP, limit, priors

X = jnp.asarray([[1.0, 2.0], [0.5, -1.0], [-3.0, 0.2]])
GP = MoGP([priors.Deterministic()] * 2, weight_scale=1.3, bias_scale=(0.1, 0.2, 0.0))
MIXED = MoGP([priors.Gamma(2.0), priors.Gamma(1.0)], bias_scale=0.5)


@pytest.fixture(scope="module")
def path():
    return MIXED.sample_path(2, key=jax.random.key(0), num_jumps=10, num_diffuse=16)


def dense(operator):
    return operator.as_matrix()


def test_gp_regime_kernel(key):
    kernel = GP.kernel()
    assert isinstance(kernel, gpx.kernels.AbstractKernel)
    expected = limit.gp_kernel(GP, X)
    assert_close(dense(kernel.gram(X)), expected, 1e-12)
    assert_close(kernel.cross_covariance(X, X[:2]), expected[:, :2], 1e-12)
    assert_close(kernel(X[0], X[1]), expected[0, 1], 1e-12)
    assert_close(dense(kernel.diagonal(X)), np.diag(np.diagonal(expected)), 1e-12)


def test_kernel_of_a_draw(path):
    kernel = MIXED.kernel(path)
    assert_close(dense(kernel.gram(X)), path.kernel(X), 1e-9)
    assert_close(kernel(X[0], X[2]), path.kernel(X)[0, 2], 1e-9)
    again = MIXED.kernel(key=jax.random.key(3), n_dims=2, num_jumps=5)
    assert dense(again.gram(X)).shape == (3, 3)


def test_equal_kernels_are_equal_trees(path):
    """So that what is compiled for one serves the other, whatever its scales."""
    traces = []

    @eqx.filter_jit
    def gram(kernel):
        traces.append(1)
        return dense(kernel.gram(X))

    for first, second in (
        [MoGP([priors.Deterministic()], bias_scale=b, weight_scale=b).kernel() for b in (1.0, 2.0)],
        [MIXED.kernel(path) for _ in range(2)],
        [MoGP([priors.GroupLasso(2.0)], "erf", bias_scale=1.0).kernel() for _ in range(2)],
        [GP.kernel(active_dims=[1, 0], n_dims=2) for _ in range(2)],
    ):
        assert jax.tree.structure(first) == jax.tree.structure(second)
        jax.tree.map(lambda a, _: a, first, second)
        del traces[:]
        gram(first), gram(second)
        assert len(traces) == 1
    different = [
        MoGP([priors.Deterministic()], a, bias_scale=1.0).kernel() for a in ("erf", "relu")
    ]
    assert jax.tree.structure(different[0]) != jax.tree.structure(different[1])


def test_sums_products_and_active_dims():
    kernel, other = GP.kernel(active_dims=[0, 1], n_dims=2), gpx.kernels.RBF()
    wide = jnp.concatenate([X, 7.0 * jnp.ones((3, 1))], 1)
    expected = limit.gp_kernel(GP, X)
    assert_close(dense(kernel.gram(wide)), expected, 1e-12)
    both = dense(other.gram(wide))
    assert_close(dense((kernel + other).gram(wide)), expected + both, 1e-12)
    assert_close(dense((kernel * other).gram(wide)), expected * both, 1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=needs_x64)])
def test_gradient_at_equal_inputs(dtype):
    """Where GPJax's own ArcCosine has an infinite or wrong slope."""
    kernel, x = GP.kernel(), jnp.asarray([0.3, -0.8], dtype)
    gradient = jax.grad(lambda a: kernel(a, x))(x)
    half = jax.grad(lambda a: kernel(a, a))(x) / 2
    np.testing.assert_allclose(gradient, half, rtol=1e-10 if dtype == jnp.float64 else 1e-4)


def data():
    x = jnp.linspace(-2, 2, 12)[:, None]
    return gpx.Dataset(X=x, y=jnp.sin(3 * x))


def posterior_of(kernel):
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Zero(), kernel=kernel)
    return prior * gpx.likelihoods.Gaussian(obs_stddev=0.1)


@needs_x64  # GPJax warns of data in single precision
@pytest.mark.parametrize("which", ["gp", "draw"])
def test_condition_and_likelihood(which):
    """Prediction and marginal likelihood against the formulas of Gaussian regression."""
    if which == "gp":
        kernel = GP.kernel()
    else:
        kernel = MIXED.kernel(key=jax.random.key(1), n_dims=1, num_jumps=10, num_diffuse=16)
    train, at = data(), jnp.asarray([[0.25], [1.7]])
    posterior = posterior_of(kernel)
    prediction = posterior.condition(train)(at)
    k = np.asarray(kernel.cross_covariance(train.X, train.X)) + 0.01 * np.eye(12)
    cross = np.asarray(kernel.cross_covariance(at, train.X))
    mean = cross @ np.linalg.solve(k, np.asarray(train.y))
    assert_close(np.ravel(prediction.mean), np.ravel(mean), 1e-4, 1e-4)
    y = np.ravel(train.y)
    logs = -(y @ np.linalg.solve(k, y) + np.linalg.slogdet(k)[1] + 12 * np.log(2 * np.pi)) / 2
    assert_close(gpx.objectives.conjugate_mll(posterior, train), logs, 1e-3)


@needs_x64  # GPJax warns of data in single precision
def test_fit_learns_the_scales_that_are_not_zero():
    """The zero bias stays zero, the marginal likelihood grows."""
    train = data()
    start = posterior_of(GP.kernel(n_dims=1))

    def negative(model, batch):
        return -gpx.objectives.conjugate_mll(model, batch)

    fitted, history = gpx.fit(
        model=start,
        objective=negative,
        train_data=train,
        optim=optax.adam(0.05),
        num_iters=60,
        verbose=False,
    )
    assert negative(fitted, train) < negative(start, train) - 1
    assert np.all(np.isfinite(history))
    kernel = fitted.prior.kernel
    assert kernel.bias_scales[-1] is None
    assert not np.allclose(
        gpx.parameters.val(kernel.weight_scales[0]), 1.3, rtol=1e-3 if X64 else 1e-2
    )


@needs_x64  # GPJax warns of data in single precision
def test_fit_leaves_the_draw_alone():
    train = data()
    kernel = MIXED.kernel(key=jax.random.key(1), n_dims=1, num_jumps=10, num_diffuse=16)
    fitted, history = gpx.fit(
        model=posterior_of(kernel),
        objective=lambda model, batch: -gpx.objectives.conjugate_mll(model, batch),
        train_data=train,
        optim=optax.adam(0.02),
        num_iters=20,
        verbose=False,
    )
    assert history[-1] < history[0]
    before, after = (jax.tree.leaves(k.arrays) for k in (kernel, fitted.prior.kernel))
    assert len(before) > 5
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_arguments(path):
    wide = jnp.ones((2, 3))
    for call, message in (
        (lambda: MIXED.kernel(), "is random, and Gamma"),
        (lambda: MIXED.kernel(key=jax.random.key(0)), "n_dims must be given"),
        (lambda: MIXED.kernel(path, n_dims=3), "n_dims must be 2"),
        (lambda: GP.kernel(active_dims=[]), "active_dims must name"),
        (lambda: MIXED.kernel(path).gram(wide), "must have 2 columns, got 3"),
        (lambda: GP.kernel(n_dims=2).cross_covariance(wide, wide), "must have 2 columns, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_library_works_without_gpjax():
    script = (
        "import sys; sys.modules['gpjax'] = None; import jax, jax.numpy as jnp\n"
        "from mogp import MoGP, priors\n"
        "model = MoGP([priors.Deterministic()])\n"
        "model.sample_prior(jnp.ones((1, 2)), key=jax.random.key(0))\n"
        "try: model.kernel()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bayesian-mogp[gpjax]" in done.stdout
