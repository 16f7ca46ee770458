"""Factors of kernel matrices, with the one jitter of the library."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import safe_sqrt


def cholesky(kernel: Array) -> Array:
    """Lower factor of kernel matrices of shape (…, n, n), singular ones included.

    Every entry of the diagonal grows by `8 √n` units of rounding: about the error that a kernel
    matrix has from rounding, and the only jitter there is.
    """
    n = kernel.shape[-1]
    root = safe_sqrt(jnp.diagonal(kernel, axis1=-2, axis2=-1))
    scale = jnp.where(root > 0, root, 1)
    jitter = 8 * math.sqrt(n) * float(np.finfo(kernel.dtype).eps) * jnp.eye(n, dtype=kernel.dtype)
    correlation = kernel / (scale[..., :, None] * scale[..., None, :])
    factor = jnp.linalg.cholesky(correlation + jnp.broadcast_to(jitter, kernel.shape))
    return root[..., :, None] * factor
