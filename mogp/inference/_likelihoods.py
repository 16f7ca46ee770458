"""What observations are, given the outputs of a network: likelihoods with their parameters."""

from abc import abstractmethod
from dataclasses import fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from mogp import limit
from mogp._arrays import Real
from mogp._checks import check_between, is_concrete

Parameter: TypeAlias = Real | Distribution


class Likelihood(eqx.Module):
    """The law of observations given outputs of shape (n, num_outputs).

    A parameter is a positive number, or the NumPyro law that it has before the data.
    """

    is_conjugate: ClassVar[bool] = False  # whether the weights of the outputs integrate out
    is_real: ClassVar[bool] = False  # whether observations are real numbers with a scale to learn

    def __check_init__(self) -> None:
        for name in self.parameters:
            if not isinstance(getattr(self, name), Distribution):
                check_between(name, getattr(self, name), 0)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters."""
        return [field.name for field in fields(self)]

    def drawn(self) -> Self:
        """Within a NumPyro model: laws replaced by draws, a site each under its own name."""
        laws = {n: getattr(self, n) for n in self.parameters}
        laws = {n: law for n, law in laws.items() if isinstance(law, Distribution)}
        return replace(self, **{n: numpyro.sample(n, law) for n, law in laws.items()})

    @abstractmethod
    def law(self, outputs: Array) -> Distribution:
        """The law of observations, of batch shape (n,)."""

    def targets(self, y: ArrayLike, count: int) -> Array:
        """Observations as an array of shape (count, num_outputs), checked.

        Raises:
            ValueError: if shapes disagree, rows are not finite, or values are impossible.
        """
        array = jnp.asarray(y)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
            raise ValueError(
                f"y must have shape ({count},) or ({count}, outputs), got {jnp.shape(y)}"
            )
        _refuse_rows("be finite, got NaN or infinity", ~jnp.isfinite(array))
        if self.is_real and count > 1 and is_concrete(array) and jnp.ptp(array) == 0:
            raise ValueError(f"y must vary, got {count} times {float(array[0, 0]):g}")
        return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)

    def num_outputs(self, y: Array) -> int:
        """How many outputs checked observations need."""
        return y.shape[1]

    def condition(self, source: Any, x: Array, y: Array, method: str) -> limit.Regression:
        """The posterior given all but the weights of the outputs, if conjugate."""
        raise NotImplementedError(f"a posterior under {self} has no closed form")

    def mean(self, outputs: Array) -> Array:
        """Expected observations: of the shape of the outputs; probabilities for classes."""
        return self.law(outputs).mean


class Gaussian(Likelihood):
    """`y = f(x) + noise_scale ε`: the weights of the outputs are integrated out."""

    noise_scale: Parameter = dist.HalfNormal(1.0)
    is_conjugate: ClassVar[bool] = True
    is_real: ClassVar[bool] = True

    def law(self, outputs: Array, variance: Array | None = None) -> Distribution:
        """`variance` is that of the outputs themselves, of shape (n,): it adds to the noise's."""
        scale = jnp.full_like(outputs, 1) * self.noise_scale
        if variance is not None:
            scale = jnp.sqrt(scale**2 + jnp.broadcast_to(variance[..., None], scale.shape))
        return dist.Normal(outputs, scale).to_event(1)

    def condition(self, source: Any, x: Array, y: Array, method: str) -> limit.Regression:
        return limit.condition(source, x, y, noise_scale=self.noise_scale, method=method)


class StudentT(Likelihood):
    """`y = f(x) + noise_scale t` with Student's t of `df` degrees of freedom: outliers happen."""

    noise_scale: Parameter = dist.HalfNormal(1.0)
    df: Parameter = dist.Gamma(2.0, 0.1)
    is_real: ClassVar[bool] = True

    def law(self, outputs: Array) -> Distribution:
        like = jnp.ones_like(outputs)
        return dist.StudentT(like * self.df, outputs, like * self.noise_scale).to_event(1)

    def mean(self, outputs: Array) -> Array:
        """The median, which every degree of freedom has."""
        return outputs


class Bernoulli(Likelihood):
    """`P(y = 1) = 1 / (1 + exp(-f(x)))`, for each output."""

    def law(self, outputs: Array) -> Distribution:
        return dist.Bernoulli(logits=outputs).to_event(1)

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        _refuse_rows("be 0 or 1, got other values", (array != 0) & (array != 1))
        return array


class Poisson(Likelihood):
    """Counts of mean `exp(f(x))`, for each output."""

    def law(self, outputs: Array) -> Distribution:
        return dist.Poisson(jnp.exp(outputs)).to_event(1)

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        _refuse_rows("be counts, got other values", (array < 0) | (array != jnp.floor(array)))
        return array


class Categorical(Likelihood):
    """Labels in `[0, classes)` with logits `f(x)`; `y` has shape (n,).

    Attributes:
        classes: their number; 0 for one more than the largest label.
    """

    classes: int = eqx.field(static=True, default=0)

    @property
    def parameters(self) -> list[str]:
        return []

    def law(self, outputs: Array) -> Distribution:
        return dist.Categorical(logits=outputs)

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        if array.shape[1] != 1:
            raise ValueError(f"y must hold one label a row, shape ({count},), got {jnp.shape(y)}")
        labels = array[:, 0]
        largest = self.classes - 1 if self.classes else np.inf
        bad = (labels < 0) | (labels != jnp.floor(labels)) | (labels > largest)
        wanted = f"[0, {self.classes})" if self.classes else "0, 1, 2, …"
        _refuse_rows(f"be labels in {wanted}, got others", bad[:, None])
        labels = labels.astype(int)
        if not self.classes and is_concrete(labels):
            found = np.unique(labels)
            if len(found) != found[-1] + 1:
                missing = sorted(set(range(found[-1])) - set(found.tolist()))
                raise ValueError(
                    f"y has no rows of classes {missing[:10]}: number the classes 0, 1, 2, … "
                    "or give their number with Categorical(classes)"
                )
        return labels

    def num_outputs(self, y: Array) -> int:
        return self.classes or int(y.max()) + 1

    def mean(self, outputs: Array) -> Array:
        return self.law(outputs).probs


_BY_NAME: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "categorical": Categorical,
}


def likelihood_of(value: str | Likelihood) -> Likelihood:
    """A likelihood from its name, with the laws that its parameters have by default.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(value, Likelihood):
        return value
    if value not in _BY_NAME:
        raise ValueError(
            f"likelihood must be one of {sorted(_BY_NAME)} or a Likelihood, got {value!r}"
        )
    return _BY_NAME[value]()


def _refuse_rows(wanted: str, bad: Any) -> None:
    if is_concrete(bad):
        rows = np.flatnonzero(np.asarray(bad).any(1))
        if len(rows):
            raise ValueError(f"y must {wanted} in rows {rows[:10].tolist()}")
