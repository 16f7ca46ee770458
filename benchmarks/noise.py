"""Processor time of the noise of a step of SGHMC, by generator: 784-1000-1000-10, batch 100.

The generators are JAX's own, `threefry2x32`, `rbg` and `unsafe_rbg`, and the hash of
`inference.sghmc(noise="hash")`. A step takes 1.8 million normal numbers. Timed are the noise and
the update without a gradient, and the whole step; the best of several, all in one run.

    python benchmarks/noise.py

`--bits FILE` writes keys for `benchmarks/noise_testu01.c` instead, which tests the hash.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from mogp.inference.sghmc._noise import noise_keys

WIDTHS, BATCH, STEPS = (784, 1000, 1000, 10), 100, 20
GENERATORS = ("threefry2x32", "rbg", "unsafe_rbg", "hash")


def keys(generator: str) -> jax.Array:
    if generator == "hash":
        return noise_keys(jax.random.key(0), STEPS, "hash")
    return jax.random.split(jax.random.key(0, impl=generator), STEPS)


def loss(parameters: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    hidden, layers = x, len(WIDTHS) - 1
    for i, (weights, biases) in enumerate(
        zip(parameters[:layers], parameters[layers:], strict=True)
    ):
        hidden = jax.nn.relu(hidden) if i else hidden
        hidden = hidden @ weights.T / math.sqrt(WIDTHS[i]) + biases
    picked = jnp.take_along_axis(jax.nn.log_softmax(hidden), y[:, None], 1)
    return -600 * picked.sum() + sum(jnp.sum(a**2) for a in parameters) / 2


def program(noise: bool, gradient: bool) -> Any:
    x = jax.random.normal(jax.random.key(1), (BATCH, WIDTHS[0]))
    y = jax.random.randint(jax.random.key(2), (BATCH,), 0, WIDTHS[-1])

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        q, p = carry
        q = jax.tree.map(lambda q, p: q + 1e-3 * p, q, p)
        p = jax.tree.map(lambda p: 0.9 * p, p)
        if gradient:
            p = jax.tree.map(lambda p, g: p - 1e-3 * g, p, jax.grad(loss)(q, x, y))
        if noise:
            flat, unravel = jax.flatten_util.ravel_pytree(p)
            normal = unravel(jax.random.normal(key, flat.shape, flat.dtype))
            p = jax.tree.map(lambda p, e: p + 0.4 * e, p, normal)
        return (q, p), None

    return jax.jit(lambda start, by_step: jax.lax.scan(step, start, by_step)[0])


def milliseconds(run: Any, by_step: jax.Array, repeats: int) -> float:
    """Processor time of a step, the best of several runs."""
    shapes = list(zip(WIDTHS[1:], WIDTHS, strict=False))
    zeros = [jnp.zeros(s, jnp.float32) for s in (*shapes, *((n,) for n, _ in shapes))]
    start = zeros, zeros
    jax.block_until_ready(run(start, by_step))
    best = math.inf
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(run(start, by_step))
        best = min(best, time.process_time() - began)
    return 1000 * best / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bits", type=Path, help="write the data of 65,536 keys to this file")
    options = parser.parse_args()
    if options.bits:
        data = jax.random.bits(jax.random.key(0), (2**16, 2), "uint32")
        np.asarray(data).tofile(options.bits)
        return
    plain = milliseconds(program(noise=False, gradient=True), keys("rbg"), options.repeats)
    print(f"{'no noise':14} whole step {plain:6.1f} ms")
    alone, whole = program(noise=True, gradient=False), program(noise=True, gradient=True)
    for generator in GENERATORS:
        found = [milliseconds(run, keys(generator), options.repeats) for run in (alone, whole)]
        print(f"{generator:14} noise {found[0]:6.1f} ms, whole step {found[1]:6.1f} ms", flush=True)


if __name__ == "__main__":
    main()
