"""How node variances and a learned `α` mix under SGHMC: R̂ from dispersed starts, on the digits.

One hidden layer of 30 nodes, 1438 rows, four chains: `α` starts at draws of its law, the weights at
draws from the prior, node variances at `1/p`. Single precision.

    python benchmarks/sghmc_digits.py gbfry
    python benchmarks/sghmc_digits.py horseshoe
"""

import argparse
import time

import arviz_stats
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from mogp import MoGP, datasets, inference, priors

PRIORS = {
    "horseshoe": priors.Horseshoe(),
    "gbfry": priors.GBFRY(alpha=dist.Uniform(0.0, 1.0), tau=2.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prior", choices=PRIORS)
    parser.add_argument("--epochs", type=int, default=4000)
    options = parser.parse_args()
    data = datasets.load("digits")
    began = time.perf_counter()
    posterior = inference.sghmc(
        MoGP([PRIORS[options.prior]], bias_scale=1.0),
        jnp.asarray(data.x_train, jnp.float32),
        data.y_train,
        width=30,
        key=jax.random.key(0),
        num_epochs=options.epochs,
        batch_size=359,
        step_size=0.3,
        friction=0.03,
        schedule="constant",
        exploration=0.02,
        burn_in=0.38,
        samples_per_cycle=3 * options.epochs // 10,
        moves_every=2,
        checkpoint_every=max(options.epochs // 8, 1),
        progress=False,
    )
    print(f"{options.epochs} epochs of 4 chains in {time.perf_counter() - began:.0f} s")
    draws = posterior.data["posterior"].dataset
    names = [f"log_variance_{of}0" for of in ("mean", "sum", "max")]
    names += [name for name in draws.data_vars if name == "prior0.alpha"]
    rhat, ess = arviz_stats.rhat(draws[names]), arviz_stats.ess(draws[names])
    for name in names:
        print(
            f"{name:20} R-hat {float(rhat[name]):.3f}, effective draws {float(ess[name]):.0f}, "
            f"mean {float(draws[name].mean()):.3f}, deviation {float(draws[name].std()):.3f}"
        )
    kinetic = posterior.data["sample_stats"]["kinetic_temperature"]
    print(f"kinetic temperature {float(kinetic.mean()):.3f}")
    print(posterior.evaluate(data.x_test, data.y_test))


if __name__ == "__main__":
    main()
