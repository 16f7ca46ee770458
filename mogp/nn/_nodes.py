"""Layers whose nodes carry random variances."""

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro.distributions import Distribution

from mogp._checks import check_choice, check_count, check_key, check_numbers
from mogp.priors import Prior, has_density, log_density_of_log, sample_log

INIT_VARIANCES = ("prior", "equal")


class AbstractNodes(eqx.Module):
    """A layer whose nodes `j = 1 … p` carry random variances `λ_j` on what they pass on.

    What node `j` adds to the outputs of the layer is `√λ_j` times something linear in its outgoing
    weights `V_j`. These are standard normal under the prior, unless `outgoing` says otherwise.

    A layer of your own is a subclass with the three fields below, the abstract methods and
    `__call__(self, x, *, key=None)`, where `key` is what `equinox.nn.Sequential` passes on. It is
    then trained by `inference.fit`, sampled by `inference.sghmc`, and pruned, made smaller, saved
    and loaded by `pruning`, alone or as a part of another Equinox module. With `design` and
    `refitted` it can be repaired after a cut, too.

    Attributes:
        log_variances: `log λ`, of shape (number,); None for a layer without node variances.
        prior: the distribution of `λ`; None for a layer without node variances.
        prior_width: the width `p` at which the prior is taken. It is the number of nodes at the
            start, and stays when nodes are cut away.
        constants: names of other fields that are not trained and have no prior; none by default.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import nn, priors
        >>> class Waves(nn.AbstractNodes):
        ...     frequencies: jax.Array  # (number,)
        ...     weights: jax.Array  # (number, out_size)
        ...     log_variances: jax.Array
        ...     prior: priors.Prior
        ...     prior_width: int = eqx.field(static=True)
        ...
        ...     def waves(self, x):  # (n, 1) to (n, number)
        ...         return jnp.sin(x @ self.frequencies[None, :])
        ...
        ...     def __call__(self, x, *, key=None):  # eqx.nn.Sequential passes a key
        ...         return self.waves(x) @ (self.root_variances()[:, None] * self.weights)
        ...
        ...     def outgoing(self):
        ...         return self.weights
        ...
        ...     def with_outgoing(self, weights):
        ...         return eqx.tree_at(lambda layer: layer.weights, self, weights)
        ...
        ...     def take(self, kept):
        ...         return self.take_fields(kept, "frequencies", "weights")
        ...
        ...     def contributions(self, x):
        ...         return self.norms() * jnp.sum(self.waves(x) ** 2, axis=0)
        >>> prior, keys = priors.Horseshoe(), jax.random.split(jax.random.key(0), 3)
        >>> layer = Waves(
        ...     jax.random.normal(keys[0], (50,)), jax.random.normal(keys[1], (50, 2)),
        ...     nn.start_variances(prior, 50, key=keys[2]), prior, prior_width=50,
        ... )
        >>> small = nn.take(layer, [jnp.arange(5)])
        >>> chain = eqx.nn.Sequential([small, eqx.nn.Lambda(jnp.tanh)])
        >>> chain(jnp.ones((7, 1))).shape
        (7, 2)
    """

    log_variances: eqx.AbstractVar[Any]
    prior: eqx.AbstractVar[Any]
    prior_width: eqx.AbstractVar[int]
    constants: ClassVar[tuple[str, ...]] = ()

    # --- what a layer defines ---------------------------------------------------------------------

    @abc.abstractmethod
    def outgoing(self) -> Float[Array, "number fan_out"]:
        """The outgoing weights `V`, one row a node, of shape (number, fan_out)."""

    @abc.abstractmethod
    def with_outgoing(self, weights: Float[Array, "number fan_out"]) -> Self:
        """The layer with other outgoing weights, of shape (number, fan_out)."""

    @abc.abstractmethod
    def take(self, kept: Int[Array, " count"]) -> Self:
        """The smaller layer that has only the nodes with the given numbers, of shape (count,)."""

    @abc.abstractmethod
    def contributions(self, x: Float[Array, "n ..."]) -> Float[Array, " number"]:
        """The sum over inputs of the squares of what each node adds to the outputs.

        Args:
            x: inputs of this layer, of shape (n, …).

        Returns:
            Array of shape (number,); a factor that all nodes share may be left out.
        """

    def design(self, x: Float[Array, "n ..."]) -> Float[Array, "n columns"]:  # noqa: ARG002
        """What the weights that a repair refits multiply, of shape (n, columns).

        The outputs of the layer change by `design(x) @ change` in `refitted(change)`.

        Raises:
            ValueError: if the layer does not define it.
        """
        raise ValueError(f"repair needs {type(self).__name__} to define design and refitted")

    def refitted(self, change: Float[Array, "columns outputs"]) -> Self:  # noqa: ARG002
        """The layer with the weights behind `design` changed, by an array (columns, outputs).

        Raises:
            ValueError: if the layer does not define it.
        """
        raise ValueError(f"repair needs {type(self).__name__} to define design and refitted")

    def fan_out(self) -> Float[Array, " number"]:
        """How many of the outgoing weights of each node are free, of shape (number,)."""
        weights = self.outgoing()
        return jnp.full(weights.shape[:1], weights.shape[1], weights.dtype)

    def norms(self) -> Float[Array, " number"]:
        """`λ_j ‖V_j‖²` of every node, of shape (number,)."""
        return jnp.exp(self.log_variances) * jnp.sum(self.outgoing() ** 2, -1)

    def log_prior(self) -> Float[Array, ""]:
        """Log-density of all arrays of the layer under the prior, a scalar.

        Arrays other than `log_variances` and `constants` are standard normal here; a layer with
        other scales overrides this. Node variances enter through `u = log λ`, Jacobian included.
        """
        names = ("log_variances", "prior", *self.constants)
        others = eqx.tree_at(
            lambda n: [getattr(n, name) for name in names],
            self,
            [None] * len(names),
            is_leaf=lambda a: a is None,
        )
        arrays = jax.tree.leaves(eqx.filter(others, eqx.is_inexact_array))
        return standard_normal(arrays) + self.log_prior_of_variances()

    # --- what every layer offers ------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The number of nodes; less than `prior_width` after nodes were cut away."""
        return int(self.log_variances.shape[-1])

    @property
    def is_free(self) -> bool:
        """Whether `log λ` has a density under the prior, so that it is trained and sampled.

        Node variances without one, as under `Deterministic` or `Bernoulli`, are constants.
        """
        lead = self.log_variances.ndim - 1  # of stacked layers
        first = jax.tree.map(
            lambda a: a.reshape(-1, *a.shape[lead:])[0] if eqx.is_array(a) else a, self.prior
        )
        return has_density(first.at_width(self.prior_width))

    def law(self) -> Distribution:
        """The NumPyro distribution of one node variance under the prior."""
        law: Distribution = self.prior.at_width(self.prior_width)
        return law

    def root_variances(self) -> Float[Array, " number"]:
        """`√λ`, of shape (number,)."""
        return jnp.exp(self.log_variances / 2)

    def log_prior_of_variances(self) -> Float[Array, ""]:
        """Log-density of `u = log λ`, the Jacobian included, a scalar; 0 where it has none."""
        law = self.law()
        if not has_density(law):
            return jnp.zeros(())
        return jnp.sum(log_density_of_log(law, self.log_variances))

    def take_fields(self, kept: Int[Array, " count"], *names: str) -> Self:
        """The layer with only the given nodes in `log_variances` and in the first axis of fields.

        Args:
            kept: numbers of the nodes that stay, of shape (count,).
            *names: the fields; each may be an array or a module of arrays.

        Returns:
            The layer with `count` nodes.
        """
        names = ("log_variances", *names)
        return eqx.tree_at(
            lambda n: [getattr(n, name) for name in names],
            self,
            [jax.tree.map(lambda a: a[kept], getattr(self, name)) for name in names],
            is_leaf=lambda a: a is None,
        )


class AbstractNetwork(eqx.Module):
    """Layers of nodes that feed each other, so that a cut in one changes its neighbours.

    A network of your own is a subclass with the field `layers` and the two methods below;
    `nn.DependentMLP` is one.

    Attributes:
        layers: the layers of nodes, each of which has node variances.
    """

    layers: eqx.AbstractVar[tuple[AbstractNodes, ...]]

    @abc.abstractmethod
    def take(self, kept: Sequence[Int[Array, " count"]]) -> Self:
        """The smaller network with only the given nodes, an array of numbers for each layer."""

    @abc.abstractmethod
    def flow(self, x: Array) -> tuple[tuple[Array, Array], ...]:
        """Inputs and outputs of every layer in `layers`, for inputs `x` of the network."""


def standard_normal(arrays: Sequence[Array], scale: float = 1.0) -> Array:
    """Log-density of independent normal entries of mean 0 and a standard deviation, a scalar."""
    total = jnp.zeros(())
    for array in arrays:
        constant = math.log(2 * math.pi * scale**2) / 2
        total -= jnp.sum((array / scale) ** 2) / 2 + array.size * constant
    return total


def start_variances(
    prior: Prior,
    width: int,
    init_variances: str = "prior",
    *,
    key: PRNGKeyArray,
    number: int | None = None,
) -> Float[Array, " number"]:
    """Where the log node variances of a layer start.

    Args:
        prior: the distribution of the node variances.
        width: the width at which the prior is taken, at least 1.
        init_variances: `"prior"` draws them from the prior, `"equal"` sets all to `1/width`. Node
            variances without a density of `log λ` are drawn in both cases.
        key: a random key.
        number: the number of nodes; None for the width.

    Returns:
        `log λ`, of shape (number,).

    Raises:
        ValueError: if an argument is outside its range, or the layer is larger than the memory.

    Example:
        >>> import jax
        >>> from mogp import nn, priors
        >>> nn.start_variances(priors.Horseshoe(), 3, key=jax.random.key(0)).shape
        (3,)
    """
    check_choice("init_variances", init_variances, INIT_VARIANCES)
    if not isinstance(prior, Prior):
        raise ValueError(f"prior must be a Prior of mogp.priors, got {prior!r}")
    width = check_count("width", width)
    check_key(key)
    check_numbers("the layer", width, "a smaller width")
    law = prior.at_width(width)
    shape = (width if number is None else number,)
    if init_variances == "equal" and has_density(law):
        return jnp.full(shape, -math.log(width), jnp.result_type(float))
    return sample_log(law, key, shape)
