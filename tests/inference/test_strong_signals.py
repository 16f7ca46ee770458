"""Signals almost without noise, at any scale, in single precision: chains that move, or say so."""

import warnings

import arviz_stats
import jax
import numpy as np
import pytest
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, priors
from mogp.inference.nuts import _nuts
from mogp.inference.nuts._nuts import standing
from mogp.inference.nuts._setup import setup_of

RNG = np.random.default_rng(0)
X = np.linspace(-2, 2, 50).astype(np.float32)[:, None]
LINE = 1.5 * X[:, 0]
Y = LINE + 0.01 * LINE.std() * RNG.normal(size=50)  # R² = .9999
MODEL = MoGP([priors.Horseshoe()], bias_scale=1.0)
SHORT = {"num_jumps": 3, "num_diffuse": 1, "num_warmup": 150, "num_samples": 30, "num_chains": 2}


def posterior_of(y, likelihood, model=MODEL, **change):
    options = SHORT | {"max_tree_depth": 6, "progress": False} | change
    with jax.enable_x64(False):
        return inference.nuts(model, X, y, key=jax.random.key(0), likelihood=likelihood, **options)


def assert_moves(posterior):
    assert posterior.attrs["stuck_chains"] == []
    assert np.min(posterior.statistics["step_size"]) > 1e-4
    assert np.ptp(posterior.statistics["energy"], axis=1).min() > 0.1


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.filterwarnings("ignore:y has a standard deviation")
def test_a_line_without_noise(scale):
    """The noise of the data is found, in units of the prior where that can be: to a factor 1.5."""
    y = (scale * Y).astype(np.float32)
    posterior = posterior_of(y, "gaussian")
    assert_moves(posterior)
    error = np.asarray(posterior.predict(X).mean())[:, 0] - y
    assert np.sqrt(np.mean(error**2)) < 0.02 * y.std()
    assert posterior.sources.jumps[0].sizes.dtype == np.float32
    if scale == 1:
        noise = np.asarray(posterior.parameters["noise_scale"])
        assert 1 / 1.5 < noise.mean() / (0.01 * LINE.std()) < 1.5
        assert 0.05 < noise.std() / noise.mean() < 0.3  # 1 / √(2 n) is 0.1


def test_a_scale_far_above_that_of_the_prior_is_told():
    """Then the line is next to impossible under the prior, and chains may stand still."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        posterior_of((1e6 * Y).astype(np.float32), "gaussian")
    assert any("y has a standard deviation" in str(each.message) for each in told)


def test_outliers_of_a_line_without_noise():
    y = Y.astype(np.float32)
    y[20] += 1
    posterior = posterior_of(
        y, "student_t", MoGP([priors.Deterministic()], bias_scale=1.0), width=5
    )
    assert_moves(posterior)
    error = np.delete(np.asarray(posterior.predict(X).mean())[:, 0] - y, 20)
    assert np.sqrt(np.mean(error**2)) < 0.05 * y.std()


@pytest.mark.parametrize("size", [20_000, 2])
def test_counts_of_any_size(size):
    y = RNG.poisson(size * np.exp(0.3 * X[:, 0]))
    posterior = posterior_of(
        y, "poisson", MoGP([priors.Deterministic()], bias_scale=1.0), width=5, num_samples=100
    )
    assert_moves(posterior)
    mean = np.asarray(posterior.predict(X).mean())[:, 0]
    expected = size * np.exp(0.3 * X[:, 0])
    np.testing.assert_allclose(mean, expected, rtol=0.02 if size > 100 else 0.7)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_classes_that_a_line_separates(likelihood):
    y = (X[:, 0] > 0.1).astype(int)
    posterior = posterior_of(y, likelihood, MoGP([priors.Deterministic()], bias_scale=1.0), width=5)
    assert_moves(posterior)
    assert posterior.evaluate(X, y)["accuracy"] > 0.95


# --- what is left is told ------------------------------------------------------------------------


def test_a_run_in_which_nothing_moves_is_an_error():
    """Noise far below the rounding of outputs in single precision."""
    with pytest.raises(
        FloatingPointError, match=r"(all chains of NUTS do not move|found no start)"
    ):
        posterior_of(
            Y.astype(np.float32), inference.StudentT(noise_scale=1e-12, df=1e6),
            MoGP([priors.Deterministic()], bias_scale=1.0), width=5, num_warmup=20,
        )  # fmt: skip


def test_chains_that_do_not_move_are_found():
    z = {"a": RNG.normal(size=(4, 20, 3)), "b": RNG.normal(size=(4, 20))}
    assert not standing(z).any()
    z["a"][1], z["b"][1] = z["a"][1, :1] + 1e-3 * z["a"][1], z["b"][1, :1]
    assert standing(z).tolist() == [False, True, False, False]
    assert standing({name: a[1:2] * 1e-9 for name, a in z.items()}).tolist() == [True]
    narrow = {name: 5 + 1e-3 * a for name, a in z.items()}  # of a million rows
    assert standing(narrow).tolist() == [False, True, False, False]
    assert not standing({name: a[:, :5] for name, a in z.items()}).any()  # too few to say
    assert not standing({"a": np.zeros((2, 20, 0))}).any()  # no unknowns


def test_some_chains_that_do_not_move_are_told(monkeypatch):
    monkeypatch.setattr(_nuts, "standing", lambda _: np.array([False, True]))
    with pytest.warns(UserWarning, match=r"chains \[1\] of 2 do not move, so that their draws say"):
        posterior = posterior_of(
            Y.astype(np.float32), "gaussian", MoGP([priors.Deterministic()], bias_scale=1.0),
            num_warmup=20,
        )  # fmt: skip
    assert inference.convergence(posterior, X)["stuck_chains"] == [1]
    assert posterior.data.attrs["stuck_chains"] == "[1]"
    # In the GP regime there are no jumps, nor empty variables, which ArviZ refuses.
    assert list(posterior.data["posterior"].data_vars) == ["noise_scale"]
    assert list(arviz_stats.summary(posterior.data).index) == ["noise_scale"]


def test_a_scale_far_from_the_prior_is_told():
    model = MoGP([priors.Deterministic()], bias_scale=1.0)
    with pytest.warns(UserWarning, match=r"y has a standard deviation of .*e\+06, and functions"):
        posterior_of((1e6 * Y).astype(np.float32), "gaussian", model, num_warmup=20)


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=needs_x64)])
def test_density_of_counts_of_any_size(dtype):
    """Against SciPy in double precision; single precision loses no more than it must."""
    y = np.array([0, 1, 2, 5, 15, 16, 17, 100, 20_000, 1e6, 3e7])[:, None]
    for shift in (-1.0, 0.0, 0.01, 2.0):
        f = np.log(np.maximum(y, 0.5)) + shift
        law = inference.Poisson().law(f.astype(dtype))
        found = law.log_prob(y.astype(dtype))
        mean = np.exp(f.astype(dtype).astype(float))
        expected = stats.poisson(mean).logpmf(y)[:, 0]
        # The output is rounded: its unit times the slope, `mean - y`, and the value's own.
        unit = np.finfo(dtype).eps
        bound = unit * (np.abs(mean - y) * np.maximum(np.abs(f), 1) + mean * unit)[:, 0]
        assert found.dtype == dtype
        error = np.abs(np.asarray(found, float) - expected)
        assert np.all(error <= 20 * bound + 20 * unit * (1 + np.abs(expected)) + 1e-9 * y[:, 0])


def test_the_offset_of_counts():
    y = np.array([[3.0], [5.0]])
    law = inference.Poisson().for_observations(jax.numpy.asarray(y))
    assert float(law.mean_count) == 4.0
    assert float(law.mean(jax.numpy.zeros((1, 1)))[0, 0]) == 4.0
    known = inference.Poisson(mean_count=2.0)
    assert known.for_observations(jax.numpy.asarray(y)) is known
    zero = inference.Poisson().for_observations(jax.numpy.zeros((4, 1)))
    assert float(zero.mean_count) == 0.125
    with pytest.raises(ValueError, match="mean_count must be above 0"):
        inference.Poisson(mean_count=0.0)
    model = MoGP([priors.Deterministic()])
    setup = setup_of(model, X, inference.Poisson(), 1, 3, 3, 2, None)
    assert float(setup.given(jax.numpy.asarray(y)).likelihood.mean_count) == 4.0
