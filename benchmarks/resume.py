"""Kill a run at random moments, resume it, and compare it with one that was left alone.

    python benchmarks/resume.py

A run of 2000 draws on ten points by `inference.nuts` writes a checkpoint every five draws. Its
process is killed (SIGKILL) at a random time after it wrote one, 20 times over, and then left to
finish.
Every value of its posterior must be that of the run that was never killed.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mogp import MoGP, inference, priors


def run(folder: Path, checkpoint: Path | None, out: Path) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    x = jnp.linspace(-2, 2, 10)[:, None]
    posterior = inference.nuts(
        MoGP([priors.Horseshoe()], bias_scale=1.0), x, jnp.abs(x[:, 0]), key=jax.random.key(0),
        num_warmup=300, num_samples=1700, num_chains=2, num_jumps=3, max_tree_depth=6,
        progress=False, checkpoint=checkpoint, checkpoint_every=5,
    )  # fmt: skip
    arrays = {str(n): a.values for n, a in posterior.data["posterior"].data_vars.items()}
    np.savez(out, **arrays)


def written(checkpoint: Path) -> float:
    return checkpoint.stat().st_mtime if checkpoint.exists() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.6, help="of a life after a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, context = random.Random(options.seed), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, None, folder / "whole.npz")
        checkpoint, lost = folder / "chain", 0
        for kill in range(1, options.kills + 1):
            process = context.Process(target=run, args=(folder, checkpoint, folder / "killed.npz"))
            before = written(checkpoint)
            process.start()
            while process.is_alive() and written(checkpoint) == before:
                time.sleep(0.01)
            process.join(rng.uniform(0, options.seconds))
            lost += process.is_alive()
            process.kill()
            process.join()
            print(f"life {kill} ended with exit code {process.exitcode}", flush=True)
        run(folder, folder / "chain", folder / "killed.npz")
        first, last = np.load(folder / "whole.npz"), np.load(folder / "killed.npz")
        assert first.files == last.files
        same = all(np.array_equal(first[name], last[name]) for name in first.files)
        print(f"killed {lost} times of {options.kills}; identical: {same}")
        assert same
        assert lost > options.kills / 2, "most lives ended by themselves: the test was weak"


if __name__ == "__main__":
    main()
