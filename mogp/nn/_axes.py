"""Axes of arrays whose entries stay or go together, refined into sums and products as needed."""

import itertools
import math
from collections.abc import Iterator, Sequence


class Axis:
    """An axis of arrays, up to equality: a node of a union-find forest.

    An axis may be a concatenation of shorter ones (`parts`, with `is_product` false), or the
    flattening of several, of which the last runs fastest (with `is_product` true).

    Args:
        size: the number of entries.
        reason: why no entry can be removed, if so.
    """

    def __init__(self, size: int, reason: str | None = None) -> None:
        self.size = int(size)
        self.parts: tuple[Axis, ...] = ()
        self.is_product = False
        self.reasons: dict[str, None] = {} if reason is None else {reason: None}  # in their order
        self._same: Axis | None = None

    def find(self) -> "Axis":
        """The axis that stands for all that are equal to this one."""
        axis = self
        while axis._same is not None:
            axis = axis._same
        return axis

    def atoms(self) -> Iterator["Axis"]:
        """The axes without parts that this one is made of."""
        axis = self.find()
        if not axis.parts:
            yield axis
        for part in axis.parts:
            yield from part.atoms()

    def freeze(self, reason: str) -> None:
        """Note why no entry can be removed."""
        for atom in self.atoms():
            atom.reasons[reason] = None

    def factors(self) -> list["Axis"]:
        """The factors, none of which is a product; none for an axis of size 1."""
        return self._flattened(is_product=True) if self.size != 1 else []

    def terms(self) -> list["Axis"]:
        """The terms, none of which is a concatenation."""
        return self._flattened(is_product=False)

    def factored(self, outer: int) -> tuple["Axis", "Axis"] | None:
        """The axis as a product of one of size `outer` and another one, if it is one."""
        axis = self.find()
        inner = axis.size // outer
        if not axis.parts:
            axis._divide((Axis(outer), Axis(inner)), is_product=True)
        elif not axis.is_product:  # each term must have the inner factor
            terms = axis.terms()
            if any(term.size % inner for term in terms):
                return None
            pairs = [term.factored(term.size // inner) for term in terms]
            found = [pair for pair in pairs if pair is not None]
            if len(found) < len(pairs):
                return None
            for pair in found[1:]:
                unify(found[0][1], pair[1])
            axis.parts, axis.is_product = (total([p[0] for p in found]), found[0][1]), True
        both = regrouped(axis.factors(), (outer, inner))
        return None if both is None else (both[0], both[1])

    def cut(self, places: Sequence[int]) -> bool:
        """Make new terms begin at these places; False if that is impossible."""
        axis = self.find()
        places = sorted({place for place in places if 0 < place < axis.size})
        if not places:
            return True
        if not axis.parts:
            ends = itertools.pairwise((0, *places, axis.size))
            axis._divide([Axis(end - start) for start, end in ends], is_product=False)
            return True
        if axis.is_product:
            first, *rest = axis.factors()
            inner = axis.size // first.size
            fits = not any(place % inner for place in places)
            if not fits or not first.cut([place // inner for place in places]):
                return False
            axis.parts, axis.is_product = (
                tuple(product([term, *rest]) for term in first.terms()),
                False,
            )
            return True
        start = 0
        for term in axis.terms():
            if not term.cut([place - start for place in places]):
                return False
            start += term.size
        return True

    def _flattened(self, is_product: bool) -> list["Axis"]:
        axis = self.find()
        if axis.parts and axis.is_product == is_product:
            return [each for part in axis.parts for each in part._flattened(is_product)]
        return [axis]

    def _divide(self, parts: Sequence["Axis"], is_product: bool) -> None:
        for part in parts:
            part.reasons |= self.reasons
        self.parts, self.is_product = tuple(parts), is_product


def product(factors: Sequence[Axis]) -> Axis:
    """The axis that runs over all factors, the last one fastest."""
    found = [factor for factor in factors if factor.size != 1]
    if len(found) == 1:
        return found[0]
    axis = Axis(math.prod(factor.size for factor in found))
    axis.parts, axis.is_product = tuple(found), True
    return axis


def total(terms: Sequence[Axis]) -> Axis:
    """The concatenation of axes."""
    found = [term for term in terms if term.size]
    if len(found) == 1:
        return found[0]
    axis = Axis(sum(term.size for term in found))
    axis.parts = tuple(found)
    return axis


def regrouped(factors: Sequence[Axis], sizes: Sequence[int]) -> list[Axis] | None:
    """Axes of the given sizes, made of the factors in their order; None if that is impossible."""
    left, found = list(reversed(factors)), []
    for size in sizes:
        mine = []
        while size > 1:
            if not left:
                return None
            first = left.pop()
            if size % first.size == 0:
                mine.append(first)
                size //= first.size
                continue
            pair = None if first.size % size else first.factored(size)
            if pair is None:
                return None
            mine.append(pair[0])
            left.append(pair[1])
            size = 1
        found.append(product(mine))
    return found


def unify(first: Axis, second: Axis) -> None:
    """Make two axes of one size equal: entries of the same number stay or go together."""
    first, second = first.find(), second.find()
    if first is second:
        return
    if first.parts and not second.parts:
        first, second = second, first
    if not first.parts:
        for reason in first.reasons:
            second.freeze(reason)
        first._same = second
        return
    pairs = _aligned(first, second)
    if pairs is None:
        for axis in (first, second):
            axis.freeze("its entries are divided in two ways that do not fit each other")
        return
    for one, other in pairs:
        unify(one, other)
    first, second = first.find(), second.find()
    if first is not second:
        first._same = second


def _aligned(first: Axis, second: Axis) -> list[tuple[Axis, Axis]] | None:
    """Parts of the one beside parts of the other, after both are divided as often as needed."""
    if first.is_product and second.is_product:
        # Each is divided where the other is: twice, because that may divide the first again.
        for one, other in ((first, second), (second, first)):
            if regrouped(other.factors(), [factor.size for factor in one.factors()]) is None:
                return None
        pairs = list(zip(first.factors(), second.factors(), strict=False))
        return pairs if all(one.size == other.size for one, other in pairs) else None
    ends = [
        end
        for axis in (first, second)
        for end in itertools.accumulate(term.size for term in axis.terms())
    ]
    if not (first.cut(ends) and second.cut(ends)):
        return None
    return list(zip(first.terms(), second.terms(), strict=True))
