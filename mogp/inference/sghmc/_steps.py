"""The steps of stochastic-gradient HMC: epochs on the device, all chains at once."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.distributions import Distribution

from mogp import nn
from mogp._arrays import sum_over_rows
from mogp.inference._likelihoods import Likelihood, constrained, log_density_of
from mogp.inference._patience import Compiled
from mogp.inference.sghmc._node_moves import NodePriors, Values, centred, layer_of, refreshed
from mogp.inference.sghmc._noise import noise_keys
from mogp.inference.sghmc._plan import Plan

Parameters = dict[str, Any]  # "model": its sampled arrays; "likelihood": unconstrained values


class Problem(eqx.Module):
    """What stays the same during a run.

    Attributes:
        x: the inputs.
        targets: the observations.
        fixed: arrays of the network that are not sampled, with an axis of chains in front.
        skeleton: the network without its arrays.
        laws: the distributions of the learned parameters of priors, by `prior{layer}.{parameter}`.
        likelihood: with distributions for the parameters that are learned.
        factors: what the sampler's coordinates are multiplied by, one number for each array.
        plan: the settings of the steps.
    """

    x: Array
    targets: Array
    fixed: Any
    skeleton: Any
    laws: dict[str, Distribution]
    likelihood: Likelihood
    factors: Any
    plan: Plan = eqx.field(static=True)

    def natural(self, position: Parameters) -> Parameters:
        """Parameters from the coordinates of the sampler."""
        return jax.tree.map(lambda a, factor: a * factor, position, self.factors)

    def coordinates(self, parameters: Parameters) -> Parameters:
        """The coordinates of the sampler from parameters."""
        return jax.tree.map(lambda a, factor: a / factor, parameters, self.factors)

    def build(self, parameters: Parameters, hyper: Values, fixed: Any) -> tuple[Any, Likelihood]:
        """The network and the likelihood of one chain, or of all, as the arrays are."""
        model = eqx.combine(parameters["model"], fixed, self.skeleton)
        values = constrained(self.likelihood.unknown, parameters["likelihood"])
        likelihood = dataclasses.replace(self.likelihood, **values)
        return with_prior_values(model, constrained(self.laws, hyper)), likelihood

    def log_prior(self, parameters: Parameters, hyper: Values, fixed: Any) -> Array:
        """Log-density of the parameters given those of the priors, in unconstrained coordinates."""
        model, _ = self.build(parameters, hyper, fixed)
        unknown = log_density_of(self.likelihood.unknown, parameters["likelihood"])
        return nn.log_prior(model) + unknown

    def log_likelihood(
        self, parameters: Parameters, hyper: Values, fixed: Any, x: Array, targets: Array
    ) -> Array:
        """Log-likelihood of rows together."""
        model, likelihood = self.build(parameters, hyper, fixed)
        return jnp.sum(likelihood.log_density(model(x), targets))


class State(NamedTuple):
    """The state of all chains, with an axis of chains in front.

    Attributes:
        position: the parameters in the coordinates of the sampler.
        momentum: likewise.
        hyper: the unconstrained values of the learned parameters of priors.
    """

    position: Parameters
    momentum: Parameters
    hyper: Values


def with_prior_values(model: Any, values: Values) -> Any:
    """The network with other parameters of its priors, by `prior{layer}.{parameter}`."""

    def changed(i: int, layer: nn.AbstractNodes) -> nn.AbstractNodes:
        mine = {n.split(".")[1]: value for n, value in values.items() if layer_of(n) == i}
        if not mine:
            return layer
        return eqx.tree_at(lambda n: n.prior, layer, dataclasses.replace(layer.prior, **mine))

    return nn.with_nodes(model, [changed(*each) for each in enumerate(nn.nodes(model))])


# --- steps ------------------------------------------------------------------------------------


def run_epoch(
    problem: Problem, noisy: bool, state: State, fixed: Any, key: Array, epoch: Array
) -> tuple[State, dict[str, Array]]:
    """One chain through the data once: its state, and numbers about the epoch."""
    plan, num = problem.plan, len(problem.x)
    steps = num // plan.batch_size
    by_order, by_noise, by_move = jax.random.split(jax.random.fold_in(key, epoch), 3)
    order = jax.random.permutation(by_order, num)[: steps * plan.batch_size]
    rates = plan.step_sizes(epoch, steps, problem.x.dtype)

    def log_density(position: Parameters, rows: Array) -> tuple[Array, Array]:
        parameters = problem.natural(position)
        batch = problem.x[rows], problem.targets[rows]
        likelihood = problem.log_likelihood(parameters, state.hyper, fixed, *batch)
        prior = problem.log_prior(parameters, state.hyper, fixed)
        return likelihood * (num / plan.batch_size) + prior, -likelihood / plan.batch_size

    def step(carry: Any, inputs: Any) -> tuple[Any, Array]:
        (q, p), (rows, rate, by_step) = carry, inputs
        h, f = jnp.sqrt(rate / num), plan.friction
        # Chen, Fox and Guestrin take the gradient at the old position, which is unstable at little
        # friction. Ahead, and with p √(1 - f/2) for the momentum, the step is a splitting into
        # drift, half a kick, damping with its exact noise, half a kick: of second order, at any f.
        q = jax.tree.map(lambda q, p: q + h * p, q, p)
        gradient, loss = jax.grad(log_density, has_aux=True)(q, rows)
        p = jax.tree.map(lambda p, g: (1 - f) * p + h * g, p, gradient)
        if noisy:
            size = (2 * f * plan.temperature) ** 0.5
            p = jax.tree.map(lambda p, e: p + size * e, p, _normals(by_step, p))
        return (q, p), loss

    inputs = order.reshape(steps, -1), rates, noise_keys(by_noise, steps, plan.noise)
    (position, momentum), losses = jax.lax.scan(step, (state.position, state.momentum), inputs)
    state, share = State(position, momentum, state.hyper), jnp.zeros((), problem.x.dtype)
    if noisy:
        state, share = jax.lax.cond(
            (epoch + 1) % plan.moves_every == 0,
            lambda s: _move(problem, s, fixed, by_move),
            lambda s: (s, share),
            state,
        )
    squares = [jnp.sum(p**2) for p in jax.tree.leaves(state.momentum)]
    size = sum(p.size for p in jax.tree.leaves(state.momentum))
    return state, {
        "loss": jnp.mean(losses),
        "learning_rate": rates[-1],
        "temperature": jnp.full((), plan.temperature * noisy, rates.dtype),
        "kinetic_temperature": (1 - plan.friction / 2) * sum(squares) / size,
        "refreshed": share,
    }


def _normals(key: Array, like: Any) -> Any:
    """Standard normal numbers in the places of the arrays of a pytree."""
    flat, unravel = ravel_pytree(like)
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))


def _move(problem: Problem, state: State, fixed: Any, key: Array) -> tuple[State, Array]:
    """Node variances and the parameters of their priors, by `_node_moves`."""
    parameters, hyper = problem.natural(state.position), state.hyper
    model = eqx.combine(parameters["model"], fixed, problem.skeleton)
    layers = nn.nodes(with_prior_values(model, constrained(problem.laws, hyper)))
    free = [i for i, layer in enumerate(layers) if layer.is_free]
    if not free:
        return state, jnp.zeros((), problem.x.dtype)

    def given(hyper: Values) -> dict[int, Distribution]:
        found = nn.nodes(with_prior_values(model, constrained(problem.laws, hyper)))
        return {i: found[i].law() for i in free}

    nodes = NodePriors(given, problem.laws, problem.plan.temperature)
    by_centred, by_refreshed = jax.random.split(key)
    u, weights = ({i: f(layers[i]) for i in free} for f in (_log_variances, _outgoing))
    fan_outs = {i: layers[i].fan_out() for i in free}
    hyper, u, weights = centred(by_centred, nodes, hyper, u, weights, fan_outs)

    def replaced(u: dict[int, Array]) -> Parameters:
        new = list(nn.nodes(model))
        for i in free:
            held = new[i].with_outgoing(weights[i])
            new[i] = eqx.tree_at(_log_variances, held, u[i])
        changed = nn.with_nodes(model, new)
        arrays = jax.tree.map(
            lambda old, a: None if old is None else a,
            parameters["model"],
            changed,
            is_leaf=lambda old: old is None,
        )
        return parameters | {"model": arrays}

    def log_likelihood(hyper: Values, u: dict[int, Array]) -> Array:
        changed = replaced(u)
        total: Array = sum_over_rows(
            lambda x, targets: problem.log_likelihood(changed, hyper, fixed, x, targets),
            problem.x,
            problem.targets,
        )
        return total / problem.plan.temperature

    hyper, u, share = refreshed(by_refreshed, nodes, hyper, u, log_likelihood)
    return State(problem.coordinates(replaced(u)), state.momentum, hyper), share


def _log_variances(layer: nn.AbstractNodes) -> Array:
    return layer.log_variances


def _outgoing(layer: nn.AbstractNodes) -> Array:
    return layer.outgoing()


@Compiled
def advance(
    problem: Problem,
    state: State,
    keys: Array,
    kept: Array,
    start: Array,
    count: Array,
    noisy: bool,
    room: tuple[int, int],
) -> tuple[State, Any, Any]:
    """`count` epochs of all chains from epoch `start`, all with noise or all without.

    Of the epochs in `kept` the run keeps a draw. The arrays of draws and of numbers about epochs
    have the lengths `room`, the same for all pieces of a run, so that all are compiled once.
    """

    def epoch(state: State, i: Array) -> tuple[State, dict[str, Array]]:
        def one(state: State, fixed: Any, key: Array) -> tuple[State, dict[str, Array]]:
            return run_epoch(problem, noisy, state, fixed, key, i)

        return jax.vmap(one)(state, problem.fixed, keys)

    def drawn(state: State) -> Any:
        return problem.natural(state.position), state.hyper

    def body(i: Array, carry: Any) -> Any:
        state, draws, traces, num = carry
        state, trace = epoch(state, start + i)
        traces = jax.tree.map(lambda a, new: a.at[i].set(new), traces, trace)
        keep = kept[start + i]
        place = jnp.where(keep, num, room[0])
        draws = jax.tree.map(lambda a, new: a.at[place].set(new, mode="drop"), draws, drawn(state))
        return state, draws, traces, num + keep

    def empty(like: Any, num: int) -> Any:
        return jax.tree.map(lambda a: jnp.zeros((num, *a.shape), a.dtype), like)

    trace = jax.eval_shape(lambda: epoch(state, start)[1])
    carry = state, empty(drawn(state), room[0]), empty(trace, room[1]), jnp.zeros((), int)
    return jax.lax.fori_loop(0, count, body, carry)[:3]
