"""A layer of nodes as a user would write it."""

import equinox as eqx
import jax
import jax.numpy as jnp

from mogp import nn, priors


class Bumps(nn.AbstractNodes):
    """A user's layer of nodes."""

    centres: jax.Array
    weights: jax.Array
    log_variances: jax.Array
    prior: priors.Prior
    prior_width: int = eqx.field(static=True)

    def heights(self, x):
        apart = x[:, None] - jnp.broadcast_to(self.centres, (len(x), *self.centres.shape))
        return jnp.exp(-jnp.sum(apart**2, -1))

    def __call__(self, x):
        return self.heights(x) @ (self.root_variances()[:, None] * self.weights)

    def outgoing(self):
        return self.weights

    def with_outgoing(self, weights):
        return eqx.tree_at(lambda n: n.weights, self, weights)

    def take(self, kept):
        return self.take_fields(kept, "centres", "weights")

    def contributions(self, x):
        return self.norms() * jnp.sum(self.heights(x) ** 2, 0)
