"""Figures: what they show, on axes of one's own or new ones, in one style."""

import jax
import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy import stats

from mogp import plots
from mogp.plots._predictions import _ranks

RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet(np.ones(3), 40)
LABELS = RNG.integers(0, 3, 40)
MEAN = RNG.normal(size=40)
KEEP = np.array([1.0, 0.1, 0.01, 0.005])
RUNS = np.linspace(0.9, 0.3, 4)[:, None] + np.array([[-0.02, 0.02]])
LINES = [
    plots.Line("horseshoe: variance", KEEP, RUNS),
    plots.Line("horseshoe: norm", KEEP, RUNS / 2),
    plots.Line("from scratch", KEEP[1:], RUNS[1:], True),
]
# Every public figure, called with `ax=`.
FIGURES = {
    "error_curves": lambda ax: plots.error_curves({"a": RUNS, "b": RUNS / 2}, ax=ax),
    "pruning_curves": lambda ax: plots.pruning_curves(LINES, width=1000, ax=ax),
    "rank_histogram": lambda ax: plots.rank_histogram(
        RNG.normal(size=(99, 40)), MEAN, key=jax.random.key(0), ax=ax
    ),
    "reliability": lambda ax: plots.reliability(SHARES, LABELS, ax=ax),
}
STYLE = {"BLUE", "GREY", "Line", "ORANGE", "STYLES", "Style", "number_ticks", "panels", "tidy"}


def test_every_public_figure_is_in_the_table():
    assert set(plots.__all__) == FIGURES.keys() | STYLE


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_on_the_given_axes_or_new_ones(name, tmp_path):
    _, axes = plots.panels(1, 2)
    assert FIGURES[name](axes[0, 1]) is axes[0, 1]
    assert axes[0, 1].has_data()
    assert not axes[0, 0].has_data()
    own = FIGURES[name](None)
    assert isinstance(own, Axes)
    assert own.spines["left"].get_visible()
    assert not own.spines["top"].get_visible()
    own.figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.parametrize("score", ["accuracy", "nll"])
def test_curves_show_every_fraction_on_a_logarithmic_axis(score):
    ax = plots.pruning_curves(LINES, score=score, width=1000)
    assert ax.get_xscale() == "log"
    assert ax.get_yscale() == ("linear" if score == "accuracy" else "log")
    texts = [label.get_text() for label in ax.get_xticklabels()]
    assert texts == ["0.5 %\n5", "1 %\n10", "10 %\n100", "100 %\n1000"]
    first, second, bound = ax.get_lines()
    assert first.get_color() == second.get_color() != bound.get_color() == "black"
    assert first.get_linestyle() != second.get_linestyle()
    factor = 100 if score == "accuracy" else 1
    np.testing.assert_allclose(first.get_ydata(), factor * RUNS.mean(1))


def test_a_model_that_is_not_pruned_is_a_level_line():
    whole = plots.Line("GM layer", np.ones(1), np.array([[0.9, 0.8]]), True)
    ax = plots.pruning_curves([*LINES[:1], whole])
    level = ax.get_lines()[1]
    np.testing.assert_allclose(level.get_ydata(), 85)
    assert len(level.get_xdata()) == 4


def test_lines_without_rules_have_colours_of_their_own():
    lines = [plots.Line(name, KEEP, RUNS) for name in ("iid", "horseshoe", "gbfry")]
    drawn = plots.pruning_curves(lines).get_lines()
    assert [line.get_color() for line in drawn] == [style.color for style in plots.STYLES[:3]]
    assert [line.get_marker() for line in drawn] == [style.marker for style in plots.STYLES[:3]]


def test_a_score_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="score must be 'accuracy' or 'nll', got 'loss'"):
        plots.pruning_curves(LINES, score="loss")


def test_ranks_are_uniform_for_draws_from_the_predictions(key):
    """Counts, which have ties."""
    draws = np.asarray(jax.random.poisson(key, 3.0, (999, 400)), float)
    observed = np.random.default_rng(0).poisson(3.0, 400)
    ranks = _ranks(draws, observed, jax.random.key(1))
    assert np.all((ranks > 0) & (ranks < 1))
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


def test_axes_keep_labels_that_tidy_is_not_given():
    ax = plots.panels(1, 1)[1][0, 0]
    ax.set(xlabel="x", title="old")
    plots.tidy(ax, y_label="y")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "y", "old")
    assert ax.get_legend() is None
    ax.plot([0, 1], label="a line")
    assert plots.tidy(ax).get_legend() is not None
