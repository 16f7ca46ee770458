"""Posteriors by NUTS: densities by hand, importance weighting, kills and resumption."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive, util
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, limit, priors
from mogp.inference import _checkpoint
from mogp.inference.chains import _run
from mogp.inference.chains._polar import Directions, polar_rows, unit
from mogp.inference.chains._setup import setup_of

X = jnp.linspace(-1.0, 1.0, 5)[:, None]
Y = jnp.array([0.9, 0.4, 0.1, 0.6, 1.2])
LABELS = jnp.array([0, 1, 2, 1, 0])
MODEL = MoGP([priors.Horseshoe()], bias_scale=0.5)
SHORT = {"num_warmup": 20, "num_samples": 12, "num_chains": 2, "progress": False}


def setup(model=MODEL, likelihood=None, *, num_outputs=1, width=None, num_jumps=3, method="dense"):
    law = inference.Gaussian() if likelihood is None else likelihood
    method = "low_rank" if width else method
    return setup_of(model, X, law, num_outputs, width, num_jumps, 2, method)


def drawn_from(made, num=None):
    """Values of all sites; of many draws with an axis of them in front."""
    drawn = Predictive(made.numpyro_model, num_samples=num or 1)(jax.random.key(0), X)
    return {
        name: value if num else value[0]
        for name, value in drawn.items()
        if name not in ("y", "outputs")
    }


# --- the density --------------------------------------------------------------------------------


@needs_x64
@pytest.mark.parametrize("method", ["dense", "low_rank"])
def test_density_of_the_limit(method):
    """Log priors of all sites, and the marginal likelihood with the kernel of the path."""
    made, law = setup(method=method), inference.Gaussian()
    values = drawn_from(made)
    assert values["weights0"].shape == ((3 if method == "dense" else 5), 1)
    named = "last_arrival0", "places0", "nodes0", "noise_scale"
    sites = {name: values[name] for name in named}
    density, _ = util.log_density(made.numpyro_model, (X, Y[:, None]), {}, sites)

    arrivals = jnp.sort(values["last_arrival0"] * jnp.append(values["places0"], 1.0))
    sizes = MODEL.priors[0].limit.levy.inverse_tail(arrivals)
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
    expected += stats.norm.logpdf(values["biases0"]).sum()
    expected += stats.gamma.logpdf(values["last_arrival0"], 3)  # the third, of three
    expected += law.noise_scale.log_prob(noise)
    np.testing.assert_allclose(density, expected, rtol=1e-9)


@needs_x64
def test_arrivals_are_those_of_a_poisson_process():
    """Gaps between them are independent and exponential, and nodes go with their own variance."""
    made = setup(method="dense")
    values = {name: np.asarray(value) for name, value in drawn_from(made, 4000).items()}
    arrivals = np.sort(values["last_arrival0"][:, None] * np.insert(values["places0"], 2, 1, 1))
    gaps = np.diff(arrivals, axis=1, prepend=0)
    for i in range(3):
        assert stats.kstest(gaps[:, i], "expon").pvalue > 1e-3
    assert np.abs(np.corrcoef(gaps.T) - np.eye(3)).max() < 0.06
    largest = np.argmin(np.insert(values["places0"], 2, 1, 1), 1)
    rows = np.take_along_axis(np.asarray(values["nodes0"]), largest[:, None, None], 1)[:, 0]
    np.testing.assert_array_equal(rows[:, :1], values["weights0"][:, 0])


class Flat(priors.Prior):
    """A prior of the user's own: plain NumPyro gamma variances of mean 1/p, their shape unknown."""

    shape: float
    bounds = {"shape": (0, np.inf)}  # noqa: RUF012

    def law(self, width):
        return dist.Gamma(self.shape, self.shape * width)


@needs_x64
@pytest.mark.parametrize("make", [priors.InverseGamma, Flat])
def test_density_of_a_network(make):
    """With all weights explicit it is `log_prior` and the likelihood; `λ` without the Jacobian."""
    prior = make(shape=dist.Gamma(9.0, 3.0))
    made = setup(MoGP([prior], bias_scale=0.5), inference.Bernoulli(), width=4)
    values = drawn_from(made)
    labels = (Y > 0.5).astype(float)[:, None]
    density, _ = util.log_density(made.numpyro_model, (X, labels), {}, values)
    network, _ = made.draw(values)
    shape = values["prior0.shape"]
    assert float(network.priors[0].shape) == float(shape)
    np.testing.assert_allclose(jnp.exp(network.log_variances[0]), values["node_variances0"])
    expected = network.log_prior() - jnp.sum(network.log_variances[0])
    expected += stats.gamma.logpdf(shape, 9, scale=1 / 3)
    expected += stats.bernoulli.logpmf(labels, 1 / (1 + np.exp(-network(X)))).sum()
    np.testing.assert_allclose(density, expected, rtol=1e-9)


@needs_x64
def test_node_variances_of_a_network_are_not_constants():
    """Their gradient reaches the marginal likelihood."""
    made = setup(width=4)
    values = drawn_from(made)

    @jax.jit
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


def test_nodes_that_the_data_do_not_see_follow_from_the_draw():
    """The same for the same values, others for others; not the same in all draws (which it was)."""
    made = setup(method="dense")
    values = drawn_from(made)
    one, again = (made.draw(values)[0] for _ in range(2))
    np.testing.assert_array_equal(one.weights[1], again.weights[1])
    other, _ = made.draw(values | {"last_arrival0": values["last_arrival0"] * 1.1})
    assert np.all(one.weights[1] != other.weights[1])
    assert np.all(one.weights[0][3:] != other.weights[0][3:])
    np.testing.assert_array_equal(one.weights[0][:3], values["weights0"])


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
        assert stats.kstest(np.log(norms), stats.norm(0, (2 * size) ** -0.5).cdf).pvalue > 1e-3
        law, at = Directions(size, norms.dtype), jnp.geomspace(0.7, 1.4, 9)
        direction = jax.random.normal(jax.random.key(1), (size,))
        value = law.log_prob(at[:, None] * unit(direction)[None]) + (size - 1) * jnp.log(at)
        ratio = np.asarray(value) - stats.lognorm((2 * size) ** -0.5).logpdf(at)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


# --- the draws ----------------------------------------------------------------------------------


@pytest.mark.statistical
@needs_x64
def test_posterior_equals_weighted_draws_of_the_prior():
    """[AFT]: the mixture of GP posteriors over 100,000 prior draws, weighted by likelihood."""
    posterior = inference.nuts(
        MODEL, X, Y, key=jax.random.key(1), num_jumps=10, num_warmup=500, num_samples=1000,
        num_chains=2, likelihood=inference.Gaussian(0.3), progress=False,
    )  # fmt: skip
    # The draws themselves are compared below: one of 2,000 steps that diverges is no bias.
    assert float(posterior.data.sample_stats["diverging"].mean()) < 0.005
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


def of_one_number(**change):
    """One number of the limit with all its weights, since Student's t has no closed form."""
    with jax.enable_x64(False):
        x, y = np.zeros((1, 1), np.float32), np.ones(1, np.float32)
        arguments = SHORT | {"checkpoint_every": 5} | change
        return inference.nuts(
            MODEL, x, y, key=jax.random.key(0), likelihood="student_t", num_jumps=3, num_diffuse=2,
            **arguments,
        )  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    return of_one_number()


def test_one_number_with_outliers_in_single_precision(whole):
    assert whole.sources.weights[1].shape == (2, 12, 1, 5)
    assert whole.parameters["noise_scale"].dtype == np.float32
    assert all(np.isfinite(a).all() for a in arrays(whole).values())
    with jax.enable_x64(False):
        x, y = np.zeros((1, 1), np.float32), np.ones(1, np.float32)
        scores = whole.evaluate(x, y, key=jax.random.key(1))
        assert whole.predict(np.zeros((5, 1), np.float32)).outputs.shape == (24, 5, 1)
        assert whole.data.posterior["weights1"].shape == (2, 12, 1, 5)
    assert all(np.isfinite(value) for value in scores.values())


def arrays(posterior):
    """All that was drawn, by name."""
    path = posterior.sources
    values = dict(posterior.parameters) | dict(posterior.statistics)
    for name, each in (("weights", path.weights), ("biases", path.biases), ("jumps", path.jumps)):
        values |= {f"{name}{i}": a for i, a in enumerate(jax.tree.leaves(each))}
    return values


def test_a_resumed_chain_is_the_same(whole, tmp_path, monkeypatch):
    """Killed in the warmup; then interrupted among the draws; then done; then fewer draws.

    `test_runner.py` has the other cases, on a run of milliseconds.
    """
    path, calls, advance = tmp_path / "chain", [], _run._Run.advance

    def disturbed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(*arguments)

    monkeypatch.setattr(_run._Run, "advance", disturbed)
    with pytest.raises(MemoryError):
        of_one_number(checkpoint=path)
    cut = of_one_number(checkpoint=path)  # the last piece of the warmup, and five draws
    assert cut.attrs["interrupted"]
    done = of_one_number(checkpoint=path)
    assert not done.attrs["interrupted"]
    before = path.read_bytes()
    few = of_one_number(checkpoint=path, num_samples=5)
    assert path.read_bytes() == before
    for name, values in arrays(whole).items():
        np.testing.assert_array_equal(arrays(done)[name], values)
        np.testing.assert_array_equal(arrays(cut)[name], values[:, :5])
        np.testing.assert_array_equal(arrays(few)[name], values[:, :5])
    with pytest.raises(ValueError, match="belongs to another run: num_warmup is 20 there"):
        of_one_number(checkpoint=path, num_warmup=1)
    with (
        _checkpoint.only_writer(path),
        pytest.raises(BlockingIOError, match="is being written by another process"),
    ):
        of_one_number(checkpoint=path)


@pytest.mark.statistical
def test_single_precision():
    with jax.enable_x64(False):
        posterior = inference.nuts(
            MODEL, np.asarray(X, np.float32), np.asarray(Y, np.float32), key=jax.random.key(0),
            num_jumps=5, num_warmup=100, num_samples=50, num_chains=2, progress=False,
        )  # fmt: skip
        assert all(np.isfinite(v).all() for v in posterior.data.posterior.values())
        assert float(posterior.data.sample_stats["diverging"].mean()) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:4]}, r"y must have shape \(5,\)"),
        ({"y": 2 * LABELS, "likelihood": "categorical"}, r"no rows of classes \[1, 3\]"),
        ({"likelihood": "normal"}, "likelihood must be one of"),
        ({"x": X[0]}, "x must have shape"),
        ({"x": X.at[1].set(jnp.inf)}, "x must be finite"),
        ({"num_jumps": 0}, "num_jumps must be"),
        ({"num_jumps": [3, 3]}, "num_jumps must be one number"),
        ({"width": [3, 3]}, r"width must be .*got \[3, 3\]"),
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
