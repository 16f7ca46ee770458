"""SGHMC from end to end: posteriors of any network, runs that resume, files, errors."""

import signal

import arviz_stats
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from own_layers import Bumps
from scipy import stats

from mogp import MoGP, inference, nn, priors
from mogp.inference.sghmc import _sampler


@pytest.fixture(scope="module")
def classes():
    """300 points of three Gaussian classes in the plane: x, y."""
    keys = jax.random.split(jax.random.key(0))
    y = jax.random.randint(keys[0], (300,), 0, 3)
    centres = jnp.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centres[y] + jax.random.normal(keys[1], (300, 2)), y


MODEL = MoGP([priors.GeneralizedGamma(alpha=dist.Uniform(0.0, 1.0))], bias_scale=1.0)
SMALL = {
    "width": 5, "num_epochs": 12, "num_chains": 2, "exploration": 0.25, "burn_in": 0.25,
    "samples_per_cycle": 3, "checkpoint_every": 2, "num_cycles": 1, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(classes):
    """A run without interruption."""
    return inference.sghmc(MODEL, *classes, key=jax.random.key(3), **SMALL)


def assert_same(a, b):
    """Posteriors with the same draws, to the bit."""
    for found, wanted in zip(
        jax.tree.leaves(eqx.filter(a.sources, eqx.is_array)),
        jax.tree.leaves(eqx.filter(b.sources, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)
    for name, values in a.epochs.items():
        np.testing.assert_array_equal(values, b.epochs[name])


def test_the_result_is_a_posterior(whole, classes, key):
    x, y = classes
    assert whole.sources.weights[0].shape == (2, 3, 5, 2)
    assert whole.sources.priors[0].alpha.shape == (2, 3)
    assert_close(whole.parameters["prior0.alpha"], whole.sources.priors[0].alpha, rtol=1e-12)
    tree = whole.data
    assert_close(tree["posterior"]["prior0.alpha"].values, whole.parameters["prior0.alpha"], 1e-12)
    assert tree["log_likelihood"]["y"].shape == (2, 3, 300)
    assert tree["posterior_predictive"]["y"].shape == (2, 3, 300)
    assert tree["epochs"]["loss"].shape == (2, 12)
    assert tree["epochs"]["temperature"].values[0].tolist() == 3 * [0] + 9 * [1]
    assert "noise is not corrected" in tree.attrs["gradients"]
    assert whole.evaluate(x, y, key=key)["accuracy"] > 0.6
    draw = jax.tree.map(lambda a: a[1, 2], eqx.filter(whole.sources, eqx.is_array))
    network = eqx.combine(draw, eqx.filter(whole.sources, eqx.is_array, inverse=True))
    wanted = jax.nn.log_softmax(network(x))[jnp.arange(300), y]
    assert_close(tree["log_likelihood"]["y"].values[1, 2], wanted, rtol=1e-9)
    total = tree["posterior"]["log_variance_sum0"].values
    assert_close(total, jax.nn.logsumexp(whole.sources.log_variances[0], -1), rtol=1e-12)


def test_a_second_run_of_equal_shapes_compiles_nothing(whole, classes, compilations):
    (x, y), key = classes, jax.random.key(4)
    data = x + 1, y[::-1]
    compilations.clear()
    other = inference.sghmc(MODEL, *data, key=key, **SMALL)
    assert compilations == []
    assert not np.array_equal(other.sources.weights[0], whole.sources.weights[0])


# --- runs: the matrix of kills is tested on the toy of test_runner.py ----------------------------


def test_a_killed_run_resumes_to_the_same_draws(whole, classes, tmp_path, monkeypatch):
    path, advance, calls = tmp_path / "sghmc.ckpt", _sampler.patiently, []

    def dies(*args):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("killed")
        return advance(*args)

    arguments = SMALL | {"key": jax.random.key(3), "checkpoint": path}
    with monkeypatch.context() as patch:
        patch.setattr(_sampler, "patiently", dies)
        with pytest.raises(RuntimeError, match="killed"):
            inference.sghmc(MODEL, *classes, **arguments)
    assert_same(inference.sghmc(MODEL, *classes, **arguments), whole)
    for change in (
        {"step_size": 0.3},
        {"num_epochs": 16},
        {"noise": "hash"},
        {"key": jax.random.key(4)},
        {"likelihood": inference.Categorical(3)},
        {"model": MoGP([priors.GeneralizedGamma(alpha=dist.Beta(1.0, 1.0))], bias_scale=1.0)},
    ):
        (name,) = change
        field = {"step_size": "settings", "num_epochs": "settings", "noise": "settings"}
        with pytest.raises(ValueError, match=f"another run: {field.get(name, name)} is"):
            inference.sghmc(
                **{"model": MODEL, "x": classes[0], "y": classes[1]} | arguments | change
            )


def test_ctrl_c_keeps_what_was_drawn(whole, classes, monkeypatch):
    advance, calls = _sampler.patiently, []

    def stops(*args):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return advance(*args)

    monkeypatch.setattr(_sampler, "patiently", stops)
    part = inference.sghmc(MODEL, *classes, key=jax.random.key(3), **SMALL)
    assert part.attrs["interrupted"]
    num = part.sources.weights[0].shape[1]
    assert 0 < num < 3
    np.testing.assert_array_equal(part.sources.weights[0], whole.sources.weights[0][:, :num])


def test_a_saved_posterior_is_loaded(whole, classes, tmp_path, key):
    whole.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(tmp_path / "posterior.nc", MODEL, likelihood="categorical")
    assert_same(again, whole)
    assert_close(again.predict(classes[0]).mean(), whole.predict(classes[0]).mean(), rtol=1e-12)
    assert_close(again.parameters["prior0.alpha"], whole.parameters["prior0.alpha"], rtol=1e-12)
    other = MoGP([priors.Horseshoe()], bias_scale=1.0)
    with pytest.raises(ValueError, match="model must be that of"):
        inference.load_posterior(tmp_path / "posterior.nc", other)


# --- any network with layers of nodes -------------------------------------------------------------


class OwnPrior(priors.Prior):
    """A user's prior, whose distribution is NumPyro's alone."""

    shape: float
    bounds = {"shape": (0.0, np.inf)}  # noqa: RUF012

    def law(self, width):
        return dist.Gamma(self.shape, self.shape * width)


class Chain(eqx.Module):
    """A user's network: bumps, then a Gaussian-mixture layer with components that are nodes."""

    first: Bumps
    last: nn.GMLayer

    def __call__(self, x):
        return self.last(self.first(x))


def bumps(key, out_size=1, shape=2.0):
    keys, number = jax.random.split(key), 6
    return Bumps(
        jax.random.normal(keys[0], (number, 2)), jax.random.normal(keys[1], (number, out_size)),
        jnp.full(number, -np.log(number)), OwnPrior(shape), number,
    )  # fmt: skip


def chain(key):
    """The shape of the first prior is learned."""
    first, last = jax.random.split(key)
    return Chain(
        bumps(first, 4, dist.LogNormal(0.0, 0.5)),
        nn.GMLayer(4, 1, 5, prior=priors.Horseshoe(), key=last),
    )


@pytest.fixture(scope="module")
def of_chain(classes):
    """Draws that follow the prior, for data that say nothing."""
    x, _ = classes
    return inference.sghmc(
        chain, x[:20], x[:20, :1], key=jax.random.key(1),
        likelihood=inference.Gaussian(noise_scale=1e3), num_epochs=200, num_chains=40,
        step_size=0.05, friction=0.5, schedule="constant", exploration=0.0, burn_in=0.5,
        samples_per_cycle=3, checkpoint_every=200, progress=False,
    )  # fmt: skip


def test_layers_of_nodes_of_any_network_are_sampled(of_chain):
    assert set(of_chain.parameters) == {"prior0.shape"}
    first, last = nn.nodes(of_chain.sources)
    assert first.log_variances.shape == (40, 3, 6)
    assert first.prior.shape.shape == (40, 3)
    assert last.log_variances.shape == (40, 3, 5)
    assert np.mean(of_chain.statistics["refreshed"] > 0) > 0.05
    for array in jax.tree.leaves(eqx.filter(of_chain.sources, eqx.is_array)):
        assert np.all(np.isfinite(array))


def test_without_data_they_follow_the_prior(of_chain):
    """Kolmogorov-Smirnov at 0.001, of the last draws of 40 chains."""
    first, last = nn.nodes(of_chain.sources)
    shape = np.asarray(of_chain.parameters["prior0.shape"])[:, -1]
    found = {"shape": stats.kstest(shape, stats.lognorm(0.5).cdf).pvalue}
    u = np.asarray(first.log_variances)[:, -1]
    levels = stats.gamma.cdf(np.exp(u), shape[:, None], scale=1 / (shape[:, None] * 6))
    found["gamma"] = stats.kstest(levels.ravel(), "uniform").pvalue
    root = np.exp(np.asarray(last.log_variances)[:, -1] / 2) * 5 * 2 / np.pi
    found["horseshoe"] = stats.kstest(root.ravel(), stats.halfcauchy.cdf).pvalue
    found["outgoing"] = stats.kstest(np.ravel(first.weights[:, -1]), "norm").pvalue
    assert min(found.values()) > 1e-3, found


def test_a_posterior_of_a_user_s_network_is_saved_and_loaded(classes, tmp_path):
    x, _ = classes
    posterior = inference.sghmc(
        bumps, x[:20], x[:20, :1], key=jax.random.key(1), likelihood="gaussian", num_epochs=2,
        num_chains=1, exploration=0.0, burn_in=0.0, samples_per_cycle=2, temperature=0.0,
        progress=False,
    )  # fmt: skip
    posterior.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(tmp_path / "posterior.nc", bumps, likelihood="gaussian")
    assert_same(again, posterior)
    np.testing.assert_array_equal(again.predict(x).mean(), posterior.predict(x).mean())


# --- arguments ------------------------------------------------------------------------------------


class Plain(eqx.Module):
    """A network without node variances."""

    w: jax.Array

    def __call__(self, x):
        return x @ self.w


class Bounded(priors.Prior):
    """A user's prior with bounded node variances."""

    def law(self, width):
        return dist.Uniform(0.0, 2 / width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 3, "width": None}, "model must be a MoGP, an Equinox module, or a function"),
        ({"model": Plain(jnp.zeros((2, 3)))}, "width belongs to a MoGP"),
        ({"width": None}, "width must be given with a MoGP"),
        ({"model": MoGP([priors.Horseshoe()], weight_scale=dist.HalfNormal(1.0))}, "must be num"),
        ({"model": MoGP([priors.Stable(0.5)])}, "node variances of Stable are bounded"),
        ({"model": MoGP([priors.Beta(1.0, 1.0)])}, "use nuts, or a prior whose distributions have"),
        ({"model": MoGP([priors.RegularizedHorseshoe(1.0)])}, "RegularizedHorseshoe are bounded"),
        ({"model": MoGP([Bounded()])}, "node variances of Bounded are bounded"),
        ({"model": Plain(jnp.zeros((2, 2))), "width": None}, r"outputs of shape \(n, 3\) for y"),
        ({"model": Plain(None), "width": None}, "model must have at least one floating-point"),
        ({"x": jnp.full((300, 2), jnp.nan)}, "x must be finite, got NaN or infinity in 300 of 300"),
        ({"y": jnp.zeros(299, int)}, r"y must have shape \(300,\)"),
        ({"batch_size": 301}, "batch_size must be at most n = 300, got 301"),
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1"),
        ({"num_cycles": 0}, "num_cycles must be an integer of at least 1"),
        ({"num_cycles": 5}, "num_cycles must divide num_epochs = 12, got 5"),
        ({"samples_per_cycle": 9}, "samples_per_cycle must be at most 6"),
        ({"exploration": 1.0}, r"exploration must be in \[0, 1\), got 1.0"),
        ({"burn_in": -0.1}, r"burn_in must be in \[0, 1\), got -0.1"),
        ({"friction": 1.5}, "friction must be in"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"temperature": -1.0}, "temperature must be at least 0 and finite, got -1.0"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"noise": "rbg"}, "noise must be one of"),
        ({"likelihood": "hinge"}, "likelihood must be one of"),
        ({"scales": {"variances": 2.0}}, r"scales: no parameter is called \['variances'\]"),
        ({"scales": {"weights": 0.0}}, r"scales\['weights'\] must be above 0"),
        ({"num_chains": 0}, "num_chains must be an integer of at least 1"),
        (
            {"model": MoGP([priors.GBFRY(dist.Uniform(jnp.zeros(2), 1.0), 2.0)])},
            "prior0.alpha must have the distribution of one number",
        ),
    ],
)
def test_bad_arguments(change, message, classes, key):
    arguments = {"model": MODEL, "x": classes[0], "y": classes[1], "key": key} | SMALL | change
    with pytest.raises(ValueError, match=message):
        inference.sghmc(**arguments)


@pytest.mark.statistical
def test_node_variances_and_alpha_mix(classes):
    """R-hat below 1.05 from four starts, with all rows a step; docs/sghmc.md has it for digits.

    Starts: `α` from its law, weights from the prior, node variances `1/p`. In single precision.
    """
    x, y = classes
    posterior = inference.sghmc(
        MODEL, jnp.asarray(x, jnp.float32), y, width=10, key=jax.random.key(0),
        num_epochs=12_000, batch_size=300, step_size=0.3, friction=0.03, schedule="constant",
        exploration=0.02, burn_in=0.18, samples_per_cycle=1000, moves_every=8,
        checkpoint_every=12_000, progress=False,
    )  # fmt: skip
    names = [f"log_variance_{of}0" for of in ("mean", "sum", "max")] + ["prior0.alpha"]
    rhat = arviz_stats.rhat(posterior.data["posterior"].dataset[names])
    assert all(float(rhat[name]) < 1.05 for name in names), rhat
    assert posterior.evaluate(x, y, key=jax.random.key(1))["accuracy"] > 0.8


def test_parameters_that_are_nan_behind_a_finite_loss_are_lost():
    """Maxima drop NaN, so that a network with pooling may have a loss and nothing else."""
    draws = np.ones((3, 2, 4), np.float32)
    draws[1:, 1, 2] = np.nan
    numbers = {"loss": np.ones((5, 2))}
    assert _sampler._lost(({"w": draws, "count": np.ones((3, 2), int)}, numbers)).tolist() == [
        False,
        True,
    ]
    numbers["loss"][-1, 0] = np.inf
    assert _sampler._lost(({"w": draws}, numbers)).all()
    assert not _sampler._lost(({"w": draws[:0]}, {"loss": np.ones((5, 2))})).any()
