"""Priors and layers on real images: train, prune, compare. The work behind `mogp compare`."""

import math
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

from mogp import MoGP, datasets, inference, nn, plots, pruning
from mogp import priors as priors_room
from mogp._checks import check_choice
from mogp.app import _job
from mogp.app._job import Job, plural


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines a comparison.

    Attributes:
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        priors: priors on node variances, as `mogp.priors.parse` reads them.
        hidden: the number of hidden layers of the networks with node variances.
        width: the number of nodes in each hidden layer (500 suit MNIST and Fashion-MNIST).
        epochs: the number of passes over the training data (10 suit MNIST and Fashion-MNIST).
        seeds: the number of models of every kind, which are trained at once.
        components: the number of Gaussians of the GM layer; 0 leaves it out.
        importance: how nodes are ranked: contribution, norm, variance, taylor, fisher or random.
        keep: fractions of hidden nodes kept, in (0, 1].
        prior_temperature: the log prior is divided by it; 1 is the posterior mode.
        iid_prior_temperature: the temperature for networks with equal node variances. None trains
            them without a prior, by maximum likelihood, as ordinary networks are: at temperature 1
            the normal prior on the weights of a wide network makes it underfit.
        batch_size: the number of rows a step for the networks (100 suit MNIST and Fashion-MNIST);
            the GM layer has 64.
        learning_rate: of Adam at the start, for weights and biases; it falls to 0 by a cosine.
        variance_rate: of Adam at the start, for log node variances, which have further to go.
        seed: the seed of everything random.
    """

    data: str = "digits"
    priors: tuple[str, ...] = ("iid", "horseshoe", "gbfry(alpha=0.5, tau=5)")
    hidden: int = 2
    width: int = 200
    epochs: int = 60
    seeds: int = 3
    components: int = 20
    importance: str = "contribution"
    keep: tuple[float, ...] = pruning.KEEP
    prior_temperature: float = 1.0
    iid_prior_temperature: float | None = None
    batch_size: int = 50
    learning_rate: float = 2e-2
    variance_rate: float = 1e-1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("importance", self.importance, pruning.IMPORTANCES)
        for text in self.priors:
            prior = _job.parsed(text)
            if self.importance == "variance" and isinstance(prior, priors_room.Deterministic):
                raise ValueError(
                    f'importance="variance" cannot order the nodes of prior {text!r}, whose '
                    'variances are all equal; use "contribution" or "norm"'
                )


def suited(data: str = "digits", **changes: Any) -> Settings:
    """Settings that suit a data set, which is what `mogp compare` starts from.

    Args:
        data: the name of the data set.
        **changes: further settings. The fraction 1 is always among those of `keep`.

    Returns:
        The settings. For 60,000 images they have width 500, 10 epochs and batches of 100.

    Example:
        >>> from mogp.app.comparison import suited
        >>> suited("mnist", seeds=1).width
        500
    """
    large = {"width": 500, "epochs": 10, "batch_size": 100} if data.endswith("mnist") else {}
    keep = tuple(sorted({1.0, *changes.get("keep", Settings.keep)}, reverse=True))
    return Settings(data=data, **large | changes | {"keep": keep})


class Row(NamedTuple):
    """One model of a comparison.

    Attributes:
        name: as in the table.
        parameters: the number of trained numbers of one model.
        seconds: the training time of all seeds together, with compilation.
        keep: fractions of nodes kept, of shape (k,); only 1 for a model that is not pruned.
        accuracy: on the test data, of shape (k, seeds).
        nll: mean negative log-likelihood on the test data in nats, of shape (k, seeds).
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

    Training is checkpointed after every epoch in `out/checkpoints/compare`, so that the same call
    goes on where a killed one stopped; these checkpoints are removed at the end. Nothing else is
    removed or written over, but for results of the same settings.

    Args:
        settings: what to do.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set, see `datasets.load`.
        progress: whether progress bars are shown.

    Returns:
        One row for each model, priors first, the GM layer last.

    Raises:
        ValueError: if the folder cannot be written to, or holds files of these names with other
            settings or that we have not written.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
        mogp.datasets.DataError: if the data cannot be found, or are not what they should be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mogp.app.comparison import Settings, compare
        >>> settings = Settings(priors=("horseshoe",), width=4, epochs=1, seeds=1, components=0)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     [row.name for row in compare(settings, Path(out), progress=False)]
        ['Horseshoe()']
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    _job.check_results((out / f"compare.{suffix}" for suffix in ("json", "nc", "png")), settings)
    if settings.batch_size > len(data.x_train):
        raise ValueError(
            f"batch_size must be at most n = {len(data.x_train)}, got {settings.batch_size}"
        )
    job = Job(settings, data, out / "checkpoints" / "compare", progress)
    if settings.components:
        job.check_room("training the GM layer", _mixture_start(job))
    _job.claim(out, "compare")
    with _job.resumable(job.checkpoints):
        rows = [_prior_row(job, text) for text in settings.priors]
        if settings.components:
            rows.append(_mixture_row(job))
        _save(rows, settings, out)
    _job.release(out, "compare")
    return rows


def _prior_row(job: Job, text: str) -> Row:
    settings, data, (d, classes) = job.settings, job.data, job.sizes
    prior = _job.parsed(text)
    model = MoGP([prior] * settings.hidden, bias_scale=1.0)

    def build(key: Array) -> nn.DependentMLP:
        return model.network(d, classes, settings.width, init_variances="equal", key=key)

    iid = isinstance(prior, priors_room.Deterministic)
    temperature = settings.iid_prior_temperature if iid else settings.prior_temperature
    steps = settings.epochs * max(1, len(data.x_train) // settings.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, steps))
    if priors_room.has_density(prior.at_width(settings.width)):
        fast = optax.adam(optax.cosine_decay_schedule(settings.variance_rate, steps))
        optimizer = inference.per_parameter(optimizer, log_variances=fast)
    options = {"prior_temperature": math.inf if temperature is None else temperature}
    name = "iid" if iid else str(prior)
    fit = _fit(job, build, name, optimizer, settings.batch_size, **options)
    curve = pruning.curve(
        fit.model, data.x_test, data.y_test, settings.keep, importance=settings.importance,
        x_train=data.x_train, y_train=data.y_train, key=jax.random.key(settings.seed),
    )  # fmt: skip
    return _row(job, name, fit, np.array(settings.keep), curve.accuracy, curve.nll)


def _mixture_start(job: Job) -> Callable[[Array], nn.GMLayer]:
    (d, classes), components = job.sizes, job.settings.components
    return lambda key: nn.GMLayer(d, classes, components, key=key)


def _mixture_row(job: Job) -> Row:
    name = f"GM layer, K={job.settings.components}"
    optimizer = inference.per_parameter(optax.sgd(0.1), scales=optax.sgd(1.0))
    fit = _fit(job, _mixture_start(job), name, optimizer, 64)
    evaluate = eqx.filter_vmap(inference.evaluate, in_axes=(eqx.if_array(0), None, None))
    scores = eqx.filter_jit(evaluate)(fit.model, job.data.x_test, job.data.y_test)
    return _row(job, name, fit, np.ones(1), scores.accuracy[None], scores.nll[None])


def _fit(
    job: Job, build: Any, name: str, optimizer: Any, batch_size: int, **options: Any
) -> inference.Fit:
    settings, data = job.settings, job.data
    return job.fit(
        build, name, key=jax.random.key(settings.seed), num_epochs=settings.epochs,
        batch_size=batch_size, optimizer=optimizer, num_seeds=settings.seeds,
        validation=(data.x_test, data.y_test), **options,
    )  # fmt: skip


def _row(job: Job, name: str, fit: inference.Fit, keep: np.ndarray, accuracy: Any, nll: Any) -> Row:
    trained = jax.tree.leaves(eqx.filter(fit.model, nn.trainable(fit.model)))
    parameters = sum(array.size for array in trained) // job.settings.seeds
    seconds = float(fit.history["seconds"].sum())
    scores = np.asarray(accuracy), np.asarray(nll)
    return Row(name, parameters, seconds, keep, *scores, fit.history)


def _save(rows: list[Row], settings: Settings, out: Path) -> None:
    models = [
        {
            "name": row.name, "parameters": row.parameters, "seconds": row.seconds,
            "keep": row.keep.tolist(), "accuracy": row.accuracy.tolist(), "nll": row.nll.tolist(),
            "final_loss": np.atleast_1d(row.history["loss"].values[-1]).tolist(),
        }
        for row in rows
    ]  # fmt: skip
    record: dict[str, Any] = {"command": "mogp compare", "settings": asdict(settings)}
    record |= {"environment": _job.environment(), "models": models}
    _job.write_record(out / "compare.json", record)
    groups: dict[str, xr.Dataset] = {}
    for row in rows:
        more = {"parameters": row.parameters, "seconds": row.seconds}
        groups[f"{row.name}/pruning"] = _job.scores_by_keep(row.keep, row.accuracy, row.nll, **more)
        groups[f"{row.name}/training"] = row.history
    _job.write_tree(out / "compare.nc", groups, settings)
    lines = [plots.Line(row.name, row.keep, row.accuracy, len(row.keep) == 1) for row in rows]
    layers = f"{plural(settings.hidden, 'hidden layer')} of {settings.width} nodes"
    title = f"{settings.data}: {layers}, {plural(settings.seeds, 'seed')}"
    ax = plots.pruning_curves(lines, width=settings.width)
    ax.set_title(title, fontsize="medium")
    _job.write_figure(out / "compare.png", ax.figure, settings)


__all__ = ["Row", "Settings", "compare", "suited"]
