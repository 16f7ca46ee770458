"""The evidence of one hidden layer in two steps: what its nodes see, and how much each counts."""

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from mogp._arrays import scale_row
from mogp.architecture import AbstractArchitecture
from mogp.limit.layers import Pair, definite_cholesky, log_evidence, log_normal, precise_matmul


class Shares(NamedTuple):
    """How much each node counts, and the noise.

    Attributes:
        scales: of the columns of `Seen`: the standard deviations of the bias of the outputs, and of
            the weights behind the nodes.
        mass: the variance of the weights behind all the nodes that have a closed form, together.
        noise: the standard deviation of the noise.
    """

    scales: Array
    mass: Array
    noise: Array


class Seen(NamedTuple):
    """What nodes make of the inputs.

    Attributes:
        columns: ones, and the values of the nodes, of shape (n, 1 + N).
        y: the observations, of shape (n, k).
        diffuse: `E φ φ'` of nodes that have a closed form, of shape (n, n); None if there are none.
        left: the sum of squares of observations that no weights reach, left out of the rows.
        dropped: how many rows were left out.
    """

    columns: Array
    y: Array
    diffuse: Array | None
    left: Array
    dropped: int = 0

    @classmethod
    def of(
        cls, model: AbstractArchitecture, points: Array, rows: Array, y: Array, *, closed: bool
    ) -> "Seen":
        """What nodes make of the inputs.

        Args:
            model: has the activation.
            points: the inputs as standard normal weights of a node meet them, of shape (n, size).
            rows: weights of nodes, of shape (N, size).
            y: observations.
            closed: whether other nodes have a closed form.
        """
        values = model.activation(precise_matmul(points, rows.T))
        ones = jnp.ones((len(points), 1), values.dtype)
        diffuse = None
        if closed:
            sizes = jnp.sum(points**2, 1)
            pair = Pair(sizes, precise_matmul(points, points.T), sizes)
            diffuse = pair.through(model.activation.kernel)
        return cls(jnp.concatenate([ones, values], 1), y, diffuse, jnp.zeros((), y.dtype))

    def turned(self) -> "Seen":
        """The same evidence from no more rows than columns, whatever the shares."""
        n, size = self.columns.shape
        if self.diffuse is not None or n <= size:
            return self
        triangle = jnp.linalg.qr(jnp.concatenate([self.columns, self.y], 1), mode="r")
        left = jnp.sum(triangle[size:, size:] ** 2)
        columns, y = triangle[:size, :size], triangle[:size, size:]
        return Seen(columns, y, None, left, n - size)

    def features(self, shares: Shares) -> Array:
        """What standard normal weights multiply, of shape (n, 1 + N)."""
        return scale_row(self.columns, shares.scales)

    def covariance(self, shares: Shares) -> Array:
        """Of the observations, of shape (n, n), with nodes that have a closed form."""
        features = self.features(shares)
        noise = shares.noise**2 * jnp.eye(len(features), dtype=features.dtype)
        covariance: Array = precise_matmul(features, features.T) + noise
        if self.diffuse is not None:
            covariance += shares.mass * self.diffuse
        return covariance

    def log_evidence(self, shares: Shares) -> Array:
        """The logarithm of the density of the observations, to the last digits there are."""
        if self.diffuse is not None:
            covariance = self.covariance(shares)
            return log_normal(self.y, covariance, definite_cholesky(covariance))
        value = log_evidence(
            _Design(len(shares.scales)), self.features(shares), self.y, shares.noise
        )
        return value + self._of_dropped(shares.noise)

    def quick_evidence(self, shares: Shares) -> Array:
        """`log_evidence` from one factor of the smaller matrix, which the noise must keep definite.

        Errors are those of rounding times the condition number of that matrix.
        """
        if self.diffuse is not None:
            factor = jnp.linalg.cholesky(self.covariance(shares), symmetrize_input=False)
            white = solve_triangular(factor, self.y, lower=True)
            log_det, quadratic = 2 * jnp.sum(jnp.log(jnp.diagonal(factor))), jnp.sum(white**2)
        else:
            features, noise = self.features(shares), shares.noise
            n, size = features.shape
            square = precise_matmul(features.T, features) + noise**2 * jnp.eye(
                size, dtype=noise.dtype
            )
            factor = jnp.linalg.cholesky(square, symmetrize_input=False)
            weights = cho_solve((factor, True), precise_matmul(features.T, self.y))
            # Least at the weights, so that their error counts by its square.
            left = self.y - precise_matmul(features, weights)
            quadratic = jnp.sum(left**2) / noise**2 + jnp.sum(weights**2)
            log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + 2 * (n - size) * jnp.log(noise)
        constant = self.y.size * math.log(2 * math.pi)
        value = -(quadratic + self.y.shape[1] * log_det + constant) / 2
        return value + self._of_dropped(shares.noise)

    def _of_dropped(self, noise: Array) -> Array:
        """What the rows that were left out add."""
        alone = self.dropped * self.y.shape[1] * jnp.log(2 * math.pi * noise**2)
        return -(self.left / noise**2 + alone) / 2


class _Design(eqx.Module):
    """Points are features already."""

    in_size: int

    def design(self, x: Array) -> Array:
        return x
