"""The estimators: scikit-learn's own checks, units, relevance, pickles, files."""

import dataclasses
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mogp import inference, priors
from mogp.estimators import MoGPClassifier, MoGPRegressor
from mogp.inference._identity import description
from mogp.inference._likelihoods import stacked
from mogp.inference._stored import described

RNG = np.random.default_rng(0)
N = 40
TABLE = pd.DataFrame(
    {"a": RNG.normal(size=N), "b": RNG.normal(size=N), "site": RNG.choice(["u", "v", "w"], N)}
)
PRICE = 100 + 20 * np.abs(TABLE["a"]) + RNG.normal(size=N)
SHORT = {
    "num_warmup": 30, "num_samples": 30, "num_chains": 2, "num_jumps": 3, "random_state": 0,
}  # fmt: skip
TINY = {
    "width": 3, "num_warmup": 8, "num_samples": 8, "num_chains": 1, "random_state": 0,
}  # fmt: skip
LABEL = np.where(TABLE["a"] > 0, "warm", "cold")


@pytest.fixture(scope="module")
def regressor():
    return MoGPRegressor(**SHORT).fit(TABLE, PRICE)


@pytest.fixture(scope="module")
def classifier():
    return MoGPClassifier(**SHORT | {"width": 4}).fit(TABLE, LABEL)


def refitted(model, x, y, *, key, likelihood, width, num_samples, num_chains, **_):
    """In place of a sampler: networks from the prior, their last weights by least squares.

    Fifty fits by NUTS take eleven minutes to compile.
    """
    y = likelihood.targets(y, len(x))
    outputs = likelihood.num_outputs(y)
    wanted = jax.nn.one_hot(y, outputs) if y.ndim == 1 else y
    wanted = 8 * wanted - 4 if likelihood.is_discrete else wanted
    shape = num_chains, num_samples

    def one(key):
        with numpyro.handlers.seed(rng_seed=key):
            drawn = inference.sample_parameters(model)
        network = drawn.network(x.shape[1], outputs, width, key=key)
        design = network.design(x)
        square = design.T @ design + 1e-3 * jnp.eye(design.shape[1])
        last = network.layers[-1]
        old = jnp.concatenate([last.biases[None], last.weights.T])
        new = last.refitted(jnp.linalg.solve(square, design.T @ wanted) - old)
        return dataclasses.replace(network, layers=(*network.layers[:-1], new))

    mapped = eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(one)))
    sources = mapped(jax.random.split(key, shape))
    values = {name: jnp.full(shape, 0.1) for name in likelihood.unknown}
    variances = jnp.exp(sources.inputs.log_variances)
    return inference.Posterior(
        sources, stacked(likelihood, values, shape), x, y, None,
        values | {"input_variances": variances}, key=key,
        attrs={"model": described(model), "likelihood": description(likelihood),
               "width": [width], "num_diffuse": 1},
    )  # fmt: skip


@pytest.mark.commands
@pytest.mark.parametrize("kind", [MoGPRegressor, MoGPClassifier])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(kind, monkeypatch):
    monkeypatch.setattr(inference, "sampler_for", lambda *_: refitted)
    estimator = kind(width=30, num_samples=5, num_chains=1, random_state=0)
    found = check_estimator(estimator, on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in found if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in found) > 40


def test_predictions_are_in_the_units_of_the_target(regressor):
    mean, std, quantiles = regressor.predict(TABLE, return_std=True, quantiles=[0.05, 0.5, 0.95])
    assert mean.shape == std.shape == (N,)
    assert quantiles.shape == (N, 3)
    assert np.sqrt(np.mean((mean - PRICE) ** 2)) < 4
    assert (np.diff(quantiles, axis=1) > 0).all()
    assert (std > 0).all()
    np.testing.assert_array_equal(regressor.predict(TABLE), mean)
    assert regressor.score(TABLE, PRICE) > 0.9


@pytest.mark.commands
def test_other_units_of_the_target_are_the_same_fit(regressor):
    mean = regressor.predict(TABLE)
    other = MoGPRegressor(**SHORT).fit(TABLE, 7 + 3 * PRICE)
    np.testing.assert_allclose(other.predict(TABLE), 7 + 3 * mean, rtol=5e-3)  # rounding
    np.testing.assert_allclose(
        other.log_density(TABLE, 7 + 3 * PRICE),
        regressor.log_density(TABLE, PRICE) - np.log(3),
        atol=0.5,
    )  # fmt: skip


def test_scores_are_those_of_predictions_in_units_of_the_target(regressor, classifier):
    mean, std = regressor.predict(TABLE, return_std=True)
    draws, scores = regressor.sample(TABLE), regressor.evaluate(TABLE, PRICE)
    assert draws.shape == (60, N)
    np.testing.assert_allclose(draws.std(0), std, rtol=1e-5)
    np.testing.assert_allclose(scores["rmse"], np.sqrt(np.mean((mean - PRICE) ** 2)), rtol=1e-4)
    log_density = regressor.log_density(TABLE, PRICE)
    np.testing.assert_allclose(scores["nll"], -log_density.mean(), rtol=1e-4)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = np.mean((low <= PRICE) & (high >= PRICE))
    assert abs(scores["coverage"] - inside) < 2 / N
    found = classifier.evaluate(TABLE, LABEL)
    assert found["accuracy"] == np.mean(classifier.predict(TABLE) == LABEL)
    with pytest.raises(ValueError, match="labels other than the classes"):
        classifier.evaluate(TABLE, np.full(N, "hot"))


@pytest.mark.filterwarnings("ignore")
def test_left_out_rows_are_in_units_of_the_target(regressor):
    scores = regressor.leave_one_out(pointwise=True)
    plain = inference.leave_one_out(regressor.posterior_)
    shift = np.log(regressor.target_scale_[0])
    np.testing.assert_allclose(scores["nll"], plain["nll"] + shift, rtol=1e-6)
    np.testing.assert_allclose(scores["elpd"].mean(), -scores["nll"], rtol=1e-6)
    assert scores["elpd"].shape == (N,)


def test_an_effect_is_the_mean_over_rows_with_a_column_set(regressor, classifier):
    values, draws = regressor.effect(TABLE, "a", [-2.0, 0.0, 2.0], num_rows=N)
    assert draws.shape == (60, 3, 1)
    means = [regressor.predict(TABLE.assign(a=value)).mean() for value in values]
    error = draws[..., 0].std(0) / np.sqrt(len(draws))
    assert (np.abs(draws[..., 0].mean(0) - means) < 5 * error + 1e-3).all()
    assert min(means[0], means[2]) > means[1] + 10  # 20 |a|
    values, draws = classifier.effect(TABLE, "site")
    assert values.tolist() == ["u", "v", "w"]
    np.testing.assert_allclose(draws.sum(-1), 1, rtol=1e-5)
    assert len(regressor.effect(TABLE, "b")[0]) == 15
    with pytest.raises(ValueError, match="column must be one of"):
        regressor.effect(TABLE, "c")


def test_log_densities_integrate_to_one(regressor):
    row = TABLE.iloc[:1]
    grid = np.linspace(0, 300, 3001)
    rows = row.iloc[np.zeros(len(grid), int)]
    density = np.exp(regressor.log_density(rows, grid))
    assert abs(np.trapezoid(density, grid) - 1) < 1e-3


def test_the_relevant_column_has_the_largest_share(regressor):
    draws = regressor.relevance_draws()
    assert draws.shape == (60, 3)
    np.testing.assert_allclose(draws.sum(1), 1)
    assert regressor.relevance_.argmax() == 0
    np.testing.assert_allclose(regressor.relevance_, draws.mean(0))
    with pytest.raises(ValueError, match="relevance needs an input_prior"):
        clone(regressor).set_params(input_prior=None, **TINY).fit(TABLE, PRICE).relevance_draws()


def test_classes_of_any_kind(classifier):
    shares = classifier.predict_proba(TABLE)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert classifier.classes_.tolist() == ["cold", "warm"]
    assert classifier.score(TABLE, LABEL) > 0.8
    chosen = classifier.log_density(TABLE, LABEL)
    np.testing.assert_allclose(np.exp(chosen), shares[np.arange(N), (LABEL == "warm").astype(int)])
    with pytest.raises(ValueError, match="labels other than the classes"):
        classifier.log_density(TABLE, np.full(N, "hot"))


@pytest.mark.commands
def test_classes_are_of_the_type_of_the_labels():
    several = MoGPClassifier(**TINY).fit(TABLE, np.arange(N) % 3 + 10)
    assert several.classes_.tolist() == [10, 11, 12]
    assert isinstance(several.posterior_.likelihood, inference.Categorical)
    assert set(MoGPClassifier(**TINY).fit(TABLE, TABLE["a"] > 0).predict(TABLE)) <= {True, False}


def test_pickles_and_files_carry_the_same_model(regressor, classifier, tmp_path):
    for model in (regressor, classifier):
        content = pickle.dumps(model)
        np.testing.assert_array_equal(pickle.loads(content).predict(TABLE), model.predict(TABLE))
        model.save(tmp_path / "fit.nc")
        again = clone(model).restore(tmp_path / "fit.nc")
        np.testing.assert_array_equal(again.predict(TABLE), model.predict(TABLE))
        np.testing.assert_array_equal(again.feature_names_in_, ["a", "b", "site"])
    with pytest.raises(ValueError, match="model"):
        clone(classifier).set_params(prior="iid").restore(tmp_path / "fit.nc")
    regressor.posterior_.save(tmp_path / "other.nc")
    with pytest.raises(ValueError, match="was not written by the method save"):
        clone(regressor).restore(tmp_path / "other.nc")


def test_gaps_and_unknown_values_are_told(regressor):
    new = TABLE.iloc[:2].assign(site=["elsewhere", "u"], a=[np.nan, 0.0])
    with pytest.warns(UserWarning, match="column") as caught:
        found = regressor.predict(new)
    assert np.isfinite(found).all()
    said = " ".join(str(each.message) for each in caught)
    assert "column 'site': ['elsewhere'] in 1 row" in said
    assert "column 'a': 1 row without a value" in said


@pytest.mark.commands
def test_they_work_in_pipelines_and_searches():
    x, y = TABLE[["a", "b"]].to_numpy(), PRICE.to_numpy()
    pipeline = make_pipeline(StandardScaler(), MoGPRegressor(**TINY))
    assert np.isfinite(cross_val_score(pipeline, x, y, cv=2)).all()
    search = GridSearchCV(MoGPRegressor(**TINY), {"prior": ["iid", priors.Horseshoe()]}, cv=2)
    assert search.fit(x, y).best_params_["prior"] in ("iid", priors.Horseshoe())


@pytest.mark.commands
@pytest.mark.parametrize("likelihood", ["student_t", "poisson", inference.Gaussian(0.1)])
def test_likelihoods_by_name_and_of_ones_own(likelihood):
    counts = np.random.default_rng(1).poisson(200, N)
    mean = MoGPRegressor(likelihood=likelihood, **TINY).fit(TABLE, counts).predict(TABLE)
    assert (np.abs(mean / 200 - 1) < 0.5).all()


@pytest.mark.commands
def test_several_targets():
    y = np.stack([PRICE, -PRICE], 1)
    model = MoGPRegressor(**TINY).fit(TABLE, y)
    mean, std, quantiles = model.predict(TABLE, return_std=True, quantiles=[0.1, 0.9])
    assert mean.shape == std.shape == (N, 2)
    assert quantiles.shape == (N, 2, 2)
    assert model.log_density(TABLE, y).shape == (N,)


@pytest.mark.parametrize(
    ("change", "y", "message"),
    [
        ({"likelihood": "normal"}, PRICE, "likelihood must be one of"),
        ({"prior": "spike"}, PRICE, "prior must be one of"),
        ({"hidden": 0}, PRICE, "hidden must be an integer of at least 1"),
        ({"likelihood": "poisson"}, PRICE, "y must be counts"),
        ({}, PRICE[:-1], "inconsistent numbers of samples"),
        ({}, PRICE.where(PRICE[3] != PRICE), "contains NaN"),
    ],
)
def test_mistakes_are_named(change, y, message):
    with pytest.raises(ValueError, match=message):
        MoGPRegressor(**TINY | change).fit(TABLE, y)


def test_mistakes_of_classes_and_quantiles_are_named(regressor):
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class"):
        MoGPClassifier(**TINY).fit(TABLE, np.zeros(N, int))
    with pytest.raises(ValueError, match="'bernoulli' for two classes"):
        MoGPClassifier(likelihood="bernoulli", **TINY).fit(TABLE, np.arange(N) % 3)
    with pytest.raises(ValueError, match=r"quantiles must lie in \(0, 1\)"):
        regressor.predict(TABLE, quantiles=[0.0])


@pytest.mark.commands
def test_the_same_seed_gives_the_same_draws():
    first, second = (MoGPRegressor(**TINY).fit(TABLE, PRICE).predict(TABLE) for _ in range(2))
    np.testing.assert_array_equal(first, second)
