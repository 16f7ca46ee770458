"""Where the nodes of groups are in the arrays of a model, and the weights behind them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp.nn._groups import Group, Place

Labels: TypeAlias = tuple[int, ...]  # for each entry along an axis its node, or -1 for none
Marks: TypeAlias = tuple[tuple[int, Labels], ...]  # numbers of groups, and the labels of each


class Marked(NamedTuple):
    """An axis of an array of the model that runs over nodes.

    Attributes:
        array: the number of the array among those of the model.
        axis: the axis.
        marks: the nodes along it.
        owners: the groups that consume the array along this axis.
    """

    array: int
    axis: int
    marks: Marks
    owners: tuple[int, ...]


class Scaled(NamedTuple):
    """An operand of the program whose entries along an axis are multiplied by `√λ`.

    Attributes:
        contraction: the number of its equation among the contractions of the program.
        operand: the number of the operand.
        axis: the axis.
        marks: the nodes along it.
        parts: for each group in `marks` the numbers of its parts that it is contracted with.
    """

    contraction: int
    operand: int
    axis: int
    marks: Marks
    parts: tuple[tuple[int, ...], ...]


class Part(NamedTuple):
    """Where the weights behind the nodes of a group are: entries along an axis, and their nodes."""

    axis: int
    labels: Labels

    def rows(self, array: Array) -> Array:
        """The array with its entries first, those of a node one after the other."""
        return jnp.moveaxis(array, self.axis, 0)[self._order()]

    def array(self, rows: Array, shape: Sequence[int]) -> Array:
        """The array of this shape with these rows."""
        moved = [shape[self.axis], *(n for i, n in enumerate(shape) if i != self.axis)]
        return jnp.moveaxis(rows.reshape(moved)[np.argsort(self._order())], 0, self.axis)

    def _order(self) -> np.ndarray:
        return np.argsort(self.labels, kind="stable")


def leaves_of(model: Any) -> tuple[list[Array], list[str]]:
    """The arrays of a model, and where each is, as JAX writes it."""
    found, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(model, eqx.is_array))
    return [leaf for _, leaf in found], [jax.tree_util.keystr(path) for path, _ in found]


def with_leaves(model: Any, leaves: Sequence[Array]) -> Any:
    """The model with these arrays, in the order of `leaves_of`."""
    arrays, static = eqx.partition(model, eqx.is_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), static)


def marked_of(
    groups: Sequence[Group], leaves: Sequence[Array], paths: Sequence[str]
) -> tuple[Marked, ...]:
    """All axes of arrays that run over nodes of the groups."""
    marks: dict[tuple[int, int], dict[int, Labels]] = {}
    owners: dict[tuple[int, int], list[int]] = {}
    for number, group in enumerate(groups):
        for places in (group.out, group.into):
            for place in places:
                at, length = _located(place, group, leaves, paths)
                nodes = range(length) if place.nodes is None else place.nodes
                marks.setdefault(at, {})[number] = tuple(nodes)
                owners.setdefault(at, [])
                if places is group.into:
                    owners[at].append(number)
    consumed: dict[int, int] = {}
    for (array, axis), mine in owners.items():
        taken = np.zeros(leaves[array].shape[axis], int)
        for number in mine:
            taken += np.array(marks[array, axis][number]) >= 0
        if taken.max(initial=0) > 1 or (mine and consumed.setdefault(array, axis) != axis):
            raise ValueError(
                f"groups must not share weights, but {paths[array]} is behind nodes of several; "
                "leave groups out, as in groups.select(0, 2)"
            )
    return tuple(Marked(*at, tuple(marks[at].items()), tuple(owners[at])) for at in sorted(marks))


def size_of(group: Group, leaves: Sequence[Array], paths: Sequence[str]) -> int:
    """The number of nodes of a group, also where it does not say so."""
    if group.size is not None:
        return group.size
    place = group.out[0]
    number = _number_of(place, paths)
    if not 0 <= place.axis < leaves[number].ndim:
        raise ValueError(f"groups must be those of the model, which has no {place}")
    return max(place.nodes) + 1 if place.nodes else leaves[number].shape[place.axis]


def _number_of(place: Place, paths: Sequence[str]) -> int:
    if place.path not in paths:
        raise ValueError(
            f"groups must be those of the model, which has no array {place.path}; it has "
            f"{', '.join(paths)}"
        )
    return list(paths).index(place.path)


def _located(
    place: Place, group: Group, leaves: Sequence[Array], paths: Sequence[str]
) -> tuple[tuple[int, int], int]:
    number, size = _number_of(place, paths), size_of(group, leaves, paths)
    length, shape = size if place.nodes is None else len(place.nodes), leaves[number].shape
    if not (0 <= place.axis < len(shape) and shape[place.axis] == length):
        raise ValueError(
            f"groups must be those of the model: {place} must have {length} entries, its array has "
            f"shape {shape}"
        )
    return (number, place.axis), length


def taken_out(
    model: Any, marked: Sequence[Marked], number: int
) -> tuple[Any, list[tuple[Array, ...]], list[tuple[Part, ...]]]:
    """The model without the weights that groups consume; these weights; and where they are."""
    leaves, _ = leaves_of(model)
    weights: list[list[Array]] = [[] for _ in range(number)]
    parts: list[list[Part]] = [[] for _ in range(number)]
    for array, axis, marks, owners in marked:
        if not owners:
            continue
        owner = _owner(marks, owners)
        for group in owners:
            here, labels = np.flatnonzero(owner == group), np.array(dict(marks)[group])
            weights[group].append(jnp.take(leaves[array], here, axis))
            parts[group].append(Part(axis, tuple(labels[here].tolist())))
        leaves[array] = jnp.take(leaves[array], np.flatnonzero(owner == -1), axis)
    return with_leaves(model, leaves), [*map(tuple, weights)], [*map(tuple, parts)]


def put_back(rest: Any, weights: Sequence[Sequence[Array]], marked: Sequence[Marked]) -> Any:
    """The model with these weights behind the groups: what `taken_out` undoes."""
    leaves, _ = leaves_of(rest)
    pieces = [iter(each) for each in weights]
    for array, axis, marks, owners in marked:
        if not owners:
            continue
        owner = _owner(marks, owners)
        found = [leaves[array], *(next(pieces[group]) for group in owners)]
        order = np.concatenate([np.flatnonzero(owner == group) for group in (-1, *owners)])
        joined = jnp.concatenate(found, axis) if len(found) > 2 or found[0].size else found[1]
        plain = bool((order == np.arange(len(order))).all())
        leaves[array] = joined if plain else jnp.take(joined, np.argsort(order), axis)
    return with_leaves(rest, leaves)


def _owner(marks: Marks, owners: Sequence[int]) -> np.ndarray:
    """For each entry the group that it is the weights of, or -1."""
    owner = np.full(len(marks[0][1]), -1)
    for group, labels in marks:
        if group in owners:
            owner[np.array(labels) >= 0] = group
    return owner


def is_outer(labels: Labels) -> bool:
    """Whether the entries of a node follow each other along the axis."""
    mine = [node for node in labels if node >= 0]
    return mine == sorted(mine)


def left_after(marks: Marks, counts: Sequence[int]) -> np.ndarray:
    """Which entries stay if the first nodes of each group do, as many as are counted."""
    return np.all([np.array(labels) < counts[group] for group, labels in marks], axis=0)


def fewer(marks: Marks, counts: Sequence[int]) -> Marks:
    """The marks of what is left after a cut, see `left_after`."""
    left = left_after(marks, counts)
    return tuple((group, tuple(np.array(labels)[left].tolist())) for group, labels in marks)
