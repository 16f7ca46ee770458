"""A program evaluated with node variances in it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Literal

from mogp.nn._follow import CONTRACTIONS, inner
from mogp.nn._marks import Scaled


class Evaluation:
    """Evaluates a program, with what flows into weights multiplied by `√λ`.

    Attributes:
        squares: by the numbers of group and part, the sums over positions of the squares of what
            flows in.
    """

    def __init__(self, roots: Sequence[Array], scalings: Sequence[Scaled]) -> None:
        self.roots = roots
        self.scalings: dict[int, list[Scaled]] = {}
        for scaling in scalings:
            self.scalings.setdefault(scaling.contraction, []).append(scaling)
        self.squares: dict[tuple[int, int], Array] = {}
        self.count = 0

    def __call__(self, jaxpr: Any, consts: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        known = dict(zip(jaxpr.constvars, consts, strict=True))
        known |= dict(zip(jaxpr.invars, values, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else known[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            known |= dict(zip(eqn.outvars, self._one(eqn, inputs), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _one(self, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
        call = inner(eqn)
        if call is not None and _count(call[0]):
            return self(call[0], call[1], inputs)
        if eqn.primitive.name == "scan" and _count(eqn.params["jaxpr"].jaxpr):
            return self._scan(eqn, inputs)
        if eqn.primitive.name in CONTRACTIONS:
            for scaling in self.scalings.get(self.count, ()):
                inputs[scaling.operand] = self._scaled(scaling, inputs[scaling.operand])
            self.count += 1
        params = eqn.primitive.get_bind_params(eqn.params)
        found = eqn.primitive.bind(*inputs, **params)
        return found if eqn.primitive.multiple_results else [found]

    def _scaled(self, scaling: Scaled, operand: Array) -> Array:
        others = [i for i in range(operand.ndim) if i != scaling.axis]
        factor = jnp.ones(operand.shape[scaling.axis], operand.dtype)
        for (group, labels), parts in zip(scaling.marks, scaling.parts, strict=True):
            nodes = np.array(labels)
            if len(nodes) != len(factor):
                raise ValueError("x must lead to the operations that nn.groups saw, got others")
            mine = np.flatnonzero(nodes >= 0)
            root = self.roots[group].astype(operand.dtype)
            factor = factor * jnp.append(root, jnp.ones((), root.dtype))[nodes]  # -1 is the last
            for part in parts:
                squares = jnp.sum(operand**2, others)[mine]
                self.squares[group, part] = squares + self.squares.get((group, part), 0)
        return operand * jax.lax.broadcast_in_dim(factor, operand.shape, (scaling.axis,))

    def _scan(self, eqn: Any, inputs: list[Any]) -> list[Any]:
        params, start = eqn.params, self.count
        first = params["num_consts"]
        last = first + params["num_carry"]
        consts, carry, rows = inputs[:first], inputs[first:last], inputs[last:]
        closed = params["jaxpr"]

        def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], Any]:
            inside = Evaluation(self.roots, [s for each in self.scalings.values() for s in each])
            inside.count = start
            found = inside(closed.jaxpr, closed.consts, [*consts, *carry, *row])
            num = params["num_carry"]
            return found[:num], (found[num:], inside.squares)

        names = ("length", "reverse", "unroll")
        options = {name: params[name] for name in names}
        carry, (stacked, squares) = jax.lax.scan(step, carry, rows, **options)
        for place, each in squares.items():
            self.squares[place] = jnp.sum(each, 0) + self.squares.get(place, 0)
        self.count += _count(closed.jaxpr)
        return [*carry, *stacked]


def contractions(jaxpr: Any) -> Iterator[Any]:
    """The contractions of a program, in their order."""
    for eqn in jaxpr.eqns:
        call = inner(eqn)
        if eqn.primitive.name == "scan":
            yield from contractions(eqn.params["jaxpr"].jaxpr)
        elif call is not None:
            yield from contractions(call[0])
        elif eqn.primitive.name in CONTRACTIONS:
            yield eqn


def _count(jaxpr: Any) -> int:
    return sum(1 for _ in contractions(jaxpr))
