"""Gaussian regression given a kernel: the GP regime, or one draw of the mixture."""

import math
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import Real
from mogp._checks import check_between, check_choice, check_count, check_inputs, is_concrete
from mogp.limit._gaussian import check_regime, gp_kernel, gp_pair
from mogp.limit._linalg import cholesky
from mogp.limit._path import Path
from mogp.limit._recursion import input_pair, precise_matmul

if TYPE_CHECKING:
    from mogp.architecture import MoGP

_BLOCK = 4096  # rows of features that are held at once


class Prediction(NamedTuple):
    """A Gaussian prediction at points.

    Attributes:
        mean: of shape (n, num_outputs).
        variance: of the function at each point, of shape (n,); the same for all outputs.
    """

    mean: Array
    variance: Array


class LeaveOneOut(NamedTuple):
    """Predictions of every observation from the others (Rasmussen and Williams, Eqs. 5.10-5.12).

    Attributes:
        mean: of shape (n, num_outputs).
        variance: of an observation, of shape (n,).
        log_density: `log p(y_i | y_-i)`, of shape (n, num_outputs).
    """

    mean: Array
    variance: Array
    log_density: Array


class DenseRegression(eqx.Module):
    """A Gaussian process given observations with noise, by the factor of the kernel matrix.

    `O(n³)` once and `O(n²)` memory; `O(n²)` a new point.

    Attributes:
        source: the model, or the drawn `Path`.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: their standard deviation.
        factor: lower factor of `K + noise_scale² I`.
        solved: `(K + noise_scale² I)⁻¹ y`.
    """

    source: "MoGP | Path"
    x: Array
    y: Array
    noise_scale: Array
    factor: Array
    solved: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        """`log p(y)` given kernel and noise."""
        return _log_normal(
            jnp.sum(self.y * self.solved),
            2 * jnp.sum(jnp.log(jnp.diagonal(self.factor))),
            self.y.shape,
        )

    def predict(self, x: Array) -> Prediction:
        """The function at new points, of shape (m, d)."""
        check_inputs("x", x, self.x.shape[1])
        return _dense_prediction(self, x)

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation from the others."""
        half = jax.scipy.linalg.solve_triangular(
            self.factor, jnp.eye(len(self.x), dtype=self.x.dtype), lower=True
        )
        return _leave_one_out(self.y, self.solved, 1 / jnp.sum(half**2, 0))

    def sample(self, x: Array, *, key: Array, num_samples: int = 1) -> Array:
        """Draws of the function, of shape (num_samples, m, num_outputs)."""
        check_inputs("x", x, self.x.shape[1])
        return _dense_draws(self, x, key, check_count("num_samples", num_samples))


class LowRankRegression(eqx.Module):
    """A Gaussian process with finitely many features given observations with noise.

    The weights of the features are Gaussian: `O(n N²)` once for `N` features, with blocks of points
    so that no memory but that of the points grows with `n`; `O(N²)` a new point.

    Attributes:
        path: the drawn function, whose hidden nodes are the features.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: their standard deviation.
        factor: lower factor of `noise_scale² I + FᵀF` with the features `F`, of shape (N, N).
        weights: posterior mean of the weights, of shape (N, num_outputs).
    """

    path: Path
    x: Array
    y: Array
    noise_scale: Array
    factor: Array
    weights: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        """`log p(y)` given features and noise, from residuals: nothing cancels."""
        squares = _sum_over_blocks(
            lambda x, y: jnp.sum((y - _design(self.path, x) @ self.weights) ** 2), self.x, self.y
        )
        noise = self.noise_scale**2
        n, width = len(self.y), len(self.factor)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(self.factor))) + (n - width) * jnp.log(noise)
        return _log_normal(squares / noise + jnp.sum(self.weights**2), log_det, self.y.shape)

    def predict(self, x: Array) -> Prediction:
        """The function at new points, of shape (m, d)."""
        check_inputs("x", x, self.x.shape[1])
        return _low_rank_prediction(self, x)

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation from the others."""
        fitted = _low_rank_prediction(self, self.x)
        left = 1 - fitted.variance / self.noise_scale**2  # 1 minus the leverage
        return _leave_one_out(
            self.y, (self.y - fitted.mean) / self.noise_scale**2, self.noise_scale**2 / left
        )

    def sample(self, x: Array, *, key: Array, num_samples: int = 1) -> Array:
        """Draws of the function, of shape (num_samples, m, num_outputs)."""
        check_inputs("x", x, self.x.shape[1])
        return _low_rank_draws(self, x, key, check_count("num_samples", num_samples))


def condition(
    model: "MoGP",
    x: Array,
    y: Array,
    *,
    noise_scale: Real,
    path: Path | None = None,
    method: str = "dense",
) -> DenseRegression | LowRankRegression:
    """The posterior of the function given observations `y = f(x) + noise_scale ε`.

    In the GP regime, or given one draw of the mixture: its jumps and nodes stay, the weights behind
    the last hidden layer are integrated out. The mixture's posterior is a mixture of these,
    weighted by `exp(log_marginal_likelihood())`.

    Args:
        model: the model.
        x: points, of shape (n, d).
        y: observations, of shape (n,), or (n, num_outputs) with a shared kernel.
        noise_scale: standard deviation of the noise, positive.
        path: a draw of `model.sample_path`; unnecessary in the GP regime.
        method: `"dense"`, with the kernel of the draw; or `"low_rank"`, with the hidden nodes of
            the path, the extra ones for the diffuse part among them: the same if there is none.

    Raises:
        ValueError: if an argument is out of range or does not fit, rows of `x` or `y` are not
            finite (which is said), or a draw is needed and missing.
    """
    check_choice("method", method, ("dense", "low_rank"))
    check_inputs("x", x, None if path is None else path.in_size)
    y = jnp.asarray(y, x.dtype)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != len(x):
        raise ValueError(f"y must have shape ({len(x)},) or ({len(x)}, outputs), got {y.shape}")
    if is_concrete(y):
        bad = np.flatnonzero(~np.isfinite(np.asarray(y)).all(1))
        if len(bad):
            raise ValueError(f"y must be finite, got NaN or infinity in rows {bad[:10].tolist()}")
    check_between("noise_scale", noise_scale, 0)
    noise = jnp.asarray(noise_scale, x.dtype)
    if method == "low_rank":
        if path is None:
            raise ValueError("path must be given for method 'low_rank'")
        return _low_rank(path, x, y, noise)
    if path is None:
        check_regime(model)
    return _dense(model if path is None else path, x, y, noise)


# --- dense --------------------------------------------------------------------------------------


@eqx.filter_jit
def _dense(source: "MoGP | Path", x: Array, y: Array, noise: Array) -> DenseRegression:
    kernel = source.kernel(x) if isinstance(source, Path) else gp_kernel(source, x)
    factor = jnp.linalg.cholesky(kernel + noise**2 * jnp.eye(len(x), dtype=x.dtype))
    solved = jax.scipy.linalg.cho_solve((factor, True), y)
    return DenseRegression(source, x, y, noise, factor, solved)


def _cross(source: "MoGP | Path", x: Array, y: Array) -> tuple[Array, Array]:
    """The kernel on points x and y, and the variances at x."""
    if isinstance(source, Path):
        return source.kernel(x, y), source.variance(x)
    pair = gp_pair(source, input_pair(source, x, y))
    return pair.xy, pair.xx


@eqx.filter_jit
def _dense_prediction(given: DenseRegression, x: Array) -> Prediction:
    cross, variance = _cross(given.source, x, given.x)
    half = jax.scipy.linalg.solve_triangular(given.factor, cross.T, lower=True)
    left = jnp.maximum(variance - jnp.sum(half**2, 0), 0)
    return Prediction(precise_matmul(cross, given.solved), left)


@eqx.filter_jit
def _dense_draws(given: DenseRegression, x: Array, key: Array, num_samples: int) -> Array:
    cross, _ = _cross(given.source, x, given.x)
    own, _ = _cross(given.source, x, x)
    half = jax.scipy.linalg.solve_triangular(given.factor, cross.T, lower=True)
    factor = cholesky(own - precise_matmul(half.T, half))
    noise = jax.random.normal(key, (num_samples, len(x), given.y.shape[1]), x.dtype)
    mean = precise_matmul(cross, given.solved)
    return mean[None] + jnp.einsum("ij,sjk->sik", factor, noise)


# --- low rank -----------------------------------------------------------------------------------


def _design(path: Path, x: Array) -> Array:
    """Features with `F Fᵀ` the kernel of a path as a network: those behind the last scales."""
    weight_scale, bias_scale = path.model.scales[-1]
    bias = jnp.full((len(x), 1), bias_scale, x.dtype)
    return jnp.concatenate([bias, weight_scale * path.features(x)], 1)


def _sum_over_blocks(f, *arrays: Array):
    """The sum of a function of blocks of rows."""
    n = len(arrays[0])
    whole = n // _BLOCK * _BLOCK
    total = None
    if whole:
        blocks = [a[:whole].reshape(-1, _BLOCK, *a.shape[1:]) for a in arrays]
        shapes = jax.eval_shape(f, *(b[0] for b in blocks))
        start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total, _ = jax.lax.scan(
            lambda c, b: (jax.tree.map(jnp.add, c, f(*b)), None), start, tuple(blocks)
        )
    if whole < n:
        rest = f(*(a[whole:] for a in arrays))
        total = rest if total is None else jax.tree.map(jnp.add, total, rest)
    return total


@eqx.filter_jit
def _low_rank(path: Path, x: Array, y: Array, noise: Array) -> LowRankRegression:
    def statistics(x: Array, y: Array) -> tuple[Array, Array]:
        features = _design(path, x)
        return precise_matmul(features.T, features), precise_matmul(features.T, y)

    square, product = _sum_over_blocks(statistics, x, y)
    factor = jnp.linalg.cholesky(square + noise**2 * jnp.eye(len(square), dtype=x.dtype))
    weights = jax.scipy.linalg.cho_solve((factor, True), product)
    return LowRankRegression(path, x, y, noise, factor, weights)


@eqx.filter_jit
def _low_rank_prediction(given: LowRankRegression, x: Array) -> Prediction:
    features = _design(given.path, x)
    half = jax.scipy.linalg.solve_triangular(given.factor, features.T, lower=True)
    variance = given.noise_scale**2 * jnp.sum(half**2, 0)
    return Prediction(precise_matmul(features, given.weights), variance)


@eqx.filter_jit
def _low_rank_draws(given: LowRankRegression, x: Array, key: Array, num_samples: int) -> Array:
    features = _design(given.path, x)
    noise = jax.random.normal(key, (len(given.factor), num_samples * given.y.shape[1]), x.dtype)
    off = jax.scipy.linalg.solve_triangular(given.factor, noise, lower=True, trans=1)
    off = (given.noise_scale * off).reshape(len(given.factor), num_samples, -1)
    return jnp.einsum("if,fsk->sik", features, given.weights[:, None] + off)


# --- shared -------------------------------------------------------------------------------------


def _log_normal(quadratic: Array, log_det: Array, shape: tuple[int, int]) -> Array:
    n, outputs = shape
    return -(quadratic + outputs * log_det + n * outputs * math.log(2 * math.pi)) / 2


def _leave_one_out(y: Array, solved: Array, variance: Array) -> LeaveOneOut:
    off = solved * variance[:, None]
    log_scale = jnp.log(2 * math.pi * variance)[:, None]
    return LeaveOneOut(y - off, variance, -(solved * off + log_scale) / 2)
