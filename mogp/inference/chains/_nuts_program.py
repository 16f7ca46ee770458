"""NumPyro's NUTS on the model of a `Setup`."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from mogp.inference.chains._program import Program
from mogp.inference.chains._setup import Setup

_WARMUP_DEPTH = 7  # before the scales are known, longer trajectories are not worth their steps
_STATS = {
    "diverging": "diverging",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "energy": "energy",
}
# Starts: the best of so many draws of the prior is moved towards the data by Adam, whose steps fall
# from the first length to the last whenever a window of steps gains less than a nat an unknown.
# Real numbers stand for all unknowns, most of them logarithms: 0.1 a step goes from noise of 1 to
# 1e-6 in 140. From draws of the prior alone a signal without noise is a cliff, at whose edge the
# step size collapses.
_DRAWS, _WINDOW, _MOST = 10, 20, 2000
_FIRST, _LAST, _FALL = 0.1, 1e-4, 0.3


class Nuts(Program):
    """The functions of a run of NUTS."""

    name = "NUTS"
    library = "numpyro"

    def __init__(self, setup: Setup, num_warmup: int, target_accept: float, depth: int) -> None:
        super().__init__(setup)
        self._begin, self._next = hmc(potential_fn_gen=self.potential, algo="NUTS")
        self._options = {
            "num_warmup": num_warmup,
            "trajectory_length": None,
            "target_accept_prob": target_accept,
            "max_tree_depth": (min(depth, _WARMUP_DEPTH), depth),
        }
        one = jnp.zeros(1)
        # NumPyro's `hmc` remembers the settings at its first call, which a resumed run lacks.
        toy = ParamInfo({"": one}, one[0], {"": one})
        jax.eval_shape(lambda: self._begin(toy, **self._options, model_args=(one, one)))

    def start_of_one(self, key: Array, x: Array, y: Array) -> Any:
        by_draw, by_chain = jax.random.split(key)
        start = self._found(by_draw, x, y)
        return self._begin(start, **self._options, model_args=(x, y), rng_key=by_chain)

    def sample_of_one(self, state: Any, x: Array, y: Array) -> Any:
        return self._next(state, (x, y), {})

    def statistics_of_one(self, state: Any) -> dict[str, Array]:
        stats = {name: getattr(state, field) for field, name in _STATS.items()}
        return stats | {"step_size": state.adapt_state.step_size}

    def _found(self, key: Array, x: Array, y: Array) -> ParamInfo:
        """Where a chain starts: near the typical set, from a draw of the prior."""
        slope_of, adam = jax.value_and_grad(self.potential(x, y)), optax.scale_by_adam(b2=0.9)

        first = self.drawn(key, x, y)
        size = sum(value.size for value in first.values())
        worst = ParamInfo(
            first, jnp.full((), jnp.inf, x.dtype), jax.tree.map(jnp.zeros_like, first)
        )

        def choose(condition: Array, one: Any, other: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)

        def unfinished(state: Any) -> Array:
            i, _, best, _, _, rate, target = state
            return (i < _MOST) & (rate > _LAST) & ~(best.potential_energy <= target)

        def step(state: Any) -> Any:
            i, z, best, moments, gained, rate, target = state
            tried = choose(i < _DRAWS, self.drawn(jax.random.fold_in(key, i), x, y), z)
            value, slope = slope_of(tried)
            each = [jnp.all(jnp.isfinite(a)) for a in (value, *slope.values())]
            fine = jnp.all(jnp.stack(each))
            new = ParamInfo(tried, value, slope)
            best = choose(fine & (value < best.potential_energy), new, best)
            at = choose(fine & (i >= _DRAWS), new, best)
            direction, moments = adam.update(at.z_grad, moments)
            z = jax.tree.map(lambda a, b: a - rate.astype(a.dtype) * b, at.z, direction)
            # At the end of a window without much gain, go on from the best in shorter steps.
            ends = (i >= _DRAWS) & ((i - _DRAWS) % _WINDOW == _WINDOW - 1)
            slow = ends & ~(gained - best.potential_energy > size)
            z, moments = choose(slow, (best.z, adam.init(first)), (z, moments))
            gained = jnp.where(ends | (i < _DRAWS), best.potential_energy, gained)
            rate = jnp.where(slow, rate * _FALL, rate)
            return i + 1, z, best, moments, gained, rate, target

        def search(again: Array, best: ParamInfo) -> ParamInfo:
            # The first search finds the least energy. The mode may be far from where the mass is,
            # at noise of 0 for example; so the second, of the same steps, ends at the first energy
            # that draws have, which is half a nat an unknown above.
            target = jnp.where(again, best.potential_energy + size / 2, -jnp.inf).astype(x.dtype)
            rate = jnp.asarray(_FIRST, x.dtype)
            state = jnp.zeros((), int), first, worst, adam.init(first), worst.potential_energy
            found: ParamInfo = jax.lax.while_loop(unfinished, step, (*state, rate, target))[2]
            return found

        found: ParamInfo = jax.lax.fori_loop(0, 2, lambda i, best: search(i > 0, best), worst)
        return found
