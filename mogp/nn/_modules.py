"""Layers of nodes inside any Equinox module: found, exchanged, cut, and what is a parameter."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mogp._checks import is_concrete
from mogp.nn._nodes import AbstractNetwork, AbstractNodes
from mogp.priors import Prior


def nodes(model: Any) -> tuple[AbstractNodes, ...]:
    """All layers with node variances in an Equinox module, in the order of its fields.

    Args:
        model: an Equinox module, or any tree of them.

    Returns:
        The layers; none where the module holds none.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()] * 2).network(3, 1, 20, key=jax.random.key(0))
        >>> [layer.number for layer in nn.nodes(network)]
        [20, 20]
    """
    return tuple(node for node in jax.tree.leaves(model, is_leaf=_is_layer) if _is_layer(node))


def with_nodes(model: Any, layers: Sequence[AbstractNodes]) -> Any:
    """The module with other layers of nodes.

    Args:
        model: a module that holds layers of nodes.
        layers: as many layers as `nodes(model)` has, in that order.

    Returns:
        A module like `model`.

    Raises:
        ValueError: if the number of layers differs, or one is no layer of nodes.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()]).network(3, 1, 20, key=jax.random.key(0))
        >>> silent = [n.with_outgoing(0 * n.outgoing()) for n in nn.nodes(network)]
        >>> print(nn.with_nodes(network, silent)(jax.numpy.ones(3)))
        [0.]
    """
    new = iter(_one_a_layer("layers", layers, model))
    if wrong := [layer for layer in layers if not isinstance(layer, AbstractNodes)]:
        raise ValueError(f"layers must be layers of nodes, got {type(wrong[0]).__name__}")
    return jax.tree.map(
        lambda node: next(new) if _is_layer(node) else node, model, is_leaf=_is_layer
    )


def with_log_variances(model: Any, values: Sequence[ArrayLike]) -> Any:
    """The module with other log node variances.

    Args:
        model: a module that holds layers of nodes.
        values: `log λ` for each layer of `nodes(model)`, of the shape that it has there; minus
            infinity switches a node off.

    Returns:
        A module like `model`.

    Raises:
        ValueError: if the number of values is not that of the layers, or one has another shape or
            holds NaN.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()]).network(3, 1, 20, key=jax.random.key(0))
        >>> nn.with_log_variances(network, [jax.numpy.zeros(20)]).log_variances[0].max().item()
        0.0
    """
    new = []
    for layer, value in zip(nodes(model), _one_a_layer("values", values, model), strict=True):
        dtype = getattr(value, "dtype", layer.log_variances.dtype)
        u = jnp.asarray(value, jax.dtypes.canonicalize_dtype(dtype))
        if u.shape != layer.log_variances.shape:
            shapes = [layer.log_variances.shape for layer in nodes(model)]
            raise ValueError(f"values must have the shapes {shapes}, got one of {u.shape}")
        if is_concrete(u) and np.any(np.isnan(u)):
            raise ValueError("values must be logarithms of node variances, got NaN")
        new.append(eqx.tree_at(lambda n: n.log_variances, layer, u))
    return with_nodes(model, new)


def take(model: Any, kept: Sequence[ArrayLike]) -> Any:
    """The smaller module that has only the given nodes; its arrays really are smaller.

    Its outputs are those of `model` after the variances of all other nodes are set to 0.

    Args:
        model: a module that holds layers of nodes.
        kept: for each layer of `nodes(model)` the numbers of the nodes that stay, shape (count,),
            each once, from 0 on.

    Returns:
        A module with the structure of `model`.

    Raises:
        ValueError: if the number of arrays in `kept` is not that of the layers, or one does not
            hold different numbers of nodes.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()]).network(3, 1, 20, key=jax.random.key(0))
        >>> [a.shape for a in nn.take(network, [jax.numpy.array([4, 7])]).weights]
        [(2, 3), (1, 2)]
    """
    pairs = zip(_one_a_layer("kept", kept, model), nodes(model), strict=True)
    numbers = iter([_numbers(each, layer.number) for each, layer in pairs])

    def cut(unit: Any) -> Any:
        if not _is_unit(unit):
            return unit
        mine = [next(numbers) for _ in nodes(unit)]
        return unit.take(mine) if isinstance(unit, AbstractNetwork) else unit.take(mine[0])

    return jax.tree.map(cut, model, is_leaf=_is_unit)


def flow(model: Any, x: ArrayLike) -> tuple[tuple[Array, Array], ...]:
    """Inputs and outputs of each layer of `nodes(model)` when the module is applied to `x`.

    Args:
        model: a module that takes a batch of inputs. One that takes a single input is for
            `jax.vmap(lambda row: nn.flow(model, row))(x)`.
        x: inputs of the module, of shape (n, …).

    Returns:
        A pair (inputs, outputs) for each layer, with leading axis n.

    Raises:
        ValueError: if the module does not call each of its layers once.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Horseshoe()]).network(3, 1, 20, key=jax.random.key(0))
        >>> [(z.shape, y.shape) for z, y in nn.flow(network, jax.numpy.ones((5, 3)))]
        [((5, 20), (5, 1))]
    """
    if not isinstance(x, Array):  # lists and frames
        x = jnp.asarray(np.asarray(x))
    if isinstance(model, AbstractNetwork):
        return model.flow(x)
    units = [unit for unit in jax.tree.leaves(model, is_leaf=_is_unit) if _is_unit(unit)]
    seen: list[tuple[int, Array, Array]] = []
    taps = iter([_Tap(unit, i, seen.append) for i, unit in enumerate(units)])
    tapped = jax.tree.map(
        lambda unit: next(taps) if _is_unit(unit) else unit, model, is_leaf=_is_unit
    )
    tapped(x)
    called = sorted(number for number, _, _ in seen)
    if called != list(range(len(units))):
        raise ValueError(
            f"model must call each of its layers of nodes once, got calls of {called} of 0 … "
            f"{len(units) - 1}"
        )
    found: list[tuple[Array, Array]] = []
    for number, inputs, outputs in sorted(seen, key=lambda call: call[0]):
        unit = units[number]
        network = isinstance(unit, AbstractNetwork)
        found += unit.flow(inputs) if network else [(inputs, outputs)]
    return tuple(found)


def trainable(model: Any) -> Any:
    """Which arrays of a module are parameters.

    All floating-point arrays are, but for three kinds: those of priors; node variances that have no
    density under their prior; and the fields that a module names in an attribute `constants`.

    Args:
        model: an Equinox module, or any tree of them.

    Returns:
        The same tree with a boolean in place of each leaf, a filter for `eqx.partition`.

    Example:
        >>> import equinox as eqx, jax
        >>> from mogp import MoGP, nn, priors
        >>> network = MoGP([priors.Deterministic()]).network(3, 1, 20, key=jax.random.key(0))
        >>> parameters, rest = eqx.partition(network, nn.trainable(network))
        >>> parameters.log_variances
        (None,)
    """

    def is_inner(node: Any) -> bool:
        return node is not model and isinstance(node, eqx.Module)

    spec = jax.tree.map(
        lambda node: trainable(node) if is_inner(node) else eqx.is_inexact_array(node),
        model,
        is_leaf=is_inner,
    )
    if isinstance(model, Prior):
        return _none_of(spec)
    fixed = list(getattr(model, "constants", ()))
    if _is_layer(model) and not model.is_free:
        fixed.append("log_variances")
    if not fixed:
        return spec
    return eqx.tree_at(
        lambda m: [getattr(m, name) for name in fixed],
        spec,
        [_none_of(getattr(spec, name)) for name in fixed],
        is_leaf=lambda a: a is None,
    )


def log_prior(model: Any) -> Float[Array, ""]:
    """The sum of the log priors of all modules in `model` that have one.

    A module has a prior if it has a method `log_prior()`, as every layer of nodes does; what it
    holds is its own business then, and not looked at.

    Args:
        model: an Equinox module, or any tree of them. For a stack of networks this is the sum over
            networks; `eqx.filter_vmap(nn.log_prior)` gives each.

    Returns:
        A scalar; 0 if no module has a prior.

    Example:
        >>> import equinox as eqx, jax
        >>> from mogp import nn, priors
        >>> layer = nn.GMLayer(3, 2, 4, prior=priors.Horseshoe(), key=jax.random.key(0))
        >>> model = eqx.nn.Sequential([eqx.nn.Linear(5, 3, key=jax.random.key(1)), layer])
        >>> bool(nn.log_prior(model) == layer.log_prior())
        True
    """

    def has_prior(node: object) -> bool:
        return isinstance(node, eqx.Module) and hasattr(node, "log_prior")

    leaves = jax.tree.leaves(model, is_leaf=has_prior)
    return sum((node.log_prior() for node in leaves if has_prior(node)), start=jnp.zeros(()))


def is_stack(model: Any) -> bool:
    """Whether the arrays of a module have a leading axis of networks.

    Args:
        model: a module that holds layers of nodes, or several in one, as `eqx.filter_vmap` makes.

    Returns:
        Whether `log λ` of the first layer has more than one axis; False without such layers.

    Example:
        >>> import equinox as eqx, jax
        >>> from mogp import MoGP, nn, priors
        >>> make = lambda key: MoGP([priors.Horseshoe()]).network(3, 1, 20, key=key)
        >>> nn.is_stack(eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), 4)))
        True
    """
    layers = nodes(model)
    return bool(layers) and layers[0].log_variances.ndim > 1


def _is_layer(node: Any) -> bool:
    return isinstance(node, AbstractNodes) and node.log_variances is not None


def _is_unit(node: Any) -> bool:
    return _is_layer(node) or (isinstance(node, AbstractNetwork) and bool(nodes(node)))


def _numbers(kept: ArrayLike, number: int) -> Array:
    """Numbers of nodes as an array, checked where they are known."""
    array = jnp.asarray(kept)
    if array.ndim != 1 or not len(array) or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            "kept must hold numbers of nodes, integers of shape (count,) with count ≥ 1, got "
            f"{array.dtype} of shape {array.shape}"
        )
    if is_concrete(array):
        values = np.asarray(array)
        if values.min() < 0 or values.max() >= number or len(set(values.tolist())) < len(values):
            raise ValueError(f"kept must hold different numbers in [0, {number}), got {values}")
    return array


def _one_a_layer(name: str, values: Sequence[Any], model: Any) -> Sequence[Any]:
    number = len(nodes(model))
    if len(values) != number:
        raise ValueError(
            f"{name} must have one entry for each layer of nodes of the model ({number}), "
            f"got {len(values)}"
        )
    return values


def _none_of(spec: Any) -> Any:
    return jax.tree.map(lambda _: False, spec)


class _Tap(eqx.Module):
    """A module in a network's place that records what goes through it."""

    unit: Any
    number: int = eqx.field(static=True)
    record: Callable[[tuple[int, Array, Array]], None] = eqx.field(static=True)

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        outputs: Array = self.unit(x, *args, **kwargs)
        self.record((self.number, x, outputs))
        return outputs
