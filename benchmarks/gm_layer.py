"""Time of one epoch of a GM layer (K = 20, batch 64, SGD) on data of MNIST's size, on the CPU.

Three programs do the same steps from the same start, one after the other, several times:

- `mogp`: `inference.fit`, including shuffling and the gathering of batches; also with low-rank
  (r = 8) and full covariances, full on a fiftieth of the rows and its time multiplied by 50;
- `torch, literal`: PyTorch, autograd, the formula as it is written, `U_k (σ_k² ⊙ x)`;
- `torch, regrouped`: PyTorch with `(U_k ⊙ σ_k²) x`, the products regrouped as `mogp` does.

The floating-point limit is the time of the matrix products of a step (forward, and the gradients
of the parameters) at the rate that JAX reaches for a product of 4096-square matrices,
measured in the same run.

    pip install '.[benchmark]' && python benchmarks/gm_layer.py
"""

import argparse
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from mogp import inference, nn

K, L, D, N, BATCH = 20, 10, 784, 60_000, 64


def mogp_epoch(
    x: np.ndarray, y: np.ndarray, start: nn.GMLayer, *, share: int = 1
) -> Callable[[], float]:
    """An epoch on one `share`-th of the rows, its time multiplied by `share`."""
    inputs, labels = jnp.asarray(x[: N // share]), jnp.asarray(y[: N // share])
    fast = [name for name in ("scales", "factors") if name in start.arrays()]
    optimizer = inference.per_parameter(optax.sgd(0.1), **dict.fromkeys(fast, optax.sgd(1.0)))

    def run() -> float:
        result = inference.fit(
            start, inputs, labels, key=jax.random.key(0), num_epochs=2, batch_size=BATCH,
            optimizer=optimizer, progress=False,
        )  # fmt: skip
        seconds = float(result.history["seconds"].values[-1])  # the second epoch: nothing compiles
        return share * seconds

    return run


class TorchLayer(torch.nn.Module):
    """The layer in PyTorch, in one of two groupings of its products."""

    def __init__(self, start: nn.GMLayer, literal: bool) -> None:
        super().__init__()
        self.literal = literal
        for name in ("means", "scales", "slopes", "offsets"):
            array = torch.tensor(np.array(start.arrays()[name]))
            self.register_parameter(name, torch.nn.Parameter(array))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variances = self.scales**2
        m = x @ self.means.T
        s = torch.sqrt(x**2 @ variances.T)
        slope = torch.special.ndtr(m / s)
        mean = m * slope + s * torch.exp(-((m / s) ** 2) / 2) / (2 * torch.pi) ** 0.5
        level = torch.einsum("kld,kd->kl", self.slopes, self.means) + self.offsets
        if self.literal:
            drift = torch.einsum("kld,bkd->bkl", self.slopes, variances * x[:, None, :])
        else:
            drift = torch.einsum("kld,bd->bkl", self.slopes * variances[:, None, :], x)
        return (mean[:, :, None] * level + slope[:, :, None] * drift).mean(1)


def torch_epoch(
    x: np.ndarray, y: np.ndarray, start: nn.GMLayer, *, literal: bool
) -> Callable[[], float]:
    inputs, labels = torch.tensor(x), torch.tensor(y, dtype=torch.long)
    layer = TorchLayer(start, literal)
    check = np.abs(layer(inputs[:50]).detach().numpy() - np.array(start(jnp.asarray(x[:50]))))
    assert check.max() < 1e-3, "the two implementations differ"
    rest = [layer.means, layer.slopes, layer.offsets]
    groups = [{"params": [layer.scales], "lr": 1.0}, {"params": rest, "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)

    def run() -> float:
        began = time.perf_counter()
        for rows in torch.randperm(N)[: N // BATCH * BATCH].reshape(-1, BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(inputs[rows]), labels[rows])
            loss.backward()
            optimizer.step()
        return time.perf_counter() - began

    return run


def flops_per_second(size: int = 4096) -> float:
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        product(a, a).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats

    rng = np.random.default_rng(0)
    x = rng.random((N, D), dtype=np.float32) * (rng.random((N, D)) < 0.2)
    y = rng.integers(0, L, N).astype(np.int32)
    start, low_rank, full = (
        nn.GMLayer(D, L, K, covariance=covariance, key=jax.random.key(0))
        for covariance in ("diagonal", "low_rank", "full")
    )
    programs = {
        "mogp": mogp_epoch(x, y, start),
        "mogp, low rank": mogp_epoch(x, y, low_rank),
        "mogp, full": mogp_epoch(x, y, full, share=50),
        "torch, literal": torch_epoch(x, y, start, literal=True),
        "torch, regrouped": torch_epoch(x, y, start, literal=False),
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):  # in turn, so that a drift of the machine meets all
        for name, run in programs.items():
            times[name].append(run())

    columns = K + K + K * L  # means, variances, slopes
    flops = N // BATCH * 2 * 2 * BATCH * D * columns  # forward, and gradients of the parameters
    rate = flops_per_second()
    limit = flops / rate
    medians = {name: float(np.median(values)) for name, values in times.items()}
    print(f"{jax.devices()[0].device_kind}, {jax.__version__=}, {torch.__version__=}")
    print(f"{'program':<18} {'s/epoch':>8} {'min':>6} {'max':>6} {'mogp/it':>8}")
    for name, values in times.items():
        ratio = medians["mogp"] / medians[name]
        print(f"{name:<18} {medians[name]:8.2f} {min(values):6.2f} {max(values):6.2f} {ratio:8.2f}")
    print(f"{'limit':<18} {limit:8.2f} {'':13} {medians['mogp'] / limit:8.2f}", end="")
    print(f"   ({flops / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP/s)")
    arrays = jax.tree.leaves(eqx.filter(start, eqx.is_array))
    print(f"{sum(a.size for a in arrays):,} parameters")


if __name__ == "__main__":
    main()
