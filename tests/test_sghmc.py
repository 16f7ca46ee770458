"""SGHMC: exact posteriors, plain loops, noise, moves of node variances, kills and resumption."""

import math
import subprocess
import sys
from functools import partial

import arviz_stats
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from blackjax.sgmcmc import diffusions
from closeness import assert_close
from scipy import stats

from mogp import MoGP, inference, priors
from mogp.inference import _checkpoint, _node_moves, _sghmc, _sghmc_plan
from mogp.inference._noise import noise_keys

SIMULATES = True  # see conftest.py


class Line(eqx.Module):
    """`y = x w` with a standard normal prior on `w`: the posterior is Gaussian."""

    w: jax.Array

    def __call__(self, x):
        return x @ self.w

    def log_prior(self):
        return -jnp.sum(self.w**2) / 2


@pytest.fixture(scope="module")
def line():
    """40 points of a line in three dimensions, and the exact posterior: x, y, mean, covariance."""
    x = jax.random.normal(jax.random.key(0), (40, 3))
    y = x @ jnp.array([[1.0], [-2.0], [0.5]]) + jax.random.normal(jax.random.key(1), (40, 1))
    precision = x.T @ x / 0.8**2 + jnp.eye(3)
    return x, y, jnp.linalg.solve(precision, x.T @ y / 0.8**2), jnp.linalg.inv(precision)


@pytest.fixture(scope="module")
def classes():
    """300 points of three Gaussian classes in the plane: x, y."""
    keys = jax.random.split(jax.random.key(0))
    y = jax.random.randint(keys[0], (300,), 0, 3)
    centres = jnp.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centres[y] + jax.random.normal(keys[1], (300, 2)), y


LINE = {
    "likelihood": inference.Gaussian(noise_scale=0.8),
    "batch_size": 40,
    "schedule": "constant",
    "exploration": 0.0,
    "num_chains": 4,
    "progress": False,
}
MODEL = MoGP([priors.GeneralizedGamma(alpha=dist.Uniform(0.0, 1.0))], bias_scale=1.0)


def line_at_0(key):
    return Line(jnp.zeros((3, 1)))


# --- the law --------------------------------------------------------------------------------------


def test_draws_of_a_line_have_the_exact_posterior_mean_and_covariance(line, key):
    """All rows in every step: no gradient noise. Five Monte Carlo errors, from the effective number
    of draws of each; and 1 % of the variances for the step, `(h ω)² / 4` at most 0.6 %.
    """
    x, y, mean, covariance = line
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=10_000, burn_in=0.1, samples_per_cycle=2_250,
        step_size=0.01, friction=0.05, checkpoint_every=10_000, **LINE,
    )  # fmt: skip
    draws = posterior.sources.w[..., 0]
    flat = draws.reshape(-1, 3)
    found = posterior.data["posterior"].dataset
    (name,) = found.data_vars
    ess = arviz_stats.ess(found)[name].values.ravel()
    deviation = np.sqrt(np.diag(covariance))
    assert np.all(ess > 200)
    assert np.all(np.abs(flat.mean(0) - mean[:, 0]) < 5 * deviation / np.sqrt(ess))
    error = np.abs(np.cov(flat.T) / np.outer(deviation, deviation) - covariance / np.outer(
        deviation, deviation))  # fmt: skip
    assert np.all(error < 0.01 + 5 * np.sqrt(2 / ess.min()))
    kinetic = posterior.data["sample_stats"]["kinetic_temperature"].values
    assert abs(kinetic.mean() - 1) < 0.05
    assert posterior.data.attrs["gradients"] == "of all rows, exact"


def test_an_unknown_noise_scale_is_learned(line, key):
    """Against its exact marginal posterior, by quadrature."""
    x, y, *_ = line
    arguments = LINE | {"likelihood": inference.Gaussian(noise_scale=dist.LogNormal(0.0, 1.0))}
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=10_000, burn_in=0.1, samples_per_cycle=2_250,
        step_size=0.01, friction=0.05, checkpoint_every=10_000, **arguments,
    )  # fmt: skip
    grid = np.exp(np.linspace(-1.5, 1.5, 801))
    gram = np.asarray(x @ x.T)
    log_density = [
        stats.multivariate_normal.logpdf(y[:, 0], cov=gram + s**2 * np.eye(40)) for s in grid
    ]
    density = np.exp(log_density - np.max(log_density) + stats.norm.logpdf(np.log(grid)))
    density /= density.sum()
    mean = np.sum(density * np.log(grid))
    deviation = np.sqrt(np.sum(density * (np.log(grid) - mean) ** 2))
    draws = np.log(posterior.data["posterior"]["noise_scale"])
    ess = float(arviz_stats.ess(draws.to_dataset(name="s"))["s"])
    assert ess > 200
    assert abs(float(draws.mean()) - mean) < 5 * deviation / math.sqrt(ess)
    assert abs(float(draws.std()) / deviation - 1) < 0.01 + 5 / math.sqrt(2 * ess)
    assert posterior.likelihood.noise_scale.shape == (4, 2_250)


def test_a_colder_posterior_is_narrower(line, key):
    x, y, _, covariance = line
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=5_000, burn_in=0.1, samples_per_cycle=1_125,
        step_size=0.01, friction=0.05, temperature=0.25, checkpoint_every=5_000, **LINE,
    )  # fmt: skip
    ratio = jnp.var(posterior.sources.w[..., 0], (0, 1)) / jnp.diag(covariance)
    assert np.all(np.abs(ratio - 0.25) < 0.25 * 0.3)


# --- the steps ------------------------------------------------------------------------------------


def test_epochs_are_a_plain_loop_over_blackjax(classes, key):
    """Two epochs of two chains, the second with noise: BlackJAX's integrator, gradients ahead."""
    x, y = classes
    model = MoGP([priors.Horseshoe()], bias_scale=1.0)

    def start(key):
        return model.network(2, 3, 6, init_variances="equal", key=key)

    posterior = inference.sghmc(
        start, x, y, key=key, num_epochs=2, batch_size=128, step_size=0.02, friction=0.2,
        exploration=0.5, burn_in=0.0, samples_per_cycle=1, num_chains=2, temperature=0.5,
        moves_every=5, scales={"log_variances": 2.0}, progress=False,
    )  # fmt: skip
    by_start, by_chain, _ = jax.random.split(key, 3)
    for chain in range(2):
        network = start(jax.random.split(by_start, 2)[chain])
        parameters, static = eqx.partition(network, eqx.is_inexact_array)
        stretch = jax.tree.map(jnp.ones_like, parameters)
        stretch = eqx.tree_at(lambda t: t.log_variances[0], stretch, jnp.full(6, 2.0))
        q = jax.tree.map(jnp.divide, parameters, stretch)
        p = jax.tree.map(jnp.zeros_like, q)

        def log_density(q, rows, static=static, stretch=stretch):
            model = eqx.combine(jax.tree.map(jnp.multiply, q, stretch), static)
            log_p = jax.nn.log_softmax(model(x[rows]))[jnp.arange(128), y[rows]]
            return log_p.sum() * 300 / 128 + model.log_prior()

        @partial(jax.jit, static_argnums=0)
        def step(epoch, q, p, rows, noise, h, log_density=log_density):
            ahead = jax.tree.map(lambda q, p: q + h * p, q, p)
            gradient = jax.grad(log_density)(ahead, rows)
            if epoch == 0:
                return ahead, jax.tree.map(lambda p, g: 0.8 * p + h * g, p, gradient)
            return diffusions.sghmc(0.2 / h, (0.2 / h) ** 2 / 0.5)(noise, q, p, gradient, h, 0.5)

        for epoch in range(2):
            epoch_key = jax.random.fold_in(jax.random.split(by_chain, 2)[chain], epoch)
            by_order, by_noise, _ = jax.random.split(epoch_key, 3)
            order = jax.random.permutation(by_order, 300)
            for i, noise in enumerate(noise_keys(by_noise, 2)):
                rate = 0.02 * max((1 + math.cos(math.pi * (epoch + i / 2) / 2)) / 2, 0.2)
                rows = order[128 * i : 128 * (i + 1)]
                q, p = step(epoch, q, p, rows, noise, math.sqrt(rate / 300))
        found = jax.tree.map(
            lambda a, c=chain: a[c, 0], eqx.filter(posterior.sources, eqx.is_array)
        )
        wanted = jax.tree.map(jnp.multiply, q, stretch)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_temperature_0_is_gradient_descent_with_momentum(line, key):
    x, y, mean, _ = line
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=300, step_size=0.1, samples_per_cycle=2,
        temperature=0.0, **LINE,
    )  # fmt: skip
    assert_close(posterior.sources.w[:, -1], jnp.broadcast_to(mean, (4, 3, 1)), rtol=1e-6)
    assert np.all(posterior.data["sample_stats"]["temperature"] == 0)


def test_schedules():
    plan = _sghmc_plan.Plan(10, 0.5, 0.1, 1.0, "cyclical", 4, 1)
    rates = np.concatenate([plan.step_sizes(jnp.asarray(e), 5, float) for e in range(8)])
    np.testing.assert_array_equal(rates[:20], rates[20:])
    wanted = 0.25 * (1 + np.cos(np.pi * np.arange(20) / 20))
    assert_close(rates[:20], np.maximum(wanted, 0.1), rtol=1e-6)
    constant = plan._replace(schedule="constant").step_sizes(jnp.asarray(3), 5, float)
    np.testing.assert_array_equal(constant, 0.5)
    noisy, kept = _sghmc_plan.checked_epochs(plan, (20, 1), 20, 2, 0.4, 0.2, 2)
    noisy, kept = _sghmc_plan.checked_epochs(plan._replace(cycle=10), (20, 1), 20, 2, 0.4, 0.2, 2)
    assert noisy.tolist() == 2 * (4 * [False] + 6 * [True])
    assert kept.tolist() == 2 * (7 * [False] + [True, False, True])


# --- the noise ------------------------------------------------------------------------------------


def test_the_noise_is_normal_and_independent():
    """A million normals of each of 30 keys; bounds of 4 to 5 standard errors of the statistics."""
    num, keys = 1_000_000, noise_keys(jax.random.key(0), 30)
    normal = jax.jit(lambda k: jax.random.normal(k, (num,), jnp.float32))
    z = np.stack([normal(k) for k in keys])
    one = z[0].astype(float)
    assert stats.kstest(one, "norm").statistic < 1.95 / math.sqrt(num)  # 0.001 by chance
    assert abs(np.mean(z.astype(float) ** 2) - 1) < 5 * math.sqrt(2 / z.size)  # 1.3e-3
    assert abs(np.mean(z, dtype=float)) < 5 / math.sqrt(z.size)
    assert np.abs(one).max() > 4.5
    for lag in (1, 2, 3, 10, 64, 784, 1000):
        assert abs(np.mean(one[lag:] * one[:-lag])) < 4.5 / math.sqrt(num)
    between = (z @ z.T / num)[np.triu_indices(30, 1)]
    assert np.abs(between).max() < 4.8 / math.sqrt(num)
    squares = z**2 - 1
    between = (squares @ squares.T / (2 * num))[np.triu_indices(30, 1)]
    assert np.abs(between).max() < 4.8 / math.sqrt(num)
    assert stats.kstest(z.sum(0) / math.sqrt(30), "norm").statistic < 1.95 / math.sqrt(num)


def test_keys_of_the_noise_are_keys():
    key = noise_keys(jax.random.key(0), 3)[1]
    children = jax.random.split(key, 4)
    assert len(np.unique(jax.random.key_data(children), axis=0)) == 4
    bits = jax.random.bits(jax.random.fold_in(key, 7), (1000,), "uint8")
    assert len(np.unique(bits)) > 240
    assert len(np.unique(jax.random.normal(key, (1000,)))) == 1000
    fresh = jax.random.wrap_key_data(jnp.array([1, 2], "uint32"), impl=jax.random.key_impl(key))
    assert jax.random.uniform(fresh).shape == ()


# --- moves ----------------------------------------------------------------------------------------

P, FAN_OUT = 4, 3


def moved(prior, laws, chains, sweeps, which):
    """Draws from the prior before and after moves, and others: states and their log-densities.

    Successive conditional simulation (Geweke, 2004): before every redrawing of nodes new data are
    drawn given the state, the sum of `tanh u` with normal noise, so that the prior must stay.
    Single precision, in which runs on large data are.
    """
    nodes = _node_moves.NodePriors({0: prior}, {0: P}, laws, 1.0)

    def start(key):
        by_value, by_node, by_weight = jax.random.split(key, 3)
        transform = {n: dist.biject_to(law.support) for n, law in laws.items()}
        hyper = {
            n: transform[n].inv(law.sample(by_value)).astype("float32") for n, law in laws.items()
        }
        u = nodes.given(hyper)[0].sample_log(by_node, (P,)).astype("float32")
        return hyper, u, jax.random.normal(by_weight, (FAN_OUT, P), "float32")

    def sweep(key, hyper, u, weights):
        if which == "centred":
            hyper, u, weights = _node_moves.centred(key, nodes, hyper, {0: u}, {0: weights})
            return hyper, u[0], weights[0]
        y = jnp.tanh(u).sum() + 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (), "float32")
        hyper, u, _ = _node_moves.refreshed(
            key, nodes, hyper, {0: u}, lambda _, u: -2 * (y - jnp.tanh(u[0]).sum()) ** 2
        )
        return hyper, u[0], weights

    def scored(state):
        law = nodes.given(state[0])[0]
        return state, law.log_density_of_log(state[1]).sum()

    def chain(key):
        by_start, by_moves = jax.random.split(key)
        first = start(by_start)
        return first, jax.lax.fori_loop(
            0, sweeps, lambda i, state: sweep(jax.random.fold_in(by_moves, i), *state), first
        )

    first, last = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(5), chains))
    score = jax.jit(jax.vmap(scored))
    fresh = jax.jit(jax.vmap(start))(jax.random.split(jax.random.key(6), 3 * chains))
    return first, score(last), score(fresh)


@pytest.mark.parametrize("which", ["centred", "refreshed"])
@pytest.mark.parametrize(
    ("prior", "laws", "chains", "sweeps"),
    [
        (priors.Horseshoe(), {}, 4000, 10),
        (priors.InverseGamma(shape=0.5), {"prior0.scale": dist.LogNormal(0.0, 1.0)}, 2000, 10),
        (priors.GeneralizedGamma(alpha=0.5), {"prior0.alpha": dist.Uniform(0.05, 1.0)}, 1000, 8),
        (priors.GBFRY(alpha=0.5, tau=2.0), {"prior0.alpha": dist.Uniform(0.05, 1.0)}, 400, 5),
    ],
    ids=["horseshoe", "inverse gamma", "generalized gamma", "gbfry"],
)
def test_moves_leave_the_prior_as_it_is(prior, laws, chains, sweeps, which):
    """Kolmogorov-Smirnov against fresh draws, at 0.001 each."""
    first, (last, score), (fresh, wanted) = moved(prior, laws, chains, sweeps, which)
    assert np.mean(np.asarray(first[1]) != last[1]) > 0.3
    pairs = {"density": (score, wanted)}
    for name in laws:
        pairs[name] = last[0][name], fresh[0][name]
        assert np.mean(np.asarray(first[0][name]) != last[0][name]) > 0.3
    for summary in (np.mean, np.max, np.min):
        pairs[summary.__name__] = summary(last[1], axis=1), summary(fresh[1], axis=1)
    pairs["norms"] = [np.linalg.norm(state[2], axis=1).ravel() for state in (last, fresh)]
    found = {name: stats.ks_2samp(*pair).pvalue for name, pair in pairs.items()}
    assert min(found.values()) > 1e-3, found


@pytest.mark.parametrize("open_below", [True, False])
def test_draws_from_a_band_have_its_density(open_below):
    """Against the integral of the density; one cell rises, one falls, one is next to flat."""
    values = jnp.array([-3.0, -1.0, -1.0, -4.0, -jnp.inf])
    band = _node_moves.Band(jnp.arange(5.0), values, jnp.asarray(open_below))
    draws = np.asarray(band.sample(jax.random.key(0), (20_000,)))
    grid = np.linspace(-8 if open_below else 0, 4, 120_001)
    density = np.exp(np.asarray(band.log_density(jnp.asarray(grid))))
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0])])
    assert abs(cdf[-1] - 1) < 1e-4
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3


def test_the_centred_move_keeps_the_function(classes, key):
    x, _ = classes
    network = MoGP([priors.Horseshoe(), priors.Horseshoe()]).network(2, 3, 6, key=key)
    nodes = _node_moves.NodePriors(dict(enumerate(network.priors)), {0: 6, 1: 6}, {}, 1.0)
    u = dict(enumerate(network.log_variances))
    _, new_u, weights = _node_moves.centred(
        key, nodes, {}, u, {i: network.weights[i + 1] for i in u}
    )
    assert not np.allclose(new_u[0], u[0])
    changed = eqx.tree_at(
        lambda m: [*m.log_variances, *m.weights[1:]],
        network,
        [*new_u.values(), *weights.values()],
    )
    assert_close(changed(x), network(x), rtol=1e-9, atol=1e-9)


def test_slices_of_a_density_that_is_no_number_stay(key):
    x = jnp.array([0.3, 1.0])
    new = _node_moves.slice_sample(key, x, lambda v: jnp.where(x < 0.5, -v * v, jnp.nan), 1.0)
    assert new[0] != x[0]
    assert new[1] == x[1]


# --- networks -------------------------------------------------------------------------------------

SMALL = {
    "width": 5, "num_epochs": 12, "num_chains": 2, "exploration": 0.25, "burn_in": 0.25,
    "samples_per_cycle": 3, "checkpoint_every": 2, "num_cycles": 1, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(classes):
    """A run without interruption."""
    return inference.sghmc(MODEL, *classes, key=jax.random.key(3), **SMALL)


def test_the_result_is_a_posterior(whole, classes):
    x, y = classes
    assert whole.sources.weights[0].shape == (2, 3, 5, 2)
    assert whole.sources.priors[0].alpha.shape == (2, 3)
    assert_close(
        whole.data["posterior"]["prior0.alpha"].values, whole.sources.priors[0].alpha, rtol=1e-12
    )
    assert whole.data["log_likelihood"]["y"].shape == (2, 3, 300)
    assert whole.data["posterior_predictive"]["y"].shape == (2, 3, 300)
    assert whole.data["epochs"]["loss"].shape == (2, 12)
    assert whole.data["epochs"]["temperature"].values[0].tolist() == 3 * [0] + 9 * [1]
    assert "noise is not corrected" in whole.data.attrs["gradients"]
    assert whole.evaluate(x, y)["accuracy"] > 0.6
    draw = jax.tree.map(lambda a: a[1, 2], eqx.filter(whole.sources, eqx.is_array))
    network = eqx.combine(draw, eqx.filter(whole.sources, eqx.is_array, inverse=True))
    wanted = jax.nn.log_softmax(network(x))[jnp.arange(300), y]
    assert_close(whole.data["log_likelihood"]["y"].values[1, 2], wanted, rtol=1e-9)
    total = whole.data["posterior"]["log_variance_sum0"].values
    assert_close(total, jax.nn.logsumexp(whole.sources.log_variances[0], -1), rtol=1e-12)


@pytest.mark.parametrize("killed", [1, 2, 4])
def test_a_killed_run_resumes_to_the_same_draws(killed, whole, classes, tmp_path, monkeypatch):
    path, run, calls = tmp_path / "sghmc.ckpt", _sghmc._advance, []

    def dies(*args):
        calls.append(1)
        if len(calls) > killed:
            raise RuntimeError("killed")
        return run(*args)

    arguments = SMALL | {"key": jax.random.key(3), "checkpoint": path}
    with monkeypatch.context() as patch:
        patch.setattr(_sghmc, "_advance", dies)
        with pytest.raises(RuntimeError, match="killed"):
            inference.sghmc(MODEL, *classes, **arguments)
    resumed = inference.sghmc(MODEL, *classes, **arguments)
    for a, b in zip(
        jax.tree.leaves(eqx.filter(whole.sources, eqx.is_array)),
        jax.tree.leaves(eqx.filter(resumed.sources, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    for name, values in whole.data["epochs"].data_vars.items():
        np.testing.assert_array_equal(values, resumed.data["epochs"][name])


def test_twenty_kills_at_random_moments_change_nothing(line, key, tmp_path, monkeypatch):
    """Before an epoch, before a checkpoint is written, or written and not yet in its place."""
    arguments = LINE | {"num_epochs": 40, "samples_per_cycle": 12, "checkpoint_every": 1}
    arguments |= {"network": line_at_0, "x": line[0], "y": line[1], "key": key}
    whole = inference.sghmc(**arguments)

    class KilledError(BaseException):
        pass

    count = {}

    def mortal(function, after):
        def wrapped(*args):
            result = function(*args) if after else None
            count["left"] -= 1
            if count["left"] < 0:
                raise KilledError
            return result if after else function(*args)

        return wrapped

    monkeypatch.setattr(_sghmc, "_advance", mortal(_sghmc._advance, after=False))
    monkeypatch.setattr(_checkpoint, "save", mortal(_checkpoint.save, after=False))
    written = mortal(eqx.tree_serialise_leaves, after=True)
    monkeypatch.setattr(_checkpoint.eqx, "tree_serialise_leaves", written)
    arguments["checkpoint"] = tmp_path / "sghmc.ckpt"
    for moment in np.random.default_rng(0).integers(0, 6, 20):
        count["left"] = moment
        with pytest.raises(KilledError):
            inference.sghmc(**arguments)
    count["left"] = 1000
    resumed = inference.sghmc(**arguments)
    assert 1000 - count["left"] < 3 * 40  # some epochs were done by killed runs
    np.testing.assert_array_equal(resumed.sources.w, whole.sources.w)


def test_ctrl_c_keeps_what_was_drawn(whole, classes, monkeypatch):
    run, calls = _sghmc._advance, []

    def stops(*args):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(_sghmc, "_advance", stops)
    part = inference.sghmc(MODEL, *classes, key=jax.random.key(3), **SMALL)
    assert part.data.attrs["interrupted"] == 1
    num = part.sources.weights[0].shape[1]
    assert 0 < num < 3
    np.testing.assert_array_equal(part.sources.weights[0], whole.sources.weights[0][:, :num])


def test_a_second_writer_and_another_run_are_refused(classes, tmp_path):
    path = tmp_path / "sghmc.ckpt"
    arguments = SMALL | {"key": jax.random.key(3), "checkpoint": path}
    script = (
        "import sys, time; from pathlib import Path; from mogp.inference import _checkpoint\n"
        "with _checkpoint.only_writer(Path(sys.argv[1])): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="is being written by another process"):
            inference.sghmc(MODEL, *classes, **arguments)
        other.communicate("\n")
    inference.sghmc(MODEL, *classes, **arguments)
    with pytest.raises(ValueError, match="belongs to another run: plan"):
        inference.sghmc(MODEL, *classes, **(arguments | {"step_size": 0.3}))
    assert _checkpoint.load(path, lambda _: None, {})[1] == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": 3, "width": None}, "network must be a MoGP, an Equinox module, or a function"),
        ({"network": Line(jnp.zeros((2, 3)))}, "width belongs to a MoGP"),
        ({"width": None}, "width must be given with a MoGP"),
        ({"network": MoGP([priors.Horseshoe()], weight_scale=dist.HalfNormal(1.0))}, "must be num"),
        ({"network": MoGP([priors.Stable(0.5)])}, "node variances of Stable are bounded"),
        ({"network": Line(jnp.zeros((2, 2))), "width": None}, "network must have 3 outputs"),
        ({"x": jnp.full((300, 2), jnp.nan)}, "x must be finite, got NaN or infinity in 300 of 300"),
        ({"y": jnp.zeros(299, int)}, r"y must have shape \(300,\)"),
        ({"batch_size": 301}, "batch_size must be at most n = 300, got 301"),
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1"),
        ({"num_cycles": 5}, "num_cycles must divide num_epochs = 12, got 5"),
        ({"samples_per_cycle": 9}, "samples_per_cycle must be at most 6"),
        ({"exploration": 1.0}, r"exploration must be in \[0, 1\), got 1.0"),
        ({"burn_in": -0.1}, r"burn_in must be in \[0, 1\), got -0.1"),
        ({"friction": 1.5}, "friction must be in"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"temperature": -1.0}, "temperature must be at least 0 and finite, got -1.0"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"likelihood": "hinge"}, "likelihood must be one of"),
        ({"scales": {"variances": 2.0}}, r"scales: no array is called \['variances'\]"),
        ({"scales": {"weights": 0.0}}, r"scales\['weights'\] must be above 0"),
        ({"num_chains": 0}, "num_chains must be an integer of at least 1"),
        ({"network": MoGP([priors.GBFRY(dist.Uniform(jnp.zeros(2), 1.0), 2.0)])}, "single numbers"),
    ],
)
def test_bad_arguments(change, message, classes, key):
    arguments = {"network": MODEL, "x": classes[0], "y": classes[1], "key": key} | SMALL | change
    with pytest.raises(ValueError, match=message):
        inference.sghmc(**arguments)


def test_divergence_is_an_error(line, key):
    x, y, *_ = line
    with pytest.raises(FloatingPointError, match=r"by epoch \d+; try a smaller step_size"):
        inference.sghmc(
            line_at_0, x, y, key=key, num_epochs=400, samples_per_cycle=2, step_size=1e4,
            checkpoint_every=50, **LINE,
        )  # fmt: skip


@pytest.mark.slow
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
    assert posterior.evaluate(x, y)["accuracy"] > 0.8
