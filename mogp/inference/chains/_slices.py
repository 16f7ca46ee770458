"""Slice sampling: moves that are always accepted and need neither gradients nor a step size.

Random numbers come from outside, all at once: their generators are what takes longest to compile.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_MOST_SHRINKS = 100  # then numbers of double precision are as close as can be
NUM_UNIFORMS = 2 + _MOST_SHRINKS  # of a move


def slice_along(
    uniforms: Array,
    log_density: Callable[[Array], tuple[Array, Any]],
    here: tuple[Array, Any],
    width: Array,
) -> tuple[Array, tuple[Array, Any], Array]:
    """A move from 0 on a line, by shrinking an interval of some width around 0 (Neal, 2003).

    The interval of his Figure 4 (scheme 1, without stepping out), which costs no density, and the
    shrinking of his Figure 5. Best is a width of about twice the slice.

    Args:
        uniforms: numbers uniform in [0, 1), of shape (NUM_UNIFORMS,).
        log_density: along the line, up to a constant, and anything else at the same place.
        here: the same at 0.
        width: of the first interval.

    Returns:
        Where on the line, what `log_density` gives there, and how often it was taken.
    """
    level = here[0] + jnp.log(uniforms[0])
    left, zero = -width * uniforms[1], jnp.zeros_like(here[0])

    def unfinished(state: Any) -> Array:
        return ~state[0] & (state[-1] < _MOST_SHRINKS)

    def step(state: Any) -> Any:
        *_, left, right, taken = state
        place = left + (right - left) * uniforms[2 + taken]
        there = log_density(place)
        left = jnp.where(place < 0, place, left)
        right = jnp.where(place >= 0, place, right)
        return there[0] > level, place, there, left, right, taken + 1

    start = jnp.array(False), zero, here, left, left + width, jnp.zeros((), int)
    fine, *found, _, _, taken = jax.lax.while_loop(unfinished, step, start)
    place, there = jax.tree.map(partial(jnp.where, fine), tuple(found), (zero, here))
    return place, there, taken


def elliptical(
    uniforms: Array,
    other: Array,
    log_likelihood: Callable[[Array], Array],
    at: Array,
    value: Array,
) -> tuple[Array, Array]:
    """A move of numbers that are standard normal a priori (Murray, Adams and MacKay, 2010).

    Args:
        uniforms: numbers uniform in [0, 1), of shape (NUM_UNIFORMS,).
        other: standard normal numbers, as many as move.
        log_likelihood: of such numbers, up to a constant.
        at: where they are.
        value: the log likelihood there.

    Returns:
        Where they go, and how often the likelihood was taken.
    """
    level, first = value + jnp.log(uniforms[0]), 2 * jnp.pi * uniforms[1]

    def there(angle: Array) -> Array:
        return at * jnp.cos(angle) + other * jnp.sin(angle)

    def unfinished(state: Any) -> Array:
        return ~state[0] & (state[-1] < _MOST_SHRINKS)

    def step(state: Any) -> Any:
        _, low, high, angle, taken = state
        fine = log_likelihood(there(angle)) > level
        low = jnp.where(~fine & (angle < 0), angle, low)
        high = jnp.where(~fine & (angle >= 0), angle, high)
        new = low + (high - low) * uniforms[2 + taken]
        return fine, low, high, jnp.where(fine, angle, new), taken + 1

    start = jnp.array(False), first - 2 * jnp.pi, first, first, jnp.zeros((), int)
    fine, *_, angle, taken = jax.lax.while_loop(unfinished, step, start)
    return jnp.where(fine, there(angle), at), taken
