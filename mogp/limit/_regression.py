"""Gaussian regression given a kernel: the GP regime, or one draw of the mixture, or a network."""

import math
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from mogp._arrays import Real, sum_over_rows
from mogp._checks import (
    check_between,
    check_choice,
    check_count,
    check_inputs,
    check_memory,
    check_outputs,
)
from mogp.architecture import AbstractArchitecture
from mogp.limit._gaussian import check_regime, gp_kernel, gp_pair
from mogp.limit._linalg import cholesky, definite_cholesky, inverse, log_normal
from mogp.limit._path import Path, pair_of
from mogp.limit._recursion import Pair, input_pair, precise_matmul

_BLOCK = 4096  # rows of features that are held at once


@runtime_checkable
class Features(Protocol):
    """A function that is linear in its last weights: a drawn `Path`, or an `nn.DependentMLP`."""

    @property
    def in_size(self) -> int:
        """Size of a point."""

    def design(self, x: Array) -> Array:
        """`F` of shape (n, N): with standard normal `w` of shape (N,), an output is `F w`."""


class Prediction(NamedTuple):
    """A Gaussian prediction of the function at points, noise left out.

    Attributes:
        mean: of shape (n, num_outputs).
        variance: at each point, of shape (n,); the same for all outputs.
    """

    mean: Array
    variance: Array


class LeaveOneOut(NamedTuple):
    """Predictions of every observation from the others (Rasmussen and Williams, Eqs. 5.10-5.12).

    Attributes:
        mean: of shape (n, num_outputs).
        variance: of an observation, noise included, of shape (n,).
        log_density: `log p(y_i | y_-i)`, of shape (n, num_outputs).
    """

    mean: Array
    variance: Array
    log_density: Array


class DenseRegression(eqx.Module):
    """A Gaussian process given observations with noise, by the factor of the kernel matrix.

    `O(n³)` time once and `O(n²)` memory; `O(n²)` a new point. Made by `condition`.

    Attributes:
        source: the model, the drawn `Path`, or the network.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: standard deviation of their noise.
        factor: lower factor of `K + noise_scale² I`, of shape (n, n).
        solved: `(K + noise_scale² I)⁻¹ y`, of shape (n, num_outputs).
    """

    source: AbstractArchitecture | Features
    x: Array
    y: Array
    noise_scale: Array
    factor: Array
    solved: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        """`log p(y)` given kernel and noise, a scalar: the sum over outputs.

        The gradient has a closed form, which takes the inverse of the matrix and no derivative of
        its factor. Equivalent to `scipy.stats.multivariate_normal.logpdf`.
        """
        return log_normal(self.y, _covariance(self.source, self.x, self.noise_scale), self.factor)

    def predict(self, x: Array) -> Prediction:
        """The function at new points, of shape (m, d)."""
        return _dense_prediction(self, _new_points(self, x))

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation from the others, without refitting."""
        return _leave_one_out(self.y, self.solved, 1 / jnp.diagonal(inverse(self.factor)))

    def sample(self, x: Array, *, key: Array, num_samples: int = 1) -> Array:
        """Draws of the function at new points, of shape (num_samples, m, num_outputs)."""
        return _dense_draws(
            self, _new_points(self, x), key, check_count("num_samples", num_samples)
        )


class LowRankRegression(eqx.Module):
    """A Gaussian process with finitely many features given observations with noise.

    Features are taken a block of points at a time: `O(n N²)` time once for `N` of them, and no
    memory but that of the points grows with `n`; `O(N²)` a new point. Made by `condition`.

    Attributes:
        source: the drawn `Path`, or the network, whose last hidden nodes are the features.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: standard deviation of their noise.
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
        """`log p(y)` given features and noise, a scalar: the sum over outputs.

        From the residuals, so that nothing cancels; the gradient has a closed form. Equivalent to
        `scipy.stats.multivariate_normal.logpdf` with the covariance `F Fᵀ + noise_scale² I`.
        """

        def squares(x: Array, y: Array) -> Array:
            return jnp.sum((y - precise_matmul(self.source.design(x), self.weights)) ** 2)

        left = sum_over_rows(squares, self.x, self.y, block=_BLOCK)
        sums = _Sums(jnp.sum(self.y**2), self.gram, self.product, self.noise_scale**2)
        return _evidence(len(self.x), sums, self.factor, self.weights, left)

    def predict(self, x: Array) -> Prediction:
        """The function at new points, of shape (m, d)."""
        return _low_rank_prediction(self, _new_points(self, x))

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation from the others, without refitting.

        An observation that alone decides its own fit loses digits: its relative error is that of
        rounding times the variance of the noise over that left to the weights.
        """
        fitted, noise = _low_rank_prediction(self, self.x), self.noise_scale**2
        left = 1 - fitted.variance / noise  # 1 minus the leverage
        return _leave_one_out(self.y, (self.y - fitted.mean) / noise, noise / left)

    def sample(self, x: Array, *, key: Array, num_samples: int = 1) -> Array:
        """Draws of the function at new points, of shape (num_samples, m, num_outputs)."""
        return _low_rank_draws(
            self, _new_points(self, x), key, check_count("num_samples", num_samples)
        )


Regression = DenseRegression | LowRankRegression


def condition(
    source: AbstractArchitecture | Features,
    x: Array,
    y: Array,
    *,
    path: Path | None = None,
    noise_scale: Real,
    method: str = "dense",
) -> Regression:
    """The posterior of a function given observations `y = f(x) + noise_scale ε`.

    The weights behind the last hidden layer are integrated out. What is before them is given: in
    the GP regime there is nothing to give, a draw of the mixture has its jumps and nodes, a network
    its weights. The mixture's posterior is a mixture of these over draws of the prior, weighted by
    `exp(log_marginal_likelihood())` ([AFT]).

    Args:
        source: a model in the GP regime, a draw of `model.sample_path`, or an `nn.DependentMLP`.
        path: a draw of `model.sample_path`, which takes the place of a model with jumps.
        x: points, of shape (n, d).
        y: observations, of shape (n,), or (n, num_outputs), all with the same kernel.
        noise_scale: standard deviation of the noise, positive.
        method: `"dense"` factors the kernel matrix of the points. `"low_rank"` takes the hidden
            nodes for features, and needs a path or a network; a path whose diffuse part is not 0
            has a kernel of its own, to which its extra nodes are an approximation.

    Returns:
        The posterior. In single precision, noise that is lost in the rounding of the kernel is
        raised to about it, rather than giving NaN.

    Raises:
        ValueError: if an argument is out of range or does not fit, rows of `x` or `y` are not
            finite (they are listed), the model has jumps and no draw is given, or the kernel matrix
            is larger than the memory (before it is allocated).

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, limit, priors
        >>> x = jnp.linspace(-1.0, 1.0, 9)[:, None]
        >>> model = MoGP([priors.Deterministic()], bias_scale=1.0)
        >>> posterior = limit.condition(model, x, x[:, 0] ** 2, noise_scale=0.1)
        >>> posterior.predict(jnp.zeros((4, 1))).mean.shape
        (4, 1)
    """
    check_choice("method", method, ("dense", "low_rank"))
    source = source if path is None else path
    check_inputs("x", x, source.in_size if isinstance(source, Features) else None)
    check_between("noise_scale", noise_scale, 0)
    if jnp.ndim(noise_scale) != 0:
        raise ValueError(f"noise_scale must be one number, got shape {jnp.shape(noise_scale)}")
    parameters = [leaf for leaf in jax.tree.leaves(source) if eqx.is_inexact_array(leaf)]
    dtype = jnp.result_type(x, *parameters)
    y = check_outputs("y", y, len(x), dtype)
    x, noise = jnp.asarray(x, dtype), jnp.asarray(noise_scale, dtype)
    if method == "low_rank":
        if not isinstance(source, Features):
            raise ValueError(
                "source must have finitely many nodes for method 'low_rank', a draw of sample_path "
                f"or a network, got {type(source).__name__}"
            )
        return _low_rank(source, x, y, noise)
    if isinstance(source, AbstractArchitecture):
        check_regime(
            source,
            "condition on a draw with path=model.sample_path(…), or sample the "
            "posterior with inference.nuts",
        )
    check_memory(
        f"the kernel matrix of {len(x)} points, with its factor,",
        2 * len(x) ** 2 * dtype.itemsize,
        'method="low_rank" and a draw of sample_path',
    )
    return _dense(source, x, y, noise)


def _new_points(given: Regression, x: Array) -> Array:
    check_inputs("x", x, given.x.shape[1])
    return jnp.asarray(x, given.x.dtype)


# --- dense --------------------------------------------------------------------------------------


def _pair(source: AbstractArchitecture | Features, x: Array, y: Array) -> Pair:
    """The kernel on points x and y."""
    if isinstance(source, Path):
        return pair_of(source, x, y)
    if isinstance(source, Features):
        left, right = source.design(x), source.design(y)
        product = precise_matmul(left, right.T)
        return Pair(jnp.sum(left**2, 1), product, jnp.sum(right**2, 1))
    return gp_pair(source, input_pair(source, x, y))


def _covariance(source: AbstractArchitecture | Features, x: Array, noise: Array) -> Array:
    kernel = _pair(source, x, x).xy if isinstance(source, Features) else gp_kernel(source, x)
    return kernel + noise**2 * jnp.eye(len(x), dtype=x.dtype)


@eqx.filter_jit
def _dense(
    source: AbstractArchitecture | Features, x: Array, y: Array, noise: Array
) -> DenseRegression:
    factor = definite_cholesky(_covariance(source, x, noise))
    return DenseRegression(source, x, y, noise, factor, cho_solve((factor, True), y))


@eqx.filter_jit
def _dense_prediction(given: DenseRegression, x: Array) -> Prediction:
    pair = _pair(given.source, x, given.x)
    half = solve_triangular(given.factor, pair.xy.T, lower=True)
    variance = jnp.maximum(pair.xx - jnp.sum(half**2, 0), 0)
    return Prediction(precise_matmul(pair.xy, given.solved), variance)


@eqx.filter_jit
def _dense_draws(given: DenseRegression, x: Array, key: Array, num_samples: int) -> Array:
    cross = _pair(given.source, x, given.x).xy
    half = solve_triangular(given.factor, cross.T, lower=True)
    factor = cholesky(_pair(given.source, x, x).xy - precise_matmul(half.T, half))
    noise = jax.random.normal(key, (num_samples, len(x), given.y.shape[1]), x.dtype)
    draws = jnp.einsum("ij,sjk->sik", factor, noise)
    return draws + jnp.broadcast_to(precise_matmul(cross, given.solved), draws.shape)


# --- low rank -----------------------------------------------------------------------------------


@jax.custom_jvp
def _gram(features: Array) -> Array:
    """`FᵀF`, with one matrix product in its gradient, not two."""
    return precise_matmul(features.T, features)


@_gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    half = precise_matmul(primals[0].T, tangents[0])
    return _gram(*primals), half + half.T


@eqx.filter_jit
def _low_rank(source: Features, x: Array, y: Array, noise: Array) -> LowRankRegression:
    def statistics(x: Array, y: Array) -> tuple[Array, Array]:
        features = source.design(x)
        return _gram(features), precise_matmul(features.T, y)

    gram, product = sum_over_rows(statistics, x, y, block=_BLOCK)
    factor = definite_cholesky(gram + noise**2 * jnp.eye(len(gram), dtype=x.dtype))
    weights = cho_solve((factor, True), product)
    return LowRankRegression(source, x, y, noise, gram, product, factor, weights)


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


@eqx.filter_jit
def _low_rank_prediction(given: LowRankRegression, x: Array) -> Prediction:
    def predict(point: Array) -> Prediction:
        features = given.source.design(point[None])[0]
        half = solve_triangular(given.factor, features, lower=True)
        variance = given.noise_scale**2 * jnp.sum(half**2)
        return Prediction(precise_matmul(features, given.weights), variance)

    return jax.lax.map(predict, x, batch_size=min(_BLOCK, len(x)))


@eqx.filter_jit
def _low_rank_draws(given: LowRankRegression, x: Array, key: Array, num_samples: int) -> Array:
    rank, outputs = given.weights.shape
    noise = jax.random.normal(key, (rank, num_samples * outputs), x.dtype)
    off = solve_triangular(given.factor, noise, lower=True, trans=1)
    weights = given.noise_scale * off + jnp.tile(given.weights, (1, num_samples))

    def draw(point: Array) -> Array:
        return precise_matmul(given.source.design(point[None])[0], weights)

    draws = jax.lax.map(draw, x, batch_size=min(_BLOCK, len(x)))
    return jnp.moveaxis(draws.reshape(len(x), num_samples, outputs), 0, 1)


# --- shared -------------------------------------------------------------------------------------


def _leave_one_out(y: Array, solved: Array, variance: Array) -> LeaveOneOut:
    off = solved * variance[:, None]
    log_scale = jnp.log(2 * math.pi * variance)[:, None]
    return LeaveOneOut(y - off, variance, -(solved * off + log_scale) / 2)
