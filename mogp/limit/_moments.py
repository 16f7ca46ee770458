"""Moments of the random kernel and of the outputs."""

from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import as_inputs, times
from mogp._checks import check_count, check_key, check_numbers
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import named_options
from mogp.limit._dense import before, input_factor, propagate
from mogp.limit._gaussian import check_resolved, gp_pair
from mogp.limit._jumps import LayerJumps, NumJumps, draw_jumps, numbers_of_jumps
from mogp.limit._recursion import (
    Layer,
    Pair,
    diffuse_step,
    draw_input_variances,
    gaussian_prefix,
    layers_of,
    pair_given_inputs,
    weighted,
)

# Variances of the inputs, jumps of all layers but the last, and keys, one of each draw.
Draws: TypeAlias = tuple[Array | None, tuple[LayerJumps, ...], Array]


class Moments(NamedTuple):
    """Moments of the kernel `Σ = Σ^(L+1)` on points, and of outputs `Z_k ~ GP(0, Σ)`.

    Infinite moments are infinity, and ratios of them are what they tend to: infinity for the
    kurtosis, 1/3 for the correlation. Where the output is 0, they are those of a Gaussian, 3 and 0.

    Attributes:
        mean: `E Σ(x, x')`, of shape (n, n): the covariance of an output at two points.
        variance: `Var Σ(x, x')`, of shape (n, n).
        square_covariance: `Cov(Σ(x, x), Σ(x', x'))`, of shape (n, n), which is
            `Cov(Z_k(x)², Z_m(x')²)` for two outputs.
        kurtosis: `E Z⁴ / (E Z²)² = 3 E Σ² / (E Σ)²` at each point, of shape (n,).
        square_correlation: correlation of the squares of two outputs at a point, of shape (n,).
        mean_error: Monte Carlo standard error of `mean`, with that of the quadrature of activations
            without closed forms; 0 where it is exact.
        variance_error: the same of `variance` and `square_covariance`, the larger one.
    """

    mean: Float[Array, "n n"]
    variance: Float[Array, "n n"]
    square_covariance: Float[Array, "n n"]
    kurtosis: Float[Array, " n"]
    square_correlation: Float[Array, " n"]
    mean_error: Float[Array, "n n"]
    variance_error: Float[Array, "n n"]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


@named_options
def moments(
    model: AbstractArchitecture,
    x: ArrayLike,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = 1000,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Moments:
    """Moments of the random kernel on a set of points.

    Exact if no hidden layer but the last has jumps; and at single points (the diagonals), at any
    depth, for positively homogeneous activations such as ReLU. The rest is estimated from draws of
    the kernel before the last layer, given which the moments are known. Which moments are infinite
    is decided by the tails of the jumps and the growth of the activation, never by draws.

    Args:
        model: as in `sample_kernel`.
        x: as in `sample_kernel`.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.
        key: a random key of those draws; None where nothing is drawn.
        num_samples: the number of those draws.

    Returns:
        The moments; those that were estimated have errors above 0.

    Raises:
        ValueError: as `sample_kernel`, or if draws are needed and there is no key.
        TypeError: as `sample_kernel`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors
        >>> round(MoGP([priors.Gamma(2.0)]).moments(jnp.ones((1, 3))).kurtosis.item(), 6)
        12.0
    """
    points, layers = as_inputs("x", x), layers_of(model)
    n, samples = len(points), check_count("num_samples", num_samples)
    draws: Draws | None = None
    one = n == 1 and model.activation.positively_homogeneous()
    is_drawn = model.random_inputs is not None or (
        gaussian_prefix(layers) < len(layers) - 1 and not one
    )
    if not is_drawn and not one:
        check_resolved(model, points, [*layers[:-1], layers[-1]._replace(location=1.0)])
    check_numbers(
        f"the moments of {n} points",
        (5 + is_drawn * 4 * samples) * n**2,
        "fewer points or draws",
        points.dtype,
    )
    if key is not None:
        check_key(key)
    if is_drawn:
        if key is None:
            raise ValueError(
                "key must be given: a hidden layer before the last has jumps, or the inputs have a "
                "prior, so that moments at these points are estimated from draws; pass "
                "key=jax.random.key(0)"
            )
        by_jump, key = jax.random.split(key)
        by_input = jax.random.fold_in(by_jump, 1)
        inputs = draw_input_variances(model, points.shape[1], by_input, (samples,), points.dtype)
        num = numbers_of_jumps(layers, model.activation, num_jumps, tolerance)
        jumps = draw_jumps(layers[:-1], num[:-1], by_jump, (samples,), points.dtype)
        draws = inputs, jumps, jax.random.split(key, samples)
    return _moments(model, points, draws)


@eqx.filter_jit
def _moments(model: AbstractArchitecture, x: Array, draws: Draws | None) -> Moments:
    layers = layers_of(model)
    first, totals = pair_given_inputs(model, x, x), _total_moments(layers[-1], x.dtype)
    if draws is None:
        if gaussian_prefix(layers) < len(layers) - 1:  # one point, see `moments`
            mean, variance = (m[:, None] for m in _at_points(model, layers, first.xx))
        else:
            pair = gp_pair(model, first, len(layers) - 1)
            mean, variance = _behind(model, layers[-1], totals, pair)
        return _summary(mean, variance, variance, jnp.zeros_like(mean), jnp.zeros_like(mean))

    factor, root = input_factor(model, x, first), len(draws[2]) ** 0.5
    mass, second = (jnp.where(jnp.isfinite(t), t, 0) for t in totals)  # the rest is known, below

    def one(draw: Draws) -> tuple[Array, Array, Array]:
        variances, jumps, key = draw
        start = (first, factor) if variances is None else before(model, weighted(x, variances))
        kernel = propagate(model, *start, jumps, key).kernel
        diagonal = jnp.diagonal(kernel)
        pair = Pair(diagonal, kernel, diagonal)
        off = model.activation.quadrature_error(jnp.max(diagonal))
        return *_behind(model, layers[-1], (mass, second), pair), off

    means, variances, unresolved = jax.lax.map(one, draws, batch_size=32)
    mean = jnp.mean(means, 0)
    centred = means - mean[None]
    diagonal = jnp.diagonal(centred, axis1=1, axis2=2)
    squares = {
        "variance": variances + centred**2,
        "square_covariance": variances + diagonal[:, :, None] * diagonal[:, None, :],
    }
    estimates = {name: jnp.mean(s, 0) for name, s in squares.items()}
    off = jnp.mean(unresolved)  # what the quadrature of the activation may be off, relatively
    mean_error = jnp.std(means, 0) / root + off * jnp.abs(mean)
    error = jnp.maximum(*(jnp.std(s, 0) / root + 2 * off * jnp.abs(jnp.mean(s, 0))
                          for s in squares.values()))  # fmt: skip
    variance, square_covariance = estimates.values()
    infinite = [_is_infinite(model, layers, first.xx, order) for order in (1, 2)]
    by_order = [alone[:, None] & alone[None, :] for alone in infinite]
    mean, mean_error = _exact_where(by_order[0], jnp.inf, mean, mean_error)
    variance, square_covariance, error = _exact_where(
        by_order[1], jnp.inf, variance, square_covariance, error
    )
    if draws[0] is None and model.activation.positively_homogeneous():
        by_mean, by_variance = _at_points(model, layers, first.xx)
        on = jnp.eye(len(x), dtype=bool)
        mean, mean_error = _exact_where(on, jnp.diag(by_mean), mean, mean_error)
        variance, square_covariance, error = _exact_where(
            on, jnp.diag(by_variance), variance, square_covariance, error
        )
    return _summary(mean, variance, square_covariance, mean_error, error)


def _exact_where(known: Array, value: Array | float, *estimates: Array) -> tuple[Array, ...]:
    """The estimates with a known value, and the error, which comes last, with 0 there."""
    *values, error = estimates
    return *(jnp.where(known, value, v) for v in values), jnp.where(known, 0, error)


def _is_infinite(model: AbstractArchitecture, layers: list[Layer], k: Array, order: float) -> Array:
    """Whether `E Σ^order` is infinite at points of variance `k`, by what `tail_index` says.

    `E |φ(ζ)|^(2 r)` grows like `k^(g r)` for `φ` that grows like `|z|^g`: a moment of order `r`
    behind a layer needs that of order `r` of its jumps, and of order `g r` before it. Behind
    random kernels an exponential has no moments: the kernel has at least log-normal tails.
    """
    growth, activation = model.activation.growth(), model.activation
    random = [not layer.is_gaussian for layer in layers]
    infinite = jnp.zeros(k.shape, bool)
    if model.random_inputs is not None:
        index = model.random_inputs.limit.levy.index_at_infinity
        passed = order * growth ** len(layers)
        infinite |= (passed > 0) & ~(index > passed) & (k > model.scales[0][1] ** 2)
    for i, layer in enumerate(layers):
        later = len(layers) - 1 - i
        passed = order * growth**later if growth < jnp.inf or later == 0 else jnp.inf
        second = activation.second_moment(jnp.minimum(k, 1))
        if random[i]:
            own = passed > 0 and ~_has_moment(layer, passed)
            infinite |= own & (second > 0)
        k = layer.bias_scale**2 + layer.weight_scale**2 * second
    return infinite


def _has_moment(layer: Layer, order: float) -> Array:
    """Whether the sum of the jumps of a layer has a finite moment."""
    if order in (1, 2):
        return jnp.isfinite(jnp.asarray(layer.levy.moment(float(order))))
    return jnp.asarray(layer.levy.index_at_infinity > order)


def _behind(
    model: AbstractArchitecture, layer: Layer, totals: tuple[Array, Array], pair: Pair
) -> tuple[Array, Array]:
    """Mean and variance of the kernel behind a layer, given that before it, of shape (n, n)."""
    mean = diffuse_step(layer._replace(bias_scale=0.0), 1.0, model.activation, pair).xy
    square = layer.weight_scale**4 * pair.through(model.activation.square_kernel)
    return layer.bias_scale**2 + times(mean, totals[0]), times(square, totals[1])


def _at_points(model: AbstractArchitecture, layers: list[Layer], k: Array) -> tuple[Array, Array]:
    """Mean and variance at single points, where `E φ² ∝ k` and `E φ⁴ ∝ k²`; nothing cancels."""
    one = jnp.ones((), k.dtype)
    by_two = model.activation.second_moment(one)
    by_four = model.activation.square_kernel(one, one, one)
    mean, variance = k, jnp.zeros_like(k)
    for layer in layers:
        total, second = _total_moments(layer, k.dtype)
        gain, bias = layer.weight_scale**2, layer.bias_scale**2
        fresh = times(by_four * (variance + mean**2), second)
        variance = gain**2 * (fresh + times(times(variance, by_two * total), by_two * total))
        mean = bias + times(gain * by_two * mean, total)
    return mean, variance


def _total_moments(layer: Layer, dtype: jnp.dtype) -> tuple[Array, Array]:
    """`a + ∫ x ρ(dx)` and `∫ x² ρ(dx)`."""
    if layer.is_gaussian:
        return jnp.asarray(layer.location, dtype), jnp.zeros((), dtype)
    first, second = (layer.levy.moment(k).astype(dtype) for k in (1.0, 2.0))
    return first + layer.location, second


def _summary(
    mean: Array, variance: Array, square_covariance: Array, mean_error: Array, error: Array
) -> Moments:
    m, v = jnp.diagonal(mean), jnp.diagonal(variance)
    finite = (v > 0) & (v < jnp.inf)
    ratio = jnp.where(finite, v, 0) / jnp.where(finite, m, 1) ** 2
    infinite = jnp.isinf(v)
    return Moments(
        mean=mean,
        variance=variance,
        square_covariance=square_covariance,
        kurtosis=jnp.where(infinite, jnp.inf, 3 * (1 + ratio)),
        square_correlation=jnp.where(infinite, 1 / 3, ratio / (2 + 3 * ratio)),
        mean_error=mean_error,
        variance_error=error,
    )
