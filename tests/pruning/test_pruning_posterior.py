"""Pruned posteriors: which nodes stay, what their draws say, saved and loaded."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from pruning_cases import (
    HORSESHOE,
    MODEL,
    X,
    Y,
    apply,
    build,
    fast_key,
    logs,
    masked,
    one_of,
    score,
    stacked,
)

from mogp import MoGP, inference, nn, pruning
from mogp.pruning.trained import _repair


def posterior_of(name):
    """Two chains of three draws, from the prior."""
    chains = [stacked([build(name, 3 * chain + draw) for draw in range(3)]) for chain in range(2)]
    likelihood = inference.Categorical(4)
    return inference.Posterior(stacked(chains), likelihood, X, Y, key=fast_key(1))


@pytest.fixture(scope="module")
def posterior():
    return posterior_of("network")


@pytest.mark.parametrize("kind", ["network", "own layer"])
def test_draws_of_a_chain_keep_the_nodes_that_are_best_on_average(kind, posterior):
    posterior = posterior if kind == "network" else posterior_of(kind)
    small = pruning.compact_posterior(posterior, 0.4, x_train=X)
    for chain in range(2):
        draws = [one_of(posterior.sources, chain, d) for d in range(3)]
        each = [pruning.importances(network, x_train=X) for network in draws]
        means = [np.mean(np.stack(layer), 0) for layer in zip(*each, strict=True)]
        counts = [pruning.num_kept(0.4, len(m)) for m in means]
        kept = [
            np.isin(np.arange(len(m)), np.argsort(-m)[:n])
            for m, n in zip(means, counts, strict=True)
        ]
        for d, network in enumerate(draws):
            found = apply(one_of(small.sources, chain, d))
            assert_close(found, apply(masked(network, kept)), rtol=1e-6, atol=1e-9)
    assert [u.shape[-1] for u in logs(small.sources)] == counts


def test_curves_of_a_posterior_average_probabilities_over_all_draws(posterior):
    curve = pruning.posterior_curve(posterior, X, Y, [1.0, 0.4], x_train=X)
    assert curve.draw_accuracy.shape == curve.draw_nll.shape == (2, 2, 3)
    np.testing.assert_array_equal(curve.nodes, [[12, 9], [5, 4]])
    small = pruning.compact_posterior(posterior, nodes=(5, 4), x_train=X).sources
    outputs = [apply(one_of(small, c, d)) for c in range(2) for d in range(3)]
    mean = np.mean(jax.nn.softmax(np.stack(outputs)), axis=0)
    assert_close(curve.accuracy[1], (mean.argmax(1) == np.array(Y)).mean(), rtol=1e-9)
    assert_close(curve.nll[1], -np.log(mean[np.arange(64), np.array(Y)]).mean(), rtol=1e-6)
    one = score(one_of(small, 1, 2), X, Y)
    assert_close(curve.draw_nll[1, 1, 2], one.nll, rtol=1e-6)
    assert_close(curve.draw_accuracy[1, 1, 2], one.accuracy, rtol=1e-9)


def test_all_chains_keep_as_many_nodes_of_a_layer(posterior):
    """Under every budget; a layer whose nodes hardly count gives way to the other."""
    for budget in ("global", "greedy"):
        small = pruning.compact_posterior(posterior, 0.4, budget=budget, x_train=X)
        assert sum(small.sources.widths) == 9
    first, second = (jnp.asarray(u) for u in logs(posterior.sources))
    tiny = nn.with_log_variances(posterior.sources, [first - 20, second])
    changed = dataclasses.replace(posterior, sources=tiny)
    small = pruning.compact_posterior(changed, 0.4, importance="variance", budget="global")
    assert small.sources.widths == (1, 8)


def test_each_draw_is_repaired_to_what_it_said_itself(posterior):
    cut, fitted = (
        pruning.compact_posterior(posterior, 0.4, x_train=X, repair=r).sources
        for r in (False, True)
    )
    for place in ((0, 0), (1, 2)):
        whole, small, repaired = (one_of(s, *place) for s in (posterior.sources, cut, fitted))
        numbers = [
            jnp.asarray(np.flatnonzero(np.isin(u, v)))
            for u, v in zip(logs(whole), logs(small), strict=True)
        ]
        alone = _repair.repaired(small, whole, numbers, X, 1e-4)
        assert_close(apply(repaired), apply(alone), rtol=1e-4, atol=1e-5)


def test_a_conjugate_posterior_fits_its_last_weights_to_the_nodes_it_keeps():
    """Importances do not look at weights that are integrated out, and no draw is repaired."""
    x = jnp.asarray(np.linspace(-2.0, 2.0, 20)[:, None])
    y = jnp.asarray(np.abs(x))
    model = MoGP([HORSESHOE], bias_scale=1.0)
    draw = eqx.filter_jit(lambda key: model.network(1, 1, 12, key=key))
    sources = stacked([stacked([draw(fast_key(i)) for i in range(5)])])
    posterior = inference.Posterior(
        sources, inference.Gaussian(jnp.full((1, 5), 0.1)), x, y,
        inference.Observed(x, y, "low_rank"), key=fast_key(2),
    )  # fmt: skip
    small = pruning.compact_posterior(posterior, 0.5, x_train=x, repair=True)
    assert small.sources.widths == (6,)
    rmse = [p.evaluate(x, y, key=fast_key(2))["rmse"] for p in (posterior, small)]
    assert rmse[1] < max(2 * rmse[0], 0.2)


def test_a_compacted_posterior_is_one_thing_and_can_be_loaded(tmp_path):
    """Sources, tree and file have the nodes that stay, and say the same."""
    network = eqx.filter_jit(MoGP([HORSESHOE]).network)(6, 4, 12, key=fast_key(0))
    whole = inference.sghmc(
        network, X, Y, key=fast_key(1), num_epochs=4, batch_size=32, samples_per_cycle=2,
        num_chains=2, progress=False,
    )  # fmt: skip
    small = pruning.compact_posterior(whole, 0.4, x_train=X)
    sizes = {v.shape[-1] for name, v in small.data["posterior"].items() if "log_variances" in name}
    assert sizes == {5}
    small.save(tmp_path / "small.nc")
    again = inference.load_posterior(tmp_path / "small.nc", network)
    assert again.sources.widths == (5,)
    np.testing.assert_array_equal(again.predict(X).outputs, small.predict(X).outputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": []}, "keep must have at least one fraction"),
        ({"keep": [2.0]}, r"keep must be in \(0, 1\], got 2.0"),
        ({"x": jnp.zeros((64, 5))}, r"x must have shape \(n, 6\)"),
        ({"y": jnp.full(64, 4)}, r"y must lie in \[0, 4\)"),
        ({"repair": True}, "repair needs x_train"),
        ({"posterior": MODEL}, "posterior must be an inference.Posterior, got MoGP"),
    ],
)
def test_bad_arguments_of_posterior_curve(change, message, posterior):
    with pytest.raises(ValueError, match=message):
        pruning.posterior_curve(**{"posterior": posterior, "x": X, "y": Y, "keep": [0.5]} | change)


def test_nodes_of_one_function_are_not_a_posterior(posterior):
    single = dataclasses.replace(posterior, sources=one_of(posterior.sources, 0, 0))
    with pytest.raises(ValueError, match="axes of chains and draws"):
        pruning.compact_posterior(single, 0.5, x_train=X)
