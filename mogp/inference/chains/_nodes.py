"""Moves of single nodes of one hidden layer, whose outputs' weights are integrated out.

With node `j` left out, the observations are normal of covariance `A`; with it, of `A + s f fᵀ` for
its values `f` at the inputs and its variance `s`. So all that a move of the node needs are
`fᵀ A⁻¹ f` and `fᵀ A⁻¹ y` (the matrix determinant lemma and the Sherman–Morrison formula).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from mogp.inference.chains._slices import NUM_UNIFORMS, elliptical, slice_along
from mogp.limit.layers import cholesky, precise_matmul

_WIDTH = 6.0  # of the interval for a node's variance: twice what unconstrained numbers spread


class Rest(Protocol):
    """The covariance `A` of the observations without one node, or with all."""

    def without(self, j: Array, values: Array, variance: Array) -> Self:
        """The covariance without node `j` of these values at the inputs."""

    def along(self, values: Array) -> tuple[Array, Array]:
        """`fᵀ A⁻¹ f`, and `fᵀ A⁻¹ y` of each output."""

    def including(self, j: Array, values: Array, variance: Array) -> Self:
        """The covariance with node `j` again."""


class Dense(NamedTuple):
    """`A⁻¹` as a matrix (n, n)."""

    inverse: Array
    y: Array

    @classmethod
    def of(cls, covariance: Array, y: Array) -> Self:
        """Of a covariance (n, n) of all nodes and the noise."""
        eye = jnp.eye(len(covariance), dtype=covariance.dtype)
        return cls(cho_solve((cholesky(covariance), True), eye), y)

    def _changed(self, values: Array, variance: Array) -> Self:
        along = precise_matmul(self.inverse, values)
        factor = variance / (1 + variance * jnp.dot(values, along))
        return self._replace(inverse=self.inverse - factor * jnp.outer(along, along))

    def without(self, j: Array, values: Array, variance: Array) -> Self:  # noqa: ARG002
        """See `Rest`."""
        return self._changed(values, -variance)

    def along(self, values: Array) -> tuple[Array, Array]:
        """See `Rest`."""
        along = precise_matmul(self.inverse, values)
        return jnp.dot(values, along), precise_matmul(self.y.T, along)

    def including(self, j: Array, values: Array, variance: Array) -> Self:  # noqa: ARG002
        """See `Rest`."""
        return self._changed(values, variance)


class LowRank(NamedTuple):
    """`A = F Fᵀ + s² I` with the bias in column 0 of `F` and node `j` in column `1 + j`."""

    features: Array
    gram: Array
    product: Array
    factor: Array
    noise: Array
    y: Array

    @classmethod
    def of(cls, features: Array, noise: Array, y: Array) -> Self:
        """Of features (n, N) of all nodes and the bias."""
        gram = precise_matmul(features.T, features)
        product = precise_matmul(features.T, y)
        return cls(features, gram, product, jnp.zeros_like(gram), noise, y)

    def _with_column(self, j: Array, column: Array) -> Self:
        features = self.features.at[:, 1 + j].set(column)
        row = precise_matmul(features.T, column)
        gram = self.gram.at[1 + j].set(row).at[:, 1 + j].set(row)
        product = self.product.at[1 + j].set(precise_matmul(column, self.y))
        return self._replace(features=features, gram=gram, product=product)

    def without(self, j: Array, values: Array, variance: Array) -> Self:  # noqa: ARG002
        """See `Rest`."""
        left = self._with_column(j, jnp.zeros_like(values))
        square = left.gram + self.noise**2 * jnp.eye(len(left.gram), dtype=values.dtype)
        return left._replace(factor=jnp.linalg.cholesky(square))

    def along(self, values: Array) -> tuple[Array, Array]:
        """See `Rest`."""
        columns = jnp.column_stack([precise_matmul(self.features.T, values), self.product])
        white = solve_triangular(self.factor, columns, lower=True)
        square = jnp.dot(values, values) - jnp.dot(white[:, 0], white[:, 0])
        product = precise_matmul(values, self.y) - precise_matmul(white[:, 0], white[:, 1:])
        return square / self.noise**2, product / self.noise**2

    def including(self, j: Array, values: Array, variance: Array) -> Self:
        """See `Rest`."""
        return self._with_column(j, jnp.sqrt(variance) * values)


class Marks(NamedTuple):
    """What the variances of nodes are made of: unconstrained numbers, one a node.

    Attributes:
        numbers: of the first nodes; the others keep their variances.
        variance: from a number to the variance of the values of its node.
        log_prior: of a number.
    """

    numbers: Array
    variance: Callable[[Array], Array]
    log_prior: Callable[[Array], Array]


def gain(variance: Array, square: Array, product: Array) -> Array:
    """How much the log evidence gains by a node, from what `Rest.along` gives."""
    grown = 1 + variance * square
    return (variance * jnp.sum(product**2) / grown - len(product) * jnp.log(grown)) / 2


def sweep(
    key: Array,
    rest: Any,
    rows: Array,
    variances: Array,
    marks: Marks,
    values_of: Callable[[Array], Array],
) -> tuple[Array, Array, Array, Array]:
    """One move of every node and of its variance, in random order.

    Args:
        key: a random key.
        rest: the covariance of the observations with all nodes, a `Rest`.
        rows: standard normal weights and biases of the nodes, of shape (N, size).
        variances: of the nodes' values, of shape (N,).
        marks: of the first nodes.
        values_of: from a row to the values of its node at the inputs.

    Returns:
        The rows; the numbers of `marks`; how much the log evidence has grown; and how many moves
        were tried.
    """
    num = len(marks.numbers)

    def move(carry: Any, one: tuple[Array, ...]) -> tuple[Any, None]:
        rest, rows, variances, numbers, grown, taken = carry
        j, by_row, other, by_mark = one
        row = rows[j]
        before = values_of(row)
        rest = rest.without(j, before, variances[j])

        def of_row(row: Array) -> Array:
            return gain(variances[j], *rest.along(values_of(row)))

        old = of_row(row)
        row, tried = elliptical(by_row, other, of_row, row, old)
        values = values_of(row)
        along = rest.along(values)

        def marked() -> tuple[Array, Array, Array]:
            number, width = numbers[j], jnp.asarray(_WIDTH, old.dtype)

            def of_mark(t: Array) -> tuple[Array, Array]:
                variance = marks.variance(number + t)
                return gain(variance, *along) + marks.log_prior(number + t), variance

            here = gain(variances[j], *along) + marks.log_prior(number), variances[j]
            moved, (_, variance), tried = slice_along(by_mark, of_mark, here, width)
            return number + moved, variance, tried

        def kept() -> tuple[Array, Array, Array]:
            return numbers[j], variances[j], jnp.zeros((), tried.dtype)

        variance = variances[j]
        if num > 0:
            number, variance, more = jax.lax.cond(j < num, marked, kept)
            numbers, tried = numbers.at[jnp.where(j < num, j, num)].set(number), tried + more
        grown += gain(variance, *along) - old
        rest = rest.including(j, values, variance)
        new = rows.at[j].set(row), variances.at[j].set(variance), numbers
        return (rest, *new, grown, taken + tried), None

    by_order, by_move, by_row = jax.random.split(key, 3)
    order = jax.random.permutation(by_order, len(rows))
    uniforms = jax.random.uniform(by_move, (2, len(rows), NUM_UNIFORMS), rows.dtype)
    others = jax.random.normal(by_row, rows.shape, rows.dtype)
    start = rest, rows, variances, marks.numbers, jnp.zeros((), rows.dtype), jnp.zeros((), int)
    each = order, uniforms[0], others, uniforms[1]
    (_, rows, _, numbers, grown, taken), _ = jax.lax.scan(move, start, each)
    return rows, numbers, grown, taken
