"""`mogp experiment`: its options, whichever experiment they are for."""

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mogp._checks import check_choice
from mogp.experiments import bayes, gm, pruning, theory
from mogp.priors import split_names

EXPERIMENTS = (*gm.EXPERIMENTS, *pruning.EXPERIMENTS, *theory.EXPERIMENTS)


def experiment_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.")],
    data: Annotated[
        str | None, typer.Option(help="digits (without the option), mnist or fashion-mnist.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="small: minutes on digits; paper: its widths, epochs and runs.")
    ] = "small",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, if not these.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Models or chains of every kind, if not these.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Nodes in a hidden layer, if not these (not of gm-…).")
    ] = None,
    priors: Annotated[
        str | None, typer.Option(help="Priors, with commas (pruning-… and features).")
    ] = None,
    components: Annotated[
        str | None, typer.Option(help="Gaussians, if not the paper's; with commas for gm-error.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with <data>/*.gz; else $MOGP_DATA_DIR, a cache, …")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("mogp-experiment"),
) -> None:
    """Repeat the figures and tables of both papers, and more.

    gm-…: Gaussian-mixture layers. pruning-map, pruning-bayes: trained networks and posteriors with
    fewer and fewer nodes, by several rules. features: what their best nodes know.
    truncation-error, prior-dependence: networks drawn from the prior beside what is predicted.

    Writes NAME.nc and NAME.png. A command that was interrupted goes on where it stopped.

    Example: `mogp experiment gm-error --data mnist --scale paper --out results`
    """
    check_choice("name", name, EXPERIMENTS)
    kind: Any = gm if name in gm.EXPERIMENTS else theory if name in theory.EXPERIMENTS else pruning
    given = {
        "data": data,
        "epochs": epochs,
        "seeds": seeds,
        "width": width,
        "priors": None if priors is None else split_names(priors),
        "components": None if components is None else _counts(components),
    }
    given = {option: value for option, value in given.items() if value is not None}
    if others := given.keys() - {field.name for field in fields(kind.Settings)}:
        raise ValueError(f"{name} takes no {', '.join(sorted(others))}")
    of_data: list[Any] = [] if kind is theory else [data or "digits"]
    settings = replace(kind.settings_for(name, *of_data, scale), **given, seed=seed)
    folder = {"data_dir": data_dir} if of_data else {}
    run = bayes.run if kind is pruning else kind.run
    console = Console()
    try:
        tree = run(settings, out, **folder, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        sys.stderr.write("mogp: interrupted; the same command goes on from its last checkpoint\n")
        raise typer.Exit(130) from None
    for line in kind.lines(tree):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    for suffix in ("png", "nc"):
        console.print(f"  {out / f'{name}.{suffix}'}", highlight=False)


def _counts(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(
            f"components must be whole numbers with commas between them, got {text!r}"
        ) from None
