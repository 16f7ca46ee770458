"""`mogp experiment`: the registry, what is trained and written, kills and mistakes. Tiny."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr
from closeness import assert_close
from matplotlib.image import imread

from mogp import MoGP, datasets, inference, nn, priors, pruning
from mogp.app import experiments
from mogp.app._job import Job
from mogp.app.experiments import _evolution, _gm, _map, _posteriors, _prior, _pruning

NAMES = [
    "features", "gm-baseline", "gm-budget", "gm-covariance", "gm-error", "gm-evolution", "gm-lazy",
    "gm-stack", "prior-dependence", "pruning-bayes", "pruning-map", "truncation-error",
]  # fmt: skip
TINY = {"epochs": 2, "seeds": 2, "width": 12, "keep": (1.0, 0.25), "hidden": 2}


# --- the registry ---------------------------------------------------------------------------------


def test_every_experiment_is_registered_once():
    assert sorted(experiments.EXPERIMENTS) == NAMES
    for name, experiment in experiments.EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.summary
        for scale in ("small", "paper"):
            assert experiment.settings(scale, "mnist").name == name
    with pytest.raises(ValueError, match="there is an experiment 'gm-error' already"):
        experiments.register(experiments.EXPERIMENTS["gm-error"])


@pytest.fixture
def own(monkeypatch):
    """An experiment of one's own, registered, which computes nothing."""
    half = xr.Dataset({"validation_accuracy": (("epoch", "seed"), np.full((2, 1), 0.5))})
    gm = experiments.EXPERIMENTS["gm-error"]
    own = experiments.Experiment(
        "own", "nothing", lambda *_: _prior.Settings("own"), lambda _: {"γ=1/2": half},
        lambda _, groups: gm.plot(_gm.Settings("gm-error"), groups), gm.lines,
    )  # fmt: skip
    monkeypatch.setitem(experiments.EXPERIMENTS, "own", own)


def test_an_experiment_of_ones_own(tmp_path, run, own):
    """Run by its name, its results written: the command knows no kinds."""
    code, output, error = run("experiment", "own", "--width", 3, "--out", tmp_path)
    assert (code, error) == (0, "")
    assert "γ=1/2" in output
    with xr.open_datatree(tmp_path / "own.nc", engine="h5netcdf") as tree:
        assert tree["γ=1:2"].attrs["label"] == "γ=1/2"
        assert json.loads(tree.attrs["settings"])["width"] == 3
        assert json.loads(tree.attrs["environment"])["packages"]["jax"]
    assert (tmp_path / "own.png").stat().st_size > 1000


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
        (["gm-error", "--width", "3"], "gm-error takes no width"),
        (["features", "--components", "3"], "features takes no components"),
        (["prior-dependence", "--data", "mnist"], "prior-dependence takes no data"),
        (["truncation-error", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["pruning-map", "--width", "0"], "width must be an integer of at least 1, got 0"),
        (["pruning-map", "--priors", ","], "priors must name at least one prior"),
        (["pruning-map", "--keep", "2"], "keep must be in (0, 1], got 2.0"),
        (["pruning-bayes", "--priors", "horse"], "horse"),
        (["gm-error", "--seed", "4294967296"], "seed must be an integer in [0, 2^32)"),
        (["gm-error", "--components", "1000000000"], "more than the memory"),
        (["gm-error", "--seeds", "1000000000"], "more than the memory of"),
        (["gm-evolution", "--components", "1000000000"], "more than the memory of"),
        (["pruning-map", "--width", "10000000"], "more than the memory"),
        (["pruning-bayes", "--width", "10000000"], "more than the memory"),
        (["pruning-bayes", "--draws", "1000000000"], "more than the memory of"),
        (["features", "--seeds", "1000000000"], "more than the memory of"),
        (["truncation-error", "--width", "10000000"], "more than the memory"),
        (["truncation-error", "--samples", "100000000"], "predicted errors would take "),
        (["prior-dependence", "--samples", "100000000"], "draws would take "),
        (["prior-dependence", "--width", "2000000000"], "a draw would take "),
        (["pruning-map", "--priors", "gbfry(alpha=0.5, tau=1e300)"], "single precision cannot"),
        (["gm-error", "--data", "cifar"], "data must be one of"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, run):
    code, output, error = run("experiment", *arguments, "--out", tmp_path / "out")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


STRANGERS = ["checkpoints/month.ckpt", "checkpoints/own/novel.txt", "checkpoints/own",
             "checkpoints", "own.nc", "own.png"]  # fmt: skip


@pytest.mark.parametrize("place", STRANGERS)
def test_what_others_wrote_is_left_alone(place, tmp_path, run, own):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, _, error = run("experiment", "own", "--out", tmp_path)
    assert (code, "was not written by mogp and is left alone" in error) == (2, True)
    assert path.read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


def test_other_settings_do_not_write_over_results(tmp_path, run, own):
    assert run("experiment", "own", "--out", tmp_path)[0] == 0
    (tmp_path / "own.txt").write_text("mine")
    code, _, error = run("experiment", "own", "--width", "3", "--out", tmp_path)
    assert (code, "holds results with other settings (width)" in error) == (2, True)
    assert run("experiment", "own", "--out", tmp_path)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.nc", "own.png", "own.txt"]


# --- gm-… -----------------------------------------------------------------------------------------


@pytest.mark.commands
def test_a_killed_experiment_goes_on_to_the_same_results(tmp_path, run, interrupt):
    quick = ["experiment", "gm-error", "--components", "3", "--epochs", "3", "--seeds", "2"]
    epochs = interrupt(2)
    code, _, error = run(*quick, "--out", tmp_path / "killed")
    assert code == 130
    assert error.endswith("mogp: interrupted; the same command goes on from its last checkpoint\n")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["checkpoints"]
    code, output, _ = run(*quick, "--out", tmp_path / "killed")
    assert code == 0
    assert len(epochs) == 3
    assert run(*quick, "--out", tmp_path / "whole")[0] == 0

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


@pytest.mark.commands
def test_evolution_follows_components_and_neurons(tmp_path, monkeypatch, interrupt):
    monkeypatch.setattr(_gm, "WIDTH", 20)
    options = {"epochs": 2, "components": (3,), "progress": False}
    epochs = interrupt(None)

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_evolution, "paths", killed)  # after all stages of the first model
        with pytest.raises(KeyboardInterrupt):
            experiments.run("gm-evolution", tmp_path, **options)
    outcome = experiments.run("gm-evolution", tmp_path, **options)
    assert len(epochs) == 4 * 2  # none of them twice
    assert len(outcome.lines) == 4
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
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "gm-evolution.nc", "gm-evolution.png",
    ]  # fmt: skip


def test_distances_of_paths_are_those_of_mixtures(key):
    keys = jax.random.split(key)
    a, b = (nn.GMLayer(6, 2, 4, key=k) for k in keys)
    shuffled = jax.tree.map(lambda p: p[::-1] if eqx.is_array(p) else p, a)
    moved = _evolution.paths([a, b, shuffled])["moved"].values
    scales = np.asarray(a.covariance.scales)
    size = np.sqrt(np.mean(np.sum(np.asarray(a.means) ** 2 + scales**2, axis=1)))
    assert_close(moved[1] * size, nn.mixture_distance(a, b, law="directions"), rtol=1e-6)
    assert moved[2] == 0  # the same law, its components in another order


@pytest.mark.parametrize("name", _gm.VARIANTS)
def test_every_variant_builds_and_takes_a_step(name):
    """Shapes only: nothing is compiled."""
    settings = experiments.EXPERIMENTS[name].settings("paper", "digits")
    assert (settings.epochs, settings.seeds) == (100, 5)
    variants = _gm.VARIANTS[name][0](_gm.Sizes(16, 10), *settings.components)

    def step(key, variant):
        model = variant.build(key)
        gradient = eqx.filter_grad(lambda m: m(jax.numpy.ones((4, 16))).sum())(model)
        parameters = eqx.filter(model, eqx.is_inexact_array)
        state = variant.optimizer.init(parameters)
        return eqx.apply_updates(model, variant.optimizer.update(gradient, state, parameters)[0])

    counts = {}
    for label, variant in variants.items():
        model = eqx.filter_eval_shape(step, jax.random.key(0), variant)
        counts[label] = sum(a.size for a in jax.tree.leaves(model) if hasattr(a, "size"))
    assert len(counts) >= 2
    if name == "gm-budget":  # equal parameters, up to rounding to whole neurons
        mixture, network, _ = counts.values()
        assert abs(mixture - network) <= 13


# --- pruning-map, pruning-bayes, features ---------------------------------------------------------


@pytest.mark.commands
def test_pruning_map_scores_every_rule_and_trains_nothing_twice(tmp_path, monkeypatch, interrupt):
    options = TINY | {"seeds": 1, "priors": ("iid", "horseshoe"), "progress": False}
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        experiments.run("pruning-map", tmp_path, **options)
    assert not (tmp_path / "pruning-map.nc").exists()
    outcome = experiments.run("pruning-map", tmp_path, **options)
    groups = outcome.groups
    assert {"iid: norm", "iid: single weights", "horseshoe: variance", "from scratch"} <= set(
        groups
    )
    assert "iid: variance" not in groups  # ties
    for name, group in groups.items():
        size = 1 if name == "from scratch" else 2
        assert group["accuracy"].shape == group["nll"].shape == (size, 1)
    whole = [groups[f"horseshoe: {r}"]["accuracy"][0] for r in ("variance", "contribution")]
    np.testing.assert_array_equal(*whole)
    assert imread(tmp_path / "pruning-map.png").std() > 0.02
    assert any("from scratch" in line for line in outcome.lines)

    def never(*arguments):
        raise AssertionError("trained again")

    data = datasets.load("digits")
    pieces = interrupt(None)
    del pieces[:]
    job = Job(outcome.settings, data, tmp_path / "checkpoints", False)
    again = _map._Trainer(job).trained("horseshoe", 12, 0)
    assert not pieces
    score = inference.evaluate(again, data.x_test, data.y_test)
    assert float(score.accuracy) == float(whole[0][0])

    monkeypatch.setattr(_map._Trainer, "pruned", never)  # nor are finished networks scored again
    assert experiments.run("pruning-map", tmp_path, **options).lines == outcome.lines


@pytest.mark.commands
def test_posteriors_are_drawn_once_for_both_experiments(tmp_path):
    options = TINY | {"width": 8, "epochs": 3, "priors": ("gbfry",), "draws": 1, "progress": False}
    outcome = experiments.run("pruning-bayes", tmp_path, **options)
    group = outcome.groups["gbfry: variance"]
    assert group["accuracy"].shape == (2, 1)
    assert group["draw_accuracy"].shape == (2, 2, 1)
    assert "gbfry: contribution, repaired" in outcome.groups
    assert imread(tmp_path / "pruning-bayes.png").std() > 0.02

    files = sorted((tmp_path / "checkpoints").iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    outcome = experiments.run("features", tmp_path, **options)
    assert sorted((tmp_path / "checkpoints").iterdir()) == files
    assert [file.stat().st_mtime_ns for file in files] == before
    found = outcome.groups["gbfry"]
    assert found["by_variance"].shape == found["by_random"].shape == (2, 2)
    assert found["images"].shape == (8, 64)
    assert float(found["by_contribution"].max()) > 0.2
    assert imread(tmp_path / "features.png").std() > 0.02
    assert len(outcome.lines) == 4


def test_top_nodes_are_those_of_their_own_chain():
    """Two chains whose nodes are in opposite order."""
    network = MoGP([priors.Horseshoe()]).network(3, 2, 5, key=jax.random.key(0))
    u = jax.numpy.arange(5.0)
    logs = jax.numpy.stack([jax.numpy.stack([u, u + 1]), jax.numpy.stack([-u, -u])])
    stacked = jax.tree.map(
        lambda a: jax.numpy.broadcast_to(a, (2, 2, *a.shape)) if eqx.is_array(a) else a, network
    )
    sources = nn.with_log_variances(stacked, [logs])
    best = _posteriors.top_nodes(sources, "variance", jax.numpy.ones((1, 3)), 2, 0)
    np.testing.assert_array_equal(best[0], [[4, 3], [0, 1]])


def test_settings_are_the_papers():
    published = _pruning.published
    for name in ("pruning-map", "pruning-bayes", "features"):
        settings = experiments.EXPERIMENTS[name].settings("paper", "fashion-mnist")
        assert (settings.width, settings.seeds) == (2000, 5)
        assert settings.hidden == (4 if name == "pruning-map" else 2)
        assert settings.epochs == (50 if name == "pruning-map" else 100)
        assert published(name, "digits") == {}
    assert published("pruning-map", "fashion-mnist")["iid"][0.05] == 19.64
    assert published("pruning-bayes", "mnist")["gbfry"][0.01] == 41.5
    assert published("features", "mnist") == {
        "iid": {1.0: 47.0}, "horseshoe": {1.0: 82.0}, "gbfry": {1.0: 90.0}
    }  # fmt: skip


def test_as_many_single_weights_stay_as_in_the_smaller_network():
    settings = _pruning.Settings("pruning-map", keep=(1.0, 0.25), width=12)
    network = MoGP([priors.Horseshoe()] * 2).network(64, 10, 12, key=jax.random.key(0))
    whole, thin = _map._Trainer(Job(settings, None, None, False)).thinned(network)
    small = pruning.compact(network, 0.25, importance="norm")
    for a, b, c in zip(network.weights, thin.weights, small.weights, strict=True):
        assert int((b != 0).sum()) == c.size
        assert jax.numpy.abs(a[b == 0]).max() <= jax.numpy.abs(b[b != 0]).min()
    np.testing.assert_array_equal(whole.weights[1], network.weights[1])


# --- under the prior ------------------------------------------------------------------------------


@pytest.fixture
def _few(monkeypatch):
    monkeypatch.setattr(_prior, "prior_for", priors.Stable)
    monkeypatch.setattr(_prior, "ALPHAS", (0.3,))
    monkeypatch.setattr(_prior, "DEPENDENCE", ("iid", "horseshoe"))


SMALL = {"width": 100, "samples": 40, "progress": False}


@pytest.mark.commands
@pytest.mark.usefixtures("_few")
def test_truncation_error(tmp_path):
    outcome = experiments.run("truncation-error", tmp_path, seed=1, **SMALL)
    assert all("for ε → 0 0.7" in line for line in outcome.lines)
    assert len(outcome.lines) == 2
    for data in outcome.groups.values():
        assert data["measured"].sizes == {"seed": 20, "threshold": 8}
        logs = [np.log(data[name].values).mean(0) for name in ("measured", "finite")]
        spread = [
            np.log(data[n].values).std(0) / len(data[n]) ** 0.5 for n in ("measured", "finite")
        ]
        assert np.all(np.abs(logs[0] - logs[1]) < 4 * np.hypot(*spread))
        a = data.attrs
        spread = np.hypot(a["measured_slope_error"], a["finite_slope_error"])
        assert abs(a["measured_slope"] - a["finite_slope"]) < 4 * spread
    image = imread(tmp_path / "truncation-error.png")
    assert image.shape[1] > 1000
    assert image.std() > 0.05


@pytest.mark.commands
@pytest.mark.usefixtures("_few")
def test_prior_dependence(tmp_path):
    outcome = experiments.run("prior-dependence", tmp_path, **SMALL)
    assert all("both beyond" in line for line in outcome.lines)
    iid, horseshoe = outcome.groups.values()
    assert iid["both_limit"][12] < 0.25 < 0.4 < horseshoe["both_limit"][12]  # one in ten
    np.testing.assert_allclose(iid["largest"][:, 1], 1 / iid["width"], rtol=1e-5)
    limit = horseshoe["largest_limit"].values
    np.testing.assert_allclose(horseshoe["largest"][-1, 1], limit[1], rtol=0.2)
    assert horseshoe["distance"][-1] < 0.1  # 4000 draws of each
    assert imread(tmp_path / "prior-dependence.png").std() > 0.05


# --- checkpoints ----------------------------------------------------------------------------------


def test_other_settings_have_other_checkpoints(tmp_path):
    settings = _pruning.Settings("pruning-map", priors=("iid",))
    files = {
        _map._Trainer(Job(each, None, tmp_path, False)).checkpoint("iid")
        for each in (settings, replace(settings, width=7), replace(settings, seed=1))
    }
    assert len(files) == 3
    other = replace(settings, keep=(1.0,), draws=3)  # nothing that trains
    assert _map._Trainer(Job(other, None, tmp_path, False)).checkpoint("iid") in files
