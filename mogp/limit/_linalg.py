"""Factors of kernel matrices, with the one jitter of the library."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import safe_sqrt

_MOST = 1e-2  # beyond, the matrix is no kernel: the factor is NaN


@partial(jnp.vectorize, signature="(n,n)->(n,n)")
def cholesky(kernel: Array) -> Array:
    """Lower factor of kernel matrices of shape (…, n, n), singular ones included.

    Every entry of the diagonal grows by `8 √n` units of rounding, about the error that a kernel
    matrix has from rounding, and by 8 times as much again as long as the factor does not exist.
    """
    n = len(kernel)
    root = safe_sqrt(jnp.diagonal(kernel))
    scale = jnp.where(root > 0, root, 1)
    correlation = kernel / (scale[:, None] * scale[None, :])
    least = 8 * math.sqrt(n) * float(np.finfo(kernel.dtype).eps)

    def factor(correlation: Array, jitter: Array) -> Array:
        return jnp.linalg.cholesky(correlation + jitter * jnp.eye(n, dtype=kernel.dtype))

    def fails(jitter: Array) -> Array:
        lower = factor(jax.lax.stop_gradient(correlation), jitter)
        return (jitter < _MOST) & jnp.any(jnp.isnan(lower))

    jitter = jax.lax.while_loop(fails, lambda j: 8 * j, jnp.asarray(least, kernel.dtype))
    return root[:, None] * factor(correlation, jitter)
