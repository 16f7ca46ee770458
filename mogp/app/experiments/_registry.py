"""What an experiment is, the registry of all, and how one is run."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
from matplotlib.figure import Figure

from mogp import datasets
from mogp._checks import check_choice
from mogp.app import _job
from mogp.app._job import Job

SCALES = ("small", "paper")
Groups = dict[str, xr.Dataset]


class Experiment(NamedTuple):
    """An experiment: what it is called, what it does, and how its results are shown.

    Attributes:
        name: the name on the command line, and of the files of results.
        summary: what it shows, in a few words.
        settings: from a scale (`"small"` or `"paper"`) and the name of a data set to settings, a
            frozen dataclass with a field `name`. One without a field `data` needs no data.
        run: from a job to one group of arrays for each kind of model.
        plot: from the settings and the groups to a figure.
        lines: from the settings and the groups to lines of text.
        keeps_checkpoints: whether checkpoints stay, for later calls with other settings.
    """

    name: str
    summary: str
    settings: Callable[[str, str], Any]
    run: Callable[[Job], Groups]
    plot: Callable[[Any, Groups], Figure]
    lines: Callable[[Any, Groups], list[str]]
    keeps_checkpoints: bool = False


class Outcome(NamedTuple):
    """The results of an experiment.

    Attributes:
        settings: what was done.
        groups: arrays with names, one group for each kind of model.
        lines: the results as lines of text.
    """

    settings: Any
    groups: Groups
    lines: list[str]


EXPERIMENTS: dict[str, Experiment] = {}


def register(experiment: Experiment) -> None:
    """Add an experiment to `EXPERIMENTS`, under its name.

    Raises:
        ValueError: if there is an experiment of this name.
    """
    if experiment.name in EXPERIMENTS:
        raise ValueError(f"name: there is an experiment {experiment.name!r} already")
    EXPERIMENTS[experiment.name] = experiment


def run(
    name: str,
    out: Path,
    *,
    scale: str = "small",
    data_dir: Path | None = None,
    progress: bool = True,
    **changes: Any,
) -> Outcome:
    """Run an experiment and write `NAME.nc` and `NAME.png`, each file whole or not at all.

    Checkpoints are in `out/checkpoints`: the same call goes on where a killed one stopped.

    Args:
        name: one of `EXPERIMENTS`.
        out: folder for the results, made if it does not exist.
        scale: `"small"` takes minutes on digits; `"paper"` has the widths, epochs and numbers of
            runs of the paper.
        data_dir: folder with a folder of data files a data set, see `datasets.load`.
        progress: whether progress bars are shown.
        **changes: settings that are not those of the scale, such as `data="mnist"` or `epochs=5`.

    Returns:
        The results.

    Raises:
        ValueError: if a setting is unknown or out of range, or the folder cannot be written to or
            holds files of these names with other settings or that we have not written.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
        mogp.datasets.DataError: if the data cannot be found, or are not what they should be.
    """
    check_choice("name", name, EXPERIMENTS)
    check_choice("scale", scale, SCALES)
    experiment = EXPERIMENTS[name]
    settings = experiment.settings(scale, changes.get("data", "digits"))
    if others := changes.keys() - {field.name for field in fields(settings)}:
        raise ValueError(f"{name} takes no {', '.join(sorted(others))}")
    settings = replace(settings, **changes)
    needed = hasattr(settings, "data")
    data = datasets.load(settings.data, data_dir=data_dir) if needed else None
    _job.check_results((out / f"{name}.{suffix}" for suffix in ("nc", "png")), settings)
    checkpoints = _job.claim(out, "" if experiment.keeps_checkpoints else name)
    with _job.resumable(checkpoints):
        groups = experiment.run(Job(settings, data, checkpoints, progress))
        groups = {label: group.assign_attrs(label=label) for label, group in groups.items()}
        paths = {label.replace("/", ":"): group for label, group in groups.items()}  # γ=1/2
        _job.write_tree(out / f"{name}.nc", paths, settings)
        _job.write_figure(out / f"{name}.png", experiment.plot(settings, groups), settings)
    if not experiment.keeps_checkpoints:
        _job.release(out, name)
    return Outcome(settings, groups, experiment.lines(settings, groups))


__all__ = ["EXPERIMENTS", "Experiment", "Groups", "Outcome", "register", "run"]
