"""The `mogp` command."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mogp import __version__
from mogp.compare import Row, Settings, compare
from mogp.datasets import DataError
from mogp.experiments.command import experiment_command
from mogp.fitting import LIKELIHOODS, fit, load, read, write
from mogp.fitting import Settings as FitSettings
from mogp.fitting._report import warnings_of
from mogp.fitting._tables import check_suffix
from mogp.priors import split_names

app = typer.Typer(
    help="Bayesian mixtures of Gaussian processes: wide networks with random node variances, and "
    "Gaussian-mixture layers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

# What suits a data set, where the command line says nothing.
_DEFAULTS: dict[str, dict[str, int]] = {
    "digits": {"width": 200, "epochs": 60, "seeds": 3, "batch_size": 50},
    "mnist": {"width": 500, "epochs": 10, "seeds": 3, "batch_size": 100},
    "fashion-mnist": {"width": 500, "epochs": 10, "seeds": 3, "batch_size": 100},
}


def _print_version(wanted: bool) -> None:
    if wanted:
        Console().print(f"mogp {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None: ...


@app.command("compare")
def compare_command(
    data: Annotated[str, typer.Option(help="digits, mnist or fashion-mnist.")] = "digits",
    priors: Annotated[
        str,
        typer.Option(help="Priors, with commas: iid, horseshoe, gbfry(alpha=…, tau=…, mean=…)."),
    ] = ", ".join(Settings.priors),
    hidden: Annotated[int, typer.Option(help="Hidden layers.")] = Settings.hidden,
    width: Annotated[
        int | None, typer.Option(help="Nodes in a hidden layer (digits: 200, others: 500).")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data (digits: 60, others: 10).")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Models of every kind (3).")] = None,
    components: Annotated[
        int, typer.Option(help="Gaussians of the GM layer; 0 leaves it out.")
    ] = Settings.components,
    rank: Annotated[
        str, typer.Option(help="Which nodes stay: contribution, norm or variance.")
    ] = Settings.rank,
    keep: Annotated[
        str, typer.Option(help="Shares of hidden nodes kept, in (0, 1]; 1 is always there.")
    ] = ", ".join(f"{share:g}" for share in Settings.keep),
    temperature: Annotated[
        float, typer.Option(help="The log prior is divided by this; 1 is the posterior mode.")
    ] = Settings.temperature,
    iid_temperature: Annotated[
        float | None,
        typer.Option(help="The same for iid; without it they are trained by maximum likelihood."),
    ] = Settings.iid_temperature,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a step of the networks (digits: 50, others: 100).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = Settings.seed,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with <data>/*.gz; else $MOGP_DATA_DIR, a cache, …")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("mogp-compare"),
) -> None:
    """Train networks under several priors and a Gaussian-mixture network, prune, compare.

    Prints one table: test accuracy with all, half, …, 1 % of the hidden nodes kept (mean and
    standard deviation over seeds), parameters and seconds of training. Writes compare.png,
    compare.json and compare.nc. A command that was interrupted goes on where it stopped.

    Example: `mogp compare --data mnist --priors "iid, gbfry(alpha=0.2, tau=5)" --out results`
    """
    suited = _DEFAULTS.get(data, _DEFAULTS["digits"])
    settings = Settings(
        data=data,
        priors=split_names(priors),
        hidden=hidden,
        width=suited["width"] if width is None else width,
        epochs=suited["epochs"] if epochs is None else epochs,
        seeds=suited["seeds"] if seeds is None else seeds,
        components=components,
        rank=rank,
        keep=_shares(keep),
        temperature=temperature,
        iid_temperature=iid_temperature,
        batch_size=suited["batch_size"] if batch_size is None else batch_size,
        seed=seed,
    )
    console = Console()
    try:
        rows = compare(settings, out, data_dir=data_dir, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        sys.stderr.write("mogp: interrupted; the same command goes on from the last epoch\n")
        raise typer.Exit(130) from None
    console.print(_table(rows, settings))
    for name in ("compare.png", "compare.json", "compare.nc"):
        console.print(f"  {out / name}", highlight=False)


app.command("experiment")(experiment_command)


@app.command("fit")
def fit_command(
    data: Annotated[Path, typer.Argument(help="Table: .csv, .parquet or .npz.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    inputs: Annotated[
        str | None, typer.Option(help="Columns to predict it from, with commas; all others.")
    ] = None,
    prior: Annotated[
        str, typer.Option(help="On node variances: iid, horseshoe, gbfry(alpha=…, tau=…), ….")
    ] = FitSettings.prior,
    likelihood: Annotated[
        str,
        typer.Option(help=f"{', '.join(LIKELIHOODS)}. auto: text is classes, numbers gaussian."),
    ] = FitSettings.likelihood,
    hidden: Annotated[int, typer.Option(help="Hidden layers.")] = FitSettings.hidden,
    width: Annotated[
        int | None, typer.Option(help="Nodes in a hidden layer; without, infinitely many.")
    ] = None,
    jumps: Annotated[
        int, typer.Option(help="Jumps kept in a hidden layer of infinite width.")
    ] = FitSettings.num_jumps,
    activation: Annotated[
        str, typer.Option(help="Activation of the hidden layers.")
    ] = FitSettings.activation,
    samples: Annotated[int, typer.Option(help="Draws a chain.")] = FitSettings.samples,
    warmup: Annotated[
        int, typer.Option(help="Draws a chain before these, for adaptation.")
    ] = FitSettings.warmup,
    chains: Annotated[int, typer.Option(help="Independent chains.")] = FitSettings.chains,
    test: Annotated[Path | None, typer.Option(help="Table with the test rows.")] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the rows held out, where there is no --test.")
    ] = FitSettings.test_fraction,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = FitSettings.seed,
    out: Annotated[Path, typer.Option(help="New folder for the results.")] = Path("mogp-fit"),
) -> None:
    """Fit a table of your own: regression or classification by NUTS, with a report.

    Writes report.html with its pictures, fit.json and posterior.nc, from which `mogp predict`
    works. A command that was interrupted goes on where it stopped.

    Example: `mogp fit houses.csv --target price --out houses`
    """
    settings = FitSettings(
        target=target,
        inputs=None if inputs is None else tuple(filter(None, map(str.strip, inputs.split(",")))),
        prior=prior,
        hidden=hidden,
        width=width,
        num_jumps=jumps,
        activation=activation,
        likelihood=likelihood,
        samples=samples,
        warmup=warmup,
        chains=chains,
        test_fraction=test_fraction,
        seed=seed,
    )
    try:
        result = fit(settings, data, out, test=test, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        sys.stderr.write("mogp: interrupted; the same command goes on from its last checkpoint\n")
        raise typer.Exit(130) from None
    record, console = result.record, Console()
    for name, value in record["scores"].get("test", {}).items():
        console.print(f"  test {name:<9} {value:.4g}", highlight=False)
    loo, found = record["scores"]["loo"], record["convergence"]
    console.print(f"  leave-one-out nll {loo['nll']:.4g} ± {loo['se']:.2g}", highlight=False)
    console.print(
        f"  {found['divergences']} divergences, R̂ at most {found['r_hat']:.3f}, ESS at least "
        f"{found['ess']:.0f}",
        highlight=False,
    )
    for sentence in warnings_of(record):
        console.print(f"  {sentence}", highlight=False)
    for name in ("report.html", "fit.json", "posterior.nc"):
        console.print(f"  {out / name}", highlight=False)


@app.command("predict")
def predict_command(
    folder: Annotated[Path, typer.Argument(help="Folder that `mogp fit` wrote.")],
    data: Annotated[Path, typer.Argument(help="Table with the inputs: .csv, .parquet or .npz.")],
    out: Annotated[Path, typer.Option(help="File for the predictions: .csv, .parquet or .npz.")],
) -> None:
    """Predict the rows of a table: mean, sd and quantiles, or class probabilities.

    Example: `mogp predict houses new.csv --out predictions.csv`
    """
    check_suffix(out)
    frame = read(data)
    write(load(folder).predict(frame, str(data)), out)
    Console().print(f"  {out}: {len(frame)} rows", highlight=False)


def _shares(text: str) -> tuple[float, ...]:
    """Numbers between commas, and 1, in decreasing order."""
    try:
        shares = {float(word) for word in text.split(",")}
    except ValueError:
        raise ValueError(f"keep must be numbers with commas between them, got {text!r}") from None
    return tuple(sorted(shares | {1.0}, reverse=True))


def _table(rows: list[Row], settings: Settings) -> Table:
    table = Table(
        title=f"{settings.data}: test accuracy (%) with the best hidden nodes kept",
        caption=f"mean ± standard deviation over {settings.seeds} seeds; ranked by {settings.rank}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", ratio=1)
    for fraction in settings.keep:
        table.add_column(f"{100 * fraction:g} %", justify="right", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("sec", justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{a.mean():.1f}\n±{a.std():.1f}" for a in 100 * row.accuracy]
        cells += ["–"] * (len(settings.keep) - len(cells))
        table.add_row(row.name, *cells, f"{row.parameters:,}", f"{row.seconds:.0f}")
    return table


def main(*arguments: Any) -> None:
    """Run the command; a mistake of the user is one line and exit code 2, never a traceback."""
    try:
        app(args=list(arguments) or None, prog_name="mogp")
    except (ValueError, DataError, FloatingPointError, OSError) as error:
        sys.stderr.write(f"mogp: {error}\n")
        sys.exit(2)
