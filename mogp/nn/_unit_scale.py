"""Initial scales of a GM layer that keep the size of what passes through it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mogp.activations import Activation
from mogp.activations.quadrature import hermite_rule


class Scales(NamedTuple):
    """Standard deviations of the entries of `μ, U, v` at the start, and the value of `σ`."""

    means: float
    scales: float
    slopes: float
    offsets: float


def unit_scales(activation: Activation, in_size: int, gain: float) -> Scales:
    """The scales with which `E h(x)² = 1` for every `x` with `‖x‖² = d`.

    Let `μ_i ~ N(0, 1/2d)` and `σ_i² = 1/2d`. Then `m = ⟨μ, x⟩ ~ N(0, 1/2)` and `s² = 1/2`: the
    pre-activation `m + sε` is standard normal, half of its variance between components and half
    within. With `M = E φ(m + sε)`, `S = E φ'(m + sε)`, the output of a component is
    `⟨U, μ M + σ² ⊙ x S⟩ + v M`. Over `U` and `v` it has mean 0 and, since `μ` is `m x/d` and an
    independent part of `d - 1` dimensions across `x`, the variance `γ_U² A + γ_v² B`, where

    `A = (d-1)/(2d) E M² + E (m M + S/2)² / d`,   `B = E M²`.

    Each term is given half of the variance: `γ_U² = g/(2A)`, `γ_v² = g/(2B)`. The mean of K
    components divides the variance by K, so `g = K`; under a prior on the weights of the
    components, `Σ_k λ_k ≈ 1` keeps it, so `g = 1`. The means over `m` are Gauss-Hermite sums.
    """
    nodes, weights = hermite_rule(64)
    with jax.ensure_compile_time_eval():
        m = jnp.asarray(nodes * math.sqrt(0.5), float)
        s = jnp.full_like(m, math.sqrt(0.5))
        mean, slope = activation.mean(m, s), activation.slope(m, s)
        square = float(jnp.sum(weights * mean**2))
        along = float(jnp.sum(weights * (m * mean + slope / 2) ** 2))
    d = in_size
    through_slopes = (d - 1) / (2 * d) * square + along / d
    return Scales(
        means=math.sqrt(0.5 / d),
        scales=math.sqrt(0.5 / d),
        slopes=math.sqrt(gain / (2 * through_slopes)),
        offsets=math.sqrt(gain / (2 * square)),
    )
