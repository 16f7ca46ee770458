"""Posteriors pruned, and the features they learned: `pruning-bayes` and `features` of [DW]."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import xarray as xr
from jax import Array

from mogp import datasets, inference, nn, pruning
from mogp import priors as priors_room
from mogp.architecture import MoGP
from mogp.compare import check_writable
from mogp.experiments._write import write
from mogp.experiments.pruning import (
    LABELS,
    NODES,
    ROWS,
    Settings,
    checkpoint,
    layer_priors,
    run_map,
)
from mogp.experiments.pruning_plots import Line, node_images, size_curves
from mogp.inference._posterior import flattened


def run_bayes(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> xr.DataTree:
    """Draw posteriors by SGHMC, prune them, and write `pruning-bayes.nc` and `.png`.

    Chains stay in `out/checkpoints`, for `features` and for a call that goes on after a kill.

    Args:
        settings: what to do; `seeds` are chains.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set.
        progress: show progress bars.

    Returns:
        One group a prior and ranking: `accuracy` and `nll` of the posterior predictive of all
        chains, dimensions keep and a single seed; `draw_accuracy`, `draw_nll` of each draw.
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    check_writable(out)
    inputs = data.x_train[:ROWS]
    groups: dict[str, xr.Dataset] = {}
    for text in settings.priors:
        posterior = drawn(text, settings, data, out, progress)
        by_paper = "norm" if text == "iid" else "variance"
        for rank, repair in ((by_paper, False), ("contribution", False), ("contribution", True)):
            curve = pruning.posterior_curve(
                posterior, data.x_test, data.y_test, settings.keep, rank, inputs=inputs,
                repair=repair,
            )  # fmt: skip
            groups[f"{text}: {rank}{', repaired' if repair else ''}"] = xr.Dataset(
                {
                    "accuracy": (("keep", "seed"), curve.accuracy[:, None]),
                    "nll": (("keep", "seed"), curve.nll[:, None]),
                    "draw_accuracy": (("keep", "chain", "draw"), curve.draw_accuracy),
                    "draw_nll": (("keep", "chain", "draw"), curve.draw_nll),
                },
                coords={"keep": list(settings.keep)},
            )
    figure = size_curves(
        [Line(name, np.array(settings.keep), *(_flat(g[f"draw_{s}"]) for s in ("accuracy", "nll")))
         for name, g in groups.items() if not name.endswith(": contribution")],
        width=settings.width,
        title=f"{settings.data}: draws of {settings.seeds} chains, {settings.hidden} hidden "
        f"layers of {settings.width} nodes",
    )  # fmt: skip
    return write(settings, out, groups, figure)


def _flat(values: xr.DataArray) -> np.ndarray[Any, Any]:
    return values.values.reshape(len(values), -1)


def drawn(
    text: str, settings: Settings, data: datasets.Dataset, out: Path, progress: bool
) -> inference.Posterior:
    """A posterior of `settings.seeds` chains; the index of `gbfry` is learned with it."""
    classes = int(data.y_train.max()) + 1
    laws = layer_priors(text, settings.hidden, settings.width, classes)
    if text == "gbfry":
        learned = priors_room.GBFRY(alpha=dist.Uniform(0.0, 1.0), tau=2.0)
        laws = [learned] * settings.hidden
    return inference.sghmc(
        MoGP(laws, bias_scale=1.0), data.x_train, data.y_train, key=jax.random.key(settings.seed),
        width=settings.width, num_epochs=settings.epochs, batch_size=settings.batch_size,
        step_size=settings.step_size, samples_per_cycle=settings.draws, num_chains=settings.seeds,
        checkpoint=checkpoint(settings, out, text), progress=progress,
    )  # fmt: skip


def run_features(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> xr.DataTree:
    """What the top 30 nodes of a layer know, by a classifier of 800 labels; their images.

    In every chain the nodes of a hidden layer are ranked by posterior means of their scores, and
    their pre-activations averaged over its draws are the features. Nodes of different chains are
    never put together. Under equal variances `λ` ranks nothing: `iid` has no such row.

    Args:
        settings: what to do; `seeds` are chains.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set.
        progress: show progress bars.

    Returns:
        One group a prior, with the test accuracy of logistic regression: `by_variance`,
        `by_contribution`, and `by_random` nodes, dimensions layer and chain.
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    check_writable(out)
    groups: dict[str, xr.Dataset] = {}
    images: dict[str, np.ndarray[Any, Any]] = {}
    order = jax.random.permutation(jax.random.key(settings.seed), len(data.x_train))
    labelled = order[: min(LABELS, len(order))]
    for text in settings.priors:
        sources = drawn(text, settings, data, out, progress).sources
        best_by = "contribution" if text == "iid" else "variance"
        found: dict[str, Any] = {}
        for rank in dict.fromkeys((best_by, "contribution", "random")):
            best = top_nodes(sources, rank, data.x_train[:ROWS], NODES, settings.seed)
            found[f"by_{rank}"] = (("layer", "chain"), _knowledge(sources, best, data, labelled))
            if rank == best_by:
                images[text] = np.asarray(sources.weights[0][0].mean(0)[best[0][0][:10]])
        groups[text] = xr.Dataset(found)
    figure = node_images(images, title=f"{settings.data}: weights of the ten top nodes, one chain")
    return write(settings, out, groups, figure)


def top_nodes(
    sources: nn.DependentMLP, rank: str, x: Array, num: int, seed: int
) -> list[np.ndarray[Any, Any]]:
    """Numbers of the best nodes of each chain, (chains, num) a hidden layer, the best first."""
    chains = len(sources.log_variances[0])
    scores = pruning.scores(flattened(sources), rank, x, key=jax.random.key(seed))
    means = [np.asarray(s).reshape(chains, -1, s.shape[-1]).mean(1) for s in scores]
    return [np.argsort(-mean, axis=1, kind="stable")[:, :num] for mean in means]


@eqx.filter_jit
def mean_features(sources: nn.DependentMLP, chain: int, layer: int, nodes: Any, x: Array) -> Array:
    """Pre-activations of some nodes, averaged over the draws of a chain, (n, nodes)."""
    arrays, static = eqx.partition(sources, eqx.is_array)

    def of_draw(arrays: Any) -> Array:
        network: nn.DependentMLP = eqx.combine(arrays, static)
        return network.pre_activations(x)[layer][:, jnp.asarray(nodes)]

    features: Array = jax.lax.map(of_draw, jax.tree.map(lambda a: a[chain], arrays)).mean(0)
    return features


def _knowledge(
    sources: nn.DependentMLP,
    best: list[np.ndarray[Any, Any]],
    data: datasets.Dataset,
    labelled: Array,
) -> np.ndarray[Any, Any]:
    """Test accuracies from the features of the best nodes, shape (layers, chains)."""

    def known(layer: int, chain: int, nodes: Any) -> float:
        x, x_test = (
            mean_features(sources, chain, layer, nodes, rows)
            for rows in (data.x_train[labelled], data.x_test)
        )
        return _accuracy(x, x_test, data.y_train[labelled], data.y_test)

    return np.array([[known(i, c, n) for c, n in enumerate(layer)] for i, layer in enumerate(best)])


def _accuracy(x: Array, x_test: Array, y: Array, y_test: Array) -> float:
    """Of logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]

    mean, sd = x.mean(0), jnp.maximum(x.std(0), 1e-9)
    scaled = [np.asarray((z - mean[None]) / sd[None], float) for z in (x, x_test)]
    return float(LogisticRegression(max_iter=2000).fit(scaled[0], y).score(scaled[1], y_test))


def run(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> xr.DataTree:
    """The experiment that the settings name: `run_map`, `run_bayes` or `run_features`."""
    runs = {"pruning-map": run_map, "pruning-bayes": run_bayes, "features": run_features}
    return runs[settings.name](settings, out, data_dir=data_dir, progress=progress)
