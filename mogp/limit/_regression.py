"""Gaussian regression given a kernel: the GP regime, or one draw of the mixture, or a network."""

from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike

from mogp._arrays import Real, as_inputs, as_outputs
from mogp._checks import check_choice, check_number, check_numbers
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import numbers_as_arrays
from mogp.limit._gaussian import check_regime, check_resolved, gp_kernel, gp_pair
from mogp.limit._linalg import cholesky, definite_cholesky, inverse, log_normal, rounding
from mogp.limit._low_rank import low_rank
from mogp.limit._path import Path, pair_of
from mogp.limit._posterior import Features, LeaveOneOut, Prediction, Regression
from mogp.limit._recursion import Pair, input_pair, layers_of, precise_matmul

Source: TypeAlias = AbstractArchitecture | Features


def condition(
    source: Source,
    x: ArrayLike,
    y: ArrayLike,
    *,
    path: Path | None = None,
    noise_scale: Real,
    method: str = "dense",
) -> Regression:
    """The posterior of a function given observations `y = f(x) + noise_scale ε`.

    The weights behind the last hidden layer are integrated out. What is before them is given: in
    the GP regime there is nothing to give, a draw of the mixture has its jumps and nodes, a network
    its weights. The mixture's posterior is a mixture of these over draws of the prior, weighted by
    `exp(log_marginal_likelihood())` ([AFT]).

    Args:
        source: a model in the GP regime, a draw of `model.sample_path`, or a network
            (`nn.DependentMLP`, or any `Features`).
        x: points, of shape (n, d).
        y: observations, of shape (n,), or (n, num_outputs), all with the same kernel.
        path: a draw of `model.sample_path`, which takes the place of a model with jumps.
        noise_scale: the standard deviation of the noise, positive.
        method: `"dense"` factors the kernel matrix of the points. `"low_rank"` takes the hidden
            nodes for features, and needs a path or a network; a path whose diffuse part is not 0
            has a kernel of its own, to which its extra nodes are an approximation.

    Returns:
        The posterior. Its `error` says what rounding does to it: `"dense"` raises noise that is
        lost in the rounding of the kernel matrix to about that, rather than giving NaN.

    Raises:
        ValueError: if an argument is out of range or does not fit, rows of `x` or `y` are not
            finite (they are listed), the model has jumps and no draw is given, or the kernel matrix
            is larger than the memory (before it is allocated).

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, limit, priors
        >>> x = jnp.linspace(-1.0, 1.0, 9)[:, None]
        >>> model = MoGP([priors.Deterministic()], bias_scale=1.0)
        >>> posterior = limit.condition(model, x, x[:, 0] ** 2, noise_scale=0.1)
        >>> posterior.predict(jnp.zeros((4, 1))).mean.shape
        (4, 1)
    """
    check_choice("method", method, ("dense", "low_rank"))
    source = source if path is None else path
    points = as_inputs("x", x, model=source)
    check_number("noise_scale", noise_scale, 0)
    parameters = [leaf for leaf in jax.tree.leaves(source) if eqx.is_inexact_array(leaf)]
    dtype = jnp.result_type(points, *parameters)
    targets = as_outputs("y", y, len(points), dtype)
    data = points.astype(dtype), targets, jnp.asarray(noise_scale, dtype)
    if method == "low_rank":
        if not isinstance(source, Features):
            raise ValueError(
                "source must have finitely many nodes for method 'low_rank', a draw of sample_path "
                f"or a network, got {type(source).__name__}"
            )
        return low_rank(numbers_as_arrays(source), *data)
    if isinstance(source, AbstractArchitecture):
        check_regime(
            source,
            "condition on a draw with path=model.sample_path(…), or sample the "
            "posterior with inference.nuts",
        )
        check_resolved(source, points, layers_of(source))
    check_numbers(
        f"the kernel matrix of {len(points)} points, with its factor,",
        2 * len(points) ** 2,
        'method="low_rank" and a draw of sample_path',
        dtype,
    )
    return _dense(numbers_as_arrays(source), *data)


class DenseRegression(Regression):
    """A Gaussian process given observations with noise, by the factor of the kernel matrix.

    `O(n³)` time once and `O(n²)` memory; `O(n²)` a new point. Made by `condition`.

    Attributes:
        source: the model, the drawn `Path`, or the network.
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: the standard deviation of their noise.
        factor: lower factor of `K + noise_scale² I`, of shape (n, n).
        solved: `(K + noise_scale² I)⁻¹ y`, of shape (n, num_outputs).
        error: see `Regression`.
    """

    source: Source
    x: Array
    y: Array
    noise_scale: Array
    factor: Array
    solved: Array
    error: Array

    @eqx.filter_jit
    def log_marginal_likelihood(self) -> Array:
        return log_normal(self.y, _covariance(self.source, self.x, self.noise_scale), self.factor)

    @eqx.filter_jit
    def leave_one_out(self) -> LeaveOneOut:
        return self._left_out(self.solved, 1 / jnp.diagonal(inverse(self.factor)))

    @eqx.filter_jit
    def _predicted(self, x: Array) -> Prediction:
        pair = _pair(self.source, x, self.x)
        half = solve_triangular(self.factor, pair.xy.T, lower=True)
        variance = jnp.maximum(pair.xx - jnp.sum(half**2, 0), 0)
        return Prediction(precise_matmul(pair.xy, self.solved), variance)

    @eqx.filter_jit
    def _drawn(self, x: Array, key: Array, num_samples: int) -> Array:
        cross = _pair(self.source, x, self.x).xy
        half = solve_triangular(self.factor, cross.T, lower=True)
        factor = cholesky(_pair(self.source, x, x).xy - precise_matmul(half.T, half))
        noise = jax.random.normal(key, (num_samples, len(x), self.y.shape[1]), x.dtype)
        draws = jnp.einsum("ij,sjk->sik", factor, noise)
        return draws + jnp.broadcast_to(precise_matmul(cross, self.solved), draws.shape)


@eqx.filter_jit
def _dense(source: Source, x: Array, y: Array, noise: Array) -> DenseRegression:
    covariance = _covariance(source, x, noise)
    factor = definite_cholesky(covariance)
    # A point's variance over that given the points before it, the largest of which the condition
    # number exceeds.
    ratio = jnp.max(jnp.diagonal(covariance) / jnp.diagonal(factor) ** 2)
    return DenseRegression(
        source=source,
        x=x,
        y=y,
        noise_scale=noise,
        factor=factor,
        solved=cho_solve((factor, True), y),
        error=rounding(covariance) * ratio,
    )


def _pair(source: Source, x: Array, y: Array) -> Pair:
    """The kernel on points x and y."""
    if isinstance(source, Path):
        return pair_of(source, x, y)
    if isinstance(source, Features):
        left, right = source.design(x), source.design(y)
        product = precise_matmul(left, right.T)
        return Pair(jnp.sum(left**2, 1), product, jnp.sum(right**2, 1))
    return gp_pair(source, input_pair(source, x, y))


def _covariance(source: Source, x: Array, noise: Array) -> Array:
    kernel = _pair(source, x, x).xy if isinstance(source, Features) else gp_kernel(source, x)
    return kernel + noise**2 * jnp.eye(len(x), dtype=x.dtype)
