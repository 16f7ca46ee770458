"""Closeness that knows the precision of the run."""

import jax
import numpy as np

X64 = bool(jax.config.jax_enable_x64)


def assert_close(actual, desired, rtol, atol=0.0):
    """`np.testing.assert_allclose`; with JAX_ENABLE_X64=0 what single precision allows."""
    if not X64:
        rtol, atol = max(rtol, 1e-3), max(atol, 1e-4)
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol)
