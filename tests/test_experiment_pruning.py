"""`mogp experiment pruning-map | pruning-bayes | features`: tiny, on digits; their figures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from mogp import cli, datasets, inference, nn, priors, pruning
from mogp.experiments.bayes import run, top_nodes
from mogp.experiments.pruning import (
    EXPERIMENTS,
    Settings,
    _Trainer,
    checkpoint,
    lines,
    settings_for,
)
from mogp.experiments.pruning_plots import Line, node_images, size_curves
from mogp.experiments.published import published

TINY = {"epochs": 2, "seeds": 2, "width": 12, "keep": (1.0, 0.25), "draws": 1, "hidden": 2}


@pytest.fixture
def command(capsys):
    def execute(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main("experiment", *map(str, arguments))
        return caught.value.code or 0, *capsys.readouterr()

    return execute


@pytest.mark.slow
def test_pruning_map_scores_every_rule_and_trains_nothing_twice(tmp_path, monkeypatch):
    settings = Settings("pruning-map", priors=("iid", "horseshoe"), **(TINY | {"seeds": 1}))
    tree = run(settings, tmp_path, progress=False)
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
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
    assert any("from scratch" in line for line in lines(tree))

    def never(*arguments):
        raise AssertionError("trained again")

    data = datasets.load("digits")
    monkeypatch.setattr(inference._fit, "_run_epoch", never)
    again = _Trainer(settings, data, tmp_path, False).trained("horseshoe", 12, 0)
    score = inference.evaluate(again, data.x_test, data.y_test)
    assert float(score.accuracy) == float(whole[0][0])

    monkeypatch.setattr(_Trainer, "pruned", never)  # nor are finished networks scored again
    assert lines(run(settings, tmp_path, progress=False)) == lines(tree)


@pytest.mark.slow
def test_posteriors_are_drawn_once_for_both_experiments(tmp_path):
    settings = Settings("pruning-bayes", priors=("gbfry",), **(TINY | {"width": 8, "epochs": 3}))
    tree = run(settings, tmp_path, progress=False)
    group = tree["gbfry: variance"].to_dataset()
    assert group["accuracy"].shape == (2, 1)
    assert group["draw_accuracy"].shape == (2, 2, 1)
    assert "gbfry: contribution, repaired" in tree.children
    assert imread(tmp_path / "pruning-bayes.png").std() > 0.02

    features = Settings("features", priors=("gbfry",), **(TINY | {"width": 8, "epochs": 3}))
    assert checkpoint(features, tmp_path, "gbfry") == checkpoint(settings, tmp_path, "gbfry")
    tree = run(features, tmp_path, progress=False)
    found = tree["gbfry"].to_dataset()
    assert found["by_variance"].shape == found["by_random"].shape == (2, 2)
    assert float(found["by_contribution"].max()) > 0.2
    assert imread(tmp_path / "features.png").std() > 0.02
    assert len(lines(tree)) == 4


def test_top_nodes_are_those_of_their_own_chain():
    """Two chains whose nodes are in opposite order."""
    build = lambda k: nn.DependentMLP(3, 2, 5, [priors.Horseshoe()], key=k)  # noqa: E731
    network = build(jax.random.key(0))
    u = jnp.arange(5.0)
    logs = jnp.stack([jnp.stack([u, u + 1]), jnp.stack([-u, -u])])
    stacked = jax.tree.map(
        lambda a: jnp.broadcast_to(a, (2, 2, *a.shape)) if eqx.is_array(a) else a, network
    )
    sources = eqx.tree_at(lambda n: n.log_variances[0], stacked, logs)
    best = top_nodes(sources, "variance", jnp.ones((1, 3)), 2, 0)
    np.testing.assert_array_equal(best[0], [[4, 3], [0, 1]])


def test_settings_are_the_papers():
    for name in EXPERIMENTS:
        settings = settings_for(name, "fashion-mnist", "paper")
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
    data = datasets.load("digits")
    settings = Settings("pruning-map", keep=(1.0, 0.25), width=12)
    network = nn.DependentMLP(64, 10, 12, [priors.Horseshoe()] * 2, key=jax.random.key(0))
    whole, thin = _Trainer(settings, data, None, False).thinned(network)
    small = pruning.compact(network, 0.25, rank="norm")
    for a, b, c in zip(network.weights, thin.weights, small.weights, strict=True):
        assert int((b != 0).sum()) == c.size
        assert jnp.abs(a[b == 0]).max() <= jnp.abs(b[b != 0]).min()
    np.testing.assert_array_equal(whole.weights[1], network.weights[1])


def test_curves_show_every_fraction_on_a_logarithmic_axis():
    keep = np.array([1.0, 0.1, 0.01, 0.005])
    runs = np.linspace(0.9, 0.3, 4)[:, None] + np.array([[-0.02, 0.02]])
    curves = [Line("horseshoe: variance", keep, runs, 3 * (1 - runs)),
             Line("horseshoe: norm", keep, runs / 2, 3 * runs),
             Line("from scratch", keep[1:], runs[1:], runs[1:])]  # fmt: skip
    figure = size_curves(curves, width=1000, title="digits")
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        texts = [label.get_text() for label in axes.get_xticklabels()]
        assert texts == ["0.5 %\n5", "1 %\n10", "10 %\n100", "100 %\n1000"]
        first, second, bound = axes.get_lines()
        assert first.get_color() == second.get_color() != bound.get_color() == "black"
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), 100 * runs.mean(1))


def test_images_of_nodes_are_square():
    figure = node_images({"a": np.ones((3, 64)), "b": np.ones((2, 64))})
    assert len([axes for axes in figure.axes if axes.images]) == 5
    with pytest.raises(ValueError, match="square images, got 60 pixels"):
        node_images({"a": np.ones((3, 60))})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pruning"], "name must be one of"),
        (["features", "--scale", "large"], "scale must be one of ['paper', 'small']"),
        (["features", "--components", "3"], "features takes no components"),
        (["gm-error", "--width", "3"], "gm-error takes no width"),
        (["prior-dependence", "--data", "mnist"], "prior-dependence takes no data"),
        (["pruning-map", "--width", "0"], "width must be an integer of at least 1, got 0"),
        (["pruning-map", "--priors", ","], "priors must name at least one prior"),
        (["pruning-bayes", "--priors", "horse"], "horse"),
        (["pruning-map", "--data", "cifar"], "'cifar'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, command):
    code, output, error = command(*arguments, "--out", tmp_path / "out")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "out").exists()


def test_an_interrupted_experiment_goes_on(tmp_path, command, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(inference._fit, "_run_epoch", stopped)
    arguments = ["pruning-map", "--epochs", 1, "--width", 5, "--priors", "iid"]
    code, _, error = command(*arguments, "--out", tmp_path)
    assert (code, error) == (
        130, "mogp: interrupted; the same command goes on from its last checkpoint\n"
    )  # fmt: skip
    assert not (tmp_path / "pruning-map.nc").exists()
