"""The report of a fit: pictures, and one page of HTML that holds them."""

import base64
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mogp import plots
from mogp._files import whole_file
from mogp.app import _figures, _job
from mogp.app._job import plural
from mogp.app.fits import Fit, Rows
from mogp.estimators import MoGPRegressor

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; height: auto }
figure { margin: 2rem 0 }
figcaption { color: #555 }
.warning { border-left: 4px solid #d55e00; padding-left: .8rem }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")

_MOST_EFFECTS, _MOST_BARS = 6, 20  # columns, the most relevant

_CAPTIONS = {
    "predictions": "What the posterior predicts.",
    "relevance": "How much each column matters: mean share and 90 % interval.",
    "effects": "What the most relevant columns do to the mean, all others as they are in the rows: "
    "mean and 90 % interval of partial dependence.",
    "calibration": "Whether its probabilities are right.",
    "residuals": "What is left of the observations, which should show no pattern.",
    "chains": "Whether the chains agree: draws in order, and the ranks of each chain's draws.",
    "unknowns": "What the data say of the unknown scales: prior and posterior.",
}


def write(folder: Path, fit: Fit, train: Rows, held_out: Rows | None) -> None:
    """Write `report.html` and the pictures in it; one that fails is a line, also in the record.

    Args:
        folder: where; it must exist.
        fit: the fitted table.
        train: the training rows.
        held_out: the test rows, if there are any.
    """
    pictures = []
    for name, draw in _drawn(fit, train, held_out).items():
        path = folder / f"{name}.png"
        try:
            _job.write_figure(path, draw(), fit.settings, dpi=150)
        except OSError:
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            fit.record["failures"].append(f"the picture {name} could not be drawn: {text}")
            continue
        picture = base64.b64encode(path.read_bytes()).decode()
        caption = escape(_CAPTIONS[name])
        pictures.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{picture}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    parts = [f'<p class="warning">{escape(text)}</p>' for text in warnings_of(fit.record)]
    parts += _tables(fit.record)
    title = escape(f"{fit.reading.target} from {Path(fit.record['data']).name}")
    page = _PAGE.substitute(title=title, body="\n".join(parts + pictures))
    with whole_file(folder / "report.html") as part:
        part.write_text(page, encoding="utf-8")


def summary(record: dict[str, Any]) -> list[str]:
    """Scores and convergence as lines of text."""
    scores, found = record["scores"], record["convergence"] or {}
    lines = [f"test {k:<9} {_number(v)}" for k, v in (scores.get("test") or {}).items()]
    for name, words in (("loo", "leave-one-out"), ("folds", "K-fold")):
        if score := scores.get(name):
            lines.append(f"{words} nll {_number(score['nll'])} ± {_number(score['se'], '.2g')}")
    for name, row in record.get("baselines", {}).items():
        lines.append(f"{name}: test nll {_number(row['nll'])}, gain over it {_with_error(row)}")
    for prior, row in record.get("comparison", {}).items():
        gain = "" if prior == record["settings"]["prior"] else f", gain by it {_with_error(row)}"
        lines.append(f"{prior}: leave-one-out nll {_number(row['nll'])}{gain}")
    if len(shares := record.get("relevance") or {}) > 1:
        best = [f"{name} {100 * row[0]:.0f} %" for name, row in list(shares.items())[:5]]
        lines.append(f"what matters: {', '.join(best)}")
    lines.append(
        f"{found.get('divergences', '–')} divergences, R̂ at most "
        f"{_number(found.get('r_hat'), '.3f')}, ESS at least {_number(found.get('ess'), '.0f')}"
    )
    return lines


def _with_error(row: dict[str, Any]) -> str:
    """A gain and its standard error."""
    return f"{_number(row['gain'], '.2g')} ± {_number(row['gain_se'], '.2g')}"


def _number(value: float | None, form: str = ".4g") -> str:
    return "–" if value is None else format(value, form)


def warnings_of(record: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each."""
    found, chains = record["convergence"], record["settings"]["chains"]
    sentences = list(record["failures"])
    if found:
        r_hat, ess = found["r_hat"], found["ess"]
        if found["divergences"]:
            sentences.append(
                f"{found['divergences']} draws diverged: parts of the posterior may lack."
            )
        if r_hat is None or r_hat > 1.01:
            sentences.append(f"The chains disagree (R̂ = {_number(r_hat, '.3f')}): draw more.")
        if ess is None or ess < 100 * chains:
            sentences.append(f"Few effective draws ({_number(ess, '.0f')}): quantiles are rough.")
    if chains == 1:
        sentences.append("One chain cannot be compared with others: R̂ is that of its halves.")
    loo, folds = record["scores"]["loo"], record["scores"].get("folds")
    if loo is None or loo["nll"] is None or loo["se"] is None or loo["bad"] > 0:
        share = f" for {100 * loo['bad']:.2g} % of the rows" if loo else ""
        instead = "see K-fold" if folds else "--folds 5 gives K-fold, by five more fits"
        sentences.append(f"Leave-one-out is unreliable{share}: {instead}.")
    if "test" not in record["scores"]:
        sentences.append(
            "There are no test rows: predictions and calibration below are those of rows that the "
            "model has seen, and look better than they are."
        )
    return sentences


def _tables(record: dict[str, Any]) -> list[str]:
    settings, rows, draws = record["settings"], record["rows"], record["draws"]
    intro = (
        f"{rows['training']} training and {rows['test']} test rows. "
        f"{plural(settings['hidden'], 'hidden layer')}: {record['model']}; "
        f"{settings['activation']}, prior {settings['prior']}, likelihood "
        f"{settings['likelihood']}; {draws['num_chains']} chains of {draws['num_samples']} draws "
        f"after {draws['num_warmup']} by {draws['sampler']}, {record['seconds']:.0f} seconds. "
        f"{summary(record)[-1]}, over the unknowns below and the "
        "function at 20 rows."
    )
    names = {"test": "test", "loo": "leave-one-out", "folds": "K-fold"}
    scores = [
        [names[rows], name, _number(value)]
        for rows, found in record["scores"].items()
        for name, value in (found or {}).items()
        if not isinstance(value, str)  # what leave-one-out states is among the warnings
    ]
    unknown = [
        [name, *(_number(row[k], ".3g") for k in ("mean", "sd", "q05", "q95")),
         _number(row["r_hat"], ".3f"), _number(row["ess"], ".0f")]
        for name, row in (record["convergence"] or {"unknowns": {}})["unknowns"].items()
    ]  # fmt: skip
    others = [
        [name, *(_number(row[k]) for k in row if k not in ("gain", "gain_se")), _with_error(row)]
        for name, row in record.get("baselines", {}).items()
    ]
    measure = "rmse" if settings["likelihood"] not in ("bernoulli", "categorical") else "accuracy"
    beside = [
        "<h3>Beside simple models, on the test rows</h3>",
        _table(["model", "nll", measure, "gain of this fit over it"], others),
        "<p>The gain is the mean difference of log p(y), in nats, with its standard error: above 0 "
        "this fit predicts better. linear is Bayesian ridge or logistic regression, boosting is "
        "scikit-learn's histogram gradient boosting, both with their defaults.</p>",
    ]
    priors = [
        [
            name,
            f"{_number(row['nll'])} ± {_number(row['se'], '.2g')}",
            "this fit" if name == settings["prior"] else _with_error(row),
            f"{100 * row['bad']:.2g} %",
        ]
        for name, row in record.get("comparison", {}).items()
    ]
    ranked = [
        "<h3>Other priors, by leave-one-out</h3>",
        _table(["prior", "nll", "gain over this fit", "unreliable rows"], priors),
    ]
    shares = [
        [name, *(f"{100 * share:.0f} %" for share in row)]
        for name, row in (record.get("relevance") or {}).items()
    ]
    matters = [
        "<h2>What matters</h2>",
        _table(["column", "share", "5 %", "95 %"], shares[:_MOST_BARS]),
        "<p>The share of a column is its part of the variance of what the first layer sees.</p>",
    ]
    understood = "".join(f"<li>{escape(line)}</li>" for line in record["understood"])
    return [
        f"<p>{escape(intro)}</p>",
        f"<h2>The table</h2><ul>{understood}</ul>",
        "<h2>Scores</h2>",
        _table(["rows", "score", "value"], scores),
        "<p>nll is the mean of −log p of an observation, in nats, and se its standard error; bad "
        "is the share of rows whose leave-one-out weights cannot be trusted; all scores are in the "
        "units of the target.</p>",
        *(beside if others else []),
        *(ranked if priors else []),
        *(matters if len(shares) > 1 else []),
        "<h2>Unknowns</h2>",
        "<p>In standardised units, where inputs and a real target have standard deviation 1.</p>",
        _table(["", "mean", "sd", "5 %", "95 %", "R̂", "ESS"], unknown),
        "<h2>Pictures</h2>",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _drawn(fit: Fit, train: Rows, held_out: Rows | None) -> dict[str, Callable[[], Figure]]:
    """What draws each picture."""
    reading, estimator = fit.reading, fit.estimator
    x, y = held_out or train
    where = f"{len(y)} {'test' if held_out else 'training'} rows"
    is_numbers = isinstance(estimator, MoGPRegressor)
    label = _plain(reading.target)

    def predicted() -> Figure:
        figure, (ax,) = _one(where)
        if reading.classes is not None:
            names = [_plain(name) for name in reading.classes]
            _figures.confusion(ax, fit.shares(x), _places(fit, y), names)
        elif _is_one_number(train.x):
            _along(ax, fit, train, held_out)
        else:
            _figures.predicted_observed(ax, *_band(fit.predictions(x)), y, label)
        return figure

    def calibration() -> Figure:
        figure, (ax,) = _one(where)
        if isinstance(estimator, MoGPRegressor):
            draws, key = estimator.sample(x), jax.random.key(fit.settings.seed)
            plots.rank_histogram(draws, y, key=key, ax=ax)
        else:
            plots.reliability(fit.shares(x), _places(fit, y), ax=ax)
        return figure

    def residuals() -> Figure:
        figure, (ax,) = _one(where)
        table = fit.predictions(x)
        _figures.residuals(ax, table["mean"].to_numpy(), y, table["sd"].to_numpy(), label)
        return figure

    def relevance() -> Figure:
        found = fit.record["relevance"]
        figure, axes = plots.panels(1, 1, (6.4, 0.8 + 0.32 * min(len(found), _MOST_BARS)))
        shown = dict(list(found.items())[:_MOST_BARS])
        _figures.shares(axes[0, 0], {_plain(name): share for name, share in shown.items()})
        return figure

    def effects() -> Figure:
        names = list(fit.record["relevance"])[:_MOST_EFFECTS]
        figure, axes = _grid(len(names), 2.5)
        for ax, name in zip(axes, names, strict=True):
            values, draws = estimator.effect(train.x, name)
            last = (reading.classes or ("",))[-1]
            shown = 0 if is_numbers else list(estimator.classes_).index(last)
            of = label if is_numbers else f"P({_plain(last)})"
            _figures.effect(ax, values, draws[..., shown], _plain(name), of)
        return figure

    def chains() -> Figure:
        values = _unknowns(fit, "posterior")
        figure, axes = plots.panels(len(values), 2, (9, 0.5 + 1.9 * len(values)))
        for (name, draws), (left, right) in zip(values.items(), axes, strict=True):
            _figures.traces(left, draws, name)
            _figures.rank_densities(right, draws)
        axes[0, 0].set_title("draws of each chain, in order", fontsize="medium")
        axes[0, 1].set_title("density of their ranks among all draws", fontsize="medium")
        return figure

    def unknowns() -> Figure:
        prior, posterior = (_unknowns(fit, group) for group in ("prior", "posterior"))
        figure, axes = _grid(len(posterior), 2.3)
        for ax, name in zip(axes, posterior, strict=True):
            _figures.before_after(ax, prior[name], posterior[name])
            ax.set_title(name, fontsize="medium")
            if ax is not axes[0]:
                ax.legend_ = None
        return figure

    pictures: dict[str, Callable[[], Figure]] = {"predictions": predicted}
    if fit.record.get("relevance") and len(reading.columns) > 1:
        pictures |= {"relevance": relevance, "effects": effects}
    pictures |= {"calibration": calibration}
    if is_numbers:
        pictures |= {"residuals": residuals}
    return pictures | {"chains": chains, "unknowns": unknowns}


def _places(fit: Fit, y: np.ndarray) -> np.ndarray:
    """Labels as places among the classes."""
    return pd.Index(fit.reading.classes or ()).get_indexer(y)


def _is_one_number(x: pd.DataFrame) -> bool:
    return len(x.columns) == 1 and bool(pd.api.types.is_numeric_dtype(x.iloc[:, 0]))


def _one(title: str) -> tuple[Figure, list[Axes]]:
    figure, axes = plots.panels(1, 1, (6.4, 4.4))
    axes[0, 0].set_title(title)
    return figure, list(axes.flat)


def _grid(number: int, height: float) -> tuple[Figure, list[Axes]]:
    """So many panels of a height, three in a row."""
    columns = min(3, number)
    rows = -(-number // columns)
    figure, axes = plots.panels(rows, columns, (3.2 * columns, 0.4 + height * rows))
    for ax in axes.flat[number:]:
        ax.remove()
    return figure, list(axes.flat[:number])


def _plain(text: str) -> str:
    """A name of the user as it is written: Matplotlib takes what is between dollars as TeX."""
    return text.replace("$", r"\$")


def _band(table: Any) -> tuple[np.ndarray, np.ndarray]:
    return table["mean"].to_numpy(), table[["q05", "q95"]].to_numpy().T


def _along(ax: Axes, fit: Fit, train: Rows, held_out: Rows | None) -> None:
    """Along the only input, a tenth of its range beyond the training rows."""
    (name,) = train.x
    low, high = float(train.x[name].min()), float(train.x[name].max())
    margin = 0.1 * (high - low)
    grid = np.linspace(low - margin, high + margin, 200)
    rows = {"training rows": train} | ({"test rows": held_out} if held_out else {})
    points = {what: (r.x[name].to_numpy(), r.y) for what, r in rows.items()}
    ends = _band(fit.predictions(pd.DataFrame({name: grid})))
    _figures.band(ax, grid, *ends, points)
    plots.tidy(ax, _plain(name), _plain(fit.reading.target))


def _unknowns(fit: Fit, group: str) -> dict[str, np.ndarray]:
    """Draws (chains, draws) of the scalar unknowns."""
    posterior = fit.estimator.posterior_
    data = posterior.data[group]
    names = (name for name, v in posterior.parameters.items() if v.ndim == 2)
    return {name: np.asarray(data[name]) for name in names}


__all__ = ["summary", "warnings_of", "write"]
