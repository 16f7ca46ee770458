"""A user's own regression or classification. The work behind `mogp fit` and `mogp predict`."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd

from mogp import MoGP, inference
from mogp import priors as priors_room
from mogp._checks import check_choice
from mogp.app import _job, tables
from mogp.inference import Posterior, Predictive

LIKELIHOODS = ("auto", "gaussian", "student_t", "bernoulli", "poisson", "categorical")
_BLOCK = 2000  # rows predicted at once: this bounds the memory of the draws


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines a fit, but the data.

    Attributes:
        target: the column to predict.
        inputs: the columns to predict it from; None for all others.
        prior: the prior of node variances, as `mogp.priors.parse` reads it.
        hidden: the number of hidden layers.
        width: the number of nodes in each hidden layer; None for the limit of infinitely many.
        jumps: the number of jumps kept in each hidden layer of the limit.
        activation: the activation of the hidden layers.
        likelihood: that of the target: auto, gaussian, student_t, bernoulli, poisson, categorical.
            auto takes labels (text, true and false) as classes, and numbers as gaussian.
        samples: the number of draws of each chain.
        warmup: the number of draws of each chain before these, which are thrown away.
        chains: the number of independent chains.
        test_fraction: the share of the rows held out, in [0, 1), where there is no file with test
            rows.
        seed: the seed of everything random.

    Example:
        >>> from mogp.app.fits import Settings
        >>> Settings("price", hidden=2).model().depth
        2
    """

    target: str
    inputs: tuple[str, ...] | None = None
    prior: str = "gbfry(alpha=0.5, tau=2)"
    hidden: int = 1
    width: int | None = None
    jumps: int = 30
    activation: str = "relu"
    likelihood: str = "auto"
    samples: int = 500
    warmup: int = 500
    chains: int = 4
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples * self.chains < 25:
            raise ValueError(
                "samples must give at least 25 draws in all, which leave-one-out needs, got "
                f"{self.samples} of each of {self.chains} chains"
            )
        check_choice("likelihood", self.likelihood, LIKELIHOODS)
        if not 0 <= self.test_fraction < 1:
            raise ValueError(f"test_fraction must be in [0, 1), got {self.test_fraction}")
        self.model()

    @property
    def has_classes(self) -> bool:
        """Whether the target is a label."""
        return self.likelihood in ("bernoulli", "categorical")

    def model(self) -> MoGP:
        """The model, whose scales of all layers are unknown, LogNormal(0, 1) a priori."""
        layers = self.hidden + 1
        scales = [dist.LogNormal(0.0, 1.0)] * layers
        priors = [priors_room.parse(self.prior)] * self.hidden
        return MoGP(priors, self.activation, weight_scale=scales, bias_scale=scales)


class Fit(NamedTuple):
    """A fitted table.

    Attributes:
        settings: with `likelihood` as it was chosen.
        encoding: of the columns.
        posterior: of the standardised problem.
        record: what `fit.json` holds: settings, encoding, scores, convergence, environment.
    """

    settings: Settings
    encoding: tables.Encoding
    posterior: Posterior
    record: dict[str, Any]

    def predict(self, frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
        """Predict all rows of a table, in the units of the target.

        Args:
            frame: a table with the columns of the inputs.
            source: what messages call the table.

        Returns:
            For numbers `mean`, `sd`, and the quantiles `q05`, `q50`, `q95` of an observation; for
            classes `class`, the most probable one, and a column `p_…` of probabilities for each.

        Raises:
            ValueError: if columns are missing or hold what the training rows did not.
        """
        x = self.encoding.inputs(frame, source)
        blocks = [jnp.asarray(x[i : i + _BLOCK]) for i in range(0, len(x), _BLOCK)]
        key = jax.random.key(self.settings.seed)
        found = [predictions(self.posterior.predict(b), self.encoding, key=key) for b in blocks]
        return pd.concat(found, ignore_index=True)


class Rows(NamedTuple):
    """Standardised rows: inputs (n, d), and targets (n,), which are numbers or classes."""

    x: jax.Array
    y: np.ndarray


def fit(
    settings: Settings, data: Path, out: Path, *, test: Path | None = None, progress: bool = True
) -> Fit:
    """Fit a table and write a folder with the posterior, a record and a report.

    Draws are checkpointed in the folder `.NAME.part` beside `out`, so that the same call goes on
    where a killed one stopped. `out` itself appears at the end, whole: `posterior.nc`, `fit.json`,
    `report.html` and its pictures.

    Args:
        settings: what to do.
        data: table with the training rows, and with the test rows where there is no `test`.
        out: folder for the results; it must not hold anything.
        test: table with the test rows.
        progress: whether a progress bar is shown.

    Returns:
        The fit, as `load` reads it again.

    Raises:
        ValueError: if the data do not fit the settings, or `out` is not empty or not writable.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
    """
    from mogp.app import report

    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"out: {out} is there already; choose another folder or remove it")
    work = out.with_name(f".{out.name}.part")
    settings, encoding, law, train, held_out = _prepared(settings, data, test)
    _job.check_writable(work)
    key = jax.random.key(settings.seed)
    posterior = _job.finished(
        inference.nuts(
            settings.model(), train.x, train.y, key=key, likelihood=law, width=settings.width,
            num_jumps=settings.jumps, num_warmup=settings.warmup, num_samples=settings.samples,
            num_chains=settings.chains, checkpoint=work / "nuts.ckpt", progress=progress,
        )
    )  # fmt: skip
    scores = {"loo": _in_units(inference.leave_one_out(posterior), encoding)}
    if held_out is not None:
        scores["test"] = _in_units(posterior.evaluate(*held_out, key=key), encoding)
    record = {
        "command": "mogp fit",
        "data": str(data),
        "rows": {"training": len(train.x), "test": len(held_out.x) if held_out else 0},
        "settings": asdict(settings),
        "encoding": encoding.to_json(),
        "scores": scores,
        "convergence": inference.convergence(posterior, train.x),
        "environment": _job.environment(),
    }
    result = Fit(settings, encoding, posterior, record)
    folder = work / "fit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    posterior.save(folder / "posterior.nc")
    _job.write_record(folder / "fit.json", record)
    report.write(folder, result, train, held_out)
    folder.replace(out)
    shutil.rmtree(work, ignore_errors=True)
    return result


def load(folder: Path) -> Fit:
    """Load a fit from its folder.

    Args:
        folder: what `fit` wrote.

    Returns:
        The fit.

    Raises:
        ValueError: if the folder holds no fit, or one that was altered.
    """
    path = folder / "fit.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no fit: there is no fit.json")
    try:
        record = json.loads(path.read_text())
        given = record["settings"]
        inputs = None if given["inputs"] is None else tuple(given["inputs"])
        settings = Settings(**given | {"inputs": inputs})
        encoding = tables.Encoding.from_json(record["encoding"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not the record of a fit: {error!r}") from None
    posterior = inference.load_posterior(
        folder / "posterior.nc", settings.model(), likelihood=_likelihood(settings, encoding)
    )
    return Fit(settings, encoding, posterior, record)


def predictions(
    predictive: Predictive, encoding: tables.Encoding, *, key: jax.Array
) -> pd.DataFrame:
    """Predictions as a table: the columns of `Fit.predict`.

    Args:
        predictive: of standardised rows.
        encoding: of the columns.
        key: a random key, for the simulated observations behind `sd` and the quantiles.
    """
    mean = np.asarray(predictive.mean())
    if encoding.classes is not None:
        shares = class_shares(mean)
        best = np.array(encoding.classes)[shares.argmax(1)]
        columns = {f"p_{name}": shares[:, k] for k, name in enumerate(encoding.classes)}
        return pd.DataFrame({"class": best} | columns)
    draws = np.asarray(predictive.sample(key=key))[..., 0]
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    columns = {"q05": low, "q50": median, "q95": high}
    return pd.DataFrame(
        {"mean": encoding.in_units(mean[:, 0]), "sd": encoding.target_scale * draws.std(0)}
        | {name: encoding.in_units(values) for name, values in columns.items()}
    )


def class_shares(mean: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of all classes, where `mean` may be those of the second of two."""
    return np.concatenate([1 - mean, mean], axis=1) if mean.shape[1] == 1 else mean


def _in_units(scores: dict[str, float], encoding: tables.Encoding) -> dict[str, float]:
    """Scores of standardised observations in the units of the target."""
    scale = encoding.target_scale
    units: dict[str, Callable[[float], float]] = {"nll": lambda v: v + math.log(scale)}
    units |= dict.fromkeys(("rmse", "crps"), lambda v: v * scale)
    return {k: units[k](value) if k in units else value for k, value in scores.items()}


def _prepared(
    settings: Settings, data: Path, test: Path | None
) -> tuple[Settings, tables.Encoding, inference.Likelihood, Rows, Rows | None]:
    """Rows of the tables as numbers, and the settings with a likelihood; mistakes are found here.

    They are found before anything is written.
    """
    frame, source = tables.read(data), str(data)
    label = tables.is_label(frame, settings.target, source)
    if settings.likelihood == "auto":
        labels = "bernoulli" if frame[settings.target].nunique() == 2 else "categorical"
        settings = replace(settings, likelihood=labels if label else "gaussian")
    names = list(frame) if settings.inputs is None else [settings.target, *settings.inputs]
    tables.check_complete(frame, names, source)
    if test is not None:
        held_out = tables.read(test)
    else:
        by = settings.target if settings.has_classes else None
        frame, held_out = tables.split(frame, settings.test_fraction, by=by, seed=settings.seed)
    encoding = tables.learn(
        frame, settings.target, settings.inputs, classes=settings.has_classes,
        standardise=settings.likelihood in ("gaussian", "student_t"), source=source,
    )  # fmt: skip
    law = _likelihood(settings, encoding)

    def encoded(frame: pd.DataFrame, source: str) -> Rows:
        rows = Rows(jnp.asarray(encoding.inputs(frame, source)), encoding.targets(frame, source))
        law.targets(rows.y, len(rows.x))
        return rows

    rows = encoded(frame, source)
    return (
        settings,
        encoding,
        law,
        rows,
        encoded(held_out, str(test or data)) if len(held_out) else None,
    )


def _likelihood(settings: Settings, encoding: tables.Encoding) -> inference.Likelihood:
    """The likelihood, with the number of classes; the noise is HalfNormal(1) a priori."""
    count = len(encoding.classes or ())
    if settings.likelihood == "categorical":
        return inference.Categorical(count)
    if settings.likelihood == "bernoulli" and count != 2:
        raise ValueError(
            f"likelihood bernoulli needs two classes, {settings.target!r} has {count}: "
            f"{list(encoding.classes or ())[:10]}"
        )
    kinds = {
        "gaussian": inference.Gaussian, "student_t": inference.StudentT,
        "bernoulli": inference.Bernoulli, "poisson": inference.Poisson,
    }  # fmt: skip
    return kinds[settings.likelihood]()


__all__ = ["Fit", "LIKELIHOODS", "Rows", "Settings", "class_shares", "fit", "load", "predictions"]
