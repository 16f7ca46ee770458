"""`mogp compare`, as a user meets it: results on disk, tables, mistakes, kills."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

import mogp
from mogp.app import comparison

QUICK = [
    "compare", "--width", "30", "--epochs", "8", "--seeds", "2", "--components", "3",
    "--priors", "iid, horseshoe, gbfry(alpha=0.5, tau=5)",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small comparison, run once in a process of its own: its folder and what it printed."""
    out = tmp_path_factory.mktemp("compare") / "new" / "folder"
    command = [sys.executable, "-W", "error", "-m", "mogp", *QUICK, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.mark.commands
def test_the_table_has_every_model_and_fraction(finished):
    _, text = finished
    for word in ("iid", "Horseshoe()", "GBFRY(alpha=", "GM layer, K=3", "100 %", "1 %", "±"):
        assert word in text
    for word in ("params", "sec", "compare.png", "compare.json", "compare.nc"):
        assert word in text


@pytest.mark.commands
def test_json_has_settings_versions_and_every_number(finished):
    out, _ = finished
    record = json.loads((out / "compare.json").read_text())
    assert record["settings"]["width"] == 30
    assert record["settings"]["seed"] == 0
    assert record["environment"]["packages"]["jax"]
    names = [model["name"] for model in record["models"]]
    assert names == ["iid", "Horseshoe()", "GBFRY(alpha=0.5, tau=5.0)", "GM layer, K=3"]
    for model in record["models"][:3]:
        assert model["keep"] == [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]
        assert np.shape(model["accuracy"]) == np.shape(model["nll"]) == (7, 2)
        assert np.min(model["accuracy"][0]) > 0.5
        assert model["seconds"] > 0
    # 64·30 + 30·30 + 30·10 weights, 70 biases, 60 log variances (constants under iid)
    assert [model["parameters"] for model in record["models"]] == [3190, 3250, 3250, 3 * 778]


@pytest.mark.commands
def test_netcdf_says_the_same_as_json(finished):
    out, _ = finished
    record = json.loads((out / "compare.json").read_text())
    with xr.open_datatree(out / "compare.nc", engine="h5netcdf") as tree:
        for model in record["models"]:
            group = tree[model["name"]]
            np.testing.assert_array_equal(group["pruning"]["accuracy"], model["accuracy"])
            assert group["pruning"].dims["seed"] == 2
            assert group["training"]["loss"].sizes == {"epoch": 8, "seed": 2}
        assert json.loads(tree.attrs["settings"]) == record["settings"]


@pytest.mark.commands
def test_the_figure_is_a_figure(finished):
    out, _ = finished
    image = imread(out / "compare.png")
    assert image.shape[0] > 700
    assert image.shape[1] > 1000
    assert image.std() > 0.05


@pytest.mark.commands
def test_nothing_else_is_left(finished):
    out, _ = finished
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.json", "compare.nc", "compare.png",
    ]  # fmt: skip


@pytest.mark.commands
def test_an_interrupted_command_goes_on(tmp_path, run, interrupt):
    arguments = ["compare", "--width", 20, "--epochs", 4, "--seeds", 1, "--components", 2,
                 "--priors", "horseshoe", "--out", tmp_path]  # fmt: skip
    epochs = interrupt(6)  # the second epoch of the second model
    code, _, error = run(*arguments)
    assert code == 130
    assert error.endswith("mogp: interrupted; the same command goes on from its last checkpoint\n")
    assert not list(tmp_path.glob("compare.*"))
    code, _, _ = run(*arguments)
    assert code == 0
    assert len(epochs) == 4 + 4
    assert len(json.loads((tmp_path / "compare.json").read_text())["models"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "cifar"], "'cifar'"),
        (["--priors", "spike"], "prior must be one of"),
        (["--priors", ""], "priors must name at least one prior"),
        (["--priors", "gbfry(alpha=1.5, tau=5)"], "alpha must be in (0, 1), got 1.5"),
        (["--priors", "gbfry(alpha=0.5, tau=0.4)"], "tau must be above 1, got 0.4"),
        (["--importance", "size"], "importance must be one of"),
        (["--importance", "variance"], "variances are all equal"),
        (["--keep", "1, 0.5, 0"], "keep must be in (0, 1], got 0.0"),
        (["--keep", "1.5"], "keep must be in (0, 1], got 1.5"),
        (["--keep", "half"], "keep must be numbers with commas between them, got 'half'"),
        (["--width", "0"], "width must be an integer of at least 1, got 0"),
        (["--hidden", "0"], "hidden must be an integer of at least 1, got 0"),
        (["--epochs", "0"], "epochs must be an integer of at least 1, got 0"),
        (["--seeds", "-1"], "seeds must be an integer of at least 1, got -1"),
        (["--components", "-1"], "components must be an integer of at least 1, got -1"),
        (["--prior-temperature", "0"], "prior_temperature must be above 0, got 0"),
        (["--batch-size", "5000"], "batch_size must be at most n = 1438, got 5000"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, run):
    code, output, error = run("compare", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert output == ""
    assert message in error
    assert error.startswith("mogp: ")
    assert error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_written_is_a_mistake(tmp_path, run):
    (tmp_path / "file").write_text("kept")
    code, _, error = run("compare", "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "cannot write to the folder" in error
    assert (tmp_path / "file").read_text() == "kept"


def test_a_corrupted_data_file_is_a_mistake(tmp_path, run):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b not really")
    code, _, error = run(
        "compare", "--data", "mnist", "--data-dir", tmp_path / "data", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "train-images-idx3-ubyte.gz" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.commands
def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("no space left on device")

    settings = comparison.Settings(
        width=10, epochs=1, seeds=1, components=0, priors=("horseshoe",), keep=(1.0, 0.5)
    )
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", broken)
    with pytest.raises(OSError, match="no space left"):
        comparison.compare(settings, tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.glob("*compare*")) == [
        "compare.json", "compare.nc",
    ]  # fmt: skip


def test_settings_suit_the_data():
    assert comparison.suited() == comparison.Settings()
    large = comparison.suited("fashion-mnist", seeds=1, keep=(0.1, 0.5))
    assert (large.width, large.epochs, large.batch_size, large.seeds) == (500, 10, 100, 1)
    assert large.keep == (1.0, 0.5, 0.1)


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], []])
def test_help_says_what_there_is(arguments, run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mogp"])
    _, output, error = run(*arguments)
    text = output + error
    assert "compare" in text
    if arguments[:1] == ["compare"]:
        for option in ("--data", "--priors", "--hidden", "--width", "--epochs", "--seeds", "--out"):
            assert option in text
        assert "number of hidden layers" in " ".join(text.replace("│", "").split())


def test_version(run):
    assert run("--version")[1].strip() == f"mogp {mogp.__version__}"


# --- files of others, other settings, sizes -------------------------------------------------------


@pytest.fixture
def trained(monkeypatch):
    """Nothing is trained: the rows of a finished comparison, made up; a `.ckpt` is written."""

    def row(job, text):
        history = xr.Dataset({"loss": ("epoch", np.zeros(1))})
        job.checkpoint(text).write_text('{"format": "mogp checkpoint"}')
        keep, scores = np.ones(1), np.full((1, 1), 0.5)
        return comparison.Row(text, 1, 0.0, keep, scores, scores, history)

    monkeypatch.setattr(comparison, "_prior_row", row)
    monkeypatch.setattr(comparison, "_mixture_row", lambda job: row(job, "GM"))


RESULTS = ["compare.json", "compare.nc", "compare.png"]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    "place",
    [
        "checkpoints/month.ckpt", "checkpoints/compare/novel.txt", "checkpoints/deadbeef.ckpt",
        "checkpoints", "checkpoints/compare", *RESULTS, "compare.json/inside.txt",
    ],
)  # fmt: skip
def test_what_others_wrote_is_in_the_way_and_left_alone(place, tmp_path, run):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"mine": 1}')
    before = sorted(tmp_path.rglob("*"))
    code, output, error = run("compare", "--out", tmp_path)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert "was not written by mogp and is left alone" in error
    assert path.read_text() == '{"mine": 1}'
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("trained")
def test_what_others_put_beside_and_inside_is_left_alone(tmp_path, monkeypatch, run):
    save = comparison._save

    def while_saving(*arguments):
        for place in strangers:
            place.write_text("mine")
        save(*arguments)

    inside = tmp_path / "checkpoints" / "compare"
    names = ("month.txt", "month.ckpt", "0123abcd.ckpt", ".0123abcd.ckpt.lock", "compare.json")
    strangers = [inside / name for name in names]
    strangers += [inside.parent / "novel.txt", tmp_path / "novel.txt", tmp_path / "0123abcd.ckpt"]
    monkeypatch.setattr(comparison, "_save", while_saving)
    assert run("compare", "--out", tmp_path)[0] == 0
    for place in strangers:
        assert place.read_text() == "mine"
    assert sorted(path.name for path in inside.iterdir()) == sorted([*names, ".written-by-mogp"])
    assert run("compare", "--out", tmp_path)[0] == 0  # the folder is ours, as are the results


@pytest.mark.usefixtures("trained")
def test_other_settings_do_not_write_over_results(tmp_path, run):
    assert run("compare", "--out", tmp_path)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == RESULTS
    before = {name: (tmp_path / name).read_bytes() for name in RESULTS}
    for options in (["--seed", "1"], ["--priors", "iid"], ["--epochs", "3", "--width", "7"]):
        code, _, error = run("compare", "--out", tmp_path, *options)
        assert (code, "holds results with other settings" in error) == (2, True)
        assert options[0].removeprefix("--") in error
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == before[name]
    for name in RESULTS[1:]:  # each file says of which settings it is
        (tmp_path / "compare.json").unlink(missing_ok=True)
        code, _, error = run("compare", "--out", tmp_path, "--seed", "1")
        assert (code, name in error) == (2, True)
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "100000000"], "more than the memory"),
        (["--seeds", "1000000000"], "more than the memory of"),
        (["--components", "1000000000"], "more than the memory"),
        (["--hidden", "1000", "--width", "100000"], "more than the memory of"),
        (["--width", "9999999999999"], "width must be below 2^31"),
        (["--seed", "99999999999999999999"], "seed must be an integer in [0, 2^32)"),
        (["--learning-rate", "1e300"], "learning_rate must be in (1e-30, 1e+30), got 1e+300"),
        (["--prior-temperature", "1e-300"], "prior_temperature must be in (1e-30, 1e+30)"),
        (["--priors", "gbfry(alpha=0.5, tau=1e300)"], "single precision cannot work with 1e+300"),
        (["--priors", "gamma(mass=1e-40)"], "single precision cannot work with 1e-40"),
        (["--data", "cifar"], "data must be one of ['digits', 'fashion-mnist', 'mnist']"),
    ],
)
def test_what_cannot_work_is_said_beforehand(options, message, tmp_path, run):
    code, output, error = run("compare", *options, "--out", tmp_path / "out")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


# --- the process ----------------------------------------------------------------------------------


@pytest.mark.commands
def test_a_terminal_without_unicode_still_gets_the_table(finished):
    """The settings are those of the finished comparison, so its results are written once more."""
    code = (
        "from mogp.app import command, comparison;"
        "import numpy as np, xarray as xr;"
        "row = comparison.Row('Lévy ±', 1, 0., np.ones(1), np.ones((1, 1)), np.ones((1, 1)), None);"
        "comparison.compare = lambda *a, **o: [row];"
        "command.main('compare')"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"L?vy ?" in done.stdout
    assert b"100.0" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kept", [True, False])
def test_signals_outside_of_training_are_one_line(number, kept, tmp_path, run, monkeypatch):
    """While data are scored, pictures drawn, files written: no loop is there to catch them."""

    def row(job, text):
        if kept:
            job.checkpoint(text).write_text('{"format": "mogp checkpoint"}')
        signal.raise_signal(number)

    monkeypatch.setattr(comparison, "_prior_row", row)
    code, _, error = run("compare", "--out", tmp_path)
    text = "goes on from its last checkpoint" if kept else "starts afresh: nothing was kept yet"
    assert (code, error) == (128 + number, f"mogp: interrupted; the same command {text}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"] * kept
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.commands
def test_a_disk_that_is_full_is_one_line(tmp_path, run):
    """No file may grow beyond 10 kB, so that the first checkpoint does not fit."""
    code = (
        "import resource, signal;"
        "from mogp.app.command import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000));"
        f"main('compare', '--width', 40, '--epochs', 2, '--seeds', 1, '--out', {str(tmp_path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("mogp: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
