"""Tables of one's own: files, encodings, splits."""

import json

import numpy as np
import pandas as pd
import pytest
from app_tables import kinds, numbers
from closeness import assert_close

from mogp.app import tables


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
