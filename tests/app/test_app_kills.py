"""A few kills of a command; `benchmarks/kills.py` makes many of each, in every phase."""

import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.commands
def test_a_killed_command_ends_with_the_same_results(capsys):
    main = runpy.run_path(str(ROOT / "benchmarks" / "kills.py"))["main"]
    assert main("--quick", "--only", "experiment") == 0
    assert "0 results differ" in capsys.readouterr().out


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


@pytest.mark.commands
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_is_busy_in_compiled_code(number):
    """Python does not get the word there, so that no handler of it is called."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(2)
        begun = time.monotonic()
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error == "mogp: interrupted; nothing was begun\n"
    assert 3 < time.monotonic() - begun < 15
