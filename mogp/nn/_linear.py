"""Rows against batches: what broadcasting would do, said explicitly."""

import jax.numpy as jnp
from jax import Array


def add_row(x: Array, row: Array) -> Array:
    """`x + row` for `x` of shape (…, n) and `row` of shape (n,)."""
    return x + jnp.broadcast_to(row, x.shape)


def scale_row(x: Array, row: Array) -> Array:
    """`x * row` for `x` of shape (…, n) and `row` of shape (n,)."""
    return x * jnp.broadcast_to(row, x.shape)
