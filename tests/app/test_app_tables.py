"""Tables of one's own: files as people write them, encodings, splits."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from app_tables import MISSING, PLAIN, REFUSED, UNDERSTOOD, column, except_for, kinds, numbers
from closeness import assert_close

from mogp.app import tables


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
    for target in ("p", "y"):
        with pytest.raises(ValueError, match=re.escape("1 rows, [7] (the names are in row 1)")):
            tables.learn(frame, target, classes=False, standardise=True)


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
    assert columns_of(path)[0]["land"].gaps == ("NA",)
    frame = columns_of(path)[1]
    with pytest.raises(ValueError, match="'NA' means missing, --na says otherwise"):
        tables.learn(frame, "y", classes=False, standardise=True)
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


# --- encodings ------------------------------------------------------------------------------------


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
    learned = tables.learn(frame, "y", classes=False, standardise=True, kinds={"t": "text"})
    classes = tables.learn(frame, "t", classes=True, standardise=False)
    assert set(classes.classes) == set(learned.levels["t"]) == set(levels)
    wanted, places = learned.inputs(frame), classes.targets(frame)
    for values in TYPED[levels]:
        other = pd.DataFrame({"x": x, "t": values})
        np.testing.assert_array_equal(learned.inputs(other), wanted)
        np.testing.assert_array_equal(classes.targets(other), places)
        for i in range(len(values)):  # each on its own, as pandas types a new file of one row
            np.testing.assert_array_equal(classes.targets(other[i : i + 1]), places[i : i + 1])


def test_classes_of_numbers_are_in_their_order():
    for labels in ([10, 9, 10, 2], ["10", "9", "10", "2"], [10.0, 9.0, 10.0, 2.0]):
        frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": labels})
        learned = tables.learn(frame, "y", classes=True, standardise=False)
        assert learned.classes == ("2", "9", "10")
        np.testing.assert_array_equal(learned.targets(frame), [2, 1, 2, 0])
    frame = pd.DataFrame({"x": [0.0, 1.0], "y": [1e20, 2e20]})
    assert tables.learn(frame, "y", classes=True, standardise=False).classes == ("1e+20", "2e+20")
    frame = pd.DataFrame({"x": [0.0, 1.0], "y": ["10", "10.0"]})
    with pytest.raises(ValueError, match=r"'10', '10.0'\] that mean the same"):
        tables.learn(frame, "y", classes=True, standardise=False)


@pytest.mark.parametrize(
    "values",
    [
        [0.1 + 0.2, 0.3] * 10,  # equal up to rounding
        list(1e6 + np.arange(20) * 1e-10),
        [1e-20, np.nextafter(1e-20, 1)] * 10,
        [3] * 20,
        [-0.0, 0.0] * 10,
        ["u"] * 20,
    ],
)
def test_an_input_that_does_not_vary_is_left_out(values):
    frame = numbers().assign(one=values)
    learned = tables.learn(frame, "effect", classes=False, standardise=True)
    assert learned.columns == ("dose",)
    far = frame.assign(one=[1e12 if not isinstance(values[0], str) else "v"] * 20)
    np.testing.assert_array_equal(learned.inputs(far), learned.inputs(frame))
    with pytest.raises(ValueError, match="no input varies"):
        tables.learn(frame, "effect", ["one"], classes=False, standardise=True)


@pytest.mark.parametrize("name", ["dose", "effect"])
@pytest.mark.parametrize("value", [1e300, -1e155, 1e40, 1.7e308])
def test_values_that_single_precision_cannot_tell_apart_are_refused(name, value):
    frame = numbers()
    frame.loc[3, name] = value
    with pytest.raises(ValueError, match=rf"column '{name}' has values that single precision"):
        tables.learn(frame, "effect", classes=False, standardise=True)


def test_a_new_row_far_from_all_others_is_refused():
    learned = tables.learn(numbers(), "effect", classes=False, standardise=True)
    with pytest.raises(ValueError, match="row 0 of column 'dose' is 1e"):
        learned.inputs(pd.DataFrame({"dose": [1e300]}))


def test_numbers_of_other_sizes_are_fine():
    for scale, shift in ((1e100, 0), (1e-100, 0), (1.0, 1.7e9), (1e-3, 1e9)):
        frame = numbers().assign(dose=shift + scale * numbers()["dose"])
        x = tables.learn(frame, "effect", classes=False, standardise=True).inputs(frame)
        assert_close(x.std(0), np.ones(1), rtol=1e-6)


def test_a_damaged_encoding_is_refused():
    good = tables.learn(kinds(), "kind", classes=True, standardise=False).to_json()
    for changes in (
        {"means": good["means"][:-1]}, {"scales": [0.0] * 3}, {"scales": [-1.0] * 3},
        {"means": [float("nan")] * 3}, {"classes": ["a", "a", "b"]}, {"classes": ["a"]},
        {"columns": ["size", "size"]}, {"levels": {"other": ["a"]}}, {"levels": {}},
        {"target": "size"}, {"target_scale": 0.0}, {"columns": []},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="encoding"):
            tables.Encoding.from_json(good | changes)


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
