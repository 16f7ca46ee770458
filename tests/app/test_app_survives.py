"""What was sampled survives what comes after it; damaged folders are refused; no file is lost.

Nothing is sampled here: the draws are networks from the prior.
"""

import dataclasses
import json
import re
import shutil

import equinox as eqx
import h5py
import jax
import numpy as np
import numpyro
import pandas as pd
import pytest
from app_tables import kinds

from mogp import inference
from mogp.app import baselines, fits, report
from mogp.app.command import main
from mogp.inference._identity import description
from mogp.inference._stored import described

pytestmark = pytest.mark.commands
TARGET = "rev_$$ <script>"


def fake(estimator, train, checkpoint, progress):
    """In place of the sampler."""
    x, y = estimator.prepare(train.x, train.y)
    model, law = estimator._model(), estimator._law()

    def one(key):
        with numpyro.handlers.seed(rng_seed=key):
            return inference.sample_parameters(model).network(x.shape[1], 3, 6, key=key)

    keys = jax.random.split(jax.random.key(0), (2, 30))
    sources = eqx.filter_vmap(eqx.filter_vmap(one))(keys)
    attrs = {"model": described(model), "likelihood": description(law), "width": [6]}
    x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)
    shares = {"input_variances": jax.random.gamma(jax.random.key(2), 1.0, (2, 30, 2))}
    estimator.posterior_ = inference.Posterior(
        sources, law, x, y, None, shares, key=jax.random.key(1), attrs=attrs
    )


def table(folder):
    """A table whose names hold dollars, markup and formulas; and the command that fits it."""
    frame = kinds().rename(columns={"kind": TARGET, "size": "$x$"})
    frame[TARGET] = frame[TARGET].map({"high": "$hi$", "low": "=1+1", "mid": "<b>"})
    frame.to_csv(folder / "data.csv", index=False)
    return ["fit", folder / "data.csv", "--target", TARGET, "--chains", "2", "--width", "6",
            "--prior", "horseshoe", "--out", folder / "fit"]  # fmt: skip


@pytest.fixture
def fitted(monkeypatch, tmp_path, run):
    """What runs the command, with more options, and the folder it writes."""
    command = table(tmp_path)
    monkeypatch.setattr(fits, "_sampled", fake)
    return lambda *options: run(*command, *options), tmp_path / "fit"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished fit, for all tests that look at it: folder of the table and of `fit`."""
    folder = tmp_path_factory.mktemp("whole")
    command = table(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "_sampled", fake)
        with pytest.raises(SystemExit) as caught:
            main(*command)
    assert not caught.value.code
    return folder


def test_names_are_shown_as_they_are_written(whole, run, tmp_path):
    folder = whole / "fit"
    page = (folder / "report.html").read_text()
    assert "<script>" not in page
    assert "rev_$$ &lt;script&gt;" in page
    record = json.loads((folder / "fit.json").read_text())
    assert "'rev_$$ <script>': text, 3 values, such as '=1+1'; 0 missing" in record["understood"]
    assert not [line for line in record["failures"] if "picture predictions" in line]
    assert report._plain("a $b$") == r"a \$b\$"
    code, output, error = run("predict", folder, whole / "data.csv", "--out", tmp_path / "p.csv")
    assert (code, error) == (0, "")
    assert output.startswith("  3 columns between ','\n  '$x$': number, 24 values")
    assert set(pd.read_csv(tmp_path / "p.csv")["class"]) <= {"$hi$", "'=1+1", "<b>"}


def test_a_score_or_picture_that_fails_is_a_line_in_the_report(fitted, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("constant\ntails")

    nan = {"nll": np.float32("nan"), "se": float("inf"), "bad": 1.0, "statement": "it fails"}
    monkeypatch.setattr(inference, "convergence", fails)
    monkeypatch.setattr(inference, "leave_one_out", lambda *_, **__: dict(nan))
    monkeypatch.setattr(inference.Posterior, "evaluate", fails)
    monkeypatch.setattr(baselines, "scores", fails)
    monkeypatch.setattr(report.plots, "reliability", fails)
    fit, folder = fitted
    code, output, error = fit()
    assert (code, error) == (0, "")
    text = (folder / "fit.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert not re.search(r"\bnan\b|\binf\b", output)
    record = json.loads(text)
    assert record["scores"] == {
        "loo": {"nll": None, "se": None, "bad": 1.0, "statement": "it fails"}, "test": None
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    for line in (
        "the scores of the test rows could not be had: RuntimeError: constant tails",
        "convergence could not be had: RuntimeError: constant tails",
        "the picture calibration could not be drawn: RuntimeError: constant tails",
        "Leave-one-out is unreliable for 1e+02 % of the rows: --folds 5 gives K-fold",
    ):
        assert line in page
        assert line in output
    assert fits.load(folder).record["scores"]["test"] is None


def test_the_posterior_is_there_before_any_score(fitted, monkeypatch):
    fit, folder = fitted
    seen = []

    def killed(*_, **__):
        work = folder.with_name(".fit.part") / "fit"
        seen.extend(path.name for path in work.iterdir())
        fits.load(work)
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "leave_one_out", killed)
    code, _, error = fit()
    assert code == 130
    assert error == "mogp: interrupted; the same command starts afresh: nothing was kept yet\n"
    assert sorted(seen) == ["fit.json", "posterior.nc"]


def test_k_folds_leave_every_row_out_once(fitted, monkeypatch):
    parts = []

    def sampled(estimator, train, *rest):
        assert set(train.y) == {"$hi$", "=1+1", "<b>"}
        parts.append(len(train.y))
        fake(estimator, train, *rest)

    monkeypatch.setattr(fits, "_sampled", sampled)
    fit, folder = fitted
    code, output, _ = fit("--folds", "4", "--test-fraction", "0")
    assert code == 0
    assert parts == [24, 18, 18, 18, 18]
    score = json.loads((folder / "fit.json").read_text())["scores"]["folds"]
    assert 0.5 < score["nll"] < 5
    assert f"K-fold nll {score['nll']:.4g}" in output


def test_other_priors_are_ranked_by_leave_one_out(fitted, monkeypatch):
    """Each has a fit of its own, here of more noise the later it is drawn."""
    noise = iter([0.0, 3.0, 1.0])

    def noisy(estimator, *rest):
        fake(estimator, *rest)
        spread, old = next(noise), estimator.posterior_
        last = lambda network: network.layers[-1].biases  # noqa: E731
        biases = last(old.sources) + spread * jax.random.normal(jax.random.key(3), (2, 30, 3))
        sources = eqx.tree_at(last, old.sources, biases)
        estimator.posterior_ = dataclasses.replace(old, sources=sources)

    monkeypatch.setattr(fits, "_sampled", noisy)
    fit, folder = fitted
    code, output, _ = fit("--compare", "iid; horseshoe; gbfry(alpha=0.5, tau=2)")
    assert code == 0
    found = json.loads((folder / "fit.json").read_text())["comparison"]
    assert set(found) == {"horseshoe", "iid", "gbfry(alpha=0.5, tau=2)"}
    scores = [row["nll"] for row in found.values()]
    assert scores == sorted(scores)
    assert found["horseshoe"]["gain"] == 0
    own = found["horseshoe"]["nll"]
    for row in found.values():
        assert row["gain"] == pytest.approx(own - row["nll"], abs=1e-6)
    assert f"iid: leave-one-out nll {found['iid']['nll']:.4g}, gain by it" in output
    assert "Other priors, by leave-one-out" in (folder / "report.html").read_text()
    assert fits.load(folder).settings.compare == ("iid", "horseshoe", "gbfry(alpha=0.5, tau=2)")


def full_disk(*arguments, **options):
    """As libraries do that hide what the system said."""
    try:
        raise OSError(28, "No space left on device")
    except OSError:
        raise RuntimeError("could not serialise")  # noqa: B904


@pytest.mark.parametrize("where", ["_sampled", "save", "picture"])
def test_a_full_disk_is_one_line(where, fitted, monkeypatch):
    fit, folder = fitted
    owner, name = {
        "_sampled": (fits, "_sampled"), "save": (inference.Posterior, "save"),
        "picture": (fits._job, "write_record"),
    }[where]  # fmt: skip
    monkeypatch.setattr(owner, name, full_disk)
    code, _, error = fit()
    assert (code, error) == (2, "mogp: [Errno 28] No space left on device\n")
    assert not folder.exists()


# --- damaged folders ------------------------------------------------------------------------------


def sealed(folder, record):
    """A crafted record, with checksums that fit."""
    record.pop("sha256", None)
    fits._write_sealed(folder, record)


def altered(path):
    """In the order of names: how to damage a folder, and what is said."""
    record = json.loads((path / "fit.json").read_text())
    reading, settings = record["reading"], record["settings"]

    def write(text):
        (path / "fit.json").write_text(text)

    def crafted(**changes):
        sealed(path, record | changes)

    def flipped():
        content = bytearray((path / "posterior.nc").read_bytes())
        content[len(content) // 2] ^= 1
        (path / "posterior.nc").write_bytes(content)

    def outputs(value):
        with h5py.File(path / "posterior.nc", "a") as file:
            for group in file.values():
                for name in getattr(group, "keys", dict)():
                    if "biases" in name and group[name].dtype.kind == "f":
                        group[name][...] = value
        crafted()

    return {
        "no posterior": (lambda: (path / "posterior.nc").unlink(), "posterior.nc"),
        "no record": (lambda: (path / "fit.json").unlink(), "there is no fit.json"),
        "empty": (lambda: write(""), "is not the record of a fit"),
        "cut": (lambda: write(json.dumps(record)[:-9]), "is not the record of a fit"),
        "a list": (lambda: write("[]"), "is not the record of a fit"),
        "nested": (lambda: write("[" * 100_000), "is not the record of a fit"),
        "not UTF-8": (lambda: (path / "fit.json").write_bytes(b"\xff"), "is not the record"),
        "a number": (
            lambda: write(json.dumps(record | {"rows": 7})), "was altered since it was written"
        ),
        "a bit": (flipped, "posterior.nc was altered since it was written"),
        "no text": (lambda: (path / "posterior.nc").write_text(""), "posterior.nc was altered"),
        "a kind less": (
            lambda: crafted(reading=reading | {"kinds": {}}), "kinds and classes do not fit"
        ),
        "a class more": (
            lambda: crafted(reading=reading | {"classes": [*reading["classes"], "d"]}),
            "has other columns or classes",
        ),
        "a column more": (
            lambda: crafted(
                reading=reading | {
                    "columns": [*reading["columns"], "z"],
                    "kinds": reading["kinds"] | {"z": "number"},
                }
            ),
            "has other columns or classes",
        ),
        "settings": (lambda: crafted(settings=settings | {"speed": 3}), "is not the record"),
        "a prior": (lambda: crafted(settings=settings | {"prior": "iid"}), "cannot be read"),
        "text for a number": (lambda: crafted(settings=settings | {"seed": "1"}), "is not the"),
        "NaN": (lambda: outputs(np.nan), "give no probabilities"),
        "infinity": (lambda: outputs(np.inf), "give no probabilities"),
    }  # fmt: skip


def test_a_damaged_folder_is_refused_with_the_reason(whole, run, tmp_path):
    folder = whole / "fit"
    for name in altered(folder):
        shutil.copytree(folder, tmp_path / "copy")
        damage, message = altered(tmp_path / "copy")[name]
        damage()
        out = tmp_path / "out.csv"
        code, output, error = run("predict", tmp_path / "copy", whole / "data.csv", "--out", out)
        assert (code, output, error.count("\n")) == (2, "", 1), (name, error)
        assert message in error, name
        assert not out.exists()
        shutil.rmtree(tmp_path / "copy")


def test_predict_writes_over_nothing(whole, run, tmp_path):
    folder = whole / "fit"
    shutil.copy(whole / "data.csv", tmp_path / "data.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    (tmp_path / "folder.csv").mkdir()
    for out in (tmp_path / "data.csv", tmp_path / "link.csv", tmp_path / "folder.csv"):
        code, _, error = run("predict", folder, tmp_path / "data.csv", "--out", out)
        assert (code, "is there already" in error) == (2, True)
    assert len(pd.read_csv(tmp_path / "data.csv")) == 24
    more = (tmp_path / "data.csv").read_text().replace("\n", ",9\n").replace(",9", "", 1)
    (tmp_path / "more.csv").write_text(more)
    code, _, error = run("predict", folder, tmp_path / "more.csv", "--out", tmp_path / "p.csv")
    assert (code, "Expected 3 fields in line 2, saw 4" in error) == (2, True)


# --- files of others ------------------------------------------------------------------------------


def test_files_of_others_survive_a_fit(fitted, tmp_path):
    fit, folder = fitted
    work = tmp_path / ".fit.part"
    work.mkdir()
    (work / "novel.txt").write_text("mine")
    code, _, error = fit()
    assert (code, "was not written by mogp and is left alone" in error) == (2, True)
    assert [path.name for path in work.iterdir()] == ["novel.txt"]
    for place in (folder, work):  # a file in the way
        shutil.rmtree(work, ignore_errors=True)
        place.write_text("mine")
        assert fit()[0] == 2
        assert place.read_text() == "mine"
        place.unlink()


def test_a_file_put_into_the_folder_at_work_survives(fitted, monkeypatch, tmp_path):
    fit, folder = fitted
    work = tmp_path / ".fit.part"

    def sampled(*arguments):
        (work / "novel.txt").write_text("mine")
        (work / "0123abcd.ckpt").write_text("mine, too")
        return fake(*arguments)

    monkeypatch.setattr(fits, "_sampled", sampled)
    assert fit()[0] == 0
    assert (work / "novel.txt").read_text() == "mine"
    assert (work / "0123abcd.ckpt").read_text() == "mine, too"
    assert (folder / "report.html").is_file()
