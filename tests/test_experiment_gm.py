"""`mogp experiment`: what it trains, what it writes, kills and mistakes. On digits, tiny."""

import json
import runpy
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr
from closeness import assert_close
from matplotlib.image import imread

from mogp import cli, inference, nn
from mogp._paths import paths
from mogp.experiments import gm

QUICK = ["experiment", "gm-error", "--components", "3", "--epochs", "3", "--seeds", "2"]


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(*map(str, arguments))
        return caught.value.code or 0, *capsys.readouterr()

    return run


def test_a_killed_experiment_goes_on_to_the_same_results(tmp_path, run, monkeypatch):
    epochs, run_epoch = [], inference._fit._run_epoch

    def killed(*args):
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return run_epoch(*args)

    monkeypatch.setattr(inference._fit, "_run_epoch", killed)
    code, _, error = run(*QUICK, "--out", tmp_path / "killed")
    assert (code, error.count("\n")) == (130, 1)
    assert "goes on from its last checkpoint" in error
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["checkpoints"]
    code, output, _ = run(*QUICK, "--out", tmp_path / "killed")
    assert code == 0
    assert len(epochs) == 2 + 2
    assert run(*QUICK, "--out", tmp_path / "whole")[0] == 0

    trees = [
        xr.open_datatree(tmp_path / name / "gm-error.nc", engine="h5netcdf")
        for name in ("killed", "whole")
    ]
    assert "GM layer, K=3" in output
    groups = [tree["GM layer, K=3"].to_dataset() for tree in trees]
    assert groups[0]["validation_accuracy"].sizes == {"epoch": 3, "seed": 2}
    for name in ("loss", "validation_accuracy"):
        np.testing.assert_array_equal(*(group[name].values for group in groups))
    settings = json.loads(trees[0].attrs["settings"])
    assert (settings["components"], settings["data"]) == ([3], "digits")
    assert groups[0].attrs["parameters"] == 3 * (64 * (2 + 10) + 10)
    image = imread(tmp_path / "killed" / "gm-error.png")
    assert image.shape[1] > 1000
    assert image.std() > 0.05
    for tree in trees:
        tree.close()


def test_the_example_follows_components_and_neurons(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gm, "WIDTH", 20)
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "gm_evolution.py"))
    example["main"](epochs=2, components=3, out=tmp_path)
    assert capsys.readouterr().out.count("test error") == 4
    with xr.open_datatree(tmp_path / "gm-evolution.nc", engine="h5netcdf") as tree:
        groups = [group.to_dataset().load() for group in tree.children.values()]
    assert [group.sizes["component"] for group in groups] == [3, 20, 3, 20]
    for group in groups:
        assert list(group["epoch"].values) == [0, 1, 2]
        assert group["path"].sizes["epoch"] == 3
        assert group["moved"][0] == 0
        assert group["moved"][2] > 0
        assert 0 < group["explained"].values.sum() <= 1
    assert groups[0]["covariance"].values.any()
    assert not groups[1]["covariance"].values.any()  # neurons are points
    assert imread(tmp_path / "gm-evolution.png").std() > 0.05


def test_distances_of_paths_are_those_of_mixtures(key):
    keys = jax.random.split(key)
    a, b = (nn.GMLayer(6, 2, 4, key=k) for k in keys)
    shuffled = jax.tree.map(lambda p: p[::-1] if eqx.is_array(p) else p, a)
    moved = paths([a, b, shuffled])["moved"].values
    size = np.sqrt(np.mean(np.sum(np.array(a.means**2 + a.scales**2), axis=1)))
    assert_close(moved[1] * size, nn.mixture_distance(a, b, law="directions"), rtol=1e-6)
    assert moved[2] == 0  # the same law, its components in another order


@pytest.mark.parametrize("name", gm.CURVES)
def test_every_variant_builds_and_takes_a_step(name):
    """Shapes only: nothing is compiled."""
    sizes = gm.Sizes(16, 10)
    settings = gm.settings_for(name, "digits", "paper")
    assert (settings.epochs, settings.seeds) == (100, 5)
    _, variants = gm.CURVES[name]

    def step(key, variant):
        model = variant.build(key)
        gradient = eqx.filter_grad(lambda m: m(jax.numpy.ones((4, 16))).sum())(model)
        parameters = eqx.filter(model, eqx.is_inexact_array)
        state = variant.optimizer.init(parameters)
        return eqx.apply_updates(model, variant.optimizer.update(gradient, state, parameters)[0])

    counts = {}
    for label, variant in variants(sizes, *settings.mixtures).items():
        model = eqx.filter_eval_shape(step, jax.random.key(0), variant)
        counts[label] = sum(a.size for a in jax.tree.leaves(model) if hasattr(a, "size"))
    assert len(counts) >= 2
    if name == "gm-budget":  # equal parameters, up to rounding to whole neurons
        mixture, network, _ = counts.values()
        assert abs(mixture - network) <= 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gm-errors"], "name must be one of"),
        (["gm-error", "--data", "cifar"], "'cifar'"),
        (["gm-error", "--scale", "large"], "scale must be one of ['paper', 'small']"),
        (["gm-error", "--epochs", "0"], "epochs must be an integer of at least 1, got 0"),
        (["gm-error", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["gm-error", "--components", "5,0"], "components must be an integer of at least 1, got 0"),
        (["gm-error", "--components", "five"], "components must be whole numbers with commas"),
        (["gm-stack", "--components", "5,20"], "components must be one number for gm-stack"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, run):
    code, output, error = run("experiment", *arguments, "--out", tmp_path / "out")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "out").exists()
