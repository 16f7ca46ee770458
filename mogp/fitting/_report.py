"""The report of a fit: pictures, and one page of HTML that holds them."""

import base64
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from mogp.fitting import _plots as plots
from mogp.fitting._summaries import class_shares, predictions, ranks, unknowns
from mogp.fitting._tables import Encoding
from mogp.inference import Posterior

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

_CAPTIONS = {
    "predictions": "What the posterior predicts.",
    "calibration": "Whether its probabilities are right.",
    "chains": "Whether the chains agree: draws in order, and the ranks of each chain's draws.",
    "unknowns": "What the data say of the unknown scales: prior and posterior.",
}


def write(
    folder: Path,
    posterior: Posterior,
    encoding: Encoding,
    record: dict[str, Any],
    x: Array,
    y: np.ndarray,
    x_test: Array | None = None,
    y_test: np.ndarray | None = None,
) -> None:
    """Write `report.html` and the pictures in it.

    Args:
        folder: where; it must exist.
        posterior: of the standardised problem.
        encoding: of the table.
        record: of `mogp.fitting.Fit`.
        x: standardised inputs of the training rows.
        y: standardised targets of the training rows, or their classes.
        x_test: those of the test rows, if there are any.
        y_test: likewise.
    """
    figures = _figures(posterior, encoding, x, y, x_test, y_test)
    parts = [*_warnings(record), *_tables(record)]
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150)
        picture = base64.b64encode(path.read_bytes()).decode()
        caption = escape(_CAPTIONS[name])
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{picture}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    title = escape(f"{encoding.target} from {Path(record['data']).name}")
    page = _PAGE.substitute(title=title, body="\n".join(parts))
    (folder / "report.html").write_text(page, encoding="utf-8")


def warnings_of(record: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each."""
    found, chains = record["convergence"], record["settings"]["chains"]
    sentences = []
    if found["divergences"]:
        sentences.append(f"{found['divergences']} draws diverged: parts of the posterior may lack.")
    if chains == 1:
        sentences.append("One chain cannot be compared with others: R̂ is that of its halves.")
    if not found["r_hat"] <= 1.01:
        sentences.append(f"The chains disagree (R̂ = {found['r_hat']:.3f}): draw more.")
    if found["ess"] < 100 * chains:
        sentences.append(f"Few effective draws ({found['ess']:.0f}): quantiles are rough.")
    if (bad := record["scores"]["loo"]["bad"]) > 0:
        sentences.append(f"Leave-one-out is unreliable for {100 * bad:.2g} % of the rows.")
    if "test" not in record["scores"]:
        sentences.append(
            "There are no test rows: predictions and calibration below are those of rows that the "
            "model has seen, and look better than they are."
        )
    return sentences


def _warnings(record: dict[str, Any]) -> list[str]:
    return [f'<p class="warning">{escape(sentence)}</p>' for sentence in warnings_of(record)]


def _tables(record: dict[str, Any]) -> list[str]:
    settings, rows, found = record["settings"], record["rows"], record["convergence"]
    size = f"width {settings['width']}" if settings["width"] else "infinite width"
    layers = f"{settings['hidden']} hidden layer{'s' if settings['hidden'] > 1 else ''}"
    intro = (
        f"{rows['training']} training and {rows['test']} test rows. {layers} of {size}, "
        f"{settings['activation']}, prior {settings['prior']}, likelihood "
        f"{settings['likelihood']}; {settings['chains']} chains of {settings['samples']} draws "
        f"after {settings['warmup']}. "
        f"{found['divergences']} divergences, largest R̂ {found['r_hat']:.3f}, smallest effective "
        f"sample size {found['ess']:.0f}, over the unknowns below and the function at 20 rows."
    )
    loo = record["scores"]["loo"]
    scores = [["test", name, f"{v:.4g}"] for name, v in record["scores"].get("test", {}).items()]
    scores.append(["leave-one-out", "nll", f"{loo['nll']:.4g} ± {loo['se']:.2g}"])
    unknown = []
    for name, row in found["unknowns"].items():
        values = [f"{row[k]:.3g}" for k in ("mean", "sd", "q05", "q95")]
        unknown.append([name, *values, f"{row['r_hat']:.3f}", f"{row['ess']:.0f}"])
    return [
        f"<p>{escape(intro)}</p>",
        "<h2>Scores</h2>",
        _table(["rows", "score", "value"], scores),
        "<p>nll is the mean of −log p of an observation, in nats; all scores are in the units of "
        "the target.</p>",
        "<h2>Unknowns</h2>",
        "<p>In standardised units, where inputs and a real target have standard deviation 1.</p>",
        _table(["", "mean", "sd", "5 %", "95 %", "R̂", "ESS"], unknown),
        "<h2>Pictures</h2>",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _figures(
    posterior: Posterior,
    encoding: Encoding,
    x: Array,
    y: np.ndarray,
    x_test: Array | None,
    y_test: np.ndarray | None,
) -> dict[str, Figure]:
    seen = x_test is None or y_test is None
    at, observed = (x, y) if x_test is None or y_test is None else (x_test, y_test)
    where = f"{len(observed)} {'training' if seen else 'test'} rows"
    predictive = posterior.predict(at)
    units = encoding.target_mean + encoding.target_scale * np.asarray(observed, float)
    if encoding.classes is not None:
        shares = class_shares(np.asarray(predictive.mean()))
        figures = {
            "predictions": plots.confusion(shares, observed, encoding.classes, title=where),
            "calibration": plots.reliability(shares, observed, title=where),
        }
    else:
        figures = {
            "predictions": plots.predicted_observed(
                predictions(predictive, encoding), units, label=encoding.target, title=where
            ),
            "calibration": plots.rank_histogram(ranks(predictive, observed), title=where),
        }
        if x.shape[1] == 1:
            figures["predictions"] = _band(posterior, encoding, x, y, x_test, y_test)
    groups = {k: unknowns(posterior.data[k].to_dataset()) for k in ("prior", "posterior")}
    draws = {k: {str(n): a.values for n, a in g.data_vars.items()} for k, g in groups.items()}
    before, after = draws["prior"], draws["posterior"]
    figures["chains"] = plots.chains(after)
    figures["unknowns"] = plots.before_after(before, after)
    return figures


def _band(
    posterior: Posterior,
    encoding: Encoding,
    x: Array,
    y: np.ndarray,
    x_test: Array | None,
    y_test: np.ndarray | None,
) -> Figure:
    """Along the only input, a tenth of its range beyond the training rows."""
    low, high = float(x.min()), float(x.max())
    margin = 0.1 * (high - low)
    grid = jnp.linspace(low - margin, high + margin, 200, dtype=x.dtype)

    def in_units(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        return (
            encoding.means[0] + encoding.scales[0] * np.asarray(x, float).ravel(),
            encoding.target_mean + encoding.target_scale * np.asarray(y, float),
        )

    points = {"training rows": in_units(x, y)}
    if x_test is not None:
        points["test rows"] = in_units(x_test, y_test)
    return plots.band(
        in_units(grid, 0.0)[0],
        predictions(posterior.predict(grid[:, None]), encoding),
        points,
        x_label=encoding.columns[0],
        y_label=encoding.target,
    )


__all__ = ["warnings_of", "write"]
