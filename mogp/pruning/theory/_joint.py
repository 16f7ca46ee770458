"""The recursion of a network and its pruned copy: the pruned network is one more input.

A node of the network has the value `ζ`, the same node of the pruned copy `ζ* = ζ - δ`. Given the
layers before, `(ζ, δ)` on a set of points is Gaussian. The state is its covariance: in `δ` and not
in `ζ*`, so that errors far below the rounding of the kernel keep their digits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import safe_sqrt, times
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.limit.layers import (
    Layer,
    cholesky,
    gaussian_draws,
    input_pair,
    layers_of,
    precise_matmul,
    skeleton,
)
from mogp.pruning.theory._cut import Cut, Masses

_BATCH = 2**22  # numbers held by the draws that are made at once: 32 MiB in double precision


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


def check_model(model: object) -> None:
    """Raise unless a model has depth, activation, scales and priors."""
    if not isinstance(model, AbstractArchitecture):
        raise ValueError(f"model must be a MoGP, got {type(model).__name__}")


def start(model: AbstractArchitecture, x: Array) -> Joint:
    """Nodes of the first layer, which no pruning changes."""
    kernel = input_pair(model, x, x).xy
    return Joint(kernel, jnp.zeros_like(kernel), jnp.zeros_like(kernel))


def changes(activation: Activation, joint: Joint) -> Joint:
    """Second moments of `φ(ζ)` and `φ(ζ) - φ(ζ*)` over one random node, in place of `ζ` and `δ`.

    Those of `φ(ζ) - φ(ζ*)` are differences of nearly equal kernels where `δ` is small. Below a size
    at which these have a third of their digits they are taken to first order, `φ'(ζ) δ`; the error
    of either is at most of that order. On the diagonal ReLU and its kind lose no digits.
    """
    kernel, cross, error = joint
    variance, moved = jnp.diagonal(kernel), jnp.diagonal(error)
    copy = kernel - cross - cross.T + error
    own, copied = variance[:, None], jnp.diagonal(copy)
    plain = activation.kernel(own, kernel, variance[None, :])
    mixed = activation.kernel(own, kernel - cross, copied[None, :])
    both = activation.kernel(copied[:, None], copy, copied[None, :])
    shifted = plain - mixed - mixed.T + both
    small = moved < float(np.finfo(kernel.dtype).eps) ** (2 / 3) * variance
    first = error * activation.derivative_kernel(own, kernel, variance[None, :])
    shifted = jnp.where(small[:, None] | small[None, :], first, shifted)
    if activation.positively_homogeneous():
        exact = _homogeneous(activation, variance, jnp.diagonal(cross), moved)
        shifted = jnp.where(jnp.eye(len(kernel), dtype=bool), exact[:, None], shifted)
    return Joint(plain, plain - mixed, shifted)


def _homogeneous(activation: Activation, variance: Array, cross: Array, moved: Array) -> Array:
    """`E (φ(ζ) - φ(ζ*))²` for `φ(z) = α z` above 0 and `β z` below.

    It is `αβ e + (α - β)² (e/2 - √(k k*) (sin θ - θ cos θ) / π)` with `e = Var δ`, the variances
    `k`, `k*` and the angle `θ` between `ζ` and `ζ*`, of which `√(k k*) sin θ = √(k e - c²)`.
    """
    up, down = activation(jnp.asarray([1.0, -1.0], variance.dtype)) * jnp.asarray([1, -1])
    sine, cosine = safe_sqrt(variance * moved - cross**2), variance - cross
    angle = jnp.arctan2(sine, jnp.where((sine == 0) & (cosine == 0), 1, cosine))
    near = jnp.abs(angle) < 0.03
    t = jnp.where(near, angle, 0)
    scale = safe_sqrt(sine**2 + cosine**2)
    series = scale * t**3 * (1 / 3 - t**2 / 30 + t**4 / 840)
    lost = jnp.where(near, series, sine - angle * cosine) / jnp.pi
    return up * down * moved + (up - down) ** 2 * (moved / 2 - lost)


def step(layer: Layer, activation: Activation, joint: Joint, cut: Cut, key: Array) -> Joint:
    """One layer, for one draw of its node variances."""
    gain, moved = layer.weight_scale**2, changes(activation, joint)
    whole = cut.gone * moved.kernel
    parts = [whole + cut.kept * each for each in moved]
    if cut.sizes.shape[-1]:
        nodes, shifts = joint.draws(key, cut.sizes.shape[-1])
        root = jnp.sqrt(cut.sizes)[:, None]
        values, slope = jax.jvp(activation, (nodes,), (shifts,))
        # Of shifts that are lost in `nodes - shifts`, by half of the digits or more.
        tiny = jnp.abs(shifts) < float(np.finfo(nodes.dtype).eps) ** 0.5 * jnp.abs(nodes)
        change = jnp.where(tiny, slope, values - activation(nodes - shifts))
        change = root * jnp.where(cut.stays[:, None], change, values)
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


def simulate(
    model: AbstractArchitecture,
    x: Array,
    cuts: Sequence[Cut],
    last: Masses,
    key: Array,
    num_outputs: int | None = None,
) -> Outcome:
    """Draws of the error at points, of one cut a hidden layer; priors are not looked at.

    What is compiled serves all layers of as many jumps, of models of any depth. `last` are masses
    of the last layer, numbers or of shape (num_samples,).
    """
    num_samples = len(cuts[0].gone)
    cuts = [
        Cut(c.sizes.astype(x.dtype), c.stays, *(m.astype(x.dtype) for m in c[2:])) for c in cuts
    ]
    by_layer = jax.random.split(key, len(cuts) + 1)
    layers = [  # arrays for scales, so that their values are not compiled in
        Layer(a, levy, jnp.asarray(weight, x.dtype), jnp.asarray(bias, x.dtype))
        for a, levy, weight, bias in layers_of(skeleton(model))
    ]
    joint = jax.tree.map(
        lambda k: jnp.broadcast_to(k[None], (num_samples, *k.shape)), start(model, x)
    )
    for layer, cut, k in zip(layers[:-1], cuts, by_layer, strict=False):
        joint = _steps(layer, model.activation, joint, cut, jax.random.split(k, num_samples))
    masses = Masses(*(jnp.broadcast_to(jnp.asarray(m, x.dtype), (num_samples,)) for m in last))
    mean = _means(layers[-1], model.activation, joint, masses)
    keys = jax.random.split(by_layer[-2], num_samples)
    joint = _steps(layers[-1], model.activation, joint, cuts[-1], keys)
    if num_outputs is None:
        error, square = (jnp.diagonal(k, axis1=1, axis2=2) for k in (joint.error, joint.kernel))
        return Outcome(error, square, mean)
    keys = jax.random.split(by_layer[-1], num_samples)
    return Outcome(*_outputs(joint, keys, num_outputs), mean)


@eqx.filter_jit
def _steps(layer: Layer, activation: Activation, joint: Joint, cut: Cut, keys: Array) -> Joint:
    num_samples, n = joint.kernel.shape[:2]
    batch = max(1, min(num_samples, _BATCH // (4 * n * (cut.sizes.shape[-1] + 4 * n))))
    return jax.lax.map(
        lambda draw: step(layer, activation, *draw), (joint, cut, keys), batch_size=batch
    )


@eqx.filter_jit
def _means(layer: Layer, activation: Activation, joint: Joint, masses: Masses) -> Array:
    return jax.vmap(lambda *draw: mean_error(layer, activation, *draw))(joint, masses)


@eqx.filter_jit
def _outputs(joint: Joint, keys: Array, num: int) -> tuple[Array, Array]:
    """Squares of `δ` and of `ζ`, averaged over outputs."""
    values, shifts = jax.vmap(lambda joint, key: joint.draws(key, num))(joint, keys)
    return jnp.mean(shifts**2, 1), jnp.mean(values**2, 1)
