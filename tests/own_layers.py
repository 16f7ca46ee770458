"""Layers of nodes as a user would write them."""

import equinox as eqx
import jax
import jax.numpy as jnp

from mogp import nn, priors


class Bumps(nn.AbstractNodes):
    """Nodes are bumps around centres. It does not say how it is repaired."""

    centres: jax.Array  # (number, in_size)
    weights: jax.Array  # (number, out_size)
    log_variances: jax.Array
    prior: priors.Prior
    prior_width: int = eqx.field(static=True)
    breadth = 1.0

    def heights(self, x):
        apart = x[..., None, :] - self.centres.reshape((1,) * (x.ndim - 1) + self.centres.shape)
        return jnp.exp(-jnp.sum((apart / self.breadth) ** 2, -1))

    def __call__(self, x, *, key=None):  # noqa: ARG002
        return self.heights(x) @ (self.root_variances()[:, None] * self.weights)

    def outgoing(self):
        return self.weights

    def with_outgoing(self, weights):
        return eqx.tree_at(lambda n: n.weights, self, weights)

    def take(self, kept):
        return self.take_fields(kept, "centres", "weights")

    def contributions(self, x):
        return self.norms() * jnp.sum(self.heights(x) ** 2, 0)


class FixedBumps(Bumps):
    """Their breadth is an array that is not trained."""

    breadth: jax.Array
    constants = ("breadth",)


class RepairedBumps(Bumps):
    """Broad ones, whose weights can be refitted after a cut."""

    breadth = 3.0

    def design(self, x):
        return self.heights(x) * self.root_variances()[None]

    def refitted(self, change):
        return eqx.tree_at(lambda n: n.weights, self, self.weights + change)
