"""A user's own table: files, encodings, the two commands, the report, and mistakes."""

import json
import re
import sys

import arviz_base
import jax
import numpy as np
import pandas as pd
import pytest
from closeness import assert_close
from matplotlib.image import imread

from mogp import MoGP, cli, inference, priors
from mogp.fitting import _fit as fit_room
from mogp.fitting import _summaries as summaries
from mogp.fitting import _tables as tables

QUICK = ["--prior", "iid", "--samples", "60", "--warmup", "60", "--chains", "2"]


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(*map(str, arguments))
        return caught.value.code or 0, *capsys.readouterr()

    return run


def numbers(n=20):
    """One input, a real target far from 0 and 1, in a table."""
    x = np.linspace(0.0, 10.0, n)
    noise = np.random.default_rng(0).normal(size=n)
    return pd.DataFrame({"dose": x, "effect": 500 + 30 * x + 5 * noise})


def kinds(n=24):
    """Two inputs, one of text, and three classes of text."""
    rng = np.random.default_rng(1)
    size = rng.normal(size=n)
    kind = np.array(["high", "low", "mid"])[np.digitize(size, [-0.5, 0.5])]
    return pd.DataFrame({"size": size, "colour": np.tile(["red", "blue"], n // 2), "kind": kind})


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """A fit of numbers by the command, interrupted once: folder of the table and of `fit`."""
    folder = tmp_path_factory.mktemp("regression")
    numbers().to_csv(folder / "data.csv", index=False)
    arguments = ["fit", str(folder / "data.csv"), "--target", "effect", "--out",
                 str(folder / "fit"), *QUICK]  # fmt: skip
    save = inference._checkpoint.save

    def interrupted(*given):
        save(*given)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference._checkpoint, "save", interrupted)
        with pytest.raises(SystemExit) as caught:
            cli.main(*arguments)
    assert caught.value.code == 130
    assert sorted(path.name for path in folder.iterdir()) == [".fit.part", "data.csv"]
    with pytest.raises(SystemExit) as caught:
        cli.main(*arguments)
    assert not caught.value.code
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A fit of classes with a prior that has jumps: its folder."""
    folder = tmp_path_factory.mktemp("classes")
    kinds().to_csv(folder / "data.csv", index=False)
    settings = fit_room.Settings(
        target="kind", prior="horseshoe", num_jumps=3, samples=30, warmup=10, chains=1,
        test_fraction=0.25,
    )  # fmt: skip
    fit_room.fit(settings, folder / "data.csv", folder / "fit", progress=False)
    return folder


# --- the commands ---------------------------------------------------------------------------------


def test_a_fit_is_a_folder_with_report_record_and_posterior(regression):
    assert sorted(path.name for path in regression.iterdir()) == ["data.csv", "fit"]
    folder = regression / "fit"
    pictures = ["calibration.png", "chains.png", "predictions.png", "unknowns.png"]
    names = sorted([*pictures, "fit.json", "posterior.nc", "report.html"])
    assert sorted(path.name for path in folder.iterdir()) == names
    record = json.loads((folder / "fit.json").read_text())
    assert record["rows"] == {"training": 16, "test": 4}
    assert record["settings"]["likelihood"] == "gaussian"
    assert set(record["scores"]["test"]) == {"nll", "rmse", "crps", "coverage"}
    assert record["scores"]["test"]["rmse"] < 60  # in units of the target, of sd 90
    assert record["scores"]["loo"]["nll"] > 2
    names = {"noise_scale", "weight_scale0", "weight_scale1", "bias_scale0", "bias_scale1"}
    assert set(record["convergence"]["unknowns"]) == names
    for name in pictures:
        image = imread(folder / name)
        assert min(image.shape[:2]) > 300
        assert image.std() > 0.05


def test_the_report_stands_alone(regression, classes):
    for folder in (regression, classes):
        page = (folder / "fit" / "report.html").read_text()
        assert page.count('src="data:image/png;base64,') == 4
        assert not re.search(r'(src|href)="(?!data:)', page)
        for word in ("Scores", "leave-one-out", "R̂", "divergences", "prior"):
            assert word in page


def test_predictions_come_back_in_units_of_the_target(regression, run, tmp_path):
    new = pd.DataFrame({"dose": [2.0, 8.0], "unused": ["a", "b"]})
    new.to_csv(tmp_path / "new.csv", index=False)
    code, output, _ = run("predict", regression / "fit", tmp_path / "new.csv", "--out",
                          tmp_path / "out.csv")  # fmt: skip
    assert (code, "2 rows" in output) == (0, True)
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["mean", "sd", "q05", "q50", "q95"]
    assert ((found["q05"] < found["q50"]) & (found["q50"] < found["q95"])).all()
    assert np.all(np.abs(found["mean"] - (500 + 30 * new["dose"])) < 60)


def test_predictions_of_classes_are_probabilities(classes, run, tmp_path):
    np.savez(tmp_path / "new.npz", size=[-2.0, 0.0], colour=["red", "blue"])
    code, _, _ = run("predict", classes / "fit", tmp_path / "new.npz", "--out",
                     tmp_path / "out.npz")  # fmt: skip
    assert code == 0
    found = tables.read(tmp_path / "out.npz")
    assert list(found) == ["class", "p_high", "p_low", "p_mid"]
    assert_close(found[["p_high", "p_low", "p_mid"]].sum(axis=1).to_numpy(), np.ones(2), rtol=1e-5)
    assert set(found["class"]) <= {"high", "low", "mid"}


def test_a_loaded_fit_predicts_as_the_fitted_one(classes):
    first, second = (fit_room.load(classes / "fit") for _ in range(2))
    table = first.predict(kinds())
    pd.testing.assert_frame_equal(table, second.predict(kinds()))
    assert len(table) == 24
    # the draws are those of the sampler: its own likelihood of the training rows
    posterior = first.posterior
    x, y = (
        posterior.data[group][name].values
        for group, name in (("constant_data", "x"), ("observed_data", "y"))
    )
    kept = posterior.data["log_likelihood"]["y"].values.reshape(-1, len(x))
    probabilities = jax.nn.softmax(posterior.predict(x).outputs, axis=-1)
    assert_close(np.log(probabilities[:, np.arange(len(x)), y]), kept, rtol=0, atol=1e-4)


def test_predictions_do_not_depend_on_blocks(classes, monkeypatch):
    fitted, table = fit_room.load(classes / "fit"), kinds().iloc[:7]
    whole = fitted.predict(table)
    monkeypatch.setattr(fit_room, "_BLOCK", 3)
    pd.testing.assert_frame_equal(fitted.predict(table), whole)


def test_a_finished_fit_is_not_written_over(regression, run):
    before = (regression / "fit" / "fit.json").read_bytes()
    code, _, error = run("fit", regression / "data.csv", "--target", "effect", "--out",
                         regression / "fit")  # fmt: skip
    assert (code, "is there already" in error) == (2, True)
    assert (regression / "fit" / "fit.json").read_bytes() == before


MISTAKES = {
    "no such file": (["nothing.csv"], "nothing.csv"),
    "suffix": (["data.txt"], "must end in .csv, .parquet, .npz, got '.txt'"),
    "target": (["data.csv", "--target", "cost"], "has no columns ['cost']; it has ['dose'"),
    "inputs": (["data.csv", "--inputs", "dose, mass"], "has no columns ['mass']"),
    "target among inputs": (["data.csv", "--inputs", "effect"], "columns other than the target"),
    "prior": (["data.csv", "--prior", "spike"], "prior must be one of"),
    "likelihood": (["data.csv", "--likelihood", "normal"], "likelihood must be one of"),
    "samples": (["data.csv", "--samples", "0"], "samples must be an integer of at least 1, got 0"),
    "draws": (["data.csv", "--samples", "6"], "samples must give at least 25 draws in all"),
    "activation": (["data.csv", "--activation", "swosh"], "swosh"),
    "fraction": (["data.csv", "--test-fraction", "1"], "test_fraction must be in [0, 1), got 1"),
    "counts": (["data.csv", "--likelihood", "poisson"], "y must be counts"),
    "classes": (["kinds.csv", "--likelihood", "bernoulli"], "needs two classes, 'kind' has 3"),
    "text": (["kinds.csv", "--likelihood", "gaussian"], "must hold numbers, got "),
    "gaps": (["gaps.csv"], "missing or infinite values in 2 rows, [1, 3] (the first row is 0), in "
             "columns ['dose', 'effect']"),
    "constant": (["constant.csv"], "'effect' must vary, is 3 in all training rows"),
    "one class": (["same.csv"], "all training rows have target 'kind' = 'high'"),
    "one row": (["one.csv"], "must have at least 2 training rows, got 1"),
    "empty": (["empty.csv"], "empty.csv has no rows"),
    "names": (["names.csv"], "column 'name' holds text with 32 values, more than 20 (row "),
    "unseen": (["kinds.csv", "--test", "unseen.csv"], "column 'kind' has values ['huge'] in rows"),
    "broken": (["broken.npz"], "broken.npz cannot be read as npz"),
    "parquet": (["data.parquet"], "Parquet needs pyarrow: pip install 'bayesian-mogp[parquet]'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    gaps = numbers(6)
    gaps.loc[1, "dose"], gaps.loc[3, "effect"] = np.nan, np.inf
    names = numbers(40).assign(name=[f"person {i}" for i in range(40)])
    written = {
        "data": numbers(), "kinds": kinds(), "gaps": gaps, "names": names, "one": numbers(1),
        "constant": numbers().assign(effect=3.0), "empty": numbers(0),
        "same": kinds().assign(kind="high"), "unseen": kinds().assign(kind="huge"),
    }  # fmt: skip
    for name, frame in written.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    for name in ("broken.npz", "data.parquet", "data.txt"):
        (folder / name).write_text("not really")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(name, tables_folder, run, tmp_path, monkeypatch):
    (file, *options), message = MISTAKES[name]
    if name == "parquet":  # whether or not it is installed here
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "fastparquet", None)
    options = [tables_folder / o if str(o).endswith(".csv") else o for o in options]
    if "--target" not in options:
        options += ["--target", "kind" if file in ("kinds.csv", "same.csv") else "effect"]
    code, output, error = run("fit", tables_folder / file, *options, "--out", tmp_path / "fit")
    assert (code, output) == (2, "")
    assert message in error
    assert error.startswith("mogp: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"size": [1.0]}), "has no columns ['colour']"),
        (pd.DataFrame({"size": [1.0], "colour": ["green"]}), "has values ['green'] in rows [0]"),
        (pd.DataFrame({"size": ["x"], "colour": ["red"]}), "must hold numbers, got 'x' in row 0"),
        (pd.DataFrame({"size": [np.nan], "colour": ["red"]}), "missing or infinite values"),
    ],
)
def test_rows_that_cannot_be_predicted_are_named(frame, message, classes):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_room.load(classes / "fit").predict(frame)


def test_a_folder_without_a_fit_is_a_mistake(run, tmp_path, tables_folder):
    arguments = [tables_folder / "data.csv", "--out", tmp_path / "out.csv"]
    code, _, error = run("predict", tmp_path, *arguments)
    assert (code, "holds no fit" in error) == (2, True)
    (tmp_path / "fit.json").write_text("{}")
    code, _, error = run("predict", tmp_path, *arguments)
    assert (code, "is not the record of a fit" in error) == (2, True)


def test_help_names_the_options(run):
    output = run("fit", "--help")[1]
    for option in ("--target", "--inputs", "--prior", "--likelihood", "--test-fraction", "--out"):
        assert option in output
    assert "--out" in run("predict", "--help")[1]


# --- tables ---------------------------------------------------------------------------------------


def test_inputs_and_targets_are_standardised_by_the_training_rows():
    frame = numbers().assign(site=["a", "b"] * 10)
    encoding = tables.learn(frame[:15], "effect", classes=False, standardise=True)
    x, y = encoding.inputs(frame), encoding.targets(frame)
    assert_close(x[:15].mean(0), np.zeros(3), rtol=0, atol=1e-12)
    assert_close(x[:15].std(0), np.ones(3), rtol=1e-12)
    assert_close(y[:15].std(), 1.0, rtol=1e-12)
    assert_close(encoding.target_mean + encoding.target_scale * y, frame["effect"], rtol=1e-12)
    again = tables.Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding


def test_labels_do_not_depend_on_the_type_a_file_gave_them():
    learned = tables.learn(
        pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [10, 9, 10, 2]}),
        "y", classes=True, standardise=False,
    )  # fmt: skip
    assert learned.classes == ("2", "9", "10")
    for labels in ([2.0, 10.0], ["2", "10"], [2, 10]):
        frame = pd.DataFrame({"x": [0.0, 0.0], "y": labels})
        np.testing.assert_array_equal(learned.targets(frame), [0, 2])


def test_a_constant_input_is_kept_at_zero():
    learned = tables.learn(numbers().assign(one=1.0), "effect", classes=False, standardise=True)
    assert learned.scales[1] == 1
    assert not learned.inputs(numbers().assign(one=1.0))[:, 1].any()


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_tables_come_back_from_files(suffix, tmp_path):
    tables.write(kinds(), tmp_path / f"table.{suffix}")
    pd.testing.assert_frame_equal(
        tables.read(tmp_path / f"table.{suffix}"), kinds(), check_dtype=False
    )


def test_a_matrix_in_an_npz_file_is_columns(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.arange(3))
    assert list(tables.read(tmp_path / "a.npz")) == ["x0", "x1", "y"]


def test_a_split_keeps_the_shares_of_classes():
    frame = pd.DataFrame({"k": ["a"] * 30 + ["b"] * 20 + ["c"] * 10, "i": range(60)})
    train, test = tables.split(frame, 0.2, by="k", seed=3)
    assert sorted([*train["i"], *test["i"]]) == list(range(60))
    assert dict(test["k"].value_counts()) == {"a": 6, "b": 4, "c": 2}
    assert len(tables.split(frame, 0.0)[1]) == 0
    assert not tables.split(frame, 0.2, seed=4)[1].equals(tables.split(frame, 0.2, seed=5)[1])


# --- numbers about a posterior --------------------------------------------------------------------


def test_leave_one_out_by_importance_is_that_by_quadrature():
    """Noise unknown, nothing else: draws from the posterior by its grid, evidence by quadrature."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=8)
    kernel = np.array(MoGP([priors.Deterministic()], bias_scale=1.0).sample_kernel(
        jax.numpy.linspace(-1.0, 1.0, 8)[:, None], key=jax.random.key(0))[0])  # fmt: skip
    grid = np.linspace(0.01, 6, 3000)

    def log_densities(keep):
        covariances = kernel[np.ix_(keep, keep)] + grid[:, None, None] ** 2 * np.eye(len(keep))
        fits = np.einsum("i,gij,j->g", y[keep], np.linalg.inv(covariances), y[keep])
        log_det = np.linalg.slogdet(covariances)[1]
        return -(fits + log_det + len(keep) * np.log(2 * np.pi)) / 2

    prior, whole = np.exp(-(grid**2) / 2), log_densities(np.arange(8))
    without = np.stack([log_densities(np.delete(np.arange(8), i)) for i in range(8)], axis=1)
    posterior, given_others = prior * np.exp(whole), whole[:, None] - without
    exact = -np.mean(np.log(posterior.sum() / (prior[:, None] * np.exp(without)).sum(0)))
    draws = rng.choice(len(grid), size=(4, 2000), p=posterior / posterior.sum())
    groups = {"posterior": {"noise": grid[draws]}, "log_likelihood": {"y": given_others[draws]}}
    tree = arviz_base.from_dict(groups)
    found = summaries.leave_one_out(inference.Posterior(tree, None, inference.Gaussian()))
    weights = np.exp(-given_others[draws])
    errors = weights.std((0, 1)) / weights.mean((0, 1)) / np.sqrt(8000)
    assert abs(found["nll"] - exact) < 4 * errors.mean()  # each row's, as if all erred alike
    assert found["bad"] == 0


def test_ranks_are_uniform_for_draws_from_the_predictions(key):
    class Fake:
        def sample(self, *, key):
            return jax.random.poisson(key, 3.0, (999, 400, 1)).astype(float)

    ranks = summaries.ranks(Fake(), np.random.default_rng(0).poisson(3.0, 400))
    from scipy import stats

    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


def test_two_classes_are_scored_as_classes():
    one = inference.Predictive(inference.Bernoulli(), np.full((3, 4, 1), 2.0), None)
    scores = one.evaluate(np.array([1, 1, 1, 0]))
    assert scores["accuracy"] == 0.75
    assert set(scores) == {"nll", "accuracy", "brier", "ece"}
    p = 1 / (1 + np.exp(-2.0))
    assert_close(scores["brier"], (6 * (1 - p) ** 2 + 2 * p**2) / 4, rtol=1e-5)
