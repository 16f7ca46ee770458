"""The steps of stochastic-gradient HMC: epochs on the device, all chains at once."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution

from mogp._arrays import sum_over_rows
from mogp.inference._likelihoods import Likelihood
from mogp.inference._node_moves import (
    NodePriors,
    Values,
    centred,
    constrained,
    log_density_of,
    refreshed,
    with_values,
)
from mogp.inference._noise import noise_keys
from mogp.inference._objective import log_prior
from mogp.inference._sghmc_plan import Plan
from mogp.nn import DependentMLP

Parameters = dict[str, Any]  # "model": its arrays; "likelihood": unconstrained values


class Problem(eqx.Module):
    """Everything that stays the same during a run; `fixed` leads with an axis of chains."""

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
        return jax.tree.map(lambda a, factor: a / factor, parameters, self.factors)

    def build(self, parameters: Parameters, hyper: Values, fixed: Any) -> tuple[Any, Likelihood]:
        """The module and the likelihood of one chain."""
        module = eqx.combine(parameters["model"], fixed, self.skeleton)
        if self.laws:
            found = with_values(dict(enumerate(module.priors)), self.laws, hyper)
            module = eqx.tree_at(lambda m: m.priors, module, tuple(found.values()))
        values = constrained(unknown_of(self.likelihood), parameters["likelihood"])
        return module, dataclasses.replace(self.likelihood, **values)

    def log_prior(self, parameters: Parameters, hyper: Values, fixed: Any) -> Array:
        """Of parameters, given those of the priors, in unconstrained coordinates."""
        module, _ = self.build(parameters, hyper, fixed)
        return log_prior(module) + log_density_of(
            unknown_of(self.likelihood), parameters["likelihood"]
        )

    def log_likelihood(
        self, parameters: Parameters, hyper: Values, fixed: Any, x: Array, targets: Array
    ) -> Array:
        """Of rows together."""
        module, likelihood = self.build(parameters, hyper, fixed)
        return jnp.sum(likelihood.law(module(x)).log_prob(targets))

    def nodes(self, fixed: Any, parameters: Parameters) -> NodePriors | None:
        """The priors of free node variances, if it has any that are known of."""
        module = eqx.combine(parameters["model"], fixed, self.skeleton)
        if not isinstance(module, DependentMLP) or not any(module.free_variances):
            return None
        free = [i for i, each in enumerate(module.free_variances) if each]
        return NodePriors(
            {i: module.priors[i] for i in free},
            {i: module.prior_widths[i] for i in free},
            self.laws,
            self.plan.temperature,
        )


class State(NamedTuple):
    """Of all chains, in front; positions and momenta in the coordinates of the sampler."""

    position: Parameters
    momentum: Parameters
    hyper: Values


# --- steps ------------------------------------------------------------------------------------


def run_epoch(
    problem: Problem, noisy: bool, state: State, fixed: Any, key: Array, epoch: Array
) -> tuple[State, dict[str, Array]]:
    """One chain through the data once."""
    # The import allocates an array.
    from blackjax.sgmcmc import diffusions

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
        position, momentum = carry
        rows, rate, noise = inputs
        h = jnp.sqrt(rate / num)
        ahead = jax.tree.map(lambda q, p: q + h * p, position, momentum)
        gradient, loss = jax.grad(log_density, has_aux=True)(ahead, rows)
        if not noisy:
            damped = jax.tree.map(lambda p, g: (1 - plan.friction) * p + h * g, momentum, gradient)
            return (ahead, damped), loss
        # BlackJAX's second parameter, made for an estimate of the gradient noise, turns its noise
        # into that of the exact damping; its steps take gradients as they come, here ahead, without
        # which they are unstable at little friction.
        damping = plan.friction / h
        integrate = diffusions.sghmc(damping, damping**2 / plan.temperature)
        after = integrate(noise, position, momentum, gradient, h, plan.temperature)
        # BlackJAX draws noise of JAX's default precision.
        return jax.tree.map(lambda new, old: new.astype(old.dtype), after, carry), loss

    inputs = order.reshape(steps, -1), rates, noise_keys(by_noise, steps)
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
        "kinetic_temperature": sum(squares) / size,
        "refreshed": share,
    }


def _move(problem: Problem, state: State, fixed: Any, key: Array) -> tuple[State, Array]:
    """Node variances and the parameters of their priors, by `_node_moves`."""
    parameters, hyper = problem.natural(state.position), state.hyper
    nodes = problem.nodes(fixed, parameters)
    if nodes is None:
        return state, jnp.zeros((), problem.x.dtype)
    by_centred, by_refreshed = jax.random.split(key)
    model, free = parameters["model"], list(nodes.priors)

    def replaced(u: dict[int, Array], weights: dict[int, Array]) -> Parameters:
        return parameters | {
            "model": eqx.tree_at(
                lambda m: [m.log_variances[i] for i in u] + [m.weights[i + 1] for i in weights],
                model,
                [*u.values(), *weights.values()],
            )
        }

    hyper, u, weights = centred(
        by_centred,
        nodes,
        hyper,
        {i: model.log_variances[i] for i in free},
        {i: model.weights[i + 1] for i in free},
    )

    def log_likelihood(hyper: Values, u: dict[int, Array]) -> Array:
        changed = replaced(u, weights)
        total: Array = sum_over_rows(
            lambda x, targets: problem.log_likelihood(changed, hyper, fixed, x, targets),
            problem.x,
            problem.targets,
        )
        return total / problem.plan.temperature

    hyper, u, share = refreshed(by_refreshed, nodes, hyper, u, log_likelihood)
    return State(problem.coordinates(replaced(u, weights)), state.momentum, hyper), share


@eqx.filter_jit
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
    """`count` epochs of all chains: their draws and traces, in arrays with `room` for so many."""

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


def unknown_of(likelihood: Likelihood) -> dict[str, Distribution]:
    """The laws among the parameters of a likelihood, by name."""
    values = {name: getattr(likelihood, name) for name in likelihood.parameters}
    return {name: law for name, law in values.items() if isinstance(law, Distribution)}
