"""`mogp fit` and `mogp predict`: results, the report, kills and mistakes."""

import json
import re
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from app_tables import kinds, numbers
from closeness import assert_close
from matplotlib.image import imread

from mogp import MoGP, inference, priors
from mogp.app import fits, tables
from mogp.app.command import main
from mogp.estimators import _estimator

QUICK = ["--prior", "iid", "--samples", "60", "--warmup", "60", "--chains", "2"]


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """A fit of numbers by the command: folder of the table and of `fit`."""
    folder = tmp_path_factory.mktemp("regression")
    numbers().to_csv(folder / "data.csv", index=False)
    with pytest.raises(SystemExit) as caught:
        main("fit", folder / "data.csv", "--target", "effect", "--out", folder / "fit", *QUICK)
    assert not caught.value.code
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A fit of classes with a prior that has jumps: its folder."""
    folder = tmp_path_factory.mktemp("classes")
    kinds().to_csv(folder / "data.csv", index=False)
    settings = fits.Settings(
        target="kind", prior="horseshoe", jumps=3, samples=30, warmup=10, chains=1,
        test_fraction=0.25,
    )  # fmt: skip
    fits.fit(settings, folder / "data.csv", folder / "fit", progress=False)
    return folder


def drawn(frame, target, likelihood):
    """A fit whose draws are networks from the prior: all of a fit, but for the sampling."""
    settings = fits.Settings(target, prior="horseshoe", width=6)
    columns = tables.understood(frame, frame.columns, {}, tables.AS_FOUND, "it")
    kinds = {name: tables.kind_of(column) for name, column in columns.items()}
    classes = tables.classes_of(frame[target], "it") if kinds[target] == "text" else None
    names = tuple(name for name in frame if name != target)
    reading = tables.Reading(names, target, kinds, classes)
    estimator = settings.estimator(has_classes=classes is not None)
    x, y = estimator.prepare(reading.inputs(frame), reading.targets(frame).to_numpy())
    model = MoGP([priors.Horseshoe()])
    keys = jax.random.split(jax.random.key(0), (1, 30))
    size = len(classes or "1")
    sources = jax.vmap(jax.vmap(lambda k: model.network(x.shape[1], size, 6, key=k)))(keys)
    x, y = jax.numpy.asarray(x), likelihood.targets(y, len(x))
    estimator.posterior_ = inference.Posterior(sources, likelihood, x, y, key=jax.random.key(1))
    return fits.Fit(settings, reading, estimator, {})


@pytest.fixture(scope="module")
def drawn_classes():
    return drawn(kinds(), "kind", inference.Categorical(3))


# --- the commands ---------------------------------------------------------------------------------


@pytest.mark.commands
def test_an_interrupted_fit_goes_on_to_the_same_draws(regression, run, tmp_path, interrupt):
    arguments = ["fit", regression / "data.csv", "--target", "effect", "--out", tmp_path / "fit"]
    pieces = interrupt(1)
    assert run(*arguments, *QUICK)[0] == 130
    assert [path.name for path in tmp_path.iterdir()] == [".fit.part"]
    assert run(*arguments, *QUICK)[0] == 0
    assert len(pieces) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]
    records = [json.loads((f / "fit" / "fit.json").read_text()) for f in (tmp_path, regression)]
    for name in ("scores", "convergence"):
        assert records[0][name] == records[1][name]


@pytest.mark.commands
def test_a_fit_is_a_folder_with_report_record_and_posterior(regression):
    assert sorted(path.name for path in regression.iterdir()) == ["data.csv", "fit"]
    folder = regression / "fit"
    pictures = ["calibration.png", "chains.png", "predictions.png", "residuals.png"]
    pictures += ["unknowns.png"]
    names = sorted([*pictures, "fit.json", "posterior.nc", "report.html"])
    assert sorted(path.name for path in folder.iterdir()) == names
    record = json.loads((folder / "fit.json").read_text())
    assert record["rows"] == {"training": 16, "test": 4}
    assert record["settings"]["likelihood"] == "gaussian"
    assert set(record["scores"]["test"]) == {"nll", "rmse", "crps", "coverage"}
    assert record["scores"]["test"]["rmse"] < 60  # in units of the target, of sd 90
    assert record["scores"]["loo"]["nll"] > 2
    names = {"noise_scale", "weight_scale1", "bias_scale0", "bias_scale1"}
    assert names <= set(record["convergence"]["unknowns"])
    assert record["relevance"] == {"dose": [1.0, 1.0, 1.0]}
    assert set(record["baselines"]) == {"mean", "linear", "boosting"}
    assert record["baselines"]["mean"]["gain"] > 0
    for name in pictures:
        image = imread(folder / name)
        assert min(image.shape[:2]) > 300
        assert image.std() > 0.05


@pytest.mark.commands
def test_the_report_stands_alone(regression, classes):
    for folder, pictures in ((regression, 5), (classes, 6)):
        page = (folder / "fit" / "report.html").read_text()
        assert page.count('src="data:image/png;base64,') == pictures
        assert not re.search(r'(src|href)="(?!data:)', page)
        for word in ("Scores", "leave-one-out", "R̂", "divergences", "prior"):
            assert word in page


@pytest.mark.commands
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


@pytest.mark.commands
def test_predictions_of_classes_are_probabilities(classes, run, tmp_path):
    np.savez(tmp_path / "new.npz", size=[-2.0, 0.0], colour=["red", "blue"])
    code, _, _ = run("predict", classes / "fit", tmp_path / "new.npz", "--out",
                     tmp_path / "out.npz")  # fmt: skip
    assert code == 0
    found = tables.read(tmp_path / "out.npz")
    assert list(found) == ["class", "p_high", "p_low", "p_mid"]
    assert_close(found[["p_high", "p_low", "p_mid"]].sum(axis=1).to_numpy(), np.ones(2), rtol=1e-5)
    assert set(found["class"]) <= {"high", "low", "mid"}


@pytest.mark.commands
def test_a_loaded_fit_predicts_as_the_fitted_one(classes):
    first, second = (fits.load(classes / "fit") for _ in range(2))
    table = first.predict(kinds())
    pd.testing.assert_frame_equal(table, second.predict(kinds()))
    assert len(table) == 24
    # the draws are those of the sampler: its own likelihood of the training rows
    posterior = first.estimator.posterior_
    x, y = posterior.x, np.asarray(posterior.y)
    kept = posterior.data["log_likelihood"]["y"].values.reshape(-1, len(x))
    probabilities = jax.nn.softmax(posterior.predict(x).outputs, axis=-1)
    assert_close(np.log(probabilities[:, np.arange(len(x)), y]), kept, rtol=0, atol=1e-4)


def test_predictions_do_not_depend_on_blocks(drawn_classes, monkeypatch):
    table = kinds().iloc[:7]
    whole = drawn_classes.predict(table)
    assert list(whole) == ["class", "p_high", "p_low", "p_mid"]
    monkeypatch.setattr(_estimator, "_BLOCK", 3)
    pd.testing.assert_frame_equal(drawn_classes.predict(table), whole, rtol=1e-5)


def test_predictions_of_numbers_are_in_units_of_the_target():
    """The same draws with the target in other units: the table follows."""
    scaled = numbers().assign(effect=7 + 3 * numbers()["effect"])
    likelihood = inference.Gaussian(0.1)
    first, second = (drawn(f, "effect", likelihood).predict(f) for f in (numbers(), scaled))
    for name in ("mean", "q05", "q50", "q95"):
        assert_close(second[name].to_numpy(), 7 + 3 * first[name].to_numpy(), rtol=1e-4)
    assert_close(second["sd"].to_numpy(), 3 * first["sd"].to_numpy(), rtol=1e-4)
    assert ((first["q05"] < first["q50"]) & (first["q50"] < first["q95"])).all()


@pytest.mark.commands
def test_a_finished_fit_is_not_written_over(regression, run):
    before = (regression / "fit" / "fit.json").read_bytes()
    code, _, error = run("fit", regression / "data.csv", "--target", "effect", "--out",
                         regression / "fit")  # fmt: skip
    assert (code, "is there already" in error) == (2, True)
    assert (regression / "fit" / "fit.json").read_bytes() == before


MISTAKES = {
    "no such file": (["nothing.csv"], "nothing.csv"),
    "suffix": (["data.txt"], "must end in .csv, .tsv, .parquet, .npz, got '.txt'"),
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
    "gaps": (["gaps.csv", "--missing", "refuse"], "missing or infinite values in 2 rows, [3, 5] "
             "(the names are in row 1), in columns ['dose', 'effect']"),
    "constant": (["constant.csv"], "'effect' must vary, is 3 in all training rows"),
    "one class": (["same.csv"], "all training rows have target 'kind' = 'high'"),
    "one row": (["one.csv"], "must have at least 2 training rows, got 1"),
    "empty": (["empty.csv"], "empty.csv has no rows"),
    "names": (["names.csv", "--inputs", "name"], "no input varies in the training rows"),
    "unseen": (["kinds.csv", "--test", "unseen.csv"], "column 'kind' has values ['huge'] in rows"),
    "broken": (["broken.npz"], "broken.npz cannot be read as npz"),
    "seed": (["data.csv", "--seed", "4294967296"], "seed must be an integer in [0, 2^32)"),
    "long seed": (["data.csv", "--seed", "9" * 400], "seed must be an integer in [0, 2^32)"),
    "negative seed": (["data.csv", "--seed", "-1"], "seed must be an integer in [0, 2^32)"),
    "long parameter": (["data.csv", "--prior", f"gbfry(alpha=0.5, tau={'9' * 400})"], "tau must"),
    "brackets": (["data.csv", "--prior", "(" * 10_000 + "iid" + ")" * 10_000], "at most 1000 char"),
    "signs": (["data.csv", "--prior", f"gbfry(alpha=0.5, tau={'-' * 900}1)"], "prior "),
    "large": (["data.csv", "--prior", "gbfry(alpha=0.5, tau=1e300)"], "single precision cannot"),
    "small": (["data.csv", "--prior", "gbfry(alpha=1e-40, tau=2)"], "single precision cannot"),
    "width": (["data.csv", "--width", "1000000000"], "more than the memory"),
    "many samples": (["data.csv", "--samples", "1000000000"], "more than the memory"),
    "many chains": (["data.csv", "--chains", "1000000000"], "more than the memory"),
    "many jumps": (["data.csv", "--jumps", "2000000000"], "more than the memory"),
    "layers": (["data.csv", "--hidden", "1000000000"], "hidden must be at most 1000 layers"),
    "beyond": (["data.csv", "--width", str(2**40)], "width must be below 2^31"),
    "folds": (["data.csv", "--folds", "1"], "folds must be 0, or at least 2, got 1"),
    "missing": (["data.csv", "--missing", "guess"], "missing must be one of"),
    "types": (["data.csv", "--types", "dose"], "types must be written as column=kind"),
    "types of": (["data.csv", "--types", "mass=text"], "has no columns ['mass']"),
    "sep": (["data.csv", "--sep", ";"], "has no columns ['effect']"),
    "huge": (["huge.csv"], "single precision cannot hold or tell apart beside 1e+300"),
    "doubled": (["doubled.csv"], "two columns of the name 'effect'"),
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
    (folder / "huge.csv").write_text(
        "dose,effect\n" + "".join(f"{i},{i}\n" for i in range(9)) + "1e300,3\n"
    )
    (folder / "doubled.csv").write_text("dose,effect,effect\n1,2,2\n3,4,4\n")
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
        (pd.DataFrame([[1.0, 2.0, "red"]], columns=["size", "size", "colour"]), "two columns of"),
        (pd.DataFrame({"size": [1.0]}), "has no columns ['colour']"),
        (pd.DataFrame({"size": ["x"], "colour": ["red"]}), "must hold numbers, got 'x' in row 0"),
    ],
)
def test_rows_that_cannot_be_predicted_are_named(frame, message, drawn_classes):
    with pytest.raises(ValueError, match=re.escape(message)):
        drawn_classes.predict(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"size": [1.0], "colour": ["green"]}), "'colour': ['green'] in 1 row, which"),
        (pd.DataFrame({"size": [np.inf], "colour": ["red"]}), "'size': 1 row without a value"),
    ],
)
def test_what_is_filled_in_is_said(frame, message, drawn_classes):
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert len(drawn_classes.predict(frame)) == 1


def test_predictions_keep_the_index_of_their_rows(drawn_classes):
    frame = kinds()
    chosen = frame[frame["colour"] == "red"].sample(frac=1.0, random_state=0)
    found = drawn_classes.predict(chosen)
    assert found.index.equals(chosen.index)
    again = drawn_classes.predict(chosen.reset_index(drop=True))
    np.testing.assert_allclose(found["p_high"], again["p_high"], rtol=1e-5)


def test_a_folder_without_a_fit_is_a_mistake(run, tmp_path, tables_folder):
    arguments = [tables_folder / "data.csv", "--out", tmp_path / "out.csv"]
    code, _, error = run("predict", tmp_path, *arguments)
    assert (code, "holds no fit" in error) == (2, True)
    (tmp_path / "fit.json").write_text("{}")
    code, _, error = run("predict", tmp_path, *arguments)
    assert (code, "is not the record of a fit" in error) == (2, True)


def test_the_demo_has_a_table_and_a_target(run, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(fits, "fit", lambda *given, **_: seen.append(given) or exit(0))
    assert run("fit", "--demo", "--out", tmp_path / "demo")[0] == 0
    settings, data, _ = seen[0]
    assert settings.target in tables.read(data)
    assert tables.read(data).shape == (150, 11)
    for given in (["--demo", "--target", "sex"], ["--target", "sex"], [tmp_path / "a.csv"]):
        code, _, error = run("fit", *given)
        assert (code, "--target" in error) == (2, True)


def test_help_names_the_options(run):
    output = run("fit", "--help")[1]
    reading = ("--sep", "--decimal", "--thousands", "--na", "--encoding", "--types")
    own = ("--target", "--inputs", "--prior", "--likelihood", "--test-fraction", "--out", "--folds")
    for option in (*own, "--missing", *reading):
        assert option in output
    output = run("predict", "--help")[1]
    for option in ("--out", *reading):
        assert option in output
