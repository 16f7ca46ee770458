"""Moments of the random kernel and of the outputs."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp._arrays import times
from mogp._checks import check_count, check_inputs
from mogp.architecture import AbstractArchitecture
from mogp.limit._dense import input_factor, propagate
from mogp.limit._gaussian import gp_pair
from mogp.limit._jumps import LayerJumps, NumJumps, draw_jumps, numbers_of_jumps
from mogp.limit._recursion import Layer, Pair, diffuse_step, gaussian_prefix, input_pair, layers_of


class Moments(NamedTuple):
    """Moments of the kernel `Σ = Σ^(L+1)` on points, and of outputs `Z_k ~ GP(0, Σ)`.

    Infinite moments are infinity; where that leaves a ratio without a meaning, it is NaN.

    Attributes:
        mean: `E Σ(x, x')`, of shape (n, n): the covariance of an output at two points.
        variance: `Var Σ(x, x')`, of shape (n, n).
        square_covariance: `Cov(Σ(x, x), Σ(x', x'))`, of shape (n, n), which is
            `Cov(Z_k(x)², Z_m(x')²)` for two outputs.
        kurtosis: `E Z⁴ / (E Z²)² = 3 E Σ² / (E Σ)²` at each point, of shape (n,).
        square_correlation: correlation of the squares of two outputs at a point, of shape (n,).
        mean_error: Monte Carlo standard error of `mean`; 0 where it is exact.
        variance_error: the same of `variance` and `square_covariance`, the larger one.
    """

    mean: Array
    variance: Array
    square_covariance: Array
    kurtosis: Array
    square_correlation: Array
    mean_error: Array
    variance_error: Array


def moments(
    model: AbstractArchitecture,
    x: Array,
    *,
    key: Array | None = None,
    num_samples: int = 1000,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Moments:
    """Moments of the random kernel on a set of points.

    Exact if no hidden layer but the last has jumps; and at single points (the diagonals), at any
    depth, for positively homogeneous activations such as ReLU. The rest is estimated from draws of
    the kernel before the last layer, given which the moments are known.

    Args:
        model: an architecture of any depth.
        x: points, of shape (n, d).
        key: a random key of those draws; None where nothing is drawn.
        num_samples: the number of those draws.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.

    Returns:
        The moments; those that were estimated have errors above 0.

    Raises:
        ValueError: if an argument is out of range, or draws are needed and there is no key.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors
        >>> round(MoGP([priors.Gamma(2.0)]).moments(jnp.ones((1, 3))).kurtosis.item(), 6)
        12.0
    """
    check_inputs("x", x)
    layers = layers_of(model)
    draws: tuple[tuple[LayerJumps, ...], Array] | None = None
    one = len(x) == 1 and model.activation.positively_homogeneous()
    if gaussian_prefix(layers) < len(layers) - 1 and not one:
        if key is None:
            raise ValueError(
                "key must be given: a hidden layer before the last has jumps, so that moments at "
                "these points are estimated from draws; pass key=jax.random.key(0)"
            )
        by_jump, key = jax.random.split(key)
        num = numbers_of_jumps(layers, model.activation, num_jumps, tolerance)
        shape = (check_count("num_samples", num_samples),)
        jumps = draw_jumps(layers[:-1], num[:-1], by_jump, shape, x.dtype)
        draws = jumps, jax.random.split(key, num_samples)
    return _moments(model, x, draws)


@eqx.filter_jit
def _moments(
    model: AbstractArchitecture, x: Array, draws: tuple[tuple[LayerJumps, ...], Array] | None
) -> Moments:
    layers = layers_of(model)
    first = input_pair(model, x, x)
    if draws is None:
        if gaussian_prefix(layers) < len(layers) - 1:  # one point, see `moments`
            mean, variance = (m[:, None] for m in _at_points(model, layers, first.xx))
        else:
            mean, variance = _behind(model, layers[-1], gp_pair(model, first, len(layers) - 1))
        return _summary(mean, variance, variance, jnp.zeros_like(mean), jnp.zeros_like(mean))

    factor, root = input_factor(model, x, first), len(draws[1]) ** 0.5

    def one(draw: tuple[tuple[LayerJumps, ...], Array]) -> tuple[Array, Array]:
        kernel = propagate(model, first, factor, *draw).kernel
        diagonal = jnp.diagonal(kernel)
        return _behind(model, layers[-1], Pair(diagonal, kernel, diagonal))

    means, variances = jax.lax.map(one, draws, batch_size=32)
    mean = jnp.mean(means, 0)
    off = means - mean[None]
    diagonal = jnp.diagonal(off, axis1=1, axis2=2)
    squares = {
        "variance": variances + off**2,
        "square_covariance": variances + diagonal[:, :, None] * diagonal[:, None, :],
    }
    estimates = {name: jnp.mean(s, 0) for name, s in squares.items()}
    mean_error = jnp.std(means, 0) / root
    error = jnp.maximum(*(jnp.std(s, 0) / root for s in squares.values()))
    if model.activation.positively_homogeneous():
        exact_mean, exact_variance = _at_points(model, layers, first.xx)
        on = jnp.eye(len(x), dtype=bool)
        mean = jnp.where(on, jnp.diag(exact_mean), _infinite_with(mean, exact_mean))
        mean_error, error = (jnp.where(on, 0, e) for e in (mean_error, error))
        for name in estimates:
            value = _infinite_with(estimates[name], exact_variance)
            estimates[name] = jnp.where(on, jnp.diag(exact_variance), value)
    variance, square_covariance = estimates.values()
    return _summary(mean, variance, square_covariance, mean_error, error)


def _behind(model: AbstractArchitecture, layer: Layer, pair: Pair) -> tuple[Array, Array]:
    """Mean and variance of the kernel behind a layer, given that before it, of shape (n, n)."""
    total, second = _total_moments(layer, pair.xx.dtype)
    mean = diffuse_step(layer, 1.0, model.activation, pair).xy - layer.bias_scale**2
    square = pair.through(model.activation.square_kernel)
    return (
        layer.bias_scale**2 + times(mean, total),
        times(layer.weight_scale**4 * square, second),
    )


def _at_points(model: AbstractArchitecture, layers: list[Layer], k: Array) -> tuple[Array, Array]:
    """The recursion of `E Σ` and `E Σ²` at single points, where `E φ² ∝ k` and `E φ⁴ ∝ k²`."""
    one = jnp.ones((), k.dtype)
    by_two = model.activation.second_moment(one)
    by_four = model.activation.square_kernel(one, one, one)
    mean, square = k, k**2
    for layer in layers:
        total, second = _total_moments(layer, k.dtype)
        gain, bias = layer.weight_scale**2, layer.bias_scale**2
        passed = times(gain * by_two * mean, total)
        square = (
            bias**2
            + 2 * bias * passed
            + times(gain**2 * square, (total * by_two) ** 2 + second * by_four)
        )
        mean = bias + passed
    finite = jnp.isfinite(mean)
    return mean, jnp.where(finite, square - jnp.where(finite, mean, 0) ** 2, jnp.inf)


def _total_moments(layer: Layer, dtype: jnp.dtype) -> tuple[Array, Array]:
    """`a + ∫ x ρ(dx)` and `∫ x² ρ(dx)`."""
    if layer.is_gaussian:
        return jnp.asarray(layer.location, dtype), jnp.zeros((), dtype)
    first, second = (layer.levy.moment(k).astype(dtype) for k in (1.0, 2.0))
    return first + layer.location, second


def _infinite_with(estimate: Array, exact: Array) -> Array:
    infinite = jnp.isinf(exact)
    return jnp.where(infinite[:, None] | infinite[None, :], jnp.inf, estimate)


def _summary(
    mean: Array, variance: Array, square_covariance: Array, mean_error: Array, error: Array
) -> Moments:
    m, v = jnp.diagonal(mean), jnp.diagonal(variance)
    ratio = v / m**2
    return Moments(
        mean=mean,
        variance=variance,
        square_covariance=square_covariance,
        kurtosis=3 * (1 + ratio),
        square_correlation=ratio / (2 + 3 * ratio),
        mean_error=mean_error,
        variance_error=error,
    )
