"""Tables of one's own: files as people write them, encodings, splits."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from app_tables import MISSING, PLAIN, REFUSED, UNDERSTOOD, column, except_for, kinds

from mogp.app import tables
from mogp.estimators import MoGPRegressor


def stored(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columns_of(path, **options):
    form = tables.Format(**options)
    frame = tables.raw(path, form)
    return tables.understood(frame, frame.columns, {}, form, path.name), frame


# --- files as people write them -------------------------------------------------------------------


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_table_is_understood_and_said(name, tmp_path):
    content, expected, said = UNDERSTOOD[name]
    found, frame = columns_of(stored(tmp_path, name, content))
    assert {name: each.kind for name, each in found.items()} == expected
    assert said in "; ".join(frame.attrs["notes"])
    assert all(each.missing == 0 for each in found.values())
    assert len(frame) == 40
    for each in found.values():
        assert each.line().startswith(f"{each.values.name!r}: {each.kind}, ")
        if each.kind.startswith("number"):
            assert np.isfinite(each.values.to_numpy(float)).all()


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_is_refused_with_the_way_out(name, tmp_path):
    content, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        columns_of(stored(tmp_path, f"{name}.csv", content), **options)
    assert f"{name}.csv" in str(caught.value)


@pytest.mark.parametrize("text", MISSING)
def test_a_gap_in_numbers_is_missing_and_never_a_category(text, tmp_path):
    found, frame = columns_of(stored(tmp_path, "gap.csv", column(except_for(5, text))))
    gap = found["p"]
    assert (gap.kind, gap.missing, gap.gaps) == ("number", 1, (text,))
    assert gap.values.index[gap.values.isna()].tolist() == [7]  # as a spreadsheet counts
    with pytest.raises(ValueError, match=re.escape("1 rows, [7] (the names are in row 1)")):
        tables.check_complete(found, frame, "gap.csv")
    reading = tables.Reading(("p",), "y", {"p": "number", "y": "number"})
    assert reading.inputs(frame)["p"].isna().sum() == 1


def test_values_are_read_as_they_are_meant(tmp_path):
    wanted = {
        ("decimal", '"1,5"', ","): 1.5, ("thousands", '"1,500"', ","): 1500.0,
        ("thousands", "1'234'567", "'"): 1234567.0, ("thousands", "-1 000", " "): -1000.0,
    }  # fmt: skip
    for (option, cell, mark), value in wanted.items():
        path = stored(tmp_path, "a.csv", column([cell, "7"]))
        assert columns_of(path, **{option: mark})[0]["p"].values.iloc[0] == value
    path = stored(tmp_path, "b.csv", column(['"1.234,5"', "7"]))
    for options in ({"decimal": ",", "thousands": "."}, {"thousands": "."}):
        assert columns_of(path, **options)[0]["p"].values.iloc[0] == 1234.5
    types = {"2024-03-01": ("date", 19783.0), "1969-12-31T12:00": ("date", -0.5),
             "12.5 %": ("percent", 0.125), "7%": ("percent", 0.07)}  # fmt: skip
    for cell, (kind, value) in types.items():
        found = columns_of(stored(tmp_path, "c.csv", column([cell])), types=(f"p={kind}",))[0]
        assert found["p"].values.iloc[0] == value
    path = stored(tmp_path, "d.csv", "größe,y\n1,2\n3,4\n".encode("cp1252"))
    assert list(columns_of(path, encoding="cp1252")[0]) == ["größe", "y"]
    path = stored(tmp_path, "e.csv", PLAIN.replace(",", "~"))
    assert list(columns_of(path, sep="~")[0]) == ["a", "b", "y"]


def test_namibia_is_a_value_where_that_is_said(tmp_path):
    path = stored(tmp_path, "land.csv", column(["NA", "ZA", "BW"], "land"))
    columns, frame = columns_of(path)
    assert columns["land"].gaps == ("NA",)
    with pytest.raises(ValueError, match="'NA' means missing, --na says otherwise"):
        tables.check_complete(columns, frame, "it")
    found = columns_of(path, na=())[0]["land"]
    assert (found.kind, found.missing, found.values.nunique()) == ("text", 0, 3)
    path = stored(tmp_path, "nines.csv", column(except_for(5, "-999")))
    assert columns_of(path, na=("-999",))[0]["p"].missing == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": "point"}, "decimal must be one mark"),
        ({"thousands": "0"}, "thousands must be one mark"),
        ({"decimal": ".", "thousands": "."}, "must be different marks"),
        ({"sep": "ab"}, "sep must be one character"),
        ({"sep": '"'}, "sep must be one character"),
        ({"encoding": "klingon"}, "encoding must be one that Python knows"),
        ({"types": ("a=colour",)}, "types must be written as column=kind"),
        ({"types": ("number",)}, "types must be written as column=kind"),
    ],
)
def test_a_format_checks_itself(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tables.Format(**options)


def test_npz_files_that_are_no_tables(tmp_path):
    wrong = {
        "structured": ({"a": np.zeros(3, [("u", float), ("v", int)])}, "must hold numbers or text"),
        "complex": ({"a": np.zeros(3, complex)}, "must hold numbers or text, is complex128"),
        "objects": ({"a": np.array([{}, None])}, "cannot be read as npz"),
        "cube": ({"a": np.zeros((2, 2, 2))}, "must have one or two axes, got 3"),
        "scalar": ({"a": np.float64(1)}, "must have one or two axes, got 0"),
        "colliding": ({"x": np.zeros((3, 2)), "x0": np.zeros(3)}, "two arrays give a column 'x0'"),
        "ragged": ({"a": np.zeros(3), "b": np.zeros(4)}, "cannot be read as npz"),
        "nothing": ({"a": np.zeros(0)}, "has no rows"),
    }
    for name, (arrays, message) in wrong.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=re.escape(message)):
            tables.read(tmp_path / f"{name}.npz")
    with (tmp_path / "renamed.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="it is a single array"):
        tables.read(tmp_path / "renamed.npz")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(PLAIN.encode())[:-20])
    with pytest.raises(ValueError, match="cannot be read as csv"):
        tables.read(tmp_path / "cut.csv.gz")


@pytest.mark.parametrize("suffix", ["csv", "npz", "tsv", "csv.gz"])
def test_tables_come_back_from_files(suffix, tmp_path):
    tables.write(kinds(), tmp_path / f"table.{suffix}")
    pd.testing.assert_frame_equal(
        tables.read(tmp_path / f"table.{suffix}"), kinds(), check_dtype=False
    )


def test_what_a_spreadsheet_would_compute_is_escaped(tmp_path):
    labels = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(1)", "-5", "plain", "-x"]
    frame = pd.DataFrame({"class": labels, "=p": range(6)})
    tables.write(frame, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "class,'=p"
    assert [line.rpartition(",")[0] for line in lines[1:]] == [
        "'=1+1", "'+cmd|' /C calc'!A0", "'@SUM(1)", "-5", "plain", "'-x"
    ]  # fmt: skip


def test_a_matrix_in_an_npz_file_is_columns(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.arange(3), t=[b"u"] * 3)
    assert list(tables.read(tmp_path / "a.npz")) == ["x0", "x1", "y", "t"]
    assert tables.read(tmp_path / "a.npz")["t"].tolist() == ["u"] * 3


# --- readings -------------------------------------------------------------------------------------

TYPED = {
    ("01", "02", "10"): [[1, 2, 10], ["01", "2", "10.0"], [1.0, 2.0, 10.0]],
    ("true", "false"): [[True, False], ["True", "FALSE"], ["true", "false"]],
    ("1.10", "2.5"): [[1.1, 2.5], ["1.1", "2.50"], ["11e-1", "2.5"]],
    ("1e3", "2e20"): [[1000, 2e20], ["1000.0", "2E+20"]],
    ("9", "10", "2"): [[9.0, 10.0, 2.0], ["09", "10", "2"]],
    ("a", "b"): [["a", "b"], [" a", "b "]],
}


@pytest.mark.parametrize("levels", TYPED)
def test_levels_do_not_depend_on_the_type_a_file_gave_them(levels):
    """In a text column and in classes, whatever another file makes of the same text."""
    x = np.arange(len(levels))
    frame = pd.DataFrame({"x": x, "t": levels, "y": x % 2})
    kinds = {"x": "number", "t": "text", "y": "number"}
    classes = tables.classes_of(frame["t"], "the table")
    assert set(classes) == set(levels)
    inputs = tables.Reading(("x", "t"), "y", kinds)
    targets = tables.Reading(("x",), "t", kinds, classes)
    estimator = MoGPRegressor()
    wanted, _ = estimator.prepare(inputs.inputs(frame), x)
    assert set(estimator.encoding_.levels["t"]) == set(levels)
    for values in TYPED[levels]:
        other = pd.DataFrame({"x": x, "t": values})
        found, notes = estimator.encoding_.inputs(inputs.inputs(other))
        np.testing.assert_array_equal(found, wanted)
        assert not notes
        assert targets.targets(other).tolist() == list(levels)
        for i in range(len(values)):  # each on its own, as pandas types a new file of one row
            assert targets.targets(other[i : i + 1]).tolist() == [levels[i]]


def test_classes_of_numbers_are_in_their_order():
    for labels in ([10, 9, 10, 2], ["10", "9", "10", "2"], [10.0, 9.0, 10.0, 2.0]):
        assert tables.classes_of(pd.Series(labels), "it") == ("2", "9", "10")
    assert tables.classes_of(pd.Series([1e20, 2e20]), "it") == ("1e+20", "2e+20")
    with pytest.raises(ValueError, match=r"'10', '10.0'\] mean the same"):
        tables.classes_of(pd.Series(["10", "10.0"]), "it")
    with pytest.raises(ValueError, match="all training rows have target 'y' = 'a'"):
        tables.classes_of(pd.Series(["a", "a"], name="y"), "it")


def test_nothing_and_infinity_are_gaps_and_an_unknown_label_is_refused():
    frame = pd.DataFrame({"x": [1.0, np.inf, np.nan], "y": ["a", None, "b"]})
    reading = tables.Reading(("x",), "y", {"x": "number", "y": "text"}, ("a", "b"))
    assert reading.inputs(frame)["x"].isna().tolist() == [False, True, True]
    assert reading.targets(frame).isna().tolist() == [False, True, False]
    frame.loc[1, "y"] = "huge"
    with pytest.raises(
        ValueError, match=r"has values \['huge'\] in rows \[1\] that no training row"
    ):
        reading.targets(frame)


def test_a_reading_comes_back_from_json_and_a_damaged_one_is_refused():
    reading = tables.Reading(("x",), "y", {"x": "number", "y": "text"}, ("a", "b"))
    good = json.loads(json.dumps(reading.to_json()))
    assert tables.Reading.from_json(good) == reading
    for changes in (
        {"columns": ["x", "x"]}, {"columns": []}, {"columns": ["y"]}, {"target": "x"},
        {"classes": ["a", "a"]}, {"classes": ["a"]}, {"kinds": {"x": "number"}},
        {"kinds": {"x": 1, "y": "text"}},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="reading"):
            tables.Reading.from_json(good | changes)


# --- splits ---------------------------------------------------------------------------------------


def test_a_split_keeps_the_shares_of_classes():
    frame = pd.DataFrame({"k": ["a"] * 30 + ["b"] * 20 + ["c"] * 10, "i": range(60)})
    train, test = tables.split(frame, 0.2, by="k", seed=3)
    assert sorted([*train["i"], *test["i"]]) == list(range(60))
    assert dict(test["k"].value_counts()) == {"a": 6, "b": 4, "c": 2}
    assert len(tables.split(frame, 0.0)[1]) == 0
    assert not tables.split(frame, 0.2, seed=4)[1].equals(tables.split(frame, 0.2, seed=5)[1])


@pytest.mark.parametrize("seed", range(20))
def test_values_of_few_rows_stay_in_training(seed):
    frame = pd.DataFrame({
        "once": ["rare"] + ["a", "b"] * 20, "twice": ["u", "u"] + ["v"] * 39, "i": range(41),
    })  # fmt: skip
    train, test = tables.split(frame, 0.5, seed=seed, keep=["once", "twice"])
    for name in ("once", "twice"):
        assert set(test[name]) <= set(train[name]) == set(frame[name])
    assert len(train) + len(test) == 41
    assert len(test) >= 17
