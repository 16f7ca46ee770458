"""The settings of a fit, and the rows of tables as numbers; mistakes of the user are found here."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd

from mogp import MoGP, inference
from mogp._checks import check_choice
from mogp.app import _job, tables

LIKELIHOODS = ("auto", "gaussian", "student_t", "bernoulli", "poisson", "categorical")


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
        missing: what is done with rows that lack values: refuse the table, or drop the rows.
        folds: the number of parts of the training rows that are left out in turn, each with a fit
            of its own (K-fold cross-validation, exact where leave-one-out fails); 0 for none.
        seed: the seed of everything random.
        form: how the text of the table is read.

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
    missing: str = "refuse"
    folds: int = 0
    seed: int = 0
    form: tables.Format = tables.AS_FOUND

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
        check_choice("missing", self.missing, ("refuse", "drop"))
        if self.folds != 0 and self.folds < 2:
            raise ValueError(f"folds must be 0, or at least 2, got {self.folds}")
        self.model()

    @property
    def has_classes(self) -> bool:
        """Whether the target is a label."""
        return self.likelihood in ("bernoulli", "categorical")

    def model(self) -> MoGP:
        """The model, whose scales of all layers are unknown, LogNormal(0, 1) a priori."""
        layers = self.hidden + 1
        scales = [dist.LogNormal(0.0, 1.0)] * layers
        priors = [_job.parsed(self.prior)] * self.hidden
        return MoGP(priors, self.activation, weight_scale=scales, bias_scale=scales)


class Rows(NamedTuple):
    """Standardised rows: inputs (n, d), and targets (n,), which are numbers or classes."""

    x: jax.Array
    y: np.ndarray


def prepared(
    settings: Settings, data: Path, test: Path | None
) -> tuple[Settings, tables.Encoding, inference.Likelihood, Rows, Rows | None, list[str]]:
    """Rows of the tables as numbers, the settings with a likelihood, and what was understood.

    Mistakes are found here, before anything is written.
    """
    form, source, target = settings.form, str(data), settings.target
    frame = tables.raw(data, form)
    lines = list(frame.attrs["notes"])
    names = [n for n in frame if n != target] if settings.inputs is None else list(settings.inputs)
    names = list(dict.fromkeys(names))
    tables.check_columns(frame, [*names, target, *form.kinds], source)
    wanted = {"bernoulli": "text", "categorical": "text", "auto": None}
    kind = wanted.get(settings.likelihood, "number")
    columns = tables.understood(
        frame, dict.fromkeys([*names, target]), {target: kind} if kind else {}, form, source
    )
    kinds = {name: tables.kind_of(column) for name, column in columns.items()}
    if settings.likelihood == "auto":
        labels = columns[target].kind in ("text", "true or false")
        names_of = "bernoulli" if columns[target].values.nunique() == 2 else "categorical"
        settings = replace(settings, likelihood=names_of if labels else "gaussian")
    if settings.has_classes:
        kinds[target] = "text"
    lines += [column.line() for column in columns.values()]
    lines += [
        f"{name!r} is the same as the target in every row"
        for name in names if columns[name].values.equals(columns[target].values)
    ]  # fmt: skip
    if settings.missing == "drop" and (gaps := tables.gaps(columns).any(axis=1)).any():
        lines.append(
            f"{gaps.sum()} rows that lack values left out: {gaps.index[gaps][:10].tolist()}"
        )
        frame = frame[~gaps]
    if test is not None:
        held_out = tables.raw(test, form)
    else:
        labelled = [name for name in names if kinds[name] == "text"]
        labelled += [target] * settings.has_classes
        by, wanted_rows = target if settings.has_classes else None, settings.test_fraction
        frame, held_out = tables.split(
            frame, wanted_rows, by=by, seed=settings.seed, keep=labelled
        )  # fmt: skip
        if few := round(wanted_rows * (len(frame) + len(held_out))) - len(held_out):
            lines.append(f"{few} rows stay in training, which has no other row of their values")
    encoding = tables.learn(
        frame, target, names, classes=settings.has_classes, source=source, kinds=kinds, form=form,
        standardise=settings.likelihood in ("gaussian", "student_t"),
    )  # fmt: skip
    if constant := [name for name in names if name not in encoding.columns]:
        lines.append(f"left out, since they do not vary in the training rows: {constant}")
    law = likelihood_of(settings, encoding)
    lines.append(f"{len(frame)} training and {len(held_out)} test rows; {settings.likelihood}")

    def encoded(frame: pd.DataFrame, source: str) -> Rows:
        rows = Rows(jnp.asarray(encoding.inputs(frame, source)), encoding.targets(frame, source))
        try:
            law.targets(rows.y, len(rows.x))
        except ValueError as error:
            raise ValueError(f"{source}: target {target!r}: {error}") from None
        return rows

    rows = encoded(frame, source)
    tested = encoded(held_out, str(test or data)) if len(held_out) else None
    return settings, encoding, law, rows, tested, lines


def likelihood_of(settings: Settings, encoding: tables.Encoding) -> inference.Likelihood:
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
