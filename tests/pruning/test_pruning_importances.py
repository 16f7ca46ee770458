"""Importances of nodes against NumPy, differences and what dropping a node changes; budgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from pruning_cases import (
    HORSESHOE,
    X,
    Y,
    apply,
    build,
    equal,
    fast_key,
    logs,
    masked,
    one_of,
    stack_of,
)

from mogp import MoGP, inference, nn, priors, pruning


@pytest.fixture(scope="module")
def network():
    return equal()


@pytest.fixture(scope="module")
def drawn():
    return build("network")


def test_importances_are_their_formulas(drawn):
    found = {
        name: pruning.importances(drawn, name, x_train=X)
        for name in ("variance", "norm", "contribution")
    }
    for layer in (0, 1):
        variance = np.exp(np.array(drawn.log_variances[layer]))
        norm = variance * (np.array(drawn.weights[layer + 1]) ** 2).sum(0)
        active = np.maximum(np.array(drawn.pre_activations(X)[layer]), 0)
        assert_close(found["variance"][layer], variance, rtol=1e-10)
        assert_close(found["norm"][layer], norm, rtol=1e-10)
        assert_close(found["contribution"][layer], norm * (active**2).mean(0), rtol=1e-10)


@pytest.mark.parametrize("name", ["low rank", "own layer", "sequence"])
def test_importances_are_what_a_node_adds_to_its_layer(name):
    """And its derivatives: of the last layer, whose outputs are those of the network."""
    network = build(name)
    contribution = pruning.importances(network, x_train=X)[-1]
    loss = {n: pruning.importances(network, n, x_train=X, y_train=Y) for n in ("taylor", "fisher")}
    outputs = np.asarray(apply(network))
    slope = np.asarray(jax.nn.softmax(outputs)) - np.eye(4)[np.asarray(Y)]
    for node in (0, 4):
        kept = [np.ones(len(u), bool) for u in logs(network)]
        kept[-1][node] = False
        added = outputs - np.asarray(apply(masked(network, kept)))
        assert_close(contribution[node], (added**2).sum(1).mean(), rtol=1e-6)
        each = np.sum(slope * added, 1)
        assert_close(loss["taylor"][-1][node], np.abs(each).mean(), rtol=1e-6)
        assert_close(loss["fisher"][-1][node], (each**2).mean() / 2, rtol=1e-6)


def test_importances_by_loss_are_derivatives_of_the_loss_of_each_row(network):
    """`g` by turning a node's variance up and down, `√λ` by `1 ± h`, a row at a time."""
    found = {n: pruning.importances(network, n, x_train=X, y_train=Y) for n in ("taylor", "fisher")}
    h = 1e-5 if X64 else 1e-2
    for layer, node in ((0, 3), (1, 8)):

        def losses(factor, layer=layer, node=node):
            values = logs(network)
            values[layer] = np.copy(values[layer])
            values[layer][node] += 2 * np.log(factor)
            turned = nn.with_log_variances(network, [jnp.asarray(u) for u in values])
            return np.asarray(inference.categorical(apply(turned), Y))

        g = (losses(1 + h) - losses(1 - h)) / (2 * h)
        assert_close(found["taylor"][layer][node], np.abs(g).mean(), rtol=1e-6)
        assert_close(found["fisher"][layer][node], (g**2).mean() / 2, rtol=1e-6)


def test_importances_do_not_depend_on_the_block(network):
    rng = np.random.default_rng(3)
    many, labels = jnp.asarray(rng.normal(size=(4321, 6))), jnp.asarray(rng.integers(4, size=4321))
    z = np.asarray(network.inputs(many))
    expected = (np.maximum(z, 0) ** 2).mean(0) * pruning.importances(network, "norm")[0]
    assert_close(pruning.importances(network, x_train=many)[0], expected, rtol=1e-9)
    order = np.random.default_rng(0).permutation(4321)
    one, other = (
        pruning.importances(network, "fisher", x_train=many[o], y_train=labels[o])[1]
        for o in (np.arange(4321), order)
    )
    assert_close(one, other, rtol=1e-9)


def test_importances_by_loss_see_nodes_with_constant_variances():
    iid = MoGP([priors.Deterministic()]).network(6, 4, 12, key=fast_key(0))
    assert np.all(np.array(pruning.importances(iid, "fisher", x_train=X, y_train=Y)[0]) > 0)


def test_importances_of_a_function(network):
    """Any function ranks; of a stack it sees one network after the other."""

    def smallest(model, x_train, y_train):
        assert x_train is X
        assert y_train is None
        return [-np.exp(u) for u in logs(model)]

    stack = stack_of("network", 2)
    found = pruning.importances(stack, smallest, x_train=X)
    alone = pruning.importances(one_of(stack, 1), "variance")
    for values, variances in zip(found, alone, strict=True):
        assert_close(values[1], -variances, rtol=1e-9)
    message = r"one array for each layer of nodes, of shapes \[\(12,\), \(9,\)\], got \[\(3,\)\]"
    with pytest.raises(ValueError, match=message):
        pruning.importances(network, lambda *_: [jnp.ones(3)])
    for wrong in (jnp.full(12, jnp.nan), 1j * np.ones(12)):
        with pytest.raises(ValueError, match="must give numbers, got NaN"):
            pruning.importances(network, lambda *_, wrong=wrong: [wrong, jnp.ones(9)])
    with pytest.raises(ValueError, match=r"one array for each layer of nodes, .* got 3"):
        pruning.importances(network, lambda *_: 3)


def test_importances_that_are_nan_are_an_error_and_not_an_order(network):
    lost = nn.with_nodes(network, [n.with_outgoing(jnp.nan * n.weights.T) for n in network.layers])
    with pytest.raises(ValueError, match='importance="norm" is NaN: network holds numbers that ar'):
        pruning.compact(lost, 0.5, importance="norm")


def test_importances_under_jit(network):
    found = jax.jit(lambda x, y: pruning.importances(network, "taylor", x_train=x, y_train=y))(X, Y)
    alone = pruning.importances(network, "taylor", x_train=X, y_train=Y)
    assert_close(found[0], alone[0], rtol=1e-9)


def test_equal_variances_cannot_be_ranked(network):
    iid = MoGP([HORSESHOE, priors.Deterministic()]).network(6, 4, (12, 9), key=fast_key(0))
    message = r"cannot order hidden layer 2: its node variances are all equal \(prior Deterministic"
    with pytest.raises(ValueError, match=message):
        pruning.importances(iid, "variance")
    with pytest.raises(ValueError, match=message):
        pruning.curve(iid, X, Y, [0.5], importance="variance")
    assert pruning.compact(iid, 0.5, importance="norm").widths == (6, 5)


@pytest.mark.parametrize(
    "network",
    [
        None,
        nn.MeanFieldLayer(6, 4, 9, key=fast_key(0)),
        nn.GMLayer(6, 4, 2, key=fast_key(0)),
    ],
    ids=["nothing", "mean field", "no prior"],
)
def test_networks_without_node_variances_are_told_what_to_do(network):
    message = (
        rf"layers whose nodes have variances, got {type(network).__name__}, which has none: use "
        r"an nn\.DependentMLP, an nn\.GMLayer\(…, prior=…\), or a layer of your own"
    )
    for verb in (
        lambda n: pruning.importances(n, "norm"),
        lambda n: pruning.compact(n, 0.5),
        lambda n: pruning.mask(n, 0.5),
        lambda n: pruning.curve(n, X, Y),
        lambda n: pruning.save(n, "a.npz"),
        pruning.ranked,
        pruning.weight_tails,
    ):
        with pytest.raises(ValueError, match=message):
            verb(network)


# --- budgets ----------------------------------------------------------------------------------


def test_budgets_are_their_definitions():
    rng = np.random.default_rng(0)
    values = [rng.exponential(size=n) ** 3 for n in (20, 7, 30)]
    select = jax.jit(pruning.select, static_argnums=2)
    kept = {b: [np.asarray(k) for k in select(values, [4, 2, 6], b)] for b in pruning.BUDGETS}
    for budget in pruning.BUDGETS:
        assert sum(int(k.sum()) for k in kept[budget]) == 12
        for s, k in zip(values, kept[budget], strict=True):
            assert k[np.argmax(s)]
            assert np.min(s[k]) >= np.max(s[~k], initial=0)
    assert [int(k.sum()) for k in kept["equal"]] == [4, 2, 6]
    free = np.sort(np.concatenate([np.sort(s)[:-1] for s in values]))[::-1]
    others = [np.sort(s[k])[:-1] for s, k in zip(values, kept["global"], strict=True)]
    np.testing.assert_array_equal(np.sort(np.concatenate(others))[::-1], free[: 12 - 3])

    left = [sorted(map(float, s)) for s in values]  # one at a time, from the smallest share
    while sum(map(len, left)) > 12:
        shares = [s[0] / sum(s) if len(s) > 1 else np.inf for s in left]
        left[int(np.argmin(shares))].pop(0)
    assert [int(k.sum()) for k in kept["greedy"]] == list(map(len, left))


def test_counts_that_are_none_are_refused():
    for counts in ([0, 1], [9, 1], [1], [1.5, 1], 5, None, "a"):
        with pytest.raises(ValueError, match=r"counts must be numbers of nodes, at most \[3 2\]"):
            pruning.select([jnp.ones(3), [1.0, 2.0]], counts, "equal")


def test_global_and_greedy_keep_a_node_of_a_layer_that_hardly_counts():
    values = [jnp.arange(1.0, 6.0), 1e-9 * jnp.arange(1.0, 4.0)]
    kept = pruning.select(values, jnp.array([2, 1]), "global")
    assert [int(k.sum()) for k in kept] == [2, 1]
    everything = pruning.select([jnp.zeros(4), jnp.zeros(3)], jnp.array([2, 1]), "greedy")
    assert sum(int(k.sum()) for k in everything) == 3


@pytest.mark.parametrize(
    ("keep", "width", "expected"),
    [(0.07, 100, 7), (0.1, 500, 50), (0.001, 50, 1), (1, 3, 3), (0.5, 3, 2)],
)
def test_num_kept_rounds_up_but_not_by_rounding_error(keep, width, expected):
    assert pruning.num_kept(keep, width) == expected
