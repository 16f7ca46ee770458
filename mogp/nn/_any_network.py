"""Any Equinox model with a variance on every node of its node groups."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_between
from mogp.nn._evaluate import Evaluation, contractions
from mogp.nn._groups import Group, Groups, numbers_along, trace
from mogp.nn._marks import (
    Marked,
    Part,
    Scaled,
    fewer,
    is_outer,
    leaves_of,
    left_after,
    marked_of,
    put_back,
    size_of,
    taken_out,
    with_leaves,
)
from mogp.nn._nodes import AbstractNetwork, AbstractNodes, standard_normal
from mogp.nn._resize import Change, replaced, resized
from mogp.priors import Prior


class GroupNodes(AbstractNodes):
    """The nodes of one group and the weights behind them, inside an `nn.Dependent`.

    Attributes:
        log_variances: `log λ`, of shape (number,).
        weights: `V`: of each array that consumes the nodes the entries that do so, in its layout.
        prior: the distribution of `λ`.
        prior_width: the width at which the prior is taken.
        parts: where these weights are in their arrays.
    """

    log_variances: Array
    weights: tuple[Array, ...]
    prior: Prior
    prior_width: int = eqx.field(static=True)
    parts: tuple[Part, ...] = eqx.field(static=True)

    def outgoing(self) -> Array:
        rows = [part.rows(a) for a, part in zip(self.weights, self.parts, strict=True)]
        return jnp.concatenate([each.reshape(self.number, -1) for each in rows], -1)

    def with_outgoing(self, weights: Array) -> Self:
        ends = itertools.accumulate((a.size // self.number for a in self.weights), initial=0)
        new = tuple(
            part.array(weights[:, start:end], array.shape)
            for array, part, (start, end) in zip(
                self.weights, self.parts, itertools.pairwise(ends), strict=True
            )
        )
        return eqx.tree_at(lambda n: n.weights, self, new)

    def take(self, kept: Array) -> Self:  # noqa: ARG002
        raise TypeError("nodes of a group are cut by the nn.Dependent that holds them")

    def contributions(self, x: Any) -> Array:
        """From the squares of what flows into each part, which `nn.flow` has for this layer."""
        sums = jnp.zeros(self.number, self.log_variances.dtype)
        for part, array, squares in zip(self.parts, self.weights, x, strict=True):
            moved = jnp.moveaxis(array, part.axis, 0)
            norms = jnp.sum(moved.reshape(len(moved), -1) ** 2, 1)
            sums = sums.at[np.array(part.labels)].add(norms * jnp.sum(squares, 0))
        return jnp.exp(self.log_variances) * sums


class Dependent(AbstractNetwork):
    """A network of any architecture with a random variance on every node of its node groups.

    It is the function of the model, with weights `W_j = √λ_j V_j` behind node `j` of a group. What
    flows into these weights is multiplied by `√λ`; no scaled weights are formed. Under the prior
    `V` is standard normal, and all other floating-point arrays are normal with mean 0 and standard
    deviation `scale`. Node variances start at the mean square of the weights behind each node, so
    that a trained model stays what it is.

    Args:
        model: an Equinox module of one argument, trained or not.
        groups: what `nn.groups(model, x)` found, or a selection of it, such as `found.select(0)`.
            If `x` is one example, the network also takes batches, with one axis more. Groups made
            by hand are a sequence of `nn.Group`; then the weights are scaled, not what flows.
        priors: the prior of the node variances of all groups, or one for each.
        scale: the prior standard deviation of the arrays that no group consumes, positive.

    Raises:
        ValueError: if there are no groups, they are not those of the model, two of them consume the
            same weights, or the number of priors is another.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import nn, priors
        >>> model, x = eqx.nn.MLP(3, 2, 8, depth=2, key=jax.random.key(0)), jnp.ones(3)
        >>> network = nn.Dependent(model, nn.groups(model, x), priors.Horseshoe())
        >>> bool(jnp.allclose(network(x), model(x), atol=1e-6))
        True
        >>> small = nn.take(network, [jnp.arange(2), jnp.arange(3)]).model()
        >>> [layer.weight.shape for layer in small.layers]
        [(2, 3), (3, 2), (2, 3)]
    """

    rest: Any
    layers: tuple[GroupNodes, ...]
    scale: float = eqx.field(static=True)
    inputs: tuple[jax.ShapeDtypeStruct, ...] = eqx.field(static=True)
    marked: tuple[Marked, ...] = eqx.field(static=True)
    scalings: tuple[Scaled, ...] = eqx.field(static=True)

    def __init__(
        self,
        model: Any,
        groups: Groups | Sequence[Group],
        priors: Prior | Sequence[Prior],
        *,
        scale: float = 1.0,
    ) -> None:
        if not groups:
            raise ValueError("groups must hold at least one node group, got none")
        check_between("scale", scale, 0)
        laws = [priors] * len(groups) if isinstance(priors, Prior) else list(priors)
        if len(laws) != len(groups):
            raise ValueError(
                f"priors must be one, or one for each of the {len(groups)} groups, got {len(laws)}"
            )
        leaves, paths = leaves_of(model)
        marked = marked_of(groups, leaves, paths)
        self.scale, self.marked = scale, marked
        self.inputs, self.scalings = (), ()
        if isinstance(groups, Groups):
            self.inputs = groups.inputs
            self.scalings = _scalings(model, groups, marked)
        self.rest, weights, parts = taken_out(model, marked, len(groups))
        layers = []
        for i, (group, prior) in enumerate(zip(groups, laws, strict=True)):
            size = size_of(group, leaves, paths)
            start = GroupNodes(
                log_variances=jnp.zeros(size, weights[i][0].dtype),
                weights=weights[i],
                prior=prior,
                prior_width=size,
                parts=parts[i],
            )
            if any(place.is_tied for place in group.into):
                layers.append(start)  # with λ = 1, the only value at which both uses agree
                continue
            squares = jnp.mean(start.outgoing() ** 2, -1)
            # A dead node gets the smallest variance with which its weights of 0 are finite.
            tiny = float(np.finfo(squares.dtype).eps) ** 2 * jnp.max(squares)
            u = jnp.log(jnp.maximum(squares, jnp.where(tiny > 0, tiny, 1.0)))
            unit = start.outgoing() * jnp.exp(-u / 2)[:, None]
            layers.append(eqx.tree_at(lambda n: n.log_variances, start.with_outgoing(unit), u))
        self.layers = tuple(layers)

    def __call__(self, x: Array, *, key: Array | None = None) -> Any:  # noqa: ARG002
        """The outputs of the model; of each row, for inputs with one axis more than it takes."""
        if not self.inputs:
            return self.model()(x)
        return self._mapped(lambda row: self._run(row)[0], x)

    def flow(self, x: Array) -> tuple[tuple[Any, Any], ...]:
        """What flows into the weights behind each group, for a batch of inputs (n, …).

        Returns:
            For each group a pair. The first is a tuple with an array of shape (n, entries) for each
            array of weights: squares, summed over positions. The second is None.

        Raises:
            ValueError: if the groups were made by hand.
        """
        if not self.inputs:
            raise ValueError("groups must be those that nn.groups found, to follow what flows")
        squares = self._mapped(lambda row: self._run(row)[1], x)
        if x.ndim == self.inputs[0].ndim:
            squares = jax.tree.map(lambda a: a[None], squares)
        return tuple((each, None) for each in squares)

    def model(self) -> Any:
        """The model with `W = √λ V` in place: a module of the class that it was made of.

        With tied weights this is another function, unless all node variances of the group are 1.
        """
        scaled = [
            layer.with_outgoing(layer.outgoing() * layer.root_variances()[:, None]).weights
            for layer in self.layers
        ]
        return put_back(self.rest, scaled, self.marked)

    def log_prior(self) -> Array:
        """Log-density of all arrays under the prior, `log λ` with its Jacobian, a scalar."""
        others = standard_normal(
            jax.tree.leaves(eqx.filter(self.rest, eqx.is_inexact_array)), self.scale
        )
        return sum((layer.log_prior() for layer in self.layers), start=others)

    def take(self, kept: Sequence[Array]) -> Self:
        numbers = [jnp.sort(jnp.asarray(each)) for each in kept]
        counts = [len(each) for each in numbers]
        stays = [
            jnp.zeros(layer.number, bool).at[each].set(True)
            for layer, each in zip(self.layers, numbers, strict=True)
        ]
        whole = self._with_weights()
        leaves, _ = leaves_of(whole)
        for array, axis, marks, _ in self.marked:
            mask = jnp.ones(leaves[array].shape[axis], bool)
            for group, labels in marks:
                mask &= (np.array(labels) < 0) | stays[group][np.maximum(labels, 0)]
            here = jnp.flatnonzero(mask, size=int(left_after(marks, counts).sum()))
            leaves[array] = jnp.take(leaves[array], here, axis)
        marked = tuple(m._replace(marks=fewer(m.marks, counts)) for m in self.marked)
        small = self._resized(with_leaves(whole, leaves), marked, counts)
        rest, weights, parts = taken_out(small, marked, len(self.layers))
        layers = tuple(
            replaced(layer, log_variances=layer.log_variances[each], weights=w, parts=p)
            for layer, each, w, p in zip(self.layers, numbers, weights, parts, strict=True)
        )
        scalings = tuple(s._replace(marks=fewer(s.marks, counts)) for s in self.scalings)
        return replaced(self, rest=rest, layers=layers, marked=marked, scalings=scalings)

    def _resized(self, small: Any, marked: Sequence[Marked], counts: Sequence[int]) -> Any:
        """The smaller model with the sizes that its modules remember, checked by following it."""
        _, paths = leaves_of(small)
        changes = [
            Change(
                paths[m.array], m.axis, self.layers[group].number, counts[group], is_outer(labels)
            )
            for m in self.marked
            for group, labels in m.marks
        ]
        for guess in (False, True):
            found = resized(small, changes, guess)
            if not self.inputs or _same_nodes(found, self.inputs, marked, counts):
                return found
        raise ValueError(
            "model must be a function whose sizes follow from its arrays: after nodes were cut, it "
            "does something else; let it read sizes from array.shape, or hold them as integers"
        )

    def _with_weights(self) -> Any:
        """The model with `V` in place."""
        return put_back(self.rest, [layer.weights for layer in self.layers], self.marked)

    def _mapped(self, function: Callable[[Array], Any], x: Array) -> Any:
        ndim = self.inputs[0].ndim
        if x.ndim not in (ndim, ndim + 1):
            raise ValueError(f"x must have {ndim} axes, or {ndim + 1} for a batch, got {x.shape}")
        return function(x) if x.ndim == ndim else jax.vmap(function)(x)

    def _run(self, x: Array) -> tuple[Any, tuple[tuple[Array, ...], ...]]:
        """The outputs for the inputs of the model, and the squares of what flows into weights."""
        whole = self._with_weights()
        arrays, static = eqx.partition(whole, eqx.is_array)
        closed, shape = jax.make_jaxpr(
            lambda arrays, x: eqx.combine(arrays, static)(x), return_shape=True
        )(arrays, x)
        run = Evaluation([layer.root_variances() for layer in self.layers], self.scalings)
        outputs = run(closed.jaxpr, closed.consts, [*jax.tree.leaves(arrays), x])
        squares = tuple(
            tuple(
                run.squares.get((i, k), jnp.zeros(len(part.labels)))
                for k, part in enumerate(layer.parts)
            )
            for i, layer in enumerate(self.layers)
        )
        return jax.tree.unflatten(jax.tree.structure(shape), outputs), squares


def _scalings(model: Any, groups: Groups, marked: Sequence[Marked]) -> tuple[Scaled, ...]:
    """What the program multiplies by `√λ`, by the number of its contraction."""
    program = trace(model, groups.inputs)
    numbers = {found: i for i, found in enumerate(program.groups)}
    if any(group not in numbers for group in groups):
        raise ValueError("groups must be those that nn.groups found in this model")
    ours = {numbers[group]: i for i, group in enumerate(groups)}
    places: dict[int, list[tuple[int, int]]] = {i: [] for i in range(len(groups))}
    for mark in marked:
        for owner in mark.owners:
            places[owner].append((mark.array, mark.axis))
    found = []
    for number, eqn in enumerate(contractions(program.jaxpr.jaxpr)):
        for use in program.uses.get(id(eqn), ()):
            consumed = set(use.contracted.atoms())
            marks = tuple(
                (ours[g], tuple(numbers_along(use.whole, atom).tolist()))
                for g, atom in enumerate(program.atoms)
                if g in ours and atom in consumed
            )
            parts = tuple(
                tuple(k for k, place in enumerate(places[g]) if place in use.origins)
                for g, _ in marks
            )
            if marks:
                found.append(Scaled(number, use.operand, use.number, marks, parts))
    return tuple(found)


def _same_nodes(
    model: Any, inputs: tuple[Any, ...], marked: Sequence[Marked], counts: Sequence[int]
) -> bool:
    """Whether the nodes of a model are where they are expected."""
    try:
        program = trace(model, inputs)
    except (TypeError, ValueError, AssertionError):
        return False
    _, paths = leaves_of(model)
    wanted = {
        (paths[m.array], m.axis, labels)
        for m in marked
        for group, labels in m.marks
        if counts[group] > 1
    }
    found = {
        (place.path, place.axis, place.nodes or tuple(range(group.size or 0)))
        for group in program.groups
        for place in (*group.out, *group.into)
    }
    return wanted <= found
