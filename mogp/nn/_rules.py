"""What is known of the axes of an array of a program, and how equations without weights pass it on.

Each rule takes an equation, what is known of its operands, and the shape of its first result.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mogp.nn._axes import Axis, regrouped, total, unify

Place: TypeAlias = tuple[int, int]  # the number of an array of the model, and one of its axes

POSITION = "it is a position, not a node"
_DIVIDED = "its entries are divided in a way that cannot be followed"
_PICKED = "its entries are picked by their numbers"

# fmt: off
_ELEMENTWISE = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bitcast_convert_type", "cbrt", "ceil", "clamp", "convert_element_type", "copy", "cos",
    "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor",
    "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt",
    "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow", "reduce_precision",
    "rem", "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor",
))
_REDUCTIONS = frozenset((
    "argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod",
    "reduce_sum",
))
_RUNNING = frozenset(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "rev"))
# fmt: on


@dataclass(frozen=True)
class Value:
    """What is known of an array of the program.

    Attributes:
        axes: its axes.
        varies: whether it depends on the inputs of the model.
        origins: for each axis, the places in the model's arrays that it comes from.
    """

    axes: tuple[Axis, ...]
    varies: bool = False
    origins: tuple[frozenset[Place], ...] = ()

    def __post_init__(self) -> None:
        if not self.origins:
            object.__setattr__(self, "origins", (frozenset(),) * len(self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    def freeze(self, reason: str, *numbers: int) -> None:
        """Note why no entries of some axes can be removed."""
        for i in numbers:
            self.axes[i].freeze(reason)

    def select(self, numbers: Sequence[int]) -> "Value":
        """The array with these axes only, in this order."""
        axes = tuple(self.axes[i] for i in numbers)
        origins = tuple(self.origins[i] for i in numbers)
        return replace(self, axes=axes, origins=origins)

    def put(self, number: int, axis: Axis, origin: frozenset[Place] = frozenset()) -> "Value":
        """The array with another axis in the place of one."""
        axes, origins = list(self.axes), list(self.origins)
        axes[number], origins[number] = axis, origin
        return replace(self, axes=tuple(axes), origins=tuple(origins))


def fresh(shape: Sequence[int], reason: str | None = None, varies: bool = False) -> Value:
    """An array of which nothing is known but its shape."""
    return Value(tuple(Axis(size, reason) for size in shape), varies)


def _elementwise(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    """Axes of one place belong together, but for those of size 1, which are repeated."""
    found = fresh(shape)
    for i, size in enumerate(shape):
        mine = [v for v in inputs if len(v.axes) == len(shape) and v.axes[i].size == size]
        for value in mine[1:]:
            unify(mine[0].axes[i], value.axes[i])
        if mine:
            origin = frozenset[Place]().union(*(value.origins[i] for value in mine))
            found = found.put(i, mine[0].axes[i], origin)
    return found


def _reduced(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    gone = eqn.params["axes"]
    for value in inputs:
        value.freeze(f"{eqn.primitive.name} runs over it", *gone)
    return inputs[0].select([i for i in range(len(inputs[0].axes)) if i not in gone])


def _running(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    along = eqn.params["dimensions"] if "dimensions" in eqn.params else (eqn.params["axis"],)
    inputs[0].freeze(f"{eqn.primitive.name} runs along it", *along)
    return inputs[0]


def _sorted(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    found = _elementwise(eqn, inputs, shape)
    found.freeze("it is sorted", eqn.params["dimension"])
    return found


def _windowed(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value | None:
    if len(eqn.outvars) > 1:
        return None
    found, operand = fresh(shape, POSITION), inputs[0]
    for i, size in enumerate(eqn.params["window_dimensions"]):
        if size == 1 and operand.axes[i].size == shape[i]:
            found = found.put(i, operand.axes[i], operand.origins[i])
        else:
            operand.freeze(POSITION, i)
    return found


def _broadcast(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    found, operand = fresh(shape), inputs[0]
    for i, j in enumerate(eqn.params["broadcast_dimensions"]):
        if operand.axes[i].size == shape[j]:
            found = found.put(int(j), operand.axes[i], operand.origins[i])
    return found


def _reshaped(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    """Runs of axes with equal numbers of entries, before and after, are regrouped."""
    operand = inputs[0]
    sizes = operand.shape
    axes: list[Axis] = []
    origins: list[frozenset[Place]] = []
    i = j = 0
    while i < len(sizes) or j < len(shape):
        start, end = (i, j), [min(i + 1, len(sizes)), min(j + 1, len(shape))]
        while (old := math.prod(sizes[i : end[0]])) != (new := math.prod(shape[j : end[1]])):
            end[0 if old < new else 1] += 1
        (i, j), run = end, operand.axes[start[0] : end[0]]
        targets = shape[start[1] : j]
        made = regrouped([factor for axis in run for factor in axis.factors()], targets)
        if made is None:
            operand.freeze(_DIVIDED, *range(start[0], i))
            made = [Axis(size, _DIVIDED) for size in targets]
        axes += made
        origins += [frozenset[Place]().union(*operand.origins[start[0] : i])] * len(made)
    return Value(tuple(axes), False, tuple(origins))


def _squeezed(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    gone = eqn.params["dimensions"]
    return inputs[0].select([i for i in range(len(inputs[0].axes)) if i not in gone])


def _transposed(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    return inputs[0].select(eqn.params["permutation"])


def _concatenated(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    along, found = eqn.params["dimension"], fresh(shape)
    for i in range(len(shape)):
        mine = [value.axes[i] for value in inputs]
        for axis in mine[1:]:
            if i != along:
                unify(mine[0], axis)
        origin = frozenset[Place]().union(*(value.origins[i] for value in inputs))
        found = found.put(i, total(mine) if i == along else mine[0], origin)
    return found


def _padded(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    found, operand = inputs[0], inputs[0]
    for i, (low, high, between) in enumerate(eqn.params["padding_config"]):
        if between or low < 0 or high < 0:
            operand.freeze(_DIVIDED, i)
            found = found.put(i, Axis(shape[i], _DIVIDED))
        else:
            padded = total([Axis(low), operand.axes[i], Axis(high)])
            found = found.put(i, padded, operand.origins[i])
    return found


def _sliced(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    strides, found = eqn.params["strides"] or (1,) * len(shape), inputs[0]
    for i, place in enumerate(zip(starts, ends, strides, strict=True)):
        found = found.put(i, _part(found.axes[i], *place), found.origins[i])
    return found


def _split(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> list[Value]:  # noqa: ARG001
    operand, along = inputs[0], eqn.params["axis"]
    ends = itertools.pairwise((0, *itertools.accumulate(eqn.params["sizes"])))
    parts = [_part(operand.axes[along], start, end, 1) for start, end in ends]
    return [operand.put(along, part, operand.origins[along]) for part in parts]


def _part(axis: Axis, start: int, end: int, stride: int) -> Axis:
    if stride != 1 or not axis.cut((start, end)):
        axis.freeze(_DIVIDED)
        return Axis(-(-(end - start) // stride), _DIVIDED)
    terms = axis.terms()
    places = itertools.accumulate((term.size for term in terms), initial=0)
    mine = [term for term, place in zip(terms, places, strict=False) if start <= place < end]
    return total(mine)


def _picked(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    found, operand = fresh(shape), inputs[0]
    for i, axis in enumerate(operand.axes):
        if axis.size == shape[i]:
            found = found.put(i, axis, operand.origins[i])
        else:
            axis.freeze(_PICKED)
            found.freeze(_PICKED, i)
    return found


def _gathered(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    operand, indices = inputs
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    operand.freeze(_PICKED, *gone)
    found = fresh(shape)
    whole = [i for i in range(len(operand.axes)) if i not in gone]
    for i, j in zip(whole, numbers.offset_dims, strict=True):
        if sizes[i] == operand.axes[i].size:
            found = found.put(j, operand.axes[i], operand.origins[i])
        else:
            operand.freeze(_PICKED, i)
            found.freeze(_PICKED, j)
    rest = [j for j in range(len(shape)) if j not in numbers.offset_dims]
    for j, axis in zip(rest, indices.axes, strict=False):
        found = found.put(j, axis)
    return found


def _numbered(eqn: Any, inputs: list[Value], shape: tuple[int, ...]) -> Value:  # noqa: ARG001
    found = fresh(shape)
    found.freeze("its entries are numbered", eqn.params["dimension"])
    return found


_NAMED: dict[str, Callable[..., Value | list[Value]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenated,
    "dynamic_slice": _picked,
    "gather": _gathered,
    "iota": _numbered,
    "pad": _padded,
    "reshape": _reshaped,
    "slice": _sliced,
    "sort": _sorted,
    "split": _split,
    "squeeze": _squeezed,
    "transpose": _transposed,
}


def rule_of(name: str) -> Callable[..., Value | list[Value] | None] | None:
    """The rule for a primitive; None if it is not known."""
    if name in _ELEMENTWISE:
        return _elementwise
    if name in _REDUCTIONS:
        return _reduced
    if name in _RUNNING:
        return _running
    return _windowed if name.startswith("reduce_window") else _NAMED.get(name)
