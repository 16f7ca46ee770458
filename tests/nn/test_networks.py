"""Networks of finite width against NumPy, Monte Carlo and their own composition."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from closeness import X64, assert_close
from jax.test_util import check_grads

from mogp import MoGP, activations, nn, priors

PRIORS = [priors.Horseshoe(), priors.Gamma(2.0)]
MODEL = MoGP(PRIORS, "erf", weight_scale=1.5, bias_scale=0.5)


@pytest.fixture(scope="module")
def network():
    @eqx.filter_jit
    def make(key):
        start = MODEL.network(3, 2, (5, 4), init_variances="equal", key=key)
        us = [jax.random.normal(jax.random.fold_in(key, p), (p,)) for p in (5, 4)]
        return nn.with_log_variances(start, us)

    return make(jax.random.key(20250811, impl="rbg"))


@pytest.fixture(scope="module")
def networks(network):
    """One of every module of the room that is called, from 3 inputs to 2 outputs."""

    @eqx.filter_jit
    def make(key):
        first, hidden = network.inputs, network.layers[1]
        parts = first.weights[:2], first.biases[:2]
        return {
            "DependentMLP": network,
            "DependentLayer": hidden.take(jnp.arange(3)),
            "InputLayer": eqx.tree_at(lambda n: (n.weights, n.biases), first, parts),
            "GMLayer": nn.GMLayer(3, 2, 4, key=key),
            "MeanFieldLayer": nn.MeanFieldLayer(3, 2, 7, key=key),
        }

    return make(jax.random.key(20250811, impl="rbg"))


MODULES = [
    name
    for name in nn.__all__
    if isinstance(getattr(nn, name), type)
    and issubclass(getattr(nn, name), eqx.Module)
    and "__call__" in vars(getattr(nn, name))
    and name != "Dependent"  # it takes what its model takes, see test_any_network
]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_takes_any_leading_dimensions_and_composes(name, networks):
    network = networks[name]  # a new public module without an entry fails here
    x = jnp.asarray(np.random.default_rng(3).normal(size=(4, 6, 3)) + 2.0)

    @eqx.filter_jit
    def views(network, x):
        linear = eqx.nn.Linear(5, 3, key=jax.random.key(0, impl="rbg"))
        chain = eqx.nn.Sequential([linear, network, eqx.nn.Lambda(jnp.tanh)])
        gradient = eqx.filter_grad(lambda m: jnp.sum(m(x[0, 0]) ** 2))(network)
        mapped = jax.vmap(jax.vmap(network))(x)
        return network(x), mapped, jax.vmap(chain)(jnp.ones((6, 5))), gradient

    y, mapped, chained, gradient = views(network, x)
    assert y.shape == (4, 6, 2)
    assert_close(mapped, y, rtol=1e-10)
    assert_close(network(x[0, 0]), y[0, 0], rtol=1e-10)  # not compiled
    assert_close(network(np.asarray(x[0, 0]).tolist()), y[0, 0], rtol=1e-6)
    for table in (pd.DataFrame(np.asarray(x[0])), np.ones((6, 3), int), np.ones((6, 3), bool)):
        found = jax.eval_shape(lambda table=table: network(table))
        assert (found.shape, found.dtype) == ((6, 2), y.dtype)
    assert jax.eval_shape(lambda: network(np.zeros((0, 3)))).shape == (0, 2)
    for wrong in (x[..., :2], np.ones((3, 4)), 1.0, [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"x must have shape \(…, 3\), got \("):
            network(wrong)
    for wrong in (x + 1j, np.array(["a", "b", "c"]), np.array([None] * 3)):
        with pytest.raises(ValueError, match="x must hold real numbers, got"):
            network(wrong)
    assert chained.shape == (6, 2)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert len(repr(network)) < 1000
    assert name in repr(network)

    parameters, static = eqx.partition(network, nn.trainable(network))
    check_grads(
        jax.jit(lambda p, x: jnp.sum(eqx.combine(p, static)(x) ** 2)),
        (parameters, x[0, 0]),
        order=1,
        modes=["rev"],
        rtol=1e-5 if X64 else 2e-2,
    )
    single = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, network
    )
    assert jax.eval_shape(single, jnp.ones((2, 3), jnp.float32)).dtype == jnp.float32


def test_dependent_mlp_is_the_formula(network):
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


def test_log_prior_has_every_term_and_the_jacobian(network):
    normal = sum(
        float(np.sum(-(np.array(a) ** 2) / 2 - 0.5 * math.log(2 * math.pi)))
        for a in (*network.weights, *network.biases)
    )
    variances = sum(
        float(jnp.sum(prior.at_width(p).log_prob(jnp.exp(u)) + u))
        for prior, p, u in zip(PRIORS, (5, 4), network.log_variances, strict=True)
    )
    assert_close(network.log_prior(), normal + variances, rtol=1e-10)


def test_log_prior_in_log_variances_is_a_normalised_density(key):
    """∫ exp(log_prior) over one u is finite and that of a density: the Jacobian is in."""
    network = MoGP([priors.Horseshoe()]).network(1, 1, 1, key=key)
    constant = eqx.tree_at(lambda n: n.layers[0].prior, network, priors.Deterministic())
    grid = jnp.linspace(-70.0, 70.0, 20001)

    def density(u):
        moved = nn.with_log_variances(network, [u[None]])
        return jnp.exp(moved.log_prior() - constant.log_prior())

    total = jnp.trapezoid(jax.jit(jax.vmap(density))(grid), grid)
    assert_close(total, 1.0, rtol=1e-6)


def test_deterministic_variances_are_constants(key):
    network = MoGP([priors.Deterministic()]).network(3, 1, 8, key=key)
    assert_close(jnp.exp(network.log_variances[0]), 1 / 8, rtol=1e-12)
    parameters, static = eqx.partition(network, nn.trainable(network))
    gradient = jax.grad(lambda p: jnp.sum(eqx.combine(p, static)(jnp.ones(3))))(parameters)
    assert gradient.log_variances == (None,)
    assert np.any(gradient.weights[0])


@pytest.mark.statistical
def test_variances_start_from_the_prior_or_equal(key):
    model = MoGP([priors.Horseshoe()], bias_scale=1.0)
    drawn = model.network(2, 1, 4000, key=key).log_variances[0]
    law = priors.Horseshoe().at_width(4000)
    # median of 4000 draws: standard error of the quantile 1 / (2 √4000) = 0.0079; 4 of them
    assert abs(float(jnp.mean(jnp.exp(drawn) < law.icdf(0.5))) - 0.5) < 4 * 0.0079
    equal = model.network(2, 1, 10, init_variances="equal", key=key).log_variances[0]
    assert_close(equal, -math.log(10.0), rtol=1e-12)


@pytest.mark.statistical
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


def test_networks_can_be_built_inside_jit_with_traced_parameters(key):
    @jax.jit
    def output(slab, weight_scale):
        model = MoGP([priors.RegularizedHorseshoe(slab)], weight_scale=weight_scale)
        return model.network(2, 1, 5, key=key)(jnp.ones(2))[0]

    assert np.isfinite(output(0.4, 1.2))
    assert np.isfinite(jax.grad(output)(0.4, 1.2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_size": 0}, "in_size must be an integer of at least 1, got 0"),
        ({"out_size": -1}, "out_size must be an integer of at least 1, got -1"),
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"width": 3.0}, "width must be an integer of at least 1, got 3.0"),
        ({"width": (3, 4, 5)}, r"width must be one number, or one for each hidden layer \(1\)"),
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
    names = ("in_size", "out_size", "width", "init_variances")
    sizes = {n: v for n, v in change.items() if n in names}
    model = {n: v for n, v in change.items() if n not in names}
    with pytest.raises(ValueError, match=message):
        MoGP(**({"priors": [priors.Horseshoe()]} | model)).network(
            **({"in_size": 2, "out_size": 1, "width": 3} | sizes), key=key
        )


def test_numbers_of_other_kinds_are_numbers(key):
    model = MoGP([priors.Horseshoe()] * 2)
    for width in (np.int64(3), [3, 3], np.array([3, 3]), (3, np.int32(3))):
        shapes = jax.eval_shape(lambda width=width: model.network(2, np.int64(1), width, key=key))
        assert shapes.widths == (3, 3)
    assert nn.GMLayer(2, 1, 3, init_scale=jnp.asarray(0.5), key=key).prior_scales[0][1] == 0.5


HUGE = 10**12
MAKERS = {
    "network": lambda **o: MoGP([priors.Horseshoe()]).network(2, 1, **{"width": 3} | o),
    "mean field": lambda **o: nn.MeanFieldLayer(2, 1, **{"width": 3} | o),
    "diagonal": lambda **o: nn.GMLayer(2, 1, o.pop("width", 3), **o),
    "full": lambda **o: nn.GMLayer(2, 1, o.pop("width", 3), covariance="full", **o),
    "variances": lambda **o: nn.start_variances(priors.Horseshoe(), o.pop("width", 3), **o),
    "neurons": lambda **o: nn.gm_particles(LAYER, o.pop("width", 3), **o),
    "as mean field": lambda **o: nn.to_mean_field(LAYER, **{"width": 3} | o),
    "mixture": lambda **o: nn.fit_mixture([[1.0], [2.0]], [[1.0, 2.0]], 1, **o),
}
LAYER = nn.GMLayer(2, 1, 3, key=jax.random.key(0, impl="rbg"))


@pytest.mark.parametrize("name", MAKERS)
def test_keys_and_memory_are_looked_at_first(name, key):
    make = MAKERS[name]
    for wrong, use in ((0, 0), (7, 7), (None, 0), ("key", 0), (1.5, 0)):
        message = rf"key must be a random key, got .*: use jax\.random\.key\({use}\)"
        with pytest.raises(ValueError, match=message):
            make(key=wrong)
    with pytest.raises(ValueError, match=r"must be one random key, got \(2,\) of them: use jax.vm"):
        make(key=jax.random.split(key))
    if name != "mixture":
        with pytest.raises(ValueError, match=r"would take .* GiB, more than the memory of"):
            make(width=HUGE, key=key)


def test_bad_arguments_of_mean_field_layers(key):
    for change, message in (
        ({"in_size": 0}, "in_size must be an integer of at least 1"),
        ({"out_size": 0}, "out_size must be an integer of at least 1"),
        ({"width": 0}, "width must be an integer of at least 1"),
        ({"init_scale": 0.0}, "init_scale must be above 0"),
        ({"init_scale": 1j}, "init_scale must be above 0, got 1j"),
        ({"init_scale": [1.0, 2.0]}, r"init_scale must be one number, got shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.MeanFieldLayer(**({"in_size": 2, "out_size": 1, "width": 3} | change), key=key)
