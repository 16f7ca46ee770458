"""Networks of finite width against NumPy, Monte Carlo and their own composition."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from jax.test_util import check_grads

from mogp import MoGP, activations, nn, priors

ACTIVATIONS = ["relu", "leaky_relu", "erf", "identity", "gelu", "tanh"]
ALL_PRIORS = [priors.Deterministic(), priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)]


def networks(key):
    """One of every module of the room, from 3 inputs to 2 outputs."""
    return {
        "DependentMLP": nn.DependentMLP(3, 2, (5, 4), ALL_PRIORS[1:], bias_scale=0.5, key=key),
        "GMLayer": nn.GMLayer(3, 2, 4, key=key),
        "MeanFieldLayer": nn.MeanFieldLayer(3, 2, 7, key=key),
    }


MODULES = [
    name
    for name in nn.__all__
    if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), eqx.Module)
]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_takes_any_leading_dimensions_and_composes(name, key):
    network = networks(key)[name]  # a new public module without an entry fails here
    x = jax.random.normal(key, (4, 6, 3))
    y = network(x)
    assert y.shape == (4, 6, 2)
    assert_close(jax.vmap(jax.vmap(network))(x), y, rtol=1e-10)
    assert_close(eqx.filter_jit(network)(x), y, rtol=1e-10)

    chain = eqx.nn.Sequential([eqx.nn.Linear(5, 3, key=key), network, eqx.nn.Lambda(jnp.tanh)])
    assert jax.vmap(chain)(jnp.ones((6, 5))).shape == (6, 2)
    gradient = eqx.filter_grad(lambda m: jnp.sum(m(x[0, 0]) ** 2))(network)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert len(repr(network)) < 800
    assert name in repr(network)


@pytest.mark.parametrize("name", MODULES)
def test_gradients_against_finite_differences(name, key):
    parameters, static = eqx.partition(networks(key)[name], eqx.is_inexact_array)
    x = jax.random.normal(jax.random.key(3), (3,)) + 2.0
    check_grads(
        lambda p, x: jnp.sum(eqx.combine(p, static)(x) ** 2),
        (parameters, x),
        order=1,
        rtol=1e-5 if X64 else 2e-2,
    )


@pytest.mark.parametrize("name", MODULES)
def test_float32_in_float32_out(name, key):
    network = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, networks(key)[name]
    )
    assert network(jnp.ones((2, 3), jnp.float32)).dtype == jnp.float32


def test_dependent_mlp_is_the_formula(key):
    network = nn.DependentMLP(
        3, 2, (5, 4), ALL_PRIORS[1:], activation="erf", weight_scale=1.5, bias_scale=0.5, key=key
    )
    x = np.array([0.3, -1.0, 2.0])
    erf = np.vectorize(math.erf)
    v, b = [np.array(w) for w in network.weights], [np.array(w) for w in network.biases]
    root = [np.exp(np.array(u) / 2) for u in network.log_variances]
    z = 0.5 * b[0] + 1.5 / math.sqrt(3) * v[0] @ x
    z = 0.5 * b[1] + 1.5 * v[1] @ np.diag(root[0]) @ erf(z)
    z = 0.5 * b[2] + 1.5 * v[2] @ np.diag(root[1]) @ erf(z)
    assert_close(network(jnp.array(x)), z, rtol=1e-12)
    assert [a.shape[-1] for a in network.pre_activations(jnp.array(x))] == [5, 4, 2]
    assert (network.in_size, network.widths, network.out_size) == (3, (5, 4), 2)


def test_log_prior_has_every_term_and_the_jacobian(key):
    network = nn.DependentMLP(3, 2, (5, 4), ALL_PRIORS[1:], key=key)
    normal = sum(
        float(np.sum(-(np.array(a) ** 2) / 2 - 0.5 * math.log(2 * math.pi)))
        for a in (*network.weights, *network.biases)
    )
    variances = sum(
        float(jnp.sum(prior.at_width(p).log_prob(jnp.exp(u)) + u))
        for prior, p, u in zip(ALL_PRIORS[1:], (5, 4), network.log_variances, strict=True)
    )
    assert_close(network.log_prior(), normal + variances, rtol=1e-10)


def test_log_prior_in_log_variances_is_a_normalised_density(key):
    """∫ exp(log_prior) over one u is finite and that of a density: the Jacobian is in."""
    network = nn.DependentMLP(1, 1, 1, [priors.Horseshoe()], key=key)
    grid = jnp.linspace(-70.0, 70.0, 20001)

    def density(u):
        return jnp.exp(
            eqx.tree_at(lambda n: n.log_variances, network, (u[None],)).log_prior()
            - eqx.tree_at(lambda n: n.priors, network, (priors.Deterministic(),)).log_prior()
        )

    total = jnp.trapezoid(jax.vmap(density)(grid), grid)
    assert_close(total, 1.0, rtol=1e-6)


def test_deterministic_variances_are_constants(key):
    network = nn.DependentMLP(3, 1, 8, [priors.Deterministic()], key=key)
    assert_close(jnp.exp(network.log_variances[0]), 1 / 8, rtol=1e-12)
    gradient = eqx.filter_grad(lambda n: jnp.sum(n(jnp.ones(3))))(network)
    assert not np.any(gradient.log_variances[0])
    assert np.any(gradient.weights[0])


def test_variances_start_from_the_prior_or_equal(key):
    model = MoGP([priors.Horseshoe()], bias_scale=1.0)
    drawn = model.network(2, 1, 4000, key=key).log_variances[0]
    law = priors.Horseshoe().at_width(4000)
    # median of 4000 draws: standard error of the quantile 1 / (2 √4000) = 0.0079; 4 of them
    assert abs(float(jnp.mean(jnp.exp(drawn) < law.icdf(0.5))) - 0.5) < 4 * 0.0079
    equal = model.network(2, 1, 10, init_variances="equal", key=key).log_variances[0]
    assert_close(equal, -math.log(10.0), rtol=1e-12)


def test_a_wide_deterministic_network_has_the_variance_of_its_limit(key):
    """Var Z = σ_b² + σ_v² E φ(Z¹)²; 4000 networks, 4 standard errors: false alarm 6e-5."""
    model = MoGP([priors.Deterministic()], weight_scale=1.5, bias_scale=0.5)
    x = jnp.array([1.0, -2.0, 0.5])
    outputs = eqx.filter_vmap(lambda k: model.network(3, 1, 200, key=k)(x)[0])(
        jax.random.split(key, 4000)
    )
    k = 0.5**2 + 1.5**2 * float(x @ x) / 3
    expected = 0.5**2 + 1.5**2 * float(activations.relu.second_moment(k))
    assert abs(float(outputs.var()) / expected - 1) < 4 * math.sqrt(2.1 / 4000)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gm_layer_against_monte_carlo(activation, key):
    """10^6 neurons (ω, β), 4 standard errors for 2 outputs: false alarm 1.3e-4 an activation."""
    layer = nn.GMLayer(3, 2, 4, activation=activation, key=key)
    x = jnp.array([0.7, -1.2, 2.0])
    num, keys = 1_000_000, jax.random.split(jax.random.key(5), 3)
    k = jax.random.randint(keys[0], (num,), 0, 4)
    beta = layer.means[k] + layer.scales[k] * jax.random.normal(keys[1], (num, 3))
    omega = jnp.einsum("nld,nd->nl", layer.slopes[k], beta) + layer.offsets[k]
    omega += 0.3 * jax.random.normal(keys[2], omega.shape)  # noise around E[ω | β] averages out
    draws = omega * layer.activation(beta @ x)[:, None]
    error = np.abs(layer(x) - draws.mean(0))
    assert np.all(error < 4 * draws.std(0) / math.sqrt(num))


def test_gm_layer_without_spread_is_a_layer_of_neurons(key):
    layer = nn.GMLayer(3, 2, 4, key=key)
    layer = eqx.tree_at(lambda n: n.scales, layer, jnp.zeros((4, 3)))
    x = jax.random.normal(key, (6, 3))
    amplitudes = jnp.einsum("kld,kd->kl", layer.slopes, layer.means) + layer.offsets
    neurons = nn.MeanFieldLayer(3, 2, 4, key=key)
    neurons = eqx.tree_at(
        lambda n: (n.directions, n.amplitudes), neurons, (layer.means, amplitudes.T)
    )
    assert_close(layer(x), neurons(x), rtol=1e-10)


def test_gm_layer_at_zero_input_has_finite_gradients(key):
    for dtype in (jnp.float32, jnp.float64)[: 1 + X64]:
        layer = jax.tree.map(
            lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a,  # noqa: B023
            nn.GMLayer(3, 2, 4, key=key),
        )
        gradient = eqx.filter_grad(lambda n: jnp.sum(n(jnp.zeros(3, dtype))))(layer)  # noqa: B023
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_gm_layer_counts_the_parameters_of_the_paper(key):
    k, d, size = 5, 7, 3
    arrays = jax.tree.leaves(eqx.filter(nn.GMLayer(d, size, k, key=key), eqx.is_inexact_array))
    assert sum(a.size for a in arrays) == k * (2 * d + d * size + size)


def test_mogp_prints_as_what_it_is():
    model = MoGP(priors=[priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)])
    assert repr(model) == (
        "MoGP(priors=(Horseshoe(), GBFRY(alpha=0.5, tau=2.0)), activation=ReLU())"
    )
    assert model.depth == 2


def test_networks_can_be_built_inside_jit_with_traced_parameters(key):
    @jax.jit
    def output(alpha, weight_scale):
        model = MoGP([priors.GBFRY(alpha=alpha, tau=3.0)], weight_scale=weight_scale)
        return model.network(2, 1, 5, key=key)(jnp.ones(2))[0]

    assert np.isfinite(output(0.4, 1.2))
    assert np.isfinite(jax.grad(output)(0.4, 1.2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_size": 0}, "in_size must be an integer of at least 1, got 0"),
        ({"out_size": -1}, "out_size must be an integer of at least 1, got -1"),
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"width": (3, 4, 5)}, "3 widths and 1 priors"),
        ({"priors": []}, "priors must be a list with one Prior a hidden layer"),
        ({"priors": priors.Horseshoe()}, "priors must be a list with one Prior a hidden layer"),
        ({"priors": ["horseshoe"]}, "priors must be a list with one Prior a hidden layer"),
        ({"activation": "swosh"}, "activation must be one of"),
        ({"weight_scale": 0.0}, "weight_scale must be above 0, got 0.0"),
        ({"bias_scale": -1.0}, "bias_scale must be above 0, got -1.0"),
        ({"init_variances": "zero"}, "init_variances must be one of"),
    ],
)
def test_bad_arguments_of_dependent_mlp(change, message, key):
    arguments = {"in_size": 2, "out_size": 1, "width": 3, "priors": [priors.Horseshoe()]} | change
    with pytest.raises(ValueError, match=message):
        nn.DependentMLP(**arguments, key=key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": 0}, "components must be an integer of at least 1, got 0"),
        ({"components": 2.5}, "components must be an integer of at least 1, got 2.5"),
        ({"covariance": "round"}, "covariance must be one of"),
        ({"init_scale": 0.0}, "init_scale must be above 0"),
    ],
)
def test_bad_arguments_of_gm_layer(change, message, key):
    with pytest.raises(ValueError, match=message):
        nn.GMLayer(**({"in_size": 2, "out_size": 1, "components": 3} | change), key=key)
    with pytest.raises(ValueError, match="width must be an integer of at least 1"):
        nn.MeanFieldLayer(2, 1, 0, key=key)
