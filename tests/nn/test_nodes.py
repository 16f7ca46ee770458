"""Layers of nodes, ours and a user's own, alone and inside other modules."""

import inspect
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from own_layers import FixedBumps
from scipy import stats

from mogp import MoGP, limit, nn, priors
from mogp.architecture import AbstractArchitecture

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)))
KEPT = jnp.array([3, 0])


class OwnPrior(priors.Prior):
    """A user's prior: a plain distribution of NumPyro."""

    shape: float

    def law(self, width):
        return dist.Gamma(self.shape, self.shape * width)


def bumps(key, prior=OwnPrior(2.0), number=4):  # noqa: B008
    keys = jax.random.split(key, 3)
    return FixedBumps(
        jax.random.normal(keys[0], (number, 3)),
        jax.random.normal(keys[1], (number, 2)),
        nn.start_variances(prior, number, key=keys[2]),
        prior,
        number,
        jnp.asarray(1.5),
    )


def chain(key, layer):
    """The layer between others of Equinox, as a model of a batch of inputs."""

    class Batch(eqx.Module):
        linear: eqx.nn.Linear

        def __call__(self, x, *, key=None):  # noqa: ARG002
            return jax.vmap(self.linear)(x)

    keys = jax.random.split(key)
    first, last = (eqx.nn.Linear(n, m, key=k) for n, m, k in ((3, 3, keys[0]), (2, 2, keys[1])))
    return eqx.nn.Sequential([Batch(first), eqx.nn.Lambda(jnp.tanh), layer, Batch(last)])


NAMES = ["own", "own in a chain", "network", "network in a chain", "diagonal", "low_rank", "full"]


@pytest.fixture(scope="module")
def models():
    """All arrays are drawn: no zeros of a start are left. One compilation for all."""

    def make(key):
        keys = iter(jax.random.split(key, 50))
        own = bumps(next(keys))
        model = MoGP([priors.Horseshoe(), OwnPrior(2.0)], "erf", weight_scale=1.5, bias_scale=0.5)
        network = model.network(3, 2, (4, 5), init_variances="equal", key=next(keys))
        found = {
            "own": own,
            "own in a chain": chain(next(keys), own),
            "network": network,
            "network in a chain": chain(next(keys), network),
        }
        for covariance in ("diagonal", "low_rank", "full"):
            layer = nn.GMLayer(
                3, 2, 4, covariance=covariance, prior=priors.Horseshoe(), init_variances="equal",
                key=next(keys),
            )  # fmt: skip
            found[covariance] = layer.with_arrays(
                {n: 0.7 * jax.random.normal(next(keys), a.shape) for n, a in layer.arrays().items()}
            )
        for name in NAMES[2:]:
            us = [jax.random.normal(next(keys), (n.number,)) for n in nn.nodes(found[name])]
            found[name] = nn.with_log_variances(found[name], us)
        return found

    return eqx.filter_jit(make)(jax.random.key(1, impl="rbg"))


EACH = pytest.mark.parametrize("name", NAMES)
ALONE = pytest.mark.parametrize("name", ["own", "hidden", "diagonal", "low_rank", "full"])


@pytest.fixture(scope="module")
def layers(models):
    """Layers alone: inputs of size 3, and the hidden layer of a network."""
    hidden = models["network"].layers[1]
    z = models["network"].pre_activations(X)[1]
    alone = {n: (models[n], X) for n in ("own", "diagonal", "low_rank", "full")}
    return alone | {"hidden": (hidden, z)}


# --- modules that hold layers ---------------------------------------------------------------------


@EACH
def test_taking_nodes_is_setting_the_other_variances_to_zero(name, models):
    model = models[name]
    kept = [KEPT, jnp.array([1, 2, 4])][: len(nn.nodes(model))]

    @eqx.filter_jit
    def both(model):
        logs = [
            jnp.full_like(n.log_variances, -jnp.inf).at[k].set(n.log_variances[k])
            for n, k in zip(nn.nodes(model), kept, strict=True)
        ]
        small = nn.take(model, kept)
        return small, small(X), nn.with_log_variances(model, logs)(X)

    small, taken, masked = both(model)
    assert_close(taken, masked, 1e-10, 1e-12)
    assert [n.number for n in nn.nodes(small)] == [len(k) for k in kept]
    assert [n.prior_width for n in nn.nodes(small)] == [n.prior_width for n in nn.nodes(model)]
    smaller = sum(a.size for a in jax.tree.leaves(eqx.filter(small, eqx.is_array)))
    assert smaller < sum(a.size for a in jax.tree.leaves(eqx.filter(model, eqx.is_array)))


@EACH
def test_flow_is_what_goes_in_and_out_of_each_layer(name, models):
    model = models[name]

    @eqx.filter_jit
    def through(model):
        found = nn.flow(model, X)
        return found, [n(z) for n, (z, _) in zip(nn.nodes(model), found, strict=True)], model(X)

    found, again, outputs = through(model)
    for (_, out), other in zip(found, again, strict=True):
        assert_close(out, other, 1e-12)
    if "chain" in name:
        last = model.layers[-1].linear
        assert_close(found[-1][1] @ last.weight.T + last.bias[None], outputs, 1e-10, 1e-12)
    else:
        assert_close(found[-1][1], outputs, 1e-12)


@EACH
def test_layers_are_found_and_exchanged(name, models):
    model = models[name]
    layers = nn.nodes(model)
    assert all(isinstance(layer, nn.AbstractNodes) for layer in layers)
    assert len(layers) == (2 if "network" in name else 1)
    same = nn.with_nodes(model, layers)
    assert jax.tree.structure(same) == jax.tree.structure(model)
    assert all(a is b for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(model), strict=True))
    moved = nn.with_log_variances(model, [n.log_variances + 1 for n in layers])
    for n, m in zip(nn.nodes(moved), layers, strict=True):
        assert_close(n.log_variances, m.log_variances + 1, 1e-12)
    for call in (nn.with_nodes, nn.with_log_variances, nn.take):
        with pytest.raises(ValueError, match=rf"must have one entry .* \({len(layers)}\), got 0"):
            call(model, [])


def test_what_is_no_number_of_a_node_or_variance_is_refused(models):
    """Indices out of range would be moved into it by JAX without a word."""
    model = models["network"]
    assert nn.take(model, [[3, 0], np.array([4])]).widths == (2, 1)
    for kept in ([4], [-1], [1, 1]):
        with pytest.raises(ValueError, match=r"kept must hold different numbers in \[0, 4\), got"):
            nn.take(model, [kept, [0]])
    for kept in ([0.0], [True, False, True, True], [], [[0]], 0):
        with pytest.raises(ValueError, match=r"kept must hold numbers of nodes, integers of shape"):
            nn.take(model, [kept, [0]])
    same = nn.with_log_variances(model, [[0.0] * 4, np.zeros(5)])
    assert same.log_variances[0].dtype == model.log_variances[0].dtype
    with pytest.raises(ValueError, match=r"values must have the shapes \[\(4,\), \(5,\)\], got"):
        nn.with_log_variances(model, [jnp.zeros(5), jnp.zeros(5)])
    with pytest.raises(ValueError, match="must be logarithms of node variances, got NaN"):
        nn.with_log_variances(model, [jnp.full(4, jnp.nan), jnp.zeros(5)])
    with pytest.raises(ValueError, match="layers must be layers of nodes, got int"):
        nn.with_nodes(model, [1, 2])
    with pytest.raises(ValueError, match=r"prior must be a Prior of mogp\.priors, got 'h'"):
        nn.start_variances("h", 3, key=jax.random.key(0, impl="rbg"))
    with pytest.raises(ValueError, match="architecture must be a MoGP, got Horseshoe"):
        nn.network(priors.Horseshoe(), 3, 2, 4, key=jax.random.key(0, impl="rbg"))


@EACH
def test_stacks_of_models_are_made_and_used_by_vmap(name, models):
    """Two models, each the same as alone."""
    model = models[name]

    def make(shift):
        moved = [n.with_outgoing(n.outgoing() + shift) for n in nn.nodes(model)]
        return nn.with_nodes(model, moved)

    def views(model):
        small = nn.take(model, [KEPT] * len(nn.nodes(model)))
        return model, small, model(X), nn.log_prior(model), nn.flow(model, X)

    stack, small, *values = eqx.filter_jit(eqx.filter_vmap(lambda shift: views(make(shift))))(
        jnp.array([0.0, 1.0])
    )
    assert nn.is_stack(stack)
    assert not nn.is_stack(model)
    assert [n.is_free for n in nn.nodes(stack)] == [n.is_free for n in nn.nodes(model)]
    assert [n.number for n in nn.nodes(small)] == [2] * len(nn.nodes(stack))
    assert nn.trainable(stack) == nn.trainable(model)
    _, small_alone, *alone = eqx.filter_jit(views)(model)
    for many, one in ((small, small_alone), (values, alone)):
        for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
            if eqx.is_array(b):
                assert_close(a[0], b, 1e-10, 1e-12)


def test_flow_of_a_module_of_single_inputs_and_of_wrong_ones(models):
    layer = models["own"]
    single = eqx.nn.Sequential([eqx.nn.Lambda(jnp.tanh), layer])
    inputs, outputs = jax.vmap(lambda row: nn.flow(single, row)[0])(X)
    assert_close(inputs, jnp.tanh(X), 1e-12)
    assert_close(outputs, layer(jnp.tanh(X)), 1e-10, 1e-12)

    class Wrong(eqx.Module):
        layer: FixedBumps
        times: int

        def __call__(self, x):
            return sum((self.layer(x) for _ in range(self.times)), jnp.zeros(()))

    with pytest.raises(ValueError, match="must call each of its layers of nodes once"):
        nn.flow(Wrong(layer, 0), X)
    with pytest.raises(ValueError, match="must call each of its layers of nodes once"):
        nn.flow(Wrong(layer, 2), X)


# --- priors -----------------------------------------------------------------------------------


def test_a_users_prior_is_trained_and_has_the_density_of_its_distribution(models):
    """Normal weights, and a plain Gamma of NumPyro on λ, with the Jacobian of u = log λ."""
    layer = models["own"]
    assert layer.is_free
    assert isinstance(layer.law(), dist.Gamma)
    u = np.array(layer.log_variances)
    of_variances = np.sum(stats.gamma(2.0, scale=1 / (2.0 * 4)).logpdf(np.exp(u)) + u)
    weights = sum(np.sum(stats.norm.logpdf(a)) for a in (layer.centres, layer.weights))
    assert_close(layer.log_prior(), weights + of_variances, 1e-10)
    assert_close(nn.log_prior(models["own in a chain"]), weights + of_variances, 1e-10)
    of_network = models["network"].layers[1]
    assert of_network.is_free
    u = np.array(of_network.log_variances)
    expected = np.sum(stats.gamma(2.0, scale=1 / (2.0 * 5)).logpdf(np.exp(u)) + u)
    assert_close(of_network.log_prior_of_variances(), expected, 1e-10)
    equal = nn.start_variances(OwnPrior(2.0), 3, "equal", key=jax.random.key(0, impl="rbg"))
    assert_close(equal, -math.log(3), 1e-12)


def test_what_is_trainable(models):
    """All but priors, constants, and node variances without a density."""
    spec = nn.trainable(models["own in a chain"])
    own = spec.layers[2]
    assert own.centres and own.weights and own.log_variances  # noqa: PT018
    assert not own.breadth
    assert not any(jax.tree.leaves(own.prior))
    assert spec.layers[0].linear.weight

    fixed = eqx.tree_at(lambda n: n.prior, models["own"], priors.Deterministic())
    assert not fixed.is_free
    assert not nn.trainable(fixed).log_variances
    assert nn.trainable(fixed).weights
    assert fixed.log_prior_of_variances() == 0
    own = models["own"]
    assert_close(fixed.log_prior(), own.log_prior() - own.log_prior_of_variances(), 1e-10)

    # Scales and parameters of priors that are arrays are no parameters of the network.
    model = MoGP([OwnPrior(jnp.asarray(2.0)), priors.Bernoulli(3.0)], weight_scale=jnp.asarray(1.5))
    network = jax.eval_shape(lambda: model.network(3, 2, 4, key=jax.random.key(0, impl="rbg")))
    network = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), network)
    spec = nn.trainable(network)
    trained = jax.tree.leaves(eqx.filter(network, spec))
    assert len(trained) == 3 + 3 + 1
    assert (spec.layers[0].log_variances, spec.layers[1].log_variances) == (True, False)
    layer = network.layers[0]
    assert_close(
        layer.log_prior() - layer.log_prior_of_variances(), 20 * stats.norm.logpdf(1.0), 1e-6
    )
    plain = nn.GMLayer(3, 2, 4, key=jax.random.key(0, impl="rbg"))
    assert nn.nodes(plain) == ()
    assert nn.log_prior(plain) == 0
    assert nn.log_prior(eqx.nn.Lambda(jnp.tanh)) == 0
    assert not nn.is_stack(plain)


# --- one layer ----------------------------------------------------------------------------------


@ALONE
def test_outputs_are_linear_in_the_outgoing_weights(name, layers, key):
    layer, x = layers[name]
    v = layer.outgoing()
    assert v.shape[0] == layer.number
    w, c = jax.random.normal(key, v.shape), jnp.arange(1.0, layer.number + 1)

    @eqx.filter_jit
    def values(layer):
        def at(weights):
            return layer.with_outgoing(weights)(x)

        zero = at(0 * v)
        sums = at(2.0 * v - 3.0 * w) - zero, 2.0 * (at(v) - zero) - 3.0 * (at(w) - zero)
        scaled = layer.with_outgoing(c[:, None] * v)
        small = eqx.tree_at(lambda n: n.log_variances, scaled, layer.log_variances - 2 * jnp.log(c))
        return sums, layer.with_outgoing(w).outgoing(), layer.with_outgoing(v), small(x), layer(x)

    sums, back, same, rescaled, outputs = values(layer)
    assert_close(*sums, 1e-9, 1e-10)
    assert_close(back, w, 1e-12)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(layer), strict=True):
        assert_close(a, b, 1e-12)
    assert_close(rescaled, outputs, 1e-9, 1e-10)


@ALONE
def test_contributions_and_norms_are_those_of_each_node_alone(name, layers):
    """Without one node, the outputs change by what it adds."""
    layer, x = layers[name]

    @eqx.filter_jit
    def parts(layer):
        def without(j):
            off = eqx.tree_at(
                lambda n: n.log_variances, layer, layer.log_variances.at[j].set(-jnp.inf)
            )
            return jnp.sum((layer(x) - off(x)) ** 2)

        each = jax.vmap(without)(jnp.arange(layer.number))
        return layer.contributions(x), each, layer.norms()

    found, expected, norms = parts(layer)
    factor = 1.5**2 if name == "hidden" else 1.0  # σ_v², which all nodes share
    assert_close(factor * found, expected, 1e-8)
    weights = layer.output_means() if isinstance(layer, nn.GMLayer) else layer.outgoing()
    assert_close(norms, np.exp(layer.log_variances) * np.sum(weights**2, 1), 1e-10)


@ALONE
def test_refitting_adds_the_design_times_the_change(name, layers, key):
    layer, x = layers[name]
    if name == "own":
        for call in (lambda: layer.design(x), lambda: layer.refitted(x)):
            with pytest.raises(ValueError, match="needs FixedBumps to define design and refitted"):
                call()
        return

    @eqx.filter_jit
    def change_by(layer, key):
        design = layer.design(x)
        change = jax.random.normal(key, (design.shape[1], 2))
        return layer.refitted(change)(x) - layer(x), design @ change

    assert_close(*change_by(layer, key), 1e-9, 1e-10)


def test_gm_arrays_by_name(models):
    layer = models["low_rank"]
    names = {"means", "offsets", "scales", "slopes", "factors", "output_factors"}
    assert set(layer.arrays()) == names
    assert set(dict(layer.prior_scales)) == names
    assert set(models["full"].arrays()) == names - {"scales", "slopes"}
    assert set(models["diagonal"].arrays()) == names - {"factors", "output_factors"}
    new = layer.with_arrays({"factors": jnp.zeros((4, 3, 3))})
    assert not np.any(new.covariance.factor.factors)
    with pytest.raises(ValueError, match=r"arrays must have names among .*, got \['factor'\]"):
        layer.with_arrays({"factor": jnp.zeros((4, 3, 3))})


# --- the model --------------------------------------------------------------------------------

METHODS = {
    "network": nn.network,
    "sample_kernel": limit.sample_kernel,
    "kernel_draws": limit.kernel_draws,
    "sample_prior": limit.sample_prior,
    "sample_path": limit.sample_path,
    "moments": limit.moments,
    "tail_index": limit.tail_index,
    "characteristic_function": limit.characteristic_function,
    "log_marginal_density": limit.log_marginal_density,
    "condition": limit.condition,
    "kernel": limit.kernel,
}


def test_methods_of_the_model_are_the_functions():
    """With their signatures and documentation."""
    model = MoGP([priors.Deterministic()])
    own = {n for n, f in vars(MoGP).items() if not n.startswith("_") and callable(f)}
    assert own == set(METHODS)
    for name, function in METHODS.items():
        method, parameters = getattr(model, name), inspect.signature(function).parameters
        assert list(inspect.signature(method).parameters) == list(parameters)[1:]
        assert inspect.signature(getattr(MoGP, name)).parameters == parameters
        assert method.__doc__ == function.__doc__


def test_methods_and_functions_return_the_same(key):
    model = MoGP([priors.Deterministic()], bias_scale=0.5)
    assert isinstance(model, AbstractArchitecture)
    pairs = (
        (model.network(3, 2, 4, key=key), nn.network(model, 3, 2, 4, key=key)),
        (model.sample_kernel(X, key=key), limit.sample_kernel(model, X, key=key)),
        (model.kernel_draws(X, key=key), limit.kernel_draws(model, X, key=key)),
        (model.moments(X), limit.moments(model, X)),
    )
    for method, function in pairs:
        assert jax.tree.structure(method) == jax.tree.structure(function)
        for a, b in zip(jax.tree.leaves(method), jax.tree.leaves(function), strict=True):
            np.testing.assert_array_equal(a, b)
    kernels, draws = pairs[1][0], pairs[2][0]
    np.testing.assert_array_equal(kernels, draws.kernels)
    assert isinstance(draws, limit.KernelDraws)


def test_mogp_prints_as_what_it_is():
    model = MoGP(priors=[priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)])
    assert repr(model) == (
        "MoGP(priors=(Horseshoe(), GBFRY(alpha=0.5, tau=2.0)), activation=ReLU())"
    )
    assert model.depth == 2
    assert model.scales == [(1.0, 0.0)] * 3
    assert MoGP([priors.Deterministic()], weight_scale=(1.0, 2.0), bias_scale=0.5).scales == [
        (1.0, 0.5),
        (2.0, 0.5),
    ]
    unknown = MoGP([priors.Deterministic()], weight_scale=dist.HalfNormal(1.0))
    with pytest.raises(ValueError, match=r"is a distribution.*inference\.sample_parameters"):
        _ = unknown.scales
