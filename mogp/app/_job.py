"""What all commands share: settings that check themselves, training, and files of results."""

import importlib.metadata
import json
import platform
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from mogp import inference, pruning
from mogp._checks import check_between, check_count
from mogp._files import whole_file
from mogp.datasets import Dataset

# --- settings -------------------------------------------------------------------------------------


def _above_zero(name: str, value: Any) -> None:
    check_between(name, value, 0)


def _fractions(_: str, values: Any) -> None:
    for value in values:
        pruning.check_keep(value)


def _some_priors(name: str, texts: Any) -> None:
    if not texts:
        raise ValueError(f"{name} must name at least one prior")


def _components(name: str, value: Any) -> None:
    for number in value if isinstance(value, tuple) else [value] if value else []:
        check_count(name, number)


# What a setting of this name must be, in every command that has it.
_COUNTS = ["hidden", "width", "epochs", "seeds", "batch_size", "draws"]
_COUNTS += ["samples", "warmup", "chains", "jumps"]
_SIZES = ["prior_temperature", "iid_prior_temperature", "step_size"]
_SIZES += ["learning_rate", "variance_rate"]
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(_COUNTS, check_count),
    **dict.fromkeys(_SIZES, _above_zero),
    "keep": _fractions,
    "priors": _some_priors,
    "components": _components,
}


@dataclass(frozen=True)
class Settings:
    """Everything that determines the results of a command; settings of one name mean the same.

    Raises:
        ValueError: if a setting is out of range. None, for a setting left out, is not checked.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name in _CHECKS:
                _CHECKS[field.name](field.name, value)


# --- training -------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A command at work.

    Attributes:
        settings: what to do.
        data: what to train on; None where nothing is trained.
        checkpoints: the folder of checkpoints.
        progress: whether progress bars are shown.
    """

    settings: Any
    data: Any
    checkpoints: Path
    progress: bool

    @property
    def sizes(self) -> tuple[int, int]:
        """The size of an input, and the number of classes."""
        data: Dataset = self.data
        return data.x_train.shape[1], int(data.y_train.max()) + 1

    def checkpoint(self, name: str, identity: object = None) -> Path:
        """The file of one model and what trains it, so that other settings have another file.

        Args:
            name: of the model.
            identity: what trains it; None is all settings.
        """
        text = f"{name} {self.settings if identity is None else identity}"
        return self.checkpoints / f"{zlib.crc32(text.encode()):08x}.ckpt"

    def fit(self, start: Any, name: str, **options: Any) -> inference.Fit:
        """Train a model by `inference.fit`, in a file of its own unless `options` say another.

        Raises:
            KeyboardInterrupt: if it was interrupted; the same call goes on from its checkpoint.
        """
        defaults: dict[str, Any] = {"checkpoint": self.checkpoint(name), "progress": self.progress}
        rows = self.data.x_train, self.data.y_train
        return finished(inference.fit(start, *rows, description=name, **defaults | options))


def finished(result: Any) -> Any:
    """The result of a fit or a sampler, unless it was interrupted.

    Raises:
        KeyboardInterrupt: if it was.
    """
    if getattr(result, "interrupted", False) or getattr(result, "attrs", {}).get("interrupted"):
        raise KeyboardInterrupt
    return result


# --- files ----------------------------------------------------------------------------------------


def check_writable(out: Path) -> None:
    """Make the folder if need be, and raise a `ValueError` unless files can be written to it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"out: cannot write to the folder {out} ({error.strerror})") from None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n")


def write_tree(path: Path, groups: Mapping[str, xr.Dataset], settings: Settings) -> None:
    """Write groups of arrays as netCDF, with settings and environment, whole or not at all."""
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "settings": json.dumps(asdict(settings)),
        "environment": json.dumps(environment()),
    }
    with whole_file(path) as part:
        tree.to_netcdf(part, engine="h5netcdf")


def write_figure(path: Path, figure: Any, dpi: int = 200) -> None:
    """Write a picture, whole or not at all."""
    with whole_file(path) as part:
        figure.savefig(part, dpi=dpi)


def scores_by_keep(
    keep: Any, accuracy: np.ndarray, nll: np.ndarray, **attributes: Any
) -> xr.Dataset:
    """Scores of shape (keep, seed) as arrays with names."""
    values = {"accuracy": (("keep", "seed"), accuracy), "nll": (("keep", "seed"), nll)}
    return xr.Dataset(values, coords={"keep": list(keep)}, attrs=attributes)


def environment() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    packages = ("bayesian-mogp", "jax", "jaxlib", "numpyro", "equinox", "optax", "numpy")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # running from a checkout
            versions[package] = "not installed"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "devices": [device.device_kind for device in jax.devices()],
        "packages": versions,
    }


def plural(number: int, noun: str) -> str:
    """A number and a noun: 1 seed, 2 seeds."""
    return f"{number} {noun}{'s' * (number != 1)}"
