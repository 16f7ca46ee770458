"""Networks as files, for other programs and for later."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import ArrayLike

from mogp import nn
from mogp._arrays import as_inputs
from mogp._checks import check_count
from mogp._files import whole_file
from mogp._version import __version__
from mogp.pruning.trained._network import check_network, check_one, widths

SUFFIXES = (".eqx", ".npz", ".stablehlo")
_FORMAT = 3  # of `.eqx` files
_NUMBERS = bool | int | float | complex | np.generic  # leaves that are no arrays, and are saved


def save(network: Any, path: str | Path, *, x: ArrayLike | None = None) -> Path:
    """Write a network to a file, whole or not at all; its suffix says what for.

    - `.eqx`: for `load`: a line of JSON with the form of the network, widths, precisions, the
      version and a checksum, then Equinox's leaves.
    - `.npz`: for NumPy alone. Of a `DependentMLP` the matrices and vectors with all scales and node
      variances multiplied in, `weights0, biases0, weights1, …` and the name of the `activation`:
      `z = x @ weights0.T + biases0`, then `z = φ(z) @ weights1.T + biases1` and so on. Of any other
      network its arrays by their place in it, such as `layers.0.offsets`, and its form in words,
      `module`. The `version` of mogp is in both; NumPy checks a sum of each array.
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
        ValueError: for another suffix, a folder, a network without node variances, a stack of
            networks, two arrays of one name, or if `x` is needed.
        OSError: if the file cannot be written, as on a full disk; an old file is then as it was.

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
    _check_no_folder(path)
    check_one(network)
    if path.suffix == ".eqx":
        body = _serialised(network)
    elif path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **_plain(network))
        body = buffer.getvalue()
    else:
        body = _exported(network, x).mlir_module_serialized
    with whole_file(path) as part:
        part.write_bytes(body)
    return path


def load(path: str | Path, like: Any) -> Any:
    """A network from the `.eqx` file that `save` wrote, with the widths and precision it had then.

    Args:
        path: the file.
        like: a network of the same kind, before it was cut: only its form is used, not its numbers
            and not its precision.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, of another format, or holds another kind of network: the
            first difference is named. Or if it holds double precision and JAX is set to single.
        OSError: if the file cannot be read.

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
    path = Path(path)
    _check_no_folder(path)
    first, _, body = path.read_bytes().partition(b"\n")
    try:
        return _deserialised(_header(first, body), body, like)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError,
            RecursionError, MemoryError) as error:  # fmt: skip
        raise ValueError(f"path: {path} does not hold such a network ({error})") from None


def _check_no_folder(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"path must be a file, got the folder {path}")


def _header(first: bytes, body: bytes) -> dict[str, Any]:
    if not first:
        raise ValueError("it is empty" if not body else "it does not begin as a file of save does")
    try:
        header = json.loads(first)
        found, version = header["format"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it does not begin as an .eqx file of pruning.save does") from None
    if found != _FORMAT:
        raise ValueError(f"format {found} of mogp {version}, where {_FORMAT} is read")
    if header.pop("checksum") != _checksum(header, body):
        raise ValueError("damaged: its checksum is another")
    return header


def _deserialised(header: dict[str, Any], body: bytes, like: Any) -> Any:
    if difference := _difference(header["form"], _form(like), "network"):
        raise ValueError(difference)
    wanted = [check_count("widths", n) for n in header["widths"]]
    if any(n > m for n, m in zip(wanted, widths(like), strict=True)):
        raise ValueError(f"widths {wanted} there, {widths(like)} in like")
    buffer, form = io.BytesIO(body), _typed(like, header["dtypes"], header["shapes"])
    network = eqx.tree_deserialise_leaves(buffer, form)
    pairs = zip(jax.tree.leaves(network), jax.tree.leaves(form), strict=True)
    if (
        buffer.read(1)
        or wanted != list(widths(network))
        or any(isinstance(b, _NUMBERS) != isinstance(a, _NUMBERS) for a, b in pairs)
    ):
        raise ValueError("it holds something else than its form says")
    return network


def _serialised(network: Any) -> bytes:
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, network)
    arrays = jax.tree.leaves(eqx.filter(network, eqx.is_array))
    header: dict[str, Any] = {
        "format": _FORMAT,
        "version": __version__,
        "form": _form(network),
        "widths": widths(network),
        "dtypes": [str(a.dtype) for a in arrays],
        "shapes": [a.shape for a in arrays],
    }
    header["checksum"] = _checksum(header, buffer.getvalue())
    return json.dumps(header).encode() + b"\n" + buffer.getvalue()


def _form(node: Any, static: bool = False) -> Any:
    """What a network is but for its numbers and widths, in JSON: classes, static fields, places."""
    if isinstance(node, eqx.Module):
        fields = {f.name: f.metadata.get("static", static) for f in dataclasses.fields(node)}
        own = {name: _form(getattr(node, name), fixed) for name, fixed in fields.items()}
        return {"": type(node).__name__} | own
    if isinstance(node, dict):
        return {str(key): _form(value, static) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_form(value, static) for value in node]
    if eqx.is_array(node) or isinstance(node, jax.ShapeDtypeStruct):
        return "array"
    if isinstance(node, _NUMBERS) and not static:
        return "number"
    if node is None or isinstance(node, str | bool | int | float):
        return repr(node)
    return getattr(node, "__name__", type(node).__name__)


def _difference(there: Any, here: Any, place: str) -> str:
    """Where two forms differ first; empty if nowhere."""
    if isinstance(there, dict) and isinstance(here, dict) and list(there) == list(here):
        pairs = [(there[name], here[name], f"{place}.{name}" if name else place) for name in here]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(there, here, strict=True))]
    elif there != here:
        kinds = [a.get("", "a dict") if isinstance(a, dict) else a for a in (there, here)]
        return f"{place} is {kinds[0]} there, {kinds[1]} in like"
    else:
        return ""
    return next((found for pair in pairs if (found := _difference(*pair))), "")


def _checksum(header: dict[str, Any], body: bytes) -> str:
    return hashlib.sha256(json.dumps(header).encode() + body).hexdigest()


def _typed(like: Any, dtypes: list[str], shapes: list[list[int]]) -> Any:
    """The form of a network with the precisions and shapes of a file."""
    arrays, rest = eqx.partition(like, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    if any(a.ndim != len(s) or any(n > m for n, m in zip(s, a.shape, strict=True))
           for a, s in zip(leaves, shapes, strict=True)):  # fmt: skip
        raise ValueError(f"it holds arrays of shapes {shapes}")
    if any(jax.dtypes.canonicalize_dtype(dtype) != dtype for dtype in dtypes):
        raise ValueError("it holds double precision: set jax_enable_x64")
    pairs = list(zip(leaves, dtypes, strict=True))
    if any(jnp.issubdtype(leaf.dtype, jnp.floating) != jnp.issubdtype(dtype, jnp.floating)
           for leaf, dtype in pairs):  # fmt: skip
        raise ValueError(f"it holds arrays of {dtypes}")
    typed = [
        jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))  # type: ignore[no-untyped-call]
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, typed), rest)


def _plain(network: Any) -> dict[str, Any]:
    if isinstance(network, nn.DependentMLP):
        return _multiplied(network)
    arrays = jax.tree_util.tree_leaves_with_path(eqx.filter(network, eqx.is_array))
    result: dict[str, Any] = {"module": eqx.tree_pformat(network), "version": __version__}
    for place, array in arrays:
        name = jax.tree_util.keystr(place, simple=True, separator=".")
        if name in result:
            raise ValueError(f"network must have arrays of different names, got two of {name!r}")
        result[name] = array
    return result


def _multiplied(network: nn.DependentMLP) -> dict[str, Any]:
    """The affine maps of a network, all scales and node variances in their matrices."""
    result: dict[str, Any] = {
        "activation": repr(network.layers[0].activation), "version": __version__
    }  # fmt: skip
    roots = [network.inputs.roots(), *(layer.root_variances() for layer in network.layers)]
    layers: list[Any] = [network.inputs, *network.layers]
    for i, (layer, root) in enumerate(zip(layers, roots, strict=True)):
        scale = jnp.broadcast_to(root.astype(layer.weights.dtype), layer.weights.shape)
        result[f"weights{i}"] = layer.weight_scale * scale * layer.weights
        result[f"biases{i}"] = layer.bias_scale * layer.biases
    if network.inputs.columns is not None:  # those that were cut away are taken all the same
        read = result["weights0"]
        every = jnp.zeros((len(read), network.in_size), read.dtype)
        result["weights0"] = every.at[:, network.inputs.columns].set(read)
    return result


def _exported(network: Any, x: ArrayLike | None) -> export.Exported:
    dtype = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))[0].dtype
    if x is not None:
        size: tuple[int, ...] = as_inputs("x", x, model=network, images=True).shape[1:]
    elif hasattr(network, "in_size"):
        size = (network.in_size,)
    else:
        raise ValueError(
            f"x must be given, a batch of inputs: {type(network).__name__} has no in_size"
        )
    rows = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), *size), dtype)  # type: ignore[no-untyped-call]
    return export.export(jax.jit(lambda x: network(x)))(rows)
