"""What all commands share: settings that check themselves, training, and files of results."""

import importlib.metadata
import json
import platform
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jax import Array

from mogp import datasets, inference, priors, pruning
from mogp._checks import check_between, check_choice, check_count, check_memory
from mogp._files import remove_parts, whole_file
from mogp.datasets import Dataset

# --- settings -------------------------------------------------------------------------------------

_LARGEST = 1e30  # of numbers that single precision squares or inverts without a loss


def _count(name: str, value: Any) -> None:
    if check_count(name, value) >= 2**31:
        raise ValueError(f"{name} must be below 2^31, got {value}")


def _above_zero(name: str, value: Any) -> None:
    check_between(name, value, 0)
    if not 1 / _LARGEST < value < _LARGEST:
        raise ValueError(f"{name} must be in ({1 / _LARGEST:g}, {_LARGEST:g}), got {value:g}")


def _layers(name: str, value: Any) -> None:
    if check_count(name, value) > 1000:
        raise ValueError(f"{name} must be at most 1000 layers, got {value}")


def _seed(name: str, value: Any) -> None:
    # JAX takes the last 32 bits of a seed: others would repeat the numbers of a smaller one.
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must be an integer in [0, 2^32), got {str(value)[:40]}")


def _data(name: str, value: Any) -> None:
    check_choice(name, value, datasets.NAMES)


def _fractions(_: str, values: Any) -> None:
    for value in values:
        pruning.check_keep(value)


def _some_priors(name: str, texts: Any) -> None:
    if not texts:
        raise ValueError(f"{name} must name at least one prior")


def _components(name: str, value: Any) -> None:
    for number in value if isinstance(value, tuple) else [value] if value else []:
        _count(name, number)


# What a setting of this name must be, in every command that has it.
_COUNTS = ["hidden", "width", "epochs", "seeds", "batch_size", "draws"]
_COUNTS += ["samples", "warmup", "chains", "jumps"]
_SIZES = ["prior_temperature", "iid_prior_temperature", "step_size"]
_SIZES += ["learning_rate", "variance_rate"]
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(_COUNTS, _count),
    "hidden": _layers,
    **dict.fromkeys(_SIZES, _above_zero),
    "data": _data,
    "keep": _fractions,
    "priors": _some_priors,
    "components": _components,
    "seed": _seed,
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


def parsed(text: str) -> priors.Prior:
    """The prior of a text, if its numbers are ones that single precision can work with."""
    if len(text) > 1000:
        raise ValueError(f"prior must be at most 1000 characters, got {len(text)}: {text[:40]}…")
    try:
        prior = priors.parse(text)
    except (OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"prior {text[:40]!r}… cannot be read ({error or 'too deep'})") from None
    for value in map(float, jax.tree.leaves(prior)):
        if value and not 1 / _LARGEST < abs(value) < _LARGEST:
            raise ValueError(
                f"prior {text!r}: single precision cannot work with {value:g}; take parameters of "
                f"sizes between {1 / _LARGEST:g} and {_LARGEST:g}"
            )
    return prior


def check_room(name: str, build: Callable[[Array], Any], copies: int, instead: str) -> None:
    """Raise unless memory holds copies of what a function of a random key builds.

    Nothing is built: only its shapes are looked at.
    """
    try:
        shapes = eqx.filter_eval_shape(build, jax.random.key(0))
        sizes = [a.size * a.dtype.itemsize for a in jax.tree.leaves(shapes) if hasattr(a, "size")]
    except (OverflowError, TypeError) as error:  # an axis, or all numbers, beyond 64 bits
        raise ValueError(f"{name} would be too large ({error}): use {instead}") from None
    check_memory(name, copies * sum(sizes), instead)


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

    def check_room(self, name: str, build: Callable[[Array], Any]) -> None:
        """Raise unless memory holds models of all seeds, their gradients and what Adam keeps."""
        instead = "smaller --width, --components or --seeds"
        check_room(name, build, 4 * self.settings.seeds, instead)

    def fit(self, start: Any, name: str, **options: Any) -> inference.Fit:
        """Train a model by `inference.fit`, in a file of its own unless `options` say another.

        Raises:
            KeyboardInterrupt: if it was interrupted; the same call goes on from its checkpoint.
        """
        if not isinstance(start, eqx.Module):
            self.check_room(f"training {name}", start)
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

_MARKER = ".written-by-mogp"  # a folder that holds it is ours
_OURS = re.compile(r"\.?([0-9a-f]{8}|nuts[0-9]*)\.ckpt(\.lock)?")


def check_writable(out: Path) -> None:
    """Make the folder if need be, and raise a `ValueError` unless files can be written to it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"out: cannot write to the folder {out} ({error.strerror})") from None


def claim(out: Path, name: str = "") -> Path:
    """Make the folder `out/checkpoints/name`, or find the one that an earlier call has made.

    Raises:
        ValueError: if there is something of this name that we have not made.
    """
    for folder in (out / "checkpoints", out / "checkpoints" / name):
        mark(folder)
    return folder


def mark(folder: Path) -> None:
    """Make a folder ours, unless it is that already.

    Raises:
        ValueError: if there is something of this name that we have not made.
    """
    marker = folder / _MARKER
    if folder.exists() and not marker.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"out: {folder} was not written by mogp and is left alone; choose another --out, or "
            "move it away"
        )
    check_writable(folder)
    if not marker.exists():
        marker.write_text(
            "Checkpoints of mogp. The command that wrote them removes them at its end.\n"
        )


def release(out: Path, name: str) -> None:
    """Remove our checkpoints from `out/checkpoints/name`, and the folders that are empty then."""
    folder = out / "checkpoints" / name
    remove_checkpoints(folder)
    for each in (folder, folder.parent):
        unmark(each)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints from a folder of ours, and nothing else."""
    for path in folder.iterdir():
        if path.is_file() and _OURS.fullmatch(path.name) and _is_ours(path):
            path.unlink()


def unmark(folder: Path) -> None:
    """Remove a folder of ours if nothing but locks is in it."""
    for path in folder.glob(".*.ckpt.lock"):
        if _OURS.fullmatch(path.name) and _is_ours(path):
            path.unlink()
    if [path.name for path in folder.iterdir()] == [_MARKER]:
        (folder / _MARKER).unlink()
        folder.rmdir()


def _is_ours(path: Path) -> bool:
    """Whether a file is a checkpoint, or a lock, which is empty."""
    with path.open("rb") as file:
        start = file.read(100)
    return b"mogp checkpoint" in start or not start


def check_results(paths: Iterable[Path], settings: Settings) -> None:
    """Raise unless every file is absent or was written by a command with the same settings.

    Raises:
        ValueError: if there is one that would be lost.
    """
    for path in paths:
        remove_parts(path)
        if not (path.exists() or path.is_symlink()):
            continue
        try:
            there = _settings_in(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            there = None
        here = json.loads(json.dumps(asdict(settings)))
        if there is None:
            raise ValueError(
                f"out: {path} was not written by mogp and is left alone; choose another --out"
            )
        if there != here:
            other = [name for name in here if there.get(name, "absent") != here[name]]
            raise ValueError(
                f"out: {path} holds results with other settings ({', '.join(other) or 'more'}); "
                "choose another --out"
            )


def _settings_in(path: Path) -> dict[str, Any]:
    """The settings in a file of results."""
    if path.suffix == ".json":
        return json.loads(path.read_text())["settings"]
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as image:
            return json.loads(image.info["Description"])
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return json.loads(tree.attrs["settings"])


_at_work: list[Path] = []  # the folders of checkpoints of the commands at work


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say after Ctrl-C and SIGTERM whether the same command has a checkpoint to go on from.

    After any failure, a folder of ours in which nothing was kept is removed.
    """
    _at_work.append(folder)
    try:
        yield
    except BaseException as error:
        text = interruption()
        unmark(folder)
        if (folder.parent / _MARKER).is_file():
            unmark(folder.parent)
        if not isinstance(error, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt(text) from None
    finally:
        _at_work.remove(folder)


def interruption() -> str:
    """What becomes of the command at work if it is interrupted now."""
    if not _at_work:
        return "nothing was begun"
    kept = any(list(folder.glob("[!.]*.ckpt")) for folder in _at_work)  # others are half written
    text = "goes on from its last checkpoint" if kept else "starts afresh: nothing was kept yet"
    return f"the same command {text}"


def plain(record: Any) -> Any:
    """A record as JSON has it: None for numbers that are not finite, lists for tuples."""
    if isinstance(record, Mapping):
        return {str(name): plain(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [plain(value) for value in record]
    if isinstance(record, float | np.floating):
        return float(record) if np.isfinite(record) else None
    return record


def write_record(path: Path, record: Any) -> None:
    """Write JSON, whole or not at all; numbers that are not finite become null."""
    with whole_file(path) as part:
        part.write_text(json.dumps(plain(record), indent=2, allow_nan=False) + "\n")


def write_tree(path: Path, groups: Mapping[str, xr.Dataset], settings: Settings) -> None:
    """Write groups of arrays as netCDF, with settings and environment, whole or not at all."""
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "settings": json.dumps(asdict(settings)),
        "environment": json.dumps(environment()),
    }
    with whole_file(path) as part:
        tree.to_netcdf(part, engine="h5netcdf")


def write_figure(path: Path, figure: Any, settings: Any, dpi: int = 200) -> None:
    """Write a picture with its settings, whole or not at all."""
    text = {"Software": "mogp", "Description": json.dumps(asdict(settings))}
    with whole_file(path) as part:
        figure.savefig(part, dpi=dpi, metadata=text)


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
