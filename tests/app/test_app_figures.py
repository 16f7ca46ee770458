"""The pictures of a report."""

import numpy as np
import pytest

from mogp import plots
from mogp.app import _figures

RNG = np.random.default_rng(0)
MEAN = RNG.normal(size=40)
INTERVAL = np.stack([MEAN - 1, MEAN + 1])
DRAWS = np.exp(RNG.normal(size=(4, 100)))
SHARES = RNG.dirichlet(np.ones(3), 40)
LABELS = RNG.integers(0, 3, 40)
POINTS = {"data": (MEAN, MEAN), "new": (MEAN, -MEAN)}
CALLS = {
    "band": (np.arange(40), MEAN, INTERVAL, POINTS),
    "before_after": (DRAWS, 2 * DRAWS),
    "confusion": (SHARES, LABELS, ["a", r"\$b\$", "many"]),
    "predicted_observed": (MEAN, INTERVAL, MEAN + np.where(np.arange(40) < 3, 2, 0.9), "y"),
    "rank_densities": (DRAWS,),
    "traces": (DRAWS, "scale"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_picture_is_drawn_on_its_axes(name, tmp_path):
    figure, axes = plots.panels(1, 2)
    getattr(_figures, name)(axes[0, 1], *CALLS[name])
    assert axes[0, 1].has_data()
    assert not axes[0, 0].has_data()
    assert axes[0, 1].spines["left"].get_visible() == (name != "before_after")
    assert not axes[0, 1].spines["top"].get_visible()
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_pictures_say_what_they_show():
    axes = {name: plots.panels(1, 1)[1][0, 0] for name in CALLS}
    for name, ax in axes.items():
        getattr(_figures, name)(ax, *CALLS[name])
    words = axes["predicted_observed"].get_legend_handles_labels()[1]
    assert words == ["37 of 40 inside their interval", "3 of 40 outside their interval"]
    words = axes["band"].get_legend_handles_labels()[1]
    assert words == ["90 % interval", "mean", "data", "new"]
    assert len(axes["traces"].lines) == 4
    assert axes["rank_densities"].get_xlabel() == "rank / number of draws"
    assert axes["before_after"].get_xscale() == "log"


def test_the_table_of_classes_counts_rows():
    ax = plots.panels(1, 1)[1][0, 0]
    _figures.confusion(ax, np.eye(3)[[0, 0, 1, 2]], np.array([0, 1, 1, 2]), ["a", "b", "c"])
    assert sorted(text.get_text() for text in ax.texts) == ["1", "1", "1", "1"]
