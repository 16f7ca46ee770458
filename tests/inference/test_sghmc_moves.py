"""Moves of node variances and of the parameters of their priors: the law they leave invariant."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from own_layers import Bumps
from scipy import stats

from mogp import MoGP, nn, priors
from mogp.inference.sghmc import _node_moves
from mogp.priors import sample_log

P, FAN_OUT = 4, 3
FLOAT = jnp.result_type(float)


def fan_outs(weights):
    """All weights are free."""
    return {i: jnp.full(len(v), float(v.shape[1]), v.dtype) for i, v in weights.items()}


class HalfNormal(priors.Prior):
    """A user's prior, whose distribution is NumPyro's alone."""

    scale: float
    bounds = {"scale": (0.0, np.inf)}  # noqa: RUF012

    def law(self, width):
        return dist.HalfNormal(self.scale / width)


def node_priors(prior, laws, temperature=1.0):
    """One layer of `P` nodes, number 0."""

    def given(hyper):
        values = {
            name.split(".")[1]: dist.biject_to(laws[name].support)(z) for name, z in hyper.items()
        }
        return {0: dataclasses.replace(prior, **values).at_width(P)}

    return _node_moves.NodePriors(given, laws, temperature)


# --- the centred move -----------------------------------------------------------------------------


def test_the_tempered_law_is_invariant_under_the_centred_move():
    """At every temperature T: exact draws of `p(u, V)^(1/T)`, moved, still have that law.

    For `λ ~ Gamma(s, r)` it is `λ ~ Gamma(s/T, r/T)`, and weights of variance T. Kolmogorov-Smirnov
    at 0.001; tempering the Jacobian of `W = √λ V`, too, gives 0.45 instead of 0.67 for E λ at 1/2.
    """
    shape, rate, fan_out, chains = 2.0, 3.0, 5, 1000
    prior = priors.Gamma(mass=shape * P, rate=rate)

    def chain(key, temperature):
        keys = jax.random.split(key, 3)
        u = jnp.log(jax.random.gamma(keys[0], shape / temperature, (P,)) * temperature / rate)
        v = jnp.sqrt(temperature) * jax.random.normal(keys[1], (P, fan_out))
        nodes = node_priors(prior, {}, temperature)

        def sweep(i, state):
            _, u, v = _node_moves.centred(
                jax.random.fold_in(keys[2], i), nodes, {}, *state, fan_outs(state[1])
            )
            return u, v

        u, v = jax.lax.fori_loop(0, 3, sweep, ({0: u}, {0: v}))
        return u[0], v[0]

    temperatures = jnp.array([0.1, 0.5, 1.0, 2.0])
    over_chains = jax.vmap(chain, (0, None))
    keys = jax.random.split(jax.random.key(1), chains)
    found = jax.jit(jax.vmap(over_chains, (None, 0)))(keys, temperatures)
    for t, u, v in zip(temperatures.tolist(), *map(np.asarray, found), strict=True):
        law = stats.gamma(shape / t, scale=t / rate)
        assert stats.kstest(np.exp(u).ravel(), law.cdf).pvalue > 1e-3, t
        assert stats.kstest(v.ravel() / np.sqrt(t), "norm").pvalue > 1e-3, t
        assert stats.kstest((v**2).sum((1, 2)) / t, stats.chi2(P * fan_out).cdf).pvalue > 1e-3, t


class ScaledGamma(priors.Prior):
    """Gamma node variances of shape 2 and an unknown scale."""

    scale: float
    bounds = {"scale": (0.0, np.inf)}  # noqa: RUF012

    def law(self, width):  # noqa: ARG002
        return dist.Gamma(2.0, 1 / self.scale)


@pytest.mark.parametrize("which", ["centred", "refreshed"])
def test_the_tempered_law_is_invariant_under_joint_moves(which):
    """Of nodes, weights and the scale `s` of the prior, at every temperature.

    With a log-normal `s`, `log s ~ N(0, T)`; given it, `λ / s ~ Gamma(2/T, 1/T)`, for the integral
    of the tempered density of `log λ` does not depend on `s`. Data are drawn anew given the state.
    """
    laws, fan_out, chains = {"prior0.scale": dist.LogNormal(0.0, 1.0)}, 3, 600

    def chain(key, temperature):
        keys = jax.random.split(key, 4)
        root = jnp.sqrt(temperature)
        nodes = node_priors(ScaledGamma(1.0), laws, temperature)
        z = root * jax.random.normal(keys[0])
        u = z + jnp.log(jax.random.gamma(keys[1], 2 / temperature, (P,)) * temperature)
        v = root * jax.random.normal(keys[2], (P, fan_out))

        def sweep(i, state):
            z, u, v = state
            key = jax.random.fold_in(keys[3], i)
            hyper = {"prior0.scale": z}
            if which == "centred":
                hyper, u, v = _node_moves.centred(
                    key, nodes, hyper, {0: u}, {0: v}, fan_outs({0: v})
                )
                return hyper["prior0.scale"], u[0], v[0]
            y = jnp.tanh(u).sum() + 0.5 * root * jax.random.normal(jax.random.fold_in(key, 1))
            hyper, u, _ = _node_moves.refreshed(
                key, nodes, hyper, {0: u},
                lambda _, u: -2 * (y - jnp.tanh(u[0]).sum()) ** 2 / temperature,
            )  # fmt: skip
            return hyper["prior0.scale"], u[0], v

        return jax.lax.fori_loop(0, 4, sweep, (z, u, v))

    temperatures = jnp.array([0.1, 0.5, 2.0])
    over_chains = jax.vmap(chain, (0, None))
    keys = jax.random.split(jax.random.key(2), chains)
    found = jax.jit(jax.vmap(over_chains, (None, 0)))(keys, temperatures)
    for t, z, u, v in zip(temperatures.tolist(), *map(np.asarray, found), strict=True):
        values = {
            "scale": stats.kstest(z / np.sqrt(t), "norm").pvalue,
            "nodes": stats.kstest(
                np.exp(u - z[:, None]).ravel(), stats.gamma(2 / t, scale=t).cdf
            ).pvalue,
            "weights": stats.kstest(v.ravel() / np.sqrt(t), "norm").pvalue,
        }
        assert min(values.values()) > 1e-3, (t, values)


def bumps(key, number=6, prior=HalfNormal(2.0)):  # noqa: B008
    keys = jax.random.split(key, 3)
    log_variances = nn.start_variances(prior, number, "prior", key=keys[2])
    shapes = (number, 2), (number, 3)
    arrays = [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=False)]
    return Bumps(*arrays, log_variances, prior, number)


def test_the_centred_move_keeps_the_function(key):
    """In every kind of layer, all in one call: what `outgoing` promises."""
    mixture = partial(nn.GMLayer, 2, 3, 6, prior=priors.Horseshoe(), key=key)
    models = [
        MoGP([priors.Horseshoe(), priors.Horseshoe()]).network(2, 3, 6, key=key),
        *(mixture(covariance=kind) for kind in ("low_rank", "full")),
        bumps(key),
    ]
    layers, x = nn.nodes(models), jax.random.normal(key, (20, 2))

    @jax.jit
    def move(u, weights):
        nodes = _node_moves.NodePriors(lambda _: dict(enumerate(n.law() for n in layers)), {}, 1.0)
        _, u, weights = _node_moves.centred(key, nodes, {}, u, weights, fan_outs(weights))
        held = [layer.with_outgoing(weights[i]) for i, layer in enumerate(layers)]
        new = nn.with_log_variances(nn.with_nodes(models, held), list(u.values()))
        return u, [model(x) for model in new]

    u = {i: layer.log_variances for i, layer in enumerate(layers)}
    new_u, outputs = move(u, {i: layer.outgoing() for i, layer in enumerate(layers)})
    for i, old in u.items():
        assert not np.allclose(new_u[i], old)
    for found, model in zip(outputs, models, strict=True):
        assert_close(found, model(x), rtol=1e-9, atol=1e-9)


def test_slices_of_a_density_that_is_no_number_stay(key):
    x = jnp.array([0.3, 1.0])
    new = _node_moves.slice_sample(key, x, lambda v: jnp.where(x < 0.5, -v * v, jnp.nan), 1.0)
    assert new[0] != x[0]
    assert new[1] == x[1]


# --- draws in a band ------------------------------------------------------------------------------


@pytest.mark.parametrize("open_below", [True, False])
def test_draws_from_a_band_have_its_density(open_below):
    """Against the integral of the density; one cell rises, one falls, one is next to flat."""
    values = jnp.array([-3.0, -1.0, -1.0, -4.0, -jnp.inf])
    band = _node_moves.Band(jnp.arange(5, dtype=FLOAT), values, jnp.asarray(open_below))
    draws = np.asarray(band.sample(jax.random.key(0), (20_000,)))
    grid = np.linspace(-8 if open_below else 0, 4, 120_001)
    density = np.exp(np.asarray(band.log_density(jnp.asarray(grid)), float))
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0])])
    assert abs(cdf[-1] - 1) < (1e-4 if jnp.float64 == FLOAT else 1e-3)
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3


# --- both moves leave the prior as it is ----------------------------------------------------------


def moved(prior, laws, chains, sweeps, which):
    """Draws from the prior before and after moves, and others: states and their log-densities.

    Successive conditional simulation (Geweke, 2004): before every redrawing of nodes new data are
    drawn given the state, the sum of `tanh u` with normal noise, so that the prior must stay.
    Single precision, in which runs on large data are.
    """
    nodes = node_priors(prior, laws)

    def start(key):
        by_value, by_node, by_weight = jax.random.split(key, 3)
        transform = {n: dist.biject_to(law.support) for n, law in laws.items()}
        hyper = {
            n: transform[n].inv(law.sample(by_value)).astype("float32") for n, law in laws.items()
        }
        u = sample_log(nodes.given(hyper)[0], by_node, (P,)).astype("float32")
        return hyper, u, jax.random.normal(by_weight, (P, FAN_OUT), "float32")

    def sweep(key, hyper, u, weights):
        if which == "centred":
            hyper, u, weights = _node_moves.centred(
                key, nodes, hyper, {0: u}, {0: weights}, fan_outs({0: weights})
            )
            return hyper, u[0], weights[0]
        y = jnp.tanh(u).sum() + 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (), "float32")
        hyper, u, _ = _node_moves.refreshed(
            key, nodes, hyper, {0: u}, lambda _, u: -2 * (y - jnp.tanh(u[0]).sum()) ** 2
        )
        return hyper, u[0], weights

    def scored(state):
        return state, nodes.log_density(nodes.given(state[0])[0], state[1]).sum()

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


@pytest.mark.statistical
@pytest.mark.parametrize("which", ["centred", "refreshed"])
@pytest.mark.parametrize(
    ("prior", "laws", "chains", "sweeps"),
    [
        (priors.Horseshoe(), {}, 4000, 10),
        (HalfNormal(1.0), {"prior0.scale": dist.LogNormal(0.0, 1.0)}, 4000, 10),
        (priors.InverseGamma(shape=0.5), {"prior0.scale": dist.LogNormal(0.0, 1.0)}, 2000, 10),
        (priors.GeneralizedGamma(alpha=0.5), {"prior0.alpha": dist.Uniform(0.05, 1.0)}, 1000, 8),
        (priors.GBFRY(alpha=0.5, tau=2.0), {"prior0.alpha": dist.Uniform(0.05, 1.0)}, 400, 5),
    ],
    ids=["horseshoe", "own", "inverse gamma", "generalized gamma", "gbfry"],
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
    pairs["norms"] = [np.linalg.norm(state[2], axis=2).ravel() for state in (last, fresh)]
    found = {name: stats.ks_2samp(*pair).pvalue for name, pair in pairs.items()}
    assert min(found.values()) > 1e-3, found
