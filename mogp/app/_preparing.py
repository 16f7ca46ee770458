"""The settings of a fit, and the rows of tables; mistakes of the user are found here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mogp import activations
from mogp._checks import check_choice
from mogp.app import _job, tables
from mogp.estimators import MoGPClassifier, MoGPRegressor

Estimator = MoGPRegressor | MoGPClassifier

LIKELIHOODS = ("auto", "gaussian", "student_t", "bernoulli", "poisson", "categorical")


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines a fit, but the data.

    Attributes:
        target: the column to predict.
        inputs: the columns to predict it from; None for all others.
        prior: the prior of node variances, as `mogp.priors.parse` reads it.
        input_prior: that of the variances of the columns, which tells relevant ones from others;
            none gives all inputs the same variance.
        hidden: the number of hidden layers.
        width: the number of nodes in each hidden layer; None for the limit of infinitely many.
        jumps: the number of jumps kept in each hidden layer of the limit.
        activation: the activation of the hidden layers.
        likelihood: that of the target: auto, gaussian, student_t, bernoulli, poisson, categorical.
            auto takes labels (text, true and false) as classes, and numbers as gaussian.
        samples: the number of draws of each chain; None for as many as the sampler has by itself.
        warmup: the number of draws of each chain before these, which are thrown away; None as
            before.
        chains: the number of independent chains.
        test_fraction: the share of the rows held out, in [0, 1), where there is no file with test
            rows.
        missing: what is done with rows that lack inputs: impute them (with an input that says
            where), drop the rows, or refuse the table. Rows without a target are left out.
        folds: the number of parts of the training rows that are left out in turn, each with a fit
            of its own (K-fold cross-validation, exact where leave-one-out fails); 0 for none.
        compare: priors that are fitted, too, and ranked by leave-one-out.
        seed: the seed of everything random.
        form: how the text of the table is read.

    Example:
        >>> from mogp.app.fits import Settings
        >>> Settings("price", hidden=2).estimator(has_classes=False).hidden
        2
    """

    target: str
    inputs: tuple[str, ...] | None = None
    prior: str = "gbfry(alpha=0.5, tau=2)"
    input_prior: str = "horseshoe"
    hidden: int = 1
    width: int | None = None
    jumps: int = 30
    activation: str = "relu"
    likelihood: str = "auto"
    samples: int | None = None
    warmup: int | None = None
    chains: int = 4
    test_fraction: float = 0.2
    missing: str = "impute"
    folds: int = 0
    compare: tuple[str, ...] = ()
    seed: int = 0
    form: tables.Format = tables.AS_FOUND

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples is not None and self.samples * self.chains < 25:
            raise ValueError(
                "samples must give at least 25 draws in all, which leave-one-out needs, got "
                f"{self.samples} of each of {self.chains} chains"
            )
        check_choice("likelihood", self.likelihood, LIKELIHOODS)
        if not 0 <= self.test_fraction < 1:
            raise ValueError(f"test_fraction must be in [0, 1), got {self.test_fraction}")
        check_choice("missing", self.missing, ("impute", "drop", "refuse"))
        if self.folds != 0 and self.folds < 2:
            raise ValueError(f"folds must be 0, or at least 2, got {self.folds}")
        inputs = () if self.input_prior == "none" else (self.input_prior,)
        for text in (self.prior, *inputs, *self.compare):
            _job.parsed(text)
        activations.get(self.activation)

    @property
    def has_classes(self) -> bool:
        """Whether the target is a label."""
        return self.likelihood in ("bernoulli", "categorical")

    def estimator(self, *, has_classes: bool, **change: Any) -> Estimator:
        """The estimator of these settings, for numbers or for classes."""
        arguments: dict[str, Any] = {
            "prior": self.prior,
            "input_prior": None if self.input_prior == "none" else self.input_prior,
            "hidden": self.hidden,
            "width": self.width,
            "activation": self.activation,
            "likelihood": self.likelihood,
            "num_jumps": self.jumps,
            "num_warmup": self.warmup,
            "num_samples": self.samples,
            "num_chains": self.chains,
            "random_state": self.seed,
        } | change
        return (MoGPClassifier if has_classes else MoGPRegressor)(**arguments)


class Rows(NamedTuple):
    """Rows of a table: inputs as they are read, and targets, which are numbers or labels."""

    x: pd.DataFrame
    y: np.ndarray


class Prepared(NamedTuple):
    """What a fit needs.

    Attributes:
        settings: with `likelihood` as it was chosen.
        reading: of the columns.
        estimator: which has learned how rows become numbers.
        train: the training rows.
        held_out: the test rows, if there are any.
        lines: what was understood.
    """

    settings: Settings
    reading: tables.Reading
    estimator: Estimator
    train: Rows
    held_out: Rows | None
    lines: list[str]


def prepared(settings: Settings, data: Path, test: Path | None) -> Prepared:
    """Rows of the tables, and what was understood; nothing is drawn or written yet."""
    form, source, target = settings.form, str(data), settings.target
    frame = tables.raw(data, form)
    lines = list(frame.attrs["notes"])
    names = [n for n in frame if n != target] if settings.inputs is None else list(settings.inputs)
    names = list(dict.fromkeys(names))
    if not names or target in names:
        raise ValueError(f"inputs must be columns other than the target, got {names}")
    tables.check_columns(frame, [*names, target, *form.kinds], source)
    wanted = {"bernoulli": "text", "categorical": "text", "auto": None}
    kind = wanted.get(settings.likelihood, "number")
    columns = tables.understood(
        frame, [*names, target], {target: kind} if kind else {}, form, source
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
        for name in names
        if columns[name].values.equals(columns[target].values)
    ]
    frame = _without_gaps(settings, columns, frame, source, lines)
    classes = None
    if settings.has_classes:
        labels_of = tables.understood(frame, [target], kinds, form, source)[target].values
        classes = tables.classes_of(labels_of, source)
        if settings.likelihood == "bernoulli" and len(classes) != 2:
            raise ValueError(
                f"likelihood bernoulli needs two classes, {target!r} has {len(classes)}: "
                f"{list(classes)[:10]}"
            )
    reading = tables.Reading(tuple(names), target, kinds, classes, form)
    if test is not None:
        held_out = tables.raw(test, form)
        tables.check_columns(held_out, [*names, target], str(test))
        columns = tables.understood(held_out, [*names, target], kinds, form, str(test))
        held_out = _without_gaps(settings, columns, held_out, str(test), lines, "test ")
    else:
        by = target if settings.has_classes else None
        frame, held_out = tables.split(
            frame, settings.test_fraction, by=by, seed=settings.seed, keep=[target] if by else []
        )
        few = round(settings.test_fraction * (len(frame) + len(held_out))) - len(held_out)
        if few:
            lines.append(f"{few} rows stay in training, which has no other row of their values")
    train = _rows(reading, frame, source)
    estimator = settings.estimator(has_classes=classes is not None)
    _learned(estimator, reading, train, source)
    tested = _rows(reading, held_out, str(test or data)) if len(held_out) else None
    lines += estimator.notes_
    if tested is not None:
        lines += [f"test rows: {note}" for note in estimator.encoding_.inputs(tested.x)[1]]
    count = len(tested.y) if tested else 0
    lines.append(f"{len(train.y)} training and {count} test rows; {settings.likelihood}")
    return Prepared(settings, reading, estimator, train, tested, lines)


def _without_gaps(
    settings: Settings,
    columns: Mapping[str, tables.Column],
    frame: pd.DataFrame,
    source: str,
    lines: list[str],
    which: str = "",
) -> pd.DataFrame:
    """The rows that the settings keep, of those that lack values; a line says which they do not."""
    if settings.missing == "refuse":
        tables.check_complete(columns, frame, source)
    gaps, imputes = tables.gaps(columns), settings.missing == "impute"
    without = gaps[settings.target] if imputes else gaps.any(axis=1)
    if without.any():
        what, rows = "a target" if imputes else "values", tables.some(without.index[without])
        lines.append(f"{without.sum()} {which}rows that lack {what} left out: {rows}")
    return frame[~without]


def _rows(reading: tables.Reading, frame: pd.DataFrame, source: str) -> Rows:
    return Rows(reading.inputs(frame, source), reading.targets(frame, source).to_numpy())


def _learned(estimator: Estimator, reading: tables.Reading, train: Rows, source: str) -> None:
    """Let an estimator learn how rows become numbers; what is wrong with them names the table."""
    if len(train.y) < 2:
        raise ValueError(f"{source} must have at least 2 training rows, got {len(train.y)}")
    if reading.classes is None and np.ptp(train.y) == 0:
        raise ValueError(
            f"{source}: target {reading.target!r} must vary, is {train.y[0]:g} in all training rows"
        )
    try:
        estimator.prepare(train.x, train.y)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
