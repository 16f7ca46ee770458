"""The experiments of [GM] and two more. The work behind `mogp experiment`."""

import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
import xarray as xr
from jax import Array
from matplotlib.figure import Figure

from mogp import datasets, inference, nn, plots
from mogp._checks import check_choice, check_count
from mogp._paths import paths
from mogp.compare import check_writable
from mogp.experiments._write import write

BATCH = 64
WIDTH = 1000


@dataclass(frozen=True)
class Settings:
    """Everything that determines an experiment.

    Attributes:
        name: one of `EXPERIMENTS`.
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        epochs: passes over the training data.
        seeds: models of every kind, trained at once.
        components: numbers `K` of Gaussians, one model each in `gm-error`, a single number in the
            others. None is the paper's: 5, 10, 20 in `gm-error`, 5 in `gm-covariance`, 10 in
            `gm-evolution`, else 20.
        seed: of everything random.
    """

    name: str
    data: str = "digits"
    epochs: int = 30
    seeds: int = 2
    components: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("name", self.name, EXPERIMENTS)
        check_count("epochs", self.epochs)
        check_count("seeds", self.seeds)
        if self.components is not None:
            for k in self.components:
                check_count("components", k)
            if len(self.components) != 1 and (self.name != "gm-error" or not self.components):
                raise ValueError(
                    f"components must be one number for {self.name}, got {self.components}"
                )

    @property
    def mixtures(self) -> tuple[int, ...]:
        """`components`, or the paper's."""
        return self.components or _COMPONENTS.get(self.name, (20,))


def settings_for(name: str, data: str, scale: str) -> Settings:
    """`"small"`: under a minute on digits. `"paper"`: the epochs and trials of [GM]."""
    check_choice("scale", scale, ("small", "paper"))
    if scale == "paper":
        return Settings(name, data, epochs=200 if name == "gm-evolution" else 100, seeds=5)
    return Settings(name, data, epochs=30 if data == "digits" else 3, seeds=2)


class Variant(NamedTuple):
    """One kind of model: how it starts and how it is trained."""

    build: Callable[[Array], eqx.Module]
    optimizer: optax.GradientTransformation


class Sizes(NamedTuple):
    """Inputs and outputs."""

    d: int
    size: int


def _mixture(sizes: Sizes, k: int, covariance: str = "diagonal", gamma: float = 0.5) -> Variant:
    """A GM layer, trained as in [GM]: rate 1 for `σ` (and `F`), 0.1 for the rest."""

    def build(key: Array) -> nn.GMLayer:
        return nn.GMLayer(*sizes, k, covariance=covariance, init_scale=gamma, key=key)

    fast = {"diagonal": ("scales",), "low_rank": ("scales", "factors"), "full": ("factors",)}
    rates = dict.fromkeys(fast[covariance], optax.sgd(1.0))
    return Variant(build, inference.per_parameter(optax.sgd(0.1), **rates))


def _network(sizes: Sizes, width: int, gamma: float = 0.5) -> Variant:
    """A mean-field network; a rate of width/20, since gradients shrink with the width."""

    def build(key: Array) -> nn.MeanFieldLayer:
        return nn.MeanFieldLayer(*sizes, width, init_scale=gamma, key=key)

    return Variant(build, optax.sgd(width / 20))


def _error(sizes: Sizes, *components: int) -> dict[str, Variant]:
    return {f"GM layer, K={k}": _mixture(sizes, k) for k in components}


def _baseline(sizes: Sizes, k: int) -> dict[str, Variant]:
    networks = {"1/2": 1 / 2, "1/256": 1 / 256}
    return {f"GM layer, K={k}": _mixture(sizes, k)} | {
        f"width {WIDTH}, γ={name}": _network(sizes, WIDTH, gamma)
        for name, gamma in networks.items()
    }


def _lazy(sizes: Sizes, k: int) -> dict[str, Variant]:
    full = _mixture(sizes, k)
    frozen = {"means": optax.set_to_zero(), "scales": optax.set_to_zero()}
    lazy = full._replace(optimizer=inference.per_parameter(optax.sgd(0.1), **frozen))
    return {"all trained": full, "lazy: μ, σ frozen": lazy}


def _stack(sizes: Sizes, k: int) -> dict[str, Variant]:
    between = 100

    def build(key: Array) -> eqx.nn.Sequential:
        keys = jax.random.split(key)
        first = nn.GMLayer(sizes.d, between, k, key=keys[0])
        return eqx.nn.Sequential([first, nn.GMLayer(between, sizes.size, k, key=keys[1])])

    one = _mixture(sizes, k)
    return {f"one layer, K={k}": one, f"two layers, K={k} each": one._replace(build=build)}


def _covariance(sizes: Sizes, k: int) -> dict[str, Variant]:
    names = {"diagonal": "diagonal", "low rank, r=8": "low_rank", "full": "full"}
    return {text: _mixture(sizes, k, name) for text, name in names.items()}


def _budget(sizes: Sizes, k: int) -> dict[str, Variant]:
    """A GM layer has `K (2 + L) d + K L` parameters and as many products an input, but for `K L`.

    A network of width `m` has `m (d + L)` of either, so equal parameters are equal work.
    """
    d, size = sizes
    width = round(k * (2 * d + d * size + size) / (d + size))
    return {
        f"GM layer, K={k}": _mixture(sizes, k),
        f"same budget: width {width}": _network(sizes, width),
        f"width {WIDTH}": _network(sizes, WIDTH),
    }


CURVES: dict[str, tuple[str, Callable[..., dict[str, Variant]]]] = {
    "gm-error": ("GM layers with more components", _error),
    "gm-baseline": ("a GM layer and wide networks", _baseline),
    "gm-lazy": ("with and without training the law of β", _lazy),
    "gm-stack": ("one or two GM layers", _stack),
    "gm-covariance": ("three covariances", _covariance),
    "gm-budget": ("equal parameters and equal work", _budget),
}
EXPERIMENTS = (*CURVES, "gm-evolution")
_COMPONENTS = {"gm-error": (5, 10, 20), "gm-covariance": (5,), "gm-evolution": (10,)}


def run(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> xr.DataTree:
    """Train every variant and write `NAME.nc` and `NAME.png`, each file whole or not at all.

    Checkpoints are in `out/checkpoints`: the same call goes on where a killed one stopped.

    Args:
        settings: what to do.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set, see `datasets.load`.
        progress: show progress bars.

    Returns:
        One group a variant, with the history of `inference.fit` and `parameters`; or, for
        `gm-evolution`, with the paths of the components.

    Raises:
        ValueError: if the folder cannot be written to.
        mogp.datasets.DataError: if the data cannot be found, or are not what they should be.
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    check_writable(out)
    if settings.name == "gm-evolution":
        groups, figure = _evolution(settings, data, out, progress)
    else:
        groups, figure = _curves(settings, data, out, progress)
    tree = write(settings, out, groups, figure)
    shutil.rmtree(out / "checkpoints" / settings.name, ignore_errors=True)
    return tree


def _sizes(data: datasets.Dataset) -> Sizes:
    return Sizes(data.x_train.shape[1], int(data.y_train.max()) + 1)


def _fit(
    variant: Variant,
    label: str,
    settings: Settings,
    data: datasets.Dataset,
    out: Path,
    progress: bool,
    *,
    epochs: int,
    seeds: int | None,
) -> inference.Fit:
    # One file a variant and settings: other settings must not resume from it.
    file = f"{zlib.crc32(f'{label} {settings}'.encode()):08x}.ckpt"
    key = jax.random.key(settings.seed)
    return inference.fit(
        variant.build if seeds else variant.build(key),
        data.x_train,
        data.y_train,
        key=key,
        num_epochs=epochs,
        batch_size=BATCH,
        optimizer=variant.optimizer,
        num_seeds=seeds,
        validation=(data.x_test, data.y_test),
        checkpoint=out / "checkpoints" / settings.name / file,
        progress=progress,
        description=label,
    )


def _curves(
    settings: Settings, data: datasets.Dataset, out: Path, progress: bool
) -> tuple[dict[str, xr.Dataset], Figure]:
    title, variants = CURVES[settings.name]
    groups = {}
    for label, variant in variants(_sizes(data), *settings.mixtures).items():
        result = _fit(variant, label, settings, data, out, progress,
                      epochs=settings.epochs, seeds=settings.seeds)  # fmt: skip
        arrays = jax.tree.leaves(eqx.filter(result.model, eqx.is_inexact_array))
        parameters = sum(a.size for a in arrays) // settings.seeds
        groups[label] = result.history.assign_attrs(label=label, parameters=parameters)
    errors = {h.attrs["label"]: 1 - h["validation_accuracy"].values for h in groups.values()}
    seeds = f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"
    return groups, plots.error_curves(errors, title=f"{settings.data}: {title} ({seeds})")


def _evolution(
    settings: Settings, data: datasets.Dataset, out: Path, progress: bool
) -> tuple[dict[str, xr.Dataset], Figure]:
    """Paths of components and of neurons, at equal times of their flows.

    A step of rate `r` is a time `r/K` of the flow of a GM layer and `r/m` of that of a network, so
    the network has the rate `0.1 m/K`: at 0.1 its neurons would have a time `m/K` times shorter.
    """
    sizes, groups, k = _sizes(data), {}, settings.mixtures[0]
    last = settings.epochs
    epochs = np.concatenate([np.geomspace(1, last, 20), np.linspace(1, last, 20)])
    epochs = np.unique(np.round(epochs).astype(int))
    network_rate = 0.1 * WIDTH / k
    for name, gamma in (("1/2", 1 / 2), ("1/256", 1 / 256)):
        network = _network(sizes, WIDTH, gamma)._replace(optimizer=optax.sgd(network_rate))
        for kind, variant in (
            (f"GM layer, K={k}", _mixture(sizes, k, gamma=gamma)),
            (f"width {WIDTH}", network),
        ):
            label = f"{kind}, γ={name}"
            start = variant.build(jax.random.key(settings.seed))
            fits = [
                _fit(variant, label, settings, data, out, progress, epochs=int(e), seeds=None)
                for e in epochs
            ]
            dataset = paths([start, *(fit.model for fit in fits)])
            dataset["epoch"] = np.concatenate([[0], epochs])
            error = 1 - float(fits[-1].history["validation_accuracy"].values[-1])
            groups[label] = dataset.assign_attrs(label=label, test_error=error)
    return groups, plots.evolution(list(groups.values()), title=settings.data)


def final_errors(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """Test errors after the last epoch, one array of seeds a variant, in the order of training."""
    groups = [group.to_dataset() for group in tree.children.values()]
    return {
        group.attrs["label"]: 1 - np.atleast_1d(group["validation_accuracy"].values[-1])
        if "validation_accuracy" in group
        else np.array([group.attrs["test_error"]])
        for group in groups
    }


def lines(tree: xr.DataTree) -> list[str]:
    """The last errors, as text."""
    return [
        f"{label:<26} test error {100 * errors.mean():.2f} ± {100 * errors.std():.2f} %"
        for label, errors in final_errors(tree).items()
    ]
