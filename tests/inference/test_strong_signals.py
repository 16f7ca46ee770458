"""Signals almost without noise, at any scale, in single precision: chains that move, or say so."""

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, priors
from mogp.inference.chains import _run
from mogp.inference.chains._run import standing
from mogp.inference.chains._setup import setup_of

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


@pytest.fixture(scope="module")
def of_line():
    """The draws for a line without noise."""
    return posterior_of(Y.astype(np.float32), "gaussian")


def assert_fits(posterior, y):
    assert_moves(posterior)
    error = np.asarray(posterior.predict(X).mean())[:, 0] - y
    assert np.sqrt(np.mean(error**2)) < 0.02 * y.std()
    assert posterior.sources.jumps[0].sizes.dtype == np.float32


def test_a_line_without_noise(of_line):
    """The noise of the data is found, to a factor 1.5."""
    assert_fits(of_line, Y.astype(np.float32))
    noise = np.asarray(of_line.parameters["noise_scale"])
    assert 1 / 1.5 < noise.mean() / (0.01 * LINE.std()) < 1.5
    assert 0.05 < noise.std() / noise.mean() < 0.3  # 1 / √(2 n) is 0.1


def scored(posterior, y):
    with jax.enable_x64(False):
        posterior.evaluate(X, y, key=jax.random.key(0))
        assert posterior.data["posterior"].sizes["draw"] == 30


@pytest.mark.filterwarnings("ignore:y has a standard deviation")
def test_a_line_far_below_the_scale_of_the_prior(of_line, compilations):
    """It is found, too; and what was compiled for other data of these shapes serves."""
    y = (1e-6 * Y).astype(np.float32)
    scored(of_line, y)
    compilations.clear()
    posterior = posterior_of(y, "gaussian")
    scored(posterior, y)
    assert compilations == []
    assert_fits(posterior, y)


def test_tree(of_line):
    with jax.enable_x64(False):
        tree = of_line.data
    assert set(tree.children) == {
        "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "prior",
        "prior_predictive", "observed_data", "constant_data",
    }  # fmt: skip
    assert set(tree["posterior"].data_vars) == {
        "weights0", "biases0", "node_variances0", "diffuse0", "noise_scale",
    }  # fmt: skip
    assert tree.posterior["weights0"].dims == ("chain", "draw", "jump0", "input")
    assert tree.posterior["node_variances0"].shape == (2, 30, 3)
    assert tree.posterior_predictive["y"].dims == ("chain", "draw", "row")
    assert tree.log_likelihood["y"].shape == (2, 30, 50)
    assert tree.prior["node_variances0"].shape == (1, 30, 3)
    assert tree["sample_stats"]["diverging"].shape == (2, 30)
    sizes = tree.posterior["node_variances0"].values.astype(float)
    assert (np.diff(sizes) <= 0).all()
    rest = MODEL.priors[0].limit.levy.moment(1, jnp.asarray(sizes[..., -1]))
    assert_close(tree.posterior["diffuse0"].values, rest, 1e-5)


def test_saved_and_loaded_is_the_same(of_line, tmp_path):
    with jax.enable_x64(False):
        of_line.save(tmp_path / "posterior.nc")
        again = inference.load_posterior(tmp_path / "posterior.nc", MODEL)
        assert jax.tree.structure(again.sources) == jax.tree.structure(of_line.sources)
        np.testing.assert_array_equal(again.predict(X).outputs, of_line.predict(X).outputs)
        assert again.data.equals(of_line.data)


def test_outliers_of_a_line_without_noise():
    y = Y.astype(np.float32)
    y[20] += 1
    posterior = posterior_of(
        y, "student_t", MoGP([priors.Deterministic()], bias_scale=1.0), width=5
    )
    assert_moves(posterior)
    error = np.delete(np.asarray(posterior.predict(X).mean())[:, 0] - y, 20)
    assert np.sqrt(np.mean(error**2)) < 0.05 * y.std()


def test_counts_of_any_size(compilations):
    """What is compiled for large ones serves for small ones."""
    model = MoGP([priors.Deterministic()], bias_scale=1.0)
    for size, rtol in ((20_000, 0.02), (2, 0.7)):
        y = RNG.poisson(size * np.exp(0.3 * X[:, 0]))
        compilations.clear()
        posterior = posterior_of(y, "poisson", model, width=5, num_samples=100)
        mean = np.asarray(posterior.predict(X).mean())[:, 0]
        np.testing.assert_allclose(mean, size * np.exp(0.3 * X[:, 0]), rtol=rtol)
        assert bool(compilations) == (size > 2)
        assert_moves(posterior)


def test_classes_that_a_line_separates():
    y = (X[:, 0] > 0.1).astype(int)
    model = MoGP([priors.Deterministic()], bias_scale=1.0)
    posterior = posterior_of(y, "bernoulli", model, width=5)
    assert_moves(posterior)
    assert posterior.evaluate(X, y)["accuracy"] > 0.95


def test_labels_that_a_line_separates_by_a_network(tmp_path):
    """With node variances of their own, in a file, too."""
    y = (X[:, 0] > 0.1).astype(int)
    posterior = posterior_of(y, "categorical", width=5)
    assert_moves(posterior)
    scores = posterior.evaluate(X, y)
    assert all(np.isfinite(value) for value in scores.values())
    assert scores["accuracy"] > 0.95
    with jax.enable_x64(False):
        assert posterior.data.posterior_predictive["y"].shape == (2, 30, 50)
        assert posterior.predict(X, num_draws=4).mean().shape == (50, 2)
        posterior.save(tmp_path / "posterior.nc")
        again = inference.load_posterior(tmp_path / "posterior.nc", MODEL)
        assert jax.tree.structure(again.sources) == jax.tree.structure(posterior.sources)
        np.testing.assert_array_equal(again.predict(X).outputs, posterior.predict(X).outputs)


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
    monkeypatch.setattr(_run, "standing", lambda _: np.array([False, True]))
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
