"""Poisson processes of jumps: the largest ones, those above a threshold, and totals."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import aligned
from mogp._checks import check_between
from mogp.levy._abstract import check_measure
from mogp.levy._inverse import log_of_normal

if TYPE_CHECKING:
    from mogp.levy._measure import LevyMeasure


class Jumps(NamedTuple):
    """The largest jumps of Poisson processes, and what is left out.

    Attributes:
        sizes: jumps in decreasing order, of shape (..., num); 0 where a process has no more.
        residual_mass: expected sum of the jumps not kept, given those kept, of shape (...).
        arrivals: expected numbers of larger jumps `ρ̄(sizes)`: the arrival times of a unit Poisson
            process, of shape (..., num).
        residual_variance: variance of the sum of the jumps not kept, given those kept, of shape
            (...).
        num_real: how many of the sizes are jumps, of shape (...).

    Example:
        >>> import jax
        >>> from mogp import levy
        >>> jumps = levy.Stable(0.5).ranked_jumps(9, key=jax.random.key(0), shape=(3,))
        >>> jumps.sizes.shape, jumps.residual_mass.shape
        ((3, 9), (3,))
    """

    sizes: Array
    residual_mass: Array
    arrivals: Array
    residual_variance: Array
    num_real: Array

    def __repr__(self) -> str:
        shapes = (f"{name}={np.shape(value)}" for name, value in self._asdict().items())
        return f"Jumps({', '.join(shapes)})"


def ranked_jumps(measure: "LevyMeasure", num: int, key: Array, shape: tuple[int, ...]) -> Jumps:
    """The largest jumps of processes of intensity `measure`."""
    arrivals = arrival_times(key, (*shape, num), dtype_of(measure))
    sizes = measure.inverse_tail(arrivals)
    real = arrivals < measure.total_mass
    return _with_residual(measure, sizes, arrivals, real, sizes[..., -1:])


def jumps_above(
    measure: "LevyMeasure", threshold: ArrayLike, num: int, key: Array, shape: tuple[int, ...]
) -> Jumps:
    """The jumps above a threshold of processes of intensity `measure`."""
    jumps = ranked_jumps(measure, num, key, shape)
    sizes, limit = aligned(jumps.sizes, threshold)
    real = sizes > limit
    last = jnp.maximum(limit, sizes[..., -1:])
    sizes = jnp.where(real, sizes, 0)
    return _with_residual(measure, sizes, jumps.arrivals, real, last)


def total_from_jumps(
    measure: "LevyMeasure", key: Array, shape: tuple[int, ...], weight: Array, num: int
) -> Array:
    """Sums of the jumps of intensity `weight * measure`: the largest, and a gamma variable."""
    by_time, by_rest = jax.random.split(key)
    arrivals = arrival_times(by_time, (*shape, num), weight.dtype) / weight
    sizes = measure.inverse_tail(arrivals)
    last = sizes[..., -1:]
    mean, variance = (weight * moment for moment in _two_moments(measure, last))
    some = variance > 0
    gamma_shape = jnp.where(some, mean**2 / jnp.where(some, variance, 1), 1)
    rest = jax.random.gamma(by_rest, gamma_shape) / gamma_shape * mean
    return jnp.sum(sizes, -1) + jnp.where(some, rest, mean)


def dtype_of(measure: "LevyMeasure") -> jnp.dtype:
    """The precision of random draws: that of the parameters."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(measure) if not callable(leaf)]
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return jnp.result_type(*floating) if floating else jnp.result_type(float)


def _two_moments(measure: "LevyMeasure", last: Array) -> Array:
    """Mean and variance of the sum of the jumps below `last`, which has an axis of length 1."""
    orders = jnp.asarray([1, 2], last.dtype).reshape(2, *(1,) * last.ndim)
    return measure.moment(orders, last[None])[..., 0]


def _with_residual(
    measure: "LevyMeasure", sizes: Array, arrivals: Array, real: Array, last: Array
) -> Jumps:
    mass, variance = _two_moments(measure, last)
    return Jumps(sizes, mass, arrivals, variance, jnp.sum(real, axis=-1))


def arrival_times(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Arrival times of unit Poisson processes along the last axis, strictly positive.

    Exponential gaps from 53 random bits each in float64 and 32 in float32, where the first arrival
    is right down to 1e-10: the largest jump of a heavy tail depends on it.
    """
    if dtype == jnp.float64:
        bits = jax.random.bits(key, shape, jnp.uint64) >> 11
        gaps = -log_of_normal((bits.astype(dtype) + 0.5) * 2.0**-53)
    else:
        bits = jax.random.bits(key, shape, jnp.uint32)
        low, high = ((b.astype(dtype) + 0.5) * 2.0**-32 for b in (bits, ~bits))
        gaps = jnp.where(low < 0.5, -jnp.log1p(-jnp.minimum(low, 0.5)), -jnp.log(high))
    return _running_sum(jnp.maximum(gaps, 2.0**-54))


def _running_sum(x: Array, block: int = 8) -> Array:
    """`cumsum` along the last axis, by blocks: on CPUs twice as fast as XLA's."""
    num = x.shape[-1]
    blocks = -(-num // block)
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, blocks * block - num)])
    inside = jnp.matmul(
        padded.reshape(-1, block),
        jnp.asarray(np.triu(np.ones((block, block))), x.dtype),
        precision=jax.lax.Precision.HIGHEST,
    ).reshape(*x.shape[:-1], blocks, block)
    ends = inside[..., -1]
    before = jnp.cumsum(ends, -1) - ends
    return (inside + before[..., None]).reshape(*x.shape[:-1], -1)[..., :num]


def num_jumps(
    measure: "LevyMeasure",
    tolerance: float,
    *,
    location: float = 0.0,
    kurtosis: float = 6.0,
    confidence: float = 0.99,
) -> int:
    """How many ranked jumps to keep for a wanted relative error of the kernel.

    A layer of the limit adds `a E φφ' + Σ_j λ_j φ(ζ_j) φ(ζ_j)'` to the kernel. If the jumps after
    the N-th are replaced by their expected sum, the variance of the error is at most
    `E φ⁴ ∫_0^λ_N x² ρ(dx)`. With the stated probability, the number returned keeps its root below
    `tolerance` times `(a + Σ_j λ_j) E φ²`, the expected diagonal given all jumps: both `λ_N` and
    the total are replaced by bounds (Chernoff's) that hold with that probability.

    Args:
        measure: with concrete parameters.
        tolerance: relative error, in (0, 1).
        location: `a ≥ 0`, the diffuse part of the limit.
        kurtosis: `E φ⁴ / (E φ²)²` at a centred Gaussian; 6 for ReLU.
        confidence: in (0, 1).

    Returns:
        The number, at most 5 % above the smallest with these bounds; 1 for no jumps.

    Raises:
        ValueError: if an argument is out of range, or more than 10 million jumps are needed.

    Example:
        >>> from mogp import levy
        >>> levy.num_jumps(levy.Gamma(1.0, 1.0), 1e-3) < levy.num_jumps(levy.Stable(0.5), 1e-3)
        True
    """
    check_measure("measure", measure)
    check_between("tolerance", tolerance, 0, 1)
    check_between("location", location, -np.finfo(float).tiny)
    check_between("kurtosis", kurtosis, 0)
    check_between("confidence", confidence, 0, 1)
    log_risk = np.log((1 - confidence) / 2)

    exponent = 37 if dtype_of(measure) == jnp.float32 else 100
    t = np.logspace(-exponent, exponent, 40 * exponent)
    psi = np.asarray(measure.laplace_exponent(t), float)
    total = max(np.max((psi + log_risk) / t), 0) + location

    num = np.unique(np.geomspace(1, 1e7, 340).astype(int))
    # P(Γ_N ≤ N x) ≤ exp(-N (x - 1 - log x)): the x < 1 where this is the risk, by bisection.
    low, high = np.zeros(num.size), np.ones(num.size)
    for _ in range(60):
        middle = (low + high) / 2
        above = middle - 1 - np.log(middle) < -log_risk / num
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    last = measure.inverse_tail(jnp.asarray(num * low, dtype_of(measure)))
    error = np.sqrt(kurtosis * np.asarray(measure.moment(2, last), float))
    enough = error <= tolerance * total
    if measure.index_at_infinity == np.inf and float(measure.moment(1)) == 0:
        return 1
    if not enough.any():
        raise ValueError(
            f"tolerance {tolerance:g} needs more than {num[-1]} jumps of {measure}, "
            f"whose small jumps weigh {float(error[-1] / total):.1e} then"
        )
    return int(num[enough.argmax()])
