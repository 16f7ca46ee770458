"""Kill commands in every phase, give them again, compare results: `python benchmarks/kills.py`.

Of `compare`, `fit` and one experiment, `--kills` runs each are stopped by SIGKILL, SIGTERM or
SIGINT after a random time, given again until they end, and must end with the results of a run that
nobody touched, to the bit. After SIGINT and SIGTERM a process must be gone within `--seconds`, with
one clear line. The phases are those of the time until the end of an untouched run: start and
compilation, training or sampling, scores, report.

`--quick` makes two kills each. Times of compilation dominate: use an idle machine.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

TABLE = "a,b,y\n" + "".join(f"{i},{i % 3},{i * i % 17}\n" for i in range(40))
COMMANDS = {
    "compare": ["compare", "--width", "20", "--epochs", "6", "--seeds", "2", "--components", "3",
                "--priors", "iid, horseshoe"],
    "fit": ["fit", "data.csv", "--target", "y", "--prior", "iid", "--samples", "150", "--warmup",
            "150", "--chains", "2"],
    "experiment": ["experiment", "gm-error", "--components", "3,5", "--epochs", "6", "--seeds",
                   "2"],
}  # fmt: skip
# A file of results with every number in it.
RESULTS = {"compare": "compare.nc", "fit": "posterior.nc", "experiment": "gm-error.nc"}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def start(folder: Path, name: str) -> subprocess.Popen:
    """The command in a process of its own, whose results go to `folder/out`."""
    command = [sys.executable, "-m", "mogp", *COMMANDS[name], "--out", "out"]
    # Shells start jobs in the background with Ctrl-C ignored.
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(folder: Path, name: str) -> float:
    """Give the command until its end; the seconds it took."""
    begun = time.perf_counter()
    process = start(folder, name)
    _, error = process.communicate()
    if process.returncode:
        raise AssertionError(f"{name} ended with {process.returncode}: {error}")
    return time.perf_counter() - begun


def numbers(folder: Path, name: str) -> dict[str, np.ndarray]:
    """All arrays of the results, but for times."""
    with xr.open_datatree(folder / "out" / RESULTS[name], engine="h5netcdf") as tree:
        return {
            f"{group.path}/{key}": value.values
            for group in tree.subtree
            for key, value in group.data_vars.items()
            if key != "seconds"
        }


def kill(folder: Path, name: str, number: int, after: float, allowed: float) -> str:
    """Stop one command after some seconds; what became of it."""
    process = start(folder, name)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        pass
    else:
        return "had ended"
    process.send_signal(number)
    sent = time.perf_counter()
    try:
        _, error = process.communicate(timeout=600)
    finally:
        process.kill()
    waited = time.perf_counter() - sent
    said = error.strip().splitlines()
    if number == signal.SIGKILL:
        return "killed"
    if process.returncode == 0:
        return f"ended in {waited:.1f} s"
    early = not said and process.returncode in (-number, 130, 1)  # before the command has begun
    if not early and (process.returncode != 130 or "interrupted" not in said[-1]):
        raise AssertionError(f"{name}, {number}: {process.returncode}, {error}")
    late = f", LATER than {allowed:g} s" if waited > allowed else ""
    return f"gone in {waited:.1f} s{late}: {said[-1] if said else 'before it began'}"


def main(*arguments: str) -> int:
    """Make all kills; the number of those after which results differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--seconds", type=float, default=5.0, help="to be gone in")
    parser.add_argument("--only", choices=COMMANDS, help="one command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two kills of each")
    chosen = parser.parse_args(arguments or None)
    times, wrong = random.Random(chosen.seed), 0
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as top:
        for name in [chosen.only] if chosen.only else COMMANDS:
            for run in ("first", "whole"):  # the first one fills JAX's cache, if there is one
                whole = Path(top) / name / run
                whole.mkdir(parents=True)
                (whole / "data.csv").write_text(TABLE)
                seconds = finish(whole, name)
            expected = numbers(whole, name)
            print(f"{name}: {seconds:.1f} s, {len(expected)} arrays", flush=True)
            count = 2 if chosen.quick else chosen.kills
            for k in range(count):
                folder = Path(top) / name / str(k)
                folder.mkdir()
                (folder / "data.csv").write_text(TABLE)
                after = seconds * (k + times.random()) / count
                number = SIGNALS[k % len(SIGNALS)]
                became = kill(folder, name, number, after, chosen.seconds)
                if not (folder / "out" / RESULTS[name]).exists():
                    finish(folder, name)
                found = numbers(folder, name)
                same = found.keys() == expected.keys() and all(
                    np.array_equal(
                        found[key], expected[key], equal_nan=found[key].dtype.kind == "f"
                    )
                    for key in expected
                )
                wrong += not same
                left = sorted(p.name for p in folder.rglob("*") if ".part" in p.name)
                record = {"signal": number, "after": round(after, 1), "same": same, "left": left}
                print(f"  {json.dumps(record)} {became}", flush=True)
    print(f"{wrong} results differ")
    return wrong


if __name__ == "__main__":
    sys.exit(main() > 0)
