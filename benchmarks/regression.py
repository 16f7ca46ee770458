"""Time of the log marginal likelihood of Gaussian regression with its gradient, float64.

The gradient is that with respect to all scales of a kernel and the noise, compiled as one:

- GPJax 1.0 with its RBF kernel, with `mogp`'s kernel of two hidden layers in the GP regime, and
  with that of a drawn path;
- `mogp` with the same kernels, dense;
- `mogp` with the N hidden nodes of a drawn path as features, for the same points and for more.

    pip install '.[gpjax]' && python benchmarks/regression.py

The repeats of all methods alternate, so that what else the machine does slows all of them.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import gpjax as gpx
import jax
import jax.numpy as jnp
import numpy as np

from mogp import MoGP, limit, priors

D, NOISE = 5, 0.1


def compiled(f: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Value and gradient with respect to the first argument, as a call."""
    both = eqx.filter_jit(eqx.filter_value_and_grad(f))
    return lambda: both(*arguments)


def theirs(kernel: gpx.kernels.AbstractKernel, x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    mean = gpx.mean_functions.Zero()
    prior = gpx.gps.Prior(mean_function=mean, kernel=kernel, jitter=1e-12)
    return compiled(
        lambda model, x, y: gpx.objectives.conjugate_mll(model, gpx.Dataset(X=x, y=y)),
        prior * gpx.likelihoods.Gaussian(obs_stddev=NOISE),
        x,
        y,
    )


def ours(source: Any, x: jax.Array, y: jax.Array, method: str) -> Callable[[], Any]:
    model = source.model if isinstance(source, limit.Path) else source

    def value(scales: tuple[list[Any], list[Any], Any], source: Any, x: Any, y: Any) -> jax.Array:
        weight_scales, bias_scales, noise = scales
        changed = MoGP(model.priors, model.activation, weight_scales, bias_scales)
        if isinstance(source, limit.Path):
            changed = eqx.tree_at(lambda path: path.model, source, changed)
        given = limit.condition(changed, x, y, noise_scale=noise, method=method)
        return given.log_marginal_likelihood()

    weight_scales, bias_scales = zip(*jax.tree.map(jnp.asarray, model.scales), strict=True)
    scales = list(weight_scales), list(bias_scales), jnp.asarray(NOISE)
    return compiled(value, scales, source, x, y)


def seconds(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: np.array(each) for name, each in times.items()}


def data(n: int) -> tuple[jax.Array, jax.Array]:
    by_x, by_noise = jax.random.split(jax.random.key(0))
    x = jax.random.normal(by_x, (n, D))
    noise = jax.random.normal(by_noise, (n, 1))
    return x, jnp.sin(jnp.sum(x, 1, keepdims=True)) + NOISE * noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--more", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0].device_kind
    print(f"{device}, jax {jax.__version__}, gpjax {gpx.__version__}, n = {options.n}")

    gp = MoGP([priors.Deterministic()] * 2, weight_scale=1.4, bias_scale=0.5)
    # All jumps are kept: the features give the kernel of the path, and the same likelihood.
    mixture = MoGP([priors.Bernoulli(0.6 * options.nodes)], weight_scale=0.2, bias_scale=0.5)
    path = mixture.sample_path(D, key=jax.random.key(1), num_jumps=options.nodes - 1, num_diffuse=1)
    x, y = data(options.n)
    calls = {
        "GPJax, its RBF": theirs(gpx.kernels.RBF(), x, y),
        "GPJax, kernel of the GP regime": theirs(gp.kernel(), x, y),
        "mogp, kernel of the GP regime": ours(gp, x, y, "dense"),
        "GPJax, kernel of the path": theirs(path.model.kernel(path), x, y),
        "mogp, kernel of the path": ours(path, x, y, "dense"),
        f"mogp, low rank, {options.nodes} nodes": ours(path, x, y, "low_rank"),
    }
    for name, call in calls.items():
        print(f"  {name:36} log p = {float(call()[0]):.4f}", flush=True)
    times = seconds(calls, options.repeats)
    rbf, same = times["GPJax, its RBF"].min(), times["GPJax, kernel of the GP regime"].min()
    for name, each in times.items():
        print(
            f"{name:38}{each.min():9.4f} s  (median {np.median(each):.4f})  of GPJax: with RBF "
            f"{each.min() / rbf:.3f}, with the kernel of the GP regime {each.min() / same:.3f}",
            flush=True,
        )
    for n in options.more:
        name = f"mogp, low rank, n = {n}"
        repeats = options.repeats if n < 10**6 else min(options.repeats, 2)
        each = seconds({name: ours(path, *data(n), "low_rank")}, repeats)[name]
        print(f"{name:38}{each.min():9.4f} s  ({each.min() / n * 1e6:.2f} µs a point)", flush=True)


if __name__ == "__main__":
    main()
