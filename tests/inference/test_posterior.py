"""Posteriors made by hand: their trees, files, smaller copies, scores and diagnostics."""

import dataclasses
import json
import os
import warnings

import arviz_stats
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr
from closeness import assert_close
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, limit, nn, priors
from mogp.inference import _identity, _stored, _tree
from mogp.inference._likelihoods import likelihood_of, stacked
from mogp.limit.layers import skeleton

X = jnp.linspace(-1.0, 1.0, 6)[:, None]
Y = jnp.array([0.9, 0.4, 0.1, 0.6, 1.2, 1.0])[:, None]
LABELS = jnp.array([0, 1, 2, 1, 0, 2])
SHAPE = (2, 3)  # chains and draws


class Plane(eqx.Module):
    """A module of the user's own, with an array that is no parameter."""

    weight: jax.Array
    steps: jax.Array
    power: float

    def __call__(self, x):
        return (x @ self.weight) ** self.power


def plane(key):
    return Plane(jax.random.normal(key, (1, 3)), jnp.arange(4), 2.0)


def gm(key):
    return nn.GMLayer(1, 3, 4, covariance="low_rank", prior=priors.Horseshoe(), key=key)


def stack(build):
    keys = jax.random.split(jax.random.key(0), SHAPE)
    return eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(build)))(keys)


def attrs(model, likelihood, **more):
    text = _stored.described(model), _identity.description(likelihood)
    return dict(zip(("model", "likelihood"), text, strict=True), interrupted=False, **more)


def of_classes(model, build, width=None):
    law = inference.Categorical()
    return inference.Posterior(
        stack(build), law, X, LABELS, statistics={"energy": np.zeros(SHAPE)},
        epochs={"loss": np.zeros((2, 9))}, attrs=attrs(model, law, width=width),
        key=jax.random.key(5),
    )  # fmt: skip


def of_numbers(model, build, method, width=None):
    """Weights behind the last hidden layer integrated out, the noise learned."""
    noise = jnp.linspace(0.1, 0.3, 6).reshape(SHAPE)
    law = inference.Gaussian()
    return inference.Posterior(
        stack(build), inference.Gaussian(noise), X, Y, inference.Observed(X, Y, method),
        {"noise_scale": noise},
        {"diverging": np.array([[False, True, False]] * 2)},
        prior=lambda: {"noise_scale": jnp.ones(7), "y": jnp.zeros((7, 6, 1))},
        attrs=attrs(model, law, width=width, num_diffuse=2), key=jax.random.key(5),
    )  # fmt: skip


LIMIT = MoGP([priors.Horseshoe()], bias_scale=0.5)
LEARNED = MoGP([priors.InverseGamma(shape=dist.Gamma(2.0, 1.0))], weight_scale=(1.0, 2.0))


def path(key):
    drawn = LIMIT.sample_path(1, key=key, num_jumps=5, num_diffuse=2)
    return dataclasses.replace(drawn, model=skeleton(LIMIT))  # as NUTS has it


def network(key):
    """With an exponent of the prior of its own, as a sampler that learns it has."""
    prior = priors.InverseGamma(shape=1 + jax.random.uniform(key))
    return MoGP([prior], weight_scale=(1.0, 2.0)).network(1, 1, 4, key=key)


def classifier(key):
    return MoGP([priors.Horseshoe()] * 2, bias_scale=1.0).network(1, 3, (4, 5), key=key)


CASES = {
    "limit": (LIMIT, lambda: of_numbers(LIMIT, path, "dense")),
    "network": (LEARNED, lambda: of_numbers(LEARNED, network, "low_rank", [4])),
    "classifier": (
        MoGP([priors.Horseshoe()] * 2, bias_scale=1.0),
        lambda: of_classes(MoGP([priors.Horseshoe()] * 2, bias_scale=1.0), classifier, [4, 5]),
    ),
    "module": (plane(jax.random.key(0)), lambda: of_classes(plane(jax.random.key(0)), plane)),
    "function": (gm, lambda: of_classes(gm, gm)),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    model, make = CASES[request.param]
    return request.param, model, make()


@pytest.fixture(scope="module")
def saved(case, tmp_path_factory):
    file = tmp_path_factory.mktemp("posterior") / "posterior.nc"
    case[2].save(file)
    return file


def test_the_tree_follows_from_sources_and_data(case):
    name, _, posterior = case
    tree, sources = posterior.data, posterior.sources
    assert tree is posterior.data
    group = tree["posterior"]
    assert tree["posterior_predictive"]["y"].dims[:3] == ("chain", "draw", "row")
    np.testing.assert_array_equal(tree["log_likelihood"]["y"], posterior.log_likelihood())
    np.testing.assert_array_equal(tree["observed_data"]["y"], posterior.y.reshape(6))
    np.testing.assert_array_equal(tree["constant_data"]["x"], X)
    assert tree.attrs["interrupted"] == 0
    if name == "limit":
        assert set(group.data_vars) == {
            "noise_scale", "weights0", "biases0", "node_variances0", "diffuse0",
        }  # fmt: skip
        assert group["weights0"].dims == ("chain", "draw", "jump0", "input")
        assert group["weights0"].shape == (*SHAPE, 5, 1)  # not of the diffuse part
        np.testing.assert_array_equal(group["node_variances0"], sources.jumps[0].sizes)
        assert "5.12" in tree["log_likelihood"].attrs["y"]
    if name == "network":
        assert not {"weights1", "biases0", "biases1"} & set(group.data_vars)
        np.testing.assert_array_equal(group["weights0"], sources.weights[0])
        assert group["log_variances0"].dims == ("chain", "draw", "node0")
    if name in ("limit", "network"):
        assert tree["prior"]["noise_scale"].shape == (1, 7)
        assert tree["prior_predictive"]["y"].shape == (1, 7, 6)
        assert tree["sample_stats"]["diverging"].dtype == bool
    if name == "classifier":
        u = np.asarray(sources.log_variances[1])
        assert group["weights2"].dims == ("chain", "draw", "output", "node1")
        assert_close(group["node_variances1"], np.exp(u), 1e-12)
        assert_close(group["log_variance_sum1"], np.log(np.exp(u).sum(-1)), 1e-12, 1e-12)
        assert_close(group["log_variance_mean1"], u.mean(-1), 1e-12)
        assert_close(group["log_variance_max1"], u.max(-1), 1e-12)
    if name in ("classifier", "module", "function"):
        assert tree["epochs"]["loss"].dims == ("chain", "epoch")
        assert "prior" not in tree.children
    if name == "module":
        assert set(group.data_vars) == {"weight"}
    if name == "function":
        assert group["covariance.factor.factors"].shape == (*SHAPE, 4, 1, 1)


def test_log_likelihood_is_that_of_each_draw(case):
    """By one draw alone; with weights integrated out, by a fit without the row."""
    _, _, posterior = case
    one = jax.tree.map(
        lambda a: a[1, 2] if eqx.is_array(a) else a, (posterior.sources, posterior.likelihood)
    )
    found = posterior.log_likelihood()[1, 2, 2]
    if posterior.observed is None:
        expected = jax.nn.log_softmax(one[0](X))[2, LABELS[2]]
        assert_close(found, expected, 1e-8)
        return
    keep = jnp.array([0, 1, 3, 4, 5])
    method = posterior.observed.method
    given = limit.condition(one[0], X[keep], Y[keep], noise_scale=one[1].noise_scale, method=method)
    mean, variance = given.predict(X[2:3])
    scale = np.sqrt(variance[0] + one[1].noise_scale ** 2)
    assert_close(found, stats.norm.logpdf(Y[2, 0], mean[0, 0], scale), 1e-6)


def equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_and_loaded_is_the_same(case, saved):
    _, model, posterior = case
    again = inference.load_posterior(saved, model)
    assert jax.tree.structure(again.sources) == jax.tree.structure(posterior.sources)
    equal((again.sources, again.likelihood), (posterior.sources, posterior.likelihood))
    equal(again.predict(X).outputs, posterior.predict(X).outputs)
    assert again.attrs == posterior.attrs
    assert again.data.equals(posterior.data)
    for group in ("posterior", "sample_stats", "observed_data"):
        assert set(again.data[group].data_vars) == set(posterior.data[group].data_vars)


def test_arviz_opens_the_file(case, saved):
    _, _, posterior = case
    tree = xr.open_datatree(saved, engine="h5netcdf")  # what ArviZ does
    for name, group in posterior.data.children.items():
        for variable, values in group.data_vars.items():
            np.testing.assert_array_equal(tree[name][variable], values)
            assert tree[name][variable].dims == values.dims


def test_other_models_likelihoods_and_files_are_refused(case, saved, tmp_path):
    _, model, _ = case
    other = MoGP([priors.Horseshoe()], bias_scale=0.7)
    with pytest.raises(ValueError, match=r"model must be that of .*posterior.nc, .*got MoGP"):
        inference.load_posterior(saved, other)
    with pytest.raises(
        ValueError, match=r"likelihood must be that of .*got Poisson\(mean_count=None\)"
    ):
        inference.load_posterior(saved, model, likelihood="poisson")
    with pytest.raises(OSError, match="nothing"):
        inference.load_posterior(tmp_path / "nothing.nc", model)
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="holds no posterior of mogp"):
        inference.load_posterior(tmp_path / "other.nc", model)


def test_a_smaller_posterior_has_a_tree_and_a_file_of_its_own(tmp_path):
    """Two nodes of each layer in each draw: no mixture of the two (which it was)."""
    model, make = CASES["classifier"]
    whole = make()
    assert whole.data["posterior"]["weights1"].shape == (*SHAPE, 5, 4)
    kept = [jnp.array([0, 2]), jnp.array([1, 4])]
    small = dataclasses.replace(
        whole, sources=eqx.filter_vmap(eqx.filter_vmap(lambda n: nn.take(n, kept)))(whole.sources)
    )
    group = small.data["posterior"]
    assert {group[f"{name}1"].shape[-1] for name in ("weights", "log_variances", "biases")} == {2}
    np.testing.assert_array_equal(group["weights1"], small.sources.weights[1])
    assert_close(
        group["log_variance_max0"], whole.sources.log_variances[0][..., kept[0]].max(-1), 1e-12
    )
    small.save(tmp_path / "small.nc")
    again = inference.load_posterior(tmp_path / "small.nc", model)
    assert again.sources.widths == (2, 2)
    assert again.sources.layers[0].prior_width == 4
    equal(again.predict(X).outputs, small.predict(X).outputs)
    assert again.data.equals(small.data)


def test_large_posteriors_keep_their_weights_but_not_their_predictions(monkeypatch):
    monkeypatch.setattr(_tree, "_LARGEST", 10)
    _, make = CASES["classifier"]
    posterior = make()
    assert "posterior_predictive" not in posterior.data.children
    assert "log_likelihood" not in posterior.data.children
    assert posterior.data["posterior"]["weights1"].shape == (*SHAPE, 5, 4)
    with pytest.raises(ValueError, match="posterior must have fewer draws or rows"):
        inference.leave_one_out(posterior)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    _, make = CASES["module"]
    posterior, file = make(), tmp_path / "posterior.nc"
    posterior.save(file)
    before = file.read_bytes()

    def fails(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fails)
    with pytest.raises(OSError, match="disk full"):
        posterior.save(file)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["posterior.nc"]


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path):
    of_path, of_network = (CASES[name][1]() for name in ("limit", "network"))
    less = {name: value for name, value in of_path.attrs.items() if name != "num_diffuse"}
    for posterior, change, message in [
        (of_path, {"attrs": less}, "could not be loaded again: attrs lack 'num_diffuse'. Samplers"),
        (of_network, {"attrs": {}}, "attrs lack 'model'; attrs lack 'likelihood'; attrs lack 'wid"),
        (of_network, {"attrs": of_network.attrs | {"a": object()}}, "JSON can hold"),
        (of_network, {"parameters": {}}, "parameters must have 'noise_scale' of the likelihood of"),
    ]:
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(posterior, **change).save(tmp_path / "posterior.nc")
    assert not any(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path):
    """Cut short, empty, any of its bytes changed, another kind of file, a folder."""
    model, make = CASES["module"]
    file = tmp_path / "posterior.nc"
    make().save(file)
    whole = file.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole) - 90, 40)
    for place in places.tolist():
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged: its checksum is wrong"):
            inference.load_posterior(file, model)
    for content in (b"", b"nothing of the kind", whole[:100], whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file} cannot be read as a posterior"):
            inference.load_posterior(file, model)
    with pytest.raises(ValueError, match="path must be a file, got the folder"):
        inference.load_posterior(tmp_path, model)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        make().save(tmp_path)


@needs_x64
def test_a_file_of_double_precision_is_not_rounded_silently(tmp_path):
    model, make = CASES["module"]
    make().save(tmp_path / "posterior.nc")
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match="is in double precision: set JAX_ENABLE_X64=1"),
    ):
        inference.load_posterior(tmp_path / "posterior.nc", model)


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg", None])
def test_keys_of_any_generator_come_back(generator, tmp_path):
    model, make = CASES["module"]
    key = jax.random.PRNGKey(3) if generator is None else jax.random.key(3, impl=generator)
    posterior = dataclasses.replace(make(), key=key)
    posterior.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(tmp_path / "posterior.nc", model)
    assert again.key.dtype == key.dtype
    assert again.data.equals(posterior.data)


def test_a_likelihood_of_ones_own_must_be_given(tmp_path):
    _, make = CASES["network"]
    posterior, law = make(), inference.Gaussian(dist.HalfNormal(3.0))
    posterior = dataclasses.replace(posterior, attrs=attrs(LEARNED, law, width=[4], num_diffuse=2))
    posterior.save(tmp_path / "posterior.nc")
    with pytest.raises(ValueError, match=r"likelihood must be given: that of .* is Gaussian"):
        inference.load_posterior(tmp_path / "posterior.nc", LEARNED)
    again = inference.load_posterior(tmp_path / "posterior.nc", LEARNED, likelihood=law)
    equal(again.likelihood, posterior.likelihood)


def test_a_file_of_another_version_or_without_arrays_is_refused(tmp_path):
    model, make = CASES["module"]
    file = tmp_path / "posterior.nc"

    def changed(change):
        posterior = make()
        posterior.save(file)
        tree = xr.open_datatree(file, engine="h5netcdf").load()
        header = json.loads(tree.attrs["mogp"])
        change(header)
        tree.attrs["mogp"] = json.dumps(header)
        tree.close()
        tree.to_netcdf(tmp_path / "changed.nc", engine="h5netcdf")
        return tmp_path / "changed.nc"

    for change, message in [
        (lambda header: header.update(version=9), "has format version 9"),
        (lambda header: header["sources"].pop("steps"), "has no array steps"),
        (lambda header: header["sources"].update(more=["sources", "steps"]), r"arrays \['more'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            inference.load_posterior(changed(change), model)


LAWS = {
    "gaussian": (np.sin(np.arange(15.0)), "mae"),
    "student_t": (np.sin(np.arange(15.0)), "mae"),
    "bernoulli": (np.arange(15) % 3 > 0, "acc"),
    "poisson": (np.arange(15) % 4, "mae"),
    "categorical": (np.arange(15) % 3, "acc"),
}


@pytest.mark.parametrize("name", list(LAWS))
def test_functions_of_arviz_take_a_posterior_of_every_likelihood(name):
    """One output has no axis, counts and labels are integers; a file has the same."""
    y, kind = LAWS[name]
    shape, outputs = (2, 40), 3 if name == "categorical" else 1
    law = likelihood_of(name)
    targets = law.targets(y, 15)
    law = law.for_observations(targets)
    values = {n: jnp.linspace(4, 6, 80).reshape(shape) for n in law.unknown}
    weight = jax.random.normal(jax.random.key(0), (*shape, 1, outputs)) / 3
    posterior = inference.Posterior(
        Plane(weight, jnp.zeros(shape, int), 1.0), stacked(law, values, shape),
        jnp.linspace(-1, 2, 15)[:, None], targets, parameters=values, key=jax.random.key(1),
    )  # fmt: skip
    tree = posterior.data
    discrete = name not in ("gaussian", "student_t")
    for group in ("observed_data", "posterior_predictive", "log_likelihood"):
        assert tree[group]["y"].dims[-1] == "row"
        if group != "log_likelihood":
            assert (tree[group]["y"].dtype.kind == "i") == discrete
    np.testing.assert_allclose(tree["observed_data"]["y"], y, rtol=1e-6)
    with warnings.catch_warnings():  # of Pareto's k
        warnings.simplefilter("ignore")
        assert len(arviz_stats.summary(tree)) == len(values) + outputs
        assert np.isfinite(arviz_stats.loo(tree, var_name="y").elpd)
        assert np.isfinite(arviz_stats.metrics(tree, kind=kind).mean)
        assert np.isfinite(arviz_stats.loo_metrics(tree, kind=kind).mean)
        assert arviz_stats.loo_pit(tree, var_names="y")["y"].shape == (15,)


# --- predictions --------------------------------------------------------------------------------


def test_predictions_by_some_draws_and_in_compiled_code(monkeypatch):
    _, make = CASES["classifier"]
    posterior = make()
    whole = posterior.predict(X)
    assert whole.outputs.shape == (6, 6, 3)
    few = posterior.predict(X, num_draws=2)
    np.testing.assert_array_equal(few.outputs, whole.outputs[jnp.array([0, 5])])
    mean = jax.jit(lambda x: posterior.predict(x).mean())(X)
    assert_close(mean, whole.mean(), 1e-10)
    each = jax.vmap(lambda x: posterior.predict(x[None]).mean()[0])(X)
    assert_close(each, whole.mean(), 1e-10)
    density = jax.jit(lambda y: posterior.predict(X).log_density(y))(LABELS)
    assert_close(density, whole.log_density(LABELS), 1e-10)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1\)"):
        posterior.predict(jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="num_draws must be an integer of at least 1"):
        posterior.predict(X, num_draws=0)
    monkeypatch.setattr(os, "sysconf", lambda _: 1)
    with pytest.raises(ValueError, match=r"the predictions would take 0\.0 GiB, more than"):
        posterior.predict(X)


def test_flattened_joins_chains_and_draws():
    tree = inference.flattened({"a": jnp.arange(12).reshape(2, 3, 2), "b": "text"})
    np.testing.assert_array_equal(tree["a"], jnp.arange(12).reshape(6, 2))
    assert tree["b"] == "text"


def test_scores_of_numbers():
    """Against the closed form for one Gaussian, and against definitions."""
    draws, n = 4000, 3
    law = inference.Gaussian(jnp.full(draws, 0.5))
    outputs = jnp.broadcast_to(jnp.array([[0.0], [1.0], [-1.0]]), (draws, n, 1))
    predictive = inference.Predictive(law, outputs, jnp.full((draws, n), 0.11))
    y, scale = np.array([0.2, 2.5, -1.1]), 0.6
    z = (y - np.asarray(outputs[0, :, 0])) / scale
    crps = scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    scores = predictive.evaluate(y, key=jax.random.key(0))
    assert abs(scores["crps"] - crps.mean()) < 0.02
    assert_close(scores["nll"], -stats.norm.logpdf(z).mean() + np.log(scale), 1e-5)
    assert_close(scores["rmse"], np.sqrt(np.mean((z * scale) ** 2)), 1e-5)
    assert_close(scores["coverage"], 2 / 3, 1e-6)
    interval = predictive.interval(0.9, key=jax.random.key(0))
    np.testing.assert_allclose(interval[:, 1, 0], 1 + np.array([-1, 1]) * 1.645 * scale, atol=0.05)
    with pytest.raises(ValueError, match="key must be given: the scores crps and coverage"):
        predictive.evaluate(y)


def test_scores_of_labels_average_probabilities():
    """Labels need no key; nor do observations that are 0 or 1, which are labels of two classes."""
    logits = jnp.array([[[4.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 3.0]]])
    predictive = inference.Predictive(inference.Categorical(), logits, None)
    probabilities = np.asarray(jax.nn.softmax(logits)).mean(0)
    assert_close(predictive.mean(), probabilities, 1e-6)
    scores = predictive.evaluate(np.array([0, 0]))
    assert_close(scores["nll"], -np.log(probabilities[:, 0]).mean(), 1e-5)
    assert scores["accuracy"] == 0.5
    hot = np.array([[1, 0], [1, 0]])
    assert_close(scores["brier"], ((probabilities - hot) ** 2).sum(1).mean(), 1e-5)
    sure = probabilities.max(1)
    assert_close(scores["ece"], (abs(1 - sure[0]) + abs(0 - sure[1])) / 2, 1e-5)
    of_1 = (logits[..., 0] - logits[..., 1])[..., None]
    binary = inference.Predictive(inference.Bernoulli(), of_1, None)
    for y in (np.array([True, True]), np.array([1, 1])):
        for name, value in binary.evaluate(y).items():
            assert_close(value, scores[name], 1e-5)
    with pytest.raises(ValueError, match=r"y must be labels in \[0, 2\)"):
        predictive.evaluate(np.array([0, 2]))
    with pytest.raises(ValueError, match="y must have 1 columns, got 2"):
        binary.evaluate(np.zeros((2, 2)))


# --- diagnostics --------------------------------------------------------------------------------


class Constant(eqx.Module):
    """The same output everywhere."""

    value: jax.Array

    def __call__(self, x):
        return jnp.broadcast_to(self.value, (len(x), 1))


def constants(values, y):
    likelihood = inference.Gaussian(jnp.ones(values.shape))
    return inference.Posterior(
        Constant(values), likelihood, jnp.zeros((len(y), 1)), y, key=jax.random.key(0),
        parameters={"mean": values},
    )  # fmt: skip


def test_leave_one_out_of_a_normal_mean():
    """The posterior of a mean with a flat prior, without each of 30 rows in closed form."""
    y = np.random.default_rng(0).normal(size=30)
    draws = np.random.default_rng(1).normal(y.mean(), 30**-0.5, size=(4, 500))
    found = inference.leave_one_out(constants(jnp.asarray(draws), jnp.asarray(y)[:, None]))
    others = (y.sum() - y) / 29
    expected = -stats.norm.logpdf(y, others, np.sqrt(1 + 1 / 29))
    assert abs(found["nll"] - expected.mean()) < 0.01
    assert abs(found["se"] - expected.std(ddof=1) / np.sqrt(30)) < 0.01
    assert found["bad"] == 0


@pytest.mark.parametrize(
    ("values", "bad", "nll"),
    [
        (np.zeros((2, 40)), 1, True),  # chains that do not move
        (np.repeat([[0.0], [2.0]], 40, 1), 1, True),
        (np.where(np.arange(80).reshape(2, 40) == 3, np.nan, 0.1), 1, False),
        (np.where(np.arange(80).reshape(2, 40) % 2, 0.0, 0.1), 0, True),  # equal tails
    ],
)
def test_leave_one_out_where_it_fails_says_so(values, bad, nll):
    found = inference.leave_one_out(constants(jnp.asarray(values), jnp.ones((6, 1))))
    assert found["bad"] == bad
    assert np.isfinite(found["nll"]) == nll
    assert ("statement" in found) == bool(bad)
    if bad:
        assert found["statement"].startswith("leave-one-out by importance sampling fails in 1 of")


def test_leave_one_out_of_classes_that_are_sure():
    """All densities are 1: nothing fails; with one other row, neither."""
    logits = 300 * jax.nn.one_hot(LABELS, 3)
    draws = jnp.broadcast_to(logits, (2, 40, 6, 3))

    class Table(eqx.Module):
        logits: jax.Array

        def __call__(self, x):
            return jnp.broadcast_to(self.logits, (len(x), 3))

    def posterior(draws):
        law = inference.Categorical(3)
        return inference.Posterior(Table(draws), law, X, LABELS, key=jax.random.key(0))

    found = inference.leave_one_out(posterior(draws))
    assert found["bad"] == 0
    assert "statement" not in found
    assert max(abs(found["nll"]), found["se"]) < 1e-6
    noise = 0.1 * jax.random.normal(jax.random.key(0), (2, 40))
    found = inference.leave_one_out(posterior(draws.at[:, :, 0, 1].set(300 + noise)))
    assert found["bad"] == 0
    assert abs(found["nll"] - np.log(2) / 6) < 0.01


def test_convergence_of_chains_that_agree_and_that_do_not():
    noise = np.random.default_rng(0).normal(size=(2, 300))
    y = jnp.zeros((3, 1))
    good = inference.convergence(constants(jnp.asarray(noise), y), jnp.zeros((2, 1)))
    assert good["r_hat"] < 1.02
    assert good["ess"] > 300
    assert good["divergences"] == 0
    of_mean = good["unknowns"]["mean"]
    assert_close([of_mean["mean"], of_mean["sd"]], [noise.mean(), noise.std()], 1e-6, 1e-9)
    assert_close([of_mean["q05"], of_mean["q95"]], np.quantile(noise, [0.05, 0.95]), 1e-6)
    apart = noise + np.array([[0.0], [5.0]])
    bad = inference.convergence(constants(jnp.asarray(apart), y), jnp.zeros((2, 1)))
    assert bad["r_hat"] > 1.5
    assert bad["ess"] < 20
