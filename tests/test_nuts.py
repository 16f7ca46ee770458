"""Posteriors by NUTS: densities by hand, importance weighting, calibration, kills and resumes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from numpyro.infer import Predictive, util
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, limit, priors
from mogp.inference import _checkpoint
from mogp.inference._polar import Directions, polar_rows, unit
from mogp.inference._setup import setup_of

X = jnp.linspace(-1.0, 1.0, 5)[:, None]
Y = jnp.array([0.9, 0.4, 0.1, 0.6, 1.2])
MODEL = MoGP([priors.Horseshoe()], bias_scale=0.5)
SHORT = {"num_warmup": 20, "num_samples": 12, "num_chains": 2, "progress": False}


def setup(model=MODEL, likelihood=None, *, num_outputs=1, width=None, num_jumps=3, method="dense"):
    law = inference.Gaussian() if likelihood is None else likelihood
    method = "low_rank" if width else method
    return setup_of(model, X, law, num_outputs, width, num_jumps, 2, method)


@pytest.fixture(scope="module")
def posterior():
    """The five points under the limit of a horseshoe network with ten jumps."""
    return inference.nuts(
        MODEL, X, Y, key=jax.random.key(1), num_jumps=10, num_warmup=500, num_samples=1000,
        num_chains=2, likelihood=inference.Gaussian(0.3), progress=False,
    )  # fmt: skip


# --- the density --------------------------------------------------------------------------------


@needs_x64
@pytest.mark.parametrize("method", ["dense", "low_rank"])
def test_density_of_the_limit(method):
    """Log priors of all sites, and the marginal likelihood with the kernel of the path."""
    made, law = setup(method=method), inference.Gaussian()
    drawn = Predictive(made.numpyro_model, num_samples=1)(jax.random.key(0), X)
    values = {name: value[0] for name, value in drawn.items()}
    assert values["weights0"].shape == ((3 if method == "dense" else 5), 1)
    sites = {name: values[name] for name in ("gaps0", "nodes0", "noise_scale")}
    density, _ = util.log_density(made.numpyro_model, (X, Y[:, None]), {}, sites)

    sizes = MODEL.priors[0].limit.levy.inverse_tail(jnp.cumsum(values["gaps0"]))
    np.testing.assert_allclose(values["node_variances0"], sizes, rtol=1e-12)
    rest = MODEL.priors[0].limit.levy.moment(1, sizes[-1])
    np.testing.assert_allclose(values["diffuse0"], rest, rtol=1e-12)
    values = {name: np.asarray(value) for name, value in values.items()}
    nodes = np.asarray(X) * values["weights0"][:, 0] + 0.5 * values["biases0"]
    if method == "dense":
        features = np.sqrt(sizes) * np.maximum(nodes, 0)
        first = limit.gp_kernel(MoGP([priors.Deterministic()], bias_scale=0.5), X) - 0.25
        kernel = features @ features.T + rest * np.asarray(first) + 0.25
    else:
        root = np.sqrt(np.concatenate([sizes, np.full(2, rest / 2)]))
        features = root * np.maximum(nodes, 0)
        kernel = features @ features.T + 0.25
    noise = float(values["noise_scale"])
    expected = stats.multivariate_normal(cov=kernel + noise**2 * np.eye(5)).logpdf(Y)
    expected += stats.norm.logpdf(values["weights0"]).sum()
    expected += stats.norm.logpdf(values["biases0"]).sum() - np.sum(values["gaps0"])
    expected += law.noise_scale.log_prob(noise)
    np.testing.assert_allclose(density, expected, rtol=1e-9)


@needs_x64
def test_density_of_a_network():
    """With all weights explicit it is `log_prior` and the likelihood; `λ` without the Jacobian."""
    prior = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=3.0)
    made = setup(MoGP([prior], bias_scale=0.5), inference.Bernoulli(), width=4)
    drawn = Predictive(made.numpyro_model, num_samples=1)(jax.random.key(0), X)
    values = {name: value[0] for name, value in drawn.items() if name not in ("y", "outputs")}
    labels = (Y > 0.5).astype(float)[:, None]
    density, _ = util.log_density(made.numpyro_model, (X, labels), {}, values)
    network, _ = made.draw(values)
    alpha = values["prior0.alpha"]
    assert float(network.priors[0].alpha) == float(alpha)
    np.testing.assert_allclose(jnp.exp(network.log_variances[0]), values["node_variances0"])
    expected = network.log_prior() - jnp.sum(network.log_variances[0])
    expected += stats.beta.logpdf(alpha, 2, 2)
    expected += stats.bernoulli.logpmf(labels, 1 / (1 + np.exp(-network(X)))).sum()
    np.testing.assert_allclose(density, expected, rtol=1e-9)


@needs_x64
def test_node_variances_of_a_network_are_not_constants():
    """Their gradient reaches the marginal likelihood."""
    made = setup(width=4)
    drawn = Predictive(made.numpyro_model, num_samples=1)(jax.random.key(0), X)
    values = {name: value[0] for name, value in drawn.items()}

    def value(variances):
        source, law = made.draw(values | {"node_variances0": variances})
        given = limit.condition(source, X, Y, noise_scale=law.noise_scale, method="low_rank")
        return given.log_marginal_likelihood()

    at, step = values["node_variances0"], 1e-6
    slopes = jax.grad(value)(at)
    for i in range(4):
        move = step * at[i] * jnp.eye(4)[i]
        expected = (value(at + move) - value(at - move)) / (2 * step * at[i])
        np.testing.assert_allclose(slopes[i], expected, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_rows_from_directions_and_norms_are_normal(size):
    """Their draws are; and the density of both sites integrates what does not matter to a constant.

    That is: in polar coordinates, `p(g) |g|^(size-1)` is that of a log-normal norm for every
    direction.
    """
    draw = lambda: numpyro.deterministic("rows", polar_rows("g", 500, size, jnp.zeros(()).dtype))  # noqa: E731
    drawn = Predictive(draw, num_samples=4)(jax.random.key(0))
    rows = np.asarray(drawn["rows"]).reshape(-1, size)
    assert stats.kstest(rows[:, 0], "norm").pvalue > 1e-3
    assert stats.kstest((rows**2).sum(1), stats.chi2(size).cdf).pvalue > 1e-3
    if size > 2:
        norms = np.linalg.norm(np.asarray(drawn["g"]).reshape(-1, size), axis=1)
        assert stats.kstest(np.log(norms), stats.norm(0, 0.1).cdf).pvalue > 1e-3
        law, at = Directions(size, norms.dtype), jnp.geomspace(0.7, 1.4, 9)
        direction = jax.random.normal(jax.random.key(1), (size,))
        value = law.log_prob(at[:, None] * unit(direction)[None]) + (size - 1) * jnp.log(at)
        ratio = np.asarray(value) - stats.lognorm(0.1).logpdf(at)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_unknown_parameters_are_sites():
    prior = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=dist.LogNormal(0.0, 1.0))
    model = MoGP(
        [prior, priors.Horseshoe()],
        weight_scale=dist.LogNormal(0.0, 1.0),
        bias_scale=(dist.HalfNormal(1.0), 0.0, 1.0),
    )
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        drawn = inference.sample_parameters(model)
    assert sorted(trace) == ["bias_scale0", "prior0.alpha", "prior0.tau", "weight_scale"]
    assert drawn.scales[0] == (trace["weight_scale"]["value"], trace["bias_scale0"]["value"])
    with pytest.raises(ValueError, match=r"is a law.*sample_parameters draws it"):
        _ = model.scales


# --- the draws ----------------------------------------------------------------------------------


@needs_x64
def test_posterior_equals_weighted_draws_of_the_prior(posterior):
    """[AFT]: the mixture of GP posteriors over 100,000 prior draws, weighted by likelihood."""
    made = setup(likelihood=inference.Gaussian(0.3), num_jumps=10)
    new = jnp.array([[-0.6], [0.2], [2.0]])

    def one(key):
        with numpyro.handlers.seed(rng_seed=key), numpyro.handlers.trace() as trace:
            made.numpyro_model(X)
        values = {n: s["value"] for n, s in trace.items() if n not in ("y", "outputs")}
        source, _ = made.draw(values)
        given = limit.condition(source, X, Y, noise_scale=0.3)
        mean, variance = given.predict(new)
        second = mean[:, 0] ** 2 + variance
        largest = jnp.log(values["node_variances0"][:3])
        return given.log_marginal_likelihood(), jnp.concatenate([mean[:, 0], second, largest])

    keys = jax.random.split(jax.random.key(2), 100_000)
    logs, quantities = jax.jit(lambda k: jax.lax.map(one, k, batch_size=1000))(keys)
    weights, quantities = np.asarray(jax.nn.softmax(logs))[:, None], np.asarray(quantities)
    mean = np.sum(weights * quantities, 0)
    error = np.sqrt(np.sum((weights * (quantities - mean)) ** 2, 0))

    predictive = posterior.predict(new)
    outputs = predictive.outputs[:, :, 0]
    sizes = jnp.log(posterior.data.posterior["node_variances0"].values.reshape(-1, 10)[:, :3])
    drawn = jnp.concatenate([outputs, outputs**2 + predictive.variance, sizes], 1)
    drawn = np.asarray(drawn)
    batches = drawn.reshape(40, 50, -1).mean(1)
    own = batches.std(0, ddof=1) / np.sqrt(40)
    assert np.all(np.abs(drawn.mean(0) - mean) < 4 * np.hypot(error, own))


def test_tree(posterior, tmp_path):
    tree = posterior.data
    assert set(tree.children) == {
        "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "prior",
        "prior_predictive", "observed_data", "constant_data",
    }  # fmt: skip
    assert tree.posterior["weights0"].dims == ("chain", "draw", "jump0", "input")
    assert tree.posterior["node_variances0"].shape == (2, 1000, 10)
    assert tree.posterior_predictive["y"].dims == ("chain", "draw", "row", "output")
    assert tree.log_likelihood["y"].shape == (2, 1000, 5)
    assert "5.12" in tree["log_likelihood"].attrs["y"]
    assert int(tree.sample_stats["diverging"].sum()) == 0
    assert tree.prior["gaps0"].shape == (1, 1000, 10)
    posterior.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(
        tmp_path / "posterior.nc", MODEL, likelihood=inference.Gaussian(0.3)
    ).data
    np.testing.assert_array_equal(again.posterior["gaps0"].values, tree.posterior["gaps0"].values)


def test_pointwise_values_are_leave_one_out(posterior):
    """`log p(y_i | y_-i, draw)` by a refit without the row."""
    source, law = jax.tree.map(lambda a: a[1, 7] if hasattr(a, "ndim") else a,
                               (posterior.sources, posterior.likelihood))  # fmt: skip
    keep = jnp.array([0, 1, 3, 4])
    given = limit.condition(source, X[keep], Y[keep], noise_scale=law.noise_scale)
    mean, variance = given.predict(X[2:3])
    expected = stats.norm.logpdf(Y[2], mean[0, 0], np.sqrt(variance[0] + 0.3**2))
    assert_close(posterior.data.log_likelihood["y"].values[1, 7, 2], expected, 1e-6)


@pytest.mark.slow
@needs_x64
@pytest.mark.parametrize("width", [None, 4])
def test_calibration(width):
    """Ranks of what made the data are uniform; benchmarks/calibration.py has the full version."""
    model = MoGP([priors.Horseshoe()], weight_scale=dist.LogNormal(0.0, 0.5), bias_scale=1.0)
    ranks = inference.calibrate(
        model, X, key=jax.random.key(5), width=width, num_jumps=3, num_replications=30,
        num_warmup=100, num_samples=19, thin=3,
    )  # fmt: skip
    wanted = {"noise_scale", "weight_scale", "node_variances0", "output"}
    assert wanted <= set(ranks["quantity"].values)
    assert ranks["rank"].shape == (30, 4 + (width is None))
    assert float(ranks["p_value"].min()) > 1e-3


# --- long runs ----------------------------------------------------------------------------------


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def whole():
    return inference.nuts(MODEL, X, Y, key=jax.random.key(3), num_jumps=3, checkpoint_every=5,
                          **SHORT)  # fmt: skip


@pytest.mark.parametrize("kill_at", [1, 4, 6])
def test_a_resumed_chain_is_the_same(whole, kill_at, tmp_path, monkeypatch):
    """Killed in the warmup, at its end and afterwards, right after or before a write."""
    saves, save = [], _checkpoint.save

    def save_or_die(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == kill_at:
            raise KilledError

    path = tmp_path / "chain"
    call = lambda: inference.nuts(  # noqa: E731
        MODEL, X, Y, key=jax.random.key(3), num_jumps=3, checkpoint=path, checkpoint_every=5,
        **SHORT,
    )  # fmt: skip
    monkeypatch.setattr(_checkpoint, "save", save_or_die)
    with pytest.raises(KilledError):
        call()
    resumed = call()
    for name, values in whole.data.posterior.items():
        np.testing.assert_array_equal(resumed.data.posterior[name].values, values.values)
    other = dict(SHORT, num_chains=3)
    with pytest.raises(ValueError, match="belongs to another run: num_chains is 2 there"):
        inference.nuts(MODEL, X, Y, key=jax.random.key(3), num_jumps=3, checkpoint=path, **other)


def test_interruption_keeps_what_was_drawn(whole, tmp_path, monkeypatch):
    saves, save = [], _checkpoint.save

    def save_or_stop(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(_checkpoint, "save", save_or_stop)
    cut = inference.nuts(
        MODEL, X, Y, key=jax.random.key(3), num_jumps=3, checkpoint=tmp_path / "chain",
        checkpoint_every=5, **SHORT,
    )  # fmt: skip
    assert cut.data.attrs["interrupted"] == 1
    got, full = cut.data.posterior["gaps0"].values, whole.data.posterior["gaps0"].values
    np.testing.assert_array_equal(got, full[:, : got.shape[1]])
    assert 0 < got.shape[1] < 12


def test_a_second_writer_is_refused(tmp_path):
    with (
        _checkpoint.only_writer(tmp_path / "chain"),
        pytest.raises(BlockingIOError, match="is being written by another process"),
    ):
        inference.nuts(MODEL, X, Y, key=jax.random.key(3), num_jumps=3,
                       checkpoint=tmp_path / "chain", **SHORT)  # fmt: skip


# --- likelihoods and predictions ----------------------------------------------------------------

LABELS = jnp.array([0, 1, 2, 1, 0])


@pytest.mark.parametrize(
    ("likelihood", "y", "logpdf"),
    [
        (inference.Gaussian(0.5), Y, lambda y, f: stats.norm.logpdf(y, f, 0.5)),
        (inference.StudentT(0.5, 3.0), Y, lambda y, f: stats.t.logpdf(y, 3, f, 0.5)),
        (
            inference.Bernoulli(),
            jnp.array([0, 1, 1, 0, 1]),
            lambda y, f: stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-f))),
        ),
        (
            inference.Poisson(),
            jnp.array([0, 3, 1, 0, 12]),
            lambda y, f: stats.poisson.logpmf(y, np.exp(f)),
        ),
    ],
    ids=lambda v: type(v).__name__,
)
def test_likelihoods(likelihood, y, logpdf):
    outputs = jnp.array([[0.3], [-1.0], [0.0], [2.0], [1.5]])
    targets = likelihood.targets(y, 5)
    expected = logpdf(np.asarray(y), np.asarray(outputs[:, 0]))
    assert_close(likelihood.law(outputs).log_prob(targets), expected, 1e-6, 1e-6)


def test_categorical_likelihood():
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    law = inference.Categorical()
    targets = law.targets(LABELS, 5)
    assert law.num_outputs(targets) == 3
    expected = jax.nn.log_softmax(logits)[jnp.arange(5), LABELS]
    assert_close(law.law(logits).log_prob(targets), expected, 1e-6)


@pytest.mark.parametrize(
    ("likelihood", "y", "width"),
    [("student_t", Y, None), ("categorical", LABELS, 3)],
)
def test_other_likelihoods_run(likelihood, y, width):
    posterior = inference.nuts(
        MODEL, X, y, key=jax.random.key(0), likelihood=likelihood, width=width, num_jumps=3,
        num_diffuse=2, **SHORT,
    )  # fmt: skip
    scores = posterior.evaluate(X, y)
    assert all(np.isfinite(value) for value in scores.values())
    assert posterior.data.posterior_predictive["y"].shape[:3] == (2, 12, 5)
    classes = 3 if likelihood == "categorical" else 1
    assert posterior.predict(X, num_draws=4).mean().shape == (5, classes)


def test_single_precision():
    with jax.enable_x64(False):
        posterior = inference.nuts(
            MODEL, np.asarray(X, np.float32), np.asarray(Y, np.float32), key=jax.random.key(0),
            num_jumps=5, num_warmup=100, num_samples=50, num_chains=2, progress=False,
        )  # fmt: skip
        assert posterior.data.posterior["gaps0"].dtype == np.float32
        assert all(np.isfinite(v).all() for v in posterior.data.posterior.values())
        assert int(posterior.data.sample_stats["diverging"].sum()) == 0


def test_scores_of_numbers():
    """Against the closed form for one Gaussian, and against definitions."""
    draws, n = 4000, 3
    law = inference.Gaussian(jnp.full(draws, 0.5))
    outputs = jnp.broadcast_to(jnp.array([[0.0], [1.0], [-1.0]]), (draws, n, 1))
    predictive = inference.Predictive(law, outputs, jnp.full((draws, n), 0.11))
    y, scale = np.array([0.2, 2.5, -1.1]), 0.6
    z = (y - np.asarray(outputs[0, :, 0])) / scale
    crps = scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    scores = predictive.evaluate(y)
    assert abs(scores["crps"] - crps.mean()) < 0.02
    assert_close(scores["nll"], -stats.norm.logpdf(z).mean() + np.log(scale), 1e-5)
    assert_close(scores["rmse"], np.sqrt(np.mean((z * scale) ** 2)), 1e-5)
    assert_close(scores["coverage"], 2 / 3, 1e-6)
    interval = predictive.interval(0.9, key=jax.random.key(0))
    np.testing.assert_allclose(interval[:, 1, 0], 1 + np.array([-1, 1]) * 1.645 * scale, atol=0.05)


def test_scores_of_labels_average_probabilities():
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:4]}, r"y must have shape \(5,\)"),
        ({"y": Y.at[2].set(jnp.nan)}, r"y must be finite.*rows \[2\]"),
        ({"y": jnp.ones(5)}, "y must vary, got 5 times 1"),
        ({"y": Y, "likelihood": "bernoulli"}, r"y must be 0 or 1.*rows \[0, 1"),
        ({"y": LABELS - 1, "likelihood": "poisson"}, "y must be counts"),
        ({"y": 2 * LABELS, "likelihood": "categorical"}, r"no rows of classes \[1, 3\]"),
        ({"y": LABELS, "likelihood": inference.Categorical(2)}, r"labels in \[0, 2\)"),
        ({"y": Y, "likelihood": "normal"}, "likelihood must be one of"),
        ({"x": X[0]}, "x must have shape"),
        ({"x": X.at[1].set(jnp.inf)}, "x must be finite"),
        ({"num_jumps": 0}, "num_jumps must be"),
        ({"num_jumps": [3, 3]}, "num_jumps must be one number"),
        ({"width": [3, 3]}, "width must have one entry a prior"),
        ({"width": 3, "method": "dense"}, "method must be 'low_rank' for a finite network"),
        ({"method": "sparse"}, "method must be one of"),
        ({"num_samples": 0}, "num_samples must be"),
        ({"target_accept": 1.0}, "target_accept must be"),
        ({"model": MoGP([priors.Bernoulli(2.0)]), "width": 3}, "have no density"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"model": MODEL, "x": X, "y": Y, "num_jumps": 3} | arguments
    with pytest.raises(ValueError, match=message):
        inference.nuts(**arguments, key=jax.random.key(0), progress=False)


def test_one_observation():
    posterior = inference.nuts(MODEL, X[:1], Y[:1], key=jax.random.key(0), num_jumps=3, **SHORT)
    assert posterior.predict(X).outputs.shape == (24, 5, 1)
