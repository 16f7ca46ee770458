"""Networks as files that other programs read, and what they cost."""

import dataclasses
import hashlib
import json
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import X64, assert_close
from jax import export
from pruning_cases import HORSESHOE, MODEL, X, apply, build, fast_key, kept_of, masked

from mogp import MoGP, __version__, activations, nn, priors, pruning


@pytest.fixture(scope="module")
def wide():
    """Four hidden layers of 500 nodes on images, as in the paper."""
    model = MoGP([HORSESHOE] * 4, bias_scale=1.0)
    return eqx.filter_jit(model.network)(784, 10, 500, key=fast_key(0))


def test_a_twentieth_of_the_nodes_is_a_fiftieth_of_the_file(wide, tmp_path):
    """And says what the masked network says."""
    small = pruning.compact(wide, 0.05, importance="norm")
    pixels = jnp.asarray(np.random.default_rng(1).uniform(size=(100, 784)))
    same = masked(wide, kept_of(wide, small))
    assert_close(apply(small, pixels), apply(same, pixels), rtol=1e-5, atol=1e-5)
    sizes = [
        pruning.save(n, tmp_path / f"{i}{suffix}").stat().st_size
        for suffix in (".eqx", ".npz")
        for i, n in enumerate((wide, small))
    ]
    for large, little in zip(sizes[::2], sizes[1::2], strict=True):
        assert little < large / 49  # the form of the network is in the file, too
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
            assert str(file["version"]) == __version__
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


def crafted(path, body=None, **change):
    """The file with another header or body, and the checksum that belongs to it."""
    first, old = path.read_bytes().split(b"\n", 1)
    header, body = json.loads(first) | change, old if body is None else body
    del header["checksum"]
    header["checksum"] = hashlib.sha256(json.dumps(header).encode() + body).hexdigest()
    return json.dumps(header).encode() + b"\n" + body


def test_damaged_files_are_refused(tmp_path):
    """Every flipped bit, every length, and headers that somebody made: never half-loaded."""
    network = build("network")
    path = pruning.save(network, str(tmp_path / "a.eqx"))
    whole = path.read_bytes()
    first, body = whole.split(b"\n", 1)
    rng, damaged = np.random.default_rng(0), {}
    for place in [*rng.integers(len(whole), size=60), len(first), len(first) - 3, len(whole) - 3]:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        damaged[f"bit at {place}"] = bytes(changed), ""
    for size in (0, 1, 40, len(first), len(first) + 1, len(whole) // 2, len(whole) - 1):
        damaged[f"{size} bytes"] = whole[:size], "" if size else "it is empty"
    start = "it does not begin as an .eqx file"
    damaged |= {
        "more": (whole + b"0", "its checksum is another"),
        "no JSON": (b"nothing\n", start),
        "nested": (b"[" * 100_000 + b"\n" + body, start),
        "list": (b"[1]\n" + body, start),
        "format": (
            first.replace(b'"format": 3', b'"format": 9') + b"\n" + body,
            "format 9 of mogp",
        ),
        "longer body": (crafted(path, body + b"0"), "something else than its form says"),
        "shorter body": (crafted(path, body[:200]), ""),
        "no nodes": (crafted(path, widths=[0, 9]), "widths must be an integer of at least 1"),
        "wide": (crafted(path, widths=[10**9, 9]), "widths"),
        "no widths": (crafted(path, widths=None), ""),
        "integers": (crafted(path, dtypes=["int32"] * 8), "it holds arrays of"),
        "objects": (crafted(path, dtypes=["object"] * 8), ""),
        "no shapes": (crafted(path, shapes=None), ""),
        "large shapes": (crafted(path, shapes=[[10**9, 10**9]] * 8), "it holds arrays of shapes"),
        "no form": (crafted(path, form=None), "network is None there, DependentMLP in like"),
    }
    for name, (content, reason) in damaged.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match="does not hold such a network") as error:
            pruning.load(str(path), network)
        assert reason in str(error.value), name


def test_files_of_another_kind_of_network_are_refused_by_name(tmp_path):
    network = build("network")
    path = pruning.save(network, tmp_path / "a.eqx")
    others = {
        "layers[0].prior is Horseshoe there, Deterministic in like": eqx.tree_at(
            lambda n: n.layers[0].prior, network, priors.Deterministic()
        ),
        "layers[1].activation is ReLU there, Erf in like": eqx.tree_at(
            lambda n: n.layers[1].activation, network, activations.get("erf")
        ),
        "layers[0].prior_width is 12 there, 13 in like": MODEL.network(
            6, 4, (13, 9), key=fast_key(0)
        ),
        "network is DependentMLP there, GMLayer in like": build("low rank"),
        "inputs.prior_width is 6 there, 5 in like": MODEL.network(5, 4, (12, 9), key=fast_key(0)),
    }
    for message, like in others.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            pruning.load(path, like)
    for call in (lambda p: pruning.load(p, network), lambda p: pruning.save(network, p)):
        (tmp_path / "folder.npz").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="path must be a file, got the folder"):
            call(str(tmp_path / "folder.npz"))
    with pytest.raises(FileNotFoundError, match=r"none\.eqx"):
        pruning.load(tmp_path / "none.eqx", network)


@pytest.mark.parametrize("suffix", [".eqx", ".npz", ".stablehlo"])
def test_a_full_disk_is_one_error_and_leaves_the_old_file(suffix, tmp_path):
    """The system's limit on the size of files stands for the disk."""
    resource = pytest.importorskip("resource")
    network = build("network")
    path = pruning.save(network, tmp_path / f"a{suffix}")
    old, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match=rf"a\{suffix} cannot be written: .* unchanged"):
            pruning.save(network, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_mistakes_with_files(tmp_path):
    network = build("network")
    with pytest.raises(ValueError, match=r"path must end in .*, got small.onnx"):
        pruning.save(network, "small.onnx")
    with pytest.raises(ValueError, match="got MeanFieldLayer, which has none"):
        pruning.save(nn.MeanFieldLayer(6, 4, 3, key=fast_key(0)), tmp_path / "a.npz")
    stack = jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a)[None]) if eqx.is_array(a) else a, network
    )
    with pytest.raises(ValueError, match="must be one network, got a stack"):
        pruning.save(stack, tmp_path / "a.npz")
    with pytest.raises(
        ValueError, match="x must be given, a batch of inputs: RepairedBumps has no in_size"
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
