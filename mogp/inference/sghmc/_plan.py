"""What SGHMC does in which epoch: step sizes, noise, draws."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_between, check_choice, check_count
from mogp.inference.sghmc._noise import NOISES

SMALLEST_STEP = 0.2  # of a cycle, over its largest: [DW] go from 0.5 to 0.1


class Plan(NamedTuple):
    """The settings of the steps, as in `sghmc`; `cycle` is the number of epochs of a cycle."""

    batch_size: int
    step_size: float
    friction: float
    temperature: float
    schedule: str
    cycle: int
    moves_every: int
    noise: str

    def step_sizes(self, epoch: Array, steps: int, dtype: Any) -> Array:
        """The step sizes of the steps of an epoch, of shape (steps,)."""
        full = jnp.full(steps, self.step_size, dtype)
        if self.schedule == "constant":
            return full
        done = (epoch % self.cycle + jnp.arange(steps, dtype=dtype) / steps) / self.cycle
        cosine = (1 + jnp.cos(math.pi * done)) / 2
        return full * jnp.maximum(cosine, SMALLEST_STEP).astype(dtype)


def checked_epochs(
    plan: Plan,
    num_rows: int,
    num_epochs: int,
    num_cycles: int,
    exploration: float,
    burn_in: float,
    samples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Which epochs are with noise, and which end with a draw, two arrays of shape (num_epochs,)."""
    for name, value in (
        ("num_epochs", num_epochs),
        ("num_cycles", num_cycles),
        ("samples_per_cycle", samples),
        ("moves_every", plan.moves_every),
    ):
        check_count(name, value)
    if check_count("batch_size", plan.batch_size) > num_rows:
        raise ValueError(f"batch_size must be at most n = {num_rows}, got {plan.batch_size}")
    check_choice("schedule", plan.schedule, ("constant", "cyclical"))
    check_choice("noise", plan.noise, NOISES)
    check_between("step_size", plan.step_size, 0)
    check_between("friction", plan.friction, 0, math.nextafter(1, 2))
    if not 0 <= plan.temperature < math.inf:
        raise ValueError(f"temperature must be at least 0 and finite, got {plan.temperature}")
    if num_epochs % num_cycles:
        raise ValueError(f"num_cycles must divide num_epochs = {num_epochs}, got {num_cycles}")
    for name, share in (("exploration", exploration), ("burn_in", burn_in)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), got {share}")
    quiet, first = round(exploration * plan.cycle), round((exploration + burn_in) * plan.cycle)
    if samples > plan.cycle - first:
        raise ValueError(
            f"samples_per_cycle must be at most {max(plan.cycle - first, 0)}, the epochs of a "
            f"cycle of {plan.cycle} after exploration and burn_in, got {samples}"
        )
    noisy = (np.arange(plan.cycle) >= quiet) & (plan.temperature > 0)
    drawn = np.maximum(np.arange(plan.cycle + 1) - first, 0) * samples // (plan.cycle - first)
    return np.tile(noisy, num_cycles), np.tile(np.diff(drawn) > 0, num_cycles)
