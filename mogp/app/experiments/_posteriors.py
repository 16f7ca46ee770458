"""Posteriors pruned, and the features they learned: `pruning-bayes` and `features` of [DW]."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import xarray as xr
from jax import Array
from matplotlib.figure import Figure

from mogp import MoGP, inference, nn, plots, priors, pruning
from mogp.app import _job
from mogp.app._job import Job
from mogp.app.experiments import _pruning
from mogp.app.experiments._pruning import ROWS, Settings
from mogp.app.experiments._registry import Experiment, Groups

NODES, LABELS = 30, 800  # what `features` looks at, as in [DW]


def drawn(job: Job, text: str) -> inference.Posterior:
    """A posterior of `settings.seeds` chains; the index of `gbfry` is learned with it.

    Both experiments find the same chains in the folder of checkpoints.
    """
    s, data, (d, classes) = job.settings, job.data, job.sizes
    layers = _pruning.layer_priors(text, s.hidden, s.width, classes)
    if text == "gbfry":
        layers = [priors.GBFRY(alpha=dist.Uniform(0.0, 1.0), tau=2.0)] * s.hidden
    plain = MoGP([priors.Deterministic()] * s.hidden)
    _job.check_room(
        f"the draws under {text}",
        lambda key: plain.network(d, classes, s.width, key=key),
        s.seeds * (s.draws + 4), "smaller --width, --draws or --seeds",
    )  # fmt: skip
    draws = ("data", "epochs", "width", "hidden", "seed", "seeds", "draws", "step_size")
    return _job.finished(
        inference.sghmc(
            MoGP(layers, bias_scale=1.0), data.x_train, data.y_train, key=jax.random.key(s.seed),
            width=s.width, num_epochs=s.epochs, batch_size=s.batch_size, step_size=s.step_size,
            samples_per_cycle=s.draws, num_chains=s.seeds, progress=job.progress,
            checkpoint=job.checkpoint(text, {k: getattr(s, k) for k in draws}),
        )
    )  # fmt: skip


# --- pruning-bayes --------------------------------------------------------------------------------


def _run_bayes(job: Job) -> Groups:
    """One group a prior and rule.

    `accuracy` and `nll` are those of the posterior predictive of all chains, dimensions keep and a
    single seed; `draw_accuracy` and `draw_nll` are those of each draw.
    """
    settings, data, groups = job.settings, job.data, {}
    for text in settings.priors:
        posterior = drawn(job, text)
        paper = _pruning.rule_of_paper(text)
        for importance, repair in (
            (paper, False), ("contribution", False), ("contribution", True)
        ):  # fmt: skip
            curve = pruning.posterior_curve(
                posterior, data.x_test, data.y_test, settings.keep, importance=importance,
                x_train=data.x_train[:ROWS], repair=repair,
            )  # fmt: skip
            scores = _job.scores_by_keep(
                settings.keep, np.asarray(curve.accuracy)[:, None], np.asarray(curve.nll)[:, None]
            )
            each = {"draw_accuracy": curve.draw_accuracy, "draw_nll": curve.draw_nll}
            groups[f"{text}: {importance}{', repaired' if repair else ''}"] = scores.assign(
                {name: (("keep", "chain", "draw"), np.asarray(v)) for name, v in each.items()}
            )
    return groups


def _plot_bayes(settings: Settings, groups: Groups) -> Figure:
    def flat(values: xr.DataArray) -> np.ndarray:
        return values.values.reshape(len(values), -1)

    curves = {
        name: (np.array(settings.keep), flat(group["draw_accuracy"]), flat(group["draw_nll"]))
        for name, group in groups.items()
        if not name.endswith(": contribution")
    }
    layers = f"{settings.hidden} hidden layers of {settings.width} nodes"
    return _pruning.size_curves(settings, curves, f"draws of {settings.seeds} chains, {layers}")


# --- features -------------------------------------------------------------------------------------


def _run_features(job: Job) -> Groups:
    """What the top 30 nodes of a layer know, by a classifier of 800 labels; their images.

    In every chain the nodes of a hidden layer are ranked by posterior means of their importances,
    and their pre-activations averaged over its draws are the features. Nodes of different chains
    are never put together. Under equal variances `λ` ranks nothing: `iid` has no such row.

    A group a prior holds the test accuracies of logistic regression, `by_variance`,
    `by_contribution` and `by_random` nodes, dimensions layer and chain, and `images`, the weights
    of the ten top nodes of the first layer of a chain.
    """
    settings, data, groups = job.settings, job.data, {}
    order = jax.random.permutation(jax.random.key(settings.seed), len(data.x_train))
    labelled = order[: min(LABELS, len(order))]
    for text in settings.priors:
        sources = drawn(job, text).sources
        paper = "contribution" if text == "iid" else "variance"
        found: dict[str, Any] = {}
        for importance in dict.fromkeys((paper, "contribution", "random")):
            best = top_nodes(sources, importance, data.x_train[:ROWS], NODES, settings.seed)
            known = _knowledge(sources, best, data, labelled)
            found[f"by_{importance}"] = (("layer", "chain"), known)
            if importance == paper:
                images = np.asarray(sources.weights[0][0].mean(0)[best[0][0][:10]])
        groups[text] = xr.Dataset(found | {"images": (("node", "pixel"), images)})
    return groups


def top_nodes(
    sources: nn.DependentMLP, importance: str, x: Array, num: int, seed: int
) -> list[np.ndarray]:
    """Numbers of the best nodes of each chain, (chains, num) a hidden layer, the best first."""
    chains, flat = len(sources.log_variances[0]), inference.flattened(sources)
    found = pruning.importances(flat, importance, x_train=x, key=jax.random.key(seed))
    means = [np.asarray(s).reshape(chains, -1, s.shape[-1]).mean(1) for s in found]
    return [np.argsort(-mean, axis=1, kind="stable")[:, :num] for mean in means]


@eqx.filter_jit
def mean_features(sources: nn.DependentMLP, chain: int, layer: int, nodes: Any, x: Array) -> Array:
    """Pre-activations of some nodes, averaged over the draws of a chain, (n, nodes)."""
    arrays, static = eqx.partition(sources, eqx.is_array)

    def of_draw(arrays: Any) -> Array:
        network: nn.DependentMLP = eqx.combine(arrays, static)
        return network.pre_activations(x)[layer][:, jnp.asarray(nodes)]

    return jax.lax.map(of_draw, jax.tree.map(lambda a: a[chain], arrays)).mean(0)


def _knowledge(
    sources: nn.DependentMLP, best: list[np.ndarray], data: Any, labelled: Array
) -> np.ndarray:
    """Test accuracies from the features of the best nodes, shape (layers, chains)."""
    rows = data.x_train[labelled], data.x_test

    def known(layer: int, chain: int, nodes: Any) -> float:
        x, x_test = (mean_features(sources, chain, layer, nodes, each) for each in rows)
        return _accuracy(x, x_test, data.y_train[labelled], data.y_test)

    return np.array([[known(i, c, n) for c, n in enumerate(layer)] for i, layer in enumerate(best)])


def _accuracy(x: Array, x_test: Array, y: Array, y_test: Array) -> float:
    """Of logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]

    mean, sd = x.mean(0), jnp.maximum(x.std(0), 1e-9)
    scaled = [np.asarray((z - mean[None]) / sd[None], float) for z in (x, x_test)]
    return float(LogisticRegression(max_iter=2000).fit(scaled[0], y).score(scaled[1], y_test))


def _lines(settings: Settings, groups: Groups) -> list[str]:
    rows = [f"test accuracy (%) from {NODES} nodes and {LABELS} labels, mean ± sd over chains"]
    others = _pruning.published(settings.name, settings.data)
    for name, group in groups.items():
        for rule in [key for key in group.data_vars if str(key).startswith("by_")]:
            cells = [_pruning.cell(100 * layer) for layer in group[rule].values]
            rows.append(f"  {f'{name}, {rule}':<36}" + "".join(cells))
        if name in others:
            rows.append(f"  {name + ', [DW], 2000 nodes':<36}{others[name][1.0]:>12.0f}")
    return rows


def _plot_features(settings: Settings, groups: Groups) -> Figure:
    """Incoming weights of nodes as images, a row of nodes each; blue is negative, red positive."""
    weights = {name: group["images"].values for name, group in groups.items()}
    columns = max(map(len, weights.values()))
    title = f"{settings.data}: weights of the ten top nodes, one chain"
    size = (0.9 * columns + 1.4, 1.0 * len(weights) + 0.5)
    figure, axes = plots.panels(len(weights), columns, size, title)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, (name, nodes) in zip(axes, weights.items(), strict=True):
        side = round(nodes.shape[1] ** 0.5)
        for ax, node in zip(row, nodes, strict=False):
            most = np.abs(node).max()
            ax.imshow(node.reshape(side, side), cmap="RdBu_r", vmin=-most, vmax=most)
        place = {"transform": row[0].transAxes, "ha": "right", "va": "center"}
        row[0].text(-0.15, 0.5, name, fontsize="small", **place)
    return figure


EXPERIMENTS = [
    Experiment(
        "pruning-bayes", "posteriors with fewer and fewer nodes",
        partial(_pruning.posterior_settings, "pruning-bayes"), _run_bayes, _plot_bayes,
        _pruning.lines, keeps_checkpoints=True,
    ),
    Experiment(
        "features", "what the best nodes of a posterior know",
        partial(_pruning.posterior_settings, "features"), _run_features, _plot_features, _lines,
        keeps_checkpoints=True,
    ),
]  # fmt: skip
