"""A user's own regression or classification. The work behind `mogp fit` and `mogp predict`."""

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pandas as pd

from mogp import inference
from mogp import priors as priors_room
from mogp._checks import check_choice, check_count
from mogp.architecture import MoGP
from mogp.compare import check_writable, environment
from mogp.fitting import _report as report
from mogp.fitting import _tables as tables
from mogp.fitting._summaries import convergence, in_units, leave_one_out, predictions

LIKELIHOODS = ("auto", "gaussian", "student_t", "bernoulli", "poisson", "categorical")
_BLOCK = 2000  # rows predicted at once


@dataclass(frozen=True)
class Settings:
    """Everything that determines a fit, but the data.

    Attributes:
        target: column to predict.
        inputs: columns to predict it from; None for all others.
        prior: on node variances, as `mogp.priors.parse` reads it.
        hidden: hidden layers.
        width: nodes in each; None for the limit of infinitely many.
        num_jumps: jumps kept in each hidden layer of the limit.
        activation: of the hidden layers.
        likelihood: of the target; `"auto"` takes labels (text, true and false) as classes, and
            numbers as `"gaussian"`.
        samples: draws a chain.
        warmup: draws a chain before, which are thrown away.
        chains: independent ones.
        test_fraction: share of the rows held out, in [0, 1), where there is no file with test rows.
        seed: of everything random.
    """

    target: str
    inputs: tuple[str, ...] | None = None
    prior: str = "gbfry(alpha=0.5, tau=2)"
    hidden: int = 1
    width: int | None = None
    num_jumps: int = 30
    activation: str = "relu"
    likelihood: str = "auto"
    samples: int = 500
    warmup: int = 500
    chains: int = 4
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "num_jumps", "samples", "warmup", "chains"):
            check_count(name, getattr(self, name))
        if self.samples * self.chains < 25:
            raise ValueError(
                "samples must give at least 25 draws in all, which leave-one-out needs, got "
                f"{self.samples} of each of {self.chains} chains"
            )
        if self.width is not None:
            check_count("width", self.width)
        check_choice("likelihood", self.likelihood, LIKELIHOODS)
        if not 0 <= self.test_fraction < 1:
            raise ValueError(f"test_fraction must be in [0, 1), got {self.test_fraction}")
        self.model()

    def model(self) -> MoGP:
        """The model: scales of all layers are unknown, LogNormal(0, 1) a priori."""
        layers = self.hidden + 1
        return MoGP(
            [priors_room.parse(self.prior)] * self.hidden,
            self.activation,
            weight_scale=[dist.LogNormal(0.0, 1.0)] * layers,
            bias_scale=[dist.LogNormal(0.0, 1.0)] * layers,
        )


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
    posterior: inference.Posterior
    record: dict[str, Any]

    def predict(self, frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
        """Predictions of all rows, in the units of the target.

        Returns:
            For numbers `mean`, `sd`, and the quantiles `q05`, `q50`, `q95` of an observation; for
            classes `class`, the most probable one, and a column `p_…` of probabilities for each.

        Raises:
            ValueError: if columns are missing or hold what the training rows did not.
        """
        x = self.encoding.inputs(frame, source)
        blocks = [
            predictions(self.posterior.predict(jnp.asarray(x[i : i + _BLOCK])), self.encoding)
            for i in range(0, len(x), _BLOCK)
        ]
        return pd.concat(blocks, ignore_index=True)


def fit(
    settings: Settings,
    data: Path,
    out: Path,
    *,
    test: Path | None = None,
    progress: bool = True,
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
        progress: show a progress bar.

    Raises:
        ValueError: if the data do not fit the settings, or `out` is not empty or not writable.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"out: {out} is there already; choose another folder or remove it")
    work = out.with_name(f".{out.name}.part")
    train, held_out, settings = _rows(settings, data, test)
    encoding = tables.learn(
        train,
        settings.target,
        settings.inputs,
        classes=settings.likelihood in ("bernoulli", "categorical"),
        standardise=settings.likelihood in ("gaussian", "student_t"),
        source=str(data),
    )
    law = _likelihood(settings, encoding)
    x, y = jnp.asarray(encoding.inputs(train)), encoding.targets(train)
    law.targets(y, len(x))  # mistakes before a folder is made
    x_test = y_test = None
    if len(held_out):
        source = str(test or data)
        x_test = jnp.asarray(encoding.inputs(held_out, source))
        y_test = encoding.targets(held_out, source)
        law.targets(y_test, len(x_test))
    check_writable(work)
    posterior = inference.nuts(
        settings.model(),
        x,
        y,
        key=jax.random.key(settings.seed),
        likelihood=law,
        width=settings.width,
        num_jumps=settings.num_jumps,
        num_warmup=settings.warmup,
        num_samples=settings.samples,
        num_chains=settings.chains,
        checkpoint=work / "nuts.ckpt",
        progress=progress,
    )
    if posterior.data.attrs["interrupted"]:
        raise KeyboardInterrupt
    scores = {"loo": in_units(leave_one_out(posterior), encoding)}
    if x_test is not None and y_test is not None:
        scores["test"] = in_units(posterior.evaluate(x_test, y_test), encoding)
    record = {
        "command": "mogp fit",
        "data": str(data),
        "rows": {"training": len(train), "test": len(held_out)},
        "settings": asdict(settings),
        "encoding": encoding.to_json(),
        "scores": scores,
        "convergence": convergence(posterior, x),
        "environment": environment(),
    }
    result = Fit(settings, encoding, posterior, record)
    folder = work / "fit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    posterior.save(folder / "posterior.nc")
    (folder / "fit.json").write_text(json.dumps(record, indent=2) + "\n")
    report.write(folder, posterior, encoding, record, x, y, x_test, y_test)
    folder.replace(out)
    shutil.rmtree(work, ignore_errors=True)
    return result


def load(folder: Path) -> Fit:
    """A fit from its folder.

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


def _rows(
    settings: Settings, data: Path, test: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame, Settings]:
    """Training and test rows without gaps, and the settings with a likelihood."""
    frame = tables.read(data)
    label = tables.is_label(frame, settings.target, str(data))
    likelihood = settings.likelihood
    if likelihood == "auto":
        likelihood = "gaussian"
        if label:
            likelihood = "bernoulli" if frame[settings.target].nunique() == 2 else "categorical"
    chosen = {field.name: getattr(settings, field.name) for field in fields(settings)}
    settings = Settings(**chosen | {"likelihood": likelihood})
    names = list(frame) if settings.inputs is None else [settings.target, *settings.inputs]
    tables.check_complete(frame, names, str(data))
    if test is not None:
        return frame, tables.read(test), settings
    classes = likelihood in ("bernoulli", "categorical")
    by = settings.target if classes else None
    train, held_out = tables.split(frame, settings.test_fraction, by=by, seed=settings.seed)
    return train, held_out, settings


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
        "gaussian": inference.Gaussian,
        "student_t": inference.StudentT,
        "bernoulli": inference.Bernoulli,
        "poisson": inference.Poisson,
    }
    return kinds[settings.likelihood]()


__all__ = ["LIKELIHOODS", "Fit", "Settings", "fit", "load"]
