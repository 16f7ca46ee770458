"""The recursion of a network and its pruned copy: the pruned network is one more input.

A node of the network has the value `ζ`, the same node of the pruned copy `ζ* = ζ - δ`. Given the
layers before, `(ζ, δ)` on a set of points is Gaussian. The state is its covariance: in `δ` and not
in `ζ*`, so that errors far below the rounding of the kernel keep their digits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp._arrays import times
from mogp.activations import Activation
from mogp.limit._dense import gaussian_draws
from mogp.limit._linalg import cholesky
from mogp.limit._recursion import Layer, input_pair, layers_of, precise_matmul
from mogp.pruning._cut import Cut, Masses

if TYPE_CHECKING:
    from mogp.architecture import MoGP

_BATCH = 2**22  # numbers held by the draws that are made at once


class Joint(NamedTuple):
    """Covariance of `(ζ, δ)` on points.

    Attributes:
        kernel: of `ζ`, of shape (n, n).
        cross: `Cov(ζ(x), δ(x'))`, of shape (n, n); not symmetric.
        error: of `δ`, of shape (n, n); its diagonal is `E (Z - Z*)²`.
    """

    kernel: Array
    cross: Array
    error: Array

    def draws(self, key: Array, num: int) -> tuple[Array, Array]:
        """Values of `ζ` and of `δ` of `num` nodes, each of shape (num, n)."""
        whole = jnp.block([[self.kernel, self.cross], [self.cross.T, self.error]])
        values = gaussian_draws(cholesky(whole), key, num)
        return values[:, : len(self.kernel)], values[:, len(self.kernel) :]


class Outcome(NamedTuple):
    """Draws of what pruning changes.

    Attributes:
        error: `(Z - Z*)²`, of shape (num_samples, n).
        square: `Z²`, of shape (num_samples, n).
        mean: expectation of `error` given all layers before the last, of shape (num_samples, n).
    """

    error: Array
    square: Array
    mean: Array


def start(model: "MoGP", x: Array) -> Joint:
    """Nodes of the first layer, which no pruning changes."""
    kernel = input_pair(model, x, x).xy
    return Joint(kernel, jnp.zeros_like(kernel), jnp.zeros_like(kernel))


def changes(activation: Activation, joint: Joint) -> Joint:
    """The same for `φ(ζ)` and `φ(ζ) - φ(ζ*)`: second moments over one random node."""
    kernel, cross, error = joint
    variance = jnp.diagonal(kernel)
    copy = kernel - cross - cross.T + error
    own, copied = variance[:, None], jnp.diagonal(copy)
    plain = activation.kernel(own, kernel, variance[None, :])
    mixed = activation.kernel(own, kernel - cross, copied[None, :])
    both = activation.kernel(copied[:, None], copy, copied[None, :])
    return Joint(plain, plain - mixed, plain - mixed - mixed.T + both)


def step(layer: Layer, activation: Activation, joint: Joint, cut: Cut, key: Array) -> Joint:
    """One layer, for one draw of its node variances."""
    gain, moved = layer.weight_scale**2, changes(activation, joint)
    whole = cut.gone * moved.kernel
    parts = [whole + cut.kept * each for each in moved]
    if cut.sizes.shape[-1]:
        nodes, shifts = joint.draws(key, cut.sizes.shape[-1])
        root = jnp.sqrt(cut.sizes)[:, None]
        values = activation(nodes)
        change = root * (values - jnp.where(cut.stays[:, None], activation(nodes - shifts), 0))
        values = root * values
        pairs = ((values, values), (values, change), (change, change))
        parts = [p + precise_matmul(a.T, b) for p, (a, b) in zip(parts, pairs, strict=True)]
    kernel, cross, error = parts
    return Joint(layer.bias_scale**2 + gain * kernel, gain * cross, gain * error)


def mean_error(layer: Layer, activation: Activation, joint: Joint, masses: Masses) -> Array:
    """`E (Z - Z*)²` behind a layer, of shape (n,), given those before it."""
    moved = changes(activation, joint)
    unchanged = jnp.diagonal(joint.error) == 0  # exactly, whatever rounding makes of the rest
    shift = jnp.where(unchanged, 0, jnp.diagonal(moved.error))
    gone = times(jnp.diagonal(moved.kernel), masses.gone)
    return layer.weight_scale**2 * (gone + times(shift, masses.kept))


@eqx.filter_jit
def simulate(
    model: "MoGP",
    x: Array,
    cuts: Sequence[Cut],
    last: Masses,
    key: Array,
    num_outputs: int | None = None,
) -> Outcome:
    """Draws of the error at points.

    Args:
        model: any depth; its priors are not looked at.
        x: points, of shape (n, d).
        cuts: one a hidden layer, of `num_samples` draws each.
        last: masses of the last layer, numbers or of shape (num_samples,).
        key: random key.
        num_outputs: average over so many outputs of one network; None is their expectation.
    """
    layers, activation, first = layers_of(model), model.activation, start(model, x)
    num_samples = len(cuts[0].gone)
    last = Masses(*(jnp.broadcast_to(m, (num_samples,)) for m in last))

    def one(draw: tuple[Sequence[Cut], Masses, Array]) -> Outcome:
        drawn, masses, key = draw
        joint, mean = first, jnp.zeros(len(x))
        for i, (layer, cut) in enumerate(zip(layers, drawn, strict=True)):
            if i == len(layers) - 1:
                mean = mean_error(layer, activation, joint, masses)
            joint = step(layer, activation, joint, cut, jax.random.fold_in(key, i))
        if num_outputs is None:
            return Outcome(jnp.diagonal(joint.error), jnp.diagonal(joint.kernel), mean)
        outputs = joint.draws(jax.random.fold_in(key, len(layers)), num_outputs)
        values, shifts = (jnp.mean(each**2, 0) for each in outputs)
        return Outcome(shifts, values, mean)

    widest = max(cut.sizes.shape[-1] for cut in cuts)
    batch = max(1, min(num_samples, _BATCH // (4 * len(x) * (widest + 4 * len(x)))))
    draws = (tuple(cuts), last, jax.random.split(key, num_samples))
    outcome: Outcome = jax.lax.map(one, draws, batch_size=batch)
    return outcome
