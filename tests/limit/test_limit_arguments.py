"""What the functions of the limit take, what they refuse, and what they compile."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from mogp import MoGP, limit, priors

GP = MoGP([priors.Deterministic()], bias_scale=0.5)
MODEL = MoGP([priors.Horseshoe()])
ROWS = [[1.0, 2.0], [0.5, -1.0]]
FEW = {"num_jumps": 3}


def test_lists_and_frames_are_arrays(key):
    path = MODEL.sample_path(2, key=key, num_jumps=3, num_diffuse=2)
    array = jnp.asarray(ROWS)
    others = (
        (ROWS, [True, False]),
        (pd.DataFrame(ROWS), pd.Series([1, 0])),
        (np.asarray(ROWS), np.asarray([1.0, 0.0])),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (
            lambda x, _: MODEL.sample_prior(x, key=key, **FEW),
            lambda x, _: MODEL.moments(x).variance,
            lambda x, _: GP.characteristic_function(x, [0.1, 0.2], key=key, num_samples=3),
            lambda x, y: GP.log_marginal_density(x, y, key=key, num_samples=2).value,
            lambda x, _: limit.gp_kernel(GP, x, x),
            lambda x, _: path(x),
            lambda x, y: GP.condition(x, y, noise_scale=1).predict(x).mean,
        ):
            expected = call(array, jnp.asarray([1.0, 0.0]))
            for x, y in others:
                np.testing.assert_allclose(call(x, y), expected, rtol=1e-5)
    assert MODEL.sample_prior([[1, 2], [3, 4]], key=key, **FEW).shape == (1, 2, 1)


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
        (lambda k: MODEL.sample_prior([["a"]], key=k), ValueError, "x must be floating point"),
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


@pytest.mark.parametrize("priors_of", [[priors.Bernoulli(2.0)], [priors.Horseshoe()] * 2], ids=repr)
def test_no_nan_in_the_making(priors_of, key):
    """Equal points, and a point at 0; what stops under `JAX_DEBUG_NANS=1` is a NaN somewhere."""
    x, y = jnp.asarray([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]), jnp.asarray([1.0, 0.0, 1.0])
    model = MoGP(priors_of)
    with jax.debug_nans(True):
        model.sample_prior(x, key=key, num_samples=2, **FEW)
        model.kernel_draws(x, key=key, num_samples=2, **FEW)
        model.moments(x, key=key, num_samples=3, **FEW)
        path = model.sample_path(2, key=key, num_diffuse=2, **FEW)
        for method in ("dense", "low_rank"):
            given = model.condition(x, y, path=path, noise_scale=0.1, method=method)
            given.log_marginal_likelihood()
            given.leave_one_out()
            given.predict(x)
