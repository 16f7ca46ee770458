"""Networks as files, for other programs and for later; what they cost."""

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from mogp._checks import check_count, check_inputs, layer_scales
from mogp._files import whole_file
from mogp.nn import GMLayer
from mogp.pruning._nodes import Network, check_network, log_variances, take, widths

SUFFIXES = (".eqx", ".npz", ".stablehlo")


class Cost(NamedTuple):
    """What a network takes.

    Attributes:
        parameters: numbers in its arrays.
        seconds: median time of a call.
    """

    parameters: int
    seconds: float


def measure(network: eqx.Module, x: Array, *, repeats: int = 20) -> Cost:
    """Parameters of a network, and the median time of `network(x)`, compiled and warm.

    Args:
        network: any module.
        x: a batch, shape (n, in_size).
        repeats: calls that are timed.
    """
    check_count("repeats", repeats)
    check_inputs("x", x, getattr(network, "in_size", None))
    arrays, static = eqx.partition(network, eqx.is_array)
    call = jax.jit(lambda arrays, x: eqx.combine(arrays, static)(x))
    call(arrays, x).block_until_ready()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call(arrays, x).block_until_ready()
        times.append(time.perf_counter() - began)
    return Cost(sum(a.size for a in jax.tree.leaves(arrays)), float(np.median(times)))


def save(network: Network, path: str | Path) -> Path:
    """Write a network to a file, whole or not at all; its suffix says what for.

    - `.eqx`: for `load`: a line of JSON with the widths, then Equinox's leaves.
    - `.npz`: for NumPy alone. Of a `DependentMLP` the matrices and vectors with all scales and node
      variances multiplied in, `weights0, biases0, weights1, …` and the name of the `activation`:
      `z = x @ weights0.T + biases0`, then `z = φ(z) @ weights1.T + biases1` and so on. Of a
      `GMLayer` its fields.
    - `.stablehlo`: the function from inputs (n, in_size), any `n`, to outputs, weights included, as
      portable StableHLO bytecode, which XLA, IREE and others compile.

    Args:
        network: one network, whole or compacted.
        path: ends in `.eqx`, `.npz` or `.stablehlo`.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix, or a stack of networks.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, got {path}")
    check_network(network)
    if log_variances(network)[0].ndim > 1:
        raise ValueError("network must be one network, got a stack; take one of its seeds first")
    with whole_file(path) as part, part.open("wb") as file:
        if path.suffix == ".eqx":
            file.write(json.dumps({"widths": widths(network)}).encode() + b"\n")
            eqx.tree_serialise_leaves(file, network)
        elif path.suffix == ".npz":
            np.savez(file, **_plain(network))
        else:
            file.write(_exported(network).mlir_module_serialized)
    return path


def load(path: str | Path, like: Network) -> Network:
    """A network from the `.eqx` file that `save` wrote, of the widths it had then.

    Args:
        path: the file.
        like: a network of the same kind, before it was cut: only its form is used.

    Raises:
        ValueError: if the file holds no such network.
    """
    with Path(path).open("rb") as file:
        try:
            wanted = json.loads(file.readline())["widths"]
            check_network(like)
            if any(n > m for n, m in zip(wanted, widths(like), strict=True)):
                raise ValueError(f"widths {wanted} there, {widths(like)} in like")
            form = eqx.filter_eval_shape(take, like, [np.arange(n) for n in wanted])
            network: Network = eqx.tree_deserialise_leaves(file, form)
        except (ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
            raise ValueError(f"path: {path} does not hold such a network ({error})") from None
    return network


def _plain(network: Network) -> dict[str, Any]:
    result: dict[str, Any] = {"activation": repr(network.activation)}
    if isinstance(network, GMLayer):
        fields = {k: v for k, v in vars(network).items() if eqx.is_array(v)}
        return result | fields
    scales = layer_scales(network.weight_scale, network.bias_scale, len(network.weights))
    roots = [1 / math.sqrt(network.in_size), *(jnp.exp(u / 2)[None] for u in network.log_variances)]
    for i, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        root = jnp.broadcast_to(jnp.asarray(roots[i], weight.dtype), weight.shape)
        result[f"weights{i}"] = scales[i][0] * root * weight
        result[f"biases{i}"] = scales[i][1] * bias
    return result


def _exported(network: Network) -> export.Exported:
    dtype = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))[0].dtype
    shape = (*export.symbolic_shape("n"), network.in_size)
    rows = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    return export.export(jax.jit(lambda x: network(x)))(rows)
