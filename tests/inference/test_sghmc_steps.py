"""The steps of SGHMC: BlackJAX's integrator, exact posteriors, schedules, heating, noise."""

import math
from functools import partial

import arviz_stats
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from blackjax.sgmcmc import diffusions
from closeness import X64, assert_close
from scipy import stats

from mogp import MoGP, inference, nn, priors
from mogp.inference.sghmc import _plan
from mogp.inference.sghmc._noise import noise_keys

FLOAT = jnp.result_type(float)


class Line(eqx.Module):
    """`y = x w` with a standard normal prior on `w`: the posterior is Gaussian."""

    w: jax.Array

    def __call__(self, x):
        return x @ self.w

    def log_prior(self):
        return -jnp.sum(self.w**2) / 2


def line_at_0(key):
    return Line(jnp.zeros((3, 1)))


@pytest.fixture(scope="module")
def line():
    """40 points of a line in three dimensions, and the exact posterior: x, y, mean, covariance."""
    x = jax.random.normal(jax.random.key(0), (40, 3))
    y = x @ jnp.array([[1.0], [-2.0], [0.5]]) + jax.random.normal(jax.random.key(1), (40, 1))
    precision = x.T @ x / 0.8**2 + jnp.eye(3)
    return x, y, jnp.linalg.solve(precision, x.T @ y / 0.8**2), jnp.linalg.inv(precision)


LINE = {
    "likelihood": inference.Gaussian(noise_scale=0.8),
    "batch_size": 40,
    "schedule": "constant",
    "exploration": 0.0,
    "num_chains": 4,
    "progress": False,
}
LONG = {
    "num_epochs": 10_000, "burn_in": 0.1, "samples_per_cycle": 2_250, "step_size": 0.01,
    "friction": 0.05, "checkpoint_every": 10_000,
}  # fmt: skip


# --- the law --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("friction", "temperature", "chains"),
    [
        (1.0, 0.25, 500),
        pytest.param(1.0, 1.0, 4000, marks=pytest.mark.statistical),
        pytest.param(0.5, 0.1, 4000, marks=pytest.mark.statistical),
    ],
)
def test_variances_are_exact_at_any_friction_and_temperature(
    friction, temperature, chains, line, key
):
    """Many chains, all rows a step: within five Monte Carlo errors, and 1 % for the step.

    Noise of variance `T (1 - (1 - f)²)`, as before, made them too small by the factor `1 - f/2`.
    """
    x, y, mean, covariance = line
    arguments = LINE | {"num_chains": chains, "friction": friction, "temperature": temperature}
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=300, burn_in=0.9, samples_per_cycle=1,
        step_size=0.02, checkpoint_every=300, **arguments,
    )  # fmt: skip
    draws = np.asarray(posterior.sources.w[:, 0, :, 0], float)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    whitened = (draws - np.asarray(mean)[:, 0]) @ root.T / math.sqrt(temperature)
    error = 1 / math.sqrt(3 * chains)
    assert np.all(np.abs(whitened.mean(0)) < 5 / math.sqrt(chains))
    assert abs(whitened.var(0).mean() - 1) < 0.01 + 5 * math.sqrt(2) * error
    kinetic = posterior.statistics["kinetic_temperature"]
    assert abs(kinetic.mean() / temperature - 1) < 0.02 + 5 * math.sqrt(2) * error


@pytest.mark.statistical
def test_draws_of_a_line_have_the_exact_posterior_mean_and_covariance(line, key):
    """All rows in every step: no gradient noise. Five Monte Carlo errors, from the effective number
    of draws of each; and 1 % of the variances for the step, `(h ω)² / 4` at most 0.6 %.
    """
    x, y, mean, covariance = line
    posterior = inference.sghmc(line_at_0, x, y, key=key, **LONG, **LINE)
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
    assert abs(posterior.statistics["kinetic_temperature"].mean() - 1) < 0.05
    assert posterior.data.attrs["gradients"] == "of all rows, exact"


@pytest.mark.statistical
def test_an_unknown_noise_scale_is_learned(line, key):
    """Against its exact marginal posterior, by quadrature."""
    x, y, *_ = line
    arguments = LINE | {"likelihood": inference.Gaussian(noise_scale=dist.LogNormal(0.0, 1.0))}
    posterior = inference.sghmc(line_at_0, x, y, key=key, **LONG, **arguments)
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


@pytest.mark.statistical
@pytest.mark.parametrize(("r", "wanted"), [(1.0, 1.038), (3.0, 1.595), (6.0, 3.005)])
def test_minibatches_heat_as_the_docstring_says(r, wanted):
    """`1 + r/2 - tanh(r/2)` for variances at the end of epochs, `1 + r/2` for momenta.

    One weight, 2000 rows; five Monte Carlo errors, and 2 % for the approximations.
    """
    num, batch, friction, chains = 2000, 20, 0.3, 1000
    x = jnp.ones((num, 1))
    noise = jax.random.normal(jax.random.key(1), (num, 1))
    y = (noise - noise.mean()) / noise.std()
    step = r * friction * batch / num  # curvature 1 of the mean loss of a row
    posterior = inference.sghmc(
        lambda k: Line(jax.random.normal(k, (1, 1)) / math.sqrt(num)), x, y,
        key=jax.random.key(2), likelihood=inference.Gaussian(noise_scale=1.0), batch_size=batch,
        step_size=step, friction=friction, schedule="constant", exploration=0.0, burn_in=0.9,
        num_epochs=40, samples_per_cycle=1, num_chains=chains, checkpoint_every=40, progress=False,
    )  # fmt: skip
    assert abs(1 + r / 2 - math.tanh(r / 2) - wanted) < 1e-3
    variance = float(jnp.var(posterior.sources.w)) * (num + 1)
    error = 0.02 + 5 * math.sqrt(2 / chains)
    assert abs(variance / wanted - 1) < error
    kinetic = posterior.statistics["kinetic_temperature"].mean()
    assert abs(kinetic / (1 + r / 2) - 1) < error


# --- the steps ------------------------------------------------------------------------------------


class Softmax(eqx.Module):
    """A network without node variances."""

    w: jax.Array
    b: jax.Array

    def __call__(self, x):
        return x @ self.w + jnp.broadcast_to(self.b, (len(x), 3))

    def log_prior(self):
        return -jnp.sum(self.w**2) / 2


def softmax(key):
    return Softmax(jax.random.normal(key, (2, 3)), jnp.zeros(3))


def dependent(key):
    model = MoGP([priors.Horseshoe()], bias_scale=1.0)
    return model.network(2, 3, 6, init_variances="equal", key=key)


@pytest.mark.parametrize(
    ("start", "stretched", "noise"),
    [
        (softmax, "b", "threefry"),
        pytest.param(dependent, "log_variances", "threefry", marks=pytest.mark.statistical),
        pytest.param(dependent, "log_variances", "hash", marks=pytest.mark.statistical),
    ],
)
def test_epochs_are_a_plain_loop_over_blackjax(start, stretched, noise, key):
    """Two epochs of two chains, the second with noise: BlackJAX's integrator, gradients ahead.

    Slow only for a network with node variances, whose moves are compiled, but not made.
    """
    x = jax.random.normal(jax.random.key(5), (300, 2))
    y = jnp.argmax(x @ jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), 1)
    posterior = inference.sghmc(
        start, x, y, key=key, num_epochs=2, batch_size=128, step_size=0.02, friction=0.2,
        exploration=0.5, burn_in=0.0, samples_per_cycle=1, num_chains=2, temperature=0.5,
        moves_every=5, scales={stretched: 2.0}, noise=noise, progress=False,
    )  # fmt: skip
    by_start, by_chain, *_ = jax.random.split(key, 4)
    networks = jax.vmap(lambda k: eqx.filter(start(k), eqx.is_array))(jax.random.split(by_start, 2))
    static = eqx.filter(start(key), eqx.is_array, inverse=True)

    def scaled(q, factor=2.0):
        if start is dependent:
            return nn.with_log_variances(q, [factor * u for u in q.log_variances])
        return eqx.tree_at(lambda q: q.b, q, factor * q.b)

    def log_density(q, rows):
        model = eqx.combine(scaled(q), static)
        log_p = jax.nn.log_softmax(model(x[rows]))[jnp.arange(128), y[rows]]
        return log_p.sum() * 300 / 128 + model.log_prior()

    @partial(jax.jit, static_argnums=0)
    def step(epoch, q, p, rows, noise, h):
        ahead = jax.tree.map(lambda q, p: q + h * p, q, p)
        gradient = jax.grad(log_density)(ahead, rows)
        if epoch == 0:
            return ahead, jax.tree.map(lambda p, g: 0.8 * p + h * g, p, gradient)
        return diffusions.sghmc(alpha=0.2 / h, beta=0)(noise, q, p, gradient, h, 0.5)

    for chain in range(2):
        q = scaled(jax.tree.map(lambda a, c=chain: a[c], networks), 0.5)
        p = jax.tree.map(jnp.zeros_like, q)
        for epoch in range(2):
            epoch_key = jax.random.fold_in(jax.random.split(by_chain, 2)[chain], epoch)
            by_order, by_noise, _ = jax.random.split(epoch_key, 3)
            order = jax.random.permutation(by_order, 300)
            for i, of_step in enumerate(noise_keys(by_noise, 2, noise)):
                rate = 0.02 * max((1 + math.cos(math.pi * (epoch + i / 2) / 2)) / 2, 0.2)
                rows = order[128 * i : 128 * (i + 1)]
                q, p = step(epoch, q, p, rows, of_step, math.sqrt(rate / 300))
        found = jax.tree.map(
            lambda a, c=chain: a[c, 0], eqx.filter(posterior.sources, eqx.is_array)
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(scaled(q)), strict=True):
            assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_temperature_0_is_gradient_descent_with_momentum(line, key):
    x, y, mean, _ = line
    posterior = inference.sghmc(
        line_at_0, x, y, key=key, num_epochs=300, step_size=0.1, samples_per_cycle=2,
        temperature=0.0, **LINE,
    )  # fmt: skip
    assert_close(posterior.sources.w[:, -1], jnp.broadcast_to(mean, (4, 3, 1)), rtol=1e-6)
    assert np.all(posterior.statistics["temperature"] == 0)


def test_divergence_is_an_error(line, key):
    x, y, *_ = line
    with pytest.raises(FloatingPointError, match=r"by epoch \d+; try a smaller step_size"):
        inference.sghmc(
            line_at_0, x, y, key=key, num_epochs=400, samples_per_cycle=2, step_size=1e4,
            checkpoint_every=50, **LINE,
        )  # fmt: skip


def test_schedules():
    plan = _plan.Plan(10, 0.5, 0.1, 1.0, "cyclical", 4, 1, "threefry")
    rates = np.concatenate([plan.step_sizes(jnp.asarray(e), 5, FLOAT) for e in range(8)])
    np.testing.assert_array_equal(rates[:20], rates[20:])
    wanted = 0.25 * (1 + np.cos(np.pi * np.arange(20) / 20))
    assert_close(rates[:20], np.maximum(wanted, 0.1), rtol=1e-6)
    constant = plan._replace(schedule="constant").step_sizes(jnp.asarray(3), 5, FLOAT)
    np.testing.assert_array_equal(constant, 0.5)
    noisy, kept = _plan.checked_epochs(plan._replace(cycle=10), 20, 20, 2, 0.4, 0.2, 2)
    assert noisy.tolist() == 2 * (4 * [False] + 6 * [True])
    assert kept.tolist() == 2 * (7 * [False] + [True, False, True])


# --- the cheaper noise ----------------------------------------------------------------------------


@pytest.mark.statistical
def test_the_cheaper_noise_is_normal_and_independent():
    """A million normals of each of 30 keys; bounds of 4 to 5 standard errors of the statistics."""
    num, keys = 1_000_000, noise_keys(jax.random.key(0), 30, "hash")
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


def test_keys_of_the_cheaper_noise_are_keys():
    key = noise_keys(jax.random.key(0), 3, "hash")[1]
    children = jax.random.split(key, 4)
    assert len(np.unique(jax.random.key_data(children), axis=0)) == 4
    bits = jax.random.bits(jax.random.fold_in(key, 7), (1000,), "uint8")
    assert len(np.unique(bits)) > 240
    assert len(np.unique(jax.random.normal(key, (1000,)))) == 1000
    fresh = jax.random.wrap_key_data(jnp.array([1, 2], "uint32"), impl=jax.random.key_impl(key))
    assert jax.random.uniform(fresh).shape == ()
    # Whoever changes the hash repeats the tests of docs/sghmc.md, which are of these numbers.
    first = jax.random.bits(noise_keys(jax.random.key(0), 1, "hash")[0], (3,), "uint32")
    assert first.tolist() == [76710381, 4077890215, 1668345544]
    if X64:
        assert len(np.unique(jax.random.bits(key, (1000,), "uint64") >> 32)) == 1000
