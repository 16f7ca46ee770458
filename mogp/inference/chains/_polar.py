"""Rows of standard normal numbers as a sampler likes them: directions apart from norms."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Distribution, constraints


class Directions(Distribution):
    """Uniform directions `g / |g|` in `size` dimensions, where `log |g|` is normal and unused.

    A node that matters has a direction that the data know well, while its norm stays free. As one
    normal vector that is a thin cone, in which a sampler takes small steps. Here the norm that the
    data cannot see has a spread of `1 / √(2 size)`, so that a direction of which nothing is known
    is about as wide along itself as across.
    """

    support = constraints.real_vector
    arg_constraints: ClassVar[dict[str, Any]] = {}
    reparametrized_params: ClassVar[list[str]] = []

    def __init__(self, size: int, dtype: Any) -> None:
        self.size, self.dtype = size, dtype
        self.spread = (2 * size) ** -0.5
        super().__init__((), (size,))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        by_direction, by_norm = jax.random.split(key)
        normal = jax.random.normal(by_direction, (*sample_shape, self.size), self.dtype)
        norm = jnp.exp(self.spread * jax.random.normal(by_norm, (*sample_shape, 1), self.dtype))
        return unit(normal) * jnp.broadcast_to(norm, normal.shape)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:  # noqa: ARG002
        """Up to a constant."""
        log_norm = jnp.log(jnp.sum(value**2, -1)) / 2
        return -self.size * log_norm - (log_norm / self.spread) ** 2 / 2


def unit(rows: Array) -> Array:
    """Rows over their norms."""
    norm = jnp.sqrt(jnp.sum(rows**2, -1, keepdims=True))
    return rows / jnp.broadcast_to(norm, rows.shape)


def normal_rows(name: str, num: int, size: int, dtype: Any) -> Array:
    """Within a NumPyro model: the site `name`, standard normal of shape (num, size)."""
    law = dist.Normal(jnp.zeros((), dtype), jnp.ones((), dtype)).expand((num, size))
    return numpyro.sample(name, law.to_event(2))


def polar_rows(name: str, num: int, size: int, dtype: Any) -> Array:
    """The same, from two sites, `name` and `name` + `_square_norms`.

    In the plane the thin ring of directions would take long to go round: rows of one or two
    numbers are those of `normal_rows`.
    """
    if size < 3:
        return normal_rows(name, num, size, dtype)
    directions = numpyro.sample(name, Directions(size, dtype).expand((num,)).to_event(1))
    half = jnp.asarray(size / 2, dtype), jnp.asarray(0.5, dtype)
    squares = numpyro.sample(f"{name}_square_norms", dist.Gamma(*half).expand((num,)).to_event(1))
    return unit(directions) * jnp.broadcast_to(jnp.sqrt(squares)[:, None], (num, size))
