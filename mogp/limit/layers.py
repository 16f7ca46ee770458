"""What other rooms build on: the hidden layers of a model at infinite width, a layer at a time.

The functions here are on arrays and named tuples. `mogp.pruning` carries a network and its pruned
copy through the same steps, and `mogp.inference` puts sampled jumps and weights in their place.
"""

from mogp.limit._dense import gaussian_draws
from mogp.limit._evidence import log_evidence
from mogp.limit._gaussian import check_regime
from mogp.limit._jumps import LayerJumps, NumJumps, draw_jumps, numbers_of_jumps
from mogp.limit._linalg import cholesky, definite_cholesky, log_normal
from mogp.limit._recursion import (
    Layer,
    Pair,
    diffuse_step,
    gaussian_prefix,
    input_pair,
    layers_of,
    precise_matmul,
    skeleton,
)

__all__ = [
    "Layer",
    "LayerJumps",
    "NumJumps",
    "Pair",
    "check_regime",
    "cholesky",
    "definite_cholesky",
    "diffuse_step",
    "draw_jumps",
    "gaussian_draws",
    "gaussian_prefix",
    "input_pair",
    "layers_of",
    "log_evidence",
    "log_normal",
    "numbers_of_jumps",
    "precise_matmul",
    "skeleton",
]
