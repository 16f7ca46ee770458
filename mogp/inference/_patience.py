"""Compiled code that Ctrl-C and SIGTERM can end: it is waited for in Python, not inside XLA.

Python handles a signal only when it has the word. XLA compiles for up to minutes and a piece of a
run takes as long, and neither can be stopped; so another thread compiles, and the main thread looks
from time to time whether results are ready. What is left behind runs on unseen, and must not hold
up the end of the process either, where JAX waits for it.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

GRACE = 3.0  # seconds for the piece in flight after the first signal

_asked: list[float] = []  # when the signals of the run in the main thread came
_left: list[Callable[[], bool]] = []  # whether each thing left behind is finished


class Stopped(Exception):  # noqa: N818
    """A signal came, and the piece in flight takes longer than it is waited for."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Rest:
    """A tree without its arrays: its structure, and its other leaves."""

    structure: Any
    others: tuple[Any, ...]


def _split(tree: Any) -> tuple[_Rest, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    arrays = [
        a if eqx.is_array(a) or isinstance(a, np.ndarray | np.generic) else None for a in leaves
    ]
    others = (None if a is not None else b for a, b in zip(arrays, leaves, strict=True))
    return _Rest(structure, tuple(others)), arrays


def _joined(rest: _Rest, arrays: list[Any]) -> Any:
    leaves = [b if a is None else a for a, b in zip(arrays, rest.others, strict=True)]
    return jax.tree.unflatten(rest.structure, leaves)


class Compiled:
    """A function compiled for the shapes of the arrays in its arguments and for everything else.

    It is `equinox.filter_jit`, whose calls wait inside XLA until they are done, for `patiently`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._jitted = jax.jit(lambda *given: _split(function(*_joined(*given))))

    def __call__(self, *arguments: Any) -> Any:
        return _joined(*self._jitted(*_split(arguments)))

    def lower(self, *arguments: Any) -> Any:
        """See `jax.jit`."""
        return self._jitted.lower(*_split(arguments))


class PerChain:
    """A function of one chain, compiled once, for all chains.

    On a CPU each chain calls it in a thread, as many at once as there are cores: mapped over
    chains, every loop would go on until it ends for all of them, and small matrices of several
    chains take longer together than one after the other. On other devices it is mapped.

    The first argument, and all results, have an axis of the chains in front.
    """

    def __init__(self, function: Callable[..., Any], static: tuple[str, ...] = ()) -> None:
        self._function, self._static = function, static
        self._one = jax.jit(function, static_argnames=static)
        self._ready: dict[Any, Any] = {}

    def shape(self, *arguments: Any, **options: Any) -> Any:
        """The shapes of the results."""
        return jax.eval_shape(self._mapped(arguments, options), *arguments)

    def lower(self, *arguments: Any, **options: Any) -> Any:
        """What `compile` makes ready, with all settings of this thread."""
        if (kind := _kind(arguments, options)) in self._ready:
            return SimpleNamespace(compile=lambda: None)
        if jax.default_backend() == "cpu":
            lowered = self._one.lower(_chain(arguments[0], 0), *arguments[1:], **options)
        else:
            lowered = jax.jit(self._mapped(arguments, options)).lower(*arguments)
        return SimpleNamespace(compile=lambda: self._ready.update({kind: lowered.compile()}))

    def __call__(self, first: Any, *others: Any, **options: Any) -> Any:
        others = jax.tree.map(jnp.asarray, others)
        self.lower(first, *others, **options).compile()
        compiled = self._ready[_kind((first, *others), options)]
        if jax.default_backend() != "cpu":
            return compiled(first, *others)
        num = len(jax.tree.leaves(first)[0])
        # In this thread, whose settings of precision others do not have.
        chains = [(jax.tree.map(jnp.asarray, _chain(first, c)), *others) for c in range(num)]
        results = _in_threads(compiled, chains)
        return jax.tree.map(_stacked, *results)

    def _mapped(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
        axes = (0, *(None for _ in arguments[1:]))
        return jax.vmap(partial(self._function, **options), axes)


def _chain(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda a: a[number], tree)


def _stacked(*each: Any) -> Any:
    """Arrays in one; by NumPy, for which nothing is compiled, unless they are random keys."""
    if jnp.issubdtype(each[0].dtype, jax.dtypes.prng_key):
        return jnp.stack(each)
    return np.stack([np.asarray(a) for a in each])


def _kind(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), arguments)
    # What is compiled follows these, too, whatever the arguments.
    names = "enable_x64", "debug_nans", "default_matmul_precision", "default_device"
    settings = str([getattr(jax.config, f"jax_{name}") for name in names])
    return str(shapes), settings, tuple(sorted(options.items()))


def _in_threads(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """The results of calls, as many at once as there are cores, waited for patiently."""
    results: dict[int, Any] = {}
    failed: list[BaseException] = []
    numbers = iter(range(len(calls)))
    lock = threading.Lock()

    def work() -> None:
        while not failed:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = jax.block_until_ready(function(*calls[number]))  # type: ignore[no-untyped-call]
            except BaseException as error:
                failed.append(error)

    threads = [
        threading.Thread(target=work, daemon=True, name=f"mogp chain {i}")
        for i in range(min(len(calls), os.cpu_count() or 1))
    ]
    for thread in threads:
        thread.start()
    if threading.current_thread() is threading.main_thread():
        _wait(lambda: not any(t.is_alive() for t in threads), time.sleep)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [results[number] for number in range(len(calls))]


def patiently(function: Any, *arguments: Any, **options: Any) -> Any:
    """`function(*arguments, **options)` of a compiled function, with its arrays ready.

    Raises:
        Stopped: within `signals`, `GRACE` seconds after the first signal.
        KeyboardInterrupt: at a second signal; outside of `signals`, at Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        return jax.block_until_ready(function(*arguments, **options))  # type: ignore[no-untyped-call]
    lowered = function.lower(*arguments, **options)  # with all settings of this thread
    failed: list[BaseException] = []

    def build() -> None:
        try:
            lowered.compile()  # which the call below finds
        except BaseException as error:
            failed.append(error)

    compiler = threading.Thread(target=build, daemon=True, name="mogp compiles")
    compiler.start()
    _wait(lambda: not compiler.is_alive(), compiler.join)
    if failed:
        raise failed[0]
    result = function(*arguments, **options)
    arrays = [a for a in jax.tree.leaves(result) if hasattr(a, "is_ready")]
    _wait(lambda: all(a.is_ready() for a in arrays), time.sleep)
    return jax.block_until_ready(result)  # type: ignore[no-untyped-call]  # errors are raised here


def _wait(is_done: Callable[[], bool], pause: Callable[[float], Any]) -> None:
    length = 1e-4  # grows, so that a wait lasts at most a tenth longer than it must
    try:
        while not is_done():
            pause(length)
            length = min(1.1 * length, 0.05)
            if _asked and time.monotonic() > _asked[0] + GRACE:
                raise Stopped
    except BaseException:
        if not _left:
            atexit.register(_leave)
        _left.append(is_done)
        raise


def _leave() -> None:
    """At the end of the process, what still runs is not waited for."""
    if all(is_done() for is_done in _left):
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(128 + signal.SIGINT)


@contextmanager
def signals(name: str) -> Iterator[list[int]]:
    """The numbers of the signals that have asked to stop; the second one stops at once."""
    caught: list[int] = []

    def handle(number: int, _: Any) -> None:
        caught.append(number)
        _asked.append(time.monotonic())
        if len(caught) > 1:
            raise KeyboardInterrupt
        # Not by `print`, which must not be called again while it is busy.
        text = f"\n{name}: stops at the end of this piece, or in {GRACE:g} seconds without it; "
        text += "again to stop at once\n"
        os.write(2, text.encode())

    old: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for asked in (signal.SIGINT, signal.SIGTERM):
            # Who ignores a signal, as `nohup` does, goes on ignoring it.
            if signal.getsignal(asked) not in (signal.SIG_IGN, None):
                old[asked] = signal.signal(asked, handle)
    try:
        yield caught
    finally:
        if old:
            _asked.clear()
        for asked, handler in old.items():
            signal.signal(asked, handler)
