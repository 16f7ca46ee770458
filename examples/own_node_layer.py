# %% [markdown]
# # A layer of one's own
#
# The library prunes and samples *layers of nodes*, whatever the nodes are. Here they are waves,
# `cos(⟨ω, x⟩ + φ)`, under a prior that the library does not know: NumPyro's log-normal
# distribution. The layer is trained, sampled by SGHMC, pruned to a tenth, saved and loaded again.
# The data are scikit-learn's digits, and it takes about a minute on one core. Written
# are `own-posterior.nc`, `own-small.eqx` and the picture `own-node-layer.png`:
#
#     python examples/own_node_layer.py

# %%
import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from jax import Array
from matplotlib.figure import Figure

from mogp import datasets, inference, nn, priors, pruning

QUICK = {"width": 20, "num_epochs": 2, "num_draws": 4}


# %% [markdown]
# A prior says how the variance of one node is distributed in a layer of so many nodes.


# %%
class LogNormal(priors.Prior):
    """Node variances of median `1 / width`."""

    spread: float

    def law(self, width: int) -> dist.Distribution:
        return dist.LogNormal(-jnp.log(width), self.spread)


# %% [markdown]
# A layer of nodes says which weights lead away from the nodes, how to leave nodes out, and what
# each node adds to the outputs. Its arrays are standard normal under the prior, as the method
# `log_prior` of `AbstractNodes` has it.


# %%
class Waves(nn.AbstractNodes):
    """`f(x) = b + Σ_j √λ_j V_j cos(⟨ω_j, x⟩ + 2π φ_j)`."""

    frequencies: Array  # (number, in_size)
    phases: Array  # (number,)
    weights: Array  # (number, out_size)
    bias: Array  # (out_size,)
    log_variances: Array
    prior: priors.Prior
    prior_width: int = eqx.field(static=True)

    def waves(self, x: Array) -> Array:
        phases = jnp.broadcast_to(self.phases, (len(x), self.number))
        return jnp.cos(x @ self.frequencies.T + 2 * jnp.pi * phases)

    def __call__(self, x: Array) -> Array:
        outputs = self.waves(x) @ (self.root_variances()[:, None] * self.weights)
        return outputs + jnp.broadcast_to(self.bias, outputs.shape)

    def outgoing(self) -> Array:
        return self.weights

    def with_outgoing(self, weights: Array) -> "Waves":
        return eqx.tree_at(lambda layer: layer.weights, self, weights)

    def take(self, kept: Array) -> "Waves":
        return self.take_fields(kept, "frequencies", "phases", "weights")

    def contributions(self, x: Array) -> Array:
        return self.norms() * jnp.sum(self.waves(x) ** 2, 0)


def drawn(width: int, *, key: Array) -> Waves:
    """A layer for images of 64 pixels and ten classes, drawn from the prior."""
    keys, prior = jax.random.split(key, 4), LogNormal(spread=2.0)
    return Waves(
        jax.random.normal(keys[0], (width, 64)),
        jax.random.normal(keys[1], (width,)),
        jax.random.normal(keys[2], (width, 10)),
        jnp.zeros(10),
        nn.start_variances(prior, width, "equal", key=keys[3]),
        prior,
        width,
    )


# %%
def main(
    out: Path = Path(), *, width: int = 200, num_epochs: int = 40, num_draws: int = 50
) -> None:
    data = datasets.load("digits")
    x, y, x_test, y_test = data.x_train, data.y_train, data.x_test, data.y_test
    keys = jax.random.split(jax.random.key(0), 4)

    # %% [markdown]
    # Training to the posterior mode, and a tenth of the nodes of what comes out.

    # %%
    trained = inference.fit(
        drawn(width, key=keys[0]),
        x,
        y,
        key=keys[1],
        num_epochs=num_epochs,
        optimizer=optax.adam(1e-2),
        progress=False,
    ).model
    small = pruning.compact(trained, 0.1, x_train=x)
    for name, network in (("trained", trained), ("a tenth of it", small)):
        accuracy = float(inference.evaluate(network, x_test, y_test).accuracy)
        print(f"{name:28} {network.number:4} nodes, test accuracy {100 * accuracy:5.1f} %")

    # %% [markdown]
    # The posterior by SGHMC, which starts from the trained layer, and a tenth of the nodes of each
    # of its draws.

    # %%
    posterior = inference.sghmc(
        trained,
        x,
        y,
        key=keys[2],
        num_epochs=4 * num_draws,
        num_chains=2,
        step_size=0.1,
        exploration=0.0,
        burn_in=0.5,
        samples_per_cycle=num_draws // 2,
        progress=False,
    )
    smaller = pruning.compact_posterior(posterior, 0.1, x_train=x)
    out.mkdir(parents=True, exist_ok=True)
    posterior.save(out / "own-posterior.nc")
    loaded = inference.load_posterior(out / "own-posterior.nc", trained)
    pruning.save(small, out / "own-small.eqx")
    again = pruning.load(out / "own-small.eqx", trained)
    rows = ("posterior", posterior), ("saved and loaded", loaded), ("a tenth of each draw", smaller)
    for name, each in rows:
        scores, number = each.evaluate(x_test, y_test), each.sources.number
        print(
            f"{name:28} {number:4} nodes, test accuracy {100 * scores['accuracy']:5.1f} %, "
            f"negative log-likelihood {scores['nll']:.3f}"
        )
    print(f"the small network is the same after loading: {bool((again(x) == small(x)).all())}")

    # %% [markdown]
    # How many nodes matter: the contributions of all nodes to the outputs, largest first.

    # %%
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    draws = eqx.filter_vmap(lambda layer: layer.contributions(x))(
        inference.flattened(posterior.sources)
    )
    for values in -np.sort(-np.asarray(draws))[:20]:
        axes.loglog(1 + np.arange(width), values, color="tab:blue", alpha=0.2, linewidth=1)
    best = -np.sort(-np.asarray(trained.contributions(x)))
    axes.loglog(1 + np.arange(width), best, color="black", label="posterior mode")
    axes.axvline(small.number, color="0.6", linestyle="--", label="a tenth of the nodes")
    axes.set(xlabel="rank of a node", ylabel="contribution", title="Draws of the posterior, blue")
    axes.legend(frameon=False)
    figure.savefig(out / "own-node-layer.png", dpi=150)


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A layer of nodes and a prior that are not ours.")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the files")
    parser.add_argument("--quick", action="store_true", help="a few draws, to see that it runs")
    options = parser.parse_args()
    main(options.out, **(QUICK if options.quick else {}))
