"""What the pruning experiments share: settings, priors, figures, and what [DW] report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mogp import plots, priors
from mogp.app import _job
from mogp.app.experiments._registry import Groups

KEEP = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
ROWS = 10_000  # training rows that importances average over and repairs fit to


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines an experiment.

    Attributes:
        name: the name of the experiment.
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        epochs: the number of passes over the training data.
        seeds: the number of networks of every kind; of chains in `pruning-bayes` and `features`.
        width: the number of nodes in every hidden layer.
        hidden: the number of hidden layers.
        priors: priors, as `mogp.priors.parse` reads them; `grouplasso` stands for the group lasso
            of every layer's own number of outgoing weights, `gbfry` for one with a learned index.
        keep: fractions of nodes kept, 1 first.
        prior_temperature: the log prior is divided by it (`pruning-map`; 5 in [DW]).
        draws: the number of draws of each chain.
        step_size: the step size of `inference.sghmc`.
        seed: the seed of everything random.
    """

    name: str
    data: str = "digits"
    epochs: int = 60
    seeds: int = 2
    width: int = 200
    hidden: int = 2
    priors: tuple[str, ...] = ("iid", "grouplasso", "horseshoe", "gbfry(alpha=0.2, tau=5)")
    keep: tuple[float, ...] = KEEP
    prior_temperature: float = 5.0
    draws: int = 10
    step_size: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.priors:
            layer_priors(text, 1, 1, 1)

    @property
    def batch_size(self) -> int:
        """The number of rows a step: 50 of digits, else 100 as in [DW]."""
        return 50 if self.data == "digits" else 100


def map_settings(scale: str, data: str) -> Settings:
    """`"small"` takes minutes on digits; `"paper"` has the width, epochs and runs of [DW]."""
    settings = Settings("pruning-map", data, hidden=2 if data == "digits" else 4)
    if scale == "paper":
        return replace(settings, width=2000, epochs=50, seeds=5)
    if data != "digits":
        return replace(settings, width=500, epochs=10, seeds=1)
    return replace(settings, priors=("iid", "horseshoe"))


def posterior_settings(name: str, scale: str, data: str) -> Settings:
    """The settings of `pruning-bayes` and `features`, which share their chains."""
    step_size = 0.1 if data == "digits" else 0.5  # as in [DW]
    settings = Settings(name, data, priors=("iid", "horseshoe", "gbfry"), step_size=step_size)
    if scale == "paper":
        return replace(settings, width=2000, epochs=100, seeds=5, draws=25)
    return settings if data == "digits" else replace(settings, width=500, epochs=10)


def layer_priors(text: str, hidden: int, width: int, classes: int) -> list[priors.Prior]:
    """One prior a hidden layer; `grouplasso` depends on the width of the next one."""
    if text == "grouplasso":
        sizes = [width] * (hidden - 1) + [classes]
        return [priors.GroupLasso(float(size)) for size in sizes]
    if text == "gbfry":
        return [priors.GBFRY(alpha=0.5, tau=2.0)] * hidden
    return [_job.parsed(text)] * hidden


def rule_of_paper(text: str) -> str:
    """The importance that [DW] rank nodes by. Equal variances are ties, so `iid` has the norm."""
    return "norm" if text == "iid" else "variance"


def size_curves(settings: Settings, curves: Mapping[str, tuple[Any, ...]], title: str) -> Figure:
    """Accuracy and negative log-likelihood against the share of nodes kept.

    Args:
        settings: for the width and the name of the data.
        curves: label = fractions, accuracies and negative log-likelihoods (fractions, runs).
        title: what stands behind the name of the data.
    """
    figure, axes = plots.panels(1, 2, (11, 5.2))
    for i, (ax, score) in enumerate(zip(axes[0], ("accuracy", "nll"), strict=True), start=1):
        lines = [plots.Line(k, c[0], c[i], ": " not in k) for k, c in curves.items()]
        plots.pruning_curves(lines, score=score, width=settings.width, ax=ax).legend_ = None
    axes[0, 0].set_title(f"{settings.data}: {title}", fontsize="medium", loc="left")
    handles = axes[0, 0].get_legend_handles_labels()
    options = {"frameon": False, "fontsize": "small"}
    figure.legend(*handles, loc="outside lower center", ncols=3, **options)
    return figure


def lines(settings: Settings, groups: Groups) -> list[str]:
    """Accuracies (%) as a table in text, with the rows of [DW] beneath where they have some."""
    rows = [f"{'nodes kept':<52}" + "".join(f"{100 * k:>10g} %" for k in settings.keep)]

    def row(name: str, found: Mapping[float, str]) -> str:
        cells = [found.get(k, f"{'–':>12}") for k in settings.keep]
        return f"{name:<52}" + "".join(cells)

    for name, group in groups.items():
        accuracies = zip(group["keep"].values, 100 * group["accuracy"].values, strict=True)
        rows.append(row(name, {k: cell(a) for k, a in accuracies}))
    for name, others in published(settings.name, settings.data).items():
        name = f"{name}: [DW], 2000 nodes"
        rows.append(row(name, {k: f"{a:>12.1f}" for k, a in others.items()}))
    return rows


def cell(values: np.ndarray) -> str:
    """A mean with its standard deviation, 12 characters wide."""
    text = f"{values.mean():.1f}" + (f" ±{values.std():.1f}" if values.size > 1 else "")
    return f"{text:>12}"


# --- what [DW] report -----------------------------------------------------------------------------

# Test accuracy (%) by the share of nodes kept, Fashion-MNIST, four hidden layers of 2000 nodes,
# mean of 5 runs.
_KEPT = (1.0, 0.2, 0.1, 0.05, 0.02, 0.01)
_MAP = {
    "iid": (87.98, 86.24, 60.24, 19.64, 10.84, 10.00),
    "horseshoe": (88.50, 88.70, 88.68, 88.50, 76.56, 30.26),
    "gbfry(alpha=0.8, tau=5)": (88.54, 88.54, 88.56, 88.40, 77.24, 37.58),
    "gbfry(alpha=0.2, tau=5)": (88.62, 88.62, 88.60, 88.30, 77.24, 34.48),
}
# Read off figures: two hidden layers of 2000 nodes, SGHMC.
_BAYES_KEPT = (0.5, 0.2, 0.1, 0.05, 0.01)
_BAYES: dict[str, dict[str, tuple[float, ...]]] = {
    "mnist": {
        "iid": (86, 36, 18, 10, 10),
        "horseshoe": (97.7, 97.7, 97.6, 97.1, 28.8),
        "gbfry": (97.7, 97.7, 97.7, 97.7, 41.5),
    },
    "fashion-mnist": {
        "iid": (72, 31, 12, 10, 10),
        "horseshoe": (88, 88, 87, 86, 43),
        "gbfry": (88, 88, 88, 88, 62),
    },
}
_FEATURES = {
    "mnist": {"iid": 47, "horseshoe": 82, "gbfry": 90},
    "fashion-mnist": {"iid": 38, "horseshoe": 80, "gbfry": 81},
}


def published(name: str, data: str) -> dict[str, dict[float, float]]:
    """Accuracies (%) of [DW] at width 2000: prior = share of nodes kept = accuracy.

    Args:
        name: `"pruning-map"`, `"pruning-bayes"` or `"features"`; the last has the one share 1, for
            its top 30 nodes.
        data: name of the data set; empty where they report none.
    """
    if name == "features":
        return {prior: {1.0: float(a)} for prior, a in _FEATURES.get(data, {}).items()}
    if name == "pruning-bayes":
        rows: Mapping[str, tuple[float, ...]] = _BAYES.get(data, {})
        return {prior: dict(zip(_BAYES_KEPT, row, strict=True)) for prior, row in rows.items()}
    rows = _MAP if data == "fashion-mnist" else {}
    return {prior: dict(zip(_KEPT, row, strict=True)) for prior, row in rows.items()}
