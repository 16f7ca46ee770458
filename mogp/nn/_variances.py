"""Where the node variances of a layer start, and whether they are trained."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from mogp.priors import NodeVarianceLaw, Prior


def start_variances(prior: Prior, width: int, init: str, key: Array) -> tuple[Array, bool]:
    """`log λ` of shape (width,), and whether its law has a density, so that it may be trained.

    Args:
        prior: law of the node variances.
        width: number of them.
        init: `"prior"` draws them, `"equal"` sets all to `1/width`; laws without a density of
            `log λ` are always drawn.
        key: a random key.
    """
    law = prior.at_width(width)
    if not isinstance(law, NodeVarianceLaw):
        return jnp.log(law.sample(key, (width,))), False
    if init == "equal":
        return jnp.full((width,), -math.log(width), jnp.result_type(float)), True
    return law.sample_log(key, (width,)), True


def held_unless(free: bool, log_variances: Array) -> Array:
    """`log λ`, as constants unless they are free."""
    return log_variances if free else jax.lax.stop_gradient(log_variances)


def log_density(prior: Prior, width: int, log_variances: Array) -> Array:
    """Log-density of `u = log λ`, the Jacobian included; 0 under a law without one."""
    law = prior.at_width(width)
    if not isinstance(law, NodeVarianceLaw):
        return jnp.zeros(())
    total: Array = jnp.sum(law.log_density_of_log(log_variances))
    return total
