"""Networks and their pruned copies simulated in NumPy, by none of the code that predicts."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mogp import priors

ONE = jnp.ones((1, 3))  # an input with ‖x‖² = d
HORSESHOE = priors.Horseshoe()


def standard_error(values):
    return values.std() / math.sqrt(len(values))


def _outputs(variances, stays, rng, num_outputs, scale=1.0):
    """Squares of outputs, and of what pruning changes in them, of a network at `‖x‖² = d`, σ_b=0.

    `variances` and `stays` hold one (width,) array a hidden layer.
    """
    nodes = copies = scale * rng.normal(size=len(variances[0]))
    for i, (lam, kept) in enumerate(zip(variances, stays, strict=True)):
        size = num_outputs if i == len(variances) - 1 else len(variances[i + 1])
        weights = rng.normal(size=(size, len(lam)))
        nodes, copies = (
            scale * weights @ (np.sqrt(lam) * np.maximum(nodes, 0)),
            scale * weights @ (np.sqrt(lam) * kept * np.maximum(copies, 0)),
        )
    return np.mean(nodes**2), np.mean((nodes - copies) ** 2)


def trials(prior, depth, width, num, keep, num_outputs=10, seed=0):
    """Relative errors, and errors, of networks drawn from the prior; `keep` is a function of λ."""
    rng = np.random.default_rng(seed)
    law = prior.at_width(width)
    drawn = np.asarray(jax.jit(lambda k: law.sample(k, (num, depth, width)))(jax.random.key(seed)))
    found = np.array([_outputs(lam, keep(lam), rng, num_outputs) for lam in drawn])
    return found[:, 1] / found[:, 0], found[:, 1]


def largest(num):
    """Keeps that many nodes of a layer."""

    def keep(lam):
        places = np.argsort(np.argsort(-lam, axis=-1, kind="stable"), axis=-1, kind="stable")
        return places < np.reshape(num, (-1, 1))

    return keep
