"""Pruning: rankings against NumPy, compaction against masking, curves against both."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close

from mogp import MoGP, inference, nn, priors, pruning

MODEL = MoGP([priors.Horseshoe(), priors.GBFRY(alpha=0.5, tau=2.0)], bias_scale=0.7)


@pytest.fixture(scope="module")
def network():
    return MODEL.network(6, 4, (50, 33), key=jax.random.key(0))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (64, 6))


@pytest.fixture(scope="module")
def stack():
    return eqx.filter_vmap(lambda key: MODEL.network(6, 4, (50, 33), key=key))(
        jax.random.split(jax.random.key(2), 3)
    )


def test_scores_are_their_formulas(network, x):
    for rank in ("variance", "norm", "contribution"):
        found = pruning.scores(network, rank, x)
        for layer in (0, 1):
            variance = np.exp(np.array(network.log_variances[layer]))
            norm = variance * (np.array(network.weights[layer + 1]) ** 2).sum(0)
            active = np.maximum(np.array(network.pre_activations(x)[layer]), 0)
            expected = {
                "variance": variance,
                "norm": norm,
                "contribution": norm * (active**2).mean(0),
            }
            assert_close(found[layer], expected[rank], rtol=1e-10)


def test_contribution_is_the_expected_square_of_what_a_node_adds(network, x):
    """Dropping one node of the last hidden layer moves the outputs by exactly its contribution."""
    contribution = pruning.scores(network, "contribution", x)[1]
    for node in (0, 7, 20):
        kept = (jnp.ones(50, bool), jnp.arange(33) != node)
        moved = network(x) - pruning.mask(network, kept)(x)
        assert_close((moved**2).sum(1).mean(), contribution[node], rtol=1e-8)


def test_scores_do_not_depend_on_the_block(network):
    many = jax.random.normal(jax.random.key(3), (4321, 6))
    z = network.pre_activations(many)[0]
    expected = (jnp.maximum(z, 0) ** 2).mean(0) * pruning.scores(network, "norm")[0]
    assert_close(pruning.scores(network, "contribution", many)[0], expected, rtol=1e-9)


@pytest.mark.parametrize("rank", ["variance", "norm", "contribution"])
@pytest.mark.parametrize("keep", [1.0, 0.5, 0.07])
def test_compact_is_the_masked_network_only_smaller(network, x, rank, keep):
    small = pruning.compact(network, keep, rank=rank, inputs=x)
    assert small.widths == tuple(pruning.num_kept(keep, width) for width in network.widths)
    kept = tuple(
        jnp.isin(u, v) for u, v in zip(network.log_variances, small.log_variances, strict=True)
    )
    assert_close(small(x), pruning.mask(network, kept)(x), rtol=1e-10, atol=1e-12)
    assert all(
        np.min(s[k]) >= np.max(s[~k], initial=0)
        for s, k in zip(pruning.scores(network, rank, x), kept, strict=True)
    )
    assert small.prior_widths == (50, 33)
    assert np.isfinite(small.log_prior())


def test_a_compact_network_is_a_network(network, x):
    small = pruning.compact(network, 0.2, inputs=x)
    again = pruning.compact(small, 0.5, inputs=x)
    assert again.widths == (5, 4)
    y = jnp.zeros(64, int)
    tuned = inference.fit(
        small, x, y, key=jax.random.key(0), num_epochs=2, batch_size=32, progress=False
    )
    assert tuned.model.widths == (10, 7)


def test_a_fraction_that_rounds_to_no_node_keeps_one_and_says_so(network, x):
    message = r"keep=0.001 of the \d+ nodes of hidden layer \d rounds to 0 nodes; 1 is kept"
    with pytest.warns(UserWarning, match=message):
        small = pruning.compact(network, 0.001, inputs=x)
    assert small.widths == (1, 1)
    curve = pruning.curve(network, x, jnp.zeros(64, int), [0.001])
    np.testing.assert_array_equal(curve.nodes, [[1, 1]])


@pytest.mark.parametrize(
    ("keep", "width", "expected"),
    [(0.07, 100, 7), (0.1, 500, 50), (0.001, 50, 1), (1, 3, 3), (0.5, 3, 2)],
)
def test_num_kept_rounds_up_but_not_by_rounding_error(keep, width, expected):
    assert pruning.num_kept(keep, width) == expected


def test_curve_scores_the_compact_networks(stack, x):
    y = jax.random.randint(jax.random.key(4), (64,), 0, 4)
    keep = [1.0, 0.3, 0.05]
    curve = pruning.curve(stack, x, y, keep, "contribution", inputs=2 * x)
    assert curve.accuracy.shape == curve.nll.shape == (3, 3)
    np.testing.assert_array_equal(curve.nodes, [[50, 33], [15, 10], [3, 2]])
    for seed in range(3):
        one = jax.tree.map(lambda a: a[seed] if eqx.is_array(a) else a, stack)  # noqa: B023
        alone = pruning.curve(one, x, y, keep, "contribution", inputs=2 * x)
        for i, fraction in enumerate(keep):
            small = pruning.compact(one, fraction, inputs=2 * x)
            scores = inference.evaluate(small, x, y)
            for found in (curve.accuracy[i, seed], alone.accuracy[i]):
                assert_close(found, scores.accuracy, rtol=1e-12)
            assert_close(curve.nll[i, seed], scores.nll, rtol=1e-9)


def test_heavy_tails_survive_pruning_at_initialisation(x):
    """What is lost of Σλ: next to nothing under the horseshoe, 1 - κ for equal variances."""
    outputs = {}
    for prior in (priors.Deterministic(), priors.Horseshoe()):
        one = MoGP([prior]).network(6, 200, 2000, key=jax.random.key(5))
        small = pruning.compact(one, 0.2, rank="norm")
        outputs[type(prior)] = float(jnp.mean((one(x) - small(x)) ** 2) / jnp.mean(one(x) ** 2))
    assert outputs[priors.Horseshoe] < 0.01
    assert 0.6 < outputs[priors.Deterministic] < 0.9


def test_equal_variances_cannot_be_ranked(x):
    iid = MoGP([priors.Horseshoe(), priors.Deterministic()]).network(
        6, 4, 20, key=jax.random.key(0)
    )
    message = r"cannot order hidden layer 2: its node variances are all equal \(prior Deterministic"
    with pytest.raises(ValueError, match=message):
        pruning.scores(iid, "variance")
    with pytest.raises(ValueError, match=message):
        pruning.curve(iid, x, jnp.zeros(64, int), [0.5], "variance")
    assert pruning.compact(iid, 0.5, rank="norm").widths == (10, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": [0.5, 0.0]}, r"keep must be in \(0, 1\], got 0.0"),
        ({"keep": [1.1]}, r"keep must be in \(0, 1\], got 1.1"),
        ({"keep": [float("nan")]}, r"keep must be in \(0, 1\], got nan"),
        ({"keep": []}, "keep must have at least one fraction"),
        ({"rank": "size"}, "rank must be one of"),
        ({"x": jnp.zeros((64, 5))}, r"x must have shape \(n, 6\)"),
        ({"x": jnp.full((64, 6), jnp.inf)}, "x must be finite"),
        ({"inputs": jnp.full((64, 6), jnp.nan)}, "inputs must be finite"),
        ({"y": jnp.full(64, 4)}, r"y must lie in \[0, 4\)"),
        (
            {"network": nn.GMLayer(6, 4, 2, key=jax.random.key(0))},
            r"variances; got GMLayer without a prior on its components: nn.GMLayer\(…, prior=…\)",
        ),
        (
            {"network": nn.MeanFieldLayer(6, 4, 9, key=jax.random.key(0))},
            "got MeanFieldLayer, which has none: no log_variances",
        ),
        ({"rank": "random"}, "needs a key"),
        ({"rank": "fisher"}, "needs targets, the labels of the training inputs"),
        ({"rank": "taylor", "targets": jnp.full(64, 4)}, r"targets must lie in \[0, 4\)"),
        ({"budget": "fair"}, "budget must be one of"),
        ({"repair": True}, "repair needs inputs"),
        ({"repair": True, "inputs": jnp.zeros((9, 5))}, r"inputs must have shape \(n, 6\)"),
        ({"ridge": 0.0}, "ridge must be above 0"),
    ],
)
def test_bad_arguments_of_curve(change, message, network, x):
    arguments = {"network": network, "x": x, "y": jnp.zeros(64, int)} | change
    with pytest.raises(ValueError, match=message):
        pruning.curve(**arguments)


def test_bad_arguments_of_compact(network, stack, x):
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got 0"):
        pruning.compact(network, 0)
    with pytest.raises(ValueError, match="needs inputs"):
        pruning.compact(network, 0.5)
    with pytest.raises(ValueError, match="must be one network, got a stack"):
        pruning.compact(stack, 0.5, inputs=x)
