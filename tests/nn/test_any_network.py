"""Node groups of any Equinox model: found, given variances, cut away."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import KEY, NETWORKS, made
from scipy import stats

from mogp import inference, nn, priors, pruning


def same(one, other):
    scale = float(jnp.max(jnp.abs(other)))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


@functools.cache
def dependent(name):
    model, x = made(name)
    found = nn.groups(model, x)
    if name in ("vit", "own attention"):  # heads and what all heads have share weights
        found = found.select(*(i for i in range(len(found)) if found[i].size != 3))
    build = eqx.filter_jit(lambda model: nn.Dependent(model, found, priors.Horseshoe()))
    return model, x, build(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_found(name):
    model, x = made(name)
    found = nn.groups(model, x)
    assert sorted(group.size for group in found) == sorted(NETWORKS[name][2])
    assert all(str(group) in repr(found) for group in found)
    assert all(refusal.reasons for refusal in found.refused)


@pytest.mark.parametrize("name", NETWORKS)
def test_nodes_without_variance_are_nodes_that_are_not_there(name):
    """The oracle of every architecture: λ = 0 for random nodes, or arrays without them."""
    model, x, network = dependent(name)
    rng = np.random.default_rng(0)
    kept = [
        jnp.asarray(np.sort(rng.permutation(layer.number)[: -(-layer.number // 3)]))
        for layer in network.layers
    ]

    @eqx.filter_jit
    def views(model, network, kept, x):
        off = [
            jnp.full(layer.number, -jnp.inf).at[stays].set(layer.log_variances[stays])
            for layer, stays in zip(network.layers, kept, strict=True)
        ]
        small = nn.take(network, kept)
        plain = small.model()
        whole = model(x), network(x), network.model()(x)
        return small, plain, whole, (nn.with_log_variances(network, off)(x), small(x), plain(x))

    small, plain, (outputs, *again), (wanted, *others) = views(model, network, kept, x)
    for each in again:
        same(each, outputs)
    for each in others:
        same(each, wanted)
    assert not np.allclose(wanted, outputs, rtol=1e-3)
    assert type(plain) is type(model)
    assert [layer.number for layer in small.layers] == [len(each) for each in kept]
    before, after = (jax.tree.leaves(eqx.filter(m, eqx.is_array)) for m in (model, plain))
    assert sum(a.size for a in after) < sum(a.size for a in before)


@pytest.mark.parametrize("name", ["lenet", "recurrent", "vit"])
def test_cuts_can_be_repeated_and_traced(name):
    _, x, network = dependent(name)
    half = [jnp.arange(layer.number // 2) for layer in network.layers]
    quarter = [jnp.arange(layer.number // 4) for layer in network.layers]
    call = eqx.filter_jit(lambda network: network(x))
    once, twice = nn.take(network, quarter), nn.take(nn.take(network, half), quarter)
    assert jax.tree.structure(twice) == jax.tree.structure(once)
    same(call(twice), call(once))
    traced = jax.jit(lambda kept: nn.take(network, kept)(x))(quarter)
    same(traced, call(once))


def test_batches_are_rows():
    _, x, network = dependent("lenet")
    batch = jnp.stack([x, 2 * x])
    call = eqx.filter_jit(network)
    same(call(batch), jnp.stack([call(x), call(2 * x)]))
    with pytest.raises(ValueError, match="x must have 3 axes, or 4 for a batch"):
        network(x[0])


@pytest.mark.parametrize("name", ["perceptron", "lenet", "unet", "glu", "recurrent"])
def test_contributions_are_mean_squares(name):
    """`λ_j ‖V_j‖² Σ h_j²`, entry by entry, for weights and inputs at hand."""
    _, x, network = dependent(name)

    @eqx.filter_jit
    def contributions(network, batch):
        pairs = zip(network.layers, nn.flow(network, batch), strict=True)
        return [layer.contributions(inputs) for layer, (inputs, _) in pairs]

    for layer, found in zip(
        network.layers, contributions(network, jnp.stack([x, 2 * x])), strict=True
    ):
        assert found.shape == (layer.number,)
        assert bool(jnp.all(found >= 0))
        assert bool(jnp.any(found > 0))


def test_contributions_of_a_perceptron_by_hand():
    model, x, network = dependent("perceptron")
    batch = jnp.stack([x, -x])
    hidden = jax.nn.relu(jax.vmap(model.layers[0])(batch))
    wanted = jnp.sum(model.layers[1].weight ** 2, 0) * jnp.sum(hidden**2, 0)
    inputs, _ = nn.flow(network, batch)[0]
    same(network.layers[0].contributions(inputs), wanted)


def test_outgoing_weights_are_one_row_a_node():
    _, _, network = dependent("own attention")
    (layer,) = network.layers
    rows = layer.outgoing()
    assert rows.shape == (4, 9)  # three entries of each head, three outputs
    same(layer.with_outgoing(rows).weights[0], layer.weights[0])
    changed = layer.with_outgoing(rows.at[1].set(0.0)).weights[0]
    assert bool(jnp.all(changed[:, 3:6] == 0))
    assert int(jnp.sum(changed == 0)) == 9


def test_groups_by_hand_are_those_that_are_found():
    model, x = made("perceptron")
    places = [(".layers[0].weight", 0), (".layers[0].bias", 0)]
    by_hand = nn.Group(out=places, into=[(".layers[1].weight", 1)])
    network = nn.Dependent(model, [by_hand], priors.Horseshoe())
    found = nn.Dependent(model, nn.groups(model, x).select(0), priors.Horseshoe())
    kept = [jnp.array([1, 4])]
    same(network(x), model(x))
    same(nn.take(network, kept)(x), nn.take(found, kept)(x))


def test_axes_that_are_no_groups_say_why():
    class Strange(eqx.Module):
        one: eqx.nn.Linear
        two: eqx.nn.Linear

        def __call__(self, x):
            h = self.one(x)
            return self.two(jnp.linalg.qr(jnp.outer(h, h))[0][0])

    model = Strange(eqx.nn.Linear(2, 4, key=KEY), eqx.nn.Linear(4, 3, key=KEY))
    found = nn.groups(model, jnp.ones(2))
    assert not found
    assert "the primitive qr cannot be followed" in repr(found)
    norm = nn.groups(made("vit")[0], made("vit")[1])
    assert any("reduce_sum runs over it" in refusal.reasons for refusal in norm.refused)
    with pytest.raises(ValueError, match="at least one node group"):
        nn.Dependent(model, found, priors.Horseshoe())


def test_dropout_is_refused_with_the_way_round():
    layers = [eqx.nn.Linear(3, 8, key=KEY), eqx.nn.Dropout(), eqx.nn.Linear(8, 2, key=KEY)]
    model = eqx.nn.Sequential(layers)
    call = eqx.Partial(model, key=jax.random.key(0))
    assert "equinox.nn.inference_mode" in repr(nn.groups(call, jnp.ones(3)))
    assert [g.size for g in nn.groups(eqx.nn.inference_mode(model), jnp.ones(3))] == [8]


def test_sizes_that_a_program_has_as_numbers_are_refused():
    class Fixed(eqx.Module):
        one: eqx.nn.Linear
        two: eqx.nn.Linear

        def __call__(self, x):
            return self.two(jax.nn.relu(self.one(x)) + jnp.zeros(8))

    model = Fixed(eqx.nn.Linear(2, 8, key=KEY), eqx.nn.Linear(8, 3, key=KEY))
    network = nn.Dependent(model, nn.groups(model, jnp.ones(2)), priors.Horseshoe())
    with pytest.raises(ValueError, match="sizes follow from its arrays"):
        nn.take(network, [jnp.arange(3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"priors": [priors.Horseshoe()]}, "priors must be one, or one for each of the 2 groups"),
        ({"scale": 0.0}, "scale"),
        ({"groups": [nn.Group([(".none", 0)], [(".layers[1].weight", 1)])]}, "no array .none"),
        ({"groups": [nn.Group([(".layers[0].weight", 0)], [(".layers[1].weight", 5)])]}, "axis 5"),
        ({"groups": [nn.Group([(".layers[0].weight", 1)], [(".layers[1].weight", 1)])]}, "entries"),
    ],
)
def test_wrong_arguments(change, message):
    model, x = made("perceptron")
    arguments = {"groups": nn.groups(model, x), "priors": priors.Horseshoe()} | change
    with pytest.raises(ValueError, match=message):
        nn.Dependent(model, **arguments)


def test_heads_and_what_all_heads_have_share_weights():
    model, x = made("vit")
    with pytest.raises(ValueError, match=r"must not share weights.*output_proj"):
        nn.Dependent(model, nn.groups(model, x), priors.Horseshoe())


def test_log_prior_is_the_sum_of_its_parts():
    _, _, network = dependent("vgg")
    arrays = jax.tree.leaves(eqx.filter(network.rest, eqx.is_inexact_array))
    arrays += [array for layer in network.layers for array in layer.weights]
    wanted = sum(np.sum(stats.norm.logpdf(np.asarray(array))) for array in arrays)
    for layer in network.layers:
        law = priors.Horseshoe().at_width(layer.number)
        wanted += jnp.sum(priors.log_density_of_log(law, layer.log_variances))
    np.testing.assert_allclose(eqx.filter_jit(nn.log_prior)(network), wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def images():
    """Bright or dark: a task that a small convolutional network learns at once."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = 0.3 * rng.normal(size=(60, 3, 8, 8)) + np.where(y == 1, 1.0, -1.0)[:, None, None, None]
    return jnp.asarray(x), jnp.asarray(y)


def test_a_network_with_groups_is_trained_sampled_and_pruned(images):
    x, y = images
    _, _, network = dependent("vgg")
    fitted = inference.fit(
        network,
        x,
        y,
        key=KEY,
        num_epochs=40,
        batch_size=20,
        optimizer=optax.adam(3e-3),
        progress=False,
    ).model
    call = eqx.filter_jit(lambda network: jnp.mean(jnp.argmax(network(x), -1) == y))
    assert float(call(fitted)) > 0.95
    # Half of so few channels may be too few: that loses all at one key of four.
    small = pruning.compact(fitted, 0.75, x_train=x)
    assert [layer.number for layer in small.layers] == [5, 6, 8]
    assert float(call(small)) > 0.9
    posterior = inference.sghmc(
        fitted,
        x,
        y,
        key=KEY,
        num_epochs=4,
        batch_size=20,
        exploration=0.0,
        samples_per_cycle=2,
        num_chains=2,
        progress=False,
    )
    moved = posterior.sources.layers[0].log_variances
    assert moved.shape == (2, 2, 6)
    assert float(jnp.std(moved[0, 1] - fitted.layers[0].log_variances)) > 0
    assert posterior.evaluate(x, y)["accuracy"] > 0.9
