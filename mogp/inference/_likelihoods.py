"""What observations are, given the outputs of a network: likelihoods with their parameters."""

from abc import abstractmethod
from dataclasses import fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, biject_to

from mogp import limit
from mogp._arrays import Real, as_numbers
from mogp._checks import check_between, is_concrete
from mogp.inference._scores import categorical

Parameter: TypeAlias = Real | Distribution


class Likelihood(eqx.Module):
    """The distribution of observations given outputs of shape (n, num_outputs).

    A field is a parameter: a positive number, or the NumPyro distribution that it has before the
    data. Such a parameter is learned: by `fit` its most probable value, by `nuts` and `sghmc` its
    posterior.

    A likelihood of your own is a subclass with its parameters as fields, and `law`. It may override
    `targets`, which says what observations are possible.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from mogp import MoGP, inference, priors
        >>> class Laplace(inference.Likelihood):
        ...     spread: inference.Parameter = dist.HalfNormal(1.0)
        ...     def law(self, outputs):
        ...         return dist.Laplace(outputs, jnp.ones_like(outputs) * self.spread).to_event(1)
        >>> x = jnp.linspace(-1, 1, 20)[:, None]
        >>> network = MoGP([priors.Horseshoe()]).network(1, 1, 5, key=jax.random.key(0))
        >>> result = inference.fit(
        ...     network, x, x**2, key=jax.random.key(1), likelihood=Laplace(), progress=False
        ... )
        >>> bool(result.likelihood.spread > 0)
        True
    """

    is_conjugate: ClassVar[bool] = False  # whether the weights of the outputs integrate out
    is_real: ClassVar[bool] = False  # whether observations are real numbers with a scale to learn
    is_binary: ClassVar[bool] = False  # whether observations are 0 or 1, and the mean that of 1
    is_discrete: ClassVar[bool] = False  # whether observations are integers

    def __check_init__(self) -> None:
        for name in self.parameters:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Distribution):
                check_between(name, value, 0)

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters."""
        return [field.name for field in fields(self) if not field.metadata.get("static")]

    @property
    def unknown(self) -> dict[str, Distribution]:
        """The parameters that are learned, by name, and their distributions before the data.

        Raises:
            ValueError: if one is not the distribution of a single number.
        """
        values = {name: getattr(self, name) for name in self.parameters}
        laws = {n: law for n, law in values.items() if isinstance(law, Distribution)}
        for name, law in laws.items():
            if law.batch_shape or law.event_shape:
                raise ValueError(f"{name} must have the distribution of one number, got {law}")
        return laws

    def drawn(self) -> Self:
        """Within a NumPyro model: unknown parameters drawn, a site each under its own name."""
        return replace(self, **{n: numpyro.sample(n, law) for n, law in self.unknown.items()})

    @abstractmethod
    def law(self, outputs: Array) -> Distribution:
        """The distribution of observations given outputs (n, num_outputs), of batch shape (n,)."""

    def log_density(self, outputs: Array, y: Array) -> Array:
        """`log p(y_i | outputs_i)`, of shape (n,), of observations as `targets` returns them."""
        return self.law(outputs).log_prob(y)

    def targets(self, y: ArrayLike, count: int) -> Array:
        """Observations as an array of shape (count, num_outputs), checked.

        Args:
            y: observations, numbers or booleans, of shape (count,) or (count, num_outputs).
            count: the number of rows of the inputs.

        Raises:
            ValueError: if shapes disagree, rows are not finite, or values are impossible.
        """
        array = as_numbers("y", y)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            array = array.astype(float)
        found = array.shape
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
            raise ValueError(f"y must have shape ({count},) or ({count}, outputs), got {found}")
        _refuse_rows("be finite, got NaN or infinity", ~jnp.isfinite(array))
        if self.is_real and count > 1 and is_concrete(array) and np.ptp(np.asarray(array)) == 0:
            raise ValueError(f"y must vary, got {count} times {float(array[0, 0]):g}")
        return array

    def num_outputs(self, y: Array) -> int:
        """How many outputs checked observations need."""
        return y.shape[1]

    def for_outputs(self, number: int) -> Self:  # noqa: ARG002
        """The likelihood where a network has so many outputs."""
        return self

    def for_observations(self, y: Array) -> Self:  # noqa: ARG002
        """The likelihood with what it takes from all the checked observations that it is fit to."""
        return self

    def condition(self, source: Any, x: Array, y: Array, method: str) -> limit.Regression:
        """The posterior given all but the weights of the outputs, if conjugate."""
        raise NotImplementedError(f"a posterior under {self} has no closed form")

    def mean(self, outputs: Array) -> Array:
        """Expected observations: of the shape of the outputs; probabilities for classes."""
        return self.law(outputs).mean


class Gaussian(Likelihood):
    """`y = f(x) + noise_scale ε` with standard normal `ε`, for each output.

    The weights of the outputs are integrated out by `nuts`.

    Attributes:
        noise_scale: the standard deviation of the noise, positive, or its distribution.
    """

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
    """`y = f(x) + noise_scale t` with Student's t, for each output: outliers happen.

    Attributes:
        noise_scale: the scale of the noise, positive, or its distribution.
        df: the degrees of freedom of `t`, positive, or their distribution.
    """

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
    """`P(y = 1) = 1 / (1 + exp(-f(x)))`, for each output; `y` may be boolean.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import inference
        >>> float(inference.Bernoulli().mean(jnp.zeros((1, 1)))[0, 0])
        0.5
    """

    is_binary: ClassVar[bool] = True
    is_discrete: ClassVar[bool] = True

    def law(self, outputs: Array) -> Distribution:
        return dist.Bernoulli(logits=outputs).to_event(1)

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        _refuse_rows("be 0 or 1, got other values", (array != 0) & (array != 1))
        return array


class Poisson(Likelihood):
    """Counts of mean `mean_count · exp(f(x))`, for each output.

    Attributes:
        mean_count: the mean where `f(x) = 0`, positive, or its distribution. None is the mean of
            the counts that the model is fit to, so that `f` is of size 1 at any size of counts; and
            1 where there are none yet.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import inference
        >>> round(float(inference.Poisson(mean_count=200.0).mean(jnp.zeros((1, 1)))[0, 0]), 3)
        200.0
    """

    mean_count: Parameter | None = None
    is_discrete: ClassVar[bool] = True

    def law(self, outputs: Array) -> Distribution:
        shift = jnp.log(
            jnp.asarray(1 if self.mean_count is None else self.mean_count, outputs.dtype)
        )
        return Counts(outputs + jnp.full_like(outputs, shift)).to_event(1)

    def for_observations(self, y: Array) -> Self:
        if self.mean_count is not None:
            return self
        return replace(self, mean_count=jnp.maximum(jnp.mean(y), 1 / (2 * y.size)))

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        _refuse_rows("be counts, got other values", (array < 0) | (array != jnp.floor(array)))
        return array


class Counts(dist.Poisson):
    """A Poisson distribution whose log-density at large counts is exact in any precision.

    `log p(y) = log p(y | mean y) - y (e^d - 1 - d)` with `d` the logarithm of the mean over `y`.
    The terms `y log mean`, `mean` and `log y!` are each a thousand times as large as their sum.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"log_rate": dist.constraints.real}
    pytree_data_fields = ("log_rate",)

    def __init__(self, log_rate: Array) -> None:
        self.log_rate = log_rate
        super().__init__(jnp.exp(log_rate), validate_args=False)

    def log_prob(self, value: Array) -> Array:
        some = jnp.where(value > 0, value, 1).astype(self.log_rate.dtype)
        apart = self.log_rate - jnp.log(some)
        # Stirling's series of log y!, of which the next term is below 1e-10 from 16 on.
        large = jnp.maximum(some, 16)
        series = (1 / 12 - (1 / 360 - 1 / 1260 / large**2) / large**2) / large
        best = -jnp.log(2 * jnp.pi * large) / 2 - series
        small = jnp.minimum(some, 16)
        best = jnp.where(some < 16, small * jnp.log(small) - small - gammaln(small + 1), best)
        return jnp.where(value > 0, best - some * (jnp.expm1(apart) - apart), -self.rate)


class Categorical(Likelihood):
    """Labels in `[0, classes)` with logits `f(x)`; `y` has shape (n,).

    Attributes:
        classes: their number; 0 for one more than the largest label, or the outputs of the network.
    """

    classes: int = eqx.field(static=True, default=0)
    is_discrete: ClassVar[bool] = True

    def law(self, outputs: Array) -> Distribution:
        return dist.Categorical(logits=outputs)

    def log_density(self, outputs: Array, y: Array) -> Array:
        return -categorical(outputs, y)

    def targets(self, y: ArrayLike, count: int) -> Array:
        array = super().targets(y, count)
        if array.shape[1] != 1:
            raise ValueError(f"y must hold one label a row, shape ({count},), got {array.shape}")
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

    def for_outputs(self, number: int) -> Self:
        return self if self.classes else replace(self, classes=number)

    def mean(self, outputs: Array) -> Array:
        return self.law(outputs).probs


_BY_NAME: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "categorical": Categorical,
}
NAMES = tuple(_BY_NAME)


def likelihood_of(value: str | Likelihood) -> Likelihood:
    """A likelihood from its name, with the distributions that its parameters have by default.

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


def constrained(laws: dict[str, Distribution], values: dict[str, Array]) -> dict[str, Array]:
    """Parameters in the support of their distributions, from real numbers of any shape."""
    return {name: biject_to(law.support)(values[name]) for name, law in laws.items()}


def unconstrained(laws: dict[str, Distribution], values: dict[str, Array]) -> dict[str, Array]:
    """Real numbers for parameters in the support of their distributions, of any shape."""
    return {name: biject_to(law.support).inv(values[name]) for name, law in laws.items()}


def log_density_of(laws: dict[str, Distribution], values: dict[str, Array]) -> Array:
    """Log-density of real numbers that stand for parameters, with the Jacobian, a scalar."""
    total = jnp.zeros(())
    for name, law in laws.items():
        transform = biject_to(law.support)
        value = transform(values[name])
        total += law.log_prob(value) + transform.log_abs_det_jacobian(values[name], value)
    return total


def stacked(likelihood: Likelihood, values: dict[str, Array], shape: tuple[int, ...]) -> Any:
    """The likelihood with drawn values of unknown parameters, and all others of the same shape."""
    new = replace(likelihood, **{name: values[name] for name in likelihood.unknown})
    return jax.tree.map(lambda a: a if jnp.shape(a) == shape else jnp.full(shape, a), new)


def _refuse_rows(wanted: str, bad: Any) -> None:
    if is_concrete(bad):
        rows = np.flatnonzero(np.asarray(bad).any(1))
        if len(rows):
            raise ValueError(f"y must {wanted} in rows {rows[:10].tolist()}")
