"""Factors of kernel matrices, with the one jitter of the library, and Gaussian densities."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from mogp._arrays import safe_sqrt
from mogp.limit._recursion import precise_matmul

_MOST = 1e-2  # beyond, the matrix is no kernel: the factor is NaN
_SMALL = 16  # matrices that are inverted in one step, or an eighth of the whole if that is larger


def cholesky(kernel: Array) -> Array:
    """Lower factor of a kernel matrix of shape (n, n), which may be singular.

    Every entry of the diagonal grows by `8 √n` units of rounding, about the error that a kernel
    matrix has from rounding, and by 8 times as much again as long as the factor does not exist.
    """
    return _relative_factor(kernel, rounding(kernel))


def definite_cholesky(covariance: Array) -> Array:
    """Lower factor of a matrix (n, n) that is no kernel alone, but a kernel with noise.

    As `cholesky`, but nothing is added unless the noise is lost in rounding.
    """
    return _relative_factor(covariance, 0.0)


def rounding(matrix: Array) -> float:
    """The relative error of the entries of a kernel matrix, about."""
    return 8 * math.sqrt(len(matrix)) * float(np.finfo(matrix.dtype).eps)


def _relative_factor(kernel: Array, jitter: float) -> Array:
    root = safe_sqrt(jnp.diagonal(kernel))
    scale = jnp.where(root > 0, root, 1)
    return root[:, None] * _factor(kernel / (scale[:, None] * scale[None, :]), jitter)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _factor(correlation: Array, jitter: float) -> Array:
    """Lower factor of a matrix, with the least that works of the jitters from the given one on."""

    def attempt(jitter: Array) -> tuple[Array, Array]:
        raised = correlation + jitter * jnp.eye(len(correlation), dtype=correlation.dtype)
        return jitter, jnp.linalg.cholesky(raised, symmetrize_input=False)

    def fails(state: tuple[Array, Array]) -> Array:
        jitter, factor = state
        return (jitter < _MOST) & jnp.any(jnp.isnan(jnp.diagonal(factor)))

    start = attempt(jnp.asarray(jitter, correlation.dtype))
    least = rounding(correlation)
    return jax.lax.while_loop(fails, lambda s: attempt(jnp.maximum(8 * s[0], least)), start)[1]


@_factor.defjvp
def _factor_jvp(
    jitter: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """`L Φ(L⁻¹ dK L⁻ᵀ)` with `Φ` the lower triangle and half of the diagonal."""
    lower, change = _factor(*primals, jitter), tangents[0]
    half = solve_triangular(lower, (change + change.T) / 2, lower=True)
    white = solve_triangular(lower, half.T, lower=True)
    triangle = jnp.tril(white) - jnp.diag(jnp.diagonal(white)) / 2
    return lower, precise_matmul(lower, triangle)


@jax.custom_jvp
def log_normal(y: Array, covariance: Array, factor: Array) -> Array:  # noqa: ARG001
    """Sum of `log N(y_k; 0, K)` over the columns of `y`, of shape (n, k).

    The gradient is `½ (α αᵀ - k K⁻¹)` with `α = K⁻¹ y`: no factorisation is differentiated.

    Args:
        y: observations, of shape (n, k).
        covariance: `K`, which only the derivative needs.
        factor: its lower factor, of which derivatives of higher order are taken.
    """
    return _density(solve_triangular(factor, y, lower=True), factor)


@log_normal.defjvp
def _log_normal_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    y, _, factor = primals
    y_change, change, _ = tangents
    white = solve_triangular(factor, y, lower=True)
    solved = solve_triangular(factor, white, lower=True, trans=1)
    slope = (precise_matmul(solved, solved.T) - y.shape[1] * inverse(factor)) / 2
    return _density(white, factor), jnp.sum(slope * change) - jnp.sum(solved * y_change)


def _density(white: Array, factor: Array) -> Array:
    n, k = white.shape
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
    return -(jnp.sum(white**2) + k * log_det + n * k * math.log(2 * math.pi)) / 2


def inverse(factor: Array) -> Array:
    """`K⁻¹` from the lower factor of `K`, by halves: 0.4 of the time of solving for the identity.

    With `L = [[A, 0], [B, C]]` and `W = B A⁻¹`, the lower blocks are `P = (C Cᵀ)⁻¹` and `-P W`, and
    the upper left one is `(A Aᵀ)⁻¹ + Wᵀ P W`.
    """
    return _inverse(factor, max(_SMALL, len(factor) // 8))


def _inverse(factor: Array, small: int) -> Array:
    n = len(factor)
    if n <= small:
        return cho_solve((factor, True), jnp.eye(n, dtype=factor.dtype))
    half = n // 2
    upper, cross, lower = factor[:half, :half], factor[half:, :half], factor[half:, half:]
    ratio = solve_triangular(upper, cross.T, lower=True, trans=1).T
    last = _inverse(lower, small)
    below = -precise_matmul(last, ratio)
    first = _inverse(upper, small) - precise_matmul(ratio.T, below)
    return jnp.block([[first, below.T], [below, last]])
