"""A user's own regression or classification. The work behind `mogp fit` and `mogp predict`."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd

from mogp import MoGP, inference
from mogp.app import _job, tables
from mogp.app._preparing import Estimator, Prepared, Rows, Settings, prepared
from mogp.estimators import MoGPClassifier

DEMO = Path(__file__).with_name("diabetes.csv"), "progression"  # table and target
_LEVELS = 0.05, 0.5, 0.95  # of the quantiles in predictions


class Fit(NamedTuple):
    """A fitted table.

    Attributes:
        settings: with `likelihood` as it was chosen.
        reading: of the columns.
        estimator: which makes numbers of rows, and holds the posterior.
        record: what `fit.json` holds: settings, reading, what was understood of the table, scores,
            convergence, failures, environment. None stands for a number that could not be had.
    """

    settings: Settings
    reading: tables.Reading
    estimator: Estimator
    record: dict[str, Any]

    def predict(self, frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
        """Predict all rows of a table, in the units of the target.

        Args:
            frame: a table with the columns of the inputs.
            source: what messages call the table.

        Returns:
            For numbers `mean`, `sd`, and the quantiles `q05`, `q50`, `q95` of an observation; for
            classes `class`, the most probable one, and a column `p_…` of probabilities for each.
            The rows have the index of `frame`.

        Raises:
            ValueError: if columns are missing or hold what they should not, or the draws give no
                probabilities or finite numbers.
        """
        return self.predictions(self.reading.inputs(frame, source))

    def predictions(self, x: pd.DataFrame) -> pd.DataFrame:
        """`predict` of inputs as `reading` has them."""
        if isinstance(self.estimator, MoGPClassifier):
            shares, classes = self.shares(x), self.reading.classes or ()
            best = np.array(classes, object)[shares.argmax(1)]
            columns = {f"p_{name}": shares[:, k] for k, name in enumerate(classes)}
            return pd.DataFrame({"class": best} | columns, index=x.index)
        mean, sd, quantiles = self.estimator.predict(x, return_std=True, quantiles=_LEVELS)
        names = [f"q{100 * level:02.0f}" for level in _LEVELS]
        table = {"mean": mean, "sd": sd} | dict(zip(names, quantiles.T, strict=True))
        return pd.DataFrame(table, index=x.index)

    def shares(self, x: pd.DataFrame) -> np.ndarray:
        """Probabilities (n, classes) of the classes in the order of the reading."""
        assert isinstance(self.estimator, MoGPClassifier)
        places = [list(self.estimator.classes_).index(name) for name in self.reading.classes or ()]
        return self.estimator.predict_proba(x)[:, places]


def fit(
    settings: Settings, data: Path, out: Path, *, test: Path | None = None, progress: bool = True,
    say: Callable[[str], object] = len,
) -> Fit:  # fmt: skip
    """Fit a table and write a folder with the posterior, a record and a report.

    Draws are checkpointed in the folder `.NAME.part` beside `out`, so that the same call goes on
    where a killed one stopped. `out` itself appears at the end, whole: `posterior.nc`, `fit.json`,
    `report.html` and its pictures. What was sampled is kept: a score or a picture that fails is a
    line in the report.

    Args:
        settings: what to do.
        data: table with the training rows, and with the test rows where there is no `test`.
        out: folder for the results; it must not hold anything.
        test: table with the test rows.
        progress: whether a progress bar is shown.
        say: takes lines that tell what was understood of the table, before any sampling.

    Returns:
        The fit, as `load` reads it again.

    Raises:
        ValueError: if the data do not fit the settings, or `out` is not empty or not writable.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
    """
    from mogp.app import baselines, report

    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise ValueError(f"out: {out} is there already; choose another folder or remove it")
    out = out.resolve()
    work = out.with_name(f".{out.name}.part")
    task = prepared(settings, data, test)
    settings, reading, estimator, train, held_out, lines = task
    _check_room(settings, estimator, train)
    for line in lines:
        say(line)
    _job.mark(work)
    with _job.resumable(work):
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _sampled(estimator, train, work / "nuts.ckpt", progress)
        failures = [str(each.message) for each in caught if each.category is UserWarning]
        posterior = estimator.posterior_
        record = {
            "command": "mogp fit",
            "data": str(data),
            "understood": lines,
            "rows": {"training": len(train.y), "test": len(held_out.y) if held_out else 0},
            "settings": asdict(settings),
            "reading": reading.to_json(),
            "model": _size(settings, posterior),
            "draws": {name: posterior.attrs.get(name) for name in ("sampler", "num_warmup")}
            | {"num_chains": posterior.shape[0], "num_samples": posterior.shape[1]},
            "seconds": time.perf_counter() - start,
            "scores": {"loo": None},
            "convergence": None,
            "failures": failures,
            "environment": _job.environment(),
        }
        folder = work / "fit"
        folder.mkdir(exist_ok=True)
        for part in folder.glob(".*.part.*"):  # of a killed command
            part.unlink()
        estimator.save(folder / "posterior.nc")
        _write_sealed(folder, record)
        scores = {"loo": _attempt(failures, "leave-one-out", estimator.leave_one_out)}
        if held_out is not None:
            what = "the scores of the test rows"
            scores["test"] = _attempt(failures, what, lambda: estimator.evaluate(*held_out))
            what = "the scores of other models"
            others = _attempt(failures, what, lambda: baselines.scores(task, estimator))
            record["baselines"] = others or {}
        if settings.folds:
            what = "K-fold"
            scores["folds"] = _attempt(failures, what, lambda: _left_out(task, work, progress))
        if settings.compare:
            what = "the comparison of priors"
            others = _attempt(failures, what, lambda: _compared(task, estimator, work, progress))
            record["comparison"] = others or {}
        relevance = _attempt(failures, "relevance", lambda: _relevance(estimator, reading))
        found = _attempt(
            failures, "convergence", lambda: inference.convergence(posterior, posterior.x)
        )
        record |= {"scores": scores, "convergence": found, "relevance": relevance}
        result = Fit(settings, reading, estimator, _job.plain(record))
        _attempt(
            result.record["failures"],
            "the report",
            lambda: report.write(folder, result, train, held_out),
        )
        _write_sealed(folder, result.record)
        folder.replace(out)
    _job.remove_checkpoints(work)
    _job.unmark(work)
    return result


def _sampled(estimator: Estimator, train: Rows, checkpoint: Path, progress: bool) -> None:
    """Fit an estimator, unless that was interrupted."""
    estimator.set_params(checkpoint=checkpoint, progress=progress)
    _job.finished(estimator.fit(train.x, train.y).posterior_)
    estimator.set_params(checkpoint=None, progress=False)


def _attempt(failures: list[str], what: str, function: Callable[[], Any]) -> Any:
    """What a function returns; None and a line among the failures if it raises.

    A disk that is full stops the command. What is filled in in the rows has been said already.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "column '")
            return function()
    except OSError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        failures.append(f"{what} could not be had: {type(error).__name__}: {text}")
        return None


def _left_out(task: Prepared, work: Path, progress: bool) -> dict[str, float]:
    """K-fold cross-validation: scores of each part of the rows by a fit to all others.

    Classes are spread over the parts, so that of two rows one is always among the others.
    """
    (settings, reading, _, train, *_), num = task, len(task.train.y)
    order = np.random.default_rng(settings.seed).permutation(num)
    if reading.classes is not None:
        order = order[np.argsort(train.y[order].astype(str), kind="stable")]
    values, folds = np.empty(num), min(settings.folds, num)
    for k in range(folds):
        rows = order[k::folds]
        others = np.setdiff1d(order, rows)
        seed = (settings.seed + 1 + k) % 2**32
        estimator = settings.estimator(has_classes=reading.classes is not None, random_state=seed)
        part = Rows(train.x.iloc[others], train.y[others])
        _sampled(estimator, part, work / f"nuts{k}.ckpt", progress)
        values[rows] = -estimator.log_density(train.x.iloc[rows], train.y[rows])
    return {"nll": float(values.mean()), "se": float(values.std() / np.sqrt(num))}


def _compared(
    task: Prepared, estimator: Estimator, work: Path, progress: bool
) -> dict[str, dict[str, Any]]:
    """Leave-one-out of this fit and of fits with other priors, the best first.

    `gain` is the mean of `log p` over the training rows less that of this fit; 0 for itself.
    """
    settings, found = task.settings, {task.settings.prior: estimator.leave_one_out(pointwise=True)}
    others = [prior for prior in dict.fromkeys(settings.compare) if prior != settings.prior]
    for k, prior in enumerate(others):
        classes = task.reading.classes is not None
        other = settings.estimator(has_classes=classes, prior=prior)
        # K-fold has the numbers before these.
        _sampled(other, task.train, work / f"nuts{settings.folds + k}.ckpt", progress)
        found[prior] = other.leave_one_out(pointwise=True)
    each = {prior: scores.pop("elpd") for prior, scores in found.items()}
    for prior, scores in found.items():
        gains = each[prior] - each[settings.prior]
        scores |= {"gain": float(gains.mean()), "gain_se": float(gains.std() / len(gains) ** 0.5)}
    return dict(sorted(found.items(), key=lambda one: one[1]["nll"]))


def _relevance(estimator: Estimator, reading: tables.Reading) -> dict[str, list[float]] | None:
    """Mean share, and 5 % and 95 % quantiles, of the columns, the most relevant first."""
    if estimator.input_prior is None:
        return None
    draws = estimator.relevance_draws()
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    found = zip(reading.columns, np.stack([draws.mean(0), low, high], 1).tolist(), strict=True)
    return dict(sorted(found, key=lambda each: -each[1][0]))


def _size(settings: Settings, posterior: inference.Posterior) -> str:
    """How wide the fitted network is, in words; infinitely wide is said only of what is."""
    if settings.width:
        return f"width {settings.width}"
    nodes = posterior.attrs.get("num_diffuse")
    exact_last = posterior.attrs.get("method") == "dense" and posterior.observed is not None
    text = f"the limit of infinite width, {settings.jumps} jumps in each hidden layer"
    if exact_last and settings.hidden == 1:
        return f"{text} and the rest of it exact"
    which = "each hidden layer but the last" if exact_last else "each hidden layer"
    return f"{text}, approximated: {nodes} random nodes stand for the rest of {which}"


def _check_room(settings: Settings, estimator: Estimator, train: Rows) -> None:
    """Raise if the draws, or the features of the rows in all chains, would not fit in memory."""
    classes = len(estimator.classes_) if isinstance(estimator, MoGPClassifier) else 1
    width = settings.width or settings.jumps + 16
    plain = MoGP([_job.parsed("iid")] * settings.hidden)
    inputs = len(estimator.encoding_.means)
    _job.check_room(
        "the draws",
        lambda key: plain.network(inputs, classes, width, key=key),
        settings.chains * ((settings.samples or 500) + 8),
        "smaller --width, --jumps, --samples or --chains",
    )
    _job.check_room(
        "the features of all rows",
        lambda _: jnp.zeros((len(train.y), width)),
        settings.chains,
        "fewer rows, or smaller --width, --jumps or --chains",
    )


def _write_sealed(folder: Path, record: dict[str, Any]) -> None:
    """Write the record with checksums of itself and of the posterior."""
    record = _job.plain(record)
    with (folder / "posterior.nc").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sums = {"record": _sum(record), "posterior.nc": digest}
    _job.write_record(folder / "fit.json", record | {"sha256": sums})


def _sum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def load(folder: Path) -> Fit:
    """Load a fit from its folder.

    Args:
        folder: what `fit` wrote.

    Returns:
        The fit.

    Raises:
        ValueError: if the folder holds no fit, or one that was altered since it was written.
    """
    path, draws = folder / "fit.json", folder / "posterior.nc"
    if not path.is_file():
        raise ValueError(f"{folder} holds no fit: there is no fit.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sums = record.pop("sha256")
        with draws.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sums["record"] != _sum(record):
            raise ValueError("it was altered since it was written (its checksum is wrong)")
        if sums["posterior.nc"] != digest:
            raise ValueError(f"{draws} was altered since it was written (its checksum is wrong)")
        given = record["settings"]
        inputs = None if given["inputs"] is None else tuple(given["inputs"])
        reading = tables.Reading.from_json(record["reading"])
        change = {"inputs": inputs, "form": reading.form, "compare": tuple(given["compare"])}
        settings = Settings(**given | change)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OSError) as error:
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        )
        raise ValueError(f"{path} is not the record of a fit: {reason[:300]}") from None
    estimator = settings.estimator(has_classes=reading.classes is not None)
    try:
        estimator.restore(draws)
    except Exception as error:  # whatever is behind a damaged netCDF file
        raise ValueError(f"{draws} cannot be read: {' '.join(str(error).split())[:300]}") from None
    labels = list(getattr(estimator, "classes_", []))
    if tuple(estimator.feature_names_in_) != reading.columns or (
        sorted(labels) != sorted(reading.classes or ())
    ):
        raise ValueError(f"{draws} has other columns or classes than {path}")
    return Fit(settings, reading, estimator, record)


__all__ = ["DEMO", "Fit", "Rows", "Settings", "fit", "load"]
