"""Variances of the inputs in finite networks: values, priors, cuts, repair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from scipy import stats

from mogp import MoGP, nn, priors, pruning

GROUPS = (0, 0, 1, 2, 2)


@pytest.fixture(params=[None, GROUPS], ids=["each", "groups"])
def network(request, key):
    model = MoGP([priors.Horseshoe()] * 2, "relu", 1.1, 0.3,
                 input_prior=priors.InverseGamma(2.0), input_groups=request.param)  # fmt: skip
    return model.network(5, 2, 7, key=key)


@pytest.fixture
def x(key):
    return jax.random.normal(jax.random.fold_in(key, 1), (30, 5))


def groups_of(layer):
    return np.arange(5) if layer.groups is None else np.asarray(layer.groups)


def with_inputs(network, u):
    return nn.with_log_variances(network, [*network.log_variances, u])


def test_values_by_hand(network, x):
    layer = network.inputs
    groups = groups_of(layer)
    root = np.exp(np.asarray(layer.log_variances) / 2)[groups]
    weights, biases = np.asarray(layer.weights), np.asarray(layer.biases)
    wanted = 1.1 * (np.asarray(x) * root) @ weights.T + 0.3 * biases
    assert_close(network.pre_activations(x)[0], wanted, rtol=1e-10)
    assert [each.number for each in nn.nodes(network)] == [7, 7, groups.max() + 1]
    last = nn.flow(network, x)[-1]
    np.testing.assert_array_equal(last[0], x)
    assert_close(last[1], wanted, rtol=1e-10)


def test_the_log_prior_is_that_of_scipy(network):
    layer = network.inputs
    lam = np.exp(np.asarray(layer.log_variances, float))
    rest = stats.norm.logpdf(layer.weights).sum() + stats.norm.logpdf(layer.biases).sum()
    law = layer.law()
    own = float(jnp.sum(law.log_prob(jnp.asarray(lam)))) + np.log(lam).sum()
    assert_close(float(layer.log_prior()), rest + own, rtol=1e-9)
    assert nn.trainable(network).inputs.log_variances is True


def test_outgoing_weights_come_back(network):
    layer = network.inputs
    assert_close(layer.with_outgoing(layer.outgoing()).weights, layer.weights, rtol=0)
    assert_close(layer.fan_out(), 7.0 * np.bincount(groups_of(layer)), rtol=0)
    doubled = layer.with_outgoing(2 * layer.outgoing())
    assert_close(doubled.weights, 2 * layer.weights, rtol=1e-12)
    by_group = np.zeros(layer.number)
    np.add.at(by_group, groups_of(layer), (np.asarray(layer.weights) ** 2).sum(0))
    assert_close(layer.norms(), np.exp(layer.log_variances) * by_group, rtol=1e-10)


def test_contributions_are_those_of_each_group_alone(network, x):
    layer = network.inputs
    found = layer.contributions(x)
    for g in range(layer.number):
        alone = jnp.where(jnp.arange(layer.number) == g, layer.log_variances, -jnp.inf)
        only = with_inputs(network, alone).inputs
        values = only(x) - 0.3 * jnp.broadcast_to(only.biases, (30, 7))
        assert_close(1.1**2 * found[g], jnp.sum(values**2), rtol=1e-9)


def test_cut_inputs_are_switched_off_inputs(network, x):
    kept = [jnp.arange(7), jnp.array([0, 3]), jnp.array([0, 2])]
    small = nn.take(network, kept)
    off = jnp.setdiff1d(jnp.arange(network.inputs.number), kept[2])
    u = network.inputs.log_variances.at[off].set(-jnp.inf)
    logs = [network.log_variances[0], network.log_variances[1].at[jnp.array([1, 2, 4, 5, 6])]
            .set(-jnp.inf), u]  # fmt: skip
    assert_close(small(x), nn.with_log_variances(network, logs)(x), rtol=1e-10)
    assert small.in_size == 5  # it still takes all of them
    assert small.inputs.weights.shape[1] == len(small.inputs.columns) < 5
    again = nn.take(small, [jnp.arange(7), jnp.arange(2), jnp.array([1])])
    rest = jnp.where(jnp.arange(network.inputs.number) == 2, network.inputs.log_variances, -jnp.inf)
    assert_close(again(x), nn.with_log_variances(network, [*logs[:2], rest])(x), rtol=1e-10)


def test_pruning_ranks_cuts_repairs_and_stores_inputs(network, x, tmp_path):
    found = pruning.importances(network, x_train=x, importance="contribution")
    assert [len(f) for f in found] == [each.number for each in nn.nodes(network)]
    plain, mended = (
        pruning.compact(network, nodes=2, x_train=x, repair=repair) for repair in (False, True)
    )
    assert [each.number for each in nn.nodes(mended)] == [2, 2, 2]
    errors = [float(jnp.mean((small(x) - network(x)) ** 2)) for small in (plain, mended)]
    assert errors[1] < errors[0]
    masked = pruning.mask(network, nodes=2, x_train=x)
    assert_close(masked(x), plain(x), rtol=1e-9)
    pruning.save(mended, tmp_path / "small.eqx")
    again = pruning.load(tmp_path / "small.eqx", like=network)
    assert_close(mended(x), again(x), rtol=1e-12)
    pruning.save(mended, tmp_path / "small.npz")
    stored = np.load(tmp_path / "small.npz")
    z = np.asarray(x) @ stored["weights0"].T + stored["biases0"]
    assert_close(mended.pre_activations(x)[0], z, rtol=1e-10)
