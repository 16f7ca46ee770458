"""The one loop of all long runs: pieces, progress, checkpoints, interruption and resumption."""

import abc
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm.auto import tqdm

from mogp.inference import _checkpoint
from mogp.inference._patience import Stopped, signals


class AbstractRun(abc.ABC):
    """What a long run does, for `run`.

    `records` is a pytree of NumPy arrays whose leading axes count what has been recorded so far,
    such as draws, or the losses of epochs. A run is a function of its attributes alone: the same
    attributes give the same records, however often it was interrupted and resumed.

    Attributes:
        name: what the progress bar and errors call the run, such as "NUTS".
        unit: what a step is called, such as "draw" or "epoch".
        total: the number of steps asked for.
        identity: everything that the records depend on but `total`, by name, as texts and numbers
            that JSON can hold; `mogp.inference._identity` makes them. A checkpoint is resumed only
            by a run of the same identity.
        keeps_state: whether the last state itself is the result, as it is of a fit. The first
            steps of a longer run then do not help.
    """

    name: str
    unit: str
    total: int
    identity: dict[str, Any]
    keeps_state: bool = False

    @abc.abstractmethod
    def start(self) -> Any:
        """The state before the first step, a pytree of arrays; long work goes by `patiently`."""

    @abc.abstractmethod
    def end(self, done: int) -> int:
        """Where the piece that begins after `done` steps ends, at most `total`."""

    @abc.abstractmethod
    def advance(self, state: Any, start: int, end: int) -> tuple[Any, Any]:
        """The state after the steps from `start` to `end`, and the records of these steps."""

    @abc.abstractmethod
    def like(self, done: int) -> tuple[Any, Any]:
        """Arrays, or their shapes, like the state and all records after `done` steps."""

    @abc.abstractmethod
    def shown(self, records: Any) -> dict[str, float]:
        """Numbers for the progress bar, from all records so far.

        Raises:
            FloatingPointError: if the run has failed, with a way out.
        """

    def cut(self, records: Any) -> Any:
        """The records of the first `total` steps, from those of more steps."""
        return jax.tree.map(lambda a: a[: self.total], records)

    def saves(self, done: int) -> bool:  # noqa: ARG002
        """Whether a checkpoint is written when a piece ends after `done` steps.

        It is after the last piece, and after an interrupted one, in any case.
        """
        return True


class Outcome(NamedTuple):
    """What a run has come to.

    Attributes:
        state: the last state. After `records` were cut it belongs to more steps than `done`.
        records: of `done` steps.
        done: the number of steps, `total` unless the run was interrupted.
        interrupted: whether Ctrl-C or SIGTERM asked it to stop, be it in the last piece.
    """

    state: Any
    records: Any
    done: int
    interrupted: bool


def run(task: AbstractRun, *, checkpoint: str | Path | None, progress: bool) -> Outcome:
    """Do all steps of a run, or the ones that are missing in its checkpoint.

    A resumed run gives the same result as one that was never interrupted, to the bit. The result
    is always that of `total` steps. If the file holds more, their records are cut back; where the
    state is the result, it is computed again, and the longer file is left alone.

    Ctrl-C and SIGTERM let the piece in flight end, if it does so within 3 seconds, which is written
    to the checkpoint, and the outcome is what was recorded by then. A second signal stops at once.
    Both work in the main thread only.

    Args:
        task: the run.
        checkpoint: the file to resume from if it exists, and to write to; None for none.
        progress: whether to show a progress bar.

    Raises:
        BlockingIOError: if another process, or thread, writes the checkpoint.
        ValueError: if the checkpoint is damaged, or belongs to another run.
        KeyboardInterrupt: at a second Ctrl-C, or if nothing has been recorded yet.
        FloatingPointError: if the run fails, see `AbstractRun.shown`.
    """
    path = None if checkpoint is None else Path(checkpoint)
    with _checkpoint.only_writer(path):
        state, records, done = None, None, 0
        if path is not None and path.exists():
            done = _checkpoint.steps(path, task.identity)
            if done > task.total and task.keeps_state:
                path, done = None, 0
            else:
                state, records = _checkpoint.load(path, task.like(done))
                records = jax.tree.map(np.asarray, records)
        if done > task.total:
            return Outcome(state, task.cut(records), task.total, interrupted=False)
        bar = tqdm(
            total=task.total, initial=done, desc=task.name, unit=task.unit, disable=not progress
        )
        with bar, signals(task.name) as caught:
            while done < task.total and not caught:
                end = task.end(done)
                try:
                    at = task.start() if done == 0 else state
                    state, new = task.advance(at, done, end)
                except Stopped:
                    break
                records = new if records is None else jax.tree.map(_joined, records, new)
                shown = task.shown(records)
                if path is not None and (task.saves(end) or end == task.total or caught):
                    _checkpoint.save(path, (state, records), task.identity, end)
                bar.update(end - done)
                bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
                done = end
    if done < task.total and (records is None or not all(map(len, jax.tree.leaves(records)))):
        raise KeyboardInterrupt(f"{task.name} was stopped before anything was recorded")
    return Outcome(state, records, done, bool(caught))


def _joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([old, new]) if len(new) else old
