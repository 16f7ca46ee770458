"""What the functions of the limit take, what they refuse, and what they compile."""

import re
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from mogp import MoGP, limit, priors
from mogp._arrays import as_inputs, as_outputs

GP = MoGP([priors.Deterministic()], bias_scale=0.5)
MODEL = MoGP([priors.Horseshoe()])
ROWS = [[1.0, 2.0], [0.5, -1.0]]
FEW = {"num_jumps": 3}


def test_lists_and_frames_are_arrays(key):
    """Of numbers; and every function of points converts what it is given."""
    x, y = jnp.asarray(ROWS), jnp.asarray([[1.0], [0.0]])
    path = MODEL.sample_path(2, key=key, num_jumps=3, num_diffuse=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for points in (ROWS, pd.DataFrame(ROWS), np.asarray(ROWS), [[1, 2], [0.5, -1]], x):
            np.testing.assert_array_equal(as_inputs("x", points), x)
        for targets in ([True, False], [1, 0], pd.Series([1, 0]), pd.DataFrame([[1], [0.0]]), y):
            np.testing.assert_array_equal(as_outputs("y", targets, 2, x.dtype), y)
        assert MODEL.sample_prior([[1, 2], [3, 4]], key=key, **FEW).shape == (1, 2, 1)
    assert as_inputs("x", [[1, 2]]).dtype == x.dtype
    words = [["a", "b"]]
    for call in (
        lambda: MODEL.sample_prior(words, key=key),
        lambda: MODEL.kernel_draws(words, key=key),
        lambda: MODEL.moments(words),
        lambda: GP.characteristic_function(words, 0.1),
        lambda: GP.log_marginal_density(words, [1.0], key=key),
        lambda: GP.log_marginal_density(ROWS, ["a", "b"], key=key),
        lambda: limit.gp_kernel(GP, words),
        lambda: limit.gp_kernel(GP, ROWS, words),
        lambda: limit.gp_variance(GP, words),
        lambda: path(words),
        lambda: path.kernel(ROWS, words),
        lambda: path.variance(words),
        lambda: GP.condition(words, [1.0], noise_scale=1),
        lambda: GP.condition(ROWS, ["a", "b"], noise_scale=1),
    ):
        with pytest.raises(ValueError, match=r"[xy] must be an array of numbers"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda k: MODEL.sample_prior(ROWS, k), TypeError, r"by name, such as key=jax\.random"),
        (lambda k: MODEL.sample_path(2, k), TypeError, "model, in_size by position"),
        (lambda _: MODEL.sample_prior(ROWS, key=0), ValueError, r"use jax\.random\.key\(0\)"),
        (lambda _: MODEL.kernel_draws(ROWS, key=7), ValueError, r"use jax\.random\.key\(7\)"),
        (lambda _: MODEL.sample_path(2, key=None), ValueError, "key must be a random key"),
        (lambda k: MODEL.moments(ROWS, key=jax.random.split(k)), ValueError, "one random key"),
        (lambda k: MODEL.sample_prior([ROWS], key=k), ValueError, r"got \(1, 2, 2\)"),
        (lambda k: MODEL.sample_prior(np.ones((2, 2), complex), key=k), ValueError, "complex128"),
        (lambda k: MODEL.sample_prior([["a"]], key=k), ValueError, "x must be an array of numbers"),
        (lambda _: MODEL.condition(ROWS, [1.0, 2.0], noise_scale=0.1), ValueError, "inference.nu"),
        (lambda _: MODEL.condition(ROWS, [1.0, 2.0], noise_scale=0.1), ValueError, "path=model"),
        (lambda _: GP.condition(ROWS, [1j, 2.0], noise_scale=0.1), ValueError, "real numbers"),
        (
            lambda _: GP.condition(ROWS, [1.0], noise_scale=0.1),
            ValueError,
            r"y must have shape \(2",
        ),
        (lambda _: GP.condition(ROWS, [[[1.0]], [[2.0]]], noise_scale=0.1), ValueError, "y must h"),
        (lambda _: GP.condition(ROWS, [1.0, 2.0], noise_scale=1j), ValueError, "noise_scale must"),
        (lambda _: GP.characteristic_function(ROWS[:1], 1j), ValueError, "t must be real"),
        (lambda _: MoGP([priors.Gamma(1.0)], weight_scale=np.ones(3)), ValueError, "weight_scale"),
        (lambda _: MoGP([priors.Gamma(1.0)], bias_scale=np.ones((2, 2))), ValueError, "bias_scale"),
        (lambda _: MoGP([priors.Gamma(1.0)], weight_scale="wide"), ValueError, "weight_scale"),
        (lambda k: MODEL.sample_prior(ROWS, key=k, num_samples=True), ValueError, "num_samples"),
    ],
)
def test_mistakes_are_named(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)


def test_one_scale_for_each_layer_may_be_an_array():
    given = MoGP([priors.Gamma(1.0)], weight_scale=np.array([1.0, 2.0])).scales
    assert [(float(v), b) for v, b in given] == [(1.0, 0.0), (2.0, 0.0)]
    assert MoGP([priors.Gamma(1.0)], weight_scale=np.float64(2.0)).scales == [(2.0, 0.0)] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda x, k: MODEL.sample_kernel(x, key=k, num_samples=10**9, num_jumps=1),
        lambda x, k: MODEL.sample_prior(
            x, key=k, num_samples=10**9, num_outputs=10**4, num_jumps=1
        ),
        lambda x, k: MODEL.sample_prior(x, key=k, num_jumps=10**12),
        lambda _, k: MODEL.sample_path(2, key=k, num_jumps=10**12),
        lambda _, k: MODEL.sample_path(2, key=k, num_diffuse=10**12, num_jumps=1),
        lambda x, _: MODEL.moments(x),
        lambda x, k: MODEL.log_marginal_density(x, x[:, 0], key=k, num_samples=10**9, num_jumps=1),
        lambda x, _: limit.gp_kernel(GP, x),
        lambda x, _: limit.gp_kernel(GP, x, x[:-1]),
        lambda x, _: GP.condition(x, x, noise_scale=1.0),
        lambda x, k: GP.characteristic_function(x[:2], x[:2].T, key=k, num_samples=10**13),
    ],
)
def test_sizes_are_said_before_allocating(call, key):
    with pytest.raises(ValueError, match=r"would take .* GiB, more than the memory of .*: use"):
        call(np.zeros((2_000_000, 1)), key)


def test_results_print_shapes(key):
    path = MODEL.sample_path(2, key=key, num_jumps=3, num_diffuse=2)
    given = GP.condition(ROWS, [1.0, 0.0], noise_scale=0.1)
    for result in (
        MODEL.moments(ROWS),
        MODEL.kernel_draws(ROWS, key=key, **FEW),
        given.predict(ROWS),
        given.leave_one_out(),
        given,
        path,
        path.jumps[0],
    ):
        assert type(result).__name__ in repr(result)
        assert re.search(r"\[\d", repr(result))
        assert "\n  [" not in repr(result)
        assert "Array(" not in repr(result)


def test_numbers_that_differ_compile_once(caplog, key):
    def run(scale, noise):
        model = MoGP([priors.Deterministic()], weight_scale=scale, bias_scale=scale)
        model.condition(ROWS, [1.0, 0.0], noise_scale=noise).log_marginal_likelihood()
        MoGP([priors.Horseshoe()], bias_scale=scale).sample_prior(ROWS, key=key, **FEW)

    run(1.0, 0.1)
    run(1.5, 0.2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run(2.5, 0.3)
    assert not [m for m in caplog.messages if m.startswith("Compiling")]


def test_no_nan_in_the_making(key):
    """Equal points, and a point at 0; what stops under `JAX_DEBUG_NANS=1` is a NaN somewhere.

    A layer of few jumps has none in some draws, and is 0 then.
    """
    x, y = jnp.asarray([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]), jnp.asarray([1.0, 0.0, 1.0])
    few, many = priors.Bernoulli(2.0), priors.Horseshoe()
    found = []
    with jax.debug_nans(True):
        for model in (MoGP([few, many]), MoGP([many, few])):  # which share what is compiled
            found += [
                model.sample_prior(x, key=key, num_samples=9, **FEW),
                model.kernel_draws(x, key=key, num_samples=9, **FEW),
            ]
        found.append(MoGP([few, few]).moments(x, key=key, num_samples=3, **FEW))
        path = model.sample_path(2, key=key, num_diffuse=2, **FEW)
        for method in ("dense", "low_rank"):
            given = model.condition(x, y, path=path, noise_scale=0.1, method=method)
            found += [given, given.leave_one_out(), given.predict(x)]
            found.append(given.log_marginal_likelihood())
    arrays = jax.tree.leaves(eqx.filter(found, eqx.is_inexact_array))
    assert len(arrays) > 30
    assert all(bool(jnp.all(jnp.isfinite(array))) for array in arrays)
