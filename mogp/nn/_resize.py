"""Sizes that modules remember, put right after arrays in them became smaller."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax


class Change(NamedTuple):
    """An axis of an array along which nodes were cut away.

    Attributes:
        path: where the array is in the model, as JAX writes it.
        axis: the axis.
        before: the number of nodes before.
        after: the number of nodes after.
        is_outer: whether the entries of a node follow each other.
    """

    path: str
    axis: int
    before: int
    after: int
    is_outer: bool


def replaced(module: Any, **values: Any) -> Any:
    """The module with other values of some fields, static ones included."""
    new = object.__new__(type(module))
    for field in dataclasses.fields(module):
        value = values.get(field.name, getattr(module, field.name, None))
        object.__setattr__(new, field.name, value)
    return new


def resized(model: Any, changes: Sequence[Change], guess: bool) -> Any:
    """The model, whose arrays are smaller already, with the sizes that its modules remember.

    The layers of Equinox are known. In any other module, integers that equal a number of nodes
    before the cut are exchanged if `guess` is true.
    """

    def one(path: Any, node: Any) -> Any:
        prefix = jax.tree_util.keystr(path)
        mine = [
            change._replace(path=change.path.removeprefix(prefix))
            for change in changes
            if change.path.startswith(prefix)
        ]
        if mine and isinstance(node, tuple | list | dict):
            return jax.tree_util.tree_map_with_path(
                lambda below, child: one((*path, *below), child),
                node,
                is_leaf=lambda child: child is not node,
            )
        if not mine or not isinstance(node, eqx.Module):
            return node
        fields = {
            field.name: one((*path, jax.tree_util.GetAttrKey(field.name)), value)
            for field in dataclasses.fields(node)
            if (value := getattr(node, field.name, None)) is not None
        }
        node = replaced(node, **fields)
        known = next((_SIZES[kind] for kind in type(node).__mro__ if kind in _SIZES), None)
        if known is not None:
            return replaced(node, **known(node, mine))
        if guess and not type(node).__module__.startswith("equinox."):
            sizes = {change.before: change.after for change in mine}
            numbers = {
                name: sizes[value]
                for name, value in fields.items()
                if type(value) is int and value in sizes
            }
            return replaced(node, **numbers)
        return node

    return one((), model)


def _count(changes: Sequence[Change], path: str, axis: int, before: int) -> int:
    """The number of blocks of entries along an axis, of which there were `before`."""
    for change in changes:
        if change[:3] == (path, axis, before) and change.is_outer:
            return change.after
    return before


def _linear(node: Any, changes: Sequence[Change]) -> dict[str, Any]:  # noqa: ARG001
    names = ("out_features", "in_features")
    sizes = zip(names, node.weight.shape, strict=True)
    return {name: size for name, size in sizes if getattr(node, name) != "scalar"}


def _convolution(node: Any, changes: Sequence[Change]) -> dict[str, Any]:
    groups = _count(changes, ".weight", 0, node.groups)
    out, taken = node.weight.shape[:2]
    return {"groups": groups, "out_channels": out, "in_channels": taken * groups}


def _group_norm(node: Any, changes: Sequence[Change]) -> dict[str, Any]:
    groups = _count(changes, ".weight", 0, node.groups)
    return {"groups": groups, "channels": len(node.weight)}


def _attention(node: Any, changes: Sequence[Change]) -> dict[str, Any]:
    heads = _count(changes, ".value_proj.weight", 0, node.num_heads)
    query, key, value = (
        getattr(node, f"{name}_proj").weight.shape for name in ("query", "key", "value")
    )
    return {
        "num_heads": heads,
        "query_size": query[1],
        "key_size": key[1],
        "value_size": value[1],
        "output_size": len(node.output_proj.weight),
        "qk_size": query[0] // heads,
        "vo_size": value[0] // heads,
    }


def _recurrent(node: Any, changes: Sequence[Change]) -> dict[str, Any]:  # noqa: ARG001
    return {"input_size": node.weight_ih.shape[1], "hidden_size": node.weight_hh.shape[1]}


def _embedding(node: Any, changes: Sequence[Change]) -> dict[str, Any]:  # noqa: ARG001
    return dict(zip(("num_embeddings", "embedding_size"), node.weight.shape, strict=True))


_SIZES: dict[type, Callable[[Any, Sequence[Change]], dict[str, Any]]] = {
    eqx.nn.Linear: _linear,
    eqx.nn.Conv: _convolution,
    eqx.nn.ConvTranspose: _convolution,
    eqx.nn.GroupNorm: _group_norm,
    eqx.nn.MultiheadAttention: _attention,
    eqx.nn.GRUCell: _recurrent,
    eqx.nn.LSTMCell: _recurrent,
    eqx.nn.Embedding: _embedding,
}
