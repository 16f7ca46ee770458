"""Networks as files, for other programs and for later."""

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from mogp import nn
from mogp._files import whole_file
from mogp._version import __version__
from mogp.pruning.trained._network import check_network, check_one, check_rows, widths

SUFFIXES = (".eqx", ".npz", ".stablehlo")
_FORMAT = 1  # of `.eqx` files


def save(network: Any, path: str | Path, *, x: Array | None = None) -> Path:
    """Write a network to a file, whole or not at all; its suffix says what for.

    - `.eqx`: for `load`: a line of JSON with widths, precisions and a checksum, then Equinox's
      leaves.
    - `.npz`: for NumPy alone. Of a `DependentMLP` the matrices and vectors with all scales and node
      variances multiplied in, `weights0, biases0, weights1, …` and the name of the `activation`:
      `z = x @ weights0.T + biases0`, then `z = φ(z) @ weights1.T + biases1` and so on. Of any other
      network its arrays by their place in it, such as `layers.0.offsets`, and its form in words,
      `module`.
    - `.stablehlo`: the function from inputs (n, in_size), any `n`, to outputs, weights included, as
      portable StableHLO bytecode, which XLA, IREE and others compile.

    Args:
        network: one network with layers of nodes, whole or compacted.
        path: ends in `.eqx`, `.npz` or `.stablehlo`.
        x: a batch of inputs, of which the shape counts: needed for `.stablehlo` if the network has
            no `in_size`.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix, a network without node variances, a stack of networks, two
            arrays of one name, or if `x` is needed.

    Example:
        >>> import jax, pathlib, tempfile
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pruning.save(pruning.compact(network, nodes=5, importance="norm"),
        ...                         pathlib.Path(folder) / "small.eqx")
        ...     pruning.load(path, like=network).widths
        (5,)
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, got {path}")
    check_one(network)
    with whole_file(path) as part, part.open("wb") as file:
        if path.suffix == ".eqx":
            file.write(_serialised(network))
        elif path.suffix == ".npz":
            np.savez(file, **_plain(network))
        else:
            file.write(_exported(network, x).mlir_module_serialized)
    return path


def load(path: str | Path, like: Any) -> Any:
    """A network from the `.eqx` file that `save` wrote, with the widths and precision it had then.

    Args:
        path: the file.
        like: a network of the same kind, before it was cut: only its form is used.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, of another format, or holds no such network; or if it
            holds double precision and JAX is set to single precision.

    Example:
        >>> import jax, pathlib, tempfile
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pruning.save(network, pathlib.Path(folder) / "network.eqx")
        ...     again = pruning.load(path, like=network)
        >>> bool((again.weights[0] == network.weights[0]).all())
        True
    """
    check_network(like)
    first, _, body = Path(path).read_bytes().partition(b"\n")
    try:
        header = json.loads(first)
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']} of mogp {header['version']}")
        if header.pop("checksum") != _checksum(header, body):
            raise ValueError("damaged: its checksum is another")
        wanted = header["widths"]
        if any(n > m for n, m in zip(wanted, widths(like), strict=True)):
            raise ValueError(f"widths {wanted} there, {widths(like)} in like")
        form = eqx.filter_eval_shape(nn.take, like, [np.arange(n) for n in wanted])
        network = eqx.tree_deserialise_leaves(io.BytesIO(body), _typed(form, header["dtypes"]))
    except (ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
        raise ValueError(f"path: {path} does not hold such a network ({error})") from None
    return network


def _serialised(network: Any) -> bytes:
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, network)
    arrays = jax.tree.leaves(eqx.filter(network, eqx.is_array))
    header: dict[str, Any] = {
        "format": _FORMAT,
        "version": __version__,
        "widths": widths(network),
        "dtypes": [str(a.dtype) for a in arrays],
    }
    header["checksum"] = _checksum(header, buffer.getvalue())
    return json.dumps(header).encode() + b"\n" + buffer.getvalue()


def _checksum(header: dict[str, Any], body: bytes) -> str:
    return hashlib.sha256(json.dumps(header).encode() + body).hexdigest()


def _typed(form: Any, dtypes: list[str]) -> Any:
    """The form of a network with the precisions of a file."""
    shapes, rest = eqx.partition(form, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    leaves, structure = jax.tree.flatten(shapes)
    if any(jax.dtypes.canonicalize_dtype(dtype) != dtype for dtype in dtypes):
        raise ValueError("it holds double precision: set jax_enable_x64")
    pairs = zip(leaves, dtypes, strict=True)
    typed = [leaf.update(dtype=jnp.dtype(dtype)) for leaf, dtype in pairs]
    return eqx.combine(jax.tree.unflatten(structure, typed), rest)


def _plain(network: Any) -> dict[str, Any]:
    if isinstance(network, nn.DependentMLP):
        return _multiplied(network)
    arrays, result = jax.tree_util.tree_leaves_with_path(eqx.filter(network, eqx.is_array)), {}
    result["module"] = eqx.tree_pformat(network)
    for place, array in arrays:
        name = jax.tree_util.keystr(place, simple=True, separator=".")
        if name in result:
            raise ValueError(f"network must have arrays of different names, got two of {name!r}")
        result[name] = array
    return result


def _multiplied(network: nn.DependentMLP) -> dict[str, Any]:
    """The affine maps of a network, all scales and node variances in their matrices."""
    result: dict[str, Any] = {"activation": repr(network.layers[0].activation)}
    roots = [
        jnp.full((network.in_size,), 1 / math.sqrt(network.in_size)),
        *(layer.root_variances() for layer in network.layers),
    ]
    layers: list[Any] = [network.inputs, *network.layers]
    for i, (layer, root) in enumerate(zip(layers, roots, strict=True)):
        scale = jnp.broadcast_to(root.astype(layer.weights.dtype), layer.weights.shape)
        result[f"weights{i}"] = layer.weight_scale * scale * layer.weights
        result[f"biases{i}"] = layer.bias_scale * layer.biases
    return result


def _exported(network: Any, x: Array | None) -> export.Exported:
    dtype = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))[0].dtype
    if x is not None:
        check_rows("x", x, network)
        size: tuple[int, ...] = x.shape[1:]
    elif hasattr(network, "in_size"):
        size = (network.in_size,)
    else:
        raise ValueError(
            f"x must be given, a batch of inputs: {type(network).__name__} has no in_size"
        )
    rows = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), *size), dtype)  # type: ignore[no-untyped-call]
    return export.export(jax.jit(lambda x: network(x)))(rows)
