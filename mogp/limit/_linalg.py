"""Factors of kernel matrices, with the one jitter of the library."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array


def cholesky(kernel: Array) -> Array:
    """Lower factor of kernel matrices of shape (…, n, n), singular ones included.

    `8 √n` units of rounding of the mean diagonal are added to the diagonal: about the error that a
    kernel matrix has from rounding, and the only jitter there is.
    """
    n = kernel.shape[-1]
    info = np.finfo(kernel.dtype)
    mean = jnp.trace(kernel, axis1=-2, axis2=-1) / n
    jitter = 8 * math.sqrt(n) * float(info.eps) * mean + float(info.tiny)
    return jnp.linalg.cholesky(kernel + jitter[..., None, None] * jnp.eye(n, dtype=kernel.dtype))
