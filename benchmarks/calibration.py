"""Simulation-based calibration in full: 200 data sets a model, ranks by a χ² test.

    python benchmarks/calibration.py
    python benchmarks/calibration.py --sampler gibbs

Limit at one and two hidden layers, and finite networks, with unknown parameters, and with variances
of the inputs: the p-value of
each quantity, and the divergences among all draws. With as many tests as there are rows, the
smallest p-value is expected near one over their number.
"""

import argparse
import time

import jax
import numpyro.distributions as dist

from mogp import MoGP, inference, priors

GBFRY = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=3.0)
SCALES = {"weight_scale": dist.LogNormal(0.0, 0.5), "bias_scale": 1.0}
CASES = {
    "limit, horseshoe": (MoGP([priors.Horseshoe()], **SCALES), None),
    "limit, GBFRY": (MoGP([GBFRY], **SCALES), None),
    "limit, horseshoe, depth 2": (MoGP([priors.Horseshoe()] * 2, **SCALES), None),
    "network, horseshoe": (MoGP([priors.Horseshoe()], **SCALES), 5),
    "network, GBFRY": (MoGP([GBFRY], **SCALES), 5),
    "limit, inputs": (MoGP([GBFRY], input_prior=priors.Horseshoe(), **SCALES), None),
    "network, inputs": (MoGP([GBFRY], input_prior=priors.Horseshoe(), **SCALES), 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--case", choices=CASES, action="append", help="all without")
    parser.add_argument("--key", type=int, default=0, help="of the first case")
    parser.add_argument("--sampler", choices=("nuts", "gibbs"), default="nuts")
    parser.add_argument("--single", action="store_true", help="in single precision")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", not options.single)
    x = jax.random.normal(jax.random.key(5), (5, 2))
    for i, (name, (model, width)) in enumerate(CASES.items()):
        if options.case and name not in options.case:
            continue
        if options.sampler == "gibbs" and model.depth > 1:
            continue
        began = time.perf_counter()
        ranks = inference.calibrate(
            model, x, key=jax.random.key(options.key + i), width=width, num_jumps=4, num_diffuse=3,
            num_replications=options.replications, sampler=options.sampler,
        )  # fmt: skip
        values = ", ".join(f"{n} {p:.3f}" for n, p in ranks["p_value"].to_series().items())
        print(
            f"{name}: {values}; {int(ranks['divergences'].sum())} divergences; "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
