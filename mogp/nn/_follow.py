"""Which axes of the arrays of a program belong together: one pass over its jaxpr."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax.extend.core import Literal

from mogp.nn._axes import Axis, unify
from mogp.nn._rules import POSITION, Place, Value, fresh, rule_of

_STEP = "it is a step of a loop"
CONTRACTIONS = ("dot_general", "conv_general_dilated")
_CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "remat2": "jaxpr",
}


@dataclass(frozen=True)
class Use:
    """A contraction of what flows through the network with weights.

    Attributes:
        operand: which operand of the equation flows.
        number: the axis of this operand that is contracted.
        whole: this axis, all groups of a grouped convolution included.
        contracted: the part of it that is contracted.
        origins: the places in the model's arrays that it is contracted with.
    """

    operand: int
    number: int
    whole: Axis
    contracted: Axis
    origins: frozenset[Place]


def inner(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """The jaxpr of an equation that only calls it, and its constants; None for other equations."""
    name = _CALLS.get(eqn.primitive.name)
    if name is None:
        return None
    called = eqn.params[name]
    return (called.jaxpr, called.consts) if hasattr(called, "consts") else (called, ())


class Follower:
    """One pass over a jaxpr, after which `uses` are known and equal axes are unified.

    Attributes:
        uses: for each equation, by its identity, the contractions with weights.
        made: places in the model's arrays that what flows through the network comes from.
        equations: these equations, which keeps identities from being given to others.
    """

    def __init__(self) -> None:
        self.uses: dict[int, list[Use]] = {}
        self.made: set[Place] = set()
        self.equations: list[Any] = []

    def follow(
        self, jaxpr: Any, values: Sequence[Value], constants: Sequence[Any] = ()
    ) -> list[Value]:
        """What is known of the results, from what is known of the arguments."""
        known = dict(zip(jaxpr.invars, values, strict=True))
        for var, constant in zip(jaxpr.constvars, constants, strict=True):
            known[var] = fresh(constant.shape, "an array that is not the model's has this size")

        def read(atom: Any) -> Value:
            return fresh(np.shape(atom.val)) if isinstance(atom, Literal) else known[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            known |= dict(zip(eqn.outvars, self._outputs(eqn, inputs), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _outputs(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        call = inner(eqn)
        if call is not None:
            return self.follow(call[0], inputs, call[1])
        name, varies = eqn.primitive.name, any(value.varies for value in inputs)
        shapes = [tuple(var.aval.shape) for var in eqn.outvars]
        own = {"dot_general": self._dot_general, "conv_general_dilated": self._convolution}
        rule = own.get(name) or (self._scan if name == "scan" else rule_of(name))
        found = None if rule is None else rule(eqn, inputs, shapes[0])
        if found is None:
            reason = f"the primitive {name} cannot be followed"
            if name.startswith(("random_", "threefry")):
                reason = "random numbers are drawn, as by dropout: use equinox.nn.inference_mode"
            for value in inputs:
                value.freeze(reason, *range(len(value.axes)))
            found = [fresh(shape, reason) for shape in shapes]
        results = found if isinstance(found, list) else [found] * len(shapes)
        assert [value.shape for value in results] == shapes, name
        results = [replace(value, varies=varies or value.varies) for value in results]
        for value in results:
            if value.varies:
                self.made.update(*value.origins)
        return results

    # --- what consumes nodes ----------------------------------------------------------------------

    def _use(
        self, eqn: Any, inputs: list[Value], numbers: tuple[int, int], axes: tuple[Axis, Axis]
    ) -> None:
        """Two axes, one of each operand, are contracted."""
        unify(*axes)
        if inputs[0].varies and inputs[1].varies:
            axes[0].freeze("it is contracted between two arrays that depend on the inputs")
            return
        flows = int(inputs[1].varies)
        number, weights = numbers[flows], inputs[1 - flows]
        self.uses.setdefault(id(eqn), []).append(
            Use(
                flows,
                number,
                inputs[flows].axes[number],
                axes[flows],
                weights.origins[numbers[1 - flows]],
            )
        )
        self.equations.append(eqn)

    def _dot_general(self, eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG002
        contracted, batch = eqn.params["dimension_numbers"]
        left, right = inputs
        for i, j in zip(*contracted, strict=True):
            self._use(eqn, inputs, (i, j), (left.axes[i], right.axes[j]))
        axes, origins = [], []
        for i, j in zip(*batch, strict=True):
            unify(left.axes[i], right.axes[j])
            axes.append(left.axes[i])
            origins.append(left.origins[i] | right.origins[j])
        for side, value in enumerate(inputs):
            gone = {*contracted[side], *batch[side]}
            rest = value.select([i for i in range(len(value.axes)) if i not in gone])
            axes += rest.axes
            origins += rest.origins
        return Value(tuple(axes), False, tuple(origins))

    def _convolution(self, eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value | None:
        numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
        lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
        if eqn.params["batch_group_count"] != 1:
            return None
        left, right = inputs
        left.freeze(POSITION, *lhs[2:])
        right.freeze(POSITION, *rhs[2:])
        taken = left.axes[lhs[1]]
        if groups > 1:
            before, after = taken.factored(groups), right.axes[rhs[0]].factored(groups)
            if before is None or after is None:
                return None
            unify(before[0], after[0])
            taken = before[1]
        self._use(eqn, inputs, (lhs[1], rhs[1]), (taken, right.axes[rhs[1]]))
        found = fresh(shape, POSITION)
        found = found.put(out[0], left.axes[lhs[0]], left.origins[lhs[0]])
        return found.put(out[1], right.axes[rhs[0]], right.origins[rhs[0]])

    def _scan(
        self,
        eqn: Any,
        inputs: list[Value],
        shape: tuple[int, ...],  # noqa: ARG002
    ) -> list[Value]:
        closed, first = eqn.params["jaxpr"], eqn.params["num_consts"]
        num_carry = eqn.params["num_carry"]
        last = first + num_carry
        carry = [Value(value.axes, True) for value in inputs[first:last]]
        rows = [value.select(range(1, len(value.axes))) for value in inputs[last:]]
        for value in inputs[last:]:
            value.freeze(_STEP, 0)
        found = self.follow(closed.jaxpr, [*inputs[:first], *carry, *rows], closed.consts)
        for before, after in zip(carry, found, strict=False):
            for one, other in zip(before.axes, after.axes, strict=True):
                unify(one, other)
        steps = Axis(eqn.params["length"], _STEP)
        stacked = [
            Value((steps, *value.axes), True, (frozenset(), *value.origins))
            for value in found[num_carry:]
        ]
        return found[:num_carry] + stacked
