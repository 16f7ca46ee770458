"""Variances of the inputs in the limit: kernels, moments, paths, tails."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close

from mogp import MoGP, limit, priors

X = np.array([[1.0, 2.0, -0.5], [0.5, -1.0, 0.0], [-3.0, 0.2, 1.0]])
NODES = priors.Gamma(2.0)
INPUTS = priors.Gamma(3.0)


def model(activation="relu", groups=None, **options):
    return MoGP([NODES], activation, 1.3, 0.4, input_prior=INPUTS, input_groups=groups, **options)


def test_equal_variances_are_the_model_without_an_input_prior(key):
    plain = MoGP([priors.Horseshoe()], bias_scale=0.5)
    equal = MoGP([priors.Horseshoe()], bias_scale=0.5, input_prior=priors.Deterministic())
    draws = [
        m.sample_kernel(X, key=key, num_samples=3, num_jumps=5) for m in (plain, equal)
    ]  # fmt: skip
    np.testing.assert_array_equal(*draws)
    assert_close(equal.sample_path(3, key=key, num_jumps=5)(X),
                 plain.sample_path(3, key=key, num_jumps=5)(X), rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize("groups", [None, [0, 0, 1]])
def test_a_path_is_the_path_of_weighted_points(groups, key):
    path = model(groups=groups).sample_path(3, key=key, num_jumps=6)
    variances = np.asarray(path.input_variances)
    assert (len(set(variances.tolist())) == 3) == (groups is None)
    assert groups is None or variances[0] == variances[1]
    first, *_ = path.weights
    bias, *_ = path.biases
    nodes = 1.3 * (X * np.sqrt(variances)) @ np.asarray(first).T + 0.4 * np.asarray(bias)
    jumps = path.jumps[0]
    root = np.sqrt(
        np.concatenate([jumps.sizes, np.full(path.num_diffuse, jumps.diffuse / path.num_diffuse)])
    )
    assert_close(path.features(X), np.maximum(nodes, 0) * root, rtol=1e-10)
    # The kernel: jumps as they are, and the diffuse part in closed form on the weighted points.
    kept = (np.maximum(nodes, 0) * root)[:, : len(jumps.sizes)]
    without = MoGP([priors.Deterministic()], "relu", 1.3, 0.4)
    smooth = limit.gp_kernel(without, X * np.sqrt(3 * variances)) - 0.4**2
    wanted = 0.4**2 + 1.3**2 * kept @ kept.T + smooth * float(jumps.diffuse)
    assert_close(path.kernel(X), wanted, rtol=1e-8)
    assert_close(path.kernel(X, X[:2]), wanted[:, :2], rtol=1e-8)
    assert_close(path.variance(X), np.diag(wanted), rtol=1e-8)
    assert_close(path.kernel_product(X, jnp.eye(3)), wanted, rtol=1e-8)


def test_moments_are_those_of_draws_and_of_the_closed_form(key):
    """`E Σ(x, x)` is linear in `E λ⁰ = 1/d` and `M` for ReLU; covariances from brute force."""
    found = model().moments(X, key=key, num_samples=4000)
    # λ⁰ has the mean of the prior at this width, and Gamma(2) has the total mass 2.
    mean = float(INPUTS.at_width(3).mean)
    wanted = 0.4**2 + 1.3**2 * 2.0 * (0.4**2 + 1.3**2 * mean * (X**2).sum(1)) / 2
    off = np.abs(np.diagonal(found.mean) - wanted)
    assert (off < 4 * np.diagonal(found.mean_error)).all()
    assert (np.diagonal(found.mean_error) < 0.03 * wanted).all()
    draws = model().sample_kernel(X, key=jax.random.key(5), num_samples=4000, num_jumps=30)
    error = np.hypot(found.mean_error, np.std(draws, 0) / math.sqrt(4000))
    assert (np.abs(found.mean - draws.mean(0)) < 4 * error).all()
    with pytest.raises(ValueError, match="or the inputs have a prior"):
        model().moments(X)


@pytest.mark.parametrize(
    ("activation", "inputs", "index", "infinite"),
    [
        ("relu", priors.Horseshoe(), 0.5, True),
        ("relu", priors.GBFRY(alpha=0.5, tau=1.5), 1.5, True),
        ("relu", priors.Gamma(1.0), math.inf, False),
        ("erf", priors.Horseshoe(), math.inf, False),
    ],
)
def test_tails_of_the_inputs_pass_through_the_activation(activation, inputs, index, infinite, key):
    heavy = MoGP([NODES], activation, input_prior=inputs)
    assert heavy.tail_index() == index
    found = heavy.moments(X, key=key, num_samples=50, num_jumps=5)
    assert np.isinf(found.kurtosis).all() == infinite
    assert np.isinf(found.mean).all() == (index < 1)


def test_what_has_no_closed_form_is_refused(key):
    one = jnp.ones((1, 3))
    for call in (
        lambda: model().characteristic_function(one, 1.0),
        lambda: limit.gp_kernel(MoGP([priors.Deterministic()], input_prior=INPUTS), one),
    ):
        with pytest.raises(ValueError, match="the inputs have random variances"):
            call()
    with pytest.raises(ValueError, match="input_groups must have one number for each of 2 inputs"):
        model(groups=[0, 0, 1]).sample_path(2, key=key, num_jumps=3)
    with pytest.raises(ValueError, match="input_groups must number all groups"):
        model(groups=[0, 2])
    with pytest.raises(ValueError, match="input_groups needs an input_prior"):
        MoGP([NODES], input_groups=[0, 1])
    with pytest.raises(ValueError, match="input_prior must be a prior"):
        MoGP([NODES], input_prior="horseshoe")


def test_draws_are_compiled_and_differentiated(key):
    def size(scale):
        return jnp.sum(model(groups=[0, 0, 1]).sample_path(3, key=key, num_jumps=4)(scale * X))

    slope = jax.grad(size)(1.0)
    step = 1e-4
    assert_close(slope, (size(1 + step) - size(1 - step)) / (2 * step), rtol=1e-5)
    assert_close(jax.jit(size)(1.0), size(1.0), rtol=1e-10)
