"""What a Gaussian regression offers, however it is computed."""

import abc
import math
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key, check_numbers


@runtime_checkable
class Features(Protocol):
    """A function that is linear in its last weights: a drawn `Path`, or an `nn.DependentMLP`.

    Any class with these two members will do for `limit.condition`.

    Example:
        >>> from mogp import MoGP, limit, priors
        >>> import jax
        >>> network = MoGP([priors.Horseshoe()]).network(2, 1, 30, key=jax.random.key(0))
        >>> isinstance(network, limit.Features)
        True
    """

    @property
    def in_size(self) -> int:
        """The size of a point."""

    def design(self, x: Array) -> Array:
        """`F` of shape (n, N): with standard normal `w` of shape (N,), an output is `F w`."""


class Prediction(NamedTuple):
    """A Gaussian prediction of the function at points, noise left out.

    Attributes:
        mean: of shape (n, num_outputs).
        variance: at each point, of shape (n,); the same for all outputs.
    """

    mean: Float[Array, "n num_outputs"]
    variance: Float[Array, " n"]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


class LeaveOneOut(NamedTuple):
    """Predictions of every observation from the others (Rasmussen and Williams, Eqs. 5.10-5.12).

    Attributes:
        mean: of shape (n, num_outputs).
        variance: of an observation, noise included, of shape (n,).
        log_density: `log p(y_i | y_-i)`, of shape (n, num_outputs).
    """

    mean: Float[Array, "n num_outputs"]
    variance: Float[Array, " n"]
    log_density: Float[Array, "n num_outputs"]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


class Regression(eqx.Module):
    """A Gaussian process given observations with noise; made by `limit.condition`.

    Attributes:
        x: points, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        noise_scale: the standard deviation of their noise.
        error: estimate of the relative error that rounding leaves in the results. Above 1e-3, take
            double precision, more noise, or `method="low_rank"`, whose error is the square root.
    """

    x: eqx.AbstractVar[Array]
    y: eqx.AbstractVar[Array]
    noise_scale: eqx.AbstractVar[Array]
    error: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def log_marginal_likelihood(self) -> Array:
        """`log p(y)` given kernel and noise, a scalar: the sum over outputs.

        The gradient has a closed form, and no derivative of a factor is taken. Equivalent to
        `scipy.stats.multivariate_normal.logpdf`.
        """

    @abc.abstractmethod
    def leave_one_out(self) -> LeaveOneOut:
        """Every observation predicted from the others, without refitting."""

    def predict(self, x: ArrayLike) -> Prediction:
        """Mean and variance of the function at new points, of shape (m, d).

        Raises:
            ValueError: if the points are not a finite array of that shape.
        """
        return self._predicted(self._new(x))

    def sample(
        self, x: ArrayLike, *, key: PRNGKeyArray, num_samples: int = 1
    ) -> Float[Array, "num_samples m num_outputs"]:
        """Draws of the function at new points.

        Args:
            x: points, of shape (m, d).
            key: a random key.
            num_samples: the number of draws.

        Returns:
            Array of shape (num_samples, m, num_outputs).

        Raises:
            ValueError: if an argument is out of range.
        """
        check_key(key)
        points, num = self._new(x), check_count("num_samples", num_samples)
        size = num * len(points) * self.y.shape[1]
        what, instead = f"{num} draws on {len(points)} points", "fewer draws or points"
        check_numbers(what, size, instead, self.x.dtype)
        return self._drawn(points, key, num)

    @abc.abstractmethod
    def _predicted(self, x: Array) -> Prediction: ...

    @abc.abstractmethod
    def _drawn(self, x: Array, key: Array, num_samples: int) -> Array: ...

    def _new(self, x: ArrayLike) -> Array:
        return as_inputs("x", x, self.x.shape[1]).astype(self.x.dtype)

    def _left_out(self, solved: Array, variance: Array) -> LeaveOneOut:
        """From `(K + noise_scale² I)⁻¹ y`, and the variances of an observation given the others."""
        off = solved * variance[:, None]
        log_scale = jnp.log(2 * math.pi * variance)[:, None]
        return LeaveOneOut(self.y - off, variance, -(solved * off + log_scale) / 2)
