"""A few kills of a command; `benchmarks/kills.py` makes many of each, in every phase."""

import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBERS = [signal.SIGINT, signal.SIGTERM]
pytestmark = pytest.mark.commands


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_kills_of_a_command(number, tmp_path, capsys):
    """Results are the same after SIGKILL; after SIGTERM one true line, in 5 seconds."""
    main = runpy.run_path(str(ROOT / "benchmarks" / "kills.py"))["main"]
    options = "--kills", "2", "--only", "experiment", "--out", str(tmp_path / "kills.jsonl")
    assert main("--signal", number, *options) == 0
    assert "0 kills are wrong" in capsys.readouterr().out


BUSY = """
import sys, jax
from mogp.app import command, comparison
def busy(*_, **__):
    print("ready", flush=True)
    loop = lambda x: jax.lax.while_loop(lambda v: v < 1e30, lambda v: v * v, x)
    jax.block_until_ready(jax.jit(loop)(1.0))
comparison.compare = busy
sys.argv = ["mogp", "compare"]
command.main()
"""
LOADING = """
import sys, time, types
class Slow:
    def find_spec(self, name, *_):
        if name == "mogp.app.command":
            print("ready", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from mogp.__main__ import main
main()
"""


def ended(code, number):
    """The exit code of a process that is signalled after it says "ready", what it says, seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        begun = time.monotonic()
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, error, time.monotonic() - begun


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_command_that_is_busy_in_compiled_code(number):
    """Python does not get the word there, so that no handler of it is called."""
    code, error, seconds = ended(BUSY, number)
    assert (code, error) == (128 + number, "mogp: interrupted; nothing was begun\n")
    assert 3 < seconds < 15


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_command_whose_modules_are_loaded(number):
    code, error, seconds = ended(LOADING, number)
    assert (code, error) == (128 + number, "mogp: interrupted; nothing was begun\n")
    assert seconds < 2
