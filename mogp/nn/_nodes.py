"""Layers whose nodes carry random variances, and the modules that are made of them."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution

from mogp.priors import Prior, has_density, log_density_of_log, sample_log


class AbstractNodes(eqx.Module):
    """A layer whose nodes `j = 1 … p` carry random variances `λ_j` on what they pass on.

    What node `j` adds to the outputs of the layer is `√λ_j` times something linear in its outgoing
    weights `V_j`. These are standard normal under the prior, unless `outgoing` says otherwise.

    A layer of your own is a subclass with the three fields below, the abstract methods and
    `__call__`. It is then trained by `inference.fit`, sampled by `inference.sghmc`, and pruned,
    made smaller, saved and loaded by `pruning`, alone or as a part of another Equinox module. With
    `design` and `refitted` it can be repaired after a cut, too.

    Attributes:
        log_variances: `log λ`, of shape (number,); None for a layer without node variances.
        prior: the distribution of `λ`; None for a layer without node variances.
        prior_width: the width `p` at which the prior is taken. It is the number of nodes at the
            start, and stays when nodes are cut away.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from mogp import nn, priors
        >>> class Bumps(nn.AbstractNodes):
        ...     centres: jax.Array  # (number, in_size)
        ...     weights: jax.Array  # (number, out_size)
        ...     log_variances: jax.Array
        ...     prior: priors.Prior
        ...     prior_width: int = eqx.field(static=True)
        ...     def heights(self, x):
        ...         apart = x[..., None, :] - jnp.broadcast_to(
        ...             self.centres, (*x.shape[:-1], *self.centres.shape)
        ...         )
        ...         return jnp.exp(-jnp.sum(apart**2, -1)) @ jnp.diag(self.root_variances())
        ...     def __call__(self, x):
        ...         return self.heights(x) @ self.weights
        ...     def outgoing(self):
        ...         return self.weights
        ...     def with_outgoing(self, weights):
        ...         return eqx.tree_at(lambda n: n.weights, self, weights)
        ...     def take(self, kept):
        ...         return self.take_fields(kept, "centres", "weights")
        ...     def contributions(self, x):
        ...         return jnp.sum(self.heights(x) ** 2, 0) * jnp.sum(self.weights**2, 1)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> layer = Bumps(
        ...     jax.random.normal(keys[0], (50, 2)), jax.random.normal(keys[1], (50, 1)),
        ...     nn.start_variances(priors.Horseshoe(), 50, "prior", key=keys[2]),
        ...     priors.Horseshoe(), 50,
        ... )
        >>> nn.take(layer, [jnp.arange(5)])(jnp.ones((7, 2))).shape
        (7, 1)
    """

    log_variances: eqx.AbstractVar[Any]
    prior: eqx.AbstractVar[Any]
    prior_width: eqx.AbstractVar[int]

    # --- what a layer defines ---------------------------------------------------------------------

    @abc.abstractmethod
    def outgoing(self) -> Array:
        """The outgoing weights `V`, one row a node, of shape (number, fan_out)."""

    @abc.abstractmethod
    def with_outgoing(self, weights: Array) -> Self:
        """The layer with other outgoing weights, of shape (number, fan_out)."""

    @abc.abstractmethod
    def take(self, kept: Array) -> Self:
        """The smaller layer that has only the nodes with the given numbers, of shape (count,)."""

    @abc.abstractmethod
    def contributions(self, x: Array) -> Array:
        """The sum over inputs of the squares of what each node adds to the outputs.

        Args:
            x: inputs of this layer, of shape (n, …).

        Returns:
            Array of shape (number,).
        """

    def design(self, x: Array) -> Array:  # noqa: ARG002
        """What the weights that a repair refits multiply, of shape (n, columns).

        The outputs of the layer change by `design(x) @ change` in `refitted(change)`.
        """
        raise ValueError(f"repair needs {type(self).__name__} to define design and refitted")

    def refitted(self, change: Array) -> Self:  # noqa: ARG002
        """The layer with the weights behind `design` changed, by an array (columns, outputs)."""
        raise ValueError(f"repair needs {type(self).__name__} to define design and refitted")

    def norms(self) -> Array:
        """`λ_j ‖V_j‖²` of every node, of shape (number,)."""
        return jnp.exp(self.log_variances) * jnp.sum(self.outgoing() ** 2, -1)

    def log_prior(self) -> Array:
        """Log-density of all arrays of the layer under the prior, a scalar.

        Arrays other than `log_variances` are standard normal here; a layer with other scales
        overrides this. Node variances enter through `u = log λ`, the Jacobian `+u` included.
        """
        others = eqx.tree_at(
            lambda n: (n.log_variances, n.prior), self, (None, None), is_leaf=lambda a: a is None
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

    def root_variances(self) -> Array:
        """`√λ`, of shape (number,)."""
        return jnp.exp(self.log_variances / 2)

    def log_prior_of_variances(self) -> Array:
        """Log-density of `u = log λ`, the Jacobian included, a scalar; 0 where it has none."""
        law = self.law()
        if not has_density(law):
            return jnp.zeros(())
        return jnp.sum(log_density_of_log(law, self.log_variances))

    def take_fields(self, kept: Array, *names: str) -> Self:
        """The layer with only the given nodes in `log_variances` and in the first axis of fields.

        Args:
            kept: numbers of the nodes that stay, of shape (count,).
            *names: the fields; each may be an array or a module of arrays.
        """
        return eqx.tree_at(
            lambda n: [getattr(n, name) for name in ("log_variances", *names)],
            self,
            [
                jax.tree.map(lambda a: a[kept] if eqx.is_array(a) else a, getattr(self, name))
                for name in ("log_variances", *names)
            ],
            is_leaf=lambda a: a is None,
        )


class AbstractNetwork(eqx.Module):
    """Layers of nodes that feed each other, so that a cut in one changes its neighbours."""

    layers: eqx.AbstractVar[tuple[AbstractNodes, ...]]

    @abc.abstractmethod
    def take(self, kept: Sequence[Array]) -> Self:
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


def start_variances(prior: Prior, width: int, init: str, *, key: Array) -> Array:
    """Where the log node variances of a layer start.

    Args:
        prior: the distribution of the node variances.
        width: the number of nodes, at least 1.
        init: `"prior"` draws them from the prior, `"equal"` sets all to `1/width`. Node variances
            without a density of `log λ` are drawn in both cases.
        key: a random key.

    Returns:
        `log λ`, of shape (width,).

    Example:
        >>> import jax
        >>> from mogp import nn, priors
        >>> nn.start_variances(priors.Horseshoe(), 3, "equal", key=jax.random.key(0)).round(3)
        Array([-1.099, -1.099, -1.099], dtype=float64)
    """
    law = prior.at_width(width)
    if init == "equal" and has_density(law):
        return jnp.full((width,), -math.log(width), jnp.result_type(float))
    return sample_log(law, key, (width,))


# --- modules that hold layers of nodes ------------------------------------------------------------


def nodes(model: Any) -> tuple[AbstractNodes, ...]:
    """All layers with node variances in an Equinox module, in the order of its fields.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()] * 2).network(3, 1, 20, key=jax.random.key(0))
        >>> [layer.number for layer in nn.nodes(network)]
        [20, 20]
    """
    return tuple(node for node in jax.tree.leaves(model, is_leaf=_is_layer) if _is_layer(node))


def with_nodes(model: Any, layers: Sequence[AbstractNodes]) -> Any:
    """The module with other layers of nodes, as many as `nodes(model)` has, in that order."""
    new = iter(layers)
    return jax.tree.map(
        lambda node: next(new) if _is_layer(node) else node, model, is_leaf=_is_layer
    )


def with_log_variances(model: Any, values: Sequence[Any]) -> Any:
    """The module with other log node variances, one array for each layer of `nodes(model)`."""
    changed = [
        eqx.tree_at(lambda n: n.log_variances, layer, u)
        for layer, u in zip(nodes(model), values, strict=True)
    ]
    return with_nodes(model, changed)


def take(model: Any, kept: Sequence[Array]) -> Any:
    """The smaller module that has only the given nodes; its arrays really are smaller.

    Args:
        model: a module that holds layers of nodes.
        kept: for each layer of `nodes(model)` the numbers of the nodes that stay, shape (count,).
    """
    numbers = iter(kept)

    def cut(unit: Any) -> Any:
        if not _is_unit(unit):
            return unit
        mine = [next(numbers) for _ in nodes(unit)]
        return unit.take(mine) if isinstance(unit, AbstractNetwork) else unit.take(mine[0])

    return jax.tree.map(cut, model, is_leaf=_is_unit)


def flow(model: Callable[[Array], Array], x: Array) -> tuple[tuple[Array, Array], ...]:
    """Inputs and outputs of each layer of `nodes(model)` when the module is applied to `x`.

    Raises:
        ValueError: if the module does not call each of its layers once with a batch of inputs.
    """
    if isinstance(model, AbstractNetwork):
        return model.flow(x)
    units = [unit for unit in jax.tree.leaves(model, is_leaf=_is_unit) if _is_unit(unit)]
    seen = _Seen()
    taps = iter([_Tap(unit, seen, i) for i, unit in enumerate(units)])
    tapped = jax.tree.map(
        lambda unit: next(taps) if _is_unit(unit) else unit, model, is_leaf=_is_unit
    )
    tapped(x)
    if sorted(seen.calls) != list(range(len(units))):
        raise ValueError("model must call each of its layers of nodes once, with a batch of inputs")
    found: list[tuple[Array, Array]] = []
    for i, unit in enumerate(units):
        inputs, outputs = seen.calls[i]
        network = isinstance(unit, AbstractNetwork)
        found += unit.flow(inputs) if network else [(inputs, outputs)]
    return tuple(found)


def trainable(model: Any) -> Any:
    """Which arrays of a module are parameters, as a tree of booleans for `eqx.partition`.

    All floating-point arrays are, but for those of priors, and for node variances that have no
    density under their prior and are constants.
    """
    spec = jax.tree.map(
        lambda node: (
            jax.tree.map(lambda _: False, node)
            if isinstance(node, Prior)
            else eqx.is_inexact_array(node)
        ),
        model,
        is_leaf=lambda node: isinstance(node, Prior),
    )
    free = [layer.is_free for layer in nodes(model)]
    return with_log_variances(spec, free)


def log_prior(model: Any) -> Array:
    """The sum of the log priors of all modules in `model` that have one, a scalar; 0 without any.

    A module has a prior if it has a method `log_prior()`, as every layer of nodes does.
    """

    def has_prior(node: object) -> bool:
        return isinstance(node, eqx.Module) and hasattr(node, "log_prior")

    leaves = jax.tree.leaves(model, is_leaf=has_prior)
    return sum((node.log_prior() for node in leaves if has_prior(node)), start=jnp.zeros(()))


def is_stack(model: Any) -> bool:
    """Whether the arrays of a module have a leading axis of networks."""
    layers = nodes(model)
    return bool(layers) and layers[0].log_variances.ndim > 1


def _is_layer(node: Any) -> bool:
    return isinstance(node, AbstractNodes) and node.log_variances is not None


def _is_unit(node: Any) -> bool:
    return _is_layer(node) or (isinstance(node, AbstractNetwork) and bool(nodes(node)))


class _Seen:
    """What taps have seen: inputs and outputs by number of the unit."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[Array, Array]] = {}


class _Tap(eqx.Module):
    """A module in a network's place that records what goes through it."""

    unit: Any
    seen: _Seen = eqx.field(static=True)
    number: int = eqx.field(static=True)

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        if self.number in self.seen.calls:
            raise ValueError("model must call each of its layers of nodes once")
        outputs: Array = self.unit(x, *args, **kwargs)
        self.seen.calls[self.number] = x, outputs
        return outputs
