"""Columns of a table as inputs: gaps, unknown values, rare values, dates; nothing is refused."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from mogp.estimators._encoding import OTHER, Encoding, in_order, learn, places_of

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(5.0, 3.0, 30),
        "site": ["u", "v", "w"] * 10,
        "new": [True, False] * 15,
        "day": pd.date_range("2024-01-01", periods=30),
        "gap": np.where(np.arange(30) % 5 == 0, np.nan, np.arange(30.0)),
    }
)


def test_inputs_have_mean_0_and_standard_deviation_1():
    encoding, x, notes = learn(FRAME)
    assert encoding.columns == ("size", "site", "new", "day", "gap")
    assert encoding.groups == (0, 1, 1, 1, 2, 3, 4, 4)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    there = ~np.isnan(FRAME["gap"])
    np.testing.assert_allclose(x[:, [0, 1, 2, 3, 4, 5, 7]].std(0), 1)
    np.testing.assert_allclose(x[there, 6].std(), 1)
    assert (x[~there, 6] == 0).all()  # the mean
    assert len(set(x[~there, 7])) == 1
    assert x[~there, 7][0] > 0 > x[there, 7][0]
    assert notes == ["column 'gap': 6 rows without a value, taken as its mean"]
    np.testing.assert_array_equal(encoding.inputs(FRAME)[0], x)


def test_it_comes_back_from_json():
    encoding = learn(FRAME)[0]
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


@pytest.mark.parametrize(
    "change",
    [
        {"means": [0.0]}, {"scales": [0.0] * 8}, {"means": [float("nan")] * 8},
        {"columns": ["size"] * 5}, {"levels": {"other": ["a"]}}, {"gaps": ["site"]},
        {"columns": [], "levels": {}, "gaps": [], "means": [], "scales": []},
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_refused(change):
    with pytest.raises(ValueError, match="encoding: its columns"):
        Encoding.from_json(learn(FRAME)[0].to_json() | change)


def test_what_no_training_row_has_is_the_mean_and_said():
    encoding = learn(FRAME)[0]
    new = FRAME.iloc[:3].assign(site=["z", None, "u"], size=[np.nan, 1.0, 2.0])
    x, notes = encoding.inputs(new)
    assert (x[0, 1:4] == 0).all()
    assert (x[1, 1:4] == 0).all()
    assert x[0, 0] == 0
    assert "column 'site': ['nothing', 'z'] in 2 rows, which no training row has" in notes[0]
    assert "column 'size': 1 row without a value, taken as its mean" in notes


def test_a_gap_in_text_is_a_value_of_its_own():
    frame = FRAME.assign(site=["u", None, "w"] * 10)
    encoding, x, _ = learn(frame)
    assert encoding.levels["site"] == ("u", "w", "(missing)")
    assert x[1, 3] > 0 > x[0, 3]


def test_many_values_of_text_are_the_frequent_ones_and_the_rest():
    names = [f"n{i:02}" for i in range(25) for _ in range(25 - i)]
    frame = pd.DataFrame({"a": RNG.normal(size=len(names)), "name": names})
    encoding, x, notes = learn(frame)
    assert len(encoding.levels["name"]) == 20
    assert encoding.levels["name"][-1] == OTHER
    assert notes == ["column 'name' has 25 values: the 6 rarest count as one, (other)"]
    unknown = encoding.inputs(frame.iloc[:1].assign(name="never seen"))[0]
    np.testing.assert_array_equal(unknown[0, 1:], x[-1, 1:])
    people = pd.DataFrame({"a": range(40), "name": [f"person {i}" for i in range(40)]})
    encoding, _, notes = learn(people)
    assert encoding.columns == ("a",)
    assert "column 'name' has 40 values, as names have: left out" in notes


@pytest.mark.parametrize(
    "values",
    [
        [0.1 + 0.2, 0.3] * 15,  # equal up to rounding
        list(1e6 + np.arange(30) * 1e-10),
        [1e-20, np.nextafter(1e-20, 1)] * 15,
        [3] * 30,
        [-0.0, 0.0] * 15,
        ["u"] * 30,
        [np.nan] * 30,
        [None] * 30,
    ],
)
def test_a_column_that_does_not_vary_is_left_out_and_said(values):
    frame = pd.DataFrame({"size": FRAME["size"], "one": values})
    encoding, _, notes = learn(frame)
    assert encoding.columns == ("size",)
    assert notes[-1] == "left out, since they do not vary in the training rows: ['one']"
    with pytest.raises(ValueError, match="no input varies"):
        learn(frame[["one"]])


@pytest.mark.parametrize("value", [1e300, -1e155, 1e40, 1.7e308])
def test_values_that_single_precision_cannot_tell_apart_are_refused(value):
    frame = FRAME.copy()
    frame.loc[3, "size"] = value
    with pytest.raises(ValueError, match="column 'size' has values that single precision"):
        learn(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="size"), "columns ['size'] are missing"),
        (FRAME.assign(size=["x"] * 30), "column 'size' must hold numbers, got 'x' in row 0"),
        (FRAME.assign(size=np.inf), "column 'size' must hold numbers, got 'inf' in row 0"),
        (FRAME.assign(size=1e300), "row 0 of column 'size' is 1e+12 times farther"),
    ],
)
def test_rows_that_cannot_be_encoded_are_named(frame, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        learn(FRAME)[0].inputs(frame)


@pytest.mark.parametrize(("scale", "shift"), [(1e100, 0), (1e-100, 0), (1.0, 1.7e9), (1e-3, 1e9)])
def test_numbers_of_other_sizes_are_fine(scale, shift):
    x = learn(pd.DataFrame({"size": shift + scale * FRAME["size"]}))[1]
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("levels", "values"),
    [
        (("01", "02", "10"), [1, 2, 10]),
        (("01", "02", "10"), ["1", "2.0", "1e1"]),
        (("true", "false"), [True, False]),
        (("true", "false"), ["TRUE", "False"]),
        (("1.10", "2.5"), [1.1, 2.5]),
        (("1e3", "2e20"), [1000, 2e20]),
        (("a", "b"), [" a", "b "]),
    ],
)
def test_levels_do_not_depend_on_the_type_a_file_gave_them(levels, values):
    found = places_of(pd.Series(values, dtype=object), levels)
    np.testing.assert_array_equal(found, range(len(levels)))
    for i, value in enumerate(values):  # each on its own, as pandas types a file of one row
        assert places_of(pd.Series([value]), levels).tolist() == [i]
    assert places_of(pd.Series(["other"]), levels).tolist() == [-1]


def test_texts_are_ordered_as_numbers_if_all_are():
    assert in_order(["10", "9", "2"]) == ["2", "9", "10"]
    assert in_order(["b", "10", "a"]) == ["10", "a", "b"]
    with pytest.raises(ValueError, match=r"'10', '10.0'\] mean the same"):
        in_order(["10", "10.0"])
