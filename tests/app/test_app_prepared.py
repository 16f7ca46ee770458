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
        settings, encoding, _, train, test, lines = _preparing.prepared(
            fits.Settings(target), path, None
        )
        x, y = np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y])
        assert np.isfinite(x).all(), name
        assert np.isfinite(y).all(), name
        assert len(x) == 40
        for column, what in columns.items():
            assert any(line.startswith(f"{column!r}: {what}, ") for line in lines), name
        assert settings.likelihood == ("bernoulli" if kind == "text" else "gaussian")
        assert (encoding.classes is not None) == (kind == "text")


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_level_and_a_class_of_one_row_stay_in_training(seed, tmp_path):
    content = "a,y\n" + "".join(f"{'uv'[i % 2]},{'ab'[i % 2]}\n" for i in range(39)) + "w,c\n"
    _, encoding, _, _, test, lines = prepared(tmp_path, content, seed=seed)
    assert encoding.levels["a"] == ("u", "v", "w")
    assert encoding.classes == ("a", "b", "c")
    assert 2 not in test.y
    moved = 8 - len(test.y)
    assert moved in (0, 1)
    assert any("stay in training" in line for line in lines) == bool(moved)


def test_a_boolean_target_works_with_every_likelihood(tmp_path):
    content = "a,y\n" + "".join(f"{i},{str(i % 3 == 0).lower()}\n" for i in range(40))
    expected = {"auto": "bernoulli", "bernoulli": "bernoulli", "categorical": "categorical",
                "gaussian": "gaussian", "poisson": "poisson", "student_t": "student_t"}  # fmt: skip
    frame = pd.DataFrame({"a": range(4), "y": [True, False, True, True]})
    for given, found in expected.items():
        settings, encoding, _, train, _, _ = prepared(tmp_path, content, likelihood=given)
        assert settings.likelihood == found
        if found in ("bernoulli", "categorical"):
            assert encoding.classes == ("false", "true")
        else:
            assert len(np.unique(encoding.in_units(train.y))) == 2
        y = encoding.targets(frame)
        np.testing.assert_array_equal(y > y.min(), frame.y)


def test_what_was_noticed_is_said(tmp_path):
    content = "a,copy,one,y\n" + "".join(f"{i},{i % 7},5,{i % 7}\n" for i in range(40))
    lines = prepared(tmp_path, content)[-1]
    assert "'copy' is the same as the target in every row" in lines
    assert "left out, since they do not vary in the training rows: ['one']" in lines
    assert lines[-1] == "32 training and 8 test rows; gaussian"
    gaps = "a,y\n" + "".join(f"{'?' if i == 5 else i},{i % 7}\n" for i in range(40))
    lines = prepared(tmp_path, gaps, missing="drop")[-1]
    assert "'a': number, 39 values, such as '0'; 1 missing ('?')" in lines
    assert "1 rows that lack values left out: [7]" in lines
    with pytest.raises(ValueError, match="--missing drop leaves"):
        prepared(tmp_path, gaps)


def test_labels_of_any_size_are_classes(tmp_path):
    content = "a,y\n" + "".join(f"{i},{1 + i % 2}e20\n" for i in range(40))
    assert prepared(tmp_path, content, likelihood="categorical")[1].classes == ("1e20", "2e20")
    assert prepared(tmp_path, content)[0].likelihood == "gaussian"


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
