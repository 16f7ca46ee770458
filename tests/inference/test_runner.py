"""The loop of all long runs, on a run of milliseconds: kills, resumption, signals, identity."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from mogp import priors
from mogp._files import whole_file
from mogp.inference import _checkpoint, _identity
from mogp.inference._runner import AbstractRun, run

HERE = str(Path(__file__).parent)
START = 3  # steps that record nothing, as a warmup does


class KilledError(Exception):
    """What stands in for a kill."""


class Walk(AbstractRun):
    """A random walk, two steps a piece, that records its place after the warmup."""

    name, unit = "walk", "step"

    def __init__(self, total=11, *, keeps_state=False, seed=0, at=None, every=2):
        self.total, self.keeps_state, self.every = total, keeps_state, every
        self.identity = {"seed": seed, "law": "normal"}
        self.at = at or {}  # what happens in the piece that begins with a step
        self.seen = []

    def start(self):
        return np.zeros(2)

    def end(self, done):
        return min(done + self.every, START if done < START else self.total)

    def advance(self, state, start, end):
        self.seen.append((start, end))
        self.at.get(start, lambda: None)()
        places = []
        for step in range(start, end):
            state = state + np.random.default_rng((self.identity["seed"], step)).normal(size=2)
            places.append(state)
        return state, {"place": np.array(places[max(START - start, 0) :]).reshape(-1, 2)}

    def like(self, done):
        return np.zeros(2), {"place": np.zeros((max(done - START, 0), 2))}

    def shown(self, records):
        if np.isnan(records["place"]).any():
            raise FloatingPointError("the walk went astray")
        return {"place": float(len(records["place"]))}

    def cut(self, records):
        return {"place": records["place"][: self.total - START]}


def signalled(number, times=1):
    return lambda: [os.kill(os.getpid(), number) for _ in range(times)]


def killed():
    raise KilledError


def places(task, path=None):
    outcome = run(task, checkpoint=path, progress=False)
    assert (outcome.done, outcome.interrupted) == (task.total, False)
    return outcome.records["place"]


@pytest.mark.parametrize("at", [0, 2, 3, 5, 7, 9])
def test_killed_and_resumed_is_the_same(at, tmp_path):
    """In the warmup, at its end and afterwards."""
    path = tmp_path / "deep" / "walk"
    with pytest.raises(KilledError):
        run(Walk(at={at: killed}), checkpoint=path, progress=False)
    assert path.exists() == (at > 0)
    again = Walk(every=3)
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0][0] == at
    assert {file.name for file in path.parent.iterdir()} <= {"walk", ".walk.lock"}


def test_killed_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    path, write = tmp_path / "walk", _checkpoint.eqx.tree_serialise_leaves
    written = []

    def half(file, tree):
        write(file, tree)
        written.append(1)
        if len(written) == 3:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.eqx, "tree_serialise_leaves", half)
        with pytest.raises(KilledError):
            run(Walk(), checkpoint=path, progress=False)
    again = Walk()
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0] == (3, 5)  # the third piece was lost


def test_more_steps_and_fewer(tmp_path):
    """More go on; fewer are cut from the file; where the state counts, they are done again."""
    path = tmp_path / "walk"
    places(Walk(11), path)
    longer = Walk(15)
    np.testing.assert_array_equal(places(longer, path), places(Walk(15)))
    assert longer.seen[0] == (11, 13)
    before = path.read_bytes()
    for keeps in (False, True):
        shorter = Walk(6, keeps_state=keeps)
        np.testing.assert_array_equal(places(shorter, path), places(Walk(6)))
        assert bool(shorter.seen) == keeps
        assert path.read_bytes() == before
    same = Walk(15, keeps_state=True)
    state = run(same, checkpoint=path, progress=False).state
    np.testing.assert_array_equal(state, places(Walk(15))[-1])
    assert not same.seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_piece_and_keep_what_was_recorded(number, tmp_path, capfd):
    path, handlers = tmp_path / "walk", [signal.getsignal(s) for s in (2, 15)]
    task = Walk(at={5: signalled(number)})
    task.saves = lambda _: False  # but an interrupted piece is saved
    outcome = run(task, checkpoint=path, progress=False)
    assert (outcome.done, outcome.interrupted) == (7, True)
    np.testing.assert_array_equal(outcome.records["place"], places(Walk())[:4])
    assert "walk: stops at the end of this piece" in capfd.readouterr().err
    assert [signal.getsignal(s) for s in (2, 15)] == handlers
    again = Walk()
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0] == (7, 9)


def test_a_signal_in_the_last_piece_is_told():
    """Nothing is missing, but who runs several runs in a row must know of it."""
    task = Walk(at={9: signalled(signal.SIGINT)})
    outcome = run(task, checkpoint=None, progress=False)
    assert (outcome.done, outcome.interrupted) == (task.total, True)
    np.testing.assert_array_equal(outcome.records["place"], places(Walk()))


def test_a_signal_before_anything_is_recorded_is_raised(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="walk was stopped before anything was recorded"):
        run(Walk(at={0: signalled(signal.SIGINT)}), checkpoint=tmp_path / "walk", progress=False)
    again = Walk()
    np.testing.assert_array_equal(places(again, tmp_path / "walk"), places(Walk()))
    assert again.seen[0] == (2, 3)


def test_a_second_signal_stops_at_once(tmp_path):
    handlers = [signal.getsignal(s) for s in (2, 15)]
    task = Walk(at={5: signalled(signal.SIGINT, 2)})
    with pytest.raises(KeyboardInterrupt):
        run(task, checkpoint=tmp_path / "walk", progress=False)
    assert [signal.getsignal(s) for s in (2, 15)] == handlers
    again = Walk()
    places(again, tmp_path / "walk")
    assert again.seen[0] == (5, 7)


ENDLESS = """
import os, signal, sys, threading, time
import jax
sys.path.insert(0, {here!r})
from test_runner import Walk, run
from mogp.inference._patience import patiently
endless = jax.jit(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 2, lambda x: x @ x, x))
def stop():
    time.sleep(1)
    os.kill(os.getpid(), signal.{signal})
def hang():
    threading.Thread(target=stop, daemon=True).start()
    print(time.time(), flush=True)
    patiently(endless, jax.numpy.zeros((99, 99)))  # what takes a few operations, XLA does at once
print(run(Walk(at={{{at}: hang}}), checkpoint={path!r}, progress=False).done, flush=True)
"""


@pytest.mark.parametrize(("name", "at", "done"), [("SIGINT", 5, "5"), ("SIGTERM", 0, None)])
def test_a_piece_that_never_ends_does_not_hold_up_the_process(name, at, done, tmp_path):
    """What was recorded before is kept; JAX, which waits for it at the end, is not waited for."""
    path = tmp_path / "walk"
    code = ENDLESS.format(here=HERE, signal=name, at=at, path=str(path))
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        began = float(other.stdout.readline())
        out, err = other.communicate(timeout=60)
    finally:
        other.kill()
    assert time.time() - began < 1 + 5
    assert other.returncode == 130
    assert "walk: stops at the end of this piece, or in 3 seconds without it" in err
    if done is None:
        assert "KeyboardInterrupt: walk was stopped before anything was recorded" in err
        return
    assert out.strip() == done
    again = Walk()
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0] == (5, 7)


NUTS = """
import os, signal, threading, time
import jax, numpy as np
from mogp import MoGP, inference, priors
def stop():
    time.sleep({after})
    print(time.time(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
x = np.linspace(-1, 1, 30)[:, None]
threading.Thread(target=stop, daemon=True).start()
inference.nuts(
    MoGP([priors.Horseshoe()], bias_scale=1.0), x, np.sin(3 * x[:, 0]), key=jax.random.key(0),
    checkpoint={path!r}, num_samples=10_000, progress=False,
)
"""


@pytest.mark.commands
@pytest.mark.parametrize("after", [2, 8, 20])
def test_ctrl_c_ends_a_sampler_within_seconds(after, tmp_path):
    """While it is traced, compiled, or sampling; 5 seconds, of which 3 are for the piece.

    Twice that beside the other worker, which the two cores are shared with.
    """
    code = NUTS.format(after=after, path=str(tmp_path / "chain"))
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        asked = float(other.stdout.readline())
        _, err = other.communicate(timeout=120)
    finally:
        other.kill()
    assert time.time() - asked < 10
    assert other.returncode in (130, -signal.SIGINT, 0), err


@pytest.mark.parametrize("size", [0, 100])
def test_a_full_disk_is_one_error_and_keeps_the_old_file(size, tmp_path):
    """The system refuses what is written beyond a size, as a quota does."""
    path = tmp_path / "walk"
    code = (
        "import resource, sys\n"
        f"sys.path.insert(0, {HERE!r})\n"
        "from test_runner import Walk, run\n"
        f"run(Walk(5), checkpoint={str(path)!r}, progress=False)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        f"run(Walk(), checkpoint={str(path)!r}, progress=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"OSError: [Errno 27] {path} cannot be written: File too large; the file" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert {file.name for file in tmp_path.iterdir()} <= {"walk", ".walk.lock"}
    again = Walk()
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0] == (5, 7)


@pytest.mark.parametrize("hide", [False, True])
def test_a_library_that_hides_a_full_disk(hide, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fails(part):
        part.write_text("half")
        full = OSError(errno.ENOSPC, "no space")
        if not hide:
            raise full
        raise RuntimeError("serialisation failed") from full

    with (
        pytest.raises(OSError, match=r"No space left on device; the file that was there is unch"),
        whole_file(path) as part,
    ):
        fails(part)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_writers_of_a_file_share_nothing_and_what_killed_ones_left_is_removed(tmp_path):
    path = tmp_path / "[walk].nc"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # which was done last
    for name in (".[walk].0123456789abcdef.part.nc", ".[walk].mine.part.nc", ".other.part.nc"):
        (tmp_path / name).touch()
    with _checkpoint.only_writer(path):
        left = {each.name for each in tmp_path.iterdir()}
    assert left == {"[walk].nc", ".[walk].nc.lock", ".[walk].mine.part.nc", ".other.part.nc"}


def test_random_keys_of_any_kind_are_in_checkpoints(tmp_path):
    key = jax.random.key(3, impl="rbg")
    _checkpoint.save(tmp_path / "file", {"key": key, "a": np.ones(2)}, {"seed": 1}, 4)
    again = _checkpoint.load(tmp_path / "file", {"key": key, "a": np.zeros(2)})
    assert again["key"].dtype == key.dtype
    np.testing.assert_array_equal(jax.random.key_data(again["key"]), jax.random.key_data(key))


def test_ignored_signals_stay_ignored_and_threads_have_none():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        places(Walk(at={5: signalled(signal.SIGINT)}))
    finally:
        signal.signal(signal.SIGINT, old)
    found = []
    thread = threading.Thread(target=lambda: found.append(places(Walk())))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], places(Walk()))


def test_an_error_of_the_run_leaves_the_last_good_checkpoint(tmp_path):
    task = Walk()
    task.advance = lambda *a: (a[0], {"place": np.full((1, 2), np.nan)})
    with pytest.raises(FloatingPointError, match="astray"):
        run(task, checkpoint=tmp_path / "walk", progress=False)
    assert not (tmp_path / "walk").exists()


def test_another_process_is_refused_and_a_real_kill_resumes(tmp_path):
    """A process that holds the file is killed by SIGKILL in its third piece."""
    path = tmp_path / "walk"
    code = (
        "import sys, time\n"
        f"sys.path.insert(0, {HERE!r})\n"
        "from test_runner import Walk, run\n"
        "def sleep():\n    print('here', flush=True); time.sleep(60)\n"
        f"run(Walk(at={{5: sleep}}), checkpoint={str(path)!r}, progress=False)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(BlockingIOError, match="is being written by another process"):
            run(Walk(), checkpoint=path, progress=False)
    finally:
        other.kill()
        other.communicate()
    again = Walk()
    np.testing.assert_array_equal(places(again, path), places(Walk()))
    assert again.seen[0] == (5, 7)


def test_a_second_writer_in_this_process_is_refused(tmp_path):
    with (
        _checkpoint.only_writer(tmp_path / "walk"),
        pytest.raises(BlockingIOError, match="is being written by another process"),
    ):
        run(Walk(), checkpoint=tmp_path / "walk", progress=False)


def test_another_run_is_refused_by_name(tmp_path):
    path = tmp_path / "walk"
    places(Walk(), path)
    with pytest.raises(ValueError, match=r"belongs to another run: seed is 0 there and 1 here; de"):
        run(Walk(seed=1), checkpoint=path, progress=False)
    task = Walk()
    task.identity = task.identity | {"more": 1}
    with pytest.raises(ValueError, match="more is absent there and 1 here"):
        run(task, checkpoint=path, progress=False)
    task.identity = {"seed": 0}
    with pytest.raises(ValueError, match="law is normal there and absent here"):
        run(task, checkpoint=path, progress=False)


def test_damaged_files_are_refused_by_name(tmp_path):
    """Any flipped bit, a file cut short, another file, another version, other shapes."""
    path = tmp_path / "walk"
    places(Walk(), path)
    whole = path.read_bytes()
    wrong = "(is damaged: its checksum is wrong|is not a checkpoint of mogp|has format version)"
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=f"checkpoint {path} {wrong}"):
            _checkpoint.steps(path, Walk().identity)
    for content, message in [
        (whole[:-10], "is damaged"),
        (whole + b"x", "is damaged"),
        (b"", "is not a checkpoint of mogp"),
        (b"nothing of the kind", "is not a checkpoint of mogp"),
        (b'{"version": 2, "sha256": "", "format": "other"}\n', "is not a checkpoint of mogp"),
        (whole.replace(b'"version": 2', b'"version": 9'), "has format version 9, this mogp reads"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            run(Walk(), checkpoint=path, progress=False)
    path.write_bytes(whole)
    task = Walk()
    task.like = lambda done: (np.zeros(3), {"place": np.zeros((done - START, 2))})
    with pytest.raises(ValueError, match="cannot be read"):
        run(task, checkpoint=path, progress=False)


def test_progress_is_shown(capsys):
    run(Walk(), checkpoint=None, progress=True)
    shown = capsys.readouterr().err
    assert "walk" in shown
    assert "11/11" in shown


# --- identity -----------------------------------------------------------------------------------

OPTIMISERS = {
    "adam": lambda: optax.adam(1e-3),
    "another rate": lambda: optax.adam(1.00001e-3),
    "momentum": lambda: optax.sgd(1e-3, momentum=0.9),
    "sgd": lambda: optax.sgd(1e-3),
    "schedule": lambda: optax.sgd(optax.cosine_decay_schedule(1e-3, 100)),
    "longer schedule": lambda: optax.sgd(optax.cosine_decay_schedule(1e-3, 101)),
}


def shifted(by):
    return lambda x: x + by


def programs():
    """What tells optimisers, modules and distributions apart."""
    parameters = {"a": np.ones(3), "b": np.ones((2, 2))}
    texts = []
    for make in OPTIMISERS.values():
        optimizer = make()
        state = optimizer.init(parameters)
        texts.append(_identity.program(optimizer.update, parameters, state, parameters))
    values = [
        priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=3.0),
        priors.GBFRY(alpha=dist.Beta(2.0, 2.5), tau=3.0),
        dist.TransformedDistribution(dist.Normal(0.0, 2.0), dist.transforms.ExpTransform()),
        dist.TransformedDistribution(dist.Normal(0.0, 3.0), dist.transforms.ExpTransform()),
    ]
    values += [lambda x: x + 1.0, lambda x: x + 2.0, *map(shifted, (1.0, 2.0))]
    values += [jax.random.key(1), np.arange(40.0), {"b": None, "a": "text"}, np.tanh]
    texts += [_identity.description(value) for value in values]
    return [*texts, _identity.fingerprint(jax.random.key(3), np.arange(4.0), 2)]


def test_identities_differ_and_are_the_same_in_every_process():
    texts = programs()
    assert len(set(texts)) == len(texts)
    assert programs() == texts
    code = (
        "import sys, jax\n"
        f"jax.config.update('jax_enable_x64', {jax.config.jax_enable_x64})\n"
        f"sys.path.insert(0, {HERE!r})\n"
        "from test_runner import programs\nprint(programs())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == str(texts)


def test_fingerprints_see_shapes_types_and_keys():
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(8, np.float32),
              np.zeros(4, int), jax.random.key(0), jax.random.key(1)]  # fmt: skip
    assert len({_identity.fingerprint(array) for array in arrays}) == len(arrays)
