"""The `mogp` command.

Settings are written down once: the options of a command are the fields of its dataclass, and their
help is what the docstring of the dataclass says of them.
"""

import inspect
import io
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from mogp import __version__
from mogp.app import _job, comparison, experiments, fits, report, tables
from mogp.datasets import DataError
from mogp.priors import split_names

_PATIENCE = 4.0  # seconds after a signal, to be gone in 5; a run gives its piece in flight 3
_ASKED = signal.SIGINT, signal.SIGTERM
_INTERRUPTED = 128 + signal.SIGINT


class _Group(TyperGroup):
    """What is interrupted says so in one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            text = error.args[0] if error.args else _job.interruption()
            sys.stderr.write(f"mogp: interrupted; {text}\n")
            raise typer.Exit(_INTERRUPTED) from None


app = typer.Typer(
    cls=_Group,
    help="Bayesian mixtures of Gaussian processes: wide networks with random node variances, and "
    "Gaussian-mixture layers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    """Print the version."""
    if wanted:
        Console().print(f"mogp {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...


# --- options --------------------------------------------------------------------------------------


def _parameter(
    name: str, kind: Any, info: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """A parameter of a command; `info` is Typer's option or argument."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, info])


def _out(default: str) -> inspect.Parameter:
    return _parameter("out", Path, typer.Option(help="Folder for the results."), Path(default))


_TABLE = "Table: .csv, .tsv, .parquet or .npz."
_DATA_DIR = _parameter(
    "data_dir",
    Path | None,
    typer.Option(help="Folder with DATA/*.gz; else $MOGP_DATA_DIR, a cache, …"),
    None,
)


def _command(*settings: type, own: Sequence[inspect.Parameter]) -> Callable[[Any], None]:
    """Add a function as the command of its name.

    Args:
        *settings: dataclasses, whose fields are options of the command. The function takes those
            that were given, as a dictionary.
        own: further arguments and options, which the function takes by name.
    """
    parameters = {parameter.name: parameter for parameter in own}
    hints: dict[str, Any] = {}
    for each in settings:
        words, types = _words(each), get_type_hints(each)
        for field in fields(each):
            name, hint, default = field.name, types[field.name], field.default
            if name in parameters or is_dataclass(default):
                continue
            hints[name], kind = hint, str if _items(hint) else hint
            needed = default is MISSING
            text = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
            shown = len(settings) < 3 and not needed and default not in (None, ()) and text
            info = typer.Option(help=words[name], show_default=shown)
            parameters[name] = (
                _parameter(name, kind, info)
                if needed
                else _parameter(name, kind | None, info, None)
            )

    def add(function: Callable[..., None]) -> None:
        def command(**values: Any) -> None:
            chosen = {name: values.pop(name) for name in hints}
            given = {n: _read(n, hints[n], v) for n, v in chosen.items() if v is not None}
            function(given, **values)

        command.__doc__ = function.__doc__
        vars(command)["__signature__"] = inspect.Signature(list(parameters.values()))
        app.command(function.__name__)(command)

    return add


def _words(settings: type) -> dict[str, str]:
    """What the section of attributes in a docstring says of each."""
    section = (inspect.getdoc(settings) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    plain = {name: re.sub(r"\s+", " ", re.sub('[`"]', "", text)) for name, text in entries}
    return {name: text[0].upper() + text[1:] for name, text in plain.items()}


def _items(hint: Any) -> Any:
    """The type of the entries of a tuple, None for other types."""
    kinds = [kind for kind in (hint, *get_args(hint)) if getattr(kind, "__origin__", None) is tuple]
    return get_args(kinds[0])[0] if kinds else None


def _read(name: str, hint: Any, value: Any) -> Any:
    """A setting from its option; several values stand between commas."""
    kind = _items(hint)
    if kind is None:
        return value
    if kind is str:
        return split_names(value)
    try:
        return tuple(kind(word) for word in value.split(","))
    except ValueError:
        numbers = "whole numbers" if kind is int else "numbers"
        raise ValueError(
            f"{name} must be {numbers} with commas between them, got {value!r}"
        ) from None


def _say(*lines: object) -> None:
    """Print lines as they are, indented, without colours."""
    console = Console()
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False, emoji=False)


# --- commands -------------------------------------------------------------------------------------


@_command(comparison.Settings, own=[_DATA_DIR, _out("mogp-compare")])
def compare(given: dict[str, Any], *, data_dir: Path | None, out: Path) -> None:
    """Train networks under several priors and a Gaussian-mixture network, prune, compare.

    Prints one table: test accuracy with all, half, …, 1 % of the hidden nodes kept (mean and
    standard deviation over seeds), parameters and seconds of training. Writes compare.png,
    compare.json and compare.nc. A command that was interrupted goes on where it stopped.

    Example: `mogp compare --data mnist --priors "iid, gbfry(alpha=0.2, tau=5)" --out results`
    """
    settings = comparison.suited(**given)
    rows = comparison.compare(settings, out, data_dir=data_dir, progress=sys.stderr.isatty())
    Console().print(_table(rows, settings))
    _say(*(out / name for name in ("compare.png", "compare.json", "compare.nc")))


def _table(rows: list[comparison.Row], settings: comparison.Settings) -> Table:
    table = Table(
        title=f"{settings.data}: test accuracy (%) with the best hidden nodes kept",
        caption=f"mean ± standard deviation over {settings.seeds} seeds; ranked by "
        f"{settings.importance}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", ratio=1)
    for name in (*(f"{100 * fraction:g} %" for fraction in settings.keep), "params", "sec"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{a.mean():.1f}\n±{a.std():.1f}" for a in 100 * row.accuracy]
        cells += ["–"] * (len(settings.keep) - len(cells))
        table.add_row(row.name, *cells, f"{row.parameters:,}", f"{row.seconds:.0f}")
    return table


@_command(
    *dict.fromkeys(type(e.settings("small", "digits")) for e in experiments.EXPERIMENTS.values()),
    own=[
        _parameter(
            "name", str, typer.Argument(help=f"One of {', '.join(experiments.EXPERIMENTS)}.")
        ),
        _parameter("scale", str, typer.Option(help="small, minutes on digits, or paper."), "small"),
        _DATA_DIR,
        _out("mogp-experiment"),
    ],
)
def experiment(given: dict[str, Any], *, name: str, out: Path, **options: Any) -> None:
    """Repeat the figures and tables of both papers, and more.

    gm-…: Gaussian-mixture layers. pruning-map, pruning-bayes: trained networks and posteriors with
    fewer and fewer nodes, by several rules. features: what their best nodes know.
    truncation-error, prior-dependence: networks drawn from the prior beside what is predicted.

    Writes NAME.nc and NAME.png. A command that was interrupted goes on where it stopped.

    Example: `mogp experiment gm-error --data mnist --scale paper --out results`
    """
    outcome = experiments.run(name, out, **options, progress=sys.stderr.isatty(), **given)
    _say(*outcome.lines, *(out / f"{name}.{suffix}" for suffix in ("png", "nc")))


@_command(
    fits.Settings,
    tables.Format,
    own=[
        _parameter("data", Path | None, typer.Argument(help=_TABLE), None),
        _parameter("target", str | None, typer.Option(help="The column to predict."), None),
        _parameter(
            "demo", bool, typer.Option("--demo", help="Fit a table that comes with mogp."), False
        ),
        _parameter("test", Path | None, typer.Option(help="Table with the test rows."), None),
        _out("mogp-fit"),
    ],
)
def fit(
    given: dict[str, Any],
    *,
    data: Path | None,
    target: str | None,
    demo: bool,
    test: Path | None,
    out: Path,
) -> None:
    """Fit a table of your own: regression or classification by Markov chains, with a report.

    Says first what it understood of the table, a line a column. Writes report.html with its
    pictures, fit.json and posterior.nc, from which `mogp predict` works. A command that was
    interrupted goes on where it stopped.

    `--demo` fits a table that comes with mogp: 150 patients, of whom ten measures and the progress
    of diabetes a year later are known (Efron et al., 2004).

    Example: `mogp fit houses.csv --target price --out houses`
    """
    if demo:
        if data is not None or target is not None:
            raise ValueError(
                "--demo has a table and a target of its own: leave DATA and --target out"
            )
        data, target = fits.DEMO
    if data is None or target is None:
        raise ValueError(
            "DATA and --target must be given, as in mogp fit houses.csv --target price; "
            "mogp fit --demo takes a table that comes with mogp"
        )
    reading = {field.name for field in fields(tables.Format)}
    form = tables.Format(**{name: given.pop(name) for name in reading & given.keys()})
    settings = fits.Settings(target, **given, form=form)
    record = fits.fit(
        settings, data, out, test=test, progress=sys.stderr.isatty(), say=_say
    ).record  # fmt: skip
    _say(*report.summary(record), *report.warnings_of(record))
    _say(*(out / name for name in ("report.html", "fit.json", "posterior.nc")))


@_command(
    tables.Format,
    own=[
        _parameter("folder", Path, typer.Argument(help="Folder that `mogp fit` wrote.")),
        _parameter("data", Path, typer.Argument(help=_TABLE)),
        _parameter("out", Path, typer.Option(help=f"File for the predictions. {_TABLE}")),
    ],
)
def predict(given: dict[str, Any], *, folder: Path, data: Path, out: Path) -> None:
    """Predict the rows of a table: mean, sd and quantiles, or class probabilities.

    The table is read as that of the fit was, unless options say otherwise.

    Example: `mogp predict houses new.csv --out predictions.csv`
    """
    tables.suffixes(out)
    if out.exists() or out.is_symlink():
        raise ValueError(f"out: {out} is there already; choose another name or remove it")
    result = fits.load(folder)
    reading = replace(result.reading, form=replace(result.reading.form, **given))
    frame = tables.raw(data, reading.form)
    columns = tables.understood(frame, reading.columns, reading.kinds, reading.form, str(data))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = result._replace(reading=reading).predict(frame, str(data))
    tables.write(found, out)
    said = dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning)
    _say(*frame.attrs["notes"], *(column.line() for column in columns.values()), *said)
    _say(f"{out}: {len(frame)} rows")


def main(*arguments: Any) -> None:
    """Run the command; a mistake of the user is one line and exit code 2, never a traceback.

    Args:
        *arguments: what stands behind `mogp` on the command line; that of this process if empty.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without ± is no reason to fail
            stream.reconfigure(errors="replace")
    with _signals(watched=not arguments):
        try:
            app(args=list(map(str, arguments)) or None, prog_name="mogp")
        except Exception as error:
            if (text := _said_of(error)) is None:
                raise
            sys.stderr.write(f"mogp: {' '.join(text.split())}\n")
            sys.exit(2)


@contextmanager
def _signals(*, watched: bool) -> Iterator[None]:
    """SIGTERM, by which batch schedulers stop a job, is Ctrl-C until the block ends.

    What either interrupts exits with 128 and the number of the signal. If it is watched, that is at
    once, without waiting for what JAX has still at work, and in any case in `_PATIENCE` seconds,
    also while compiled code runs, which does not let Python handle signals, be it for minutes.
    Files are whole all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = [each for each in _ASKED if signal.getsignal(each) is not signal.SIG_IGN]  # by nohup
    old = {each: signal.signal(each, signal.default_int_handler) for each in asked}
    numbers, caught = socket.socketpair()
    caught.setblocking(False)
    signal.set_wakeup_fd(caught.fileno(), warn_on_full_buffer=False)
    if watched:
        threading.Thread(target=_watch, args=(numbers,), daemon=True).start()
    try:
        yield
    except SystemExit as error:
        caught.shutdown(socket.SHUT_WR)
        if error.code != _INTERRUPTED or not (number := numbers.recv(1)):
            raise
        if watched:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(128 + number[0])
        sys.exit(128 + number[0])
    finally:
        signal.set_wakeup_fd(-1)
        for each, handler in old.items():
            signal.signal(each, handler)
        numbers.close()
        caught.close()


def _watch(numbers: socket.socket) -> None:
    """End the process `_PATIENCE` seconds after the first signal, unless it has ended by then."""
    if number := numbers.recv(1, socket.MSG_PEEK):
        time.sleep(_PATIENCE)
        try:
            os.write(2, f"mogp: interrupted; {_job.interruption()}\n".encode())
        finally:
            os._exit(128 + number[0])


def _said_of(error: BaseException) -> str | None:
    """What to tell of a mistake, or of a machine that is full; None for a fault of ours."""
    if isinstance(error, ValueError | DataError | FloatingPointError | OSError):
        return str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory; ask for less: {str(error)[:200]}"
    # Other libraries hide what a full disk says behind errors of their own.
    cause = error.__cause__ or error.__context__
    return _said_of(cause) if isinstance(cause, OSError | RuntimeError) else None


__all__ = ["app", "main"]
