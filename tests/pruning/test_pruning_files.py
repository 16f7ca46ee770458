"""Networks as files that other programs read, and what they cost."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from jax import export
from pruning_cases import HORSESHOE, X, apply, build, kept_of, masked

from mogp import MoGP, nn, pruning


@pytest.fixture(scope="module")
def wide():
    """Four hidden layers of 500 nodes on images, as in the paper."""
    model = MoGP([HORSESHOE] * 4, bias_scale=1.0)
    return eqx.filter_jit(model.network)(784, 10, 500, key=jax.random.key(0))


def test_a_twentieth_of_the_nodes_is_a_fiftieth_of_the_file(wide, tmp_path):
    """And says what the masked network says."""
    small = pruning.compact(wide, 0.05, importance="norm")
    pixels = jax.random.uniform(jax.random.key(1), (100, 784))
    same = masked(wide, kept_of(wide, small))
    assert_close(apply(small, pixels), apply(same, pixels), rtol=1e-5, atol=1e-5)
    sizes = [
        pruning.save(n, tmp_path / f"{i}{suffix}").stat().st_size
        for suffix in (".eqx", ".npz")
        for i, n in enumerate((wide, small))
    ]
    for large, little in zip(sizes[::2], sizes[1::2], strict=True):
        assert little < large / 50
    whole, compact = (pruning.cost(n, pixels, repeats=3) for n in (wide, small))
    assert compact.parameters < whole.parameters / 50
    assert 0 < compact.seconds < whole.seconds


@pytest.mark.parametrize("name", ["network", "low rank", "own layer", "sequence"])
def test_files_say_what_the_network_says(name, tmp_path):
    whole = build(name)
    small = pruning.compact(whole, 0.4, x_train=X)
    outputs = np.asarray(apply(small))
    again = pruning.load(pruning.save(small, tmp_path / "small.eqx"), whole)
    np.testing.assert_array_equal(apply(again), outputs)
    prior = eqx.filter_jit(nn.log_prior)
    assert_close(prior(again), prior(small), rtol=1e-12)

    program = pruning.save(small, tmp_path / "small.stablehlo", x=X).read_bytes()
    shape = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), 6), X.dtype)
    form = export.export(jax.jit(lambda z: jnp.zeros((z.shape[0], 4), z.dtype)))(shape)
    called = dataclasses.replace(form, mlir_module_serialized=program).call
    for num in (64, 3):
        assert_close(called(X[:num]), outputs[:num], rtol=1e-6, atol=1e-9)

    with np.load(pruning.save(small, tmp_path / "small.npz")) as file:
        if name == "network":
            assert str(file["activation"]) == "ReLU()"
            z = np.array(X) @ file["weights0"].T + file["biases0"]
            for i in (1, 2):
                z = np.maximum(z, 0) @ file[f"weights{i}"].T + file[f"biases{i}"]
            assert_close(z, outputs, rtol=1e-6, atol=1e-9)
            return
        arrays = {
            "low rank": {"offsets": lambda n: n.offsets, "covariance.factor.factors": None},
            "own layer": {"centres": lambda n: n.centres, "log_variances": None},
            "sequence": {
                "layers.2.weights": lambda n: n[2].weights,
                "layers.0.inputs.biases": None,
            },
        }[name]
        for array, value in arrays.items():
            assert array in file
            if value is not None:
                np.testing.assert_array_equal(file[array], value(small))
        words = str(file["module"])
        assert {"low rank": "ReLU()", "own layer": "Plain", "sequence": "Lambda"}[name] in words


def test_a_single_precision_file_loads_in_its_precision(tmp_path):
    network = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_array(a) else a, build("network")
    )
    again = pruning.load(pruning.save(network, tmp_path / "a.eqx"), build("network", seed=4))
    assert again.weights[0].dtype == jnp.float32
    np.testing.assert_array_equal(again.weights[0], network.weights[0])


def test_a_double_precision_file_needs_double_precision(tmp_path):
    if not X64:
        pytest.skip("there is no such file in single precision")
    network = build("own layer")
    path = pruning.save(network, tmp_path / "a.eqx")
    with jax.enable_x64(False), pytest.raises(ValueError, match="double precision: set jax_enable"):
        pruning.load(path, network)


def test_damaged_files_are_refused(tmp_path):
    network = build("own layer")
    path = pruning.save(network, tmp_path / "a.eqx")
    first, body = path.read_bytes().split(b"\n", 1)
    changed = bytearray(body)
    changed[-3] ^= 1
    path.write_bytes(first + b"\n" + bytes(changed))
    with pytest.raises(ValueError, match="damaged: its checksum is another"):
        pruning.load(path, network)
    header = json.loads(first)
    header["format"] = 2
    path.write_bytes(json.dumps(header).encode() + b"\n" + body)
    with pytest.raises(ValueError, match=r"does not hold such a network \(format 2 of mogp"):
        pruning.load(path, network)


def test_mistakes_with_files(tmp_path):
    network = build("network")
    with pytest.raises(ValueError, match=r"path must end in .*, got small.onnx"):
        pruning.save(network, "small.onnx")
    with pytest.raises(ValueError, match="got MeanFieldLayer, which has none"):
        pruning.save(nn.MeanFieldLayer(6, 4, 3, key=jax.random.key(0)), tmp_path / "a.npz")
    stack = jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a)[None]) if eqx.is_array(a) else a, network
    )
    with pytest.raises(ValueError, match="must be one network, got a stack"):
        pruning.save(stack, tmp_path / "a.npz")
    with pytest.raises(
        ValueError, match="x must be given, a batch of inputs: Bumps has no in_size"
    ):
        pruning.save(build("own layer"), tmp_path / "a.stablehlo")
    layer = build("own layer")
    twice = {"a": {"b": layer}, "a.b": layer}
    with pytest.raises(ValueError, match=r"different names, got two of 'a\.b\.centres'"):
        pruning.save(twice, tmp_path / "a.npz")
    path = pruning.save(network, tmp_path / "a.eqx")
    narrow = pruning.compact(network, nodes=(5, 9), importance="norm")
    with pytest.raises(ValueError, match=r"does not hold such a network \(widths"):
        pruning.load(path, narrow)
    path.write_bytes(b"nothing\n")
    with pytest.raises(ValueError, match="does not hold such a network"):
        pruning.load(path, network)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 6\)"):
        pruning.cost(network, jnp.zeros((3, 5)))
    assert not list(tmp_path.glob("*.npz"))
