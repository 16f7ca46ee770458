"""Priors and layers on real images: train, prune, compare. The work behind `mogp compare`."""

import importlib.metadata
import json
import math
import platform
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
import xarray as xr
from jax import Array

from mogp import datasets, inference, nn, plots, pruning
from mogp import priors as priors_room
from mogp._checks import check_between, check_choice, check_count
from mogp._files import whole_file
from mogp.architecture import MoGP


@dataclass(frozen=True)
class Settings:
    """Everything that determines a comparison.

    Attributes:
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        priors: priors on node variances, as `mogp.priors.parse` reads them.
        hidden: hidden layers of the networks with node variances.
        width: nodes in each.
        epochs: passes over the training data.
        seeds: models of every kind, trained at once.
        components: Gaussians of the GM layer; 0 leaves it out.
        rank: ranking of nodes, see `pruning.scores`.
        keep: fractions of nodes kept.
        temperature: the log prior is divided by it; 1 is the posterior mode.
        iid_temperature: the same for networks with equal node variances. None trains them without
            a prior, by maximum likelihood, as ordinary networks are: at temperature 1 the normal
            prior on the weights of a wide network makes it underfit.
        batch_size: rows a step for the networks (64 for the GM layer).
        learning_rate: of Adam at the start, for weights and biases; it falls to 0 by a cosine.
        variance_rate: the same for log node variances, which have further to go.
        seed: of everything random.
    """

    data: str = "digits"
    priors: tuple[str, ...] = ("iid", "horseshoe", "gbfry(alpha=0.5, tau=5)")
    hidden: int = 2
    width: int = 200
    epochs: int = 60
    seeds: int = 3
    components: int = 20
    rank: str = "contribution"
    keep: tuple[float, ...] = pruning.KEEP
    temperature: float = 1.0
    iid_temperature: float | None = None
    batch_size: int = 50
    learning_rate: float = 2e-2
    variance_rate: float = 1e-1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "width", "epochs", "seeds", "batch_size"):
            check_count(name, getattr(self, name))
        if self.components != 0:
            check_count("components", self.components)
        for name in ("temperature", "learning_rate", "variance_rate"):
            check_between(name, getattr(self, name), 0)
        if self.iid_temperature is not None:
            check_between("iid_temperature", self.iid_temperature, 0)
        check_choice("rank", self.rank, pruning.RANKS)
        for fraction in self.keep:
            pruning.check_keep(fraction)
        if not self.priors:
            raise ValueError("priors must name at least one prior")
        for text in self.priors:
            prior = priors_room.parse(text)
            if self.rank == "variance" and isinstance(prior, priors_room.Deterministic):
                raise ValueError(
                    f'rank="variance" cannot order the nodes of prior {text!r}, whose variances '
                    'are all equal; use "contribution" or "norm"'
                )


class Row(NamedTuple):
    """One model of a comparison.

    Attributes:
        name: as in the table.
        parameters: trained numbers of one model.
        seconds: training time of all seeds together, with compilation.
        keep: fractions of nodes kept, shape (k,); only 1 for a model that is not pruned.
        accuracy: on the test data, shape (k, seeds).
        nll: mean negative log-likelihood on the test data in nats, shape (k, seeds).
        history: what `inference.fit` recorded.
    """

    name: str
    parameters: int
    seconds: float
    keep: np.ndarray
    accuracy: np.ndarray
    nll: np.ndarray
    history: xr.Dataset


def compare(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> list[Row]:
    """Train every model, prune the networks, and write `compare.json`, `.nc` and `.png`.

    Training is checkpointed after every epoch in `out/checkpoints`, so that the same call goes on
    where a killed one stopped; the folder is removed at the end.

    Args:
        settings: what to do.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set, see `datasets.load`.
        progress: show progress bars.

    Returns:
        One row a model, priors first, the GM layer last.

    Raises:
        ValueError: if the folder cannot be written to.
        mogp.datasets.DataError: if the data cannot be found, or are not what they should be.
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    check_writable(out)
    rows = [_prior_row(text, settings, data, out, progress) for text in settings.priors]
    if settings.components:
        rows.append(_mixture_row(settings, data, out, progress))
    save(rows, settings, out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return rows


def check_writable(out: Path) -> None:
    """Make the folder if need be, and raise unless files can be written to it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"out: cannot write to the folder {out} ({error.strerror})") from None


def _prior_row(
    text: str, settings: Settings, data: datasets.Dataset, out: Path, progress: bool
) -> Row:
    prior = priors_room.parse(text)
    model = MoGP([prior] * settings.hidden, bias_scale=1.0)
    classes = int(data.y_train.max()) + 1

    def build(key: Array) -> nn.DependentMLP:
        return model.network(
            data.x_train.shape[1], classes, settings.width, init_variances="equal", key=key
        )

    iid = isinstance(prior, priors_room.Deterministic)
    temperature = settings.iid_temperature if iid else settings.temperature
    name = "iid" if iid else str(prior)
    batch_size = settings.batch_size
    steps = settings.epochs * max(1, len(data.x_train) // batch_size)
    optimizer = inference.per_parameter(
        optax.adam(optax.cosine_decay_schedule(settings.learning_rate, steps)),
        log_variances=optax.adam(optax.cosine_decay_schedule(settings.variance_rate, steps)),
    )
    fit = _fit(
        build,
        optimizer,
        batch_size,
        math.inf if temperature is None else temperature,
        name,
        settings,
        data,
        out,
        progress,
    )
    curve = pruning.curve(
        fit.model, data.x_test, data.y_test, settings.keep, settings.rank, inputs=data.x_train
    )
    return _row(name, fit, np.array(settings.keep), curve.accuracy, curve.nll, settings)


def _mixture_row(settings: Settings, data: datasets.Dataset, out: Path, progress: bool) -> Row:
    classes = int(data.y_train.max()) + 1

    def build(key: Array) -> nn.GMLayer:
        return nn.GMLayer(data.x_train.shape[1], classes, settings.components, key=key)

    name = f"GM layer, K={settings.components}"
    optimizer = inference.per_parameter(optax.sgd(0.1), scales=optax.sgd(1.0))
    fit = _fit(build, optimizer, 64, math.inf, name, settings, data, out, progress)
    scores = eqx.filter_jit(
        eqx.filter_vmap(inference.evaluate, in_axes=(eqx.if_array(0), None, None))
    )(fit.model, data.x_test, data.y_test)
    return _row(name, fit, np.ones(1), scores.accuracy[None], scores.nll[None], settings)


def _fit(
    build: Callable[[Array], Any],
    optimizer: optax.GradientTransformation,
    batch_size: int,
    temperature: float,
    name: str,
    settings: Settings,
    data: datasets.Dataset,
    out: Path,
    progress: bool,
) -> inference.Fit:
    # One file a model and settings: other settings must not resume from it.
    file = f"{zlib.crc32(f'{name} {settings}'.encode()):08x}.ckpt"
    return inference.fit(
        build,
        data.x_train,
        data.y_train,
        key=jax.random.key(settings.seed),
        num_epochs=settings.epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        temperature=temperature,
        num_seeds=settings.seeds,
        validation=(data.x_test, data.y_test),
        checkpoint=out / "checkpoints" / file,
        progress=progress,
        description=name,
    )


def _row(
    name: str, fit: inference.Fit, keep: np.ndarray, accuracy: Any, nll: Any, settings: Settings
) -> Row:
    return Row(
        name=name,
        parameters=_num_trained(fit.model) // settings.seeds,
        seconds=float(fit.history["seconds"].sum()),
        keep=keep,
        accuracy=np.asarray(accuracy),
        nll=np.asarray(nll),
        history=fit.history,
    )


def _num_trained(model: Any) -> int:
    """Trained numbers: under `Deterministic`, node variances are constants."""
    constants = [
        u
        for prior, u in zip(
            getattr(model, "priors", ()), getattr(model, "log_variances", None) or (), strict=True
        )
        if isinstance(prior, priors_room.Deterministic)
    ]
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return sum(a.size for a in arrays) - sum(a.size for a in constants)


def save(rows: list[Row], settings: Settings, out: Path) -> None:
    """Write the results as JSON, netCDF and a figure, each file whole or not at all."""
    record = {
        "command": "mogp compare",
        "settings": asdict(settings),
        "environment": environment(),
        "models": [
            {
                "name": row.name,
                "parameters": row.parameters,
                "seconds": row.seconds,
                "keep": row.keep.tolist(),
                "accuracy": row.accuracy.tolist(),
                "nll": row.nll.tolist(),
                "final_loss": np.atleast_1d(row.history["loss"].values[-1]).tolist(),
            }
            for row in rows
        ],
    }
    with whole_file(out / "compare.json") as part:
        part.write_text(json.dumps(record, indent=2) + "\n")

    groups: dict[str, xr.Dataset] = {}
    for row in rows:
        scores = {"accuracy": row.accuracy, "nll": row.nll}
        pruned = xr.Dataset(
            {name: (("keep", "seed"), values) for name, values in scores.items()},
            coords={"keep": row.keep},
            attrs={"parameters": row.parameters, "seconds": row.seconds},
        )
        groups |= {f"{row.name}/pruning": pruned, f"{row.name}/training": row.history}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"settings": json.dumps(asdict(settings))}
    with whole_file(out / "compare.nc") as part:
        tree.to_netcdf(part, engine="h5netcdf")

    seeds = f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"
    layers = f"{settings.hidden} hidden layer{'s' if settings.hidden > 1 else ''}"
    figure = plots.pruning_curves(
        [plots.Line(row.name, row.keep, row.accuracy) for row in rows],
        width=settings.width,
        title=f"{settings.data}: {layers} of {settings.width} nodes, {seeds}",
    )
    with whole_file(out / "compare.png") as part:
        figure.savefig(part, dpi=200)


def environment() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    packages = ("bayesian-mogp", "jax", "jaxlib", "numpyro", "equinox", "optax", "numpy")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # running from a checkout
            versions[package] = "not installed"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "devices": [device.device_kind for device in jax.devices()],
        "packages": versions,
    }
