"""JAX's flags for the tests: double precision unless JAX_ENABLE_X64=0, no implicit broadcasting.

The library itself never sets a flag.
"""

import os

os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

jax.config.update("jax_enable_x64", os.environ.get("JAX_ENABLE_X64", "1") not in ("0", "false"))
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(20250811)
