"""The experiments of [GM] and two more: test errors of Gaussian-mixture layers by epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

from mogp import inference, nn, plots
from mogp.app import _job
from mogp.app._job import Job, plural
from mogp.app.experiments._registry import Experiment, Groups

BATCH = 64
WIDTH = 1000  # of the networks


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines an experiment.

    Attributes:
        name: the name of the experiment.
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        epochs: the number of passes over the training data.
        seeds: the number of models of every kind, which are trained at once.
        components: numbers of Gaussians, one model each in `gm-error`, a single number in the
            others.
        seed: the seed of everything random.
    """

    name: str
    data: str = "digits"
    epochs: int = 30
    seeds: int = 2
    components: tuple[int, ...] = (20,)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.components) != 1 and (self.name != "gm-error" or not self.components):
            raise ValueError(
                f"components must be one number for {self.name}, got {self.components}"
            )


def settings_for(
    name: str, components: tuple[int, ...], epochs: int, scale: str, data: str
) -> Settings:
    """`"small"` is under a minute on digits, `"paper"` the given epochs and the trials of [GM]."""
    small = {"epochs": 30 if data == "digits" else 3, "seeds": 2}
    size = {"epochs": epochs, "seeds": 5} if scale == "paper" else small
    return Settings(name, data, components=components, **size)


class Variant(NamedTuple):
    """One kind of model: how it starts and how it is trained."""

    build: Callable[[Array], eqx.Module]
    optimizer: optax.GradientTransformation


class Sizes(NamedTuple):
    """Inputs and outputs."""

    d: int
    size: int


def mixture(sizes: Sizes, k: int, covariance: str = "diagonal", gamma: float = 0.5) -> Variant:
    """A GM layer, trained as in [GM]: rate 1 for `σ` (and `F`), 0.1 for the rest."""

    def build(key: Array) -> nn.GMLayer:
        return nn.GMLayer(*sizes, k, covariance=covariance, init_scale=gamma, key=key)

    fast = {"diagonal": ("scales",), "low_rank": ("scales", "factors"), "full": ("factors",)}
    rates = dict.fromkeys(fast[covariance], optax.sgd(1.0))
    return Variant(build, inference.per_parameter(optax.sgd(0.1), **rates))


def network(sizes: Sizes, width: int, gamma: float = 0.5) -> Variant:
    """A mean-field network; a rate of width/20, since gradients shrink with the width."""

    def build(key: Array) -> nn.MeanFieldLayer:
        return nn.MeanFieldLayer(*sizes, width, init_scale=gamma, key=key)

    return Variant(build, optax.sgd(width / 20))


def _error(sizes: Sizes, *components: int) -> dict[str, Variant]:
    return {f"GM layer, K={k}": mixture(sizes, k) for k in components}


def _baseline(sizes: Sizes, k: int) -> dict[str, Variant]:
    scales = {"1/2": 1 / 2, "1/256": 1 / 256}
    networks = {f"width {WIDTH}, γ={text}": network(sizes, WIDTH, g) for text, g in scales.items()}
    return {f"GM layer, K={k}": mixture(sizes, k)} | networks


def _lazy(sizes: Sizes, k: int) -> dict[str, Variant]:
    full = mixture(sizes, k)
    frozen = {"means": optax.set_to_zero(), "scales": optax.set_to_zero()}
    lazy = full._replace(optimizer=inference.per_parameter(optax.sgd(0.1), **frozen))
    return {"all trained": full, "lazy: μ, σ frozen": lazy}


def _stack(sizes: Sizes, k: int) -> dict[str, Variant]:
    between = 100

    def build(key: Array) -> eqx.nn.Sequential:
        keys = jax.random.split(key)
        first = nn.GMLayer(sizes.d, between, k, key=keys[0])
        return eqx.nn.Sequential([first, nn.GMLayer(between, sizes.size, k, key=keys[1])])

    one = mixture(sizes, k)
    return {f"one layer, K={k}": one, f"two layers, K={k} each": one._replace(build=build)}


def _covariance(sizes: Sizes, k: int) -> dict[str, Variant]:
    names = {"diagonal": "diagonal", "low rank, r=8": "low_rank", "full": "full"}
    return {text: mixture(sizes, k, name) for text, name in names.items()}


def _budget(sizes: Sizes, k: int) -> dict[str, Variant]:
    """A GM layer has `K (2 + L) d + K L` parameters and as many products an input, but for `K L`.

    A network of width `m` has `m (d + L)` of either, so equal parameters are equal work.
    """
    d, size = sizes
    width = round(k * (2 * d + d * size + size) / (d + size))
    return {
        f"GM layer, K={k}": mixture(sizes, k),
        f"same budget: width {width}": network(sizes, width),
        f"width {WIDTH}": network(sizes, WIDTH),
    }


# Name = variants, numbers of components in the paper, what the figure shows.
VARIANTS: dict[str, tuple[Callable[..., dict[str, Variant]], tuple[int, ...], str]] = {
    "gm-error": (_error, (5, 10, 20), "GM layers with more components"),
    "gm-baseline": (_baseline, (20,), "a GM layer and wide networks"),
    "gm-lazy": (_lazy, (20,), "with and without training the law of β"),
    "gm-stack": (_stack, (20,), "one or two GM layers"),
    "gm-covariance": (_covariance, (5,), "three covariances"),
    "gm-budget": (_budget, (20,), "equal parameters and equal work"),
}


def _run(job: Job) -> Groups:
    """The history of `inference.fit` and `parameters` of each variant."""
    settings, data, groups = job.settings, job.data, {}
    variants = VARIANTS[settings.name][0](Sizes(*job.sizes), *settings.components)
    for label, variant in variants.items():
        fit = job.fit(
            variant.build, label, key=jax.random.key(settings.seed), num_epochs=settings.epochs,
            batch_size=BATCH, optimizer=variant.optimizer, num_seeds=settings.seeds,
            validation=(data.x_test, data.y_test),
        )  # fmt: skip
        arrays = jax.tree.leaves(eqx.filter(fit.model, eqx.is_inexact_array))
        parameters = sum(a.size for a in arrays) // settings.seeds
        groups[label] = fit.history.assign_attrs(parameters=parameters)
    return groups


def _plot(settings: Settings, groups: Groups) -> Figure:
    errors = {label: 1 - h["validation_accuracy"].values for label, h in groups.items()}
    seeds = plural(settings.seeds, "seed")
    title = f"{settings.data}: {VARIANTS[settings.name][2]} ({seeds})"
    figure, axes = plots.panels(1, 1, (6.4, 4.4))
    plots.error_curves(errors, ax=axes[0, 0]).set_title(title, fontsize="medium")
    return figure


def lines(_: Settings, groups: Groups) -> list[str]:
    """The errors after the last epoch, as text."""
    found = []
    for label, group in groups.items():
        if "validation_accuracy" in group:
            errors = 1 - group["validation_accuracy"].values[-1]
        else:
            errors = np.array([group.attrs["test_error"]])
        mean, sd = 100 * errors.mean(), 100 * errors.std()
        found.append(f"{label:<26} test error {mean:.2f} ± {sd:.2f} %")
    return found


EXPERIMENTS = [
    Experiment(name, summary, partial(settings_for, name, components, 100), _run, _plot, lines)
    for name, (_, components, summary) in VARIANTS.items()
]
