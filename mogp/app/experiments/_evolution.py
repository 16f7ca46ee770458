"""Where the components of a mixture, or the neurons of a network, go during training: [GM]."""

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mogp import inference, nn, plots
from mogp._files import whole_file
from mogp.app._job import Job
from mogp.app.experiments import _gm
from mogp.app.experiments._gm import Settings, Sizes, Variant, mixture, network
from mogp.app.experiments._registry import Experiment, Groups


def _run(job: Job) -> Groups:
    """Paths of components and of neurons, at equal times of their flows.

    A step of rate `r` is a time `r/K` of the flow of a GM layer and `r/m` of that of a network, so
    the network has the rate `0.1 m/K`: at 0.1 its neurons would have a time `m/K` times shorter.
    """
    settings, sizes, groups = job.settings, Sizes(*job.sizes), {}
    k, last, width = settings.components[0], settings.epochs, _gm.WIDTH
    epochs = np.concatenate([np.geomspace(1, last, 20), np.linspace(1, last, 20)])
    epochs = np.unique(np.round(epochs).astype(int))
    for text, gamma in (("1/2", 1 / 2), ("1/256", 1 / 256)):
        neurons = network(sizes, width, gamma)._replace(optimizer=optax.sgd(0.1 * width / k))
        components = mixture(sizes, k, gamma=gamma)
        for kind, variant in ((f"GM layer, K={k}", components), (f"width {width}", neurons)):
            label = f"{kind}, γ={text}"
            job.check_room(label, variant.build)
            start = variant.build(jax.random.key(settings.seed))
            fits = list(_stages(job, start, variant, label, epochs))
            group = paths([start, *(fit.model for fit in fits)])
            group["epoch"] = np.concatenate([[0], epochs])
            error = 1 - float(fits[-1].history["validation_accuracy"].values[-1])
            groups[label] = group.assign_attrs(test_error=error)
    return groups


def _stages(
    job: Job, start: Any, variant: Variant, label: str, epochs: np.ndarray
) -> Iterator[inference.Fit]:
    """One run, as it was after some of its epochs.

    Each stage has a checkpoint of its own, which starts as a copy of the one before: a killed
    command finds the models of all stages that were reached.
    """
    before = None
    for epoch in epochs:
        file = job.checkpoint(f"{label} {epoch}")
        if before is not None and not file.exists():
            with whole_file(file) as part:
                shutil.copyfile(before, part)
        yield job.fit(
            start, label, key=jax.random.key(job.settings.seed), num_epochs=int(epoch),
            batch_size=_gm.BATCH, optimizer=variant.optimizer,
            validation=(job.data.x_test, job.data.y_test), checkpoint=file,
        )  # fmt: skip
        before = file


def paths(models: Sequence[eqx.Module]) -> xr.Dataset:
    """The directions `β` of models of one size, from the start to the end of training.

    Args:
        models: diagonal GM layers, or mean-field layers, whose neurons are components without
            spread; the start first.

    Returns:
        `path`, the means of all components on the plane in which the law of `β` varies most at the
        end (the top two principal components of the last mixture), dimensions epoch, component,
        axis; `covariance`, that of each component on this plane; `explained`, the share of the
        variance along each axis; and `moved`: the distance of the law of `β` from the first one,
        over the root mean square `‖β‖` of the first. The distance is `nn.mixture_distance` with
        `law="directions"`: the pairs of components are those with the least total cost.
    """
    laws = [_law(model) for model in models]
    means, scales = (np.stack(part) for part in zip(*laws, strict=True))
    last = means[-1] - means[-1].mean(axis=0)
    covariance = last.T @ last / len(last) + np.diag((scales[-1] ** 2).mean(axis=0))
    values, vectors = np.linalg.eigh(covariance)
    plane = vectors[:, :-3:-1]
    size = np.sqrt((means[0] ** 2 + scales[0] ** 2).sum(-1).mean())
    within = np.einsum("ip,tki,iq->tkpq", plane, scales**2, plane, optimize=True)
    return xr.Dataset(
        {
            "path": (("epoch", "component", "axis"), means @ plane),
            "covariance": (("epoch", "component", "axis", "other"), within),
            "moved": (("epoch",), [_distance(laws[0], law) / size for law in laws]),
            "explained": (("axis",), values[:-3:-1] / values.sum()),
        }
    )


def _law(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of `β`, shape (K, d) each."""
    if isinstance(model, nn.MeanFieldLayer):
        directions = np.asarray(model.directions)
        return directions, np.zeros_like(directions)
    return np.asarray(model.means), np.abs(np.asarray(model.covariance.scales))


def _distance(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> float:
    costs = cdist(np.concatenate(first, axis=1), np.concatenate(second, axis=1), "sqeuclidean")
    return float(np.sqrt(costs[linear_sum_assignment(costs)].mean()))


def _plot(settings: Settings, groups: Groups) -> Figure:
    """Paths from start to end, and how far their law has moved.

    Each panel shows the plane in which the law of directions varies most at the end. Colours run
    from yellow at the start to dark blue at the end; rings are starts, dots are ends. Ellipses hold
    the directions within one standard deviation of a component, broken lines at the start.
    """
    title = f"{settings.data}: directions β from the start (rings) to the end (dots)"
    figure = Figure(figsize=(11.5, 6.8), layout="constrained")
    figure.suptitle(title)
    places = figure.subplot_mosaic([["0", "1", "moved"], ["2", "3", "moved"]])
    moved = places["moved"]
    for place, (label, group), style in zip("0123", groups.items(), plots.STYLES, strict=False):
        _draw_paths(places[place], label, group)
        look = style._replace(marker="")._asdict()
        moved.plot(group["epoch"][1:], group["moved"][1:], **look, linewidth=1.8, label=label)
    moved.set(xscale="log", yscale="log")
    moved.xaxis.set_major_formatter("{x:g}")
    moved.yaxis.set_major_formatter("{x:g}")
    plots.tidy(moved, "epoch", "", "distance moved / size at the start")
    return figure


def _draw_paths(axes: Axes, label: str, group: xr.Dataset) -> None:
    path, covariance = group["path"].values, group["covariance"].values
    times, count = path.shape[:2]
    shown = np.linspace(0, count - 1, min(count, 150)).astype(int)
    few = len(shown) <= 30
    shades = colormaps["plasma_r"](0.1 + 0.9 * np.linspace(0, 1, times))
    if covariance.any():
        for k in shown:
            _ellipse(axes, path[0, k], covariance[0, k], edgecolor="0.65", linestyle="--")
            _ellipse(axes, path[-1, k], covariance[-1, k], facecolor=(*shades[-1][:3], 0.12))
            _ellipse(axes, path[-1, k], covariance[-1, k], edgecolor=shades[-1])
    segments = np.stack([path[:-1, shown], path[1:, shown]], axis=2)  # (times - 1, k, 2, 2)
    for shade, piece in zip(shades[1:], segments, strict=True):
        width = 2.0 if few else 0.7
        axes.add_collection(LineCollection(list(piece), colors=[shade], linewidths=width))
    size = 28 if few else 7
    (x, y), (u, v) = path[0, shown].T, path[-1, shown].T
    axes.scatter(x, y, s=size, facecolors="white", edgecolors="0.55", linewidths=0.8)
    axes.scatter(u, v, s=size, color=[shades[-1]], zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    text = f"{label}\ntest error {100 * group.attrs['test_error']:.1f} %"
    if len(shown) < count:
        text += f", {len(shown)} of {count} shown"
    first, second = 100 * group["explained"].values
    x_label = f"first principal component, {first:.0f} % of variance"
    plots.tidy(axes, x_label, f"second, {second:.0f} %", text)


def _ellipse(axes: Axes, centre: np.ndarray, covariance: np.ndarray, **style: Any) -> None:
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
    style = {"facecolor": "none", "edgecolor": "none", "linewidth": 0.9} | style
    axes.add_patch(Ellipse((centre[0], centre[1]), width, height, angle=angle, **style))


EXPERIMENTS = [
    Experiment(
        "gm-evolution", "where components and neurons go during training",
        partial(_gm.settings_for, "gm-evolution", (10,), 200), _run, _plot, _gm.lines,
    )
]  # fmt: skip
