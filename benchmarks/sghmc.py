"""Seconds an epoch of SGHMC on data of MNIST's size, 784-1000-1000-10, batch 100, on the CPU.

Three programs do the same: horseshoe node variances in both hidden layers, `V`, `B` and `log λ`
sampled with the Jacobian, one chain, float32, with and without noise:

- `mogp`: `inference.sghmc`, including shuffling and the gathering of batches;
- `mogp, hash`: the same with `noise="hash"`;
- `torch`: PyTorch, autograd, the update written with in-place operations on every parameter.

They run one after the other, several times; the ratio is that of the best times, in the same run.

    pip install '.[benchmark]' && python benchmarks/sghmc.py

`--torch-python` runs the PyTorch part with another interpreter.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import time

WIDTHS, N, BATCH = (784, 1000, 1000, 10), 60_000, 100
STEP_SIZE, FRICTION = 0.1, 0.1


def torch_seconds(rows: int, noisy: bool) -> float:
    """Of one epoch over `rows` rows, after a warm-up of twenty steps."""
    import torch

    torch.manual_seed(0)
    x = torch.rand(rows, WIDTHS[0]) * (torch.rand(rows, WIDTHS[0]) < 0.2)
    y = torch.randint(0, 10, (rows,))
    shapes = list(zip(WIDTHS[1:], WIDTHS, strict=False))
    weights = [torch.randn(shape) for shape in shapes]
    biases = [torch.randn(shape[0]) for shape in shapes]
    logs = [torch.full((width,), -math.log(width)) for width in WIDTHS[1:-1]]
    parameters = [p.requires_grad_() for p in (*weights, *biases, *logs)]
    momenta = [torch.zeros_like(p) for p in parameters]
    h = math.sqrt(STEP_SIZE / N)

    def potential(batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = batch / math.sqrt(WIDTHS[0])
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            if i > 0:
                hidden = torch.relu(hidden) * torch.exp(logs[i - 1] / 2)
            hidden = hidden @ weight.T + bias
        loss = torch.nn.functional.cross_entropy(hidden, labels, reduction="sum") * (N / BATCH)
        for array in (*weights, *biases):
            loss = loss + (array**2).sum() / 2
        for u in logs:
            v = u - 2 * math.log(math.pi / (2 * len(u)))
            loss = loss - (v / 2 - torch.nn.functional.softplus(v)).sum()
        return loss

    def steps(order: torch.Tensor) -> None:
        for batch in order:
            with torch.no_grad():
                for p, v in zip(parameters, momenta, strict=True):
                    p.add_(v, alpha=h)
            gradients = torch.autograd.grad(potential(x[batch], y[batch]), parameters)
            with torch.no_grad():
                for v, g in zip(momenta, gradients, strict=True):
                    v.mul_(1 - FRICTION).add_(g, alpha=-h)
                    if noisy:
                        v.add_(torch.randn_like(v), alpha=math.sqrt(2 * FRICTION))

    order = torch.randperm(rows).reshape(-1, BATCH)
    steps(order[:20])
    began = time.perf_counter()
    steps(order)
    return (time.perf_counter() - began) * N / rows


def mogp_seconds(rows: int, noisy: bool, noise: str = "threefry") -> float:
    """Of one epoch over `rows` rows, the best of two after one that compiles."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from mogp import MoGP, inference, priors
    from mogp.inference.sghmc import _sampler

    rng = np.random.default_rng(0)
    x = rng.random((rows, WIDTHS[0]), np.float32) * (rng.random((rows, WIDTHS[0])) < 0.2)
    marks: list[float] = []
    patiently = _sampler.patiently

    def timed(*arguments: object) -> object:
        result = patiently(*arguments)
        marks.append(time.perf_counter())
        return result

    _sampler.patiently = timed
    inference.sghmc(
        MoGP([priors.Horseshoe()] * 2, bias_scale=1.0),
        jnp.asarray(x, jnp.float32),
        rng.integers(0, 10, rows),
        width=WIDTHS[1],
        likelihood=inference.Categorical(10),
        key=jax.random.key(0),
        num_epochs=3,
        num_chains=1,
        batch_size=BATCH,
        step_size=STEP_SIZE,
        friction=FRICTION,
        exploration=0.0,
        burn_in=0.0,
        samples_per_cycle=1,
        temperature=float(noisy),
        noise=noise,
        moves_every=100,
        checkpoint_every=1,
        progress=False,
    )
    return min(b - a for a, b in itertools.pairwise(marks)) * N / rows


PROGRAMS = {
    "mogp": lambda rows, noisy: mogp_seconds(rows, noisy),
    "mogp, hash": lambda rows, noisy: mogp_seconds(rows, noisy, "hash"),
    "torch": torch_seconds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=N, help="rows; times are scaled to 60,000")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        name, noisy = options.only
        print(json.dumps(PROGRAMS[name](options.rows, noisy == "noise")))
        return

    best: dict[tuple[str, str], float] = {}
    for _ in range(options.repeats):  # each in a process of its own: thread pools do not mix
        for noise in ("noise", "none"):
            for name in PROGRAMS:
                if noise == "none" and "hash" in name:
                    continue
                python = options.torch_python if name == "torch" else sys.executable
                command = [python, __file__, "--rows", str(options.rows), "--only", name, noise]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds = json.loads(done.stdout.splitlines()[-1])
                best[name, noise] = min(seconds, best.get((name, noise), math.inf))
    for (name, noise), seconds in best.items():
        ratio = seconds / best["torch", noise]
        print(f"{name:22} {noise:6} {seconds:6.1f} s an epoch, {ratio:.2f} of torch")


if __name__ == "__main__":
    main()
