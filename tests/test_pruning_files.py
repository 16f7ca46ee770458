"""Pruned posteriors; networks as files that other programs read, and what they cost."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from closeness import assert_close
from jax import export

from mogp import MoGP, inference, nn, priors, pruning

MODEL = MoGP([priors.Horseshoe()] * 2, bias_scale=0.7)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (64, 6))


@pytest.fixture(scope="module")
def y():
    return jax.random.randint(jax.random.key(2), (64,), 0, 4)


@pytest.fixture(scope="module")
def posterior():
    """Two chains of three draws, from the prior."""
    keys = jax.random.split(jax.random.key(0), (2, 3))
    build = lambda key: MODEL.network(6, 4, (12, 9), key=key)  # noqa: E731
    sources = eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(build)))(keys)
    return inference.Posterior(xr.DataTree(), sources, inference.Categorical(4))


def draw(posterior, chain, number):
    arrays, static = eqx.partition(posterior.sources, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: a[chain, number], arrays), static)


def test_draws_of_a_chain_keep_the_nodes_that_are_best_on_average(posterior, x):
    small = pruning.compact_posterior(posterior, 0.5, inputs=x)
    for chain in range(2):
        draws = [draw(posterior, chain, d) for d in range(3)]
        scores = [pruning.scores(network, inputs=x) for network in draws]
        means = [sum(np.array(s[layer]) for s in scores) / 3 for layer in (0, 1)]
        kept = [
            np.isin(np.arange(len(m)), np.argsort(-m)[:n])
            for m, n in zip(means, (6, 5), strict=True)
        ]
        for d, network in enumerate(draws):
            masked = pruning.mask(network, [jnp.asarray(k) for k in kept])
            assert_close(draw(small, chain, d)(x), masked(x), rtol=1e-6, atol=1e-9)
    assert small.sources.widths == (6, 5)


def test_curves_of_a_posterior_average_probabilities_over_all_draws(posterior, x, y):
    curve = pruning.posterior_curve(posterior, x, y, [1.0, 0.5], inputs=x)
    assert curve.draw_accuracy.shape == curve.draw_nll.shape == (2, 2, 3)
    np.testing.assert_array_equal(curve.nodes, [[12, 9], [6, 5]])
    small = pruning.compact_posterior(posterior, 0.5, inputs=x)
    outputs = [draw(small, c, d)(x) for c in range(2) for d in range(3)]
    mean = np.mean([np.array(jax.nn.softmax(z)) for z in outputs], axis=0)
    assert_close(curve.accuracy[1], (mean.argmax(1) == np.array(y)).mean(), rtol=1e-9)
    assert_close(curve.nll[1], -np.log(mean[np.arange(64), np.array(y)]).mean(), rtol=1e-6)
    one = inference.evaluate(draw(small, 1, 2), x, y)
    assert_close(curve.draw_nll[1, 1, 2], one.nll, rtol=1e-6)
    assert_close(curve.draw_accuracy[1, 1, 2], one.accuracy, rtol=1e-9)


def test_each_draw_is_repaired_to_what_it_said_itself(posterior, x):
    cut = pruning.compact_posterior(posterior, 0.5, inputs=x)
    repaired = pruning.compact_posterior(posterior, 0.5, inputs=x, repair=True)
    alone = pruning._repair.repair  # the same as one network's
    for chain, d in ((0, 0), (1, 2)):
        whole, small, fixed = (draw(p, chain, d) for p in (posterior, cut, repaired))
        numbers = [
            jnp.flatnonzero(jnp.isin(u, v))
            for u, v in zip(whole.log_variances, small.log_variances, strict=True)
        ]
        assert_close(fixed(x), alone(small, whole, numbers, x, 1e-4)(x), rtol=1e-4, atol=1e-5)


def test_a_conjugate_posterior_fits_its_last_weights_to_the_nodes_it_keeps():
    x = jnp.linspace(-2.0, 2.0, 20)[:, None]
    y = jnp.abs(x[:, 0])
    posterior = inference.nuts(
        MoGP([priors.Horseshoe()], bias_scale=1.0), x, y, key=jax.random.key(1), width=12,
        num_warmup=20, num_samples=5, num_chains=1, progress=False,
    )  # fmt: skip
    small = pruning.compact_posterior(posterior, 0.5, inputs=x, repair=True)
    assert small.sources.widths == (6,)
    rmse = [p.evaluate(x, y)["rmse"] for p in (posterior, small)]
    assert rmse[1] < max(2 * rmse[0], 0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": []}, "keep must have at least one fraction"),
        ({"keep": [2.0]}, r"keep must be in \(0, 1\], got 2.0"),
        ({"x": jnp.zeros((64, 5))}, r"x must have shape \(n, 6\)"),
        ({"y": jnp.full(64, 4)}, r"y must lie in \[0, 4\)"),
        ({"repair": True}, "repair needs inputs"),
        ({"posterior": MODEL}, "posterior must be an inference.Posterior, got MoGP"),
    ],
)
def test_bad_arguments_of_posterior_curve(change, message, posterior, x, y):
    arguments = {"posterior": posterior, "x": x, "y": y, "keep": [0.5]} | change
    with pytest.raises(ValueError, match=message):
        pruning.posterior_curve(**arguments)


def test_nodes_of_one_function_are_not_a_posterior(posterior, x):
    single = dataclasses.replace(posterior, sources=draw(posterior, 0, 0))
    with pytest.raises(ValueError, match="axes of chains and draws"):
        pruning.compact_posterior(single, 0.5, inputs=x)


# --- files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide():
    """Four hidden layers of 500 nodes on images, as in the paper."""
    model = MoGP([priors.Horseshoe()] * 4, bias_scale=1.0)
    return model.network(784, 10, 500, key=jax.random.key(0))


def test_a_twentieth_of_the_nodes_is_a_fiftieth_of_the_file(wide, tmp_path):
    """And says what the masked network says."""
    small = pruning.compact(wide, 0.05, rank="norm")
    pixels = jax.random.uniform(jax.random.key(1), (100, 784))
    kept = [jnp.isin(u, v) for u, v in zip(wide.log_variances, small.log_variances, strict=True)]
    assert_close(small(pixels), pruning.mask(wide, kept)(pixels), rtol=1e-5, atol=1e-5)
    sizes = [
        pruning.save(n, tmp_path / f"{i}{suffix}").stat().st_size
        for suffix in (".eqx", ".npz")
        for i, n in enumerate((wide, small))
    ]
    for large, little in zip(sizes[::2], sizes[1::2], strict=True):
        assert little < large / 50
    whole, compact = (pruning.measure(n, pixels, repeats=3) for n in (wide, small))
    assert compact.parameters < whole.parameters / 50
    assert 0 < compact.seconds < whole.seconds


@pytest.mark.parametrize("kind", ["network", "mixture"])
def test_files_say_what_the_network_says(kind, x, tmp_path):
    if kind == "network":
        whole = MODEL.network(6, 4, (12, 9), key=jax.random.key(0))
    else:
        whole = nn.GMLayer(
            6, 4, 7, prior=priors.Horseshoe(), covariance="low_rank", key=jax.random.key(0)
        )
    small = pruning.compact(whole, 0.5, inputs=x)
    path = pruning.save(small, tmp_path / "small.eqx")
    again = pruning.load(path, whole)
    np.testing.assert_array_equal(again(x), small(x))
    assert_close(again.log_prior(), small.log_prior(), rtol=1e-12)

    program = pruning.save(small, tmp_path / "small.stablehlo").read_bytes()
    shape = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), 6), x.dtype)
    form = export.export(jax.jit(lambda z: jnp.zeros((z.shape[0], 4), z.dtype)))(shape)
    called = dataclasses.replace(form, mlir_module_serialized=program).call
    for rows in (x, x[:3]):
        assert_close(called(rows), small(rows), rtol=1e-6, atol=1e-9)

    with np.load(pruning.save(small, tmp_path / "small.npz")) as file:
        assert str(file["activation"]) == "ReLU()"
        if kind == "network":
            z = np.array(x) @ file["weights0"].T + file["biases0"]
            for i in (1, 2):
                z = np.maximum(z, 0) @ file[f"weights{i}"].T + file[f"biases{i}"]
            assert_close(z, small(x), rtol=1e-6, atol=1e-9)
        else:
            np.testing.assert_array_equal(file["offsets"], small.offsets)


def test_mistakes_with_files(x, tmp_path):
    network = MODEL.network(6, 4, (12, 9), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"path must end in .*, got small.onnx"):
        pruning.save(network, "small.onnx")
    with pytest.raises(ValueError, match="got MeanFieldLayer, which has none"):
        pruning.save(nn.MeanFieldLayer(6, 4, 3, key=jax.random.key(0)), tmp_path / "a.npz")
    stack = jax.tree.map(lambda a: a[None] if eqx.is_array(a) else a, network)
    with pytest.raises(ValueError, match="must be one network, got a stack"):
        pruning.save(stack, tmp_path / "a.npz")
    path = pruning.save(network, tmp_path / "a.eqx")
    narrow = MODEL.network(6, 4, (5, 9), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"does not hold such a network \(widths"):
        pruning.load(path, narrow)
    path.write_bytes(b"nothing\n")
    with pytest.raises(ValueError, match="does not hold such a network"):
        pruning.load(path, network)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 6\)"):
        pruning.measure(network, jnp.zeros((3, 5)))
