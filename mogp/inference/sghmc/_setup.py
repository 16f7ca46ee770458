"""What SGHMC samples: where the chains start, what is learned, and what stays the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro.distributions import Distribution

from mogp import nn
from mogp._checks import check_between
from mogp.inference._data import built, by_field, check_outputs
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import Likelihood, unconstrained
from mogp.inference.sghmc._node_moves import layer_of
from mogp.inference.sghmc._plan import Plan
from mogp.inference.sghmc._steps import Parameters, Problem, State
from mogp.model import MoGP
from mogp.priors import Prior


def as_starts(
    model: Any,
    width: int | Sequence[int] | None,
    in_size: int,
    num_outputs: int,
    num_chains: int,
    key: Array,
) -> tuple[Any, dict[str, Distribution]]:
    """Networks with an axis of chains in front, and the distributions of learned parameters."""
    laws: dict[str, Distribution] = {}

    def drawn(layers_priors: Sequence[Prior], key: Array) -> list[Prior]:
        """Priors with draws in place of distributions, which are noted."""
        for i, prior in enumerate(layers_priors):
            found = {f"prior{i}.{name}": getattr(prior, name) for name in prior.bounds}
            laws.update({n: law for n, law in found.items() if isinstance(law, Distribution)})
        for name, law in laws.items():
            if law.batch_shape or law.event_shape:
                raise ValueError(f"{name} must have the distribution of one number, got {law}")
        with numpyro.handlers.seed(rng_seed=key):
            return [sample_parameters(p, f"prior{i}") for i, p in enumerate(layers_priors)]

    if isinstance(model, MoGP):
        if width is None:
            raise ValueError("width must be given with a MoGP")
        scales = [model.weight_scale, model.bias_scale]
        flat = [a for each in scales for a in (each if isinstance(each, Sequence) else [each])]
        if any(isinstance(scale, Distribution) for scale in flat):
            raise ValueError("weight_scale and bias_scale must be numbers: nuts learns them")

        def build(key: Array) -> Any:
            by_values, by_network = jax.random.split(key)
            known = replace(model, priors=tuple(drawn(model.priors, by_values)))
            sizes = in_size, num_outputs, width
            return nn.network(known, *sizes, init_variances="equal", key=by_network)

    elif width is not None:
        raise ValueError("width belongs to a MoGP; other networks have their own")
    elif isinstance(model, eqx.Module) or callable(model):

        def build(key: Array) -> Any:
            module = model if isinstance(model, eqx.Module) else model(key)
            layers = nn.nodes(module)
            priors = drawn([layer.prior for layer in layers], jax.random.fold_in(key, 0))
            new = [
                eqx.tree_at(lambda n: n.prior, layer, prior)
                for layer, prior in zip(layers, priors, strict=True)
            ]
            return nn.with_nodes(module, new)

    else:
        raise ValueError(
            "model must be a MoGP, an Equinox module, or a function from a random key to one, "
            f"got {model!r}"
        )
    keys = jax.random.split(key, num_chains)
    return built(eqx.filter_vmap(build), keys, "fewer chains or a smaller width"), laws


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
    # Precision is that of the inputs.
    starts = jax.tree.map(lambda a: a.astype(x.dtype) if eqx.is_inexact_array(a) else a, starts)
    arrays, rest = eqx.partition(starts, nn.trainable(starts))
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    if not jax.tree.leaves(arrays):
        raise ValueError("model must have at least one floating-point array to sample")
    _check_supports(starts)

    chains, unknown = len(jax.tree.leaves(arrays)[0]), likelihood.unknown
    keys = jax.random.split(key, len(unknown) + 1)[1:]
    drawn = {n: law.sample(k, (chains,)) for (n, law), k in zip(unknown.items(), keys, strict=True)}
    priors = [layer.prior for layer in nn.nodes(starts)]
    started = {name: getattr(priors[layer_of(name)], name.split(".")[1]) for name in laws}
    values, hyper = jax.tree.map(
        lambda a: a.astype(x.dtype), (unconstrained(unknown, drawn), unconstrained(laws, started))
    )
    parameters: Parameters = {"model": arrays, "likelihood": values}
    factors = _factors(parameters, scales or {})
    problem = Problem(x, targets, fixed, skeleton, laws, likelihood, factors, plan)
    position = problem.coordinates(parameters)
    return problem, State(position, jax.tree.map(jnp.zeros_like, position), hyper)


def _factors(parameters: Parameters, scales: Mapping[str, float]) -> Any:
    """What coordinates are multiplied by, a number an array; the innermost name counts."""
    for name, value in scales.items():
        check_between(f"scales[{name!r}]", value, 0)
    return by_field("scales", parameters, {name: float(s) for name, s in scales.items()}, 1.0)


def _check_supports(starts: Any) -> None:
    """Refuse node variances that are sampled and do not reach from 0 to infinity."""
    for layer in nn.nodes(starts):
        if not layer.is_free:
            continue
        inside = eqx.filter_vmap(lambda n: n.law().support(jnp.array([1e-30, 1e30])))(layer)
        if not np.all(inside):
            raise ValueError(
                f"node variances of {type(layer.prior).__name__} are bounded, where steps by "
                "gradients leave the range; use nuts, or a prior whose distributions have the "
                "support (0, inf)"
            )


def check_start(problem: Problem, state: State) -> None:
    """Refuse a network whose outputs do not fit the observations."""

    def outputs(state: State, fixed: Any) -> Array:
        model, _ = problem.build(problem.natural(state.position), state.hyper, fixed)
        return model(problem.x[:1])

    found = jax.eval_shape(jax.vmap(outputs), state, problem.fixed).shape
    needed = problem.likelihood.num_outputs(problem.targets)
    check_outputs(found[1:], 1, needed, at_least=problem.targets.ndim == 1)
