"""Compaction against masking for every kind of network, curves against both, and mistakes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from closeness import assert_close
from pruning_cases import (
    BUILDERS,
    HORSESHOE,
    X,
    Y,
    apply,
    build,
    fast_key,
    kept_of,
    logs,
    masked,
    mean_square,
    one_of,
    score,
    stack_of,
)

from mogp import MoGP, inference, nn, priors, pruning


@pytest.fixture(scope="module")
def network():
    return build("network")


@pytest.fixture(scope="module")
def stack():
    return stack_of("network", 2)


@pytest.mark.parametrize("name", BUILDERS)
def test_compact_is_the_masked_network_only_smaller(name):
    """Of any Equinox module with layers of nodes, ours or not; and what it keeps is the best.

    Repaired it has the same nodes, and comes closer to the whole network.
    """
    network = build(name)
    sizes = [len(u) for u in logs(network)]
    small = pruning.compact(network, 0.4, x_train=X)
    assert [len(u) for u in logs(small)] == [pruning.num_kept(0.4, n) for n in sizes]
    same, kept = pruning.mask(network, 0.4, x_train=X), kept_of(network, small)
    assert all(np.array_equal(k, np.isfinite(u)) for k, u in zip(kept, logs(same), strict=True))
    assert_close(apply(small), apply(same), rtol=1e-6, atol=1e-9)
    for s, k in zip(pruning.importances(network, x_train=X), kept, strict=True):
        assert np.min(np.asarray(s)[k]) >= np.max(np.asarray(s)[~k])
    assert [layer.prior_width for layer in nn.nodes(small)] == sizes
    assert np.isfinite(eqx.filter_jit(nn.log_prior)(small))
    fitted = pruning.compact(network, 0.4, x_train=X, repair=True)
    whole = apply(network)
    assert mean_square(apply(fitted), whole) < mean_square(apply(small), whole)
    for before, after in zip(logs(small), logs(fitted), strict=True):
        np.testing.assert_array_equal(before, after)
    curve = pruning.curve(network, X, Y, [1.0, 0.4])
    for found, each in zip(curve.nll, (network, small), strict=True):
        assert_close(found, score(each, X, Y).nll, rtol=1e-7)


@pytest.mark.parametrize("importance", ["variance", "norm"])
@pytest.mark.parametrize("keep", [1.0, 0.4, 0.07])
def test_fractions(network, keep, importance):
    small = pruning.compact(network, keep, importance=importance)
    assert small.widths == tuple(pruning.num_kept(keep, width) for width in network.widths)
    kept = kept_of(network, small)
    assert_close(apply(small), apply(masked(network, kept)), rtol=1e-10, atol=1e-12)
    for s, k in zip(pruning.importances(network, importance), kept, strict=True):
        assert np.min(np.asarray(s)[k]) >= np.max(np.asarray(s)[~k], initial=0)


def test_numbers_of_nodes(network):
    """`nodes=` in place of a fraction, one number or one a layer."""
    assert pruning.compact(network, nodes=4, importance="norm").widths == (4, 4)
    small = pruning.compact(network, nodes=np.array([5, 4]), importance="norm")
    same = pruning.compact(network, 0.4, importance="norm")
    np.testing.assert_array_equal(small.log_variances[1], same.log_variances[1])
    same = pruning.mask(network, nodes=(5, 4), importance="norm")
    assert_close(apply(same), apply(small), rtol=1e-6, atol=1e-9)


def test_lists_and_tables_are_data(network):
    """And booleans are labels; the curve prints shapes."""
    table, binary = pd.DataFrame(np.asarray(X)), np.asarray(Y) < 2
    found = pruning.curve(network, table, pd.Series(np.asarray(Y)), [0.4], x_train=table)
    same = pruning.curve(network, X, Y, [0.4])
    assert_close(found.nll, same.nll, 1e-12)
    assert repr(found).startswith("Curve(") and "array" not in repr(found).lower()  # noqa: PT018
    listed = pruning.curve(network, np.asarray(X).tolist(), binary.tolist(), [0.4])
    assert_close(listed.nll, pruning.curve(network, X, binary.astype(int), [0.4]).nll, 1e-6)


def test_budgets_of_masks_and_of_stacks(network, stack):
    for budget in ("global", "greedy"):
        small = pruning.compact(network, 0.3, budget=budget, x_train=X)
        same = pruning.mask(network, 0.3, budget=budget, x_train=X)
        assert_close(apply(small), apply(same), 1e-6, 1e-9)
    together = pruning.mask(stack, 0.3, x_train=X)
    alone = pruning.mask(one_of(stack, 1), 0.3, x_train=X)
    np.testing.assert_array_equal(together.log_variances[0][1], alone.log_variances[0])


def test_a_compact_network_is_a_network(network):
    small = pruning.compact(network, 0.4, x_train=X)
    assert pruning.compact(small, 0.5, x_train=X).widths == (3, 2)
    tuned = inference.fit(
        small, X, Y, key=jax.random.key(0), num_epochs=2, batch_size=32, progress=False
    )
    assert tuned.model.widths == (5, 4)


def test_a_fraction_that_rounds_to_no_node_keeps_one_and_says_so(network):
    message = r"keep=0.001 of the \d+ nodes of hidden layer \d rounds to 0 nodes; 1 is kept"
    with pytest.warns(UserWarning, match=message) as caught:
        small = pruning.compact(network, 0.001, x_train=X)
    assert small.widths == (1, 1)
    assert {warning.filename for warning in caught} == {__file__}
    curve = pruning.curve(network, X, Y, [0.001])
    np.testing.assert_array_equal(curve.nodes, [[1, 1]])


def test_heavy_tails_survive_pruning_at_initialisation():
    """What is lost of Σλ: next to nothing under the horseshoe, 1 - κ for equal variances."""
    lost = {}
    for prior in (priors.Deterministic(), HORSESHOE):
        one = MoGP([prior]).network(6, 200, 2000, key=fast_key(5))
        small = pruning.compact(one, 0.2, importance="norm")
        lost[type(prior)] = mean_square(apply(one), apply(small)) / mean_square(apply(one), 0)
    assert lost[priors.Horseshoe] < 0.01
    assert 0.6 < lost[priors.Deterministic] < 0.9


# --- curves -----------------------------------------------------------------------------------


def test_curve_scores_the_compact_networks(stack):
    keep = [1.0, 0.4, 0.05]
    curve = pruning.curve(stack, X, Y, keep, x_train=2 * X)
    assert curve.accuracy.shape == curve.nll.shape == (3, 2)
    np.testing.assert_array_equal(curve.nodes, [[12, 9], [5, 4], [1, 1]])
    for seed in range(2):
        one = one_of(stack, seed)
        alone = pruning.curve(one, X, Y, keep, x_train=2 * X)
        assert_close(alone.accuracy, curve.accuracy[:, seed], rtol=1e-12)
        for i, count in enumerate(([12, 9], [5, 4], [1, 1])):
            small = pruning.compact(one, nodes=count, x_train=2 * X)
            scores = score(small, X, Y)
            assert_close(curve.accuracy[i, seed], scores.accuracy, rtol=1e-12)
            assert_close(curve.nll[i, seed], scores.nll, rtol=1e-7)


@pytest.mark.parametrize(
    ("importance", "budget", "repair"),
    [
        ("contribution", "global", False),
        ("contribution", "greedy", True),
        ("fisher", "global", False),
        ("norm", "greedy", False),
        ("random", "equal", True),
        ("taylor", "equal", False),
        ("variance", "equal", False),
        (lambda model, *_: [layer.norms() for layer in nn.nodes(model)], "equal", False),
    ],
)
def test_curves_score_compact_networks_whatever_the_importance(network, importance, budget, repair):
    options = {"importance": importance, "budget": budget, "repair": repair}
    options |= {"x_train": X, "y_train": Y, "key": fast_key(9)}
    curve = pruning.curve(network, X, Y, [1.0, 0.4], **options)
    np.testing.assert_array_equal(curve.nodes, [[12, 9], [5, 4]])
    for i, keep in enumerate((1.0, 0.4)):
        small = pruning.compact(network, keep, **options)
        assert sum(small.widths) == int(curve.nodes[i].sum())
        scores = score(small, X, Y)
        assert_close(curve.accuracy[i], scores.accuracy, rtol=1e-12)
        assert_close(curve.nll[i], scores.nll, rtol=1e-7)


@pytest.mark.parametrize("repair", [False, True])
def test_stacks_are_pruned_as_their_networks(stack, repair):
    options = {"budget": "greedy", "x_train": X, "repair": repair}
    curve = pruning.curve(stack, X, Y, [0.4], **options)
    for seed in range(2):
        alone = pruning.curve(one_of(stack, seed), X, Y, [0.4], **options)
        assert_close(curve.nll[:, seed], alone.nll, rtol=1e-5)


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": [0.5, 0.0]}, r"keep must be in \(0, 1\], got 0.0"),
        ({"keep": [1.1]}, r"keep must be in \(0, 1\], got 1.1"),
        ({"keep": [float("nan")]}, r"keep must be in \(0, 1\], got nan"),
        ({"keep": [50]}, r"keep is a fraction in \(0, 1\], got the whole number 50"),
        ({"keep": []}, "keep must have at least one fraction"),
        ({"importance": "size"}, "importance must be one of"),
        ({"x": jnp.zeros((64, 5))}, r"x must have shape \(n, 6\)"),
        ({"x": jnp.full((64, 6), jnp.inf)}, "x must be finite"),
        ({"x_train": jnp.full((64, 6), jnp.nan)}, "x_train must be finite"),
        ({"y": jnp.full(64, 4)}, r"y must lie in \[0, 4\)"),
        ({"importance": "random"}, "needs a key"),
        ({"importance": "fisher"}, "needs y_train, the labels of the training inputs"),
        ({"importance": "taylor", "y_train": jnp.full(64, 4)}, r"y_train must lie in \[0, 4\)"),
        ({"budget": "fair"}, "budget must be one of"),
        ({"repair": True}, "repair needs x_train"),
        ({"repair": True, "x_train": jnp.zeros((9, 5))}, r"x_train must have shape \(n, 6\)"),
        ({"ridge": 0.0}, "ridge must be above 0"),
        ({"ridge": 1j}, "ridge must be above 0"),
        ({"ridge": [0.1]}, r"ridge must be one number and repair True or False, got \[0.1\]"),
        ({"repair": "no", "x_train": X}, "repair True or False, got 0.0001 and 'no'"),
        ({"keep": 0.5}, "keep must be a list of fractions, got 0.5"),
        ({"keep": ["a"]}, r"keep must be in \(0, 1\], got a"),
        ({"importance": "random", "key": 0}, r"got 0: use jax\.random\.key\(0\)"),
        ({"importance": ["norm"]}, "importance must be one of"),
        ({"x": X + 1j}, "x must be real numbers, got complex"),
        ({"x": X[None]}, r"x must have shape \(n, 6\)"),
        ({"y": Y[:, None]}, r"y must have shape \(64,\), one label a row"),
        ({"y": Y + 0.0}, "y must be integer class labels, got float"),
        ({"y": Y - 1}, r"y must lie in \[0, 4\), the network has 4 outputs; got labels from -1"),
    ],
)
def test_bad_arguments_of_curve(change, message, network):
    with pytest.raises(ValueError, match=message):
        pruning.curve(**{"network": network, "x": X, "y": Y} | change)


def test_bad_arguments_of_compact_and_mask(network, stack):
    for verb in (pruning.compact, pruning.mask):
        for keep in (0.0, True, "a", [0.5], 1j, float("nan"), 0):
            with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got"):
                verb(network, keep)
        for nodes in (0, 3.0, True, "ab", 1j, [3.0, 2.0]):
            with pytest.raises(ValueError, match="nodes must be an integer of at least 1, got"):
                verb(network, nodes=nodes, importance="norm")
        message = r"keep is a fraction in \(0, 1\], got the whole number 5; .* use nodes=5"
        with pytest.raises(ValueError, match=message):
            verb(network, 5)
        with pytest.raises(ValueError, match="give one of keep and nodes, got none"):
            verb(network)
        with pytest.raises(ValueError, match="give one of keep and nodes, got both"):
            verb(network, 0.5, nodes=5)
        with pytest.raises(ValueError, match="nodes must be at most 9 in hidden layer 2, got 10"):
            verb(network, nodes=10, importance="norm")
        with pytest.raises(ValueError, match=r"nodes must be one number, or one for each .* \(2\)"):
            verb(network, nodes=[3, 3, 3], importance="norm")
        with pytest.raises(ValueError, match="needs x_train"):
            verb(network, 0.5)
    with pytest.raises(ValueError, match="must be one network, got a stack"):
        pruning.compact(stack, 0.5, x_train=X)
