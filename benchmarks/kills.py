"""Kill commands in every phase, give them again, compare results: `python benchmarks/kills.py`.

Runs of `compare`, `fit` and one experiment are stopped at random moments, spread evenly over the
time that an untouched run takes: start, compilation, training or sampling, scores, report.

`--signal SIGKILL`: the command is given again, and must end with the results of a run that nobody
touched, to the bit. JAX's compilation cache is kept from run to run, which saves most of the time.
`--signal SIGINT` (Ctrl-C) or `SIGTERM`: it must be gone within `--seconds`, with 128 + the number
of the signal and one line that says truly whether there is a checkpoint. Nothing is cached, so that
compilations take as long as they do for users.

Prints a line a kill; `--out benchmarks/kills.jsonl` keeps them. `--only`, `--kills` and `--seed`
make it in pieces.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

TABLE = "a,b,y\n" + "".join(f"{i},{i % 3},{i * i % 17}\n" for i in range(20))
COMMANDS = {
    "compare": ["compare", "--width", "10", "--epochs", "5", "--seeds", "2", "--components", "2",
                "--priors", "horseshoe", "--keep", "0.1"],
    "fit": ["fit", "data.csv", "--target", "y", "--prior", "iid", "--samples", "100", "--warmup",
            "100", "--chains", "2", "--width", "3"],
    "experiment": ["experiment", "gm-error", "--components", "3", "--epochs", "5", "--seeds", "2"],
}  # fmt: skip
# A file of results with every number in it.
RESULTS = {"compare": "compare.nc", "fit": "posterior.nc", "experiment": "gm-error.nc"}
NOTHING = "nothing was begun"
AFRESH = "the same command starts afresh: nothing was kept yet"
GOES_ON = "the same command goes on from its last checkpoint"


def start(folder: Path, name: str) -> subprocess.Popen:
    """The command in a process of its own, whose results go to `folder/out`."""
    folder.mkdir(exist_ok=True)
    (folder / "data.csv").write_text(TABLE)
    command = [sys.executable, "-m", "mogp", *COMMANDS[name], "--out", "out"]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key], equal_nan=found[key].dtype.kind == "f")
        for key in expected
    )


def stop(folder: Path, name: str, number: signal.Signals, after: float) -> dict[str, Any]:
    """Stop one command after some seconds; what became of it."""
    process = start(folder, name)
    try:
        time.sleep(after)
        process.send_signal(number)
        sent = time.perf_counter()
        _, error = process.communicate(timeout=600)
    finally:
        process.kill()
    said = error.strip().splitlines()
    return {
        "after": round(after, 2),
        "gone in": round(time.perf_counter() - sent, 2),
        "code": process.returncode,
        "said": said[-1].removeprefix("mogp: interrupted; ") if said else "",
    }


def faults(found: dict[str, Any], folder: Path, number: signal.Signals, seconds: float) -> list:
    """What is wrong with an end by SIGINT or SIGTERM; a command may also be done already."""
    if found["code"] == 0:
        return []
    places = [folder / "out" / "checkpoints", folder / ".out.part"]
    kept = any(list(place.rglob("[!.]*.ckpt")) for place in places)
    wrong = []
    if found["gone in"] > seconds:
        wrong.append("late")
    done = found["after"] > 0.8 * found["of"] and not kept  # and the interpreter ends
    if found["code"] == -number and (done or found["after"] < 0.5):  # or it has not begun
        return wrong
    if found["code"] != 128 + number:
        wrong.append("code")
    if found["said"] not in ([GOES_ON] if kept else [AFRESH, NOTHING]):
        wrong.append("line")
    return wrong


def trial(
    top: Path, name: str, number: signal.Signals, kills: int, seconds: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Make the kills of one command by one signal; what came out of each."""
    kill, times = number == signal.SIGKILL, random.Random(seed)
    for run in ("first", "whole") if kill else ("whole",):  # the first one fills the cache
        whole = finish(top / run, name)
    expected = numbers(top / "whole", name)
    print(f"{name}: {whole:.1f} s, {len(expected)} arrays", flush=True)
    for k in range(kills):
        folder = top / str(k)
        found = stop(folder, name, number, whole * (k + times.random()) / kills)
        if kill:
            if not (folder / "out" / "fit.json").exists():  # a finished folder is left alone
                finish(folder, name)
            found["wrong"] = [] if equal(numbers(folder, name), expected) else ["results"]
        else:
            found["of"] = round(whole, 2)
            found["wrong"] = faults(found, folder, number, seconds)
        yield {"run": name, "signal": number.name, "of": round(whole, 2)} | found


def main(*arguments: str) -> int:
    """Make kills; the number of those that are wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=COMMANDS, help="one command")
    parser.add_argument("--signal", choices=["SIGKILL", "SIGINT", "SIGTERM"], help="one signal")
    parser.add_argument("--kills", type=int, default=20, help="of each command, by each signal")
    parser.add_argument("--seconds", type=float, default=5.0, help="to be gone in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file to which a line of JSON a kill is added")
    chosen = parser.parse_args(arguments or None)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    options, wrong = (chosen.kills, chosen.seconds, chosen.seed), 0
    for name in [chosen.only] if chosen.only else COMMANDS:
        for number in [chosen.signal] if chosen.signal else ["SIGKILL", "SIGINT"]:
            with tempfile.TemporaryDirectory() as top:
                os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
                if number == "SIGKILL":
                    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{top}/compiled"
                    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
                for found in trial(Path(top), name, signal.Signals[number], *options):
                    print(f"  {json.dumps(found)}", flush=True)
                    wrong += bool(found["wrong"])
                    if chosen.out:
                        with chosen.out.open("a") as file:
                            file.write(json.dumps(found) + "\n")
    print(f"{wrong} kills are wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(main() > 0)
