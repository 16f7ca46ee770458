"""Time of the kernels of the limit.

- The NNGP kernel of three hidden ReLU layers on n points with 784 entries, float32: `mogp` (pairs
  once, then mirrored), the same formula written plainly in JAX (arccosine and square root on the
  whole matrix), and the bare matrix product `x xᵀ` that both begin with. neural-tangents 0.6.5 took
  1.66 times the plain form on JAX 0.4.30; it does not import on the JAX that `mogp` needs.
- With `--mogp-jumps`, one draw of a random kernel at the same n, its jumps in the last layer.
- A thousand prior draws of two outputs at one input, three hidden layers of GBFRY(1/2, τ=2),
  against networks of width 2000 drawn one by one in PyTorch, if that is there.

    pip install '.[benchmark]' && python benchmarks/kernel.py

On an accelerator `--n 60000 --mogp-jumps 500` is the size of MNIST; the fraction of the rate of the
bare product is printed with the times.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mogp import MoGP, limit, priors

try:
    import torch
except ImportError:
    torch = None

DEPTH, D, WIDTH = 3, 784, 2000


@jax.jit
def plain(x: jax.Array) -> jax.Array:
    """The arc-cosine recursion as it is written in papers."""
    kernel = x @ x.T / x.shape[1]
    for _ in range(DEPTH):
        root = jnp.sqrt(jnp.diagonal(kernel))
        norms = root[:, None] * root[None, :]
        cosine = jnp.clip(kernel / norms, -1, 1)
        angle = jnp.arccos(cosine)
        kernel = norms * (jnp.sqrt(1 - cosine**2) + (jnp.pi - angle) * cosine) / (2 * jnp.pi)
    return kernel


@jax.jit
def product(x: jax.Array) -> jax.Array:
    return x @ x.T


def seconds(call: Callable[[], Any], repeats: int) -> np.ndarray:
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return np.array(times)


def torch_network(x: "torch.Tensor") -> "torch.Tensor":
    """Two outputs of one network with GBFRY node variances in three hidden layers."""
    hidden = x / x.shape[1] ** 0.5
    alpha, tau = 0.5, 2.0
    scale = (tau - 1) / (tau - alpha)
    rate = (alpha * WIDTH * tau / (tau - alpha)) ** (1 / alpha)
    for _ in range(DEPTH):
        nodes = torch.relu(hidden @ torch.randn(hidden.shape[1], WIDTH))
        # Ratio of generalised beta variables, by inverting the tilted power law and dividing.
        u = torch.rand(WIDTH)
        tilt = ((1 - u) + u * (1 + rate) ** alpha) ** (1 / alpha)
        variances = scale * torch._standard_gamma(torch.full((WIDTH,), 1 - alpha)) / tilt
        variances = variances * torch.rand(WIDTH) ** (-1 / tau)
        hidden = nodes * variances.sqrt()
    return hidden @ torch.randn(WIDTH, 2)


def report(name: str, times: np.ndarray, against: np.ndarray | None = None) -> None:
    ratio = "" if against is None else f"  {np.min(times) / np.min(against):9.3g} of the first"
    print(f"{name:44}{np.min(times):10.4g} s  (median {np.median(times):.4g}){ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--mogp-jumps", type=int, default=0)
    parser.add_argument("--torch-networks", type=int, default=20)
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, n = {options.n}")

    x = jax.random.uniform(jax.random.key(0), (options.n, D), jnp.float32)
    gp = MoGP([priors.Deterministic()] * DEPTH)
    against = seconds(lambda: plain(x), options.repeats)
    report("NNGP, plain JAX", against)
    ours = seconds(lambda: limit.gp_kernel(gp, x), options.repeats)
    report("NNGP, mogp", ours, against)
    bare = seconds(lambda: product(x), options.repeats)
    report("x xᵀ alone", bare, against)
    print(
        f"of neural-tangents, if that is 1.66 plain ones: {ours.min() / against.min() / 1.66:.2f}"
    )
    print(f"x xᵀ takes {bare.min() / ours.min():.2f} of mogp's time")
    if options.n <= 10_000:
        off = jnp.max(jnp.abs(limit.gp_kernel(gp, x) - plain(x)))
        print(f"largest difference between the two: {off:.1e}")
    if options.mogp_jumps:
        model = MoGP([*[priors.Deterministic()] * (DEPTH - 1), priors.GBFRY(0.5, 2.0)])
        draw = seconds(
            lambda: model.sample_kernel(
                x, key=jax.random.key(1), num_jumps=options.mogp_jumps, num_samples=1
            ),
            max(1, options.repeats // 3),
        )
        report(f"one random kernel, {options.mogp_jumps} jumps", draw, against)

    model = MoGP([priors.GBFRY(0.5, 2.0)] * DEPTH)
    point = x[:1]
    draws = seconds(
        lambda: model.sample_prior(
            point, key=jax.random.key(2), num_samples=1000, num_outputs=2, num_jumps=100
        ),
        options.repeats,
    )
    report("1000 prior draws at a point, mogp", draws)
    if torch is not None:
        inputs = torch.from_numpy(np.array(point))
        torch_network(inputs)
        start = time.perf_counter()
        for _ in range(options.torch_networks):
            torch_network(inputs)
        one = (time.perf_counter() - start) / options.torch_networks
        print(
            f"{'1000 networks of width 2000, PyTorch':44}{1000 * one:10.4g} s, "
            f"from {options.torch_networks}: {1000 * one / draws.min():.0f} times as long"
        )


if __name__ == "__main__":
    main()
