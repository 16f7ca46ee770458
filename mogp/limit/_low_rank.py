"""Gaussian regression by finitely many features, a block of points at a time."""

import math
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from mogp._arrays import sum_over_rows
from mogp.limit._linalg import definite_cholesky, inverse
from mogp.limit._posterior import Features, LeaveOneOut, Prediction, Regression
from mogp.limit._recursion import precise_matmul

_BLOCK = 4096  # rows of features that are held at once


class LowRankRegression(Regression):
    """A Gaussian process with finitely many features given observations with noise.

    Features are taken a block of points at a time: `O(n N²)` time once for `N` of them, and no
    memory but that of the points grows with `n`; `O(N²)` a new point. Made by `condition`.

    Attributes:
        source: the drawn `Path`, or the network, whose last hidden nodes are the features.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: the standard deviation of their noise.
        gram: `FᵀF` with the features `F`, of shape (N, N).
        product: `Fᵀy`, of shape (N, num_outputs).
        factor: lower factor of `noise_scale² I + FᵀF`, of shape (N, N).
        weights: posterior mean of the weights, of shape (N, num_outputs).
    """

    source: Features
    x: Array
    y: Array
    noise_scale: Array
    gram: Array
    product: Array
    factor: Array
    weights: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        # From the residuals, so that nothing cancels.
        def squares(x: Array, y: Array) -> Array:
            return jnp.sum((y - precise_matmul(self.source.design(x), self.weights)) ** 2)

        left = sum_over_rows(squares, self.x, self.y, block=_BLOCK)
        sums = _Sums(jnp.sum(self.y**2), self.gram, self.product, self.noise_scale**2)
        return _evidence(len(self.x), sums, self.factor, self.weights, left)

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation predicted from the others, without refitting.

        An observation that alone decides its own fit loses digits: its relative error is that of
        rounding times the variance of the noise over that left to the weights.
        """
        fitted, noise = self._predicted(self.x), self.noise_scale**2
        left = 1 - fitted.variance / noise  # 1 minus the leverage
        return self._left_out((self.y - fitted.mean) / noise, noise / left)

    @eqx.filter_jit
    def _predicted(self, x: Array) -> Prediction:
        def predict(point: Array) -> Prediction:
            features = self.source.design(point[None])[0]
            half = solve_triangular(self.factor, features, lower=True)
            variance = self.noise_scale**2 * jnp.sum(half**2)
            return Prediction(precise_matmul(features, self.weights), variance)

        return jax.lax.map(predict, x, batch_size=min(_BLOCK, len(x)))

    @eqx.filter_jit
    def _drawn(self, x: Array, key: Array, num_samples: int) -> Array:
        rank, outputs = self.weights.shape
        noise = jax.random.normal(key, (rank, num_samples * outputs), x.dtype)
        off = solve_triangular(self.factor, noise, lower=True, trans=1)
        weights = self.noise_scale * off + jnp.tile(self.weights, (1, num_samples))

        def draw(point: Array) -> Array:
            return precise_matmul(self.source.design(point[None])[0], weights)

        draws = jax.lax.map(draw, x, batch_size=min(_BLOCK, len(x)))
        return jnp.moveaxis(draws.reshape(len(x), num_samples, outputs), 0, 1)


@eqx.filter_jit
def low_rank(source: Features, x: Array, y: Array, noise: Array) -> LowRankRegression:
    """The posterior of a function given observations."""

    def statistics(x: Array, y: Array) -> tuple[Array, Array]:
        features = source.design(x)
        return _gram(features), precise_matmul(features.T, y)

    gram, product = sum_over_rows(statistics, x, y, block=_BLOCK)
    factor = definite_cholesky(gram + noise**2 * jnp.eye(len(gram), dtype=x.dtype))
    return LowRankRegression(
        source=source,
        x=x,
        y=y,
        noise_scale=noise,
        gram=gram,
        product=product,
        factor=factor,
        weights=cho_solve((factor, True), product),
    )


@jax.custom_jvp
def _gram(features: Array) -> Array:
    """`FᵀF`, with one matrix product in its gradient, not two."""
    return precise_matmul(features.T, features)


@_gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    half = precise_matmul(primals[0].T, tangents[0])
    return _gram(*primals), half + half.T


class _Sums(NamedTuple):
    """All that the evidence depends on, for a number of observations."""

    squares: Array
    gram: Array
    product: Array
    noise: Array


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _evidence(n: int, sums: _Sums, factor: Array, weights: Array, left: Array) -> Array:
    """`log p(y)` of `n` observations, whose residuals have the sum of squares `left`.

    At the posterior mean of the weights, `|y - F w|² / noise + |w|²` is least: its derivatives are
    those with the weights held. The other arguments matter to derivatives of higher order only.
    """
    outputs, rank = weights.shape[1], len(factor)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + (n - rank) * jnp.log(sums.noise)
    constant = n * outputs * math.log(2 * math.pi)
    quadratic = left / sums.noise + jnp.sum(weights**2)
    return -(quadratic + outputs * log_det + constant) / 2


@_evidence.defjvp
def _evidence_jvp(
    n: int, primals: tuple[_Sums, Array, Array, Array], tangents: tuple[_Sums, Array, Array, Array]
) -> tuple[Array, Array]:
    (sums, factor, weights, left), change = primals, tangents[0]
    outputs, rank, solved = weights.shape[1], len(factor), inverse(factor)
    outer = precise_matmul(weights, weights.T)
    by_noise = outputs * (jnp.trace(solved) + (n - rank) / sums.noise) - left / sums.noise**2
    slope = (
        change.squares / sums.noise
        + jnp.sum((outer / sums.noise + outputs * solved) * change.gram)
        - 2 * jnp.sum(weights * change.product) / sums.noise
        + by_noise * change.noise
    )
    return _evidence(n, *primals), -slope / 2
