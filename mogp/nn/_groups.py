"""The node groups of any Equinox model, found by tracing one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mogp.nn._axes import Axis
from mogp.nn._follow import Follower, Use
from mogp.nn._rules import POSITION, Value, fresh

_INPUTS, _OUTPUTS = "it is an axis of the inputs", "it is an axis of the outputs"


@dataclass(frozen=True)
class Place:
    """An axis of one array of a model, and the nodes that its entries belong to.

    Attributes:
        path: where the array is in the model, as JAX writes it: `.layers[0].weight`.
        axis: the number of the axis.
        nodes: for each entry along the axis the number of its node, or -1 for none; None where
            entry `j` is node `j`.
        is_tied: whether the array also makes the nodes that it consumes, as tied weights do.
    """

    path: str
    axis: int
    nodes: tuple[int, ...] | None = field(default=None, repr=False)
    is_tied: bool = False

    def __str__(self) -> str:
        return f"{self.path} axis {self.axis}"


@dataclass(frozen=True)
class Group:
    """A node group: the nodes of one layer of any network. `groups` finds them.

    Args:
        out: the places that make the nodes: rows of weights, biases, scales of a normalisation. A
            place is an `nn.Place`, or a pair of a path and an axis.
        into: the places that consume them, whose weights a node variance multiplies.
        size: the number of nodes; None for the length of the first axis in `out`.

    Example:
        >>> from mogp import nn
        >>> group = nn.Group(
        ...     out=[(".layers[0].weight", 0), (".layers[0].bias", 0)],
        ...     into=[(".layers[1].weight", 1)],
        ... )
        >>> print(group)
        nodes: .layers[0].weight axis 0, .layers[0].bias axis 0 -> .layers[1].weight axis 1
    """

    out: tuple[Place, ...]
    into: tuple[Place, ...]
    size: int | None = None

    def __post_init__(self) -> None:
        for name in ("out", "into"):
            places = tuple(p if isinstance(p, Place) else Place(*p) for p in getattr(self, name))
            if not places:
                raise ValueError(f"{name} must have at least one place, got none")
            object.__setattr__(self, name, places)

    def __str__(self) -> str:
        out, into = (", ".join(map(str, places)) for places in (self.out, self.into))
        number = "" if self.size is None else f"{self.size} "
        return f"{number}nodes: {out} -> {into}"


@dataclass(frozen=True)
class Refusal:
    """Axes that belong together and are no group of nodes.

    Attributes:
        size: their number of entries.
        places: the places in the arrays of the model.
        reasons: why their entries cannot be removed.
    """

    size: int
    places: tuple[Place, ...]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        places = ", ".join(map(str, self.places))
        return f"{self.size} entries: {places}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Groups(Sequence[Group]):
    """The node groups of a model, in the order of its arrays; it prints what was found.

    Attributes:
        found: the groups.
        refused: other axes that weights make or consume, and why they are no group.
        inputs: shapes and precisions of the inputs of the traced call.
    """

    found: tuple[Group, ...]
    refused: tuple[Refusal, ...] = ()
    inputs: tuple[Any, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def select(self, *numbers: int) -> "Groups":
        """Only the groups with these numbers."""
        return replace(self, found=tuple(self.found[i] for i in numbers))

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        lines = [f"{len(self.found)} node groups"]
        lines += [f"  {i}: {group}" for i, group in enumerate(self.found)]
        if self.refused:
            lines += ["no groups", *(f"  {refusal}" for refusal in self.refused)]
        return "\n".join(lines)


def groups(model: Any, *inputs: Any) -> Groups:
    """The node groups of an Equinox model, found by tracing one call.

    A group is an axis of what flows through the network that weights make and that weights consume:
    neurons, channels, heads. Elementwise functions, pooling, normalisation of each channel,
    reshapes, concatenation and loops (`scan`) pass it on; an addition ties two axes to one group.
    An axis that is reduced over, as in a layer normalisation, contracted between two activations,
    or that reaches the inputs or the outputs is no group; neither is one that runs through a
    primitive which is not known here. Nothing is guessed: the result says why.

    Args:
        model: an Equinox module, or any tree of arrays and functions that can be called.
        *inputs: arguments of one call, of which shapes and precisions count.

    Returns:
        The groups, and the axes that are none.

    Raises:
        ValueError: if `model` cannot be called or has no arrays.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import nn
        >>> model = eqx.nn.MLP(3, 2, width_size=8, depth=1, key=jax.random.key(0))
        >>> found = nn.groups(model, jnp.ones(3))
        >>> print(found[0])
        8 nodes: .layers[0].weight axis 0, .layers[0].bias axis 0 -> .layers[1].weight axis 1
    """
    return trace(model, inputs).groups


@dataclass(frozen=True)
class Trace:
    """A model as a program.

    Attributes:
        jaxpr: the program, whose arguments are the arrays of the model and the inputs.
        groups: its node groups.
        atoms: the axis of each group.
        uses: for each equation that consumes nodes, by identity, the contractions with weights.
    """

    jaxpr: Any
    groups: Groups
    atoms: list[Axis]
    uses: dict[int, list[Use]]


def trace(model: Any, inputs: tuple[Any, ...]) -> Trace:
    """The program of one call, followed."""
    arrays, static = eqx.partition(model, eqx.is_array)
    with_paths, _ = jax.tree_util.tree_flatten_with_path(arrays)
    if not callable(model) or not with_paths:
        raise ValueError(f"model must be an Equinox module with arrays, got {type(model).__name__}")
    closed = jax.make_jaxpr(lambda arrays, inputs: eqx.combine(arrays, static)(*inputs))(
        arrays, inputs
    )
    params = [
        Value(
            fresh(leaf.shape).axes,
            False,
            tuple(frozenset({(number, axis)}) for axis in range(leaf.ndim)),
        )
        for number, (_, leaf) in enumerate(with_paths)
    ]
    given = [fresh(np.shape(leaf), _INPUTS, varies=True) for leaf in jax.tree.leaves(inputs)]
    follower = Follower()
    for value in follower.follow(closed.jaxpr, [*params, *given], closed.consts):
        value.freeze(_OUTPUTS, *range(len(value.axes)))
    paths = [jax.tree_util.keystr(path) for path, _ in with_paths]
    found, atoms = _sorted_out(params, paths, follower)
    shapes = jax.tree.map(lambda a: jax.eval_shape(jnp.asarray, a), inputs)
    return Trace(closed, replace(found, inputs=shapes), atoms, follower.uses)


def _sorted_out(
    params: Sequence[Value], paths: Sequence[str], follower: Follower
) -> tuple[Groups, list[Axis]]:
    """Groups and refusals, and the axis of each group."""
    consumed: dict[Axis, set[tuple[int, int]]] = {}
    for use in (each for uses in follower.uses.values() for each in uses):
        for atom in use.contracted.atoms():
            consumed.setdefault(atom, set()).update(use.origins)
    where: dict[Axis, dict[tuple[int, int], None]] = {}
    for number, value in enumerate(params):
        for i, axis in enumerate(value.axes):
            for atom in axis.atoms():
                where.setdefault(atom, {})[number, i] = None
    found, refused, atoms = [], [], []
    for atom, places in where.items():
        at = {place: _place(params, paths, place, atom) for place in places}
        into = tuple(
            replace(at[place], is_tied=place in follower.made)
            for place in places
            if place in consumed.get(atom, ())
        )
        out = tuple(at[place] for place in places if place not in consumed.get(atom, ()))
        if atom.size > 1 and out and into and not atom.reasons:
            found.append(Group(out, into, atom.size))
            atoms.append(atom)
        elif atom.size > 1:
            reasons = tuple(atom.reasons) or ("no weights make or consume it",)
            if reasons != (POSITION,):
                refused.append(Refusal(atom.size, tuple(at.values()), reasons))
    return Groups(tuple(found), tuple(refused)), atoms


def _place(
    params: Sequence[Value], paths: Sequence[str], place: tuple[int, int], atom: Axis
) -> Place:
    number, axis = place
    nodes = numbers_along(params[number].axes[axis], atom)
    plain = len(nodes) == atom.size and bool((nodes == np.arange(atom.size)).all())
    return Place(paths[number], axis, None if plain else tuple(nodes.tolist()))


def numbers_along(axis: Axis, atom: Axis) -> np.ndarray:
    """For each entry of an axis its number along the atom, or -1 where that is not a part of it."""
    axis = axis.find()
    if axis is atom:
        return np.arange(axis.size)
    if not axis.parts:
        return np.full(axis.size, -1)
    parts = [numbers_along(part, atom) for part in axis.parts]
    if not axis.is_product:
        return np.concatenate(parts)
    numbers = np.full((), -1)
    for part in parts:  # at most one of the factors has other numbers than -1
        numbers = np.maximum(numbers[..., None], part)
    return numbers.reshape(-1)
