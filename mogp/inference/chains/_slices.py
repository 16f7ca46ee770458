"""Slice sampling: moves that are always accepted and need neither gradients nor a step size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_MOST_STEPS = 8  # out of the first interval, on both sides together
_MOST_SHRINKS = 100  # then numbers of double precision are as close as can be


def slice_along(
    key: Array, log_density: Callable[[Array], Array], at_zero: Array, width: Array
) -> tuple[Array, Array, Array]:
    """A move from 0 on a line, by stepping out and shrinking (Neal, 2003, Figures 3 and 5).

    Args:
        key: a random key.
        log_density: along the line, up to a constant.
        at_zero: its value at 0.
        width: of the first interval.

    Returns:
        Where on the line, the density there, and how often the density was taken.
    """
    by_level, by_place, by_steps, by_shrink = jax.random.split(key, 4)
    level = at_zero + jnp.log(jax.random.uniform(by_level, dtype=at_zero.dtype))
    left = -width * jax.random.uniform(by_place, dtype=at_zero.dtype)
    on_left = jax.random.randint(by_steps, (), 0, _MOST_STEPS)
    zero = jnp.zeros_like(at_zero)

    def unfinished(state: dict[str, Any]) -> Array:
        return (state["phase"] < 3) & (state["taken"] < _MOST_STEPS + _MOST_SHRINKS)

    # One loop with one density in it, which is compiled once: to the left (phase 0), to the right
    # (1), then inwards (2).
    def step(state: dict[str, Any]) -> dict[str, Any]:
        left, right, phase = state["left"], state["right"], state["phase"]
        by_next, by_draw = jax.random.split(state["key"])
        inside = left + (right - left) * jax.random.uniform(by_draw, dtype=at_zero.dtype)
        place = jnp.where(phase == 0, left, jnp.where(phase == 1, right, inside))
        value = log_density(place)
        above = value > level
        out = above & (phase < 2) & (state["room"][jnp.minimum(phase, 1)] > 0)
        within = ~above & (phase == 2)
        new_left = jnp.where(out & (phase == 0), left - width, left)
        new_right = jnp.where(out & (phase == 1), right + width, right)
        left = jnp.where(within & (place < 0), place, new_left)
        right = jnp.where(within & (place >= 0), place, new_right)
        ends = (phase == 2) & above
        return {
            "key": by_next,
            "left": left,
            "right": right,
            "room": state["room"].at[jnp.minimum(phase, 1)].add(-out.astype(int)),
            "phase": jnp.where((phase < 2) & ~out | ends, phase + 1, phase),
            "place": jnp.where(ends, place, state["place"]),
            "value": jnp.where(ends, value, state["value"]),
            "taken": state["taken"] + 1,
        }

    start = {
        "key": by_shrink,
        "left": left,
        "right": left + width,
        "room": jnp.stack([on_left, _MOST_STEPS - 1 - on_left]),
        "phase": jnp.zeros((), int),
        "place": zero,
        "value": at_zero,
        "taken": jnp.zeros((), int),
    }
    end = jax.lax.while_loop(unfinished, step, start)
    return end["place"], end["value"], end["taken"]


def elliptical(
    key: Array, log_likelihood: Callable[[Array], Array], at: Array, value: Array
) -> tuple[Array, Array]:
    """A move of numbers that are standard normal a priori (Murray, Adams and MacKay, 2010).

    Args:
        key: a random key.
        log_likelihood: of such numbers, up to a constant.
        at: where they are.
        value: the log likelihood there.

    Returns:
        Where they go, and how often the likelihood was taken.
    """
    by_level, by_other, by_angle, by_shrink = jax.random.split(key, 4)
    level = value + jnp.log(jax.random.uniform(by_level, dtype=value.dtype))
    other = jax.random.normal(by_other, at.shape, at.dtype)
    first = 2 * jnp.pi * jax.random.uniform(by_angle, dtype=value.dtype)

    def there(angle: Array) -> Array:
        return at * jnp.cos(angle) + other * jnp.sin(angle)

    def unfinished(state: Any) -> Array:
        return ~state[0] & (state[-1] < _MOST_SHRINKS)

    def step(state: Any) -> Any:
        _, key, low, high, angle, taken = state
        by_next, by_draw = jax.random.split(key)
        fine = log_likelihood(there(angle)) > level
        low = jnp.where(~fine & (angle < 0), angle, low)
        high = jnp.where(~fine & (angle >= 0), angle, high)
        new = low + (high - low) * jax.random.uniform(by_draw, dtype=value.dtype)
        return fine, by_next, low, high, jnp.where(fine, angle, new), taken + 1

    start = jnp.array(False), by_shrink, first - 2 * jnp.pi, first, first, jnp.zeros((), int)
    fine, *_, angle, taken = jax.lax.while_loop(unfinished, step, start)
    return jnp.where(fine, there(angle), at), taken
