"""The posterior of many weights, and the evidence: `y = F w + s ε` with `w ~ N(0, I)`.

Work is in the smaller of `K = F Fᵀ + s² I` (n, n) and `C = Fᵀ F + s² I` (N, N). A factor of the
matrix costs least, and loses digits with the condition number of the matrix; where that is too
many, singular values of the features lose digits with its square root only (Golub and Van Loan,
Matrix Computations, 4th edition, Section 5.3).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from mogp._arrays import sum_over_rows
from mogp.limit._posterior import Features
from mogp.limit._recursion import precise_matmul

BLOCK = 4096  # rows of features that are held at once
# Rounding times condition number up to which the matrix is factored, by the bytes of a number. In
# double precision that leaves 1e-8 for all results; in single precision, an error of the log
# evidence that a sampler does not feel, since singular values take ten times as long.
_ACCEPTED = {8: 1e-10, 4: 1e-2}


def _eps(like: Array) -> float:
    return float(np.finfo(like.dtype).eps)


def rounding_errors(inverse: Array, diagonal: Array) -> Array:
    """Rounding times the condition number of `M`, from `M⁻¹ = W Wᵀ` and the diagonal of `M`.

    The sum of `M_jj (M⁻¹)_jj` is about the least condition number that scaling `M` can give.
    """
    return _eps(inverse) * jnp.sum(diagonal * jnp.sum(inverse**2, 1))


def _where_rough(improve: Any, error: Array, *state: Array) -> tuple[Array, ...]:
    """The state, improved if the error is too large or NaN.

    A loop of one step at most: of many chains, `cond` would take both branches for each.
    """

    def is_rough(state: tuple[Array, ...]) -> Array:
        return ~(state[0] < _ACCEPTED[error.dtype.itemsize])

    def better(_: tuple[Array, ...]) -> tuple[Array, ...]:
        return jnp.zeros_like(error), *improve()

    return jax.lax.while_loop(is_rough, better, (error, *state))[1:]


def _spectrum(features: Array, noise: Array) -> tuple[Array, Array, Array, Array]:
    """`U`, `σ`, `√(σ² + s²)` and `V` of features `U σ Vᵀ`, exactly 0 what is of rounding's size.

    Such a singular value, or entry of a singular vector, would let what contradicts itself at
    repeated points, divided by a small `s`, into the weights and into other points.
    """
    left, sizes, right = jnp.linalg.svd(features, full_matrices=False)
    least = 4 * max(features.shape) ** 0.5 * _eps(sizes) * jnp.max(sizes)
    sizes = jnp.where(sizes > least, sizes, 0)
    left = jnp.where(jnp.abs(left) > 4 * _eps(left), left, 0)
    return left, sizes, jnp.hypot(sizes, noise), right.T


# --- at most as many points as features ------------------------------------------------------


class Wide(NamedTuple):
    """`K⁻¹` and `Fᵀ K^(-½)`, which are held: `solve` has the derivatives.

    Attributes:
        inverse: `W` with `W Wᵀ = K⁻¹`, of shape (n, n).
        basis: `Fᵀ W`, of shape (N, n).
    """

    inverse: Array
    basis: Array


def wide(features: Array, noise: Array) -> Wide:
    """What `solve` needs, for features (n, N) with `n ≤ N`."""
    features, noise = jax.lax.stop_gradient((features, noise))
    square = precise_matmul(features, features.T) + noise**2 * jnp.eye(
        len(features), dtype=features.dtype
    )
    inverse = _inverse_root(square)
    basis = precise_matmul(features.T, inverse)

    def from_spectrum() -> tuple[Array, Array]:
        left, sizes, roots, right = _spectrum(features, noise)
        return left / roots[None], right * (sizes / roots)[None]

    error = rounding_errors(inverse, jnp.diagonal(square))
    return Wide(*_where_rough(from_spectrum, error, inverse, basis))


def _inverse_root(square: Array) -> Array:
    """`R⁻¹` of `Rᵀ R`."""
    factor = jnp.linalg.cholesky(square, symmetrize_input=False).T
    return inverse_triangle(factor)


def inverse_triangle(factor: Array) -> Array:
    """`R⁻¹`."""
    return solve_triangular(factor, jnp.eye(len(factor), dtype=factor.dtype))


@jax.custom_jvp
def solve(
    features: Array, noise: Array, given: Wide, prior: Array, y: Array
) -> tuple[Array, Array]:
    """The solution of `w - Fᵀ a = u`, `F w + s² a = y`: posterior mean of weights `N(u, I)`.

    Args:
        features: `F`, of shape (n, N).
        noise: `s`.
        given: `wide` of these two.
        prior: `u`, of shape (N, k).
        y: of shape (n, k).

    Returns:
        `w = u + Fᵀ a`, of shape (N, k), and `a = K⁻¹ (y - F u)`, of shape (n, k).
    """
    del features, noise
    inverse, basis = given
    white = precise_matmul(inverse.T, y)
    # Equal observations of one point differ by nothing, which divided by `s²` must not be rounding.
    sizes = precise_matmul(jnp.abs(inverse.T), jnp.abs(y))
    white = jnp.where(jnp.abs(white) > 4 * _eps(y) * sizes, white, 0)
    white -= precise_matmul(basis.T, prior)
    return prior + precise_matmul(basis, white), precise_matmul(inverse, white)


@solve.defjvp
def _solve_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    features, noise, given, *_ = primals
    change, noise_change, _, prior_change, y_change = tangents
    weights, solved = solve(*primals)
    prior = prior_change + precise_matmul(change.T, solved)
    y = y_change - precise_matmul(change, weights) - 2 * noise * noise_change * solved
    return (weights, solved), solve(features, noise, given, prior, y)


@jax.custom_jvp
def _wide_evidence(features: Array, noise: Array, y: Array, given: Wide) -> Array:
    del features, noise
    white = precise_matmul(given.inverse.T, y)
    # Of orthogonal and triangular factors alike.
    log_det = -2 * jnp.linalg.slogdet(given.inverse)[1]
    constant = y.size * math.log(2 * math.pi)
    return -(jnp.sum(white**2) + y.shape[1] * log_det + constant) / 2


@_wide_evidence.defjvp
def _wide_evidence_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    features, noise, y, given = primals
    change, noise_change, y_change, _ = tangents
    n, outputs = y.shape
    columns = jnp.concatenate([y, jnp.eye(n, dtype=y.dtype)], 1)
    prior = jnp.zeros((features.shape[1], n + outputs), y.dtype)
    weights, solved = solve(features, noise, given, prior, columns)
    alpha, inverse = solved[:, :outputs], solved[:, outputs:]
    slope = precise_matmul(alpha, weights[:, :outputs].T) - outputs * weights[:, outputs:].T
    by_noise = noise * (jnp.sum(alpha**2) - outputs * jnp.trace(inverse))
    tangent = jnp.sum(slope * change) + by_noise * noise_change - jnp.sum(alpha * y_change)
    return _wide_evidence(*primals), tangent


# --- more points than features ---------------------------------------------------------------


class Tall(NamedTuple):
    """The posterior of the weights.

    Attributes:
        factor: `R`, upper triangular, of shape (N, N), with `Rᵀ R = C`.
        weights: their posterior mean, of shape (N, num_outputs).
        solved: `K⁻¹ y`, of shape (n, num_outputs).
    """

    factor: Array
    weights: Array
    solved: Array


@eqx.filter_custom_jvp
def tall(source: Features, x: Array, y: Array, noise: Array) -> Tall:
    """The posterior of the weights, a block of points at a time."""

    def statistics(x: Array, y: Array) -> tuple[Array, Array]:
        features = source.design(x)
        return precise_matmul(features.T, features), precise_matmul(features.T, y)

    def left(weights: Array) -> Array:
        return (y - _by_rows(source, weights, x)) / noise**2

    def from_spectrum() -> tuple[Array, ...]:
        triangle = _triangle(source, x, y)
        rotation, sizes, roots, right = _spectrum(triangle[:size, :size], noise)
        along = precise_matmul(rotation.T, triangle[:size, size:])
        weights = precise_matmul(right, (sizes / roots**2)[:, None] * along)
        factor = jnp.linalg.qr(roots[:, None] * right.T, mode="r")
        factor *= jnp.sign(jnp.diagonal(factor))[:, None]
        # What is left is a difference of equal numbers, but `Fᵀ a` is known to be `w`; and where
        # nothing but rounding is left, `a` is in the range of `F`.
        solved = left(weights)
        sums = sum_over_rows(
            lambda x, a: precise_matmul(source.design(x).T, a), x, solved, block=BLOCK
        )
        white = solve_triangular(factor, weights - sums, trans=1)
        solved += _by_rows(source, solve_triangular(factor, white), x)
        scale = jnp.where(sizes > 0, sizes, jnp.inf) * roots**2
        inside = _by_rows(source, precise_matmul(right, along / scale[:, None]), x)
        outside = jnp.sum(triangle[size:, size:] ** 2, 0)
        fits = outside < 16 * len(x) * eps**2 * jnp.sum(y**2, 0)
        return factor, weights, jnp.where(fits[None], inside, solved)

    gram, product = sum_over_rows(statistics, x, y, block=BLOCK)
    size, eps = len(gram), _eps(x)
    square = gram + noise**2 * jnp.eye(size, dtype=x.dtype)
    factor = jnp.linalg.cholesky(square, symmetrize_input=False).T
    weights = solve_triangular(factor, solve_triangular(factor, product, trans=1))
    error, solved = rounding_errors(inverse_triangle(factor), jnp.diagonal(square)), left(weights)
    fit = jnp.sum(y**2, 0) / jnp.maximum(noise**4 * jnp.sum(solved**2, 0), _eps(x) ** 4)
    error = jnp.maximum(error, eps * jnp.sqrt(jnp.max(fit)))
    return Tall(*_where_rough(from_spectrum, error, factor, weights, solved))


def _map_rows(f: Callable[..., Array], *arrays: Array) -> Array:
    """`f` of a block of rows at a time, for an `f` that treats each row alone."""
    whole = len(arrays[0]) - len(arrays[0]) % BLOCK
    if not whole:  # shares the features with what else needs them
        return f(*arrays)
    blocks = [a[:whole].reshape(-1, BLOCK, *a.shape[1:]) for a in arrays]
    first = jax.lax.map(lambda rows: f(*rows), blocks)
    return jnp.concatenate([first.reshape(whole, -1), f(*(a[whole:] for a in arrays))])


def _by_rows(source: Features, weights: Array, x: Array) -> Array:
    """`F w`."""
    return _map_rows(lambda x: precise_matmul(source.design(x), weights), x)


def _changed(source: Features, change: Any, x: Array, x_change: Array) -> tuple[Array, Array]:
    """The features, and what changes of them make."""
    return eqx.filter_jvp(lambda source, x: source.design(x), (source, x), (change, x_change))


def _filled(tangents: Sequence[Array | None], *primals: Array) -> list[Array]:
    """The tangents, zeros for None."""
    pairs = zip(primals, tangents, strict=True)
    return [jnp.zeros_like(p) if t is None else t for p, t in pairs]


def _triangle(source: Features, x: Array, y: Array) -> Array:
    """`R` of the features, and `Qᵀ y` beside it, by a QR of a block of rows at a time."""
    n = len(x)
    block = min(n, BLOCK)
    num = -(-n // block)
    rows = jnp.arange(num * block)
    kept = (rows < n).reshape(num, block, 1)
    blocks = [a[jnp.minimum(rows, n - 1)].reshape(num, block, -1) for a in (x, y)]

    def add(triangle: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
        x, y, kept = rows
        here = jnp.where(kept, jnp.concatenate([source.design(x), y], 1), 0)
        return jnp.linalg.qr(jnp.concatenate([triangle, here]), mode="r"), None

    size = num_features(source, x) + y.shape[1]
    return jax.lax.scan(add, jnp.zeros((size, size), x.dtype), (*blocks, kept))[0]


@tall.def_jvp  # type: ignore[untyped-decorator]
def _tall_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """`dR R⁻¹` is the upper half of `R⁻ᵀ dC R⁻¹`."""
    source, x, y, noise = primals
    given = factor, weights, solved = tall(*primals)
    x_change, y_change, noise_change = _filled(tangents[1:], x, y, noise)
    inverse = inverse_triangle(factor)

    def sums(x: Array, x_change: Array, y_change: Array, solved: Array) -> tuple[Array, Array]:
        features, change = _changed(source, tangents[0], x, x_change)
        gap = y_change - precise_matmul(change, weights)
        white = precise_matmul(features, inverse).T, precise_matmul(change, inverse)
        product = noise**2 * precise_matmul(change.T, solved) + precise_matmul(features.T, gap)
        return precise_matmul(*white), product

    half, product = sum_over_rows(sums, x, x_change, y_change, solved, block=BLOCK)
    by_noise = 2 * noise * noise_change
    square = half + half.T + by_noise * precise_matmul(inverse.T, inverse)
    upper = jnp.triu(square) - jnp.diag(jnp.diagonal(square)) / 2
    white = precise_matmul(inverse.T, product - by_noise * weights)
    weights_change = precise_matmul(inverse, white)

    def fitted(x: Array, x_change: Array) -> Array:
        features, change = _changed(source, tangents[0], x, x_change)
        return precise_matmul(change, weights) + precise_matmul(features, weights_change)

    left = y_change - _map_rows(fitted, x, x_change) - by_noise * solved
    return given, Tall(precise_matmul(upper, factor), weights_change, left / noise**2)


@eqx.filter_custom_jvp
def _tall_evidence(source: Features, x: Array, y: Array, noise: Array, given: Tall) -> Array:
    """`log p(y)`; what is given matters to derivatives of higher order only.

    `|y - F w|² / s² + |w|²` is least at `w`, so that an error of `w` counts by its square.
    """
    del source, x
    factor, weights, solved = given
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
    log_det += 2 * (len(y) - len(factor)) * jnp.log(noise)
    quadratic = noise**2 * jnp.sum(solved**2) + jnp.sum(weights**2)
    return -(quadratic + y.shape[1] * log_det + y.size * math.log(2 * math.pi)) / 2


@_tall_evidence.def_jvp  # type: ignore[untyped-decorator]
def _tall_evidence_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """With `a` and `w` held; the derivative of `log det C` is `2 tr(C⁻¹ Fᵀ dF)`."""
    source, x, y, noise, (factor, weights, solved) = primals
    x_change, y_change, noise_change = _filled(tangents[1:4], x, y, noise)
    inverse, (n, outputs) = inverse_triangle(factor), y.shape

    def sums(x: Array, x_change: Array, y_change: Array, solved: Array) -> Array:
        features, change = _changed(source, tangents[0], x, x_change)
        gap = precise_matmul(change, weights) - y_change
        pull = _times_square(features, inverse, factor)
        return jnp.sum(solved * gap) - outputs * jnp.sum(pull * change)

    by_rows = sum_over_rows(sums, x, x_change, y_change, solved, block=BLOCK)
    trace = noise * jnp.sum(inverse**2) + (n - len(factor)) / noise
    by_noise = noise * jnp.sum(solved**2) - outputs * trace
    return _tall_evidence(*primals), by_rows + by_noise * noise_change


@jax.custom_jvp
def _times_square(features: Array, inverse: Array, factor: Array) -> Array:
    """`F R⁻¹ R⁻ᵀ`, in one product where the inverse of `C` is good enough for it."""
    once = precise_matmul(features, precise_matmul(inverse, inverse.T))
    error = rounding_errors(inverse, jnp.sum(factor**2, 0))

    def twice() -> tuple[Array]:
        return (precise_matmul(precise_matmul(features, inverse), inverse.T),)

    return _where_rough(twice, error, once)[0]


@_times_square.defjvp
def _times_square_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (features, inverse, factor), (change, inverse_change, _) = primals, tangents
    white = precise_matmul(features, inverse)
    white_change = precise_matmul(change, inverse) + precise_matmul(features, inverse_change)
    product = precise_matmul(white_change, inverse.T) + precise_matmul(white, inverse_change.T)
    return _times_square(features, inverse, factor), product


# --- either ----------------------------------------------------------------------------------


def num_features(source: Features, x: Array) -> int:
    """`N`, without evaluating the features."""
    return int(eqx.filter_eval_shape(lambda s, x: s.design(x), source, x[:1]).shape[1])


def is_wide(source: Features, x: Array) -> bool:
    """Whether there are no more points than features."""
    return len(x) <= num_features(source, x)


def log_evidence(source: Features, x: Array, y: Array, noise: Array) -> Array:
    """`log p(y)`, with a gradient in closed form."""
    if is_wide(source, x):
        features = source.design(x)
        return _wide_evidence(features, noise, y, wide(features, noise))
    return _tall_evidence(source, x, y, noise, tall(source, x, y, noise))
