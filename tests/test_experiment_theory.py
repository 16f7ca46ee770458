"""`mogp experiment` without data: what it simulates, predicts and writes. Tiny."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

from mogp import cli, priors
from mogp.experiments import theory


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(*map(str, arguments))
        return caught.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    def settings_for(name, scale):
        return theory.Settings(name, width=100, depths=(1, 2), seeds=20, samples=40)

    monkeypatch.setattr(theory, "settings_for", settings_for)
    monkeypatch.setattr(theory, "prior_for", priors.Stable)
    monkeypatch.setattr(theory, "ALPHAS", (0.3,))
    monkeypatch.setattr(theory, "DEPENDENCE", ("iid", "horseshoe"))


def test_truncation_error(tmp_path, run):
    code, output, error = run("experiment", "truncation-error", "--seed", 1, "--out", tmp_path)
    assert code == 0, error
    assert output.count("for ε → 0 0.7") == 2
    with xr.open_datatree(tmp_path / "truncation-error.nc", engine="h5netcdf") as tree:
        groups = [group.to_dataset().load() for group in tree.children.values()]
    assert len(groups) == 2
    for data in groups:
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


def test_prior_dependence(tmp_path, run):
    code, output, error = run("experiment", "prior-dependence", "--out", tmp_path)
    assert code == 0, error
    assert output.count("both beyond") == 2
    with xr.open_datatree(tmp_path / "prior-dependence.nc", engine="h5netcdf") as tree:
        iid, horseshoe = (group.to_dataset().load() for group in tree.children.values())
    assert iid["both_limit"][12] < 0.25 < 0.4 < horseshoe["both_limit"][12]  # one in ten
    np.testing.assert_allclose(iid["largest"][:, 1], 1 / iid["width"], rtol=1e-5)
    limit = horseshoe["largest_limit"].values
    np.testing.assert_allclose(horseshoe["largest"][-1, 1], limit[1], rtol=0.2)
    assert horseshoe["distance"][-1] < 0.1  # 4000 draws of each


def test_mistakes(tmp_path, run):
    with pytest.raises(ValueError, match="name must be one of"):
        theory.Settings("nothing")
    with pytest.raises(ValueError, match="seeds must be an integer"):
        theory.Settings("truncation-error", seeds=0)
