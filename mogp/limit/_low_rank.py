"""Gaussian regression by finitely many features."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from mogp.limit._evidence import (
    BLOCK,
    Wide,
    inverse_triangle,
    is_wide,
    log_evidence,
    rounding_errors,
    solve,
    tall,
    wide,
)
from mogp.limit._posterior import Features, LeaveOneOut, Prediction, Regression
from mogp.limit._recursion import precise_matmul


class LowRankRegression(Regression):
    """A Gaussian process with finitely many features given observations with noise.

    For `n` points and `N` features, `O(n N p)` time once with the smaller p of the two. With more
    points than features these are taken a block at a time, so that no memory but that of the points
    grows with `n`; only `leave_one_out` holds all of them. Made by `condition`.

    Attributes:
        source: the drawn `Path`, or the network, whose last hidden nodes are the features.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: the standard deviation of their noise.
        weights: posterior mean of the weights, of shape (N, num_outputs).
        solved: `(FFᵀ + noise_scale² I)⁻¹ y` with the features `F`, of shape (n, num_outputs).
        factor: upper triangular `R`, of shape (N, N), with `RᵀR = FᵀF + noise_scale² I`, if there
            are more points than features; else the features and what solves for them.
        error: see `Regression`.
    """

    source: Features
    x: Array
    y: Array
    noise_scale: Array
    weights: Array
    solved: Array
    factor: Array | tuple[Array, Wide]
    error: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        return log_evidence(self.source, self.x, self.y, self.noise_scale)

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        noise, num = self.noise_scale, len(self.weights)
        if isinstance(self.factor, tuple):
            n = len(self.x)
            inverse = self._solve(jnp.zeros((num, n)), jnp.eye(n))[1]
            return self._left_out(self.solved, 1 / jnp.diagonal(inverse))
        features = self.source.design(self.x)
        below = noise * jnp.eye(num, dtype=features.dtype)
        basis = jnp.linalg.qr(jnp.concatenate([features, below]))[0]
        rows, below = basis[:-num], basis[-num:]
        leverage = jnp.sum(rows**2, 1)
        # Where one observation alone decides its own fit, what it leaves is a difference of equal
        # numbers: these rows, fewer than 2 N, from the other rows and the prior of the weights.
        size, top = jax.lax.top_k(leverage, min(len(rows), 2 * num))
        prior = precise_matmul(rows[top], below.T)
        others = precise_matmul(rows[top], rows.T).at[jnp.arange(len(top)), top].set(0)
        rest = (jnp.sum(others**2, 1) + jnp.sum(prior**2, 1)) / size
        slopes = precise_matmul(prior, self.weights) / noise - precise_matmul(others, self.solved)
        decides = size > 0.5
        left = (1 - leverage).at[top].set(jnp.where(decides, rest, 1 - size))
        slopes = jnp.where(decides[:, None], slopes / size[:, None], self.solved[top])
        return self._left_out(self.solved.at[top].set(slopes), noise**2 / left)

    @eqx.filter_jit
    def _predicted(self, x: Array) -> Prediction:
        def variance(features: Array) -> Array:
            if isinstance(self.factor, tuple):
                off, pull = self._solve(features[:, None], jnp.zeros((len(self.x), 1)))
                return jnp.sum(off**2) + self.noise_scale**2 * jnp.sum(pull**2)
            half = solve_triangular(self.factor, features, trans=1)
            return self.noise_scale**2 * jnp.sum(half**2)

        def predict(point: Array) -> Prediction:
            features = self.source.design(point[None])[0]
            return Prediction(precise_matmul(features, self.weights), variance(features))

        return jax.lax.map(predict, x, batch_size=min(BLOCK, len(x)))

    @eqx.filter_jit
    def _drawn(self, x: Array, key: Array, num_samples: int) -> Array:
        num, outputs = self.weights.shape
        shape, dtype = (num_samples * outputs,), x.dtype
        if isinstance(self.factor, tuple):  # the prior, moved to the data with their noise
            by_weight, by_noise = jax.random.split(key)
            prior = jax.random.normal(by_weight, (num, *shape), dtype)
            noise = jax.random.normal(by_noise, (len(self.x), *shape), dtype)
            off = self._solve(prior, self.noise_scale * noise)[0]
        else:
            noise = jax.random.normal(key, (num, *shape), dtype)
            off = self.noise_scale * solve_triangular(self.factor, noise)
        weights = off + jnp.tile(self.weights, (1, num_samples))

        def draw(point: Array) -> Array:
            return precise_matmul(self.source.design(point[None])[0], weights)

        draws = jax.lax.map(draw, x, batch_size=min(BLOCK, len(x)))
        return jnp.moveaxis(draws.reshape(len(x), num_samples, outputs), 0, 1)

    def _solve(self, prior: Array, y: Array) -> tuple[Array, Array]:
        features, given = self.factor
        dtype = features.dtype
        return solve(features, self.noise_scale, given, prior.astype(dtype), y.astype(dtype))


@eqx.filter_jit
def low_rank(source: Features, x: Array, y: Array, noise: Array) -> LowRankRegression:
    """The posterior of a function given observations."""
    if is_wide(source, x):
        features = source.design(x)
        given = wide(features, noise)
        prior = jnp.zeros((features.shape[1], y.shape[1]), x.dtype)
        weights, solved = solve(features, noise, given, prior, y)
        factor = features, given
        diagonal, inverse = jnp.sum(features**2, 1) + noise**2, given.inverse
    else:
        factor, weights, solved = tall(source, x, y, noise)
        diagonal, inverse = jnp.sum(factor**2, 0), inverse_triangle(factor)
    squared = rounding_errors(inverse, diagonal)
    return LowRankRegression(
        source=source,
        x=x,
        y=y,
        noise_scale=noise,
        weights=weights,
        solved=solved,
        factor=factor,
        error=jnp.sqrt(squared * float(np.finfo(x.dtype).eps)),
    )
