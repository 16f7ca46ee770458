"""SGHMC on MNIST, 784-1000-1000-10: accuracy, log-likelihood, calibration, `α` and its R̂.

The set-up of [DW]: a cosine cycle from a step size of 0.5 down to 0.1, friction 0.1, batches of
100, noise from the middle on. `α` of each layer starts at draws of its law. A killed run goes on
where its checkpoint ends.

    python benchmarks/sghmc_mnist.py gbfry --epochs 30 --chains 2 --checkpoint gbfry.ckpt

The data are downloaded, or read from the folder `MOGP_DATA_DIR`.
"""

import argparse
import time

import arviz_stats
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from mogp import MoGP, datasets, inference, priors

PRIORS = {
    "iid": priors.Deterministic(),
    "horseshoe": priors.Horseshoe(),
    "gbfry": priors.GBFRY(alpha=dist.Uniform(0.0, 1.0), tau=2.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prior", choices=PRIORS)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=60_000, help="of the training data")
    parser.add_argument("--checkpoint")
    options = parser.parse_args()
    data = datasets.load("mnist")
    began = time.perf_counter()
    posterior = inference.sghmc(
        MoGP([PRIORS[options.prior]] * 2, bias_scale=1.0),
        jnp.asarray(data.x_train[: options.rows], jnp.float32),
        data.y_train[: options.rows],
        width=options.width,
        key=jax.random.key(0),
        num_epochs=options.epochs,
        num_chains=options.chains,
        batch_size=100,
        step_size=0.5,
        friction=0.1,
        noise="hash",
        samples_per_cycle=max(options.epochs // 4, 1),
        checkpoint=options.checkpoint,
        checkpoint_every=1,
    )
    print(
        f"{options.epochs} epochs of {options.chains} chains, {time.perf_counter() - began:.0f} s"
    )
    print(posterior.evaluate(jnp.asarray(data.x_test, jnp.float32), data.y_test))
    draws = posterior.data["posterior"].dataset
    names = [name for name in draws.data_vars if "alpha" in name or "log_variance_" in name]
    names = [name for name in names if float(draws[name].std()) > 0]  # of iid nodes they are fixed
    rhat = arviz_stats.rhat(draws[names]) if names else {}
    for name in names:
        means = ", ".join(f"{m:.3f}" for m in draws[name].mean("draw").values)
        print(f"{name:20} R-hat {float(rhat[name]):.3f}, means of the chains {means}")


if __name__ == "__main__":
    main()
