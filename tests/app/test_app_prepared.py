"""What `mogp fit` makes of a table before it samples, and what it says of it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from app_tables import UNDERSTOOD

from mogp.app import _preparing, fits


def prepared(folder, content, target="y", **options):
    path = folder / "data.csv"
    path.write_text(content)
    return _preparing.prepared(fits.Settings(target, **options), path, None)


def test_every_table_that_is_understood_is_ready_to_be_fitted(tmp_path):
    for name, (content, columns, _) in UNDERSTOOD.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        target, kind = list(columns.items())[-1]
        task = _preparing.prepared(fits.Settings(target), path, None)
        x, y = task.estimator.prepare(*task.train)
        assert np.isfinite(x).all(), name
        assert np.isfinite(y).all(), name
        assert len(task.train.y) + len(task.held_out.y) == 40
        for column, what in columns.items():
            assert any(line.startswith(f"{column!r}: {what}, ") for line in task.lines), name
        assert task.settings.likelihood == ("bernoulli" if kind == "text" else "gaussian")
        assert (task.reading.classes is not None) == (kind == "text")


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_row_stays_in_training(seed, tmp_path):
    content = "a,y\n" + "".join(f"{'uv'[i % 2]},{'ab'[i % 2]}\n" for i in range(39)) + "w,c\n"
    task = prepared(tmp_path, content, seed=seed)
    assert task.reading.classes == ("a", "b", "c")
    assert "c" not in task.held_out.y
    moved = 8 - len(task.held_out.y)
    assert moved in (0, 1)
    assert any("stay in training" in line for line in task.lines) == bool(moved)


def test_a_boolean_target_works_with_every_likelihood(tmp_path):
    content = "a,y\n" + "".join(f"{i},{str(i % 3 == 0).lower()}\n" for i in range(40))
    expected = {"auto": "bernoulli", "bernoulli": "bernoulli", "categorical": "categorical",
                "gaussian": "gaussian", "poisson": "poisson", "student_t": "student_t"}  # fmt: skip
    frame = pd.DataFrame({"a": range(4), "y": [True, False, True, True]})
    for given, found in expected.items():
        task = prepared(tmp_path, content, likelihood=given)
        assert task.settings.likelihood == found
        y = task.reading.targets(frame)
        if found in ("bernoulli", "categorical"):
            assert task.reading.classes == ("false", "true")
            assert y.tolist() == ["true", "false", "true", "true"]
        else:
            assert set(task.train.y) == {0.0, 1.0}
            assert y.tolist() == [1, 0, 1, 1]


def test_what_was_noticed_is_said(tmp_path):
    content = "a,copy,one,y\n" + "".join(f"{i},{i % 7},5,{i % 7}\n" for i in range(40))
    lines = prepared(tmp_path, content).lines
    assert "'copy' is the same as the target in every row" in lines
    assert "left out, since they do not vary in the training rows: ['one']" in lines
    assert lines[-1] == "32 training and 8 test rows; gaussian"


def test_rows_with_gaps_are_kept_dropped_or_refused(tmp_path):
    content = "a,y\n" + "".join(
        f"{'?' if i in (5, 6, 7, 8) else i},{'' if i == 20 else i % 7}\n" for i in range(40)
    )
    task = prepared(tmp_path, content, test_fraction=0.0)
    assert "'a': number, 36 values, such as '0'; 4 missing ('?')" in task.lines
    assert "1 rows that lack a target left out: [22]" in task.lines
    assert "column 'a': 4 rows without a value, taken as its mean" in task.lines
    assert len(task.train.y) == 39
    assert task.estimator.encoding_.gaps == ("a",)
    dropped = prepared(tmp_path, content, missing="drop", test_fraction=0.0)
    assert "5 rows that lack values left out: [7, 8, 9, 10, 22]" in dropped.lines
    assert len(dropped.train.y) == 35
    with pytest.raises(ValueError, match="--missing impute fills them in"):
        prepared(tmp_path, content, missing="refuse")


def test_what_is_filled_in_test_rows_is_said(tmp_path):
    (tmp_path / "test.csv").write_text("a,y\n?,1\n3,2\n4,\n")
    (tmp_path / "data.csv").write_text("a,y\n" + "".join(f"{i},{i % 7}\n" for i in range(40)))
    task = _preparing.prepared(fits.Settings("y"), tmp_path / "data.csv", tmp_path / "test.csv")
    assert "test rows: column 'a': 1 row without a value, taken as its mean" in task.lines
    assert "1 test rows that lack a target left out: [4]" in task.lines
    assert task.lines[-1] == "40 training and 2 test rows; gaussian"
    with pytest.raises(ValueError, match=r"test.csv has missing .* in 2 rows, \[2, 4\]"):
        _preparing.prepared(
            fits.Settings("y", missing="refuse"), tmp_path / "data.csv", tmp_path / "test.csv"
        )


def test_labels_of_any_size_are_classes(tmp_path):
    content = "a,y\n" + "".join(f"{i},{1 + i % 2}e20\n" for i in range(40))
    classes = prepared(tmp_path, content, likelihood="categorical").reading.classes
    assert classes == ("1e20", "2e20")
    assert prepared(tmp_path, content).settings.likelihood == "gaussian"


@pytest.mark.parametrize(
    ("options", "attrs", "observed", "expected"),
    [
        ({"width": 7}, {}, None, "width 7"),
        ({}, {"method": "dense"}, True, "the rest of it exact"),
        ({"hidden": 2}, {"method": "dense"}, True, "16 random nodes stand for the rest of each "
         "hidden layer but the last"),
        ({}, {"method": "low_rank"}, True, "16 random nodes"),
        ({}, {"method": "dense"}, None, "16 random nodes"),  # classes, counts
    ],
)  # fmt: skip
def test_infinitely_wide_is_said_only_of_what_is(options, attrs, observed, expected):
    posterior = SimpleNamespace(attrs={"num_diffuse": 16} | attrs, observed=observed)
    text = fits._size(fits.Settings("y", **options), posterior)
    assert expected in text
    assert ("approximated" in text) == ("random" in expected)
