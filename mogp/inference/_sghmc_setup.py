"""What SGHMC samples: starts, laws, coordinates and what stays the same, checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.distributions import Distribution, biject_to, constraints

from mogp._checks import check_between
from mogp.architecture import MoGP
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import Likelihood
from mogp.inference._node_moves import layer_of
from mogp.inference._sghmc_plan import Plan
from mogp.inference._sghmc_steps import Parameters, Problem, State, unknown_of
from mogp.nn import DependentMLP
from mogp.priors import NodeVarianceLaw, Prior


def as_starts(
    network: Any,
    width: int | Sequence[int] | None,
    in_size: int,
    num_outputs: int,
    num_chains: int,
    key: Array,
) -> tuple[Any, dict[str, Distribution]]:
    """Modules, their arrays with an axis of chains in front, and the laws to be learned."""
    laws: dict[str, Distribution] = {}
    if isinstance(network, MoGP):
        if width is None:
            raise ValueError("width must be given with a MoGP")
        if any(
            isinstance(a, Distribution) for a in _flat(network.weight_scale, network.bias_scale)
        ):
            raise ValueError("weight_scale and bias_scale must be numbers: nuts learns them")
        for i, prior in enumerate(network.priors):
            found = {name: getattr(prior, name) for name in prior.bounds}
            laws |= {
                f"prior{i}.{name}": value
                for name, value in found.items()
                if isinstance(value, Distribution)
            }
        model = network

        def build(key: Array) -> eqx.Module:
            by_values, by_network = jax.random.split(key)
            with numpyro.handlers.seed(rng_seed=by_values):
                drawn = sample_parameters(model)
            return drawn.network(
                in_size, num_outputs, width, init_variances="equal", key=by_network
            )
    elif width is not None:
        raise ValueError("width belongs to a MoGP; other networks have their own")
    elif isinstance(network, eqx.Module):
        module = network

        def build(key: Array) -> eqx.Module:  # noqa: ARG001
            return module
    elif callable(network):
        build = network
    else:
        raise ValueError(
            "network must be a MoGP, an Equinox module, or a function from a random key to one, "
            f"got {network!r}"
        )
    return eqx.filter_vmap(build)(jax.random.split(key, num_chains)), laws


def _flat(*scales: Any) -> list[Any]:
    return [a for each in scales for a in (each if isinstance(each, Sequence) else [each])]


def as_problem(
    plan: Plan,
    starts: Any,
    laws: dict[str, Distribution],
    likelihood: Likelihood,
    x: Array,
    targets: Array,
    scales: Mapping[str, float] | None,
    key: Array,
) -> tuple[Problem, State]:
    """What stays the same during a run, and the state of all chains at its start."""

    def mark(node: Any) -> Any:
        if isinstance(node, Prior):
            return jax.tree.map(lambda _: False, node)
        if hasattr(node, "free_variances"):  # some may be constants
            spec = jax.tree.map(mark, node, is_leaf=lambda n: isinstance(n, Prior))
            free = node.free_variances
            return eqx.tree_at(lambda m: m.log_variances, spec, free, is_leaf=lambda a: a is None)
        return eqx.is_inexact_array(node)

    def is_special(node: Any) -> bool:
        return isinstance(node, Prior) or hasattr(node, "free_variances")

    # Precision is that of the inputs.
    starts = jax.tree.map(lambda a: a.astype(x.dtype) if eqx.is_inexact_array(a) else a, starts)
    spec = jax.tree.map(mark, starts, is_leaf=is_special)
    arrays, rest = eqx.partition(starts, spec)
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    if not jax.tree.leaves(arrays):
        raise ValueError("network must have at least one floating-point array to sample")
    _check_supports(starts)

    chains = len(jax.tree.leaves(arrays)[0])
    names = list(unknown_of(likelihood).items())
    keys = jax.random.split(key, len(names) + 1)
    unconstrained = {
        name: _inverse(law, law.sample(k, (chains,))).astype(x.dtype)
        for (name, law), k in zip(names, keys[1:], strict=True)
    }
    parameters: Parameters = {"model": arrays, "likelihood": unconstrained}
    hyper = {
        name: _inverse(law, getattr(starts.priors[layer_of(name)], name.split(".")[1]))
        for name, law in laws.items()
    }
    hyper = {name: value.astype(x.dtype) for name, value in hyper.items()}
    factors = _factors(parameters, scales or {})
    problem = Problem(x, targets, fixed, skeleton, laws, likelihood, factors, plan)
    position = problem.coordinates(parameters)
    return problem, State(position, jax.tree.map(jnp.zeros_like, position), hyper)


def _inverse(law: Distribution, values: Array) -> Array:
    if law.event_shape or law.batch_shape:
        raise ValueError(f"laws of parameters must be of single numbers, got {law}")
    return biject_to(law.support).inv(values)


def _factors(parameters: Parameters, scales: Mapping[str, float]) -> Any:
    """What coordinates are multiplied by, a number an array; the innermost name counts."""
    seen: set[str] = set()
    for name, value in scales.items():
        check_between(f"scales[{name!r}]", value, 0)

    def factor(path: tuple[Any, ...], _: Any) -> float:
        names = [getattr(entry, "name", getattr(entry, "key", None)) for entry in path]
        seen.update(str(name) for name in names)
        return float(next((scales[name] for name in reversed(names) if name in scales), 1.0))

    result = jax.tree_util.tree_map_with_path(factor, parameters)
    if unknown := set(scales) - seen:
        raise ValueError(f"scales: no array is called {sorted(unknown)}, there are {sorted(seen)}")
    return result


def _check_supports(starts: Any) -> None:
    if not isinstance(starts, DependentMLP):
        return
    for prior, width, free in zip(
        starts.priors, starts.prior_widths, starts.free_variances, strict=True
    ):
        law = eqx.filter_eval_shape(lambda p, w=width: p.at_width(w), prior) if free else None
        if isinstance(law, NodeVarianceLaw) and law.support is not constraints.positive:
            raise ValueError(
                f"node variances of {type(prior).__name__} are bounded, where steps by gradients "
                "leave the range; use nuts, or a prior on (0, inf)"
            )


def check_outputs(problem: Problem, state: State, targets: Array) -> None:
    """Refuse a module whose outputs do not fit the targets."""

    def outputs(state: State, fixed: Any) -> Array:
        module, _ = problem.build(problem.natural(state.position), state.hyper, fixed)
        return module(problem.x[:1])

    found = jax.eval_shape(jax.vmap(outputs), state, problem.fixed).shape
    needed = problem.likelihood.num_outputs(targets)
    few = found[-1] < needed if targets.ndim == 1 else found[-1] != needed
    if len(found) != 3 or few:
        raise ValueError(f"network must have {needed} outputs for y, got {found[2:]}")
