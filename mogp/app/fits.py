"""A user's own regression or classification. The work behind `mogp fit` and `mogp predict`."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from mogp import MoGP, inference
from mogp.app import _job, tables
from mogp.app._preparing import Rows, Settings, likelihood_of, prepared
from mogp.inference import Posterior, Predictive

_BLOCK = 2000  # rows predicted at once: this bounds the memory of the draws


class Fit(NamedTuple):
    """A fitted table.

    Attributes:
        settings: with `likelihood` as it was chosen.
        encoding: of the columns.
        posterior: of the standardised problem.
        record: what `fit.json` holds: settings, encoding, what was understood of the table, scores,
            convergence, failures, environment. None stands for a number that could not be had.
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
            The rows have the index of `frame`.

        Raises:
            ValueError: if columns are missing or hold what the training rows did not, or the draws
                give no probabilities or finite numbers.
        """
        x = self.encoding.inputs(frame, source)
        blocks = [jnp.asarray(x[i : i + _BLOCK]) for i in range(0, max(len(x), 1), _BLOCK)]
        key = jax.random.key(self.settings.seed)
        found = [predictions(self.posterior.predict(b), self.encoding, key=key) for b in blocks]
        return pd.concat(found).set_axis(frame.index, axis=0)


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
    from mogp.app import report

    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise ValueError(f"out: {out} is there already; choose another folder or remove it")
    out = out.resolve()
    work = out.with_name(f".{out.name}.part")
    settings, encoding, law, train, held_out, lines = prepared(settings, data, test)
    _check_room(settings, encoding, train)
    for line in lines:
        say(line)
    _job.mark(work)
    with _job.resumable(work):
        key = jax.random.key(settings.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            posterior = _sampled(settings, law, train, key, work / "nuts.ckpt", progress)
        failures = [str(each.message) for each in caught if each.category is UserWarning]
        record = {
            "command": "mogp fit",
            "data": str(data),
            "understood": lines,
            "rows": {"training": len(train.x), "test": len(held_out.x) if held_out else 0},
            "settings": asdict(settings),
            "encoding": encoding.to_json(),
            "model": _size(settings, posterior),
            "scores": {"loo": None},
            "convergence": None,
            "failures": failures,
            "environment": _job.environment(),
        }
        folder = work / "fit"
        folder.mkdir(exist_ok=True)
        for part in folder.glob(".*.part.*"):  # of a killed command
            part.unlink()
        posterior.save(folder / "posterior.nc")
        _write_sealed(folder, record)
        loo = _attempt(failures, "leave-one-out", lambda: inference.leave_one_out(posterior))
        scores = {"loo": _in_units(loo, encoding)}
        if held_out is not None:
            tested = _attempt(
                failures,
                "the scores of the test rows",
                lambda: posterior.evaluate(*held_out, key=key),
            )
            scores["test"] = _in_units(tested, encoding)
        if settings.folds:
            options = settings, law, train, work, progress
            scores["folds"] = _in_units(
                _attempt(failures, "K-fold", lambda: _left_out(*options)), encoding
            )
        found = _attempt(failures, "convergence", lambda: inference.convergence(posterior, train.x))
        record |= {"scores": scores, "convergence": found, "failures": failures}
        result = Fit(settings, encoding, posterior, _job.plain(record))
        _attempt(
            result.record["failures"], "the report",
            lambda: report.write(folder, result, train, held_out),
        )  # fmt: skip
        _write_sealed(folder, result.record)
        folder.replace(out)
    _job.remove_checkpoints(work)
    _job.unmark(work)
    return result


def _sampled(
    settings: Settings, law: inference.Likelihood, train: Rows, key: jax.Array, checkpoint: Path,
    progress: bool,
) -> Posterior:  # fmt: skip
    model = settings.model()
    sample = inference.sampler_for(model, law)
    return _job.finished(
        sample(
            model, train.x, train.y, key=key, likelihood=law, width=settings.width,
            num_jumps=settings.jumps, num_warmup=settings.warmup, num_samples=settings.samples,
            num_chains=settings.chains, checkpoint=checkpoint, progress=progress,
        )
    )  # fmt: skip


def _attempt(failures: list[str], what: str, function: Callable[[], Any]) -> Any:
    """What a function returns; None and a line among the failures if it raises.

    A disk that is full stops the command.
    """
    try:
        return function()
    except OSError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        failures.append(f"{what} could not be had: {type(error).__name__}: {text}")
        return None


def _left_out(
    settings: Settings, law: inference.Likelihood, train: Rows, work: Path, progress: bool
) -> dict[str, float]:
    """K-fold cross-validation: scores of each part of the rows by a fit to all others."""
    num, y = len(train.x), np.asarray(train.y)
    order = np.random.default_rng(settings.seed).permutation(num)
    values = np.empty(num)
    for k, rows in enumerate(np.array_split(order, min(settings.folds, num))):
        others = np.setdiff1d(order, rows)
        posterior = _sampled(
            settings, law, Rows(train.x[others], y[others]),
            jax.random.fold_in(jax.random.key(settings.seed), k), work / f"nuts{k}.ckpt", progress,
        )  # fmt: skip
        values[rows] = -np.asarray(posterior.predict(train.x[rows]).log_density(y[rows]))
    return {"nll": float(values.mean()), "se": float(values.std() / np.sqrt(num))}


def _size(settings: Settings, posterior: Posterior) -> str:
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


def _check_room(settings: Settings, encoding: tables.Encoding, train: Rows) -> None:
    """Raise if the draws, or the features of the rows in all chains, would not fit in memory."""
    classes = len(encoding.classes or ())
    width = settings.width or settings.jumps + 16
    plain = MoGP([_job.parsed("iid")] * settings.hidden)
    _job.check_room(
        "the draws",
        lambda key: plain.network(train.x.shape[1], max(1, classes), width, key=key),
        settings.chains * (settings.samples + 8),
        "smaller --width, --jumps, --samples or --chains",
    )
    _job.check_room(
        "the features of all rows", lambda _: jnp.zeros((len(train.x), width)), settings.chains,
        "fewer rows, or smaller --width, --jumps or --chains",
    )  # fmt: skip


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
        encoding = tables.Encoding.from_json(record["encoding"])
        settings = Settings(**given | {"inputs": inputs, "form": encoding.form})
        law = likelihood_of(settings, encoding)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OSError) as error:
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        )
        raise ValueError(f"{path} is not the record of a fit: {reason[:300]}") from None
    try:
        posterior = inference.load_posterior(draws, settings.model(), likelihood=law)
    except Exception as error:  # whatever is behind a damaged netCDF file
        raise ValueError(f"{draws} cannot be read: {' '.join(str(error).split())[:300]}") from None
    if posterior.x.shape[1] != len(encoding.means):
        raise ValueError(
            f"{draws} has {posterior.x.shape[1]} inputs, the encoding in {path} gives "
            f"{len(encoding.means)}"
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
        whole = np.abs(shares.sum(1) - 1).max(initial=0) < 1e-3  # false for NaN, too
        if shares.shape[1] != len(encoding.classes) or not whole or shares.min(initial=0) < -1e-6:
            raise ValueError("the draws give no probabilities of the classes: they are damaged")
        best = np.array(encoding.classes)[shares.argmax(1)]
        columns = {f"p_{name}": shares[:, k] for k, name in enumerate(encoding.classes)}
        return pd.DataFrame({"class": best} | columns)
    draws = np.asarray(predictive.sample(key=key))[..., 0]
    if not (np.isfinite(mean).all() and np.isfinite(draws).all()):
        raise ValueError(
            "the predictions are not finite: rows are too far from the training rows, or the draws "
            "are damaged"
        )
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    columns = {"q05": low, "q50": median, "q95": high}
    return pd.DataFrame(
        {"mean": encoding.in_units(mean[:, 0]), "sd": encoding.target_scale * draws.std(0)}
        | {name: encoding.in_units(values) for name, values in columns.items()}
    )


def class_shares(mean: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of all classes, where `mean` may be those of the second of two."""
    return np.concatenate([1 - mean, mean], axis=1) if mean.shape[1] == 1 else mean


def _in_units(scores: dict[str, float] | None, encoding: tables.Encoding) -> Any:
    """Scores of standardised observations in the units of the target; None where there are none."""
    if scores is None:
        return None
    scale = encoding.target_scale
    units: dict[str, Callable[[float], float]] = {"nll": lambda v: v + math.log(scale)}
    units |= dict.fromkeys(("rmse", "crps"), lambda v: v * scale)
    return {k: units[k](value) if k in units else value for k, value in scores.items()}


__all__ = ["Fit", "Rows", "Settings", "class_shares", "fit", "load", "predictions"]
